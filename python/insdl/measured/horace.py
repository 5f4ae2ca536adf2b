"""Horace's binary files: cuts (.d0d to .d4d) and the image part of .sqw files.

Byte layout of versions 2 and 3, little-endian, from Horace's own sources (binfile_v2_common: process_format_fields_, get_data)
and, for .sqw, Mantid's LoadSQW2, both of which agree. Text is an int32 length and its characters. An application header (text
"horace", float64 version, int32 kind: 0 a cut, 1 with pixels, int32 number of dimensions) is followed, in an .sqw, by a main
header, one header a run and the detectors, and then by the image:

    file name, path, title (text); lattice a b c, angles, offset of the axes (hkl and E), 4 x 4 matrix of the axes in hkl and
    E by columns, their lengths in 1/angstrom or meV (float32); labels (int32 4 and length, characters by columns);
    number of plotted axes (int32); for the others their numbers (int32) and limits (float32 low, high each);
    numbers of the plotted axes (int32); for each an int32 count and that many float32 edges; order of display (int32);
    signal, variance (float32) and number of pixels (int64) of each bin, the first axis fastest.

Version 4 has the same application header and then a table of blocks: `insdl.measured.horace_v4`.
"""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from insdl.crystal import shown
from insdl.measured.binary_file import LONGEST, BinaryFile, binary_file
from insdl.measured.histogram import Histogram, existing_file
from insdl.measured.horace_image import HoraceImage
from insdl.measured.horace_v4 import read_blocks

_Reals = npt.NDArray[np.float64]
SUFFIXES = (".d0d", ".d1d", ".d2d", ".d3d", ".d4d", ".sqw")


def read_horace(path: str | os.PathLike[str]) -> Histogram:
    """The image in a Horace file of version 2, 3 or 4.

    Returns
    -------
    Histogram. Four axes, u1, u2, u3 and the energy transfer; those that were integrated over have one bin. Coordinate x of an
    axis of momentum transfer stands for x times its projection (r.l.u.). Signal as Horace keeps it: the mean over the
    detector pixels of a bin; error: the root of its variance; NaN in bins without pixels.

    Raises
    ------
    FileNotFoundError, ValueError
        For a missing file, one that ends early or goes on, another application or version, edges that do not ascend, axes
        that mix Q and E or are curved, negative or NaN variances, an .sqw whose image is missing or empty.
    """
    file = existing_file(path, SUFFIXES)
    with binary_file(file) as data:
        application = data.text("application's name")
        if application != "horace":
            raise ValueError(f"{file} was not written by Horace: it begins with {shown(application)}")
        version = data.float64("version")
        if not (2.0 <= version < 4.0 or version == 4.0):
            raise ValueError(f"{file} has version {version:g} of Horace's format; 2, 3 and 4 can be read")
        kind = data.int32("kind")
        if kind not in (0, 1):
            raise ValueError(f"{file}: the kind must be 0 (a cut) or 1 (with pixels), got {kind}")
        dimensions = data.count("dimensions", 4)
        notes = ["intensities are the mean over the detector pixels of a bin, as Horace keeps them"]
        if version == 4.0:
            return read_blocks(data, dimensions, notes)
        if version > 2.0:
            notes.append(f"version {version:g} was read with the layout of version 2, which Horace keeps for the image")
        if kind == 1:
            _skip_sqw_headers(data)
        image = _image(data, dimensions)
        if kind == 0 and data.left:
            raise ValueError(f"{file} goes on for {data.left} bytes after its image")
    return image.histogram(file, notes)


def _skip_sqw_headers(data: BinaryFile) -> None:
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


def _labels(data: BinaryFile) -> list[str]:
    count, length = data.count("labels", 4), data.count("characters of a label")
    characters = np.frombuffer(data.take(count * length, "labels"), dtype=np.uint8).reshape(length, count)
    return [bytes(column).decode("utf-8", errors="replace").strip() for column in characters.T]


def _image(data: BinaryFile, dimensions: int) -> HoraceImage:
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
    if any(not 1 <= length <= LONGEST for length in lengths):
        raise ValueError(f"{file}: each plotted axis must have at least two edges, got {[n + 1 for n in lengths]}")
    size = int(np.prod(lengths, dtype=object)) if lengths else 1
    found = [edges[number] for number in (1, 2, 3, 4)]
    shape = tuple(len(values) - 1 for values in found)
    signal, variance, pixels = (
        data.numbers(dtype, size, what).reshape(shape, order="F")
        for dtype, what in (("<f4", "signal"), ("<f4", "variance"), ("<i8", "numbers of pixels"))
    )
    return HoraceImage(signal, variance, pixels, found, matrix, offset, labels)
