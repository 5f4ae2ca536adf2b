"""Horace's binary files, versions 2 and 3: cuts (.d0d to .d4d) and the image part of .sqw files.

Byte layout, little-endian, from Horace's own sources (binfile_v2_common: process_format_fields_, get_data) and, for .sqw,
Mantid's LoadSQW2, both of which agree. Text is an int32 length and its characters. An application header (text "horace",
float64 version, int32 kind: 0 a cut, 1 with pixels, int32 number of dimensions) is followed, in an .sqw, by a main header,
one header a run and the detectors, and then by the image:

    file name, path, title (text); lattice a b c, angles, offset of the axes (hkl and E), 4 x 4 matrix of the axes in hkl and
    E by columns, their lengths in 1/angstrom or meV (float32); labels (int32 4 and length, characters by columns);
    number of plotted axes (int32); for the others their numbers (int32) and limits (float32 low, high each);
    numbers of the plotted axes (int32); for each an int32 count and that many float32 edges; order of display (int32);
    signal, variance (float32) and number of pixels (int64) of each bin, the first axis fastest.

Version 4 (a table of named blocks) is not read: see the documentation.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from insdl.crystal import shown
from insdl.measured.histogram import Axis, Histogram, existing_file, sha256_of

_Reals = npt.NDArray[np.float64]
SUFFIXES = (".d0d", ".d1d", ".d2d", ".d3d", ".d4d", ".sqw")
# No text or count of a header is longer; a larger number is a damaged one.
_LONGEST = 1_000_000


class _Bytes:
    """The bytes of a file, taken from the front; what they are is said where they end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content = path.read_bytes()
        self.position = 0

    def take(self, length: int, what: str) -> bytes:
        if length < 0 or length > len(self.content) - self.position:
            raise ValueError(
                f"{self.path} ends within the {what}: {len(self.content) - self.position} bytes of {length} are left at "
                f"byte {self.position}"
            )
        self.position += length
        return self.content[self.position - length : self.position]

    def int32(self, what: str) -> int:
        return int(struct.unpack("<i", self.take(4, what))[0])

    def count(self, what: str, most: int = _LONGEST) -> int:
        number = self.int32(what)
        if not 0 <= number <= most:
            raise ValueError(f"{self.path}: the number of {what} must lie between 0 and {most}, got {number}")
        return number

    def text(self, what: str) -> str:
        return self.take(self.count(f"characters of the {what}"), what).decode("utf-8", errors="replace")

    def numbers(self, kind: str, count: int, what: str) -> _Reals:
        dtype = np.dtype(kind)
        values = np.frombuffer(self.take(count * dtype.itemsize, what), dtype=dtype)
        with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
            return values.astype(np.float64)


def read_horace(path: str | os.PathLike[str]) -> Histogram:
    """The image in a Horace file of version 2 or 3.

    Returns
    -------
    Histogram. Four axes, u1, u2, u3 and the energy transfer; those that were integrated over have one bin. Coordinate x of an
    axis of momentum transfer stands for x times its projection (r.l.u.). Signal as Horace keeps it: the mean over the
    detector pixels of a bin; error: the root of its variance; NaN in bins without pixels.

    Raises
    ------
    FileNotFoundError, ValueError
        For a missing file, one that ends early or goes on, another application or version, edges that do not ascend, axes
        that mix Q and E, negative or NaN variances.
    """
    file = existing_file(path, SUFFIXES)
    data = _Bytes(file)
    application = data.text("application's name")
    if application != "horace":
        raise ValueError(f"{file} was not written by Horace: it begins with {shown(application)}")
    version = struct.unpack("<d", data.take(8, "version"))[0]
    if not 2.0 <= version < 4.0:
        raise ValueError(f"{file} has version {version:g} of Horace's format; 2 and 3 can be read")
    kind = data.int32("kind")
    if kind not in (0, 1):
        raise ValueError(f"{file}: the kind must be 0 (a cut) or 1 (with pixels), got {kind}")
    dimensions = data.count("dimensions", 4)
    notes = ["intensities are the mean over the detector pixels of a bin, as Horace keeps them"]
    if version > 2.0:
        notes.append(f"version {version:g} was read with the layout of version 2, which Horace keeps for the image")
    if kind == 1:
        _skip_sqw_headers(data)
    histogram = _image(data, dimensions, notes)
    if kind == 0 and data.position != len(data.content):
        raise ValueError(f"{file} goes on for {len(data.content) - data.position} bytes after its image")
    return histogram


def _skip_sqw_headers(data: _Bytes) -> None:
    """Main header, headers of the runs, and detectors, as in Mantid's LoadSQW2."""
    for what in ("file name", "path", "title"):
        data.text(what)
    for _ in range(data.count("runs")):
        data.text("run's file name")
        data.text("run's path")
        # efix, emode, 12 numbers of the lattice and the orientation, five angles.
        data.take(4 + 4 + 12 * 4 + 5 * 4, "run's header")
        data.take(4 * data.count("energies of a run"), "energies of a run")
        data.take(96, "projection of a run")
        _labels(data)
    data.text("detectors' file name")
    data.text("detectors' path")
    data.take(6 * 4 * data.count("detectors", 100_000_000), "detectors")


