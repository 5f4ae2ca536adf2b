"""Fits of simulated images: the maximum is one, the truth lies within the errors, restrictions restrict."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from insdl.learn.likelihood import pixel_likelihood
from insdl.learn.profile import Fit, _Problem, fit_hypothesis
from small_hypothesis import small, small_background, small_hypotheses, small_image

Reals = npt.NDArray[np.float64]


@cache
def fitted(number: int) -> tuple[Fit, Reals, Any, Any]:
    """The fit of an image by its own class."""
    counts, samples, source = small_image(number)
    hypothesis = small_hypotheses()[int(samples.labels[0])]
    measured = source.detector.measured
    return fit_hypothesis(hypothesis, counts, measured, n_starts=1, threads=1), counts, samples, source


@pytest.fixture(scope="module")
def problem() -> _Problem:
    counts, _, source = small_image(0)
    return _Problem(small_hypotheses()[0], counts, source.detector.measured, None, 0.0, 1)


def test_gradient_against_differences_of_the_objective(problem: _Problem) -> None:
    """By every unknown and coefficient of the background, where the finite differences of images are the largest error."""
    rng = np.random.default_rng(3)
    background = small_background()
    point = 0.3 + 0.4 * rng.random(len(problem.hypothesis.unknowns.names))
    coefficients = 0.5 * rng.standard_normal(background.n_coefficients)
    state = problem.begin(point)
    assert state is not None
    state = problem.at(point, coefficients, state.faulty)
    assert state is not None
    gradient, _ = problem.quadratic(state, problem.columns(state))
    n, found = len(point), []
    for number in range(len(gradient)):
        step = np.zeros(len(gradient))
        step[number] = 2e-4
        ends = [
            problem.at(point + s * step[:n], coefficients + s * step[n:], state.faulty).objective  # type: ignore[union-attr]
            for s in (1, -1)
        ]
        found.append((ends[0] - ends[1]) / 4e-4)
    np.testing.assert_allclose(gradient[n:], found[n:], rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(gradient[n - 2 : n], found[n - 2 : n], rtol=1e-5, atol=1e-2)
    # One-sided differences of images, 0.004 of each range: good to a few per cent of the largest.
    assert np.abs(gradient[:n] - found[:n]).max() < 0.075 * np.abs(found[:n]).max()


def test_information_is_the_spread_of_the_gradient(problem: _Problem) -> None:
    """Over 150 draws of counts from one mean, the gradient's covariance is the expected information (without the prior)."""
    point = np.full(len(problem.hypothesis.unknowns.names), 0.45)
    state = problem.at(point, np.zeros(small_background().n_coefficients), replace(_faultless(problem), hot=0.0))
    assert state is not None
    columns = problem.columns(state)
    _, curvature = problem.quadratic(state, columns)
    scale, noise = problem.hypothesis.unknowns.values(point)[-2:]
    mean = scale * state.shape + problem.under(state.coefficients)
    rng, gradients, x = np.random.default_rng(0), [], problem.x
    for _ in range(150):
        spread = np.sqrt((noise * problem.sigma) ** 2 + np.maximum(mean, 0))
        problem.x = np.clip(mean + spread * rng.standard_normal(len(mean)), 0.0, 119.999)
        again = problem._state(point, state.coefficients, state.faulty, state.shape)
        gradients.append(problem.quadratic(again, columns)[0])
    problem.x = x
    spread = np.std(gradients, axis=0)
    n = len(point)
    expected = np.sqrt(np.diag(curvature) - np.where(np.arange(len(spread)) < n, 0.0, 1.0))
    measurable = expected > 1e-6
    # A standard deviation of 150 numbers is good to 6 %; of some thirty, the worst is within four times that.
    np.testing.assert_allclose(spread[measurable] / expected[measurable], 1.0, atol=0.24)
    assert np.mean(spread[measurable] / expected[measurable]) == pytest.approx(1.0, abs=0.03)


def _faultless(problem: _Problem) -> Any:
    from insdl.learn.likelihood import FaultyPixels

    return FaultyPixels(hot=0.0, height=problem.hypothesis.hot_height, dead=0.0)


