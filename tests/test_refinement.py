"""Fisher scoring: exact for straight lines, honest errors for maps, bounds that hold, importance weights that repair."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from insdl.dataset.parameter_prior import ParameterPrior
from insdl.instrument import ImageSimulator
from insdl.instrument.forward_model import ForwardModel
from insdl.instrument.rb2mnf4 import rb2mnf4_frame
from insdl.learn.counting_likelihood import CountingProblem, fit_scale
from insdl.learn.importance import refinement_proposal, reweighted
from insdl.learn.refinement import refine
from insdl.materials.rb2mnf4 import rb2mnf4

X = np.linspace(0.0, 1.0, 100).reshape(1, 10, 10)
EVERYWHERE = np.ones(X.shape, dtype=bool)


def bent(values):
    """A peak whose place and width are the parameters."""
    return np.array([np.exp(-0.5 * ((X - place) / width) ** 2) for place, width in np.asarray(values)])


def straight(values):
    """Linear in two parameters, the level of a third shape being the scale: every answer is a linear fit."""
    return np.array([1.0 + a * np.sin(7.0 * X) + b * np.cos(11.0 * X) for a, b in np.asarray(values)])


PRIOR = ParameterPrior(("place", "width"), [0.2, 0.05], [0.8, 0.3])


def test_a_linear_model_is_solved_in_one_step_with_the_linear_posterior():
    """With a known scale (a normal prior on nothing, variance given): estimate and covariance of the linear Gaussian model."""
    truth = np.array([0.3, -0.2])
    variance = np.full(X.shape, 0.01)
    rng = np.random.default_rng(0)
    data = 4.0 * straight(truth[None])[0] + 0.1 * rng.standard_normal(X.shape)
    prior = ParameterPrior(("a", "b"), [-1.0, -1.0], [1.0, 1.0], mean=[0.25, -0.1], sigma=[0.05, 0.01])
    problem = CountingProblem(data, EVERYWHERE, backgrounds=np.zeros((1, *X.shape)), variance=variance)
    found = refine(problem, straight, prior=prior, start=[0.0, 0.0])
    assert found.converged
    # The same as a linear problem in (scale, scale a, scale b) around the answer, with the prior's rows added.
    design = np.stack(
        [straight(found.estimate[None])[0], found.scale * np.sin(7.0 * X), found.scale * np.cos(11.0 * X)]
    )
    matrix = design.reshape(3, -1) @ design.reshape(3, -1).T / 0.01 + np.diag([0.0, 0.05**-2, 0.01**-2])
    assert found.covariance == pytest.approx(np.linalg.inv(matrix)[1:, 1:], rel=1e-3)
    gradient = design.reshape(3, -1) @ (data - found.scale * design[0]).ravel() / 0.01
    gradient[1:] -= (found.estimate - [0.25, -0.1]) / np.array([0.05, 0.01]) ** 2
    assert np.linalg.solve(matrix, gradient)[1:] == pytest.approx([0.0, 0.0], abs=1e-4)


def test_errors_are_the_scatter_of_estimates():
    rng = np.random.default_rng(2)
    truth = np.array([0.45, 0.12])
    z, chi = [], []
    for _ in range(60):
        counts = rng.poisson(40.0 * bent(truth[None])[0] + 5.0).astype(float)
        found = refine(CountingProblem(counts, EVERYWHERE), bent, prior=PRIOR, start=[0.5, 0.15])
        assert found.converged
        z.append((found.estimate - truth) / np.sqrt(np.diag(found.covariance)))
        chi.append(found.chi_squared)
    assert np.mean(np.square(z), axis=0) == pytest.approx([1.0, 1.0], abs=4.0 * np.sqrt(2.0 / 60.0))
    assert np.mean(chi) == pytest.approx(1.0, abs=4.0 * np.sqrt(2.0 / 60.0 / 96.0))


def test_a_bent_valley_is_followed_to_its_lowest_point():
    """u + v^2 is known much better than v: a step along the valley leaves it. Where v = 0 nothing seems to tell v from u."""
    wave, other = 0.5 * np.sin(7.0 * X), 0.007 * np.cos(11.0 * X)

    def valley(values):
        return np.array([1.0 + wave * (u + v**2) + other * v for u, v in np.asarray(values)])

    prior = ParameterPrior(("u", "v"), [-3.0, -3.0], [3.0, 3.0])
    for seed in range(8):
        counts = np.random.default_rng(seed).poisson(1e4 * valley([[0.1, 0.3]])[0]).astype(float)
        problem = CountingProblem(counts, EVERYWHERE, backgrounds=np.zeros((1, *X.shape)))

        def loss(x, problem=problem):  # in coordinates without a valley
            return -fit_scale(problem, valley([[x[0] - x[1] ** 2, x[1]]])[0]).log_likelihood

        best = minimize(loss, [0.19, 0.3], method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-7})
        for start in ([0.15, 0.6], [0.19, 0.0]):
            found = refine(problem, valley, prior=prior, start=start)
            assert found.converged
            assert found.log_posterior == pytest.approx(-best.fun, abs=0.01)


def test_bounds_hold_and_are_told():
    counts = np.random.default_rng(3).poisson(40.0 * bent([[0.1, 0.12]])[0] + 5.0).astype(float)
    found = refine(CountingProblem(counts, EVERYWHERE), bent, prior=PRIOR, start=[0.3, 0.15])
    assert "place" in found.at_bound
    assert found.estimate[0] == pytest.approx(0.2, abs=6e-4)
    assert PRIOR.contains(found.estimate)
    with pytest.raises(ValueError, match="start must lie within the prior of place, width"):
        refine(CountingProblem(counts, EVERYWHERE), bent, prior=PRIOR, start=[0.1, 0.1])


def test_a_parameter_that_changes_nothing_keeps_the_width_of_its_prior():
    counts = np.random.default_rng(4).poisson(40.0 * bent([[0.5, 0.12]])[0] + 5.0).astype(float)
    prior = PRIOR.also("nothing", low=0.0, high=3.0, mean=1.5)
    found = refine(
        CountingProblem(counts, EVERYWHERE), lambda v: bent(np.asarray(v)[:, :2]), prior=prior, start=[0.5, 0.1, 1.0]
    )
    assert found.error["nothing"] == pytest.approx(3.0 / np.sqrt(12.0), rel=1e-6)
    assert found.error["place"] < 0.01


def test_a_map_is_refined_to_its_truth_from_a_start_ten_errors_away():
    names = ("J1", "J2", "D")
    simulator = ImageSimulator(rb2mnf4(), rb2mnf4_frame([(1.0, 4.5), (4.5, 6.25)], pixels=32), margin=0.07)
    model = ForwardModel(simulator, names)
    truth = np.array([0.64, 0.012, -0.006])
    prior = ParameterPrior(names, [0.5, -0.03, -0.012], [0.8, 0.05, -0.003])
    image = model(truth[None])[0]
    counts = np.random.default_rng(5).poisson(image * 1e6 / image.sum() + 3.0).astype(float)
    found = refine(CountingProblem(counts, counts >= 0), model, prior=prior, start=[0.655, 0.02, -0.008])
    assert found.converged
    assert found.error["J1"] < 0.002
    assert (np.abs(found.estimate - truth) < 4.0 * np.sqrt(np.diag(found.covariance))).all()


def test_importance_weights_turn_a_wrong_proposal_into_the_posterior():
    """Against the posterior on a fine grid."""
    counts = np.random.default_rng(6).poisson(8.0 * bent([[0.45, 0.2]])[0] + 3.0).astype(float)
    problem = CountingProblem(counts, EVERYWHERE)
    found = refine(problem, bent, prior=PRIOR, start=[0.5, 0.15])
    rng = np.random.default_rng(7)
    result = reweighted(problem, bent, *refinement_proposal(found, 1500, rng), prior=PRIOR)
    place, width = np.linspace(0.2, 0.8, 45), np.linspace(0.05, 0.3, 45)
    grid = np.stack(np.meshgrid(place, width, indexing="ij"), axis=-1).reshape(-1, 2)
    exact = reweighted(problem, bent, grid, np.zeros(len(grid)), prior=PRIOR)  # flat proposal: the posterior itself
    scatter = np.sqrt(np.diag(exact.covariance) / result.effective)
    assert (np.abs(result.mean - exact.mean) < 4.0 * scatter).all()
    assert np.sqrt(np.diag(result.covariance)) == pytest.approx(np.sqrt(np.diag(exact.covariance)), rel=0.1)
    assert result.effective > 300
    with pytest.raises(ValueError, match="none of the 1 samples lies within"):
        reweighted(problem, bent, [[5.0, 5.0]], [0.0], prior=PRIOR)
