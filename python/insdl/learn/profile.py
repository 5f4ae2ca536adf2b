"""A hypothesis fitted to a measured image: Fisher scoring over its unknowns and the background at once.

The log-likelihood of all used pixels plus the log of the background's Gaussian prior is maximised within the unit cube of the
unknowns. Every step solves one linear system: derivatives of the expected counts by the model's parameters and the settings
are finite differences of simulated images, those by scale, noise and background are exact; the expected information takes
the place of second derivatives (Fisher scoring; with Levenberg's damping where a step does not improve). The background's
coefficients, in which the expected counts are linear, are brought to their optimum for the unknowns reached, so that the
result is the profile likelihood. Shares of faulty pixels follow by expectation and maximisation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from insdl.learn.box_integral import log_box_integral
from insdl.learn.hypothesis import Hypothesis
from insdl.learn.likelihood import FaultyPixels, PixelLikelihood, pixel_likelihood

_Reals = npt.NDArray[np.float64]
_Mask = npt.NDArray[np.bool_]

_STEP = 0.004  # of finite differences, in the unit cube
_SHARES = (1e-5, 0.03)  # of hot and of dead pixels
_PRIOR_CURVATURE = 12.0  # of a normal distribution with the variance of a uniform one of width one
_SMALLEST_CURVATURE = 1e-3  # changes no integral over the unit cube by more than 5e-4 an unknown


@dataclass(frozen=True, eq=False)
class Fit:
    """The best that one hypothesis can do for an image.

    Attributes
    ----------
    name : the class.
    log_likelihood : of the used pixels at the optimum. log_posterior : with the log of the background's prior, |b|^2 / 2.
    log_evidence : log of the integral over unknowns and background, by Laplace's approximation within the unit cube.
    by_bin : (n_bins,) float64. The log-likelihood, bin by bin.
    values, errors : of the unknowns, by name. Errors: standard deviations from the inverse Fisher information, with the
        uniform prior counted as a normal one of the same variance.
    parameters, parameter_errors : of the model, meV.
    at_border : unknowns that ended at the end of their range.
    faulty : FaultyPixels found.
    mean : (n_bins, n_h, n_k) float64, counts. Expected before clipping. background : the part that is not magnetic.
    information : (n_bins, n_h, n_k) float64, 1/counts^2. Of each used pixel about its mean, 0 elsewhere.
    point : (n_unknowns,) float64 in the unit cube. covariance : (n_unknowns, n_unknowns), of it.
    coefficients : of the background. iterations, simulated : steps taken, and images simulated for them.
    """

    name: str
    log_likelihood: float
    log_posterior: float
    log_evidence: float
    by_bin: _Reals
    values: Mapping[str, float]
    errors: Mapping[str, float]
    parameters: Mapping[str, float]
    parameter_errors: Mapping[str, float]
    at_border: tuple[str, ...]
    faulty: FaultyPixels
    mean: _Reals
    background: _Reals
    information: _Reals
    point: _Reals
    covariance: _Reals
    coefficients: _Reals
    iterations: int
    simulated: int


@dataclass(frozen=True, eq=False)
class _State:
    """A point, with everything worked out there."""

    point: _Reals
    coefficients: _Reals
    faulty: FaultyPixels
    shape: _Reals  # (n_used,), the image for a scale of one
    pixels: PixelLikelihood
    objective: float


def fit_hypothesis(
    hypothesis: Hypothesis,
    counts: npt.ArrayLike,
    measured: npt.NDArray[np.bool_],
    *,
    used: npt.NDArray[np.bool_] | None = None,
    extra_sigma: npt.ArrayLike = 0.0,
    starts: npt.ArrayLike | None = None,
    n_starts: int = 3,
    iterations: int = 25,
    tolerance: float = 0.05,
    threads: int | None = None,
) -> Fit:
    """The maximum of a hypothesis' likelihood for an image, over all unknowns and the background.

    Parameters
    ----------
    hypothesis : Hypothesis.
    counts : (n_bins, n_h, n_k) float, counts, Qh and Qk ascending; from 0 to the hypothesis' largest. Either orientation:
        images of models with both mirrors that run the other way are those with the opposite shifts.
    measured : (n_bins, n_h, n_k) bool. Where a detector looked: the mean signal is one over these pixels.
    used : (n_bins, n_h, n_k) bool. Pixels whose likelihood counts, among the measured ones; None for all of them.
    extra_sigma : number or (n_bins,), counts. Standard deviation of noise added to the image afterwards.
    starts : (n, n_unknowns) points of the unit cube; None for the ``n_starts`` best of the hypothesis' templates.
    iterations : int. Steps at most, of the best start; each start takes four before that.
    tolerance : float. The fit ends where a step is expected to raise the log-likelihood by less.

    Raises
    ------
    ValueError
        For arrays of another shape, no used pixel, counts outside the range, or no start where the model is stable.
    """
    problem = _Problem(hypothesis, counts, measured, used, extra_sigma, threads)
    if starts is None:
        noise = np.hypot(hypothesis.sigma, np.broadcast_to(np.asarray(extra_sigma, float), hypothesis.sigma.shape))
        points = hypothesis.starting_points(problem.counts, problem.used, n=n_starts, noise=noise)
    else:
        points = list(np.atleast_2d(np.asarray(starts, dtype=np.float64)))
    begun = [state for point in points if (state := problem.begin(point)) is not None]
    if not begun:
        raise ValueError(f"{hypothesis.name} is unstable at every starting point")
    done, first = 0, min(4, iterations) if len(begun) > 1 else 0
    for number, state in enumerate(begun):
        begun[number], taken = _climb(problem, state, first, tolerance)
        done += taken
    best = max(begun, key=lambda state: state.objective)
    best, taken = _climb(problem, best, iterations - first, tolerance)
    for _ in range(2):
        best = problem.settled(best)
    return problem.result(best, done + taken)


def _climb(problem: _Problem, state: _State, iterations: int, tolerance: float) -> tuple[_State, int]:
    """Damped Fisher scoring within the unit cube."""
    damping = 1e-3
    for iteration in range(iterations):
        gradient, curvature = problem.quadratic(state, problem.columns(state))
        for _ in range(6):
            step = _step(state.point, gradient, curvature, damping)
            n = len(state.point)
            gain = float(gradient @ step - 0.5 * step @ curvature @ step)
            if gain < tolerance:
                return state, iteration
            trial = problem.at(state.point + step[:n], state.coefficients + step[n:], state.faulty)
            if trial is not None and trial.objective > state.objective:
                damping = max(damping * 0.2, 1e-6)
                break
            damping = max(damping * 10.0, 1e-2)
        else:
            return state, iteration
        state = problem.settled(trial)
    return state, iterations


def _step(point: _Reals, gradient: _Reals, curvature: _Reals, damping: float) -> _Reals:
    """The damped step that stays within the cube: coordinates that would leave it stop at its face, the others go on."""
    n, step = len(point), np.zeros(len(gradient))
    low, high = -point, 1.0 - point
    free = np.ones(len(gradient), dtype=bool)
    damped = curvature + np.diag(np.where(np.arange(len(gradient)) < n, damping * np.diag(curvature) + 1e-9, 0.0))
    for _ in range(n + 1):
        fixed = ~free
        right = gradient[free] - damped[np.ix_(free, fixed)] @ step[fixed]
        step[free] = np.linalg.solve(damped[np.ix_(free, free)], right)
        outside = free[:n] & ((step[:n] < low - 1e-12) | (step[:n] > high + 1e-12))
        if not outside.any():
            break
        # The one that leaves first, by the share of its step that is allowed.
        shares = np.where(outside, np.where(step[:n] < 0, low, high) / np.where(step[:n] == 0, 1.0, step[:n]), np.inf)
        worst = int(np.argmin(shares))
        step[worst] = low[worst] if step[worst] < 0 else high[worst]
        free[worst] = False
    return step


class _Problem:
    """One image and one hypothesis, on the used pixels."""

    def __init__(
        self,
        hypothesis: Hypothesis,
        counts: npt.ArrayLike,
        measured: _Mask,
        used: _Mask | None,
        extra_sigma: npt.ArrayLike,
        threads: int | None,
    ) -> None:
        shape = hypothesis.simulator.frame.shape
        self.counts = np.asarray(counts, dtype=np.float64)
        self.measured = np.asarray(measured, dtype=bool)
        self.used = self.measured if used is None else np.asarray(used, dtype=bool) & self.measured
        for array, what in ((self.counts, "counts"), (self.measured, "measured"), (self.used, "used")):
            if array.shape != shape:
                raise ValueError(f"{what} must have the shape {shape} of the frame, got {array.shape}")
        if not self.used.any():
            raise ValueError("at least one pixel must be used and measured")
        self.hypothesis, self.threads, self.simulated = hypothesis, threads, 0
        under = hypothesis.background
        bins, rows, columns = np.nonzero(self.used)
        self.x = self.counts[self.used]
        self.sigma = hypothesis.sigma[bins]
        self.extra = np.broadcast_to(np.asarray(extra_sigma, dtype=np.float64), shape[0])[bins]
        axis = np.linspace(-1.0, 1.0, shape[1])
        modes = under.modes[:, self.used].T.astype(np.float64)
        # Offset, slopes and components; planes and pedestals share the first.
        self.base = np.column_stack([np.ones(len(bins)), axis[rows], axis[columns], modes])
        self.ends = np.searchsorted(bins, np.arange(shape[0] + 1))
        self.bins = bins

    # ---- expected counts -------------------------------------------------------------------------------------------

    def shapes(self, points: _Reals) -> tuple[_Reals, _Mask]:
        """(n, n_used) images for a scale of one at points of the cube, and which are stable."""
        self.simulated += len(points)
        images, stable = self.hypothesis.images(points, self.measured, threads=self.threads)
        return images[:, self.used], stable

    def under(self, coefficients: _Reals) -> _Reals:
        """(n_used,) counts of background."""
        return np.asarray(self.hypothesis.background.image(coefficients)[self.used])

    def begin(self, point: _Reals) -> _State | None:
        """A state at a starting point, with the background fitted; None where the model is unstable."""
        faulty = FaultyPixels(hot=0.004, height=self.hypothesis.hot_height, dead=0.001)
        point = np.clip(point, 0.0, 1.0)
        state = self.at(point, np.zeros(self.hypothesis.background.n_coefficients), faulty)
        if state is None:
            return None
        for _ in range(4):
            state = self.settled(state)
        return state

    def at(self, point: _Reals, coefficients: _Reals, faulty: FaultyPixels) -> _State | None:
        """The state at a point; None where the model is unstable."""
        inside = np.clip(point, 0.0, 1.0)
        shapes, stable = self.shapes(inside[None])
        return self._state(inside, coefficients, faulty, shapes[0]) if stable[0] else None

    def _state(self, point: _Reals, coefficients: _Reals, faulty: FaultyPixels, shape: _Reals) -> _State:
        scale, noise = self.hypothesis.unknowns.values(point)[-2:]
        pixels = pixel_likelihood(
            self.x,
            scale * shape + self.under(coefficients),
            self.sigma,
            noise=float(noise),
            extra_sigma=self.extra,
            largest=self.hypothesis.largest if not self.extra.any() else np.inf,
            faulty=faulty,
        )
        objective = float(pixels.value.sum() - 0.5 * coefficients @ coefficients)
        return _State(point, coefficients, faulty, shape, pixels, objective)

    # ---- derivatives -----------------------------------------------------------------------------------------------

    def columns(self, state: _State) -> _Reals:
        """(n_used, n_unknowns - 1): d mean / d unknowns but for the noise. Settings and quantities by finite differences."""
        unknowns = self.hypothesis.unknowns
        n = unknowns.n_quantities + unknowns.n_settings
        values, slopes = unknowns.values(state.point), unknowns.slopes(state.point)
        steps = np.where(state.point[:n] + _STEP <= 1.0, _STEP, -_STEP)
        points = np.repeat(state.point[None], n, axis=0)
        points[np.arange(n), np.arange(n)] += steps
        shapes, stable = self.shapes(points)
        if not stable.all():  # the other side; where both are unstable, the unknown stays as it is
            wrong = np.flatnonzero(~stable)
            points[wrong, wrong] -= 2 * steps[wrong]
            inside = (points[wrong, wrong] >= 0.0) & (points[wrong, wrong] <= 1.0)
            again, fine = self.shapes(np.clip(points[wrong], 0.0, 1.0))
            fine &= inside
            shapes[wrong], steps[wrong] = np.where(fine[:, None], again, state.shape), -steps[wrong]
        found = np.empty((len(self.x), n + 1))
        found[:, :n] = ((shapes - state.shape) * (values[-2] / steps)[:, None]).T
        found[:, n] = slopes[-2] * state.shape
        return found

    def quadratic(self, state: _State, columns: _Reals) -> tuple[_Reals, _Reals]:
        """Gradient and expected information of the objective by (unknowns, coefficients of the background)."""
        under, pixels = self.hypothesis.background, state.pixels
        n_blocks, n_bins = int(under.blocks[-1]) + 1, len(under.blocks)
        d, n_modes = columns.shape[1] + 1, len(under.modes)
        size = d + under.n_coefficients
        gradient, curvature = np.zeros(size), np.zeros((size, size))
        to_noise = self.hypothesis.unknowns.slopes(state.point)[-1] / self.hypothesis.unknowns.values(state.point)[-1]
        gradient[d - 1] = to_noise * pixels.noise_score.sum()
        curvature[d - 1, d - 1] = to_noise**2 * pixels.noise_information.sum()
        # Local columns: offset, two slopes, the offset again as the pedestal, components, unknowns but for the noise.
        local = np.array([0, 1, 2, 0, *range(3, 3 + n_modes + d - 1)])
        size_of = np.concatenate([np.full(3, under.plane_sigma), [under.pedestal_sigma], np.ones(n_modes + d - 1)])
        for number in range(n_bins):
            here = slice(self.ends[number], self.ends[number + 1])
            if here.start == here.stop:
                continue
            own = np.concatenate([self.base[here], columns[here]], axis=1)
            gram = own.T @ (own * pixels.information[here, None])
            first = d + 3 * int(under.blocks[number])
            place = np.concatenate(
                [
                    np.arange(first, first + 3),
                    [d + 3 * n_blocks + number],
                    np.arange(d + 3 * n_blocks + n_bins, size),
                    np.arange(d - 1),
                ]
            )
            gradient[place] += size_of * (own.T @ pixels.score[here])[local]
            curvature[np.ix_(place, place)] += np.outer(size_of, size_of) * gram[np.ix_(local, local)]
            cross = to_noise * size_of * (own.T @ pixels.cross_information[here])[local]
            curvature[place, d - 1] += cross
            curvature[d - 1, place] += cross
        gradient[d:] -= state.coefficients
        curvature[np.arange(d, size), np.arange(d, size)] += 1.0
        return gradient, curvature

    def settled(self, state: _State) -> _State:
        """The same point with better shares of faulty pixels, background, scale and noise: one step, no image simulated."""
        hot, dead = (float(np.clip(part.mean(), *_SHARES)) for part in (state.pixels.hot, state.pixels.dead))
        faulty = replace(state.faulty, hot=hot, dead=dead)
        held = len(state.point) - 2  # all but scale and noise
        scale = self.hypothesis.unknowns.slopes(state.point)[-2] * state.shape
        gradient, curvature = self.quadratic(state, scale[:, None])
        step = _step(state.point[held:], gradient, curvature, 0.0)
        for share in (1.0, 0.3, 0.0):  # the last cannot fail: new shares of faulty pixels alone raise the likelihood
            point = state.point.copy()
            point[held:] = np.clip(point[held:] + share * step[:2], 0.0, 1.0)
            trial = self._state(point, state.coefficients + share * step[2:], faulty, state.shape)
            if trial.objective >= state.objective:
                return trial
        return state

    # ---- the result ------------------------------------------------------------------------------------------------

    def result(self, state: _State, iterations: int) -> Fit:
        """Everything about the optimum."""
        unknowns, under = self.hypothesis.unknowns, self.hypothesis.background
        gradient, curvature = self.quadratic(state, self.columns(state))
        n = len(state.point)
        by_background = np.linalg.solve(curvature[n:, n:], np.column_stack([curvature[n:, :n], gradient[n:]]))
        own = curvature[:n, :n] - curvature[:n, n:] @ by_background[:, :n]
        own = 0.5 * (own + own.T)
        slope = gradient[:n] - curvature[:n, n:] @ by_background[:, n]
        _, log_determinant = np.linalg.slogdet(curvature[n:, n:])
        integral = log_box_integral(
            own + _SMALLEST_CURVATURE * np.eye(n), slope, -state.point - 1e-9, 1.0 - state.point + 1e-9
        )
        covariance = np.linalg.inv(own + _PRIOR_CURVATURE * np.eye(n))
        values, slopes = unknowns.values(state.point), unknowns.slopes(state.point)
        spread = np.sqrt(np.diag(covariance)) * slopes
        to_parameters = unknowns.linear * slopes[: unknowns.n_quantities]
        q = unknowns.n_quantities
        parameter_errors = np.sqrt(np.einsum("pi,ij,pj->p", to_parameters, covariance[:q, :q], to_parameters))
        images, _ = self.hypothesis.images(state.point[None], self.measured, threads=self.threads)
        background = under.image(state.coefficients)
        information = np.zeros(self.used.shape)
        information[self.used] = state.pixels.information
        at_border = [name for name, u in zip(unknowns.names, state.point, strict=True) if u < 1e-6 or u > 1 - 1e-6]
        return Fit(
            name=self.hypothesis.name,
            log_likelihood=float(state.pixels.value.sum()),
            log_posterior=state.objective,
            log_evidence=state.objective - 0.5 * float(log_determinant) + integral,
            by_bin=np.bincount(self.bins, state.pixels.value, minlength=len(under.blocks)).astype(np.float64),
            values=dict(zip(unknowns.names, values.tolist(), strict=True)),
            errors=dict(zip(unknowns.names, spread.tolist(), strict=True)),
            parameters=dict(zip(unknowns.parameters, unknowns.model_values(state.point).tolist(), strict=True)),
            parameter_errors=dict(zip(unknowns.parameters, parameter_errors.tolist(), strict=True)),
            at_border=tuple(at_border),
            faulty=state.faulty,
            mean=values[-2] * images[0] + background,
            background=background,
            information=information,
            point=state.point,
            covariance=np.asarray(covariance, dtype=np.float64),
            coefficients=state.coefficients,
            iterations=iterations,
            simulated=self.simulated,
        )
