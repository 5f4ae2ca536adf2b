"""How a crystal sits in the beam: its UB matrix after Busing & Levy, and the turn that brings a Q onto a detector.

W. R. Busing & H. A. Levy, Acta Cryst. 22, 457 (1967); here with 2 pi included. Laboratory axes as in
`insdl.instrument.kinematics`: z along the beam, y up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from insdl.crystal import checked_lattice, real_numbers, reciprocal
from insdl.instrument.kinematics import detector_angles, momentum_transfer, wave_number

_Reals = npt.NDArray[np.float64]


def lattice_from_parameters(lengths: npt.ArrayLike, angles: npt.ArrayLike) -> _Reals:
    """Rows a, b, c of a cell, from a, b, c (angstrom) and alpha, beta, gamma (radian).

    Returns
    -------
    (3, 3) float64, angstrom. In the axes of Busing & Levy: x along a*, y in the plane of a* and b*, z along c.

    Raises
    ------
    ValueError
        For lengths that are not positive, or angles that no cell has.
    """
    sides, corners = real_numbers(lengths, "lengths"), real_numbers(angles, "angles")
    if sides.shape != (3,) or not np.isfinite(sides).all() or (sides <= 0).any():
        raise ValueError(f"lengths must be three positive numbers (angstrom), got {sides.tolist()}")
    if corners.shape != (3,) or not np.isfinite(corners).all():
        raise ValueError(f"angles must be three finite numbers (radian), got {corners.tolist()}")
    cos_a, cos_b, cos_c = np.cos(corners)
    metric = np.array([[1.0, cos_c, cos_b], [cos_c, 1.0, cos_a], [cos_b, cos_a, 1.0]]) * np.outer(sides, sides)
    if (np.linalg.eigvalsh(metric) <= 1e-12 * sides.max() ** 2).any() or (np.sin(corners) <= 0).any():
        raise ValueError(f"no cell has the angles {np.degrees(corners).tolist()} degrees")
    return np.ascontiguousarray(2.0 * np.pi * np.linalg.inv(_upper(metric)))


def b_matrix(lattice: npt.ArrayLike) -> _Reals:
    """The matrix B of Busing & Levy: q_cart = B q_rlu in axes that belong to the crystal.

    Parameters
    ----------
    lattice : (3, 3) float64, angstrom. Rows a, b, c, in any Cartesian axes, right-handed.

    Returns
    -------
    (3, 3) float64, 1/angstrom, 2 pi included. Upper triangular, positive diagonal: x along a*, y in the plane of a* and b*,
    z along c (Busing & Levy, eq. 3):
    [[a*, b* cos gamma*, c* cos beta*], [0, b* sin gamma*, -c* sin beta* cos alpha], [0, 0, 2 pi / c]].
    """
    cell = checked_lattice(lattice, "lattice")
    if np.linalg.det(cell) < 0:
        raise ValueError(f"lattice must be right-handed, got {cell.tolist()}")
    return _upper(cell @ cell.T)


def _upper(metric: _Reals) -> _Reals:
    """B from the metric a_i . a_j: B^T B is the reciprocal metric, so that B^T is its Cholesky factor."""
    reciprocal_metric = (2.0 * np.pi) ** 2 * np.linalg.inv(metric)
    return np.ascontiguousarray(np.linalg.cholesky(reciprocal_metric).T)


@dataclass(frozen=True, eq=False)
class Orientation:
    """A crystal on the sample table.

    At psi = 0 the wave vector ``u`` points along the beam (+z) and ``v`` lies in the horizontal plane on the side of +x. A
    positive psi turns the crystal right-handed around +y (up): the beam's direction turns towards +x.

    Attributes
    ----------
    lattice : (3, 3) float64, angstrom. Rows a, b, c, right-handed.
    u, v : (3,) float64, r.l.u. Two wave vectors in the horizontal plane, not parallel.
    """

    lattice: npt.ArrayLike
    u: Sequence[float] | _Reals = (1.0, 0.0, 0.0)
    v: Sequence[float] | _Reals = (0.0, 1.0, 0.0)

    def __post_init__(self) -> None:
        b_matrix(self.lattice)  # right-handed, three independent rows
        for name in ("u", "v"):
            vector = real_numbers(getattr(self, name), name)
            if vector.shape != (3,) or not np.isfinite(vector).all() or not vector.any():
                raise ValueError(f"{name} must be three finite numbers (r.l.u.), not all zero, got {vector.tolist()}")
            object.__setattr__(self, name, vector)
        axes = reciprocal(self.lattice)
        u_cart, v_cart = self.u @ axes, self.v @ axes
        if np.linalg.norm(np.cross(u_cart, v_cart)) < 1e-6 * np.linalg.norm(u_cart) * np.linalg.norm(v_cart):
            raise ValueError(f"u and v must not be parallel, got {np.asarray(self.u)} and {np.asarray(self.v)}")

    @property
    def u_matrix(self) -> _Reals:
        """(3, 3) float64, a rotation: from the axes of `b_matrix` to the laboratory's at psi = 0."""
        b = b_matrix(self.lattice)
        along = b @ np.asarray(self.u)
        up = np.cross(along, b @ np.asarray(self.v))
        z, y = along / np.linalg.norm(along), up / np.linalg.norm(up)
        return np.stack([np.cross(y, z), y, z])

    def ub_matrix(self, psi: float = 0.0) -> _Reals:
        """(3, 3) float64, 1/angstrom: q_lab = UB q_rlu with the crystal turned by psi (radian) around y."""
        cos, sin = np.cos(psi), np.sin(psi)
        turn = np.array([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]])
        return np.ascontiguousarray(turn @ self.u_matrix @ b_matrix(self.lattice))

    def q_lab(self, q_rlu: npt.ArrayLike, *, psi: float = 0.0) -> _Reals:
        """(..., 3) float64, 1/angstrom, laboratory axes, of (..., 3) r.l.u."""
        return np.asarray(np.asarray(q_rlu, dtype=np.float64) @ self.ub_matrix(psi).T)

    def q_rlu(self, q_lab: npt.ArrayLike, *, psi: float = 0.0) -> _Reals:
        """(..., 3) float64, r.l.u., of (..., 3) 1/angstrom in laboratory axes."""
        return np.asarray(np.asarray(q_lab, dtype=np.float64) @ np.linalg.inv(self.ub_matrix(psi)).T)


