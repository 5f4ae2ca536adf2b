"""The scale of unit noise and the moments of clipped counts, against integrals and known limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad

from insdl.instrument.counting import counted, expected_counts
from insdl.learn.stabilisation import check_sigma, clipped_moments, counts_of, stabilised


@pytest.mark.parametrize("sigma", [0.4, 1.0, 5.0])
def test_the_scale_is_the_integral_over_the_noise(sigma: float) -> None:
    for x in (-3.0, -0.1, 0.0, 0.02, 1.0, 30.0, 120.0):
        exact, _ = quad(lambda y: 1.0 / math.sqrt(sigma**2 + max(y, 0.0)), 0.0, x, epsabs=1e-12)
        assert float(stabilised(np.array(x), np.array(sigma))) == pytest.approx(exact, rel=1e-6, abs=1e-7)  # float32


@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_zero_stays_zero_whatever_the_precision(precision: type) -> None:
    """A zero is known by being zero (`insdl.learn.component_fit.completed`): no rounding may take that away."""
    sigma = np.random.default_rng(0).uniform(0.3, 6.0, 1000).astype(np.float32)
    assert (stabilised(np.zeros(1000, precision), sigma) == 0.0).all()


def test_counts_come_back() -> None:
    counts = np.linspace(-4.0, 120.0, 1000)
    sigma = np.array(1.3)
    np.testing.assert_allclose(counts_of(stabilised(counts, sigma), sigma), counts, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize(("mean", "sigma"), [(0.0, 30.0), (20.0, 3.0), (80.0, 3.0)])
def test_noise_has_unit_variance_on_the_scale(mean: float, sigma: float) -> None:
    """40 000 draws: one standard deviation of a variance is 0.007. Curvature takes less than 0.02 at these means."""
    rng = np.random.default_rng(0)
    noise = np.float32(sigma)
    counts = counted(np.full((1, 200, 200), mean, np.float32), noise, rng, negative="kept")
    assert float(stabilised(counts, noise).var()) == pytest.approx(1.0, abs=0.04)


def test_clipped_moments_of_no_signal_are_those_of_half_a_normal_distribution() -> None:
    mean, variance = clipped_moments(0.0, 2.0)
    assert float(mean) == pytest.approx(2.0 / math.sqrt(2.0 * math.pi), rel=1e-12)
    assert float(variance) == pytest.approx(4.0 * (0.5 - 0.5 / math.pi), rel=1e-12)


def test_clipped_moments_agree_with_quadrature_and_with_limits() -> None:
    mean = np.array([-6.0, -2.0, -0.3, 0.0, 0.5, 4.0, 60.0])
    first, variance = clipped_moments(mean, 1.4)
    np.testing.assert_allclose(first, expected_counts(mean, 1.4), atol=1e-8)  # the quadrature's own accuracy
    for mu, value in zip(mean, variance, strict=True):
        s, m = math.sqrt(1.96 + max(mu, 0.0)), clipped_moments(mu, 1.4)[0]

        def density(x: float, mu: float = mu, s: float = s) -> float:
            return math.exp(-0.5 * ((x - mu) / s) ** 2) / (s * math.sqrt(2.0 * math.pi))

        above, _ = quad(lambda x, m=m: (x - m) ** 2 * density(x), 0.0, mu + 12.0 * s, points=[max(mu, 0.0)])
        below = m**2 * 0.5 * math.erfc(mu / (s * math.sqrt(2.0)))
        assert value == pytest.approx(above + below, rel=1e-7, abs=1e-10)
    assert clipped_moments(500.0, 2.0)[1] == pytest.approx(504.0)
    assert clipped_moments(-80.0, 2.0) == pytest.approx((0.0, 0.0))


@pytest.mark.parametrize(
    ("sigma", "message"),
    [
        ([1.0, 2.0], r"one number or \(3,\), counts, got shape \(2,\)"),
        ([1.0, 0.0, 2.0], "positive and finite, got 0.0"),
        (float("nan"), "positive and finite, got nan"),
    ],
)
def test_noise_that_cannot_be(sigma: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_sigma(sigma, 3)  # type: ignore[arg-type]


def test_noise_of_one_number_holds_for_every_bin() -> None:
    np.testing.assert_array_equal(check_sigma(1.5, 3), np.full((3, 1, 1), 1.5, np.float32))
