"""The image in a Horace file of version 4: a table of blocks, and the two of them that make up the image.

Byte layout, little-endian, from Horace's own sources (blockAllocationTable, data_block, dnd_data_block, line_axes, line_proj,
ubmat_proj) and from scippneutron's description of the format. After the application header come the uint32 length of the table
and the uint32 number of blocks, and for each three texts (its type and its two names), its uint64 position and its uint64 size.

    data/metadata  a structure with "axes" (label, img_range by columns, low and high of each axis, nbins_all_dims) and "proj"
    data/nd_data   uint32 number of dimensions and uint32 lengths; signal and variance (float64) and number of pixels (uint64)
                   of each bin, the first axis fastest
    pix/data_wrap  uint32 number of rows (9), uint64 number of pixels, and float32 rows of each pixel, the last of which is the
                   variance; the pixels of the first bin first

The axes, from line_proj: with B the matrix that turns (h, k, l) into 1/angstrom and e1 along B u, e2 in the plane of B u and
B v on the side of B v, e3 = e1 x e2, (h, k, l) = B^-1 sum_i L_i e_i x_i + offset. L_i is 1 ('a'), makes the largest index of
the axis 1 ('r'), or is the component of the i-th of B u, B v, B w along e_i ('p'). For non-orthogonal axes e_i are the
directions of B u, B v, B w (across B u and B v where there is no w), and L_i in 'p' are their lengths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from insdl.crystal import reciprocal, shown
from insdl.measured.binary_file import BinaryFile
from insdl.measured.histogram import Histogram
from insdl.measured.horace_image import HoraceImage
from insdl.measured.matlab_value import read_value

_Reals = npt.NDArray[np.float64]
_ROWS = 9
_PIXELS_COMPARED = 20_000
_LARGEST = 1e30  # no coordinate and no length is larger; a larger number is a damaged one


@dataclass(frozen=True)
class _Block:
    kind: str
    position: int
    size: int


def read_blocks(data: BinaryFile, dimensions: int, notes: list[str]) -> Histogram:
    """The image, from the place after the application header on.

    Raises
    ------
    ValueError
        For a table or a block that ends early, a missing block, an image that is missing or empty, sizes that do not fit, or
        axes that are curved.
    """
    file = data.path
    blocks = _table(data)
    for name in ("data/metadata", "data/nd_data"):
        if name not in blocks:
            only = "; it holds pixels only: cut them in Horace" if "pix/data_wrap" in blocks else ""
            raise ValueError(f"{file} holds no block {name} and so no image{only}")
    metadata = _metadata(data, blocks["data/metadata"])
    axes, projection = _part(file, metadata, "axes"), _part(file, metadata, "proj")
    edges = _edges(file, axes)
    lengths = tuple(len(values) - 1 for values in edges)
    alone = _numbers(file, axes, "single_bin_defines_iax", 4) if "single_bin_defines_iax" in axes else np.ones(4)
    plotted = sum(length > 1 or not integrated for length, integrated in zip(lengths, alone, strict=True))
    # Horace counts the plotted axes, scippneutron those of the pixels.
    if dimensions != plotted and not ("pix/data_wrap" in blocks and dimensions == 4):
        raise ValueError(f"{file} has {dimensions} dimensions by its header and {plotted} by its image")
    signal, second, pixels = _arrays(data, blocks["data/nd_data"], lengths)
    if not (pixels > 0).any():
        held = "pix/data_wrap" in blocks and blocks["pix/data_wrap"].size > 12
        raise ValueError(f"{file}: no bin of the image has pixels{', though the file holds some' * held}")
    variance = second
    if "pix/data_wrap" in blocks:
        variance, note = _as_variance(data, blocks["pix/data_wrap"], second, pixels)
        notes = [*notes, note]
    matrix, offset = _axes_in_hkl(file, projection)
    image = HoraceImage(signal, variance, pixels, edges, matrix, offset, _labels(file, axes))
    return image.histogram(file, notes)


def _table(data: BinaryFile) -> dict[str, _Block]:
    length = data.count("bytes of the table of blocks")
    start = data.position
    data.restrict(start, length, "table of blocks")
    blocks: dict[str, _Block] = {}
    for _ in range(data.count("blocks", 1000)):
        kind = data.text("type of a block")
        name = f"{data.text('name of a block')}/{data.text('second name of a block')}"
        if name in blocks:
            raise ValueError(f"{data.path} names the block {name} twice")
        blocks[name] = _Block(kind, data.uint64("position of a block"), data.uint64("size of a block"))
    return blocks


def _metadata(data: BinaryFile, block: _Block) -> Mapping[str, Any]:
    data.restrict(block.position, block.size, "block data/metadata")
    value = read_value(data, "block data/metadata")
    if not isinstance(value, Mapping):
        raise ValueError(f"{data.path}: the block data/metadata must be a structure, got {shown(value)}")
    return value


def _part(file: Path, metadata: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = metadata.get(name)
    if not isinstance(value, Mapping):
        raise ValueError(f"{file}: the block data/metadata must hold a structure {name!r}, got {shown(value)}")
    return value


def _numbers(file: Path, part: Mapping[str, Any], name: str, size: int) -> _Reals:
    value = part.get(name)
    if not isinstance(value, np.ndarray) or value.size != size or not (np.abs(value) < _LARGEST).all():
        given = "nothing" if value is None else shown(value)
        raise ValueError(f"{file}: {name!r} must be {size} finite numbers below 1e30, got {given}")
    return np.asarray(value.reshape(-1, order="F"), dtype=np.float64)


def _edges(file: Path, axes: Mapping[str, Any]) -> list[_Reals]:
    """Equal bins over the range of each axis, as Horace makes them."""
    ranges = _numbers(file, axes, "img_range", 8).reshape(2, 4, order="F")
    bins = _numbers(file, axes, "nbins_all_dims", 4)
    if (bins != np.round(bins)).any() or (bins < 1).any() or (bins > 1_000_000).any():
        raise ValueError(f"{file}: 'nbins_all_dims' must be whole numbers from 1 to 1000000, got {bins.tolist()}")
    return [np.linspace(low, high, int(n) + 1) for low, high, n in zip(*ranges, bins, strict=True)]


def _labels(file: Path, axes: Mapping[str, Any]) -> list[str]:
    labels = axes.get("label")
    if not isinstance(labels, list) or len(labels) != 4 or not all(isinstance(label, str) for label in labels):
        raise ValueError(f"{file} must have four labels, got {shown(labels)}")
    return [label.strip() for label in labels]


def _arrays(data: BinaryFile, block: _Block, lengths: tuple[int, ...]) -> tuple[_Reals, _Reals, _Reals]:
    what = "block data/nd_data"
    data.restrict(block.position, block.size, what)
    shape = [data.count("bins of the image", 2**31 - 1) for _ in range(data.count("dimensions of the image", 16))]
    # MATLAB leaves out integrated axes and has at least two dimensions.
    if [n for n in shape if n != 1] != [n for n in lengths if n != 1]:
        raise ValueError(f"{data.path}: the image must have {lengths} bins by its axes, got {tuple(shape)}")
    size = int(np.prod(lengths, dtype=object))
    if data.left != 24 * size:
        raise ValueError(
            f"{data.path}: the {what} must hold three arrays of {size} numbers in {24 * size} bytes, got {data.left}"
        )
    numbers = [data.numbers(kind, size, what).reshape(lengths, order="F") for kind in ("<f8", "<f8", "<u8")]
    return numbers[0], numbers[1], numbers[2]


def _as_variance(data: BinaryFile, block: _Block, second: _Reals, pixels: _Reals) -> tuple[_Reals, str]:
    """The variances of the bins, and which of two habits the file has.

    Horace writes variances, scippneutron standard deviations, and nothing in the file says which. The pixels do: the
    variance of a bin is the sum of theirs over the square of their number.
    """
    unchecked = "the second array of the image was taken for variances, as Horace writes them; it could not be compared"
    counts = pixels.reshape(-1, order="F")
    total = int(counts.sum())
    data.restrict(block.position, block.size, "block pix/data_wrap")
    if block.size < 12 or data.count("rows of the pixels") != _ROWS or data.uint64("number of pixels") != total:
        return second, f"{unchecked} with the pixels, whose number is another"
    if data.left != 4 * _ROWS * total:
        raise ValueError(
            f"{data.path}: the block pix/data_wrap must hold {total} pixels in {4 * _ROWS * total} bytes, got {data.left}"
        )
    bins = np.flatnonzero(counts)
    bins = bins[np.cumsum(counts[bins]) <= _PIXELS_COMPARED]
    number = counts[bins].astype(np.int64)
    rows = data.numbers("<f4", _ROWS * int(number.sum()), "pixels").reshape(-1, _ROWS)
    stored = second.reshape(-1, order="F")[bins]
    starts = np.cumsum(number) - number
    variance = np.add.reduceat(rows[:, -1], starts) / number**2 if len(bins) else np.zeros(0)
    with np.errstate(over="ignore", invalid="ignore"):  # damaged numbers: what comes of them is refused later
        deviation, squared = np.sqrt(np.abs(variance)), second**2
    telling = np.isfinite(variance) & (variance > 0) & (np.abs(variance - deviation) > 0.05 * deviation)
    if not telling.any():
        return second, f"{unchecked} with the pixels"
    if np.allclose(stored[telling], variance[telling], rtol=1e-3, atol=0):
        return second, "the second array of the image holds variances, as the pixels show"
    if np.allclose(stored[telling], deviation[telling], rtol=1e-3, atol=0):
        return squared, "the second array of the image holds standard deviations, as the pixels show"
    return second, "the second array of the image was taken for variances; they are not those of the pixels"


def _axes_in_hkl(file: Path, projection: Mapping[str, Any]) -> tuple[_Reals, _Reals]:
    """The axes by columns in (h, k, l, E), and the offset."""
    kind = projection.get("serial_name")
    if kind not in ("line_proj", "ortho_proj", "ubmat_proj"):
        raise ValueError(f"{file}: the axes must be straight ('line_proj' or 'ubmat_proj'), got {shown(kind)}")
    offset = _numbers(file, projection, "offset", 4)
    matrix = np.eye(4)
    if kind == "ubmat_proj":
        side = 4 if np.size(projection.get("u_to_rlu", ())) == 16 else 3
        matrix[:side, :side] = _numbers(file, projection, "u_to_rlu", side**2).reshape(side, side, order="F")
        return matrix, offset
    if np.size(projection.get("ub_inv_legacy", ())):
        raise ValueError(f"{file}: axes with an alignment of an older version ('ub_inv_legacy') can not be read")
    matrix[:3, :3] = _line_axes(file, projection)
    return matrix, offset


def _line_axes(file: Path, projection: Mapping[str, Any]) -> _Reals:
    lengths = _numbers(file, projection, "alatt", 3)
    angles = np.radians(_numbers(file, projection, "angdeg", 3))
    to_cartesian = _reciprocal_columns(file, lengths, angles)
    u, v = _numbers(file, projection, "u", 3), _numbers(file, projection, "v", 3)
    w = _numbers(file, projection, "w", 3) if np.size(projection.get("w", ())) else None
    types = projection.get("type")
    if not isinstance(types, str) or len(types) != 3 or set(types) - set("arp"):
        raise ValueError(f"{file}: 'type' must be three of the letters a, r and p, got {shown(types)}")
    slanted = bool(_numbers(file, projection, "nonorthogonal", 1)[0])
    first, second = to_cartesian @ u, to_cartesian @ v
    across = np.cross(first, second)
    if np.linalg.norm(across) <= 1e-9 * np.linalg.norm(first) * np.linalg.norm(second):
        raise ValueError(f"{file}: u and v must not be parallel, got {u.tolist()} and {v.tolist()}")
    if w is None and types[2] == "p" and not slanted:
        raise ValueError(f"{file}: the type {types!r} needs a vector w, and there is none")
    if w is not None and across @ (to_cartesian @ w) < 0:
        w = -w  # Horace keeps u, v, w right-handed
    normal = across / np.linalg.norm(across)
    third = normal if w is None else to_cartesian @ w
    given = np.stack([first, second, third], axis=1)
    if slanted:
        norms = np.linalg.norm(given, axis=0)
        if abs(np.linalg.det(given)) <= 1e-9 * norms.prod():
            raise ValueError(f"{file}: u, v and w must be independent, got w = {shown(projection.get('w'))}")
        directions = given / norms
    else:
        along = first / np.linalg.norm(first)
        directions = np.stack([along, np.cross(normal, along), normal], axis=1)
    columns = np.linalg.solve(to_cartesian, directions)
    parts = np.linalg.norm(given, axis=0) if slanted else np.abs(np.sum(directions * given, axis=0))
    scale = {"a": np.ones(3), "r": 1.0 / np.abs(columns).max(axis=0), "p": parts}
    # Rounded, so that an axis along (1, 0, 0) has zeros in the other places.
    return np.asarray(np.round(columns * [scale[letter][n] for n, letter in enumerate(types)], 12) + 0.0)


def _reciprocal_columns(file: Path, lengths: _Reals, angles: _Reals) -> _Reals:
    """(3, 3) float64, 1/angstrom: a*, b*, c* as columns, for a along x and b in the plane of x and y."""
    cosines = np.cos(angles)
    sine = np.sin(angles[2])
    if (lengths < 0.1).any() or (lengths > 1e5).any() or (angles <= 0).any() or (angles >= np.pi).any():
        raise ValueError(
            f"{file}: 'alatt' must lie between 0.1 and 1e5 angstrom and 'angdeg' between 0 and 180, got {lengths.tolist()} and "
            f"{np.degrees(angles).tolist()}"
        )
    slope = (cosines[0] - cosines[1] * cosines[2]) / sine
    height = 1.0 - cosines[1] ** 2 - slope**2
    if height <= 1e-12:
        raise ValueError(f"{file}: no cell has the angles {np.degrees(angles).tolist()} (degrees)")
    rows = [[1.0, 0.0, 0.0], [cosines[2], sine, 0.0], [cosines[1], slope, np.sqrt(height)]]
    return reciprocal(np.array(rows) * lengths[:, None]).T
