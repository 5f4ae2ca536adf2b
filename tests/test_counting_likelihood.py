"""Likelihood of counts: against scipy's distributions and fits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

from insdl.learn.counting_likelihood import CountingProblem, bin_backgrounds, fit_scale

RNG = np.random.default_rng(1)
MEASURED = RNG.random((2, 12, 12)) > 0.2
IMAGE = RNG.random((2, 12, 12)) ** 2
TRUTH = 30.0 * IMAGE + np.array([2.0, 7.0])[:, None, None]


def test_poisson_likelihood_is_that_of_the_distribution():
    counts = RNG.poisson(TRUTH).astype(float)
    problem = CountingProblem(counts, MEASURED)
    mean, data = TRUTH[MEASURED], counts[MEASURED]
    own = stats.poisson.logpmf(data, mean).sum() - stats.poisson.logpmf(data, data).sum()
    assert problem.log_likelihood(mean) == pytest.approx(own, rel=1e-10)
    found = fit_scale(problem, IMAGE)

    def loss(x):
        expected = x[0] * IMAGE + np.array([x[1], x[2]])[:, None, None]
        return -stats.poisson.logpmf(data, expected[MEASURED]).sum()

    best = optimize.minimize(loss, [25.0, 3.0, 3.0], method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9})
    assert [found.scale, *found.levels] == pytest.approx(best.x, rel=1e-4)
    squares, pixels = problem.chi_squared(found.mean)
    assert pixels == MEASURED.sum()
    assert squares / pixels == pytest.approx(1.0, abs=5 * np.sqrt(2 / pixels))


def test_a_bin_that_is_nearly_empty_has_the_likelihood_of_its_few_counts():
    """A bin beyond the band, among bins of many counts: 0.004 counts a pixel are expected there, and 0 or 1 come."""
    mean = np.where(np.arange(2)[:, None, None] == 0, TRUTH, 0.004)
    counts = np.random.default_rng(8).poisson(mean).astype(float)
    counts[1, MEASURED[1]] = np.arange(MEASURED[1].sum()) == 5
    problem = CountingProblem(counts, MEASURED)
    data = counts[MEASURED]
    own = stats.poisson.logpmf(data, mean[MEASURED]).sum() - stats.poisson.logpmf(data, data).sum()
    assert problem.log_likelihood(mean[MEASURED]) == pytest.approx(own, rel=1e-10)
    found = fit_scale(problem, IMAGE * np.array([1.0, 0.0])[:, None, None])
    assert found.levels[1] == pytest.approx(1.0 / MEASURED[1].sum(), rel=1e-6)


def test_a_sloped_background_of_few_counts_is_fitted_to_its_highest_likelihood():
    """Least squares alone leaves the region where all expected counts are positive, and does not come back."""
    radius = np.hypot(*np.meshgrid(np.linspace(-1, 1, 12), np.linspace(-1, 1, 12)))
    slope = radius - radius.mean()
    everywhere = np.ones((2, 12, 12), bool)
    shapes = bin_backgrounds(everywhere, radial=radius)
    image = IMAGE * np.array([1.0, 0.0])[:, None, None]
    for seed in range(40):
        rng = np.random.default_rng(seed)
        counts = rng.poisson(np.stack([TRUTH[0], np.full((12, 12), 0.03)])).astype(float)
        counts[1, 3, 4] += 1.0
        found = fit_scale(CountingProblem(counts, everywhere, backgrounds=shapes), image)

        def loss(x, few=counts[1]):
            mean = x[0] + x[1] * slope
            return 1e9 if mean.min() <= 1e-9 else -stats.poisson.logpmf(few, mean).sum()

        best = optimize.minimize(loss, [counts[1].mean(), 0.0], method="Nelder-Mead", options={"fatol": 1e-9})
        levels = found.levels[[1, 3]]
        assert -stats.poisson.logpmf(counts[1], np.maximum(levels[0] + levels[1] * slope, 1e-6)).sum() < best.fun + 0.05


def test_gaussian_likelihood_is_weighted_least_squares():
    variance = np.broadcast_to(np.array([4.0, 9.0])[:, None, None], TRUTH.shape)
    data = TRUTH + np.sqrt(variance) * RNG.standard_normal(TRUTH.shape)  # negative signal is allowed
    problem = CountingProblem(data, MEASURED, variance=variance)
    found = fit_scale(problem, IMAGE)
    design = np.concatenate([IMAGE[None], bin_backgrounds(MEASURED)])[:, MEASURED].T
    root = np.sqrt(variance[MEASURED])
    best = np.linalg.lstsq(design / root[:, None], data[MEASURED] / root, rcond=None)[0]
    assert [found.scale, *found.levels] == pytest.approx(best, rel=1e-9)
    # Integrating scale and levels out costs half the logarithm of this determinant (up to units).
    other = fit_scale(problem, np.sqrt(IMAGE))
    size = np.sqrt(np.mean(design**2, axis=0))
    expected = np.linalg.slogdet((design / root[:, None] / size).T @ (design / root[:, None] / size))[1]
    assert found.log_determinant == pytest.approx(expected, rel=1e-6)
    assert other.log_likelihood < found.log_likelihood


def test_a_radial_slope_is_one_more_shape_for_every_bin():
    radius = np.hypot(*np.meshgrid(np.linspace(-1, 1, 12), np.linspace(-1, 1, 12)))
    shapes = bin_backgrounds(MEASURED, radial=radius)
    assert shapes.shape == (4, 2, 12, 12)
    sloped = TRUTH + 5.0 * (radius - radius.mean()) + 10.0
    problem = CountingProblem(sloped, MEASURED, backgrounds=shapes)
    assert fit_scale(problem, IMAGE).scale == pytest.approx(30.0, rel=1e-6)
    assert abs(fit_scale(CountingProblem(sloped, MEASURED), IMAGE).scale - 30.0) > 0.05


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError, match="not all zero"):
        CountingProblem(np.zeros((2, 12, 12)), MEASURED)
    with pytest.raises(ValueError, match="must have one shape"):
        CountingProblem(np.zeros((2, 3, 3)), MEASURED)
    with pytest.raises(ValueError, match="variance must be positive"):
        CountingProblem(TRUTH, MEASURED, variance=np.zeros(TRUTH.shape))
    with pytest.raises(ValueError, match=r"backgrounds must have shape \(k, 2, 12, 12\)"):
        CountingProblem(TRUTH, MEASURED, backgrounds=np.zeros((1, 3)))
