"""Energy widths given as functions, fitted to the polynomial that an `EnergyBlock` holds; ResINS as a source of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_Reals = npt.NDArray[np.float64]
FWHM_PER_SIGMA = float(np.sqrt(8.0 * np.log(2.0)))
"""Full width at half maximum of a Gaussian, in standard deviations."""


@dataclass(frozen=True, eq=False)
class WidthFit:
    """A width function as a parabola.

    Attributes
    ----------
    sigma_energy : (3,) float64. Standard deviation s0 + s1 E + s2 E^2, meV, as `EnergyBlock.sigma_energy`.
    misfit : float. Largest |parabola / function - 1| over the range.
    """

    sigma_energy: _Reals
    misfit: float


def fit_width(width: Callable[[_Reals], npt.ArrayLike], low: float, high: float) -> WidthFit:
    """The parabola nearest to a width function between two energy transfers.

    Parameters
    ----------
    width : function of energy transfers (n,), meV, to standard deviations (n,), meV.
    low, high : float, meV. Ends of the range: the outer edges of the bins.

    Returns
    -------
    WidthFit. Least squares of the relative deviation at 65 Chebyshev points, and the largest deviation there.

    Raises
    ------
    ValueError
        If the function is not positive and finite in the range.
    """
    if not (np.isfinite([low, high]).all() and low < high):
        raise ValueError(f"the range of energy transfer must ascend, got {low} to {high} meV")
    points = 0.5 * (low + high) - 0.5 * (high - low) * np.cos(np.pi * (np.arange(65) + 0.5) / 65)
    sigma = np.asarray(width(points), dtype=np.float64)
    if sigma.shape != points.shape:
        raise ValueError(f"a width function must return one width for each of {points.shape}, got {sigma.shape}")
    bad = np.flatnonzero(~(np.isfinite(sigma) & (sigma > 0)))
    if bad.size:
        raise ValueError(f"a width must be positive and finite, got {sigma[bad[0]]} at {points[bad[0]]:.6g} meV")
    powers = points[:, None] ** np.arange(3)
    coefficients = np.asarray(np.linalg.lstsq(powers / sigma[:, None], np.ones(65), rcond=None)[0], dtype=np.float64)
    return WidthFit(coefficients, float(np.abs(powers @ coefficients / sigma - 1.0).max()))


def resins_width(
    instrument: str, *, version: str | None = None, model: str | None = None, **settings: Any
) -> Callable[[_Reals], _Reals]:
    """The energy resolution that ResINS (``insdl[resolution]``) works out for an instrument.

    Parameters
    ----------
    instrument, version, model : names as ResINS has them, such as ``"MAPS"``; None for its defaults.
    settings : the model's settings, such as ``e_init`` (meV), ``chopper_package`` and ``chopper_frequency`` (Hz).

    Returns
    -------
    function of energy transfers, any shape, meV, to standard deviations of the same shape, meV: for `fit_width`.

    Raises
    ------
    ModuleNotFoundError
        If ResINS is not installed.
    ValueError
        With ResINS's own sentence, for an instrument, model or setting that it does not know.
    """
    from resins import Instrument

    try:
        function = Instrument.from_default(instrument, version).get_resolution_function(model, **settings)
    except Exception as error:  # ResINS has an exception of its own for each kind
        raise ValueError(f"ResINS has no resolution for {instrument!r} with {settings}: {error}") from error

    def width(energy: _Reals) -> _Reals:
        values = np.asarray(energy, dtype=np.float64)
        sigma = function.get_characteristics(values.reshape(-1, 1))["sigma"]
        return np.asarray(sigma, dtype=np.float64).reshape(values.shape)

    return width
