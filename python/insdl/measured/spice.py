"""Scans of a triple-axis spectrometer in SPICE's text form.

Lines ``# key = value`` first, then ``# col_headers =`` and a line with the names of the columns, one row of numbers a point,
and comments at the end. The same scans in NeXus files: `insdl.measured.spice_nexus`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from insdl.crystal import shown
from insdl.measured.histogram import existing_file, sha256_of

_Reals = npt.NDArray[np.float64]
_NEEDED = ("h", "k", "l", "e")


@dataclass(frozen=True, eq=False)
class Scan:
    """The points of a scan, in the order in which they were measured.

    Attributes
    ----------
    columns : mapping of name to (n_points,) float64. Every column as the file has it.
    header : mapping of key to value, str. As the file has it.
    counter : str. The column that was counted.
    source, sha256, notes : as in `Histogram`.
    """

    columns: Mapping[str, npt.NDArray[np.float64]]
    header: Mapping[str, str]
    counter: str
    source: str
    sha256: str
    notes: tuple[str, ...] = ()

    @property
    def q_rlu(self) -> _Reals:
        """(n_points, 3) float64, r.l.u. Momentum transfers."""
        return np.stack([self.columns[name] for name in "hkl"], axis=1)

    @property
    def energy_transfer(self) -> _Reals:
        """(n_points,) float64, meV. Positive where the neutron lost energy."""
        return self.columns["e"]

    @property
    def counts(self) -> _Reals:
        """(n_points,) float64. Neutrons in the detector."""
        return self.columns[self.counter]

    @property
    def error(self) -> _Reals:
        """(n_points,) float64. sqrt(counts), and 1 for no counts: an error of zero would weigh without bound."""
        return np.sqrt(np.maximum(self.counts, 1.0))

    @property
    def monitor(self) -> _Reals | None:
        """(n_points,) float64, or None. Counts of the monitor."""
        return self.columns.get("monitor")


def read_spice(path: str | os.PathLike[str]) -> Scan:
    """The scan in a SPICE .dat file.

    Raises
    ------
    FileNotFoundError, ValueError
        For a missing file, one that is no text, no names of columns, names that repeat, a row with another number of
        columns or with words, no points, no h, k, l or e, or counts that are negative or not finite.
    """
    file = existing_file(path, (".dat",))
    content = file.read_bytes()
    if not content or b"\0" in content:
        raise ValueError(f"{file} is not text")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")  # names of users and samples, as older computers wrote them
    header: dict[str, str] = {}
    names: list[str] = []
    rows: list[list[float]] = []
    names_follow = False
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line:
            continue
        if line.startswith("#"):
            words = line[1:].strip()
            if names_follow:
                names, names_follow = words.split(), False
                continue
            key, equals, value = words.partition("=")
            if key.strip() == "col_headers":
                if names:
                    raise ValueError(f"{file}, line {number}: the columns are named a second time")
                names_follow = True
            elif equals and not rows:
                header[key.strip()] = value.strip()
            continue
        if not names:
            raise ValueError(f"{file}, line {number}: numbers come before the names of the columns (# col_headers)")
        try:
            row = [float(word) for word in line.split()]
        except ValueError:
            raise ValueError(f"{file}, line {number} must hold numbers, got {shown(line)}") from None
        if len(row) != len(names):
            raise ValueError(f"{file}, line {number} must hold {len(names)} numbers, one a column, got {len(row)}")
        rows.append(row)
    if not names:
        raise ValueError(f"{file} does not name its columns (# col_headers)")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{file} names the columns {repeated} more than once")
    if not rows:
        raise ValueError(f"{file} holds no points")
    columns = {name: np.array(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}
    return checked_scan(file.name, sha256_of(content), columns, header)


def checked_scan(source: str, digest: str, columns: dict[str, _Reals], header: dict[str, str]) -> Scan:
    """The scan with these columns; counted is what the header plots (``def_y``), or the detector.

    Raises
    ------
    ValueError
        For no h, k, l, e or counter among the columns, or counts that are negative or not finite.
    """
    missing = [name for name in _NEEDED if name not in columns]
    plotted = header.get("def_y")
    counter = plotted if plotted in columns else "detector"
    if missing or counter not in columns:
        raise ValueError(f"{source} lacks the columns {[*missing, *([] if counter in columns else [counter])]}")
    for name in (*_NEEDED, counter):
        if not np.isfinite(columns[name]).all():
            raise ValueError(
                f"{source}: column {name} must be finite; point {int(np.argmin(np.isfinite(columns[name])))} is not"
            )
    if (columns[counter] < 0).any():
        raise ValueError(f"{source}: counts must not be negative, got {columns[counter].min():g}")
    notes = ["errors are sqrt(counts), and 1 for no counts"]
    if plotted not in (None, counter):
        notes.append(f"the file plots {plotted}, which is no column; the counts are those of {counter}")
    if {"ei", "ef"} <= set(columns):
        gap = np.abs(columns["ei"] - columns["ef"] - columns["e"]).max()
        if gap > 0.05:
            notes.append(f"e differs from ei - ef by up to {gap:.3g} meV")
    return Scan(MappingProxyType(columns), MappingProxyType(header), counter, source, digest, tuple(notes))
