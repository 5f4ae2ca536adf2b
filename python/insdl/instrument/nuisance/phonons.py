"""Phonons of the sample: a light parametric model with sine dispersion.

Energies: the scalar Born-von Karman model of nearest neighbours (Ashcroft & Mermin, Solid State Physics, ch. 22; Squires,
Introduction to the Theory of Thermal Neutron Scattering, ch. 3), one velocity for longitudinal and one for both transverse
branches, E(q)^2 = v^2 sum_i (2 / a_i sin(Q.a_i / 2))^2: E = v |q| for long waves, periodic in the reciprocal lattice.
Intensity: the one-phonon cross section (Squires, eq. 3.120).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from insdl.crystal import checked_lattice
from insdl.instrument.frame import ImageFrame
from insdl.instrument.nuisance.geometry import pixel_geometry
from insdl.units import BOLTZMANN, NEUTRON_E_PER_K2, NEUTRON_MASS

_Reals = npt.NDArray[np.float64]
_REACH = 8.0  # standard deviations; beyond them a Gaussian holds 1e-15


@dataclass(frozen=True)
class Phonons:
    """Parameters of the phonons.

    Attributes
    ----------
    longitudinal_velocity, transverse_velocity : float, meV angstrom. Slopes E/q of sound (6.58 meV angstrom is 1 km/s).
    optic_energy : float, meV. Of the optic branch at the zone centre.
    optic_bandwidth : float, meV. How much lower the optic branch lies at the corner of the zone.
    optic_weight : float. Strength of the optic branch relative to an acoustic one of the same energy.
    temperature : float, kelvin.
    mean_square_displacement : float, angstrom^2. <u^2> along one direction; the Debye-Waller factor is exp(-Q^2 <u^2>).
    mass : float, atomic mass units.
    """

    longitudinal_velocity: float = 40.0
    transverse_velocity: float = 25.0
    optic_energy: float = 25.0
    optic_bandwidth: float = 5.0
    optic_weight: float = 0.5
    temperature: float = 5.0
    mean_square_displacement: float = 0.005
    mass: float = 55.0

    def __post_init__(self) -> None:
        positive = (self.longitudinal_velocity, self.transverse_velocity, self.optic_energy, self.mass)
        others = (self.optic_bandwidth, self.optic_weight, self.temperature, self.mean_square_displacement)
        if not np.isfinite([*positive, *others]).all() or min(positive) <= 0 or min(others) < 0:
            raise ValueError(f"velocities, optic_energy and mass must be positive, the rest not negative, got {self}")
        if self.optic_bandwidth >= self.optic_energy:
            raise ValueError(
                f"optic_bandwidth must be less than optic_energy, got {self.optic_bandwidth} and {self.optic_energy}"
            )


def bose(energy: npt.ArrayLike, temperature: float) -> _Reals:
    """Number of phonons n(E) = 1 / (exp(E / kT) - 1) at positive energies (meV) and a temperature (kelvin)."""
    energies = np.asarray(energy, dtype=np.float64)
    if temperature == 0.0:
        return np.zeros_like(energies)
    with np.errstate(over="ignore", divide="ignore"):
        return np.asarray(1.0 / np.expm1(energies / (BOLTZMANN * temperature)))


def one_phonon(q_cart: npt.ArrayLike, lattice: npt.ArrayLike, phonons: Phonons) -> tuple[_Reals, _Reals]:
    """Energies and strengths of the branches at momentum transfers.

    Parameters
    ----------
    q_cart : (..., 3) float64, 1/angstrom. Momentum transfers, in any Brillouin zone.
    lattice : (3, 3) float64, angstrom. The cell of the nuclei, with orthogonal axes.
    phonons : Phonons.

    Returns
    -------
    energies : (3, ...) float64, meV. Longitudinal, transverse (two branches of one energy), optic.
    strengths : (3, ...) float64, dimensionless: hbar^2 (Q.e)^2 / (2 M E) exp(-Q^2 <u^2>), summed over equal energies, per
        squared scattering length; zero where the energy is. Multiply by n + 1 for energy loss and by n for energy gain.

    Notes
    -----
    The longitudinal branch moves along q = Q - G, with G the nearest reciprocal-lattice vector. With all three acoustic
    polarisations the first moment is exact: sum of E (strength (n + 1) - strength n) = hbar^2 Q^2 / 2M exp(-Q^2 <u^2>).
    The optic branch shakes all directions alike, sum of (Q.e)^2 = Q^2, on top of that.
    """
    cell = checked_lattice(lattice, "lattice")
    lengths = np.linalg.norm(cell, axis=1)
    axes = cell / lengths[:, None]
    if np.abs(axes @ axes.T - np.eye(3)).max() > 1e-6:
        raise ValueError(f"parametric phonons need a lattice with orthogonal axes, got {cell.tolist()}")
    along = np.asarray(q_cart, dtype=np.float64) @ axes.T  # components of Q along a, b and c
    turns = along * lengths / (2.0 * np.pi)
    sines = np.sin(np.pi * turns)
    slope = np.sqrt(np.sum((2.0 / lengths * sines) ** 2, axis=-1))
    reduced = (turns - np.rint(turns)) * (2.0 * np.pi / lengths)
    q2 = np.sum(along**2, axis=-1)
    reduced2 = np.sum(reduced**2, axis=-1)
    longitudinal = np.sum(along * reduced, axis=-1) ** 2 / np.where(reduced2 > 0, reduced2, np.inf)
    optic = phonons.optic_energy - phonons.optic_bandwidth * np.mean(sines**2, axis=-1)
    energies = np.stack([phonons.longitudinal_velocity * slope, phonons.transverse_velocity * slope, optic])
    recoil = NEUTRON_E_PER_K2 * NEUTRON_MASS / phonons.mass * np.exp(-q2 * phonons.mean_square_displacement)
    weights = np.stack([longitudinal, q2 - longitudinal, phonons.optic_weight * q2])
    seen = energies > 1e-9
    return energies, np.where(seen, recoil * weights / np.where(seen, energies, 1.0), 0.0)


def phonon_image(
    frame: ImageFrame,
    lattice: npt.ArrayLike,
    phonons: Phonons,
    *,
    width_factor: float = 1.0,
    samples: int = 4,
) -> _Reals:
    """Phonon intensity of every pixel: what a spectrometer sees at the Ql(E) of each energy transfer.

    Parameters
    ----------
    frame : ImageFrame. lattice : (3, 3) float64, angstrom, orthogonal axes; beam along c*.
    phonons : Phonons.
    width_factor : float. Multiplies the energy resolution of the frame.
    samples : int. Slices of each energy bin; Q is taken at the centre of a slice, the energy is integrated over it.

    Returns
    -------
    (n_bins, n_h, n_k) float64, 1/meV per squared scattering length. Mean over the bin, at the centre of the pixel; zero
    out of reach. kf/ki is left out, as in the magnetic image.
    """
    from scipy.special import ndtr

    bins = frame.bins
    image = np.zeros(frame.shape)
    for number in range(samples):
        low = bins[:, 0] + np.diff(bins)[:, 0] * number / samples
        high = bins[:, 0] + np.diff(bins)[:, 0] * (number + 1) / samples
        geometry = pixel_geometry(frame, lattice, energy=0.5 * (low + high))
        sigma = width_factor * energy_widths(frame, geometry.energy)
        energies, strengths = one_phonon(geometry.q_cart, lattice, phonons)
        for energy, strength in zip(energies, strengths, strict=True):
            for sign in (1.0, -1.0):  # the neutron loses the energy, or gains it
                far = np.maximum(low[:, None, None] - sign * energy, sign * energy - high[:, None, None])
                near = geometry.reachable & (strength > 0) & (far < _REACH * sigma[:, None, None])
                of = np.nonzero(near)[0]
                here = sign * energy[near]
                share = ndtr((high[of] - here) / sigma[of]) - ndtr((low[of] - here) / sigma[of])
                occupation = bose(energy[near], phonons.temperature) + (sign > 0)
                image[near] += strength[near] * occupation * share
    return np.asarray(image / np.diff(bins)[:, :, None])


def energy_widths(frame: ImageFrame, energy: npt.NDArray[np.float64]) -> _Reals:
    """(n_bins,) float64, meV. The frame's energy resolution at one energy transfer (meV) a bin; at least 1e-6 meV."""
    table = np.repeat(
        [np.asarray(block.sigma_energy) for block in frame.blocks],
        [len(np.asarray(b.bins)) for b in frame.blocks],
        axis=0,
    )
    return np.maximum(table[:, 0] + table[:, 1] * energy + table[:, 2] * energy**2, 1e-6)
