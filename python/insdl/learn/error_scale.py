"""By what a network's errors have to be multiplied to be right, as a smooth function of how many counts there were."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_Reals = npt.NDArray[np.float64]
_STEPS = 50


@dataclass(frozen=True, eq=False)
class ErrorScale:
    """factor = exp(a_0 + a_1 x + a_2 x^2), another for each parameter, x the logarithm of the counts over their middle.

    Attributes
    ----------
    middle, spread : of log10 counts where it was fitted; beyond these it is taken at the nearer end.
    low, high : log10 counts between which it was fitted.
    coefficients : (n_parameters, degree + 1) float64.
    """

    middle: float
    spread: float
    low: float
    high: float
    coefficients: _Reals

    def factor(self, log_counts: npt.ArrayLike) -> _Reals:
        """(n, n_parameters) float64. Factors for maps of 10 ** log_counts (n,) counts."""
        x = np.clip(np.asarray(log_counts, dtype=np.float64), self.low, self.high)
        powers = _powers((x - self.middle) / self.spread, self.coefficients.shape[1] - 1)
        return np.asarray(np.exp(powers @ self.coefficients.T))


def fit_error_scale(z: npt.ArrayLike, log_counts: npt.ArrayLike, *, degree: int = 2) -> ErrorScale:
    """The factors that make held-out z-scores most likely as normal numbers of variance factor^2.

    Parameters
    ----------
    z : (n, n_parameters) float64. (estimate - truth) / error of maps that the network has not learned from.
    log_counts : (n,) float64. log10 of their counts.
    degree : of the polynomial in the exponent; 0 for one factor, the rms of z.

    Raises
    ------
    ValueError
        If the shapes do not fit, a number is not finite or there are fewer than 10 maps for each coefficient.
    """
    scores, level = np.asarray(z, dtype=np.float64), np.asarray(log_counts, dtype=np.float64)
    if scores.ndim != 2 or level.shape != (len(scores),) or len(scores) < 10 * (degree + 1):
        raise ValueError(
            f"z and log_counts must have shapes (n, n_parameters) and (n,), n at least {10 * (degree + 1)}, "
            f"got {scores.shape} and {level.shape}"
        )
    if not np.isfinite(scores).all() or not np.isfinite(level).all():
        raise ValueError("z and log_counts must be finite")
    middle, spread = float(level.mean()), float(level.std())
    spread = spread if spread > 1e-6 else 1.0
    powers = _powers((level - middle) / spread, degree)
    solve = np.linalg.pinv(2.0 * powers.T @ powers)  # expected curvature of the likelihood
    coefficients = np.zeros((scores.shape[1], degree + 1))
    coefficients[:, 0] = 0.5 * np.log(np.maximum(np.mean(scores**2, axis=0), 1e-12))
    for _ in range(_STEPS):
        ratio = scores**2 * np.exp(-2.0 * powers @ coefficients.T)
        step = (solve @ (powers.T @ (ratio - 1.0))).T
        coefficients = coefficients + np.clip(step, -0.5, 0.5)
    return ErrorScale(middle, spread, float(level.min()), float(level.max()), coefficients)


def _powers(x: _Reals, degree: int) -> _Reals:
    return np.asarray(x[..., None] ** np.arange(degree + 1))
