"""Mantid's NeXus files: MDHistoWorkspace (SaveMD version 2) and Workspace2D (SaveNexusProcessed).

As SaveMD writes it: /MDHistoWorkspace/data holds signal, errors_squared, num_events and mask in C order with the first
dimension D0 last, the attribute ``axes`` of signal names them in the order of the array ("D2:D1:D0"), and each D is the row
of its edges with units, long_name and frame. Here the first dimension comes first.

A workspace stores Q = ki - kf or, with QConvention "Crystallography", kf - ki; the latter is turned round here.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from insdl.measured.hdf5_file import HDF5File, fixed, opened
from insdl.measured.histogram import Axis, Histogram

_Reals = npt.NDArray[np.float64]
SUFFIXES = (".nxs", ".h5", ".hdf5")
_MD = "/MDHistoWorkspace"


def read_md_histogram(
    path: str | os.PathLike[str],
    *,
    signal: Literal["as stored", "per event"] = "as stored",
    without_events: Literal["not measured", "as stored"] = "not measured",
) -> Histogram:
    """The histogram in an MDHistoWorkspace file.

    Parameters
    ----------
    path : file, .nxs, .h5 or .hdf5.
    signal : "as stored", or "per event" for the mean over the events of a bin: a workspace binned from detector pixels
        stores their sum.
    without_events : what bins with num_events = 0 are. After binning pixels no detector looked there: "not measured".

    Returns
    -------
    Histogram. Axes in Mantid's order D0, D1, ...; a projection where the name of an axis is one such as "[H,-H,0]".

    Raises
    ------
    FileNotFoundError, ValueError
        For a missing file, one that is no HDF5 or holds no such workspace, shapes that do not fit, edges that do not
        ascend, negative or NaN squared errors.
    """
    if signal not in ("as stored", "per event"):
        raise ValueError(f"signal must be 'as stored' or 'per event', got {signal!r}")
    if without_events not in ("not measured", "as stored"):
        raise ValueError(f"without_events must be 'not measured' or 'as stored', got {without_events!r}")
    with opened(path, SUFFIXES) as (file, digest):
        if not file.has(_MD):
            raise ValueError(f"{file.path} holds no group MDHistoWorkspace")
        stored = file.numbers(f"{_MD}/data/signal")
        names = file.attribute(f"{_MD}/data/signal", "axes", "").split(":")
        if len(names) != stored.ndim or len(set(names)) != len(names):
            raise ValueError(
                f"{file.path}: signal must name one axis a dimension, {stored.ndim}, in its attribute 'axes', got {names}"
            )
        squared = _like(file, "errors_squared", stored)
        events = _like(file, "num_events", stored) if file.has(f"{_MD}/data/num_events") else None
        mask = _like(file, "mask", stored) if file.has(f"{_MD}/data/mask") else np.zeros(stored.shape)
        axes = [_dimension(file, name) for name in names]
        convention = file.attribute(_MD, "QConvention", "Inelastic")
        where = file.path
    notes = []
    for axis, length in zip(axes, stored.shape, strict=True):
        if len(axis) != length:
            raise ValueError(f"{where}: axis {axis.name} has {len(axis)} bins and the signal {length}")
    known = np.isfinite(stored) & (mask == 0)
    if events is not None and without_events == "not measured":
        empty = known & (events == 0)
        if empty.any():
            notes.append(f"{int(empty.sum())} of {stored.size} bins hold no events and count as not measured")
        known &= ~empty
    bad = np.argwhere(known & ~(np.isfinite(squared) & (squared >= 0)))
    if len(bad):
        at = tuple(bad[0].tolist())
        raise ValueError(f"{where}: errors_squared must be finite and not negative, got {squared[at]} at {at}")
    value = np.where(known, stored, np.nan)
    error = np.sqrt(np.where(known, squared, np.nan))
    if signal == "per event":
        if events is None or (events[known] <= 0).any():
            raise ValueError(f"{where}: signal='per event' needs num_events above zero in every measured bin")
        number = np.where(known, events, 1.0)
        value, error = value / number, error / number
        notes.append("intensities are per event (detector pixel) of a bin")
    else:
        notes.append("intensities are as stored: a sum over events, unless the workspace was normalised")
    if convention not in ("Inelastic", "Crystallography"):
        raise ValueError(f"{where}: QConvention must be 'Inelastic' or 'Crystallography', got {convention!r}")
    if convention == "Crystallography":
        for place, axis in enumerate(axes):
            if _is_momentum(axis):
                axes[place] = axis.turned()
                value, error = np.flip(value, place), np.flip(error, place)
        notes.append("Q was stored as kf - ki and turned round to ki - kf")
    return Histogram(value.T, error.T, tuple(axes[::-1]), where.name, digest, tuple(notes))


def write_md_histogram(path: str | os.PathLike[str], histogram: Histogram) -> None:
    """Writes a histogram as an MDHistoWorkspace that Mantid's LoadMD reads.

    One event is noted for each measured bin and none elsewhere; what was not measured is masked and NaN.

    Raises
    ------
    ValueError
        If the name does not end in .nxs, .h5 or .hdf5, or an axis has bins of different widths: LoadMD takes only the first
        and the last edge.
    """
    import h5py

    file = Path(path)
    if file.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{file} must end in {' or '.join(SUFFIXES)}, got {file.suffix or 'no ending'!r}")
    for axis in histogram.axes:
        if np.ptp(axis.widths) > 1e-6 * axis.widths.min():
            raise ValueError(f"axis {axis.name} must have bins of one width to be written; rebin it first")
    measured = histogram.measured
    squared = np.zeros(histogram.shape) if histogram.error is None else histogram.error**2
    with h5py.File(file, "w") as root:
        entry = root.create_group("MDHistoWorkspace")
        entry.attrs["NX_class"] = fixed("NXentry")
        entry.attrs["SaveMDVersion"] = np.int32(2)
        entry.attrs["QConvention"] = fixed("Inelastic")
        frames = ["HKL" if axis.projection is not None else "General Frame" for axis in histogram.axes]
        entry["coordinate_system"] = np.array([3 if "HKL" in frames else 0], dtype=np.uint32)
        entry["visual_normalization"] = np.array([0], dtype=np.uint32)
        data = entry.create_group("data")
        data.attrs["NX_class"] = fixed("NXdata")
        for number, (axis, frame) in enumerate(zip(histogram.axes, frames, strict=True)):
            data[f"D{number}"] = np.asarray(axis.edges)
            attributes = data[f"D{number}"].attrs
            attributes["units"] = fixed("DeltaE" if axis.unit == "meV" else axis.unit)
            attributes["long_name"] = fixed(axis.name if axis.projection is None else _named(axis))
            attributes["frame"] = fixed(frame)
        data["signal"] = histogram.signal.T
        data["signal"].attrs["signal"] = np.int32(1)
        data["signal"].attrs["axes"] = fixed(":".join(f"D{n}" for n in reversed(range(len(histogram.axes)))))
        data["errors_squared"] = np.where(measured, squared, 0.0).T
        data["num_events"] = measured.astype(np.float64).T
        data["mask"] = (~measured).astype(np.int8).T


def read_workspace(path: str | os.PathLike[str], *, entry: str | None = None) -> Histogram:
    """The spectra in a processed NeXus file: a Workspace2D.

    Parameters
    ----------
    path : file, .nxs, .h5 or .hdf5.
    entry : str or None. Its name, ``"mantid_workspace_1"`` and so on; None for the only one.

    Returns
    -------
    Histogram. Axes: axis2 (the spectra, or what they were binned in), axis1 (such as the energy transfer in meV). Where the
    file holds the middles of bins or the numbers of spectra, edges lie halfway between, and the notes say so.

    Raises
    ------
    FileNotFoundError, ValueError
        For a missing file, one that is no HDF5 or holds no such workspace, several of them without a choice, spectra with
        different bins, shapes that do not fit, axes that do not ascend, negative or NaN errors.
    """
    with opened(path, SUFFIXES) as (file, digest):
        entries = [name for name in file.groups() if file.has(f"/{name}/workspace/values")]
        if entry is not None and entry not in entries:
            raise ValueError(f"{file.path} holds the workspaces {entries}, got {entry!r}")
        if entry is None and len(entries) != 1:
            raise ValueError(f"{file.path} must hold one workspace, or one must be named; it holds {entries}")
        where = f"/{entries[0] if entry is None else entry}/workspace"
        values = file.numbers(f"{where}/values", ndim=2)
        errors = file.numbers(f"{where}/errors", ndim=2)
        along, across = file.numbers(f"{where}/axis1"), file.numbers(f"{where}/axis2", ndim=1)
        units = [file.attribute(f"{where}/{name}", "units", "unknown") for name in ("axis1", "axis2")]
        distribution = file.attribute(f"{where}/axis1", "distribution", "0").startswith("1")
        path = file.path
    if along.ndim == 2 and len(along) and (along == along[0]).all():
        along = along[0]
    if along.ndim != 1:
        raise ValueError(f"{path}: the spectra have different bins; rebin them to common ones first")
    notes = ["intensities are per unit of axis1" if distribution else "intensities are counts of the bins of axis1"]
    notes.append("detectors masked in the instrument of the workspace are not looked up")
    axes = []
    for name, unit, edges, length in (
        ("axis2", units[1], across, values.shape[0]),
        ("axis1", units[0], along, values.shape[1]),
    ):
        if unit == "spectraNumber":
            edges = np.arange(length + 1) - 0.5
            notes.append(f"{name} counts the spectra from 0, in the order of the file")
        elif len(edges) == length and length > 1:
            middle = 0.5 * (edges[1:] + edges[:-1])
            edges = np.concatenate([[2 * edges[0] - middle[0]], middle, [2 * edges[-1] - middle[-1]]])
            notes.append(f"{name} holds the middles of its bins; their edges were put halfway between")
        elif len(edges) != length + 1:
            raise ValueError(f"{path}: {name} has {len(edges)} values for {length} bins")
        label, what = {"DeltaE": ("E", "meV"), "MomentumTransfer": ("|Q|", "1/angstrom")}.get(unit, (name, unit))
        axes.append(_axis(path, label, what, edges, None))
    try:
        return Histogram(values, errors, tuple(axes), path.name, digest, tuple(notes))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def projection_of(name: str) -> _Reals | None:
    """The direction in the name of an axis: (1, -1, 0) for "[H,-H,0]", None for a name that is none.

    Each of the three places is 0 or a factor times one letter, the same throughout: H, K, L or another for a shared
    coordinate, as in "[0.5K,K,0]".
    """
    match = re.fullmatch(r"\[([^,\]]+),([^,\]]+),([^,\]]+)\]", name.replace(" ", ""))
    if match is None:
        return None
    direction, letters = [], set()
    for part in match.groups():
        number = re.fullmatch(r"([+-]?\d*\.?\d*)\*?([A-Za-z]?)", part)
        if number is None:
            return None
        factor, letter = number.groups()
        if not letter:
            try:
                if float(factor) != 0:
                    return None
            except ValueError:
                return None
            direction.append(0.0)
            continue
        letters.add(letter.upper())
        try:
            direction.append(float(factor + "1") if factor in ("", "+", "-") else float(factor))
        except ValueError:
            return None
    return np.array(direction) if len(letters) == 1 and any(direction) else None


def _named(axis: Axis) -> str:
    """The name of a direction as Mantid writes it, from which `projection_of` gives it back."""
    direction = np.asarray(axis.projection)
    letter = "HKL"[int(np.argmax(direction != 0))]
    words = []
    for factor in direction.tolist():
        sign = {1.0: letter, -1.0: f"-{letter}", 0.0: "0"}
        words.append(sign.get(factor, f"{factor:.15f}".rstrip("0") + letter))
    return f"[{','.join(words)}]"


def _is_momentum(axis: Axis) -> bool:
    """As Mantid decides it: a name that begins with a bracket or with Q_."""
    return axis.name.startswith(("[", "Q_"))


def _like(file: HDF5File, name: str, signal: _Reals) -> _Reals:
    values = file.numbers(f"{_MD}/data/{name}")
    if values.shape != signal.shape:
        raise ValueError(f"{file.path}: {name} must have the shape of the signal, {signal.shape}, got {values.shape}")
    return values


def _dimension(file: HDF5File, name: str) -> Axis:
    where = f"{_MD}/data/{name}"
    edges = file.numbers(where, ndim=1)
    label = file.attribute(where, "long_name", name)
    unit = file.attribute(where, "units", "unknown")
    projection = projection_of(label)
    if projection is not None:
        unit = "r.l.u."
    elif unit in ("DeltaE", "meV"):
        unit = "meV"
    elif unit in ("Angstrom^-1", "A^-1", "Ang^-1"):
        unit = "1/angstrom"
    return _axis(file.path, label, unit, edges, projection)


def _axis(path: Path, name: str, unit: str, edges: _Reals, projection: _Reals | None) -> Axis:
    try:
        return Axis(name, unit, edges, projection)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
