"""The likelihood of numbers against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import multivariate_normal

from insdl.dataset.prior import Range
from insdl.guide.observed import Observed, likelihood, log_scale_integral, none_log_likelihood, nothing
from insdl.guide.planner import Planner
from small_planner import small_planner


def _observed(planner: Planner, *, blocks: tuple[int, ...] = (0, 1)) -> Observed:
    rng = np.random.default_rng(3)
    truth = planner.surrogates["goodenough"](rng.random((1, 12)))[0] * 5.0
    found = nothing(planner)
    for block in blocks:
        own = planner.compression.slices[block]
        noise = rng.standard_normal(own.stop - own.start) / np.sqrt(0.01)
        found = found.added(block, 0.01, truth[own] + planner.background_mean[own] + noise)
    return found


@pytest.mark.parametrize("blocks", [(0, 1), (1,)])
def test_likelihood_is_the_integral_over_scale_and_background(blocks: tuple[int, ...]) -> None:
    """Against the dense normal density of all numbers, integrated over the scale by quadrature."""
    planner = small_planner()
    observed = _observed(planner, blocks=blocks)
    error = planner.surrogates["goodenough"].error
    seen = likelihood(planner, observed, error=error, scale=3.0)
    values = planner.surrogates["goodenough"](np.random.default_rng(0).random((3, 12)))
    used = np.concatenate([np.arange(s.start, s.stop) for b, s in enumerate(planner.compression.slices) if b in blocks])
    total = np.zeros((len(observed.values),) * 2)
    for block, own in enumerate(planner.compression.slices):
        if block in blocks:
            total[own, own] = np.eye(own.stop - own.start) / 0.01
    total = (total + 9.0 * error + planner.background.T @ planner.background)[np.ix_(used, used)]
    low, high = planner.scale.low, planner.scale.high
    for row, found in zip(values, seen.log(values), strict=True):

        def density(s: float, row: np.ndarray = row) -> float:
            mean = s * row[used] + planner.background_mean[used]
            return float(multivariate_normal(mean, total).logpdf(observed.values[used]))

        top = max(density(s) for s in np.linspace(low, high, 60))
        area, _ = quad(
            lambda s, top=top, density=density: np.exp(density(s) - top) / (s * np.log(high / low)),
            low,
            high,
            limit=200,
        )
        np.testing.assert_allclose(found, top + np.log(area), atol=1e-3)


@pytest.mark.parametrize(
    ("a", "b"), [(1e-9, 0.0), (4.0, 9.0), (4e4, 8e4), (100.0, -300.0), (100.0, 4000.0), (1e6, 1e8)]
)
@pytest.mark.parametrize("scale", [Range(0.8, 4.0, "log"), Range(0.8, 4.0)])
def test_scale_integral(a: float, b: float, scale: Range) -> None:
    """Wide and narrow, inside the prior and beyond both of its ends, against quadrature."""
    grid = np.linspace(scale.low, scale.high, 2_000_001)
    prior = 1.0 / (grid * np.log(5.0)) if scale.scale == "log" else np.full_like(grid, 1.0 / 3.2)
    exponent = -0.5 * a * grid**2 + b * grid
    expected = exponent.max() + np.log(np.trapezoid(prior * np.exp(exponent - exponent.max()), grid))
    np.testing.assert_allclose(log_scale_integral(np.array([a]), np.array([b]), scale)[0], expected, atol=2e-3)


def test_none_is_a_mixture_of_normal_distributions() -> None:
    planner = small_planner()
    observed = _observed(planner)
    noise = np.zeros((len(observed.values),) * 2)
    for own in planner.compression.slices:
        noise[own, own] = np.eye(own.stop - own.start) / 0.01
    noise += planner.background.T @ planner.background
    edges = np.linspace(np.log(planner.scale.low), np.log(planner.scale.high), 9)
    logs = [
        multivariate_normal(planner.background_mean + s * mean, noise + s * s * covariance).logpdf(observed.values)
        for s in np.exp(0.5 * (edges[1:] + edges[:-1]))
        for mean, covariance in zip(planner.none.means, planner.none.covariances, strict=True)
    ]
    expected = max(logs) + np.log(np.mean(np.exp(np.array(logs) - max(logs))))
    np.testing.assert_allclose(none_log_likelihood(planner, observed), expected, atol=1e-6)


def test_means_are_weighted_by_time() -> None:
    planner = small_planner()
    n = planner.compression.slices[0].stop
    found = nothing(planner).added(0, 1.0, np.full(n, 2.0)).added(0, 3.0, np.full(n, 6.0))
    np.testing.assert_allclose(found.values[:n], 5.0)
    assert found.time.tolist() == [4.0, 0.0]


def test_nothing_says_nothing() -> None:
    planner = small_planner()
    values = planner.surrogates["dimer"](np.random.default_rng(0).random((2, 11)))
    assert likelihood(planner, nothing(planner)).log(values).tolist() == [0.0, 0.0]
    assert none_log_likelihood(planner, nothing(planner)) == 0.0


def test_wrong_arrays_are_refused() -> None:
    given = nothing(small_planner())
    with pytest.raises(ValueError, match="time must be not negative for 2 blocks"):
        Observed(np.array([1.0, -1.0]), given.values, given.covariance)
