"""The likelihood of clipped, subtracted counts: it is a distribution, its derivatives and information are those."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from insdl.instrument.counting import counted
from insdl.learn.likelihood import FaultyPixels, censored_information, pixel_likelihood

Reals = npt.NDArray[np.float64]
CASES = [(-2.0, 0.7), (-0.3, 1.5), (0.0, 1.0), (0.8, 0.4), (6.0, 2.0), (40.0, 1.0), (119.0, 3.0)]
FAULTS = [FaultyPixels(), FaultyPixels(hot=0.03, height=20.0, dead=0.02)]


def expectation(values_inside: Reals, at_zero: float, at_top: float, x: Reals, p: Reals, ends: Reals) -> float:
    """The expected value over the density inside and the two point masses."""
    return float(np.trapezoid(values_inside * p, x) + at_zero * ends[0] + at_top * ends[1])


@pytest.mark.parametrize("faulty", FAULTS)
@pytest.mark.parametrize(("mean", "sigma"), CASES)
def test_probabilities_add_to_one_and_scores_to_zero(mean: float, sigma: float, faulty: FaultyPixels) -> None:
    """Both are exact for any distribution; the trapezoidal rule with these steps is good to 1e-6."""
    largest = 120.0
    x = np.linspace(1e-9, largest * (1 - 1e-12), 120_001)
    inside = pixel_likelihood(x, np.full_like(x, mean), sigma, noise=1.2, largest=largest, faulty=faulty)
    ends = pixel_likelihood([0.0, largest], [mean, mean], sigma, noise=1.2, largest=largest, faulty=faulty)
    p, masses = np.exp(inside.value), np.exp(ends.value)
    assert expectation(np.ones_like(x), 1.0, 1.0, x, p, masses) == pytest.approx(1.0, abs=2e-6)
    for name in ("score", "noise_score"):
        values, edge = getattr(inside, name), getattr(ends, name)
        assert expectation(values, edge[0], edge[1], x, p, masses) == pytest.approx(0.0, abs=5e-6)


@pytest.mark.parametrize("faulty", FAULTS)
def test_derivatives_are_those_of_the_value(faulty: FaultyPixels) -> None:
    """Against central differences, at both ends and inside, for means on both sides of zero."""
    means = np.array([mean for mean, _ in CASES])
    for counts in (0.0, 0.3, 4.0, 60.0, 120.0):
        x = np.full_like(means, counts)

        def value(mean: Reals, noise: float, x: Reals = x) -> Reals:
            found = pixel_likelihood(x, mean, 1.3, noise=noise, extra_sigma=0.5, largest=120.0, faulty=faulty)
            return found.value

        shifted = means + 0.01  # the noise has a kink at a mean of zero
        found = pixel_likelihood(x, shifted, 1.3, noise=0.9, extra_sigma=0.5, largest=120.0, faulty=faulty)
        step = 1e-5
        by_mean = (value(shifted + step, 0.9) - value(shifted - step, 0.9)) / (2 * step)
        by_noise = (value(shifted, 0.9 * np.exp(step)) - value(shifted, 0.9 * np.exp(-step))) / (2 * step)
        np.testing.assert_allclose(found.score, by_mean, rtol=2e-6, atol=2e-7)
        np.testing.assert_allclose(found.noise_score, by_noise, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize(("mean", "sigma"), [case for case in CASES if case[0] < 100])
def test_information_is_the_expected_square_of_the_score(mean: float, sigma: float) -> None:
    """By quadrature over the density and the point mass at zero."""
    top = mean + 12 * np.sqrt(sigma**2 + max(mean, 0.0)) + 5
    x = np.linspace(1e-12, top, 40_001)
    inside = pixel_likelihood(x, np.full_like(x, mean), sigma)
    zero = pixel_likelihood([0.0], [mean], sigma)
    p, mass = np.exp(inside.value), np.array([float(np.exp(zero.value[0])), 0.0])
    for name, a, b in (
        ("information", "score", "score"),
        ("cross_information", "score", "noise_score"),
        ("noise_information", "noise_score", "noise_score"),
    ):
        product, edge = getattr(inside, a) * getattr(inside, b), getattr(zero, a)[0] * getattr(zero, b)[0]
        expected = expectation(product, edge, 0.0, x, p, mass)
        assert getattr(zero, name)[0] == pytest.approx(expected, rel=1e-5, abs=1e-8)


def test_information_far_from_zero_is_that_of_a_gaussian() -> None:
    """1/s^2 about the mean, 2/s^2 about the width, nothing between them; deep below zero there is none."""
    s = np.array([2.0])
    far = censored_information(np.array([12.0]), s)
    np.testing.assert_allclose(np.array(far)[:, 0], [0.25, 0.0, 0.5], atol=1e-12)
    assert max(float(part[0]) for part in censored_information(np.array([-12.0]), s)) < 1e-12


def test_the_likelihood_is_that_of_the_noise_that_is_drawn() -> None:
    """The mean log-likelihood of 200 000 drawn counts is the negative entropy, within five of its standard errors."""
    n, mean, sigma = 200_000, 1.5, 1.2
    counts = counted(np.full(n, mean, np.float32), np.float32(sigma), np.random.default_rng(0), clip=4.0)
    drawn = pixel_likelihood(np.minimum(counts, 4.0), np.full(n, mean), sigma, largest=4.0).value
    x = np.linspace(1e-9, 4.0 - 1e-9, 100_001)
    inside = pixel_likelihood(x, np.full_like(x, mean), sigma, largest=4.0).value
    ends = pixel_likelihood([0.0, 4.0], [mean, mean], sigma, largest=4.0).value
    entropy = expectation(inside, ends[0], ends[1], x, np.exp(inside), np.exp(ends))
    assert drawn.mean() == pytest.approx(entropy, abs=5 * drawn.std() / np.sqrt(n))


def test_hot_and_dead_pixels_are_recognised_and_bounded() -> None:
    """A pixel far above its mean is hot, a zero where 30 are expected is dead; neither pulls hard."""
    faulty = FaultyPixels(hot=0.01, height=30.0, dead=0.01)
    found = pixel_likelihood([90.0, 0.0, 30.0], [2.0, 30.0, 30.0], 1.0, faulty=faulty)
    assert found.hot[0] > 0.999
    assert found.dead[1] > 0.999
    assert found.hot[2] + found.dead[2] < 0.01
    assert found.score[0] == pytest.approx(1 / 30 + 0.5 / 30**2, abs=1e-6)  # the second part: the mean widens the noise
    assert abs(found.score[1]) < 1e-3
    plain = pixel_likelihood([90.0, 0.0, 30.0], [2.0, 30.0, 30.0], 1.0)
    assert plain.score[0] > 10


def test_extreme_pixels_stay_finite() -> None:
    found = pixel_likelihood(
        [0.0, 0.0, 120.0, 119.9, 0.1], [-300.0, 400.0, -50.0, -50.0, 500.0], 0.3, largest=120.0, faulty=FAULTS[1]
    )
    for array in vars(found).values():
        assert np.isfinite(array).all()


def test_wrong_input() -> None:
    with pytest.raises(ValueError, match="counts must lie from 0 to 120, got -1 to 3"):
        pixel_likelihood([-1.0, 3.0], [0.0, 0.0], 1.0, largest=120.0)
    with pytest.raises(ValueError, match="noise and sigma must be positive, got 1 and 0"):
        pixel_likelihood([1.0], [0.0], 0.0)
    with pytest.raises(ValueError, match="shares from 0 to below 1"):
        FaultyPixels(hot=1.0)
