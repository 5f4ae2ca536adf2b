"""The shape of a mode in energy: a Gaussian, binned or not, and the Bose factor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from insdl.crystal import real_numbers, shown
from insdl.units import BOLTZMANN

_Reals = npt.NDArray[np.float64]
_Whole = npt.NDArray[np.int64]
Width = float | Callable[[_Reals], _Reals]


@dataclass(frozen=True, eq=False)
class Line:
    """What turns energies and weights of modes into intensity at n nominal energies.

    Attributes
    ----------
    energy : (n,) float64, meV. Nominal energy transfers.
    bin_width : float or (n,), meV. Mean over a bin around ``energy``; 0 for the value there. Bins need SciPy.
    intrinsic_sigma : float or function of energies (any shape), meV. Standard deviation of the modes themselves.
    incident_energy : float or (n,), meV, or None. Multiplies a mode by kf/ki = sqrt((Ei - E) / Ei); None leaves it out.
    """

    energy: npt.ArrayLike
    bin_width: npt.ArrayLike = 0.0
    intrinsic_sigma: Width = 0.0
    incident_energy: npt.ArrayLike | None = None

    def __post_init__(self) -> None:
        energy = real_numbers(self.energy, "energy")
        if energy.ndim != 1 or not np.isfinite(energy).all():
            raise ValueError(f"energy must be finite and of shape (n,), got {shown(energy.tolist())}")
        object.__setattr__(self, "energy", energy)
        width = self._each("bin_width", self.bin_width)
        if (width < 0).any():
            raise ValueError(f"bin_width must not be negative (meV), got {shown(self.bin_width)}")
        object.__setattr__(self, "bin_width", width)
        if not callable(self.intrinsic_sigma) and not 0 <= self.intrinsic_sigma < np.inf:
            raise ValueError(f"intrinsic_sigma must be finite and not negative (meV), got {self.intrinsic_sigma}")
        if self.incident_energy is not None:
            incident = self._each("incident_energy", self.incident_energy)
            if (incident <= 0).any():
                raise ValueError(f"incident_energy must be positive (meV), got {shown(self.incident_energy)}")
            object.__setattr__(self, "incident_energy", incident)

    def _each(self, name: str, value: npt.ArrayLike) -> _Reals:
        array, n = real_numbers(value, name), len(np.asarray(self.energy))
        if array.shape not in ((), (n,)) or not np.isfinite(array).all():
            raise ValueError(f"{name} must be a finite number or have shape ({n},) like energy, got {shown(value)}")
        return np.broadcast_to(array, (n,))

    def width2(self, energy: _Reals) -> _Reals:
        """Squared width of modes, meV^2, of the shape of ``energy`` (modes that are seen at a gain of energy: negative)."""
        width = self.intrinsic_sigma(np.abs(energy)) if callable(self.intrinsic_sigma) else self.intrinsic_sigma
        return np.broadcast_to(np.asarray(width, dtype=np.float64) ** 2, energy.shape)

    def seen(self, point: _Whole, drift: _Reals, variance: _Reals, energy: _Reals, weight: _Reals) -> _Reals:
        """Intensity of nodes, the unit of ``weight`` per meV.

        Parameters
        ----------
        point : (m,) int. The nominal point that a node belongs to.
        drift, variance : (m,) float64, meV and meV^2. Mean of E - E0 at the node's Q, and variance around it.
        energy, weight : (m, n_modes) float64. Modes at the node; weights that are not finite are left out.
        """
        sigma = np.sqrt(variance[:, None] + self.width2(energy))
        distance = (np.asarray(self.energy)[point] + drift)[:, None] - energy
        kept = np.where(np.isfinite(weight), weight, 0.0)
        if self.incident_energy is not None:
            incident = np.asarray(self.incident_energy)[point][:, None]
            kept = kept * np.sqrt(np.maximum(1.0 - energy / incident, 0.0))
        return np.asarray(np.sum(kept * profile(distance, sigma, np.asarray(self.bin_width)[point][:, None]), axis=1))


def bose(energy: npt.ArrayLike, temperature: float) -> _Reals:
    """Bose occupation 1 / (exp(E / kT) - 1) of energies (meV) at a temperature (kelvin); infinite at E = 0."""
    with np.errstate(divide="ignore", over="ignore"):
        return np.asarray(1.0 / np.expm1(np.asarray(energy, dtype=np.float64) / (BOLTZMANN * temperature)))


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