def _labels(data: _Bytes) -> list[str]:
    count, length = data.count("labels", 4), data.count("characters of a label")
    characters = np.frombuffer(data.take(count * length, "labels"), dtype=np.uint8).reshape(length, count)
    return [bytes(column).decode("utf-8", errors="replace").strip() for column in characters.T]


def _image(data: _Bytes, dimensions: int, notes: list[str]) -> Histogram:
    file = data.path
    for what in ("file name", "path", "title"):
        data.text(what)
    data.take(6 * 4, "lattice")
    offset = data.numbers("<f4", 4, "offset")
    matrix = data.numbers("<f4", 16, "axes").reshape(4, 4, order="F")
    data.take(4 * 4, "lengths of the axes")
    labels = _labels(data)
    if len(labels) != 4:
        raise ValueError(f"{file} must have four labels, got {len(labels)}")
    plotted = data.count("plotted axes", 4)
    if plotted != dimensions:
        raise ValueError(f"{file} has {dimensions} dimensions by its header and {plotted} by its image")
    edges: dict[int, _Reals] = {}
    integrated = data.numbers("<i4", 4 - plotted, "numbers of the integrated axes")
    limits = data.numbers("<f4", 2 * (4 - plotted), "limits of integration").reshape(-1, 2)
    for number, pair in zip(integrated.astype(int).tolist(), limits, strict=True):
        edges[number] = pair
    order = data.numbers("<i4", plotted, "numbers of the plotted axes").astype(int).tolist()
    for number in order:
        edges[number] = data.numbers("<f4", data.count("edges"), "edges")
    if sorted(edges) != [1, 2, 3, 4] or order != sorted(order):
        raise ValueError(f"{file}: the axes must be 1 to 4, each once and plotted ones in order, got {sorted(edges)}")
    data.take(4 * plotted, "order of display")
    lengths = [len(edges[number]) - 1 for number in order]
    if any(not 1 <= length <= _LONGEST for length in lengths):
        raise ValueError(f"{file}: each plotted axis must have at least two edges, got {[n + 1 for n in lengths]}")
    size = int(np.prod(lengths, dtype=object)) if lengths else 1
    signal, variance, pixels = (
        data.numbers(dtype, size, what).reshape(lengths, order="F")
        for dtype, what in (("<f4", "signal"), ("<f4", "variance"), ("<i8", "numbers of pixels"))
    )
    seen = pixels > 0
    if (pixels < 0).any():
        raise ValueError(f"{file}: numbers of pixels must not be negative")
    for values, what in ((signal, "signal"), (variance, "variance")):
        wrong = seen & ~np.isfinite(values)
        if wrong.any():
            raise ValueError(f"{file}: the {what} must be finite where pixels contribute; {int(wrong.sum())} are not")
    if (variance[seen] < 0).any():
        raise ValueError(f"{file}: variances must not be negative, got {variance[seen].min():g}")
    if np.abs(offset).any():
        # (h, k, l, E) = matrix x + offset: the same points have coordinates x + matrix^-1 offset from zero.
        if not np.isfinite(matrix).all() or not np.isfinite(offset).all() or abs(np.linalg.det(matrix)) < 1e-9:
            raise ValueError(
                f"{file}: the axes must be finite and independent to count from the offset {offset.tolist()}"
            )
        shift = np.linalg.solve(matrix, offset)
        edges = {number: values + shift[number - 1] for number, values in edges.items()}
        notes.append(f"coordinates were counted from (h, k, l, E) = {tuple(offset.tolist())} and are from zero here")
    axes = [_axis(file, number, labels, matrix, edges[number]) for number in (1, 2, 3, 4)]
    shape = tuple(len(axis) for axis in axes)
    value = np.where(seen, signal, np.nan).reshape(shape)
    error = np.sqrt(np.where(seen, variance, np.nan)).reshape(shape)
    try:
        return Histogram(value, error, tuple(axes), file.name, sha256_of(data.content), tuple(notes))
    except ValueError as problem:
        raise ValueError(f"{file}: {problem}") from None


def _axis(file: Path, number: int, labels: list[str], matrix: _Reals, edges: _Reals) -> Axis:
    column = matrix[:, number - 1]
    name = labels[number - 1] or f"u{number}"
    names = [label or f"u{n + 1}" for n, label in enumerate(labels)]
    if names.count(name) > 1:
        name = f"{name} (u{number})"
    energy = number == 4
    mixed = column[:3].any() if energy else column[3] != 0
    if mixed or not np.isfinite(column).all():
        raise ValueError(
            f"{file}: axis {number} must be {'an energy' if energy else 'a momentum'}, got {column.tolist()}"
        )
    if energy and column[3] != 1:
        raise ValueError(f"{file}: the energy axis must be in meV, got a factor of {column[3]:g}")
    try:
        return Axis(name, "meV", edges) if energy else Axis(name, "r.l.u.", edges, column[:3])
    except ValueError as problem:
        raise ValueError(f"{file}: {problem}") from None
