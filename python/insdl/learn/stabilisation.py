"""Counts on a scale where counting noise has unit variance everywhere, and the moments of counts clipped at zero.

Noise is that of `insdl.instrument.counting.counted`: I = max(0, mu + N(0, s^2)), s^2 = sigma^2 + max(mu, 0).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

_Reals = npt.NDArray[np.float64]
_Floats = npt.NDArray[np.floating[Any]]


def check_sigma(sigma: npt.ArrayLike, n_bins: int) -> npt.NDArray[np.float32]:
    """The noise of every bin as (n_bins, 1, 1) float32, refused where it is not positive."""
    values = np.asarray(sigma, dtype=np.float32)
    if values.ndim > 1 or values.size not in (1, n_bins):
        raise ValueError(f"sigma must be one number or ({n_bins},), counts, got shape {values.shape}")
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise ValueError(f"sigma must be positive and finite, got {values.min()}")
    return np.broadcast_to(values, n_bins)[:, None, None]


def stabilised(counts: _Floats, sigma: _Floats) -> npt.NDArray[np.float32]:
    """Counts where the noise has unit variance: t(x) = integral from 0 to x of dy / sqrt(sigma^2 + max(y, 0)).

    That is 2 (sqrt(x + sigma^2) - sigma) above zero and x / sigma below, with a continuous slope at zero: the usual variance-
    stabilising transform (Anscombe, Biometrika 35, 246 (1948)) of noise with variance sigma^2 + x.

    Parameters
    ----------
    counts : (..., n_bins, n_h, n_k), counts. May be negative, as an expected value after a subtraction may.
    sigma : broadcastable to ``counts``, counts, positive. Noise where there is no signal.

    Returns
    -------
    float32 of the common shape, in standard deviations of the noise.

    Examples
    --------
    >>> float(stabilised(np.array(12.0), np.array(2.0))), float(stabilised(np.array(-1.0), np.array(2.0)))
    (4.0, -0.5)
    """
    above = np.maximum(counts, 0.0)
    above = above / (
        np.sqrt(above + sigma * sigma) + sigma
    )  # without a difference: zero stays zero, whatever the precision
    result: npt.NDArray[np.float32] = np.asarray(2.0 * above + np.minimum(counts, 0.0) / sigma, dtype=np.float32)
    return result


def counts_of(values: _Floats, sigma: _Floats) -> npt.NDArray[np.float32]:
    """The inverse of `stabilised`: x = sigma t + t^2 / 4 above zero, sigma t below."""
    result: npt.NDArray[np.float32] = np.asarray(
        sigma * values + 0.25 * np.square(np.maximum(values, 0.0)), dtype=np.float32
    )
    return result


def clipped_moments(mean: npt.ArrayLike, sigma: npt.ArrayLike) -> tuple[_Reals, _Reals]:
    """Expected value and variance of counts clipped at zero.

    With a = mu / s, phi and Phi the standard normal density and distribution,

        E[I] = mu Phi(a) + s phi(a),    E[I^2] = (mu^2 + s^2) Phi(a) + mu s phi(a)

    (the moments of a normal variable censored at zero; Johnson, Kotz, Balakrishnan, Continuous Univariate Distributions 1).

    Parameters
    ----------
    mean : counts, before clipping. May be negative.
    sigma : broadcastable to ``mean``, counts, positive. Noise where there is no signal.

    Returns
    -------
    (expected, variance), each float64 of the common shape, counts and counts squared.
    """
    from scipy.special import ndtr

    mu = np.asarray(mean, dtype=np.float64)
    s = np.sqrt(np.asarray(sigma, dtype=np.float64) ** 2 + np.maximum(mu, 0.0))
    a = mu / s
    above, density = ndtr(a), np.exp(-0.5 * a * a) / math.sqrt(2.0 * math.pi)
    first = mu * above + s * density
    # Var = s^2 (Phi + (a Phi + phi) (a (1 - Phi) - phi)): no difference of large numbers.
    variance = s * s * (above + (a * above + density) * (a * ndtr(-a) - density))
    return first, np.maximum(variance, 0.0)
