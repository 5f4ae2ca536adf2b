"""Scans of a triple-axis spectrometer in NeXus files: the definition NXtas, and SPICE's columns beside it.

One group a scan (NXentry). SPICE's columns are the data sets of its group SPICElogs (NXcollection), with the names that they
have in the text form, and the header is the attributes of that group; this is how the TAVI program of the HFIR stores scans.
Without that group the places of NXtas are read (its data sets have one number a point, or one for all):

    sample/qh, qk, ql (r.l.u.), en (meV), monochromator/ei, analyser/ef (meV), detector/data (counts), monitor/data

Monochromator, analyser and detector lie in the entry's NXinstrument, sample and monitor in the entry.
"""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from insdl.measured.hdf5_file import HDF5File, opened
from insdl.measured.spice import Scan, checked_scan

_Reals = npt.NDArray[np.float64]
SUFFIXES = (".nxs", ".h5", ".hdf5")
_LOGS = "SPICElogs"
_ENERGY_UNITS = ("mev", "millielectronvolt", "millielectronvolts")


def spice_entries(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Names of the scans in a file, sorted; empty where it holds none.

    Raises
    ------
    FileNotFoundError, ValueError
        For a missing file, another ending, or one that is no HDF5.
    """
    with opened(path, SUFFIXES) as (file, _):
        return tuple(_entries(file))


def read_spice_nexus(path: str | os.PathLike[str], *, entry: str | None = None) -> Scan:
    """One scan of a NeXus file, as `insdl.measured.read_spice` gives it.

    Parameters
    ----------
    path : file, .nxs, .h5 or .hdf5.
    entry : str or None. The scan's group; needed only where the file holds several.

    Raises
    ------
    FileNotFoundError, ValueError
        For a missing file, one that is no HDF5 or holds no scan or several, a missing or ambiguous group or data set,
        columns of different lengths or of more than one number a point, energies in another unit, no points, or counts that
        are negative or not finite.
    """
    with opened(path, SUFFIXES) as (file, digest):
        name = _chosen(file, _entries(file), entry)
        if file.has(f"/{name}/{_LOGS}"):
            columns, header, left_out = _logged(file, f"/{name}/{_LOGS}")
        else:
            columns, header, left_out = _defined(file, f"/{name}"), {}, []
        if title := file.text(f"/{name}/title", ""):
            header.setdefault("scan_title", title)
        source = f"{file.path.name}, {name}"
    scan = checked_scan(source, digest, columns, header)
    if not left_out:
        return scan
    note = f"columns of text were left out: {', '.join(left_out)}"
    return Scan(scan.columns, scan.header, scan.counter, source, digest, (*scan.notes, note))


def _entries(file: HDF5File) -> list[str]:
    return [
        name
        for name in file.groups("/")
        if file.has(f"/{name}/{_LOGS}") or file.text(f"/{name}/definition", "").strip() == "NXtas"
    ]


def _chosen(file: HDF5File, entries: list[str], entry: str | None) -> str:
    if entry is None:
        if len(entries) == 1:
            return entries[0]
        if not entries:
            raise ValueError(f"{file.path} holds no scan: no group has the definition NXtas or a group {_LOGS}")
        raise ValueError(f"{file.path} holds {len(entries)} scans, so entry must name one: {', '.join(entries[:10])}")
    if entry not in entries:
        raise ValueError(f"entry must be one of the scans of {file.path}, {entries[:10]}, got {entry!r}")
    return entry


def _logged(file: HDF5File, where: str) -> tuple[dict[str, _Reals], dict[str, str], list[str]]:
    """Columns and header as SPICE has them, and the names of those columns that hold text."""
    names = file.data_sets(where)
    texts = [name for name in names if file.is_text(f"{where}/{name}")]
    columns = {name: _points(file, f"{where}/{name}") for name in names if name not in texts}
    lengths = {len(values) for values in columns.values()}
    if lengths == {0} or not lengths:
        raise ValueError(f"{file.path}: {where} holds no points")
    if len(lengths) > 1:
        sizes = {name: len(values) for name, values in columns.items()}
        most = max(sizes.values())
        odd = next(name for name, size in sizes.items() if size != most)
        raise ValueError(f"{file.path}: column {odd} must have {most} points as the others have, got {sizes[odd]}")
    header = {key: text for key, text in file.attributes(where).items() if key not in ("NX_class", "EX_required")}
    return columns, header, texts


def _defined(file: HDF5File, where: str) -> dict[str, _Reals]:
    """Columns from the places that NXtas names, under the names that SPICE has for them."""
    sample = _of_class(file, where, "NXsample", ("sample",))
    instrument = _of_class(file, where, "NXinstrument", ("instrument",))
    needed = {f"{name[-1]}": f"{sample}/{name}" for name in ("qh", "qk", "ql")} | {"e": f"{sample}/en"}
    needed["detector"] = f"{_of_class(file, instrument, 'NXdetector', ('detector',))}/data"
    optional = {
        "ei": [f"{instrument}/monochromator/ei"],
        "ef": [f"{instrument}/analyser/ef", f"{instrument}/analyzer/ef"],
        "monitor": [f"{where}/monitor/data", f"{where}/control/data"],
    }
    places = needed | {
        name: found[0] for name, known in optional.items() if (found := [place for place in known if file.has(place)])
    }
    for name in ("e", "ei", "ef"):
        unit = file.attribute(places[name], "units", "meV") if name in places and file.has(places[name]) else "meV"
        if unit.strip().lower() not in _ENERGY_UNITS:
            raise ValueError(f"{file.path}: {places[name]} must be in meV, got the units {unit!r}")
    columns = {name: _points(file, place) for name, place in places.items()}
    number = len(columns["detector"])
    if number == 0:
        raise ValueError(f"{file.path}: {places['detector']} holds no points")
    for name, values in columns.items():
        if len(values) not in (1, number):
            raise ValueError(
                f"{file.path}: {places[name]} must have {number} points as the detector has, or one for all, got {len(values)}"
            )
    return {name: np.array(np.broadcast_to(values, number)) for name, values in columns.items()}


def _of_class(file: HDF5File, where: str, nx_class: str, names: tuple[str, ...]) -> str:
    """The group of this class: the one with a known name, or the only one."""
    groups = file.groups(where)
    for name in names:
        if name in groups:
            return f"{where}/{name}"
    found = [name for name in groups if file.attribute(f"{where}/{name}", "NX_class", "") == nx_class]
    if len(found) != 1:
        raise ValueError(f"{file.path}: {where} must hold one group of class {nx_class}, got {found}")
    return f"{where}/{found[0]}"


def _points(file: HDF5File, where: str) -> _Reals:
    """One number a point; a single number is a scan of one point."""
    values = file.numbers(where)
    if values.ndim > 1 and values.size != values.shape[0]:
        raise ValueError(f"{file.path}: {where} must hold one number a point, got shape {values.shape}")
    return values.reshape(-1)
