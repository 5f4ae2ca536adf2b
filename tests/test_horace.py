"""Horace's binary files, written here byte by byte from the published layout, and everything that is none."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from damaged import flipped, readings, truncated
from insdl.dataset.randomness import generator
from insdl.measured import read_horace


def text(words: str) -> bytes:
    return struct.pack("<i", len(words)) + words.encode()


def labels(names: list[str]) -> bytes:
    """A MATLAB matrix of characters, one row a label, by columns."""
    length = max(map(len, names))
    rows = [name.ljust(length) for name in names]
    return struct.pack("<2i", len(names), length) + "".join(row[c] for c in range(length) for row in rows).encode()


@dataclass
class Cut:
    """A two-dimensional cut along u1 and E, integrated over u2 and u3."""

    kind: int = 0
    version: float = 2.0
    application: str = "horace"
    dimensions: int = 2
    plotted: list[int] = field(default_factory=lambda: [1, 4])
    edges: list[Any] = field(default_factory=lambda: [np.linspace(-1, 1, 4), np.linspace(0, 20, 6)])
    limits: Any = field(default_factory=lambda: [(-0.1, 0.1), (2.0, 3.0)])
    offset: Any = (0.0, 0.0, 0.0, 0.0)
    names: list[str] = field(default_factory=lambda: ["[H,H,0]", "[H,-H,0]", "[0,0,L]", "E"])
    matrix: Any = field(default_factory=lambda: np.array([[1.0, 1, 0, 0], [1, -1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    signal: Any = None
    variance: Any = None
    pixels: Any = None
    others: list[int] | None = None

    def __post_init__(self) -> None:
        rng = generator(0, "tests/horace", 0)
        shape = tuple(len(edges) - 1 for edges in self.edges)
        self.signal = rng.random(shape) if self.signal is None else self.signal
        self.variance = rng.random(shape) if self.variance is None else self.variance
        self.pixels = rng.integers(0, 4, shape) if self.pixels is None else self.pixels

    def image(self) -> bytes:
        others = self.others or [n for n in (1, 2, 3, 4) if n not in self.plotted]
        out = text("a.sqw") + text("folder/") + text("title")
        out += np.array([4, 4, 9, 90, 90, 90], "<f4").tobytes() + np.array(self.offset, "<f4").tobytes()
        out += (
            np.asarray(self.matrix).astype("<f4").tobytes(order="F") + np.ones(4, "<f4").tobytes() + labels(self.names)
        )
        out += struct.pack("<i", len(self.plotted)) + np.array(others, "<i4").tobytes()
        out += np.array(self.limits, "<f4").tobytes() + np.array(self.plotted, "<i4").tobytes()
        for edges in self.edges:
            out += struct.pack("<i", len(edges)) + np.asarray(edges).astype("<f4").tobytes()
        out += np.arange(1, len(self.plotted) + 1).astype("<i4").tobytes()
        for values, kind in ((self.signal, "<f4"), (self.variance, "<f4"), (self.pixels, "<i8")):
            out += np.asarray(values).astype(kind).tobytes(order="F")
        return out

    def content(self) -> bytes:
        out = text(self.application) + struct.pack("<d2i", self.version, self.kind, self.dimensions)
        if self.kind == 1:
            out += text("a.sqw") + text("folder/") + text("title") + struct.pack("<i", 2)
            for run in range(2):
                out += text(f"run{run}.nxspe") + text("folder/") + struct.pack("<fi", 25.0, 1)
                out += (
                    np.arange(17).astype("<f4").tobytes() + struct.pack("<i", 3) + np.arange(3).astype("<f4").tobytes()
                )
                out += np.ones(24, "<f4").tobytes() + labels(["Qx", "Qy", "Qz", "E"])
            out += text("a.par") + text("folder/") + struct.pack("<i", 5) + np.ones(30, "<f4").tobytes()
        return out + self.image() + (b"ranges and pixels follow" if self.kind == 1 else b"")

    def write(self, file: Path) -> Path:
        file.write_bytes(self.content())
        return file


@pytest.mark.parametrize(("kind", "name"), [(0, "cut.d2d"), (1, "cut.sqw"), (0, "cut.sqw")])
@pytest.mark.parametrize("version", [2.0, 3.1])
def test_cuts(tmp_path: Path, kind: int, name: str, version: float) -> None:
    cut = Cut(kind=kind, version=version)
    read = read_horace(cut.write(tmp_path / name))
    assert read.shape == (3, 1, 1, 5)
    seen = cut.pixels > 0
    assert 0 < seen.sum() < seen.size
    signal, variance = (values.astype(np.float32).astype(float) for values in (cut.signal, cut.variance))
    np.testing.assert_array_equal(read.signal[:, 0, 0], np.where(seen, signal, np.nan))
    np.testing.assert_allclose(np.asarray(read.error)[:, 0, 0], np.where(seen, np.sqrt(variance), np.nan), rtol=1e-15)
    names = [(axis.name, axis.unit) for axis in read.axes]
    assert names == [("[H,H,0]", "r.l.u."), ("[H,-H,0]", "r.l.u."), ("[0,0,L]", "r.l.u."), ("E", "meV")]
    assert np.asarray(read.axes[0].projection).tolist() == [1, 1, 0]
    assert np.asarray(read.axes[1].projection).tolist() == [1, -1, 0]
    assert read.axes[3].projection is None
    np.testing.assert_allclose(np.asarray(read.axes[1].edges), [-0.1, 0.1], rtol=1e-6)
    np.testing.assert_allclose(np.asarray(read.axes[3].edges), np.linspace(0, 20, 6), rtol=1e-6)
    assert any("layout of version 2" in note for note in read.notes) == (version > 2)


@pytest.mark.parametrize("plotted", [[], [3], [1, 2, 4], [1, 2, 3, 4]])
def test_any_number_of_dimensions(tmp_path: Path, plotted: list[int]) -> None:
    edges = [np.linspace(0, 1, n + 2) for n in plotted]
    limits = [(0.0, 1.0)] * (4 - len(plotted))
    cut = Cut(dimensions=len(plotted), plotted=plotted, edges=edges, limits=limits)
    cut.pixels = np.ones(cut.signal.shape, int)
    read = read_horace(cut.write(tmp_path / f"cut.d{len(plotted)}d"))
    assert read.shape == tuple(n + 1 if n in plotted else 1 for n in (1, 2, 3, 4))
    np.testing.assert_allclose(read.signal.reshape(cut.signal.shape), cut.signal, rtol=1e-6)


def test_an_offset_is_added(tmp_path: Path) -> None:
    """(h, k, l, E) of every corner stays: axes times old coordinates plus the offset, or times the new ones alone."""
    offset = np.array([0.5, 0.0, 0.25, 2.0])
    moved, plain = (
        read_horace(Cut(offset=tuple(start)).write(tmp_path / f"{name}.d2d"))
        for name, start in (("moved", offset), ("plain", np.zeros(4)))
    )
    for pick in (0, -1):
        old, new = (
            sum(np.asarray(a.projection) * np.asarray(a.edges)[pick] for a in read.axes[:3]) for read in (plain, moved)
        )
        np.testing.assert_allclose(new, old + offset[:3], atol=1e-6)
    np.testing.assert_allclose(np.asarray(moved.axes[3].edges), np.asarray(plain.axes[3].edges) + 2.0)
    np.testing.assert_array_equal(moved.signal, plain.signal)
    assert any("counted from (h, k, l, E) = (0.5, 0.0, 0.25, 2.0)" in note for note in moved.notes)


def test_names_are_kept_apart(tmp_path: Path) -> None:
    read = read_horace(Cut(names=["Q", "Q", "", "E"]).write(tmp_path / "cut.d2d"))
    assert [axis.name for axis in read.axes] == ["Q (u1)", "Q (u2)", "u3", "E"]


NAN = np.full((3, 5), np.nan)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"application": "horse!"}, "was not written by Horace"),
        ({"version": 5.0}, "version 5 of Horace's format; 2, 3 and 4 can be read"),
        ({"version": 1.0}, "version 1 of Horace's format"),
        ({"version": float("nan")}, "version nan"),
        ({"kind": 2}, "the kind must be 0"),
        ({"dimensions": 3}, "3 dimensions by its header and 2 by its image"),
        ({"dimensions": -1}, "number of dimensions must lie between 0 and 4"),
        ({"edges": [np.linspace(1, -1, 4), np.linspace(0, 20, 6)]}, "ascend"),
        ({"edges": [np.array([-1, np.nan, 0, 1]), np.linspace(0, 20, 6)]}, "finite and ascend"),
        ({"limits": [(-np.inf, np.inf), (2.0, 3.0)]}, "finite and ascend"),
        ({"plotted": [4, 1]}, "plotted ones in order"),
        ({"others": [2, 2]}, "each once"),
        ({"signal": NAN, "pixels": np.ones((3, 5))}, "signal must be finite where pixels contribute; 15 are not"),
        ({"variance": NAN, "pixels": np.ones((3, 5))}, "variance must be finite"),
        ({"variance": -np.ones((3, 5)), "pixels": np.ones((3, 5))}, "variances must not be negative, got -1"),
        ({"pixels": -np.ones((3, 5))}, "numbers of pixels must not be negative"),
        ({"matrix": np.ones((4, 4))}, "axis 1 must be a momentum"),
        ({"matrix": np.diag([1.0, 1.0, 1.0, 2.0])}, "energy axis must be in meV"),
        ({"matrix": np.diag([0.0, 1.0, 1.0, 1.0])}, "not all zero"),
        ({"matrix": np.diag([0.0, 1.0, 1.0, 1.0]), "offset": (1.0, 0.0, 0.0, 0.0)}, "finite and independent"),
        ({"names": ["a", "b"]}, "four labels"),
    ],
)
def test_malformed_files(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    file = Cut(**change).write(tmp_path / "cut.d2d")
    with pytest.raises(ValueError, match=words) as caught:
        read_horace(file)
    assert "cut.d2d" in str(caught.value)


def test_files_that_end_early_go_on_or_are_another_kind(tmp_path: Path) -> None:
    content = Cut().content()
    for name, data, words in (
        ("cut.d2d", content[:-1], "ends within the numbers of pixels"),
        ("cut.d2d", content + b"more", "goes on for 4 bytes"),
        ("cut.d2d", b"", "ends within"),
        ("cut.d2d", b"Qh Qk intensity\n", "must lie between 0 and 1000000"),
        ("cut.dat", content, "must end in"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=words):
            read_horace(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_horace(tmp_path / "other.d2d")


@pytest.mark.parametrize("kind", [0, 1])
def test_damaged_files(tmp_path: Path, kind: int) -> None:
    good = Cut(kind=kind).write(tmp_path / ("good.sqw" if kind else "good.d2d"))
    content = good.read_bytes()
    outcome = readings(read_horace, good, tmp_path, truncated(content))
    assert outcome.count("read") <= kind  # what follows the image of an .sqw is not looked at
    outcome = readings(read_horace, good, tmp_path, flipped(content, number=400))
    assert 0 < outcome.count("read") < len(outcome)
