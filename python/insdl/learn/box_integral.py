"""The integral of a Gaussian over a box: Laplace's approximation where the prior ends before the likelihood does."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from insdl.dataset.randomness import generator

_Reals = npt.NDArray[np.float64]


def log_box_integral(
    curvature: npt.ArrayLike,
    gradient: npt.ArrayLike,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
    *,
    n_draws: int = 2048,
    seed: int = 0,
) -> float:
    """log of the integral of exp(g x - x H x / 2) over low < x < high.

    With C = H^-1 and m = C g it is g C g / 2 + d/2 log(2 pi) - log|H| / 2 + log P(low < N(m, C) < high). The probability is
    estimated by drawing one coordinate after the other from its truncated conditional normal distribution and multiplying
    what each truncation leaves (the simulator of Geweke, Hajivassiliou and Keane; Genz, J. Comput. Graph. Stat. 1, 141
    (1992)): unbiased, in logarithms, so that a maximum at the box's border, with a gradient that pulls outwards, is safe.

    Parameters
    ----------
    curvature : (d, d) float64. H, symmetric and positive definite.
    gradient : (d,) float64. g.
    low, high : (d,) float64. The box.
    n_draws : int. seed : int. Of the draws.

    Raises
    ------
    ValueError
        If the shapes differ, the box is empty, or H is not positive definite.
    """
    from scipy.special import log_ndtr, ndtri_exp

    h, g = np.asarray(curvature, dtype=np.float64), np.asarray(gradient, dtype=np.float64)
    a, b = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
    d = len(g)
    if h.shape != (d, d) or a.shape != (d,) or b.shape != (d,):
        raise ValueError(
            f"gradient, low and high must have the curvature's length, got {g.shape}, {a.shape}, {b.shape} and {h.shape}"
        )
    if not (a < b).all():
        raise ValueError("low must be below high everywhere")
    try:
        np.linalg.cholesky(h)
    except np.linalg.LinAlgError:
        raise ValueError("the curvature must be positive definite") from None
    covariance = np.linalg.inv(h)
    middle = covariance @ g
    factor = np.linalg.cholesky(0.5 * (covariance + covariance.T))
    uniform = generator(seed, "box integral", 0).random((d, n_draws))
    normal = np.zeros((d, n_draws))
    log_weight = np.zeros(n_draws)
    for i in range(d):
        centre = middle[i] + factor[i, :i] @ normal[:i]
        below, above = (a[i] - centre) / factor[i, i], (b[i] - centre) / factor[i, i]
        # In the lower tail, where logarithms are accurate: an interval above zero is turned around.
        turned = below > 0
        near, far = np.where(turned, -above, below), np.where(turned, -below, above)
        log_near, log_far = log_ndtr(near), log_ndtr(far)
        log_left = log_far + np.log1p(-np.exp(np.minimum(log_near - log_far, -1e-16)))
        log_weight += log_left
        level = np.logaddexp(log_near, np.log(uniform[i]) + log_left)
        drawn = np.clip(ndtri_exp(level), near, far)
        normal[i] = np.where(turned, -drawn, drawn)
    top = float(log_weight.max())
    probability = top + float(np.log(np.mean(np.exp(log_weight - top))))
    _, log_determinant = np.linalg.slogdet(h)
    return float(0.5 * g @ middle + 0.5 * d * np.log(2.0 * np.pi) - 0.5 * log_determinant + probability)
