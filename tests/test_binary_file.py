"""A binary file piece by piece: numbers, texts, and what is said where it ends."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from insdl.measured.binary_file import binary_file


def test_pieces(tmp_path: Path) -> None:
    content = struct.pack("<iBQd", -3, 200, 2**60, 0.5) + struct.pack("<I", 2) + b"hi" + struct.pack("<3f", 1, 2, 3)
    (tmp_path / "file").write_bytes(content)
    with binary_file(tmp_path / "file") as data:
        assert data.size == data.left == len(content)
        assert (data.int32("a"), data.uint8("b"), data.uint64("c"), data.float64("d")) == (-3, 200, 2**60, 0.5)
        assert data.text("e") == "hi"
        np.testing.assert_array_equal(data.numbers("<f4", 3, "f"), [1.0, 2.0, 3.0])
        assert data.left == 0
        data.restrict(0, 4, "start")
        assert data.int32("a") == -3
        with pytest.raises(ValueError, match="file ends within the more: 0 bytes of 1 are left at byte 4"):
            data.uint8("more")
        data.restrict(0, 4, "start")
        with pytest.raises(ValueError, match="the number of things must lie between 0 and 5, got -3"):
            data.count("things", 5)


@pytest.mark.parametrize(("start", "length"), [(-1, 2), (0, -1), (0, 9), (9, 0), (4, 5), (2**63, 2**63)])
def test_places_beyond_the_file(tmp_path: Path, start: int, length: int) -> None:
    (tmp_path / "file").write_bytes(bytes(8))
    with binary_file(tmp_path / "file") as data, pytest.raises(ValueError, match="and it ends at byte 8"):
        data.restrict(start, length, "piece")


def test_a_file_cut_while_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(100_000))
    with binary_file(tmp_path / "file") as data:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(ValueError, match="became shorter while it was read"):
            data.take(100_000, "piece")
