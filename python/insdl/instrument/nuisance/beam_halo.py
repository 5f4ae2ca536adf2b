"""Excess at small angles beside the beam stop: air scattering, windows, what the stop lets pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from insdl.instrument.nuisance.geometry import PixelGeometry


@dataclass(frozen=True)
class BeamHalo:
    """A halo around the beam.

    Attributes
    ----------
    level : float, counts. At ``edge`` and at the energy transfer where it is strongest.
    edge : float, radian. Where the halo begins, the beam stop's edge.
    width : float, radian. Decay of the halo with the scattering angle.
    energy : float, meV. Energy transfer at which the halo is strongest.
    energy_width : float, meV. Its spread (standard deviation) in energy.
    """

    level: float = 2.0
    edge: float = 0.05
    width: float = 0.03
    energy: float = 11.5
    energy_width: float = 2.0

    def __post_init__(self) -> None:
        values = (self.level, self.edge, self.width, self.energy, self.energy_width)
        if not np.isfinite(values).all() or min(self.width, self.energy_width) <= 0 or min(self.level, self.edge) < 0:
            raise ValueError(f"level and edge must not be negative, widths positive, got {self}")


def beam_halo(geometry: PixelGeometry, halo: BeamHalo) -> npt.NDArray[np.float32]:
    """level exp(-(2 theta - edge) / width) exp(-(E - energy)^2 / 2 energy_width^2), (n_bins, n_h, n_k) float32, counts.

    Inside the edge it stays at its value there. The form is a description, not a theory.
    """
    image = np.zeros(geometry.two_theta.shape, dtype=np.float32)
    add_halo(image, geometry, halo)
    return image


def add_halo(mean: npt.NDArray[np.float32], geometry: PixelGeometry, halo: BeamHalo) -> None:
    """Adds `beam_halo` to ``mean``, (n_bins, n_h, n_k) float32, counts."""
    strength = halo.level * np.exp(-0.5 * ((geometry.energy - halo.energy) / halo.energy_width) ** 2)
    # Only the bins that it reaches: exp is the cost of this function.
    near = np.flatnonzero(strength > 1e-3)
    angle = geometry.two_theta[near].astype(np.float32)
    angle -= np.float32(halo.edge)
    np.maximum(angle, np.float32(0.0), out=angle)
    angle *= np.float32(-1.0 / halo.width)
    np.exp(angle, out=angle)
    angle *= strength[near, None, None].astype(np.float32)
    mean[near] += angle
