"""What the Rb2MnF4 job says: the integrated map, the zero of energy, the other windows."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.commands.rb2mnf4_result import (
    cannot_tell,
    instrument_information,
    integrated_map_change,
    integrated_model,
    integrated_statement,
    shift_by_energy_zero,
)
from insdl.dataset.configuration import load_configuration
from insdl.dataset.configured import ConfiguredSource
from insdl.dataset.counted_maps import MapNuisances, with_windows
from insdl.learn.counting_likelihood import CountingProblem
from insdl.learn.identifiability import word
from insdl.learn.map_inference import forward_model, free_prior
from insdl.learn.refinement import refine
from insdl.materials.rb2mnf4 import LITERATURE

CONFIGURATION = load_configuration("rb2mnf4")


def test_the_integrated_map_says_that_j1_is_the_prior_whatever_the_counts():
    for counts in (1e6, 1e10):
        found = integrated_statement(counts)
        assert found.of("J1").word == "this is your prior"
        assert found.direction.endswith("J1, J2 and D all changed by the same factor.")
        assert found.weak_ratio > 0.9
    text = cannot_tell(integrated_map_change(), found)
    assert "J1: this is your prior" in text


def test_a_refined_integrated_map_keeps_the_width_of_the_prior_in_j1():
    """The same through counts: ratios are found, J1 is not."""
    names = tuple(LITERATURE)
    prior = free_prior(CONFIGURATION, MapNuisances()).of(names)
    truth = np.array([LITERATURE[name] for name in names])
    model = integrated_model(prior)
    measured = ConfiguredSource(with_windows(CONFIGURATION, [(1.0, 8.0)])).detector.measured
    image = model(truth[None])[0]
    mean = image * 1e6 / image[measured].sum() + 15.0
    counts = np.random.default_rng(0).poisson(mean).astype(float)
    found = refine(CountingProblem(counts, measured), model, prior=prior, start=[0.7, 0.0, -0.006])
    error = dict(zip(names, prior.width, strict=True))
    assert word(found.error["J1"] / error["J1"]) == "this is your prior"
    ratio = found.estimate / found.estimate[0]
    assert ratio[1] == pytest.approx(truth[1] / truth[0], abs=0.01)
    assert ratio[2] == pytest.approx(truth[2] / truth[0], rel=0.2)


def test_a_wrong_zero_of_energy_moves_j1_as_a_fit_does():
    """The linear formula against a fit without noise to counts whose zero of energy is wrong."""
    configuration = with_windows(CONFIGURATION, [(1.0, 6.0)])
    prior = free_prior(configuration, MapNuisances(energy_zero_sigma=0.05)).of(["J1", "J2", "D", "energy_zero"])
    detection = ConfiguredSource(configuration).detector
    model = forward_model(
        configuration.model_copy(
            update={"settings": configuration.settings.model_copy(update={"width_factor": 1.0, "extra_sigma_q": 0.0})}
        ),
        prior,
    )
    truth = np.array([*LITERATURE.values(), 0.0])
    information = instrument_information(configuration, prior, truth, detection.measured, counts=1e6, expected=model)
    moved = shift_by_energy_zero(information, 0.01)
    assert moved["J1"] > 5e-4  # what is read higher looks like a stronger exchange
    image = model(np.array([[*truth[:3], 0.01]]))[0]
    counts = image * 1e6 / image[detection.measured].sum() + 10.0
    alone = prior.of(["J1", "J2", "D"])
    found = refine(
        CountingProblem(counts, detection.measured),
        lambda values: model(np.column_stack([values, np.zeros(len(np.asarray(values)))])),
        prior=alone,
        start=truth[:3],
        tolerance=1e-3,
    )
    assert found.estimate[0] - truth[0] == pytest.approx(moved["J1"], rel=0.15)  # to first order
