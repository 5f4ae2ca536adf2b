"""What counting noise makes of the logarithm: against the draws of `counted`, scipy's quadrature and exact limits."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from insdl.dataset import generator
from insdl.instrument import counted, counting
from insdl.instrument.counting import expected_counts, expected_log

CASES = [(0.0, 1.0), (-2.0, 1.5), (0.3, 0.36), (5.0, 5.1), (40.0, 2.0), (118.0, 1.0), (150.0, 3.0), (2.0, 0.0)]


@pytest.mark.parametrize(("mean", "sigma"), CASES)
def test_expected_log_is_the_mean_of_draws(mean: float, sigma: float) -> None:
    """Within five standard errors of 200 000 draws."""
    n = 200_000
    draws = counted(
        np.full(n, mean, np.float32), np.float32(sigma) * np.ones(1, np.float32), generator(0, "log", 0), clip=120.0
    )
    logs = np.log1p(draws.astype(np.float64))
    assert abs(expected_log(mean, sigma, clip=120.0) - logs.mean()) < 5 * logs.std() / np.sqrt(n) + 1e-6


@pytest.mark.parametrize(("mean", "sigma"), CASES)
@pytest.mark.parametrize("clip", [120.0, np.inf])
def test_expected_log_is_the_integral(mean: float, sigma: float, clip: float) -> None:
    integrate, special = pytest.importorskip("scipy.integrate"), pytest.importorskip("scipy.special")
    spread = np.sqrt(sigma**2 + max(mean, 0.0))

    def integrand(x: float) -> float:
        return float(np.log1p(x) * np.exp(-0.5 * ((x - mean) / spread) ** 2) / (spread * np.sqrt(2 * np.pi)))

    ends = max(0.0, mean - 10 * spread), min(clip, mean + 10 * spread)
    exact = integrate.quad(integrand, *ends, epsabs=1e-12, epsrel=1e-12, limit=200)[0] if ends[0] < ends[1] else 0.0
    if np.isfinite(clip):
        exact += np.log1p(clip) * special.ndtr((mean - clip) / spread)
    assert expected_log(mean, sigma, clip=clip) == pytest.approx(exact, abs=2e-9)


def test_limits() -> None:
    """Without noise log(1 + mean); for a bright pixel log(1 + mean) - s^2 / 2 (1 + mean)^2 + ...; far below zero nothing."""
    assert expected_log(0.0, 0.0) == 0.0
    assert expected_log(-3.0, 0.0) == 0.0
    assert expected_log(500.0, 0.0, clip=120.0) == pytest.approx(np.log1p(120.0), abs=1e-12)
    bright, variance = 1e4, 1e4 + 4.0
    series = np.log1p(bright) - variance / (2 * (1 + bright) ** 2) - 3 * variance**2 / (4 * (1 + bright) ** 4)
    assert expected_log(bright, 2.0) == pytest.approx(series, abs=1e-10)
    assert expected_log(-60.0, 1.0) == 0.0


@pytest.mark.parametrize(("mean", "sigma"), CASES[:-1])
def test_expected_counts_in_closed_form(mean: float, sigma: float) -> None:
    """With s the whole spread, E max(0, x) = m Phi(m / s) + s phi(m / s), and the upper limit takes off the same form."""
    special = pytest.importorskip("scipy.special")
    spread = np.sqrt(sigma**2 + max(mean, 0.0))

    def above(limit: float) -> float:
        z = (mean - limit) / spread
        return float((mean - limit) * special.ndtr(z) + spread * np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi))

    assert expected_counts(mean, sigma) == pytest.approx(above(0.0), abs=1e-11)
    assert expected_counts(mean, sigma, clip=120.0) == pytest.approx(above(0.0) - above(120.0), abs=1e-10)
    assert expected_counts(0.0, 2.0) == pytest.approx(2.0 / np.sqrt(2 * np.pi), abs=1e-12)
    assert expected_counts([-1.0, 1e6], 0.0, clip=120.0) == pytest.approx([0.0, 120.0], abs=1e-11)


def test_shapes_and_wrong_calls() -> None:
    mean = np.linspace(-1.0, 5.0, 12).reshape(3, 4)
    both = expected_log(mean, np.array([0.5, 1.0, 1.5, 2.0]))
    assert both.shape == (3, 4)
    assert both[2, 1] == expected_log(mean[2, 1], 1.0)
    assert (np.diff(both, axis=0) > 0).all()
    with pytest.raises(ValueError, match="sigma must not be negative, got -1"):
        expected_log(1.0, -1.0)
    with pytest.raises(ValueError, match="clip must be positive, got 0"):
        expected_log(1.0, 1.0, clip=0.0)


def test_examples_in_the_docstrings() -> None:
    tried = doctest.testmod(counting)
    assert tried.attempted >= 2
    assert tried.failed == 0
