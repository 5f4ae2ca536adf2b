"""Horace's files of version 4, written here byte by byte from the published layout, and everything that is none."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from damaged import flipped, readings, truncated
from insdl.dataset.randomness import generator
from insdl.measured import Axis, read_horace

BINS = (3, 1, 2, 4)


def text(words: str) -> bytes:
    return struct.pack("<I", len(words)) + words.encode()


def head(kind: int, shape: tuple[int, ...]) -> bytes:
    return struct.pack(f"<2B{len(shape)}I", kind, len(shape), *shape)


def value(content: Any) -> bytes:
    """A MATLAB value: text, numbers, truth values, cell arrays of them, structures. Bytes are a value already."""
    if isinstance(content, bytes):
        return content
    if isinstance(content, str):
        return head(1, (len(content),) if content else ()) + content.encode()
    if isinstance(content, dict):
        names = [name.encode() for name in content]
        lengths = struct.pack(f"<{len(names) + 1}I", len(names), *map(len, names))
        cell = head(23, (len(names), 1)) + b"".join(map(value, content.values()))
        return head(24, (1,)) + lengths + b"".join(names) + cell
    if isinstance(content, list) and content and isinstance(content[0], str):
        return head(23, (1, len(content))) + b"".join(map(value, content))
    array = np.asarray(content)
    if not array.size:
        return head(3, ())
    kind, dtype = (0, "<u1") if array.dtype == bool else (3, "<f8")
    return head(kind, array.shape or (1,)) + array.astype(dtype).tobytes(order="F")


@dataclass
class Image:
    """An image over u1, u3 and E, integrated over u2; mean and variance of the pixels in its bins."""

    kind: int = 0
    version: float = 4.0
    dimensions: int = 3
    bins: Any = BINS
    ranges: Any = ((-1.0, -0.1, 0.0, 0.0), (2.0, 0.1, 1.0, 20.0))
    axes: dict[str, Any] = field(default_factory=dict)
    proj: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] | None = None
    shape: tuple[int, ...] | None = None
    deviations: bool = False
    drop: tuple[str, ...] = ()
    extra: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tail: bytes = b""
    counts: Any = None
    signal: Any = None
    variance: Any = None
    pixel_count: int | None = None

    def __post_init__(self) -> None:
        rng = generator(0, "tests/horace-v4", 0)
        size = int(np.prod(self.bins))
        given = self.counts is not None
        self.counts = np.asarray(self.counts) if given else rng.integers(0, 4, size)
        total = int(self.counts.sum())
        bins = np.repeat(np.arange(len(self.counts)), self.counts)
        self.pixels = rng.uniform(0.5, 4.0, (total, 9)).astype(np.float32)
        sums = [np.bincount(bins, self.pixels[:, n], minlength=len(self.counts)) for n in (7, 8)]
        number = np.maximum(self.counts, 1)
        self.signal = sums[0] / number if self.signal is None else self.signal
        self.variance = sums[1] / number**2 if self.variance is None else self.variance

    def blocks(self) -> dict[str, tuple[str, bytes]]:
        axes = {
            "serial_name": "line_axes", "version": 7.0, "filename": "", "title": "made up",
            "label": ["[H,0,0]", "[0,K,0]", "[0,0,L]", "E"], "img_range": np.array(self.ranges),
            "nbins_all_dims": np.array([self.bins], float), "single_bin_defines_iax": np.ones((1, 4), bool), **self.axes,
        }  # fmt: skip
        proj = {
            "serial_name": "line_proj", "version": 7.0, "alatt": [4.0, 5.0, 6.0], "angdeg": [90.0, 90.0, 90.0],
            "offset": np.zeros((1, 4)), "u": [1.0, 0.0, 0.0], "v": [0.0, 1.0, 0.0], "w": [], "nonorthogonal": False,
            "type": "rrr", **self.proj,
        }  # fmt: skip
        metadata = {"serial_name": "dnd_metadata", "version": 1.0, "axes": axes, "proj": proj}
        shape = self.shape or tuple(n for n in self.bins if n > 1)
        second = np.sqrt(self.variance) if self.deviations else self.variance
        image = struct.pack(f"<{len(shape) + 1}I", len(shape), *shape)
        image += self.signal.astype("<f8").tobytes() + second.astype("<f8").tobytes()
        image += self.counts.astype("<u8").tobytes() + self.tail
        blocks = {
            "data/metadata": ("data_block", b"\x20" * 2 + value(metadata if self.metadata is None else self.metadata)),
            "data/nd_data": ("dnd_data_block", image),
        }
        if self.kind == 1:
            total = len(self.pixels) if self.pixel_count is None else self.pixel_count
            blocks["pix/data_wrap"] = ("pix_data_block", struct.pack("<IQ", 9, total) + self.pixels.tobytes())
        return {name: block for name, block in (blocks | self.extra).items() if name not in self.drop}

    def content(self) -> bytes:
        blocks = self.blocks()
        out = text("horace") + struct.pack("<d2I", self.version, self.kind, self.dimensions)
        names = [(kind, *name.split("/")) for name, (kind, _) in blocks.items()]
        length = 4 + sum(12 + 16 + len("".join(words)) for words in names)
        table, position = struct.pack("<2I", length, len(blocks)), len(out) + 4 + length
        for words, (_, block) in zip(names, blocks.values(), strict=True):
            table += b"".join(map(text, words)) + struct.pack("<2Q", position, len(block))
            position += len(block)
        return out + table + b"".join(block for _, block in blocks.values())

    def write(self, file: Path) -> Path:
        file.write_bytes(self.content())
        return file


def projections(axes: tuple[Axis, ...]) -> np.ndarray[Any, Any]:
    return np.array([axis.projection for axis in axes[:3]])


@pytest.mark.parametrize(("kind", "name"), [(0, "cut.d3d"), (1, "cut.sqw"), (0, "cut.sqw")])
@pytest.mark.parametrize("shape", [None, (3, 2, 4, 1), BINS])
def test_an_image(tmp_path: Path, kind: int, name: str, shape: tuple[int, ...] | None) -> None:
    image = Image(kind=kind, shape=shape)
    read = read_horace(image.write(tmp_path / name))
    seen = (image.counts > 0).reshape(BINS, order="F")
    assert 0 < seen.sum() < seen.size
    np.testing.assert_array_equal(read.signal, np.where(seen, image.signal.reshape(BINS, order="F"), np.nan))
    expected = np.where(seen, np.sqrt(image.variance.reshape(BINS, order="F")), np.nan)
    np.testing.assert_allclose(np.asarray(read.error), expected, rtol=1e-15)
    assert [axis.name for axis in read.axes] == ["[H,0,0]", "[0,K,0]", "[0,0,L]", "E"]
    np.testing.assert_array_equal(projections(read.axes), np.eye(3))
    assert read.axes[3].projection is None
    for axis, low, high, n in zip(read.axes, *image.ranges, BINS, strict=True):
        np.testing.assert_array_equal(axis.edges, np.linspace(low, high, n + 1))
    assert len(read.sha256) == 64


@pytest.mark.parametrize("plotted", [[], [3], [0, 3], [0, 1, 2, 3]])
def test_any_number_of_dimensions(tmp_path: Path, plotted: list[int]) -> None:
    bins = tuple(n + 2 if n in plotted else 1 for n in range(4))
    size = int(np.prod(bins))
    shape = (*(n for n in bins if n > 1), 1, 1)[: max(2, len(plotted))]
    image = Image(dimensions=len(plotted), bins=bins, shape=shape, counts=np.ones(size, int))
    read = read_horace(image.write(tmp_path / f"cut.d{len(plotted)}d"))
    assert read.shape == bins
    np.testing.assert_array_equal(read.signal, image.signal.reshape(bins, order="F"))


def test_a_plotted_axis_of_one_bin_counts_as_a_dimension(tmp_path: Path) -> None:
    flags = np.array([[True, False, True, True]])
    image = Image(dimensions=4, axes={"single_bin_defines_iax": flags})
    assert read_horace(image.write(tmp_path / "cut.d4d")).shape == BINS


def test_the_pixels_tell_variances_from_deviations(tmp_path: Path) -> None:
    """The variance of a mean is the sum of the variances over the square of their number, whichever of the two is stored."""
    horace, other = (
        read_horace(Image(kind=1, deviations=deviations, dimensions=n).write(tmp_path / "cut.sqw"))
        for deviations, n in ((False, 3), (True, 4))
    )
    assert "holds variances, as the pixels show" in horace.notes[1]
    assert "holds standard deviations, as the pixels show" in other.notes[1]
    np.testing.assert_allclose(np.asarray(other.error), np.asarray(horace.error), rtol=1e-14)
    neither = read_horace(Image(kind=1, variance=np.full(24, 7.0)).write(tmp_path / "cut.sqw"))
    assert "they are not those of the pixels" in neither.notes[1]
    fewer = read_horace(Image(kind=1, pixel_count=3).write(tmp_path / "cut.sqw"))
    assert "could not be compared with the pixels, whose number is another" in fewer.notes[1]
    alike = Image(kind=1)
    alike.pixels[:, 8] = 1.0
    alike.counts = np.ones(24, int)
    alike.pixels = np.resize(alike.pixels, (24, 9))
    assert "could not be compared with the pixels" in read_horace(alike.write(tmp_path / "cut.sqw")).notes[1]


HEXAGONAL = {"alatt": [4.0, 4.0, 7.0], "angdeg": [90.0, 90.0, 120.0]}


@pytest.mark.parametrize(
    ("proj", "expected"),
    [
        ({"alatt": [4.0] * 3, "u": [1, 1, 0], "v": [0, 0, 2]}, [[1, 1, 0], [0, 0, 1], [1, -1, 0]]),
        ({"alatt": [4.0] * 3, "u": [2, 2, 0], "v": [0, 0, 2], "type": "ppr"}, [[2, 2, 0], [0, 0, 2], [1, -1, 0]]),
        # a* and b* are 60 degrees apart: what is left of b* across a* is (-1/2, 1, 0).
        ({**HEXAGONAL, "type": "ppr"}, [[1, 0, 0], [-0.5, 1, 0], [0, 0, 1]]),
        ({**HEXAGONAL, "nonorthogonal": True, "type": "prr"}, [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        ({**HEXAGONAL, "nonorthogonal": True, "w": [1, 0, -3], "type": "ppp"}, [[1, 0, 0], [0, 1, 0], [-1, 0, 3]]),
        ({**HEXAGONAL, "w": [1, 0, -3], "type": "ppp"}, [[1, 0, 0], [-0.5, 1, 0], [0, 0, 3]]),
        ({"serial_name": "ubmat_proj", "u_to_rlu": np.array([[1.0, 1, 0], [1, -1, 0], [0, 0, 2]])},
         [[1, 1, 0], [1, -1, 0], [0, 0, 2]]),
        ({"serial_name": "ubmat_proj", "u_to_rlu": np.diag([1.0, 2.0, 3.0, 1.0])}, np.diag([1, 2, 3])),
    ],
)  # fmt: skip
def test_axes(tmp_path: Path, proj: dict[str, Any], expected: Any) -> None:
    read = read_horace(Image(proj=proj).write(tmp_path / "cut.d3d"))
    np.testing.assert_allclose(projections(read.axes), expected, atol=1e-11)


def test_axes_in_inverse_angstrom(tmp_path: Path) -> None:
    """In a triclinic cell: orthonormal by the reciprocal metric tensor, the first along u, the third across u and v."""
    lengths, angles = np.array([3.8, 5.1, 7.7]), np.array([81.0, 97.0, 104.0])
    cosines = np.cos(np.radians(angles))
    metric = np.outer(lengths, lengths) * np.array(
        [[1, cosines[2], cosines[1]], [cosines[2], 1, cosines[0]], [cosines[1], cosines[0], 1]]
    )
    reciprocal_metric = (2 * np.pi) ** 2 * np.linalg.inv(metric)
    u, v = np.array([1.0, 2.0, -1.0]), np.array([0.0, 1.0, 3.0])
    proj = {"alatt": lengths, "angdeg": angles, "u": u, "v": v, "type": "aaa"}
    found = projections(read_horace(Image(proj=proj).write(tmp_path / "cut.d3d")).axes)
    np.testing.assert_allclose(found @ reciprocal_metric @ found.T, np.eye(3), atol=1e-10)
    np.testing.assert_allclose(np.cross(found[0], u), 0, atol=1e-10)
    np.testing.assert_allclose([found[2] @ reciprocal_metric @ u, found[2] @ reciprocal_metric @ v], 0, atol=1e-9)
    assert np.linalg.det(found) > 0


def test_an_offset_is_added(tmp_path: Path) -> None:
    """(h, k, l, E) of every corner stays, and offsets are in r.l.u. whatever the axes are."""
    offset = np.array([0.5, 0.0, 0.25, 2.0])
    proj = {"alatt": [4.0] * 3, "u": [1, 1, 0], "v": [0, 0, 1], "type": "aar"}
    moved, plain = (
        read_horace(Image(proj={**proj, "offset": start}).write(tmp_path / "cut.d3d"))
        for start in (offset, np.zeros(4))
    )
    for pick in (0, -1):
        old, new = (
            sum(np.asarray(a.projection) * np.asarray(a.edges)[pick] for a in read.axes[:3]) for read in (plain, moved)
        )
        np.testing.assert_allclose(new, old + offset[:3], atol=1e-10)
    np.testing.assert_allclose(np.asarray(moved.axes[3].edges), np.asarray(plain.axes[3].edges) + 2.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dimensions": 2}, "2 dimensions by its header and 3 by its image"),
        ({"version": 4.1}, "version 4.1 of Horace's format"),
        ({"kind": 1, "drop": ("data/nd_data",)}, "no block data/nd_data and so no image; it holds pixels only"),
        ({"drop": ("data/metadata",)}, "no block data/metadata and so no image$"),
        ({"drop": ("data/metadata", "data/nd_data")}, "no block data/metadata and so no image$"),
        ({"kind": 1, "counts": np.zeros(24, int), "extra": {"pix/data_wrap": ("pix_data_block", b"\0" * 48)}},
         "no bin of the image has pixels, though the file holds some"),
        ({"counts": np.zeros(24, int)}, "no bin of the image has pixels$"),
        ({"shape": (3, 4, 2)}, r"must have \(3, 1, 2, 4\) bins by its axes, got \(3, 4, 2\)"),
        ({"tail": b"more"}, "three arrays of 24 numbers in 576 bytes, got 580"),
        ({"metadata": "none"}, "data/metadata must be a structure"),
        ({"metadata": {"axes": {"title": ""}}}, "must hold a structure 'proj'"),
        ({"metadata": {"proj": {"title": ""}}}, "must hold a structure 'axes', got None"),
        ({"axes": {"img_range": np.zeros((2, 3))}}, "'img_range' must be 8 finite numbers"),
        ({"axes": {"img_range": np.full((2, 4), np.nan)}}, "'img_range' must be 8 finite numbers"),
        ({"axes": {"img_range": np.array([[1.0] * 4, [0.0] * 4])}}, "ascend"),
        ({"axes": {"nbins_all_dims": [3.5, 1, 2, 4]}}, "must be whole numbers"),
        ({"axes": {"nbins_all_dims": [1e12, 1, 2, 4]}}, "must be whole numbers"),
        ({"axes": {"nbins_all_dims": "3124"}}, "must be 4 finite numbers below 1e30, got '3124'"),
        ({"axes": {"label": ["a", "b"]}}, "four labels"),
        ({"axes": {"label": np.ones(4)}}, "four labels"),
        ({"proj": {"serial_name": "sphere_proj"}}, "the axes must be straight .* got 'sphere_proj'"),
        ({"proj": {"offset": [0.0]}}, "'offset' must be 4 finite numbers"),
        ({"proj": {"alatt": [4.0, 5.0, -6.0]}}, "'alatt' must lie between 0.1 and 1e5 angstrom"),
        ({"proj": {"u": [1e200, 0.0, 0.0]}}, "'u' must be 3 finite numbers"),
        ({"proj": {"angdeg": [90.0, 0.0, 90.0]}}, "'angdeg' between 0 and 180"),
        ({"proj": {"angdeg": [150.0, 90.0, 30.0]}}, "no cell has the angles"),
        ({"proj": {"v": [2.0, 0.0, 0.0]}}, "u and v must not be parallel"),
        ({"proj": {"u": [0.0, 0.0, 0.0]}}, "u and v must not be parallel"),
        ({"proj": {"u": "100"}}, "'u' must be 3 finite numbers"),
        ({"proj": {"type": "rrx"}}, "three of the letters a, r and p"),
        ({"proj": {"type": "ppp"}}, "needs a vector w"),
        ({"proj": {"nonorthogonal": True, "w": [1.0, 1.0, 0.0], "type": "ppp"}}, "u, v and w must be independent"),
        ({"proj": {"nonorthogonal": True, "w": [0.0, 0.0, 0.0]}}, "u, v and w must be independent"),
        ({"proj": {"ub_inv_legacy": np.eye(3)}}, "alignment of an older version"),
        ({"proj": {"serial_name": "ubmat_proj", "u_to_rlu": np.ones((2, 2))}}, "'u_to_rlu' must be 9 finite numbers"),
        ({"proj": {"serial_name": "ubmat_proj", "u_to_rlu": np.ones((4, 4))}}, "axis 1 must be a momentum"),
        ({"signal": np.full(24, np.inf)}, "the signal must be finite where pixels contribute"),
        ({"variance": np.full(24, -1.0)}, "variances must not be negative"),
        ({"kind": 1, "extra": {"pix/data_wrap": ("pix_data_block", struct.pack("<IQ", 9, 24))},
          "counts": np.ones(24, int)}, "must hold 24 pixels in 864 bytes, got 0"),
    ],
)  # fmt: skip
def test_malformed_images(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    file = Image(**change).write(tmp_path / "cut.sqw")
    with pytest.raises(ValueError, match=words) as caught:
        read_horace(file)
    assert "cut.sqw" in str(caught.value)


def deep(times: int) -> bytes:
    return head(23, (1,)) * times + value(1.0)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (head(13, (1,)) + b"\0" * 16, "MATLAB value of kind 13"),
        (head(25, (1,)), "MATLAB value of kind 25"),
        (head(28, (1,)), "MATLAB value of kind 28"),
        (head(3, (2**30, 2**30)), "claims 1152921504606846976 elements"),
        (head(23, (2**31 - 1,)), "claims 2147483647 elements"),
        (struct.pack("<2BI", 3, 1, 2**32 - 1), "elements along a dimension must lie between 0"),
        (struct.pack("<2B", 3, 200), "at most 16 dimensions, got 200"),
        (deep(40), "nested deeper than 30"),
        (b"\x20" * 40, "nested deeper than 30"),
        (head(24, (1,)) + struct.pack("<I", 2**31 - 1), "number of fields must lie between"),
        (head(24, (1,)) + struct.pack("<2I", 1, 1) + b"a" + value(1.0), r"must hold 1 values, one for each .* \['a'\]"),
        (head(24, (2,)) + struct.pack("<2I", 1, 1) + b"a" + head(23, (1, 1, 1)) + value(1.0), "must hold 2 values"),
    ],
)  # fmt: skip
def test_malformed_values(tmp_path: Path, bad: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        read_horace(Image(axes={"title": bad}).write(tmp_path / "cut.d3d"))
    assert "cut.d3d" in str(caught.value)


def test_other_values_are_passed_over(tmp_path: Path) -> None:
    """What the image does not need may be any value that can be read: structures without fields, several of them, numbers."""
    several = head(24, (1, 2)) + struct.pack("<2I", 1, 1) + b"a" + head(23, (1, 1, 2)) + value(1.0) + value("b")
    empty = head(24, ()) + b""
    bare = head(24, (2,)) + struct.pack("<I", 0)
    whole = head(9, (2,)) + np.array([1, -1], "<i4").tobytes()
    for extra in (several, empty, bare, whole, head(2, (3,)) + b"abc", b"\x20" + value({"x": []})):
        assert read_horace(Image(axes={"title": extra}).write(tmp_path / "cut.d3d")).shape == BINS


def test_malformed_tables(tmp_path: Path) -> None:
    good = Image().content()
    begin = 4 + 6 + 8 + 8
    first = begin + 8 + (4 + 10) + (4 + 4) + (4 + 8)
    for place, number, kind, words in (
        (begin, 2**31 - 1, "<I", "bytes of the table of blocks must lie between"),
        (begin, 999_999, "<I", r"must hold the table of blocks in 999999 bytes from byte 30"),
        (begin, 20, "<I", "ends within the characters of the name of a block"),
        (begin + 4, 2**20, "<I", "number of blocks must lie between 0 and 1000"),
        (begin + 4, 3, "<I", "ends within"),
        (first, 2**63, "<Q", "must hold the block data/metadata in"),
        (first + 8, 2**63, "<Q", "must hold the block data/metadata in"),
        (first + 8, 10, "<Q", "ends within the fields"),
    ):
        content = bytearray(good)
        struct.pack_into(kind, content, place, number)
        (tmp_path / "cut.d3d").write_bytes(content)
        with pytest.raises(ValueError, match=words):
            read_horace(tmp_path / "cut.d3d")
    twice = Image(extra={"data/nd_dato": ("data_block", b"")}).content().replace(b"nd_dato", b"nd_data")
    (tmp_path / "cut.d3d").write_bytes(twice)
    with pytest.raises(ValueError, match="names the block data/nd_data twice"):
        read_horace(tmp_path / "cut.d3d")


@pytest.mark.parametrize("kind", [0, 1])
def test_damaged_files(tmp_path: Path, kind: int) -> None:
    good = Image(kind=kind).write(tmp_path / ("good.sqw" if kind else "good.d3d"))
    content = good.read_bytes()
    assert readings(read_horace, good, tmp_path, truncated(content)).count("read") == 0
    outcome = readings(read_horace, good, tmp_path, flipped(content, number=500))
    assert 0 < outcome.count("read") < len(outcome)
