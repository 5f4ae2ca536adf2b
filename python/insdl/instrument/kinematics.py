"""Direct geometry: wave numbers, where in Q a detector looks at an energy transfer, and which detector sees a given Q.

Laboratory axes: x horizontal, y up, z along the incident beam. The momentum that the sample takes up is Q = ki - kf, the
energy E = Ei - Ef, with k^2 = energy / 2.0721 (1/angstrom, meV).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from insdl.crystal import reciprocal
from insdl.units import NEUTRON_E_PER_K2

_Reals = npt.NDArray[np.float64]


def wave_number(energy: npt.ArrayLike) -> _Reals:
    """Wave number of a neutron, sqrt(energy / 2.0721), 1/angstrom; NaN for a negative energy (meV)."""
    values = np.asarray(energy, dtype=np.float64)
    return np.sqrt(np.where(values >= 0.0, values, np.nan) / NEUTRON_E_PER_K2)


def momentum_transfer(
    two_theta: npt.ArrayLike, azimuth: npt.ArrayLike, energy_transfer: npt.ArrayLike, *, incident_energy: npt.ArrayLike
) -> _Reals:
    """Momentum transfer that a detector sees, in laboratory axes.

    Parameters
    ----------
    two_theta : broadcastable, radian. Angle between incident and scattered beam.
    azimuth : broadcastable, radian. Of the scattered beam around the incident one, from x (0) to y (pi/2).
    energy_transfer : broadcastable, meV. Positive where the neutron loses energy.
    incident_energy : broadcastable, meV.

    Returns
    -------
    (..., 3) float64, 1/angstrom. Q = ki - kf with kf = kf (sin 2theta cos azimuth, sin 2theta sin azimuth, cos 2theta);
    NaN where E > Ei.
    """
    angle, around, energy, incident = np.broadcast_arrays(
        *(np.asarray(x, dtype=np.float64) for x in (two_theta, azimuth, energy_transfer, incident_energy))
    )
    _check_incident(incident)
    kf = wave_number(incident - energy)
    along = wave_number(incident) - kf * np.cos(angle)
    return np.stack([-kf * np.sin(angle) * np.cos(around), -kf * np.sin(angle) * np.sin(around), along], axis=-1)


def detector_angles(
    q_lab: npt.ArrayLike, energy_transfer: npt.ArrayLike, *, incident_energy: npt.ArrayLike, tolerance: float = 1e-6
) -> tuple[_Reals, _Reals]:
    """The direction in which a momentum transfer is seen: the inverse of `momentum_transfer`.

    Parameters
    ----------
    q_lab : (..., 3) float64, 1/angstrom, laboratory axes.
    energy_transfer, incident_energy : broadcastable to (...), meV.
    tolerance : float. Largest |(ki - Q)^2 / kf^2 - 1| that counts as conserving energy.

    Returns
    -------
    two_theta : (...) float64, radian, 0 to pi.
    azimuth : (...) float64, radian, -pi to pi. Both NaN where Q and E do not conserve energy together: only a surface in
        Q is seen at one E. Which turn of the crystal brings a Q onto it says `insdl.instrument.orientation.rotations`.
    """
    q = _vectors(q_lab, "q_lab")
    incident = np.asarray(incident_energy, dtype=np.float64)
    _check_incident(incident)
    kf = np.array([0.0, 0.0, 1.0]) * wave_number(incident)[..., None] - q
    length2 = np.sum(kf * kf, axis=-1)
    expected = (incident - np.asarray(energy_transfer, dtype=np.float64)) / NEUTRON_E_PER_K2
    seen = np.abs(length2 - expected) <= tolerance * np.abs(expected)
    two_theta = np.arctan2(np.hypot(kf[..., 0], kf[..., 1]), kf[..., 2])
    azimuth = np.arctan2(kf[..., 1], kf[..., 0])
    return np.where(seen, two_theta, np.nan), np.where(seen, azimuth, np.nan)


def q_along_beam(q_across: npt.ArrayLike, energy_transfer: npt.ArrayLike, *, incident_energy: npt.ArrayLike) -> _Reals:
    """Component of Q along the beam where its components across the beam and E are given, for forward scattering.

    Parameters
    ----------
    q_across : (...) float64, 1/angstrom. Length of Q across the beam.
    energy_transfer, incident_energy : broadcastable, meV.

    Returns
    -------
    (...) float64, 1/angstrom. ki - sqrt(kf^2 - q_across^2); NaN where kf does not reach (the kernel sees nothing there).
    """
    across = np.asarray(q_across, dtype=np.float64)
    incident = np.asarray(incident_energy, dtype=np.float64)
    _check_incident(incident)
    along2 = (incident - np.asarray(energy_transfer, dtype=np.float64)) / NEUTRON_E_PER_K2 - across * across
    return np.asarray(wave_number(incident) - np.sqrt(np.where(along2 >= 0.0, along2, np.nan)))


def kinematic_l(
    q_h: npt.ArrayLike,
    q_k: npt.ArrayLike,
    energy_transfer: npt.ArrayLike,
    *,
    incident_energy: npt.ArrayLike,
    lattice: npt.ArrayLike,
) -> _Reals:
    """Ql that a spectrometer with the beam along c* sees at (Qh, Qk) and E, as the image kernel uses it.

    Parameters
    ----------
    q_h, q_k : broadcastable, r.l.u. of ``lattice``.
    energy_transfer, incident_energy : broadcastable, meV.
    lattice : (3, 3) float64, angstrom. Rows a, b, c; c perpendicular to a and b.

    Returns
    -------
    (...) float64, r.l.u. (ki - sqrt(kf^2 - Qx^2 - Qy^2)) / c*; NaN where kf does not reach.
    """
    axes = reciprocal(lattice)
    lengths = np.linalg.norm(axes, axis=1)
    if np.abs(axes[:2] @ axes[2]).max() > 1e-9 * lengths[2] * lengths[:2].max():
        raise ValueError(f"kinematic_l needs c perpendicular to a and b, got lattice {np.asarray(lattice).tolist()}")
    h, k = np.asarray(q_h, dtype=np.float64)[..., None], np.asarray(q_k, dtype=np.float64)[..., None]
    across = np.linalg.norm(h * axes[0] + k * axes[1], axis=-1)
    return np.asarray(q_along_beam(across, energy_transfer, incident_energy=incident_energy) / lengths[2])


def _check_incident(incident: _Reals) -> None:
    if not (np.isfinite(incident) & (incident > 0)).all():
        raise ValueError(f"incident_energy must be positive and finite (meV), got {incident.tolist()}")


def _vectors(value: npt.ArrayLike, what: str) -> _Reals:
    array = np.asarray(value, dtype=np.float64)
    if not array.ndim or array.shape[-1] != 3:
        raise ValueError(f"{what} must have shape (..., 3), got {array.shape}")
    return array
