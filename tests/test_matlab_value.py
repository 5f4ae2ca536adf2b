"""MATLAB values from bytes written by hand; malformed ones are in test_horace_v4.py."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from insdl.measured.binary_file import binary_file
from insdl.measured.matlab_value import read_value


def read(folder: Path, content: bytes) -> Any:
    (folder / "value").write_bytes(content)
    with binary_file(folder / "value") as data:
        found = read_value(data, "test")
        assert data.left == 0
    return found


@pytest.mark.parametrize(
    ("kind", "code"),
    [(0, "B"), (3, "d"), (4, "f"), (5, "b"), (6, "B"), (7, "h"), (8, "H"), (9, "i"), (10, "I"), (11, "q"), (12, "Q")],
)
def test_numbers_run_down_the_columns(tmp_path: Path, kind: int, code: str) -> None:
    content = struct.pack(f"<2B2I6{code}", kind, 2, 2, 3, *range(6))
    np.testing.assert_array_equal(read(tmp_path, content), [[0, 2, 4], [1, 3, 5]])


def test_texts_cells_and_structures(tmp_path: Path) -> None:
    text = b"\x01\x01" + struct.pack("<I", 2) + b"ab"
    none = b"\x03\x00"
    assert read(tmp_path, text) == "ab"
    assert read(tmp_path, b"\x01\x00") == ""
    assert read(tmp_path, none).size == 0
    assert read(tmp_path, b"\x17\x02" + struct.pack("<2I", 1, 2) + text + text) == ["ab", "ab"]
    assert read(tmp_path, b"\x17\x00") == []
    names = struct.pack("<3I", 2, 1, 3) + b"x" + b"yes"
    cell = b"\x17\x02" + struct.pack("<2I", 2, 1) + text + b"\x20" + text
    assert read(tmp_path, b"\x18\x01" + struct.pack("<I", 1) + names + cell) == {"x": "ab", "yes": "ab"}
    other = b"\x01\x01" + struct.pack("<I", 1) + b"c"
    cells = b"\x17\x03" + struct.pack("<3I", 2, 1, 2) + text + text + other + other
    several = read(tmp_path, b"\x18\x02" + struct.pack("<2I", 1, 2) + names + cells)
    assert several == [{"x": "ab", "yes": "ab"}, {"x": "c", "yes": "c"}]
