"""Parameters of a measured image by maximum likelihood through the simulator, starting from what a network says.

Fisher scoring: theta' = theta + (F + P)^-1 (dm^T (n - m) / v - P (theta - theta_0)), with the information F of
`insdl.learn.information` and the precision P of a normal prior; scale and background levels are parameters too. A flat prior's
bounds hold: a parameter that would leave them goes nine tenths of the way to the bound, and the others go on for that. A step
that makes the counts less likely is shortened, and when that does not help, damped, as by Levenberg and Marquardt (SIAM J.
Appl. Math. 11, 431 (1963)).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from insdl.dataset.parameter_prior import ParameterPrior
from insdl.learn.counting_likelihood import CountingProblem, ScaleFit, fit_scale
from insdl.learn.information import (
    Expected,
    Information,
    covariance,
    eliminated,
    fisher_information,
    jacobian,
    with_prior,
)

_Reals = npt.NDArray[np.float64]
# Of a step, until one of them makes the counts more likely: a share of it, or the whole of a damped one.
_ATTEMPTS = (*((0.5**n, 0.0) for n in range(5)), *((1.0, 10.0**n) for n in range(-1, 4)))
_NOTHING_MORE = 1e-3  # nats: in a bent valley steps may stay long and gain next to nothing
_NEARER = (
    0.9  # of the way to a bound in one step: at a width of zero, say, nothing depends on it, and nothing leads away
)
_STEP = 1e-3  # of the prior's width: where derivatives begin, see `jacobian`


@dataclass(frozen=True, eq=False)
class Refinement:
    """What the counts say about the parameters.

    Attributes
    ----------
    names : of the parameters. estimate : (n,) float64. Most probable values.
    covariance : (n, n) float64. Inverse of information and prior; a flat prior counts with its variance, so that a parameter
        that the counts know nothing about has the prior's width and no more.
    information : about the parameters from the counts alone, scale and backgrounds left out.
    scale, levels : of the signal and of the backgrounds.
    chi_squared : of the counts about their expectation, over the degrees of freedom.
    degrees_of_freedom : pixels less fitted numbers.
    log_posterior : of the likelihood (see `CountingProblem.log_likelihood`) and the prior.
    steps : taken. converged : whether the last step was below the tolerance or promised less than 0.001 nats.
    at_bound : names of parameters that ended within a thousandth of the range from a bound of their prior.
    """

    names: tuple[str, ...]
    estimate: _Reals
    covariance: _Reals
    information: Information
    scale: float
    levels: _Reals
    chi_squared: float
    degrees_of_freedom: int
    log_posterior: float
    steps: int
    converged: bool
    at_bound: tuple[str, ...]

    @property
    def error(self) -> dict[str, float]:
        """Standard deviation of each parameter."""
        return dict(zip(self.names, map(float, np.sqrt(np.diag(self.covariance))), strict=True))

    @property
    def values(self) -> Mapping[str, float]:
        """The estimate by name."""
        return dict(zip(self.names, map(float, self.estimate), strict=True))


def refine(
    problem: CountingProblem,
    expected: Expected,
    *,
    prior: ParameterPrior,
    start: npt.ArrayLike,
    max_steps: int = 25,
    tolerance: float = 0.03,
) -> Refinement:
    """The most probable parameters of counts, and how far they can be believed.

    Parameters
    ----------
    problem : counts, mask and backgrounds.
    expected : images for rows of the prior's parameters, such as an `insdl.instrument.forward_model.ForwardModel`.
    prior : bounds, and normal priors of nuisances such as the zero of energy.
    start : (n,) float64. What a network or an earlier fit says; far from the answer scoring can end elsewhere.
    max_steps : of Fisher scoring, each with 4 n + 1 to 6 simulated images.
    tolerance : a step shorter than this many standard deviations ends the fit, as does one that promises less than 0.001 nats.

    Raises
    ------
    ValueError
        If the start lies outside the bounds or its image is not finite.
    """
    low, high = prior.low, prior.high
    theta = np.array(start, dtype=np.float64)
    if theta.shape != low.shape or not prior.contains(theta):
        raise ValueError(
            f"start must lie within the prior of {', '.join(prior.names)}, {low.tolist()} to {high.tolist()}, "
            f"got {theta.tolist()}"
        )
    # Derivatives reach a step beyond the bounds; the simulator must be stable there, or the bound must stop earlier.
    steps = np.minimum(_STEP * prior.width, 0.25 * (high - low))
    first = np.asarray(expected(theta[None]))[0]
    if not np.isfinite(first[problem.measured]).all():
        raise ValueError(f"the image at the start {theta.tolist()} is not finite: an unstable model")
    fit = fit_scale(problem, first)
    now = fit.log_likelihood + float(prior.log_density(theta))
    taken, converged = 0, False
    while taken < max_steps and not converged:
        slopes = _slopes(problem, expected, prior, theta, steps, fit)
        gradient, information = _score(problem, fit, slopes, prior)
        pull = gradient - prior.precision * (theta - prior.centre)
        step, error = _bounded_step(information, pull, prior, theta)
        converged = float(np.max(np.abs(step) / error)) < tolerance or 0.5 * float(pull @ step) < _NOTHING_MORE
        taken += 1
        for share, damping in _ATTEMPTS:
            if damping:
                step, _ = _bounded_step(information, pull, prior, theta, damping=damping)
            trial = np.clip(theta + share * step, low, high)
            image = np.asarray(expected(trial[None]))[0]
            if np.isfinite(image[problem.measured]).all():
                new = fit_scale(problem, image)
                value = new.log_likelihood + float(prior.log_density(trial))
                if value >= now - 1e-6:
                    theta, fit, now = trial, new, value
                    break
        else:
            break
    # At a bound an image may not depend on a parameter to first order, as on a width at zero; what it does half a prior width
    # inside is what the errors of the others have to allow for.
    edge = 1e-3 * (high - low)
    inside = np.clip(theta, low + 0.5 * prior.width, high - 0.5 * prior.width)
    at_bound = (theta <= low + edge) | (theta >= high - edge)
    slopes = _slopes(problem, expected, prior, np.where(at_bound, inside, theta), steps, fit)
    _, information = _score(problem, fit, slopes, prior)
    known = with_prior(information, dict(zip(prior.names, prior.width, strict=True)))
    fitted = len(theta) + 1 + len(fit.levels)
    residual, pixels = problem.chi_squared(fit.mean)
    freedom = max(1, pixels - fitted)
    return Refinement(
        names=tuple(prior.names),
        estimate=theta,
        covariance=covariance(known),
        information=information,
        scale=fit.scale,
        levels=fit.levels,
        chi_squared=residual / freedom,
        degrees_of_freedom=freedom,
        log_posterior=now,
        steps=taken,
        converged=converged,
        at_bound=tuple(name for name, there in zip(prior.names, at_bound, strict=True) if there),
    )


def _slopes(
    problem: CountingProblem,
    expected: Expected,
    prior: ParameterPrior,
    theta: _Reals,
    steps: _Reals,
    fit: ScaleFit,
) -> _Reals:
    """(n + 1 + k, pixels): derivatives of the expected counts by parameters, scale and levels."""
    inside = np.clip(theta, prior.low + steps, prior.high - steps)
    found = jacobian(expected, inside, steps=steps)
    signal = found.mean[problem.measured]
    return np.concatenate([fit.scale * found.derivative[:, problem.measured], signal[None], problem.shapes])


def _score(
    problem: CountingProblem, fit: ScaleFit, slopes: _Reals, prior: ParameterPrior
) -> tuple[_Reals, Information]:
    """Gradient of the log-likelihood profiled over scale and levels, and the information about the parameters."""
    noise = problem.noise(fit.mean)
    free = tuple(f"free {i}" for i in range(len(slopes) - len(prior.names)))
    full = fisher_information(slopes, noise, names=(*prior.names, *free))
    n = len(prior.names)
    # At the best scale and levels their own gradient is zero, so that the parameters' is that of the profile.
    gradient = slopes[:n] @ ((problem.data - fit.mean) / noise)
    return gradient, eliminated(full, prior.names)


def _bounded_step(
    information: Information, gradient: _Reals, prior: ParameterPrior, theta: _Reals, *, damping: float = 0.0
) -> tuple[_Reals, _Reals]:
    """A scoring step that stays within the bounds, and the standard deviations that it is measured in."""
    from scipy.optimize import lsq_linear

    matrix = information.matrix + np.diag(prior.precision)
    matrix += damping * np.diag(np.diag(matrix))
    # So that a null direction gives no step instead of an error: its eigenvalue in prior widths is that of a much wider prior.
    factor = np.linalg.cholesky(matrix + np.diag(1e-6 / prior.width**2 + 1e-12 * np.diag(matrix)))
    room = _NEARER * np.array([prior.low - theta, prior.high - theta])
    room[0] -= 1e-12 * prior.width
    room[1] += 1e-12 * prior.width
    # The quadratic model g s - s F s / 2 has its maximum within bounds where |L^T s - L^-1 g|^2 has its minimum.
    unit = prior.width
    found = lsq_linear(factor.T * unit, np.linalg.solve(factor, gradient), bounds=room / unit, method="bvls", tol=1e-12)
    step: _Reals = np.asarray(found.x, dtype=np.float64) * unit
    error = 1.0 / np.sqrt(np.diag(matrix) + 1.0 / prior.width**2)
    return step, error
