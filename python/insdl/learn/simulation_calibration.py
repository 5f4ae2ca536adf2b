"""Simulation-based calibration: whether a posterior is as wide as it says, tested on simulations whose truth is known.

The rank of the truth among posterior samples is uniform if the posterior is right (Talts et al., arXiv:1804.06788).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Calibration:
    """Ranks of the truth among posterior samples, and how likely such ranks are for a right posterior.

    Attributes
    ----------
    ranks : (m, n) int64, 0 to n_samples. Samples below the truth, for each simulation and parameter.
    n_samples : int. Posterior samples of each simulation.
    p_value : (n,) float64. Of the chi-squared test that each parameter's ranks are uniform.
    """

    ranks: npt.NDArray[np.int64]
    n_samples: int
    p_value: _Reals


def calibration_ranks(samples: npt.ArrayLike, truth: npt.ArrayLike, *, bins: int = 20) -> Calibration:
    """Ranks of the truth, with a chi-squared test that they are uniform.

    Parameters
    ----------
    samples : (m, n_samples, n) float64. Posterior samples of m simulated measurements.
    truth : (m, n) float64. What each was made with.
    bins : of the histogram that is tested; n_samples + 1 should be a multiple of it.

    Raises
    ------
    ValueError
        If the shapes do not fit, n_samples + 1 is no multiple of the bins, or fewer than 5 simulations fall into a bin.
    """
    drawn, true = np.asarray(samples, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if drawn.ndim != 3 or true.shape != (drawn.shape[0], drawn.shape[2]):
        raise ValueError(f"samples must have shape (m, n_samples, n), truth (m, n), got {drawn.shape} and {true.shape}")
    m, n_samples, _ = drawn.shape
    if (n_samples + 1) % bins or m < 5 * bins:
        raise ValueError(
            f"bins must divide n_samples + 1 and leave 5 simulations each, got {bins} bins for {n_samples} samples of {m}"
        )
    ranks = (drawn < true[:, None]).sum(axis=1)
    return Calibration(ranks, n_samples, np.array([uniformity(column, n_samples, bins=bins) for column in ranks.T]))


def uniformity(ranks: npt.ArrayLike, n_samples: int, *, bins: int = 20) -> float:
    """Probability of a chi-squared as large as that of these ranks, 0 to n_samples, if they are uniform."""
    from scipy.stats import chi2

    which = np.asarray(ranks, dtype=np.int64) * bins // (n_samples + 1)
    found = np.bincount(which, minlength=bins)
    if len(found) > bins or (np.asarray(ranks) < 0).any():
        raise ValueError(f"ranks must lie in 0 to {n_samples}, got {np.min(ranks)} to {np.max(ranks)}")
    mean = found.sum() / bins
    return float(chi2.sf(np.sum((found - mean) ** 2) / mean, bins - 1))
