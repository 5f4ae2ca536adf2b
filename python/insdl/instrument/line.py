"""The shape of a mode in energy: a Gaussian, binned or not, with the Bose factor and kf/ki."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from insdl.crystal import real_numbers, shown
from insdl.units import BOLTZMANN

_Reals = npt.NDArray[np.float64]
_Whole = npt.NDArray[np.int64]
Width = float | Callable[[_Reals], _Reals]


class Line:
    """What turns energies and weights of modes into intensity at n nominal energies.

    Parameters
    ----------
    n : int. Points.
    energy : (n,) float64, meV. Nominal energy transfers.
    bin_width : float or (n,), meV. Mean over a bin around ``energy``; 0 for the value there.
    intrinsic_sigma : float or function of energies (any shape), meV. Standard deviation of the modes themselves.
    temperature : float, kelvin, or None for T = 0.
    incident_energy : float or (n,), meV, or None. For kf/ki; None leaves it out.
    """

    def __init__(
        self,
        n: int,
        energy: npt.ArrayLike,
        bin_width: npt.ArrayLike,
        intrinsic_sigma: Width,
        temperature: float | None,
        incident_energy: npt.ArrayLike | None,
    ) -> None:
        self.energy = real_numbers(energy, "energy")
        if self.energy.shape != (n,) or not np.isfinite(self.energy).all():
            raise ValueError(
                f"energy must be finite and of shape ({n},) like the momentum transfers, got {self.energy.shape}"
            )
        self.bin_width = np.broadcast_to(real_numbers(bin_width, "bin_width"), (n,))
        if not (np.isfinite(self.bin_width) & (self.bin_width >= 0)).all():
            raise ValueError(f"bin_width must be finite and not negative (meV), got {shown(bin_width)}")
        if temperature is not None and not 0 < temperature < np.inf:
            raise ValueError(f"temperature must be positive (kelvin), or None for T = 0, got {temperature}")
        self.sigma, self.temperature = intrinsic_sigma, temperature
        self.incident_energy = None if incident_energy is None else np.broadcast_to(
            real_numbers(incident_energy, "incident_energy"), (n,)
        )  # fmt: skip

    def width2(self, energy: _Reals) -> _Reals:
        """Squared width of modes, meV^2, of the shape of ``energy``."""
        width = self.sigma(energy) if callable(self.sigma) else self.sigma
        return np.broadcast_to(np.asarray(width, dtype=np.float64) ** 2, energy.shape)

    def seen(self, point: _Whole, drift: _Reals, variance: _Reals, energy: _Reals, weight: _Reals) -> _Reals:
        """(n,) intensity of nodes; point (n,) their nominal points, drift and variance (n,), energy and weight (n, n_modes)."""
        centre = (self.energy[point] + drift)[:, None]
        sigma = np.sqrt(variance[:, None] + self.width2(energy))
        width = self.bin_width[point][:, None]
        kept = np.where(np.isfinite(weight), weight, 0.0)
        if self.temperature is None:
            return np.asarray(np.sum(kept * self._flux(point, energy) * profile(centre - energy, sigma, width), axis=1))
        with np.errstate(divide="ignore", over="ignore"):
            bose = 1.0 / np.expm1(energy / (BOLTZMANN * self.temperature))
        bose = np.where(np.isfinite(bose), bose, 0.0)
        loss = (bose + 1.0) * self._flux(point, energy) * profile(centre - energy, sigma, width)
        gain = bose * self._flux(point, -energy) * profile(centre + energy, sigma, width)
        return np.asarray(np.sum(kept * (loss + gain), axis=1))

    def _flux(self, point: _Whole, energy: _Reals) -> _Reals | float:
        if self.incident_energy is None:
            return 1.0
        incident = self.incident_energy[point][:, None]
        return np.asarray(np.sqrt(np.maximum(1.0 - energy / incident, 0.0)))


def profile(distance: _Reals, sigma: _Reals, width: _Reals) -> _Reals:
    """A Gaussian's mean over a bin of ``width`` at ``distance`` from its centre, 1/meV; its value where the width is 0."""
    if not (sigma + width > 0).all():
        raise ValueError("the resolution has no width in energy: give a covariance, an intrinsic_sigma or a bin_width")
    if not width.any():
        return np.asarray(np.exp(-0.5 * (distance / sigma) ** 2) / (np.sqrt(2.0 * np.pi) * sigma))
    from scipy.special import ndtr

    sharp = np.where(sigma > 0, sigma, 1e-12 * width)
    box = np.where(width > 0, width, 1.0)
    binned = (ndtr((distance + 0.5 * width) / sharp) - ndtr((distance - 0.5 * width) / sharp)) / box
    if width.all():
        return np.asarray(binned)
    value = np.exp(-0.5 * (distance / sharp) ** 2) / (np.sqrt(2.0 * np.pi) * sharp)
    return np.asarray(np.where(width > 0, binned, value))
