"""Inference from maps: a small one learns, its parts fit together, and it repeats itself."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.commands.rb2mnf4_held_out import held_out
from insdl.dataset.configuration import configuration, load_configuration
from insdl.dataset.counted_maps import MapNuisances, with_counts
from insdl.learn.map_inference import (
    MapInferenceSettings,
    counting_problem,
    forward_model,
    free_prior,
    network_features,
    train_map_inference,
)
from insdl.learn.train import TrainingSettings, predict


def small():
    content = load_configuration("rb2mnf4").model_dump()
    content["frame"]["pixels"] = {"first": -0.96875, "last": 0.96875, "count": 32}
    content["frame"]["subpixels"] = 1
    return with_counts(configuration(content), 1e6)


SETTINGS = MapInferenceSettings(
    training=TrainingSettings(epochs=4, samples_per_epoch=512, batch_size=32, learning_rate=3e-3, threads=1),
    examples=100,
    pairs=600,
    validation=100,
)
NUISANCES = MapNuisances(energy_zero_sigma=0.01)


@pytest.fixture(scope="module")
def inference():
    return train_map_inference(small(), nuisances=NUISANCES, settings=SETTINGS)


def test_it_has_learned_and_says_how_well(inference):
    assert inference.parameters == ("J1", "J2", "D")
    assert inference.instrument == ("width_factor", "extra_sigma_q", "energy_zero")
    tested = held_out(inference, small(), n_maps=128, n_refined=4)
    own = inference.prior.of(inference.parameters)
    assert tested.rmse[0] < 0.5 * own.width[0]  # a guess has the prior's width
    assert tested.baseline_rmse[0] < 0.5 * own.width[0]
    assert (tested.z_rms[:2] < 2.0).all()
    assert (tested.refined_rmse[:2] < 0.5 * tested.rmse[:2]).all()
    assert (np.abs(tested.refined - tested.truth[:4]) < 5.0 * tested.refined_sigma)[:, :2].all()
    assert (tested.refined_sigma[:, 0] > 0.3 * tested.reference[:, 0]).all()
    assert tested.rank_p_values.shape == (6,)


def test_a_map_is_refined_and_weighted_from_the_posterior_on(inference):
    batch = inference.maps("other").batch([3])
    expected = inference.forward()
    found, problem = inference.refine(batch.counts[0], batch.measured[0], expected=expected)
    weighted = inference.reweighted(problem, found, expected=expected, n_samples=150)
    assert weighted.effective > 5
    error = np.sqrt(np.diag(found.covariance))
    # D, widths and zero of energy included; the posterior's mean and the most probable values differ by less than an error.
    assert (np.abs(weighted.mean - found.estimate) < 1.5 * error).all()
    assert inference.prior.contains(found.estimate)


def test_features_hold_what_the_network_says(inference):
    batch = inference.maps("other").batch(range(3))
    views = inference.views(batch.counts, batch.measured)
    features = network_features(inference.network, views)
    mean, sigma = predict(inference.network, views)
    assert features.shape == (3, inference.network.config.hidden + 7)
    np.testing.assert_allclose(features[:, -7:-4], mean, rtol=1e-5)
    np.testing.assert_allclose(np.exp(features[:, -4:-1]), sigma, rtol=1e-5)
    weight, bias = (
        value.detach().numpy() for value in (inference.network.head[-1].weight, inference.network.head[-1].bias)
    )
    np.testing.assert_allclose((features[:, :-7] @ weight.T + bias)[:, :3], mean, atol=1e-4)


def test_the_prior_holds_all_that_is_drawn():
    assert free_prior(small(), MapNuisances()).names == ("J1", "J2", "D", "width_factor", "extra_sigma_q")
    model = forward_model(small(), free_prior(small(), MapNuisances()))
    assert model.settings.temperature == 10.0
    with pytest.raises(ValueError, match="backgrounds must be 'flat' or 'radial'"):
        counting_problem(np.ones((4, 32, 32)), np.ones((4, 32, 32), dtype=bool), small(), backgrounds="none")
    with pytest.raises(ValueError, match="pairs must be at least 30"):
        MapInferenceSettings(pairs=0)
