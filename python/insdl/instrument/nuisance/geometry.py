"""Where every pixel of a frame lies: Q, scattering angle and azimuth, with the beam along c*."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from insdl.crystal import reciprocal
from insdl.instrument.frame import ImageFrame
from insdl.units import NEUTRON_E_PER_K2

_Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PixelGeometry:
    """Momentum transfers of the pixels of a frame at one energy transfer a bin.

    Attributes
    ----------
    frame : ImageFrame.
    lattice : (3, 3) float64, angstrom. The chemical cell, c perpendicular to a and b.
    energy : (n_bins,) float64, meV. Energy transfer at which each bin is taken.
    incident_energy : (n_bins,) float64, meV.
    q_cart : (n_bins, n_h, n_k, 3) float64, 1/angstrom. Momentum transfer; finite where it is out of reach too.
    two_theta : (n_bins, n_h, n_k) float64, radian. Angle between the incident and the scattered beam.
    azimuth : (n_h, n_k) float64, radian. Direction of the in-plane momentum transfer, from a*.
    reachable : (n_bins, n_h, n_k) bool. Whether a scattered neutron can have this momentum and energy transfer.
    """

    frame: ImageFrame
    lattice: _Reals
    energy: _Reals
    incident_energy: _Reals
    q_cart: _Reals
    two_theta: _Reals
    azimuth: _Reals
    reachable: npt.NDArray[np.bool_]

    @property
    def q_length(self) -> _Reals:
        """(n_bins, n_h, n_k) float64, 1/angstrom."""
        return np.asarray(np.linalg.norm(self.q_cart, axis=-1))

    @property
    def elastic_q(self) -> _Reals:
        """(n_bins, n_h, n_k, 3) float64, 1/angstrom. Momentum transfer of elastic scattering into the same direction.

        Neutrons that scattered elastically and arrived late are booked at an energy transfer that they did not have; the
        detector that they reach still tells their true direction: |Q| = 2 ki sin(theta).
        """
        k = np.sqrt(self.incident_energy / NEUTRON_E_PER_K2)[:, None, None]
        first, second, along = _axes(self.lattice)
        in_plane = k * np.sin(self.two_theta)
        return np.asarray(
            (in_plane * np.cos(self.azimuth))[..., None] * first
            + (in_plane * np.sin(self.azimuth))[..., None] * second
            + (k * (1.0 - np.cos(self.two_theta)))[..., None] * along
        )


def _axes(lattice: _Reals) -> tuple[_Reals, _Reals, _Reals]:
    """Unit vectors along a*, along c* x a*, and along c*, the beam."""
    cell = reciprocal(lattice)
    along, first = (vector / np.linalg.norm(vector) for vector in (cell[2], cell[0]))
    return first, np.cross(along, first), along


def pixel_geometry(frame: ImageFrame, lattice: npt.ArrayLike, *, energy: npt.ArrayLike | None = None) -> PixelGeometry:
    """Q, angles and reach of every pixel.

    Parameters
    ----------
    frame : ImageFrame.
    lattice : (3, 3) float64, angstrom. The chemical cell; the beam runs along c*.
    energy : (n_bins,) float64, meV. Energy transfer at which each bin is taken; None for the bins' centres.

    Raises
    ------
    ValueError
        If c is not perpendicular to a and b, or the energies do not fit the frame.

    Notes
    -----
    Energy and momentum conservation: ki^2 = Ei / 2.0721, kf^2 = (Ei - E) / 2.0721, Qz = ki - sqrt(kf^2 - Qx^2 - Qy^2), as in
    the image kernel; Qz = fixed_l c* where the frame fixes it, and then cos(2 theta) = (ki^2 + kf^2 - Q^2) / (2 ki kf).
    """
    reciprocal_cell = reciprocal(lattice)
    cell = np.asarray(lattice, dtype=np.float64)
    if np.abs(cell[:2] @ cell[2]).max() > 1e-6 * np.linalg.norm(cell[2]) ** 2:
        raise ValueError(f"a frame needs c perpendicular to a and b, got lattice {cell.tolist()}")
    energies = frame.bins.mean(axis=1) if energy is None else np.asarray(energy, dtype=np.float64)
    if energies.shape != (len(frame.bins),) or not np.isfinite(energies).all():
        raise ValueError(
            f"energy must be one finite number for each of the {len(frame.bins)} bins, got {energies.shape}"
        )
    counts = [len(np.asarray(block.bins)) for block in frame.blocks]
    incident = np.repeat([block.incident_energy for block in frame.blocks], counts)
    fixed = np.repeat([np.nan if block.fixed_l is None else block.fixed_l for block in frame.blocks], counts)
    pixels = np.asarray(frame.pixels)
    h, k = np.meshgrid(pixels, pixels, indexing="ij")
    in_plane = h[..., None] * reciprocal_cell[0] + k[..., None] * reciprocal_cell[1]
    first, second, along = _axes(cell)
    squared = np.sum(in_plane**2, axis=-1)
    ki = np.sqrt(incident / NEUTRON_E_PER_K2)[:, None, None]
    kf2 = ((incident - energies) / NEUTRON_E_PER_K2)[:, None, None]
    forward2 = kf2 - squared
    forward = np.sqrt(np.maximum(forward2, 0.0))
    q_along = ki - forward
    two_theta = np.arctan2(np.broadcast_to(np.sqrt(squared), forward.shape), forward)
    reachable = forward2 > 0
    for number in np.flatnonzero(np.isfinite(fixed)):
        q_along[number] = fixed[number] * np.linalg.norm(reciprocal_cell[2])
        q2 = squared + q_along[number] ** 2
        kf = np.sqrt(max(float(kf2[number, 0, 0]), 1e-12))
        cosine = (ki[number] ** 2 + kf**2 - q2) / (2.0 * ki[number] * kf)
        two_theta[number] = np.arccos(np.clip(cosine, -1.0, 1.0))
        reachable[number] = True
    azimuth = np.arctan2(in_plane @ second, in_plane @ first)
    q_cart = in_plane + q_along[..., None] * along
    return PixelGeometry(frame, cell, energies, incident, q_cart, two_theta, azimuth, reachable)