def test_the_profiled_background_is_that_of_a_general_optimiser() -> None:
    """All coefficients, scale and noise again, by L-BFGS from zero: no higher maximum, and the same background."""
    optimize = pytest.importorskip("scipy.optimize")
    fit, counts, _, source = fitted(0)
    hypothesis = small_hypotheses()[0]
    used = source.detector.measured
    images, _ = hypothesis.images(fit.point[None], used)
    bins = np.nonzero(used)[0]
    background = small_background()

    nothing = background.image(np.zeros(background.n_coefficients))
    shapes = np.stack([(background.image(one) - nothing)[used] for one in np.eye(background.n_coefficients)])

    def loss(x: Reals) -> tuple[float, Reals]:
        signal = np.exp(x[0]) * images[0][used]
        found = pixel_likelihood(
            counts[used],
            signal + nothing[used] + x[2:] @ shapes,
            hypothesis.sigma[bins],
            noise=float(np.exp(x[1])),
            largest=120.0,
            faulty=fit.faulty,
        )
        slope = np.concatenate([[found.score @ signal, found.noise_score.sum()], shapes @ found.score - x[2:]])
        return float(0.5 * x[2:] @ x[2:] - found.value.sum()), -slope

    start = np.zeros(background.n_coefficients + 2)
    start[0] = np.log(fit.values["scale"]) + 0.2
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-13})
    assert -found.fun == pytest.approx(fit.log_posterior, abs=0.03)  # the noise has a kink at a mean of zero
    assert np.exp(found.x[:2]) == pytest.approx([fit.values["scale"], fit.values["noise"]], rel=0.01)
    apart = background.image(found.x[2:]) - fit.background
    assert np.abs(apart).max() < 0.075  # 0.03 in the objective is 0.25 standard deviations, of at most 0.3 counts


def test_no_neighbour_is_better() -> None:
    """Around the optimum, steps of one standard deviation along every unknown lower the profile likelihood."""
    fit, counts, _, source = fitted(0)
    problem = _Problem(small_hypotheses()[0], counts, source.detector.measured, None, 0.0, 1)
    state = problem.begin(fit.point)
    assert state is not None
    # Begun anew, the shares of faulty pixels may end in a neighbouring maximum.
    assert state.objective == pytest.approx(fit.log_posterior, abs=1.0)
    for number, width in enumerate(np.sqrt(np.diag(fit.covariance))[:-2]):
        for sign in (-1, 1):
            point = fit.point.copy()
            point[number] += sign * width
            if not 0 <= point[number] <= 1:
                continue
            other = problem.begin(point)
            assert other is None or other.objective < fit.log_posterior + 0.1


def test_truth_lies_within_the_errors() -> None:
    """Pulls of the model's parameters over eight images of either class: a width of one, and no bias."""
    pulls = []
    for number in range(8):
        fit, _, samples, source = fitted(number)
        truth = dict(zip(source.parameter_names, samples.parameters[0], strict=True))
        pulls += [(fit.parameters[p] - truth[p]) / fit.parameter_errors[p] for p in ("Jperp", "D")]
        pulls += [
            (fit.parameters[p] - truth[p]) / fit.parameter_errors[p] for p in fit.parameters if p in ("JF2", "JF3")
        ]
        if "JFW" in fit.parameters:
            pulls += [(fit.parameters[p] - truth[p]) / fit.parameter_errors[p] for p in ("JFS", "JA1")]
    values = np.array(pulls)
    assert len(values) == 32
    assert np.abs(np.median(values)) < 0.6  # 1.25 / sqrt(32) is 0.22
    width = np.diff(np.quantile(values, [0.1587, 0.8413]))[0] / 2
    assert 0.6 < width < 1.5
    assert np.abs(values).max() < 5


def test_one_seed_one_answer() -> None:
    fit, counts, _, source = fitted(1)
    again = fit_hypothesis(small_hypotheses()[1], counts, source.detector.measured, n_starts=1, threads=1)
    assert again.log_evidence == fit.log_evidence
    assert again.parameters == fit.parameters