def detector_path(
    orientation: Orientation,
    two_theta: npt.ArrayLike,
    azimuth: npt.ArrayLike,
    energy_transfer: npt.ArrayLike,
    *,
    incident_energy: float,
    psi: float = 0.0,
) -> _Reals:
    """Where in the crystal's reciprocal space detectors look along the energy transfer.

    Parameters
    ----------
    two_theta, azimuth : (n,) float64, radian. Directions of the detectors.
    energy_transfer : (m,) float64, meV.
    incident_energy : float, meV. psi : float, radian.

    Returns
    -------
    (n, m, 3) float64, r.l.u. NaN where E > Ei.
    """
    angle, around = np.atleast_1d(two_theta)[:, None], np.atleast_1d(azimuth)[:, None]
    q = momentum_transfer(angle, around, np.atleast_1d(energy_transfer)[None], incident_energy=incident_energy)
    return orientation.q_rlu(q, psi=psi)


def rotations(
    orientation: Orientation, q_rlu: npt.ArrayLike, energy_transfer: float, *, incident_energy: float
) -> tuple[_Reals, _Reals, _Reals]:
    """The two turns of the crystal at which a wave vector is seen at an energy transfer, and in which direction.

    Parameters
    ----------
    q_rlu : (3,) float64, r.l.u. energy_transfer, incident_energy : float, meV.

    Returns
    -------
    psi, two_theta, azimuth : (2,) float64, radian, psi in [-pi, pi). NaN where no turn around y brings q there.

    Notes
    -----
    Energy conservation, |ki - Q|^2 = kf^2, fixes the component along the beam, Qz = (ki^2 + Q^2 - kf^2) / 2 ki; the turn
    around y keeps |Q| and Qy, so that Qz = sqrt(Qx^2 + Qz^2) cos(psi + atan2(Qx, Qz) at psi = 0).
    """
    q = orientation.q_lab(q_rlu)
    if q.shape != (3,):
        raise ValueError(f"q_rlu must have shape (3,), got {q.shape}")
    ki, kf = wave_number(incident_energy), wave_number(incident_energy - energy_transfer)
    along = (ki**2 + q @ q - kf**2) / (2.0 * ki)
    flat = np.hypot(q[0], q[2])
    ratio = along / flat if flat > 0 else np.nan
    if not abs(ratio) <= 1.0:
        nothing = np.full(2, np.nan)
        return nothing, nothing.copy(), nothing.copy()
    turns = np.array([1.0, -1.0]) * np.arccos(ratio) - np.arctan2(q[0], q[2])
    psi = np.mod(turns + np.pi, 2.0 * np.pi) - np.pi
    turned = np.stack([orientation.q_lab(q_rlu, psi=float(angle)) for angle in psi])
    two_theta, azimuth = detector_angles(turned, energy_transfer, incident_energy=incident_energy)
    return psi, two_theta, azimuth
