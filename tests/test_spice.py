"""SPICE scans: columns, header, errors, and everything that is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from damaged import flipped, readings, truncated
from insdl.measured import read_spice

GOOD = """# scan = 12
# scan_title = a made-up scan, E = 4 meV
# def_x = h
# def_y = detector
# command =
# col_headers =
#   Pt.   h      k      l      e      ei     ef     detector  monitor
      1   0.5000 0.0000 1.0000 3.9954 17.500 13.505   93.000  1000.000
      2   0.6000 0.0000 1.0000 3.9954 17.500 13.505    0.000  1001.000

      3   0.7000 0.0000 1.0000 3.9954 17.500 13.505  400.000  1002.000
# Sum of Counts = 493
# 3:11:19 PM  1/1/2000 scan completed.
"""


def write(folder: Path, content: str | bytes, name: str = "scan.dat") -> Path:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / name


def test_a_scan(tmp_path: Path) -> None:
    scan = read_spice(write(tmp_path, GOOD))
    np.testing.assert_array_equal(scan.q_rlu, [[0.5, 0, 1], [0.6, 0, 1], [0.7, 0, 1]])
    np.testing.assert_array_equal(scan.energy_transfer, [3.9954] * 3)
    np.testing.assert_array_equal(scan.counts, [93, 0, 400])
    np.testing.assert_allclose(scan.error, [np.sqrt(93), 1.0, 20.0])
    assert scan.monitor is not None
    np.testing.assert_array_equal(scan.monitor, [1000, 1001, 1002])
    assert scan.header["scan_title"] == "a made-up scan, E = 4 meV"
    assert scan.header["command"] == ""
    assert "Sum of Counts" not in scan.header
    assert set(scan.columns) == {"Pt.", "h", "k", "l", "e", "ei", "ef", "detector", "monitor"}
    assert len(scan.notes) == 1


def test_other_counters_and_energies_that_do_not_agree(tmp_path: Path) -> None:
    """def_y names the counter; if it is no column, the detector is taken and that is said."""
    assert read_spice(write(tmp_path, GOOD.replace("def_y = detector", "def_y = monitor"))).counter == "monitor"
    odd = read_spice(write(tmp_path, GOOD.replace("def_y = detector", "def_y = sum").replace("13.505", "13.000")))
    assert odd.counter == "detector"
    assert "the file plots sum" in odd.notes[1]
    assert "differs from ei - ef by up to 0.505 meV" in odd.notes[2]
    plain = read_spice(write(tmp_path, "".join(line for line in GOOD.splitlines(True) if "def_y" not in line)))
    assert plain.counter == "detector"
    assert plain.monitor is not None
    latin = read_spice(write(tmp_path, GOOD.replace("made-up", "m\xe4de-up").encode("latin-1")))
    assert latin.header["scan_title"].startswith("a mäde-up")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("# col_headers =\n", "", "numbers come before the names of the columns"),
        ("0.6000 0.0000 1.0000", "0.6000 0.0000", "line 9 must hold 9 numbers, one a column, got 8"),
        ("0.6000", "h", "line 9 must hold numbers"),
        ("   93.000", "  -93.000", "counts must not be negative, got -93"),
        ("   93.000", "      nan", "column detector must be finite; point 0 is not"),
        ("0.6000", "   inf", "column h must be finite; point 1 is not"),
        ("monitor\n", "detector\n", r"names the columns \['detector'\] more than once"),
        (" e  ", " en ", r"lacks the columns \['e'\]"),
        (" detector  monitor", " det  monitor", r"lacks the columns \['detector'\]"),
        ("# Sum of Counts = 493", "# col_headers =", "named a second time"),
    ],
)
def test_malformed_files(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in GOOD
    with pytest.raises(ValueError, match=words) as caught:
        read_spice(write(tmp_path, GOOD.replace(old, new)))
    assert "scan.dat" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not text"),
        (b"\x89HDF\r\n\x1a\n\0\0", "is not text"),
        (b"# scan = 1\n", "does not name its columns"),
        (b"# col_headers =\n# h k l e detector\n", "holds no points"),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_spice(write(tmp_path, content))


def test_names_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_spice(tmp_path / "other.dat")
    with pytest.raises(ValueError, match=r"must end in \.dat"):
        read_spice(write(tmp_path, GOOD, "scan.txt"))


def test_damaged_files(tmp_path: Path) -> None:
    """A scan that ends after whole rows is a shorter scan."""
    good = write(tmp_path, GOOD, "good.dat")
    outcome = readings(read_spice, good, tmp_path, truncated(GOOD.encode()))
    assert 0 < outcome.count("read") < 25
    outcome = readings(read_spice, good, tmp_path, flipped(GOOD.encode(), number=400))
    assert 0 < outcome.count("read") < len(outcome)
