"""Counting noise in the forms that data come in: counts, or what is left of them after a subtraction; and their averages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

_Reals = npt.NDArray[np.float64]
_REACH = 8.5  # standard deviations; 2e-17 of a Gaussian lies beyond
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(40)


def counted(
    mean: npt.NDArray[np.float32],
    sigma: npt.NDArray[np.float32],
    rng: np.random.Generator,
    *,
    clip: float = np.inf,
    negative: Literal["clipped", "kept"] = "clipped",
) -> npt.NDArray[np.float32]:
    """A measured image around its mean: clip(mean + N(0, sigma^2 + max(mean, 0)), 0, clip).

    Parameters
    ----------
    mean : (n_bins, n_h, n_k) float32, counts. Signal and background left after subtraction (may be negative).
    sigma : broadcastable to ``mean``, counts. Noise where there is no signal: counting noise of what was subtracted.
    rng : numpy Generator.
    clip : float, counts. Upper limit of the file.
    negative : "clipped" puts zero where the subtracted signal is negative, "kept" leaves it.

    Returns
    -------
    (n_bins, n_h, n_k) float32, counts. Clipped, zero where the subtracted signal was negative: about half of the empty pixels.
    """
    if negative not in ("clipped", "kept"):
        raise ValueError(f"negative must be 'clipped' or 'kept', got {negative!r}")
    noise: npt.NDArray[np.float32] = rng.standard_normal(mean.shape, dtype=np.float32)
    noise *= np.sqrt(sigma * sigma + np.maximum(mean, 0.0))
    noise += mean
    smallest = np.float32(0.0 if negative == "clipped" else -np.inf)
    np.clip(noise, smallest, np.float32(clip), out=noise)
    return noise


def poisson_counts(mean: npt.NDArray[np.floating], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Counts that nothing was subtracted from: Poisson numbers of the given mean, float32; a negative mean counts nothing."""
    return np.asarray(rng.poisson(np.maximum(mean, 0.0)), dtype=np.float32)


def expected_log(mean: npt.ArrayLike, sigma: npt.ArrayLike, *, clip: float = np.inf) -> npt.NDArray[np.float64]:
    """The expected value of log(1 + counts) for counts as `counted` draws them.

    With s^2 = sigma^2 + max(mean, 0) and x = mean + s z,

        E = integral over 0 < x < clip of log(1 + x) phi(z) dz  +  log(1 + clip) P(x > clip),

    phi the standard normal density: what lies below zero counts as log 1 = 0. A measurement's log(1 + counts), averaged over
    repetitions, is this and not log(1 + mean): clipping lifts empty pixels, and the curve of the logarithm lowers bright ones.

    Parameters
    ----------
    mean : array of float64, counts. May be negative.
    sigma : broadcastable to ``mean``, counts, not negative. Noise where there is no signal.
    clip : float, counts, positive. Upper limit of the file.

    Returns
    -------
    float64 of the common shape of ``mean`` and ``sigma``. By Gauss-Legendre quadrature with 40 nodes, to about 1e-9.

    Raises
    ------
    ValueError
        If sigma is negative or clip is not positive.

    Examples
    --------
    >>> float(expected_log(3.0, 0.0).round(3)), float(expected_log(0.0, 1.0).round(3))
    (1.288, 0.267)
    """
    return _expected(np.log1p, mean, sigma, clip)


def expected_counts(mean: npt.ArrayLike, sigma: npt.ArrayLike, *, clip: float = np.inf) -> npt.NDArray[np.float64]:
    """The expected value of counts as `counted` draws them; parameters and errors as in `expected_log`.

    Not ``mean``: an empty pixel counts sigma / sqrt(2 pi) on average, because what is negative was set to zero.

    Examples
    --------
    >>> float(expected_counts(0.0, 1.0).round(4)), float(expected_counts(50.0, 1.0).round(4))
    (0.3989, 50.0)
    """
    return _expected(lambda counts: counts, mean, sigma, clip)


def _expected(function: Callable[[_Reals], _Reals], mean: npt.ArrayLike, sigma: npt.ArrayLike, clip: float) -> _Reals:
    """The expected value of a function of counts that is zero at zero."""
    middle, floor = np.broadcast_arrays(np.asarray(mean, dtype=np.float64), np.asarray(sigma, dtype=np.float64))
    if (floor < 0).any():
        raise ValueError(f"sigma must not be negative, got {floor.min()}")
    if not clip > 0:
        raise ValueError(f"clip must be positive, got {clip}")
    spread = np.sqrt(floor**2 + np.maximum(middle, 0.0))
    certain = spread == 0.0
    width = np.where(certain, 1.0, spread)
    low = np.clip(-middle / width, -_REACH, _REACH)
    high = np.clip((clip - middle) / width, -_REACH, _REACH)
    total = np.zeros(middle.shape)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        z = 0.5 * ((high - low) * node + high + low)
        total += weight * function(np.maximum(middle + width * z, 0.0)) * np.exp(-0.5 * z * z)
    total *= 0.5 * (high - low) / np.sqrt(2.0 * np.pi)
    cut = high < _REACH
    if cut.any():
        total[cut] += function(np.asarray(clip, dtype=np.float64)) * _above(high[cut])
    return np.where(certain, function(np.clip(middle, 0.0, clip)), total)


def _above(z: _Reals) -> _Reals:
    """The standard normal's probability above z, for |z| up to the reach."""
    total = np.zeros(z.shape)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        x = 0.5 * ((_REACH - z) * node + _REACH + z)
        total += weight * np.exp(-0.5 * x * x)
    return np.asarray(total * 0.5 * (_REACH - z) / np.sqrt(2.0 * np.pi))
