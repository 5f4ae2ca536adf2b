"""Neural posteriors against an exact one, and the test that finds wrong ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from insdl.dataset.parameter_prior import ParameterPrior
from insdl.learn.posterior import MixturePosterior, PosteriorSettings, fit_posterior
from insdl.learn.simulation_calibration import calibration_ranks, uniformity

PRIOR = ParameterPrior(("a", "b"), np.array([-1.0, 0.0]), np.array([1.0, 4.0]))
DESIGN = np.array([[1.0, 0.3], [0.2, 0.5], [1.0, -0.4]])
NOISE = 0.1


def pairs(n, seed):
    """A linear-Gaussian measurement: inside the bounds its posterior is normal, N((A'A)^-1 A'y, sigma^2 (A'A)^-1)."""
    rng = np.random.default_rng(seed)
    theta = rng.uniform(PRIOR.low, PRIOR.high, (n, 2))
    return theta @ DESIGN.T + NOISE * rng.standard_normal((n, 3)), theta


@pytest.fixture(scope="module")
def posterior():
    return fit_posterior(*pairs(6000, 0), prior=PRIOR, components=2, settings=PosteriorSettings(epochs=30))


def test_the_posterior_of_a_linear_gaussian_model_is_the_exact_one(posterior):
    truth = np.array([0.1, 1.7])  # ten errors away from every bound
    y = DESIGN @ truth
    exact = NOISE**2 * np.linalg.inv(DESIGN.T @ DESIGN)
    samples = posterior.sample(y, 4000, seed=1)
    width = np.sqrt(np.diag(exact))
    assert (np.abs(samples.mean(axis=0) - truth) < 0.25 * width).all()  # what 6000 pairs teach
    assert samples.std(axis=0) == pytest.approx(width, rel=0.15)
    correlation = exact[0, 1] / width[0] / width[1]
    assert np.corrcoef(samples.T)[0, 1] == pytest.approx(correlation, abs=0.15)
    assert PRIOR.contains(samples).all()


def test_the_density_is_that_of_the_samples_and_ends_at_the_bounds(posterior):
    y = DESIGN @ np.array([0.97, 3.9])  # in a corner: half of the normal posterior is cut off
    a, b = (np.linspace(low, high, 401) for low, high in zip(PRIOR.low, PRIOR.high, strict=True))
    centres = [0.5 * (axis[1:] + axis[:-1]) for axis in (a, b)]
    grid = np.stack(np.meshgrid(*centres, indexing="ij"), axis=-1).reshape(-1, 2)
    density = np.exp(posterior.log_prob(grid, y))
    cell = (a[1] - a[0]) * (b[1] - b[0])
    assert density.sum() * cell == pytest.approx(1.0, abs=0.02)
    samples = posterior.sample(y, 20000, seed=2)
    assert (density @ grid) * cell == pytest.approx(samples.mean(axis=0), abs=0.02)
    assert np.isneginf(posterior.log_prob([[1.1, 2.0]], y)).all()


def test_ranks_of_the_truth_are_uniform_for_the_exact_posterior_and_not_for_a_narrow_one(posterior):
    y, theta = pairs(1000, 3)
    drawn = np.array([posterior.sample(row, 99, seed=i) for i, row in enumerate(y)])
    assert (calibration_ranks(drawn, theta).p_value > 0.01).all()
    centre = drawn.mean(axis=1, keepdims=True)
    narrow = calibration_ranks(centre + 0.6 * (drawn - centre), theta)
    assert (narrow.p_value < 1e-6).all()


def test_uniform_ranks_have_uniform_probabilities():
    rng = np.random.default_rng(4)
    p = [uniformity(rng.integers(0, 100, 1000), 99) for _ in range(300)]
    assert 0.4 < np.mean(p) < 0.6
    assert uniformity(np.full(1000, 50), 99) < 1e-12
    with pytest.raises(ValueError, match="bins must divide"):
        calibration_ranks(np.zeros((100, 50, 1)), np.zeros((100, 1)))
    with pytest.raises(ValueError, match="ranks must lie in 0 to 99"):
        uniformity([100], 99)


def test_training_repeats_itself_and_leaves_the_random_state_alone():
    y, theta = pairs(300, 5)
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    settings = PosteriorSettings(epochs=2, seed=3)
    first, second = (fit_posterior(y, theta, prior=PRIOR, settings=settings) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.log_prob([[0.0, 1.0]], y[0]) == second.log_prob([[0.0, 1.0]], y[0])
    assert np.array_equal(first.sample(y[0], 5, seed=1), second.sample(y[0], 5, seed=1))


def test_wrong_arguments_are_refused():
    y, theta = pairs(100, 6)
    with pytest.raises(ValueError, match="within the bounds"):
        fit_posterior(y, theta + 5.0, prior=PRIOR)
    with pytest.raises(ValueError, match="features and parameters must have shapes"):
        fit_posterior(y, theta[:, :1], prior=PRIOR)
    network = MixturePosterior(3, prior=PRIOR)
    with pytest.raises(ValueError, match="features must be 3 finite numbers"):
        network.sample([1.0, np.nan, 0.0], 3, seed=0)
    with pytest.raises(ValueError, match=r"parameters must have shape \(k, 2\)"):
        network.log_prob([0.0, 0.0], np.zeros(3))