def test_a_flipped_image_is_a_shift_of_the_other_sign() -> None:
    """Models with both mirrors: orientation is not an unknown of its own."""
    fit, counts, _, source = fitted(1)
    flipped = fit_hypothesis(
        small_hypotheses()[1], counts[:, ::-1], source.detector.measured[:, ::-1], n_starts=1, threads=1
    )
    assert flipped.log_posterior == pytest.approx(fit.log_posterior, abs=0.5)
    assert flipped.values["shift_h"] == pytest.approx(-fit.values["shift_h"], abs=fit.errors["shift_h"])
    assert flipped.values["shift_k"] == pytest.approx(fit.values["shift_k"], abs=fit.errors["shift_k"])


def test_pixels_that_are_not_used_do_not_matter() -> None:
    """With one incident energy the other's counts are never looked at, and less is known."""
    whole, counts, _, source = fitted(0)
    used = np.zeros(counts.shape, dtype=bool)
    used[3:] = True
    changed = counts.copy()
    changed[:3] = 7.0
    start = whole.point[None]
    fits = [
        fit_hypothesis(small_hypotheses()[0], c, source.detector.measured, used=used, starts=start, threads=1)
        for c in (counts, changed)
    ]
    assert fits[0].log_evidence == fits[1].log_evidence
    assert not fits[0].by_bin[:3].any()
    assert fits[0].by_bin.sum() == pytest.approx(fits[0].log_likelihood)
    assert fits[0].parameter_errors["JF3"] > whole.parameter_errors["JF3"]


def test_more_noise_means_larger_errors() -> None:
    whole, counts, _, source = fitted(0)
    extra = 3.0 * small_hypotheses()[0].sigma
    noisy = np.maximum(counts + extra[:, None, None] * np.random.default_rng(0).standard_normal(counts.shape), 0.0)
    fit = fit_hypothesis(
        small_hypotheses()[0], noisy, source.detector.measured, extra_sigma=extra, starts=whole.point[None], threads=1
    )
    for name in ("JF1", "JF2", "JF3"):
        assert fit.parameter_errors[name] > 1.2 * whole.parameter_errors[name]
        assert abs(fit.parameters[name] - whole.parameters[name]) < 5 * fit.parameter_errors[name]


def test_evidence_against_importance_sampling() -> None:
    """The integral over unknowns and background, by 4000 draws around the optimum from the same quadratic form."""
    fit, counts, _, source = fitted(1)
    problem = _Problem(small_hypotheses()[1], counts, source.detector.measured, None, 0.0, 1)
    state = problem.at(fit.point, fit.coefficients, fit.faulty)
    assert state is not None
    _, curvature = problem.quadratic(state, problem.columns(state))
    n = len(fit.point)
    # Only scale, noise and background, which need no image; the model's unknowns stay where they are.
    inner = curvature[n - 2 :, n - 2 :]
    covariance = np.linalg.inv(inner)
    draws = np.random.default_rng(0).multivariate_normal(np.zeros(len(inner)), covariance, size=1500)
    weights = []
    for step in draws:
        point = fit.point.copy()
        point[-2:] += step[:2]
        there = problem._state(point, fit.coefficients + step[2:], fit.faulty, state.shape)
        weights.append(there.objective - fit.log_posterior + 0.5 * step @ inner @ step)
    weighted = np.array(weights)
    correction = np.log(np.mean(np.exp(weighted - weighted.max()))) + weighted.max()
    assert abs(correction) < 0.5  # Laplace's approximation of this integral is 0


def test_wrong_input() -> None:
    counts, _, source = small_image(0)
    hypothesis, measured = small_hypotheses()[0], source.detector.measured
    with pytest.raises(ValueError, match=r"counts must have the shape \(6, 16, 16\) of the frame"):
        fit_hypothesis(hypothesis, counts[0], measured)
    with pytest.raises(ValueError, match="at least one pixel must be used"):
        fit_hypothesis(hypothesis, counts, measured, used=np.zeros_like(measured))
    with pytest.raises(ValueError, match="counts must lie from 0 to 120"):
        fit_hypothesis(hypothesis, counts + 200.0, measured, starts=np.full((1, 14), 0.5))
    assert small().name == "small"
