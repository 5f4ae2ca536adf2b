"""Reduced spectra of a direct-geometry spectrometer: nxspe files (NeXus on HDF5), one spectrum a detector.

Layout as Mantid's LoadNXSPE and SaveNXSPE have it: one entry with NXSPE_info (fixed_energy in meV, psi in degrees,
ki_over_kf_scaling) and data (data, error, energy, polar, azimuthal, their widths, distance). Angles are in degrees in the
file and in radian here. Detectors without data hold NaN, or -1e30 in older files.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from insdl.crystal import real_numbers
from insdl.measured.hdf5_file import HDF5File, fixed, opened

_Reals = npt.NDArray[np.float64]
_MASKED_BELOW = -1e10  # as LoadNXSPE takes it


@dataclass(frozen=True, eq=False)
class DetectorSpectra:
    """Intensity against energy transfer for each detector.

    Attributes
    ----------
    signal : (n_detectors, n_energies) float64. Intensity per meV, NaN where not measured.
    error : (n_detectors, n_energies) float64. Standard deviation, NaN where not measured.
    energy_edges : (n_energies + 1,) float64, meV. Of the energy transfer, ascending.
    two_theta : (n_detectors,) float64, radian. Scattering angle, 0 to pi.
    azimuth : (n_detectors,) float64, radian. Around the beam, from the horizontal x axis towards y, which points up.
    distance : (n_detectors,) float64, m. From the sample; NaN where the file does not say.
    incident_energy : float, meV.
    psi : float, radian. Rotation of the crystal about the vertical; NaN where the file does not say.
    ki_over_kf : bool or None. Whether the intensities were multiplied by ki/kf; None where the file does not say.
    source, sha256, notes : as in `Histogram`.
    """

    signal: npt.NDArray[np.float64]
    error: npt.NDArray[np.float64]
    energy_edges: npt.NDArray[np.float64]
    two_theta: npt.NDArray[np.float64]
    azimuth: npt.NDArray[np.float64]
    distance: npt.NDArray[np.float64]
    incident_energy: float
    psi: float
    ki_over_kf: bool | None
    source: str
    sha256: str
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        signal = real_numbers(self.signal, "signal")
        if signal.ndim != 2 or not signal.size:
            raise ValueError(f"signal must have shape (n_detectors, n_energies), got {signal.shape}")
        n, m = signal.shape
        error = real_numbers(self.error, "error")
        if error.shape != signal.shape:
            raise ValueError(f"error must have the shape of the signal, {signal.shape}, got {error.shape}")
        if np.isinf(signal).any():
            raise ValueError("signal must be finite where measured and NaN elsewhere; it holds infinite values")
        missing = np.isnan(signal)
        bad = np.argwhere(~missing & ~(np.isfinite(error) & (error >= 0)))
        if len(bad):
            where = tuple(bad[0].tolist())
            raise ValueError(
                f"error must be finite and not negative where the signal was measured, got {error[where]} at {where}"
            )
        edges = real_numbers(self.energy_edges, "energy_edges")
        if edges.shape != (m + 1,) or not np.isfinite(edges).all() or not (np.diff(edges) > 0).all():
            raise ValueError(f"energy_edges must be {m + 1} finite, ascending energies, got shape {edges.shape}")
        for name in ("two_theta", "azimuth", "distance"):
            values = real_numbers(getattr(self, name), name)
            if values.shape != (n,):
                raise ValueError(f"{name} must have one value a detector, ({n},), got {values.shape}")
            if name != "distance" and not np.isfinite(values).all():
                raise ValueError(f"{name} must be finite; detector {int(np.argmin(np.isfinite(values)))} is not")
            object.__setattr__(self, name, values)
        if ((self.two_theta < 0) | (self.two_theta > np.pi + 1e-6)).any():
            raise ValueError("two_theta must lie between 0 and pi")
        if not (np.isfinite(self.incident_energy) and self.incident_energy > 0):
            raise ValueError(f"incident_energy must be positive (meV), got {self.incident_energy}")
        if edges[-1] > self.incident_energy * (1 + 1e-6):
            raise ValueError(
                f"a neutron cannot lose more than its {self.incident_energy:g} meV; the energies reach {edges[-1]:g} meV"
            )
        object.__setattr__(self, "signal", signal)
        object.__setattr__(self, "error", np.where(missing, np.nan, error))
        object.__setattr__(self, "energy_edges", edges)

    @property
    def measured(self) -> npt.NDArray[np.bool_]:
        """(n_detectors, n_energies) bool. True where there is a signal."""
        return ~np.isnan(self.signal)


def read_nxspe(path: str | os.PathLike[str]) -> DetectorSpectra:
    """The spectra in an nxspe file.

    Raises
    ------
    FileNotFoundError, ValueError
        For a missing file, one that is no HDF5, a missing group or field, shapes that do not fit, energies that do not
        ascend, errors that are negative or NaN where the signal is not, or a fixed energy a detector (indirect geometry).
    """
    with opened(path, (".nxspe",)) as (file, digest):
        entry = _entry(file)
        info, data = f"{entry}/NXSPE_info", f"{entry}/data"
        energy = file.numbers(f"{info}/fixed_energy")
        if energy.size != 1:
            raise ValueError(
                f"{file.path} has {energy.size} fixed energies, one a detector: only direct geometry can be read"
            )
        signal = file.numbers(f"{data}/data", ndim=2)
        error = file.numbers(f"{data}/error", ndim=2)
        edges = file.numbers(f"{data}/energy", ndim=1)
        two_theta = np.radians(file.numbers(f"{data}/polar", ndim=1))
        azimuth = np.radians(file.numbers(f"{data}/azimuthal", ndim=1))
        distance = np.full(len(signal), np.nan)
        if file.has(f"{data}/distance"):
            distance = file.numbers(f"{data}/distance", ndim=1)
        psi = np.radians(file.number(f"{info}/psi")) if file.has(f"{info}/psi") else np.nan
        scaled = None
        if file.has(f"{info}/ki_over_kf_scaling"):
            scaled = file.number(f"{info}/ki_over_kf_scaling") != 0
        where = file.path
    notes = []
    if signal.size and edges.shape == (signal.shape[1],):
        edges = _edges_of(edges, where)
        notes.append("the file holds the middles of the energy bins; their edges were put halfway between")
    masked = ~np.isnan(signal) & (signal <= _MASKED_BELOW)
    signal = np.where(masked, np.nan, signal)
    if masked.any():
        notes.append("values below -1e10 mark detectors that were not read")
    silent = (signal == 0).all(axis=1) & (error == 0).all(axis=1) if error.shape == signal.shape else np.zeros(0, bool)
    if silent.any():
        notes.append(
            f"{int(silent.sum())} of {len(signal)} detectors have nothing but zeros without error, as spectra without a "
            "detector have; they count as measured"
        )
    if np.isnan(psi):
        notes.append("the file does not say how the crystal was turned (psi)")
    try:
        return DetectorSpectra(
            signal, error, edges, two_theta, azimuth, distance, float(energy.reshape(-1)[0]), float(psi), scaled,
            where.name, digest, tuple(notes),
        )  # fmt: skip
    except ValueError as problem:
        raise ValueError(f"{where}: {problem}") from None


def write_nxspe(path: str | os.PathLike[str], spectra: DetectorSpectra) -> None:
    """Writes spectra as nxspe, version 1.3, as Mantid's SaveNXSPE does; widths of the detectors are zero.

    Raises
    ------
    ValueError
        If the name does not end in .nxspe.
    """
    import h5py

    file = Path(path)
    if file.suffix.lower() != ".nxspe":
        raise ValueError(f"{file} must end in .nxspe, got {file.suffix or 'no ending'!r}")
    n = len(spectra.signal)
    with h5py.File(file, "w") as root:
        entry = _group(root, "entry", "NXentry")
        entry["definition"] = fixed("NXSPE")
        entry["definition"].attrs["version"] = fixed("1.3")
        entry["program_name"] = fixed("insdl")
        info = _group(entry, "NXSPE_info", "NXcollection")
        info["fixed_energy"] = np.array([spectra.incident_energy])
        info["fixed_energy"].attrs["units"] = fixed("meV")
        info["psi"] = np.array([np.degrees(spectra.psi)])
        info["psi"].attrs["units"] = fixed("degrees")
        if spectra.ki_over_kf is not None:
            info["ki_over_kf_scaling"] = np.array([int(spectra.ki_over_kf)], dtype=np.int32)
        instrument = _group(entry, "instrument", "NXinstrument")
        instrument["name"] = fixed("NXSPE")
        _group(entry, "sample", "NXsample")
        data = _group(entry, "data", "NXdata")
        data["energy"] = spectra.energy_edges
        data["energy"].attrs["units"] = fixed("meV")
        data["data"] = spectra.signal
        data["data"].attrs["signal"] = 1
        data["data"].attrs["axes"] = fixed("polar:energy")
        data["error"] = np.where(spectra.measured, spectra.error, 0.0)
        data["polar"] = np.degrees(spectra.two_theta)
        data["azimuthal"] = np.degrees(spectra.azimuth)
        data["polar_width"] = np.zeros(n)
        data["azimuthal_width"] = np.zeros(n)
        if np.isfinite(spectra.distance).all():
            data["distance"] = spectra.distance


def _group(parent: Any, name: str, nx_class: str) -> Any:
    group = parent.create_group(name)
    group.attrs["NX_class"] = fixed(nx_class)
    return group


def _entry(file: HDF5File) -> str:
    """The one entry with NXSPE_info: Mantid names it after the workspace."""
    entries = [name for name in file.groups() if file.has(f"/{name}/NXSPE_info")]
    if len(entries) != 1:
        raise ValueError(f"{file.path} must hold one entry with the group NXSPE_info, got {len(entries)}")
    return f"/{entries[0]}"


def _edges_of(centres: _Reals, where: Path) -> _Reals:
    if len(centres) < 2 or not np.isfinite(centres).all() or not (np.diff(centres) > 0).all():
        raise ValueError(f"{where}: the energies must be finite and ascend")
    middle = 0.5 * (centres[1:] + centres[:-1])
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])
