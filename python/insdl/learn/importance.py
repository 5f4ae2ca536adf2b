"""A posterior made exact through the simulator: samples of a nearly right one, weighted by the likelihood of the counts.

Importance sampling: weight = likelihood prior / proposal, with scale and background levels integrated out by Laplace's method
(flat in both), which is exact up to terms of relative order 1/counts. The effective number of samples (sum w)^2 / sum w^2 says
whether the proposal was good enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from insdl.dataset.parameter_prior import ParameterPrior
from insdl.learn.counting_likelihood import CountingProblem, fit_scale
from insdl.learn.information import Expected
from insdl.learn.refinement import Refinement

_Reals = npt.NDArray[np.float64]
_AT_ONCE = 32  # images simulated in one call
_FREEDOM = 5.0  # of Student's t: tails heavier than a posterior's


@dataclass(frozen=True, eq=False)
class Reweighted:
    """Samples of the posterior with weights.

    Attributes
    ----------
    names : of the parameters. samples : (m, n) float64. weights : (m,) float64, of sum one.
    effective : float. Independent samples that these are worth.
    """

    names: tuple[str, ...]
    samples: _Reals
    weights: _Reals
    effective: float

    @property
    def mean(self) -> _Reals:
        """(n,) float64. Mean of the posterior."""
        return np.asarray(self.weights @ self.samples)

    @property
    def covariance(self) -> _Reals:
        """(n, n) float64. Covariance of the posterior."""
        offset = self.samples - self.mean
        return np.asarray((self.weights[:, None] * offset).T @ offset)


def reweighted(
    problem: CountingProblem,
    expected: Expected,
    samples: npt.ArrayLike,
    log_proposal: npt.ArrayLike,
    *,
    prior: ParameterPrior,
) -> Reweighted:
    """Samples weighted by the likelihood of counts.

    Parameters
    ----------
    problem : counts, mask and backgrounds.
    expected : images for rows of the prior's parameters.
    samples : (m, n) float64. Of a neural posterior, or of `refinement_proposal`.
    log_proposal : (m,) float64. Logarithm of the density that they were drawn from, up to a constant.
    prior : samples outside its bounds get no weight.

    Raises
    ------
    ValueError
        If the shapes do not fit, or no sample lies within the bounds.
    """
    drawn, density = np.asarray(samples, dtype=np.float64), np.asarray(log_proposal, dtype=np.float64)
    if drawn.ndim != 2 or drawn.shape[1] != len(prior.names) or density.shape != (len(drawn),):
        raise ValueError(
            f"samples must have shape (m, {len(prior.names)}), log_proposal (m,), got {drawn.shape} and {density.shape}"
        )
    inside = prior.contains(drawn)
    if not inside.any():
        raise ValueError(f"none of the {len(drawn)} samples lies within the bounds of {', '.join(prior.names)}")
    log_weight = np.full(len(drawn), -np.inf)
    rows = np.flatnonzero(inside)
    for begin in range(0, len(rows), _AT_ONCE):
        part = rows[begin : begin + _AT_ONCE]
        for row, image in zip(part, np.asarray(expected(drawn[part])), strict=True):
            if np.isfinite(image[problem.measured]).all():  # an unstable model has no likelihood
                fit = fit_scale(problem, image)
                log_weight[row] = fit.log_likelihood - 0.5 * fit.log_determinant
    log_weight += prior.log_density(drawn) - density
    log_weight[~np.isfinite(log_weight)] = -np.inf
    if not np.isfinite(log_weight).any():
        raise ValueError("no sample within the bounds has a stable model")
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    return Reweighted(tuple(prior.names), drawn, weight, float(1.0 / np.sum(weight**2)))


def refinement_proposal(
    refinement: Refinement, n_samples: int, rng: np.random.Generator, *, widening: float = 1.2
) -> tuple[_Reals, _Reals]:
    """Samples (m, n) around a refinement, and the logarithm of their density (m,).

    Student's t with 5 degrees of freedom and ``widening`` times the refinement's errors: its tails are heavier than those of
    a posterior, so that weights stay bounded.
    """
    if n_samples < 1 or not widening > 0:
        raise ValueError(f"n_samples must be at least 1 and widening positive, got {n_samples} and {widening}")
    factor = widening * np.linalg.cholesky(refinement.covariance)
    normal = rng.standard_normal((n_samples, len(refinement.names)))
    stretch = np.sqrt(_FREEDOM / rng.chisquare(_FREEDOM, n_samples))
    samples = refinement.estimate + (normal * stretch[:, None]) @ factor.T
    return samples, proposal_density(refinement, samples, widening=widening)


def proposal_density(refinement: Refinement, samples: npt.ArrayLike, *, widening: float = 1.2) -> _Reals:
    """(m,) float64. Logarithm of the density of `refinement_proposal` at samples (m, n)."""
    factor = widening * np.linalg.cholesky(refinement.covariance)
    n = len(refinement.names)
    white = np.linalg.solve(factor, (np.asarray(samples, dtype=np.float64) - refinement.estimate).T)
    constant = math.lgamma(0.5 * (_FREEDOM + n)) - math.lgamma(0.5 * _FREEDOM) - 0.5 * n * math.log(_FREEDOM * math.pi)
    constant -= float(np.sum(np.log(np.diag(factor))))
    return np.asarray(constant - 0.5 * (_FREEDOM + n) * np.log1p(np.sum(white**2, axis=0) / _FREEDOM))
