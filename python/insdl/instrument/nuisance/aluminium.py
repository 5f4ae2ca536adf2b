"""Aluminium of cryostat and sample can: powder lines in the tail of the elastic line, and its phonons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from insdl.instrument.frame import ImageFrame
from insdl.instrument.nuisance.elastic import ElasticProfile, elastic_profile
from insdl.instrument.nuisance.geometry import PixelGeometry, pixel_geometry
from insdl.instrument.nuisance.phonons import bose
from insdl.units import BOLTZMANN, NEUTRON_E_PER_K2, NEUTRON_MASS

_Reals = npt.NDArray[np.float64]

LATTICE_CONSTANT = 4.0495
"""Face-centred cubic cell of aluminium at room temperature, angstrom (4.05 in Ashcroft & Mermin, table 4.1)."""
MASS = 26.9815385
"""Atomic mass units."""
DEBYE_ENERGY = BOLTZMANN * 428.0
"""meV; the Debye temperature of aluminium is 428 K (Kittel, Introduction to Solid State Physics, ch. 5, table 1)."""


@dataclass(frozen=True)
class Aluminium:
    """Aluminium in the beam.

    Attributes
    ----------
    lines : float. Strength of the powder lines. phonons : float. Strength of the phonons.
    ring_width : float, 1/angstrom. Width (standard deviation) of a ring in |Q|.
    temperature : float, kelvin.
    mean_square_displacement : float, angstrom^2. exp(-Q^2 <u^2>) multiplies everything.
    profile : ElasticProfile. How the lines leak into the inelastic bins.
    """

    lines: float = 1.0
    phonons: float = 0.0
    ring_width: float = 0.03
    temperature: float = 5.0
    mean_square_displacement: float = 0.004
    profile: ElasticProfile = ElasticProfile()

    def __post_init__(self) -> None:
        values = (self.lines, self.phonons, self.temperature, self.mean_square_displacement)
        if not np.isfinite(values).all() or min(values) < 0 or not 0 < self.ring_width < np.inf:
            raise ValueError(f"strengths and temperature must not be negative and ring_width positive, got {self}")


def powder_lines(largest_q: float) -> tuple[_Reals, _Reals]:
    """Radii (n,) float64, 1/angstrom, and multiplicities (n,) float64 of the lines of aluminium up to ``largest_q``.

    |Q| = 2 pi sqrt(h^2 + k^2 + l^2) / a for h, k, l all even or all odd (face-centred cubic).
    """
    top = int(np.floor(largest_q * LATTICE_CONSTANT / (2.0 * np.pi)))
    axis = np.arange(-top, top + 1)
    h, k, squared = (m.ravel() for m in np.meshgrid(axis, axis, axis, indexing="ij"))
    allowed = ((h - k) % 2 == 0) & ((k - squared) % 2 == 0)
    squared = h**2 + k**2 + squared**2
    found, counts = np.unique(squared[allowed & (squared > 0)], return_counts=True)
    radii = 2.0 * np.pi * np.sqrt(found) / LATTICE_CONSTANT
    return radii[radii <= largest_q], counts[radii <= largest_q].astype(np.float64)


def powder_pattern(q_length: npt.ArrayLike, ring_width: float) -> _Reals:
    """Powder average of the Bragg peaks of aluminium, of the shape of ``q_length`` (1/angstrom), angstrom^3.

    Sum over lines of m / (4 pi tau^2) G(|Q| - tau): the average of delta(Q - tau) over all orientations (Squires, section
    3.6), so that each line integrates to its multiplicity over 4 pi Q^2 dQ. All allowed lines have |F|^2 = (4 b)^2.
    """
    lengths = np.asarray(q_length, dtype=np.float64)
    pattern = np.zeros_like(lengths)
    largest = float(lengths.max()) if lengths.size else 0.0
    for radius, count in zip(*powder_lines(largest + 6.0 * ring_width), strict=True):
        peak = np.exp(-0.5 * ((lengths - radius) / ring_width) ** 2) / (np.sqrt(2.0 * np.pi) * ring_width)
        pattern += count / (4.0 * np.pi * radius**2) * peak
    return pattern


def powder_phonons(q_length: npt.ArrayLike, energy: npt.ArrayLike, aluminium: Aluminium) -> _Reals:
    """One-phonon scattering of aluminium powder in the incoherent approximation, 1/meV per squared scattering length.

    Parameters
    ----------
    q_length, energy : float64, 1/angstrom and meV (positive: energy loss of the neutron), broadcast with each other.

    Notes
    -----
    hbar^2 Q^2 / 2M exp(-Q^2 <u^2>) g(E) / E (n(E) + 1) with Debye's g(E) = 3 E^2 / E_D^3 (Squires, eq. 3.148); its first moment
    is the recoil energy hbar^2 Q^2 / 2M times the Debye-Waller factor, at every temperature.
    """
    q, e = np.asarray(q_length, dtype=np.float64), np.asarray(energy, dtype=np.float64)
    size = np.maximum(np.abs(e), 1e-9)
    density = np.where(size < DEBYE_ENERGY, 3.0 * size**2 / DEBYE_ENERGY**3, 0.0)
    filled = bose(size, aluminium.temperature) + (e > 0)
    recoil = NEUTRON_E_PER_K2 * NEUTRON_MASS / MASS * q**2 * np.exp(-(q**2) * aluminium.mean_square_displacement)
    return np.asarray(recoil * density / size * filled)


def aluminium_image(
    frame: ImageFrame, lattice: npt.ArrayLike, aluminium: Aluminium, *, geometry: PixelGeometry | None = None
) -> _Reals:
    """Aluminium in every pixel: rings at constant scattering angle in the elastic tail, phonons at the pixel's |Q| and E.

    Returns
    -------
    (n_bins, n_h, n_k) float64, 1/meV in units of the strengths.
    """
    where = geometry or pixel_geometry(frame, lattice)
    q_elastic = np.linalg.norm(where.elastic_q, axis=-1)
    damping = np.exp(-(q_elastic**2) * aluminium.mean_square_displacement)
    spread = elastic_profile(frame, aluminium.profile)[:, None, None]
    image = aluminium.lines * spread * damping * powder_pattern(q_elastic, aluminium.ring_width)
    if aluminium.phonons > 0:
        image = image + aluminium.phonons * powder_phonons(where.q_length, where.energy[:, None, None], aluminium)
    return np.where(where.reachable, image, 0.0)
