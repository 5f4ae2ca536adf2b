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
    angle = np.maximum(geometry.two_theta - halo.edge, 0.0).astype(np.float32)
    strength = halo.level * np.exp(-0.5 * ((geometry.energy - halo.energy) / halo.energy_width) ** 2)
    image = np.zeros(geometry.two_theta.shape, dtype=np.float32)
    # Only the bins that it reaches: exp is the cost of this function.
    near = strength > 1e-3
    image[near] = strength[near, None, None].astype(np.float32) * np.exp(angle[near] / np.float32(-halo.width))
    return image
