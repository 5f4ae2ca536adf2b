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
    (1992)): unbiased, in logarithms, so that a maximum at the box's border, with a gradient that pulls outwards, is safe. The
    coordinate that the box leaves least room comes first (Gibson, Glasbey and Elston, 1994), without which correlated
    coordinates would make a few draws outweigh all others.

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
    from scipy.special import ndtri_exp

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
    order, factor = _ordered(0.5 * (covariance + covariance.T), a - middle, b - middle)
    a, b = (a - middle)[order], (b - middle)[order]
    uniform = generator(seed, "box integral", 0).random((d, n_draws))
    normal = np.zeros((d, n_draws))
    log_weight = np.zeros(n_draws)
    for i in range(d):
        centre = factor[i, :i] @ normal[:i]
        turned, near, far, log_near, log_left = _interval(
            (a[i] - centre) / factor[i, i], (b[i] - centre) / factor[i, i]
        )
        log_weight += log_left
        level = np.logaddexp(log_near, np.log(uniform[i]) + log_left)
        drawn = np.clip(ndtri_exp(level), near, far)
        normal[i] = np.where(turned, -drawn, drawn)
    top = float(log_weight.max())
    probability = top + float(np.log(np.mean(np.exp(log_weight - top))))
    _, log_determinant = np.linalg.slogdet(h)
    return float(0.5 * g @ middle + 0.5 * d * np.log(2.0 * np.pi) - 0.5 * log_determinant + probability)


def _interval(below: _Reals, above: _Reals) -> tuple[npt.NDArray[np.bool_], _Reals, _Reals, _Reals, _Reals]:
    """Intervals of a standard normal number, brought into the lower tail, where logarithms are accurate.

    Returns whether each was turned around zero for that, its ends, the log of the probability below it, and of its own.
    """
    from scipy.special import log_ndtr

    turned = below > 0
    near, far = np.where(turned, -above, below), np.where(turned, -below, above)
    log_near, log_far = log_ndtr(near), log_ndtr(far)
    return turned, near, far, log_near, log_far + np.log1p(-np.exp(np.minimum(log_near - log_far, -1e-16)))


def _ordered(covariance: _Reals, low: _Reals, high: _Reals) -> tuple[npt.NDArray[np.int64], _Reals]:
    """An order of the coordinates, the least probable interval first given the means of those before it; and the Cholesky
    factor in this order.
    """
    d = len(low)
    order = np.arange(d)
    c, factor, mean = covariance.copy(), np.zeros((d, d)), np.zeros(d)
    for i in range(d):
        rest = np.sqrt(np.maximum(np.diag(c)[i:] - np.sum(factor[i:, :i] ** 2, axis=1), 1e-300))
        centre = factor[i:, :i] @ mean[:i]
        below, above = (low[order[i:]] - centre) / rest, (high[order[i:]] - centre) / rest
        log_left = _interval(below, above)[-1]
        first = int(np.argmin(log_left))
        swap = [i, i + first]
        order[swap], factor[swap] = order[swap[::-1]], factor[swap[::-1]]
        c[swap] = c[swap[::-1]]
        c[:, swap] = c[:, swap[::-1]]
        factor[i, i] = rest[first]
        factor[i + 1 :, i] = (c[i + 1 :, i] - factor[i + 1 :, :i] @ factor[i, :i]) / factor[i, i]
        # The mean of the truncated normal number, (phi(a) - phi(b)) / P.
        ends = np.array([below[first], above[first]])
        densities = np.exp(-0.5 * ends**2 - 0.5 * np.log(2.0 * np.pi) - log_left[first])
        mean[i] = np.clip(densities[0] - densities[1], ends[0], ends[1])
    return order, factor
