"""Sources: sample i is a function of (configuration, seed, i) alone, and one bad draw never ends a run."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping

import numpy as np
import pytest

from insdl.dataset import Prior, Range, pcsmo, rb2mnf4, simulate_set
from insdl.dataset.simulated import MAX_ATTEMPTS, Family
from insdl.dataset.source import GAVE_UP, GOOD, FamilySource
from insdl.instrument import ImageSettings, ImageSimulator
from insdl.instrument.rb2mnf4 import rb2mnf4_frame

SMALL = rb2mnf4.family(rb2mnf4_frame([(1.0, 4.0), (4.0, 7.0)], pixels=6, subpixels=1))
# J1 > 0 is antiferromagnetic and stable; a ferromagnetic one is not, whatever else is drawn.
UNSTABLE = Family(
    "often unstable",
    SMALL.simulator,
    Prior({"J1": Range(-0.2, 0.8), "J2": Range(0.0, 0.0), "D": Range(-0.008, -0.003)}).draw,
    SMALL.draw_settings,
)
HOPELESS = Family(
    "hopeless",
    SMALL.simulator,
    Prior({"J1": Range(-0.8, -0.5), "J2": Range(0.0, 0.0), "D": Range(-0.008, -0.003)}).draw,
    SMALL.draw_settings,
)


def test_samples_do_not_depend_on_the_others_asked_for() -> None:
    source = FamilySource([SMALL, UNSTABLE], 40, 7, "test")
    everything = source.make(range(40))
    assert everything.attempts[1::2].sum() > 0  # the second family does replace draws
    assert (everything.attempts[::2] == 0).all()
    picked = [31, 4, 17, 17]
    for threads in (1, 2):
        some = source.make(picked, threads=threads)
        for name in ("images", "labels", "parameters", "settings", "attempts", "status"):
            np.testing.assert_array_equal(getattr(some, name), getattr(everything, name)[picked], err_msg=name)


def test_a_source_makes_what_simulate_set_makes() -> None:
    """The same draws, images and labels by another way, PCSMO's two families with their scale."""
    families = pcsmo.families()
    expected = simulate_set(families, 4, seed=3, stream="same", scale=pcsmo.SCALE)
    source = FamilySource(families, 4, 3, "same", scale=pcsmo.SCALE)
    made = source.make(range(4))
    np.testing.assert_array_equal(made.images, expected.images)
    np.testing.assert_array_equal(made.labels, expected.labels)
    for row, (parameters, settings) in enumerate(zip(expected.parameters, expected.settings, strict=True)):
        named = dict(zip(source.parameter_names, made.parameters[row], strict=True))
        assert {name: named[name] for name in parameters} == parameters
        assert all(np.isnan(value) for name, value in named.items() if name not in parameters)
        assert dict(zip(source.setting_names, made.settings[row], strict=True)) == vars(settings)


def test_a_sample_that_stays_unstable_is_given_up_and_the_others_are_made() -> None:
    source = FamilySource([SMALL, HOPELESS], 6, 0, "test")
    made = source.make(range(6))
    assert made.status.tolist() == [GOOD, GAVE_UP] * 3
    assert made.attempts.tolist() == [0, MAX_ATTEMPTS] * 3
    assert (made.images[1::2] == 0).all()
    assert (made.images[::2] > 0).any(axis=(1, 2, 3)).all()
    assert np.isfinite(made.parameters).all()


def test_a_source_survives_pickling_with_its_samples_and_description() -> None:
    source = FamilySource([SMALL], 5, 1, "test")
    again = pickle.loads(pickle.dumps(source))
    assert again.describe() == source.describe()
    np.testing.assert_array_equal(again.make([3]).images, source.make([3]).images)


def test_descriptions_tell_sources_apart() -> None:
    def other_settings(rng: np.random.Generator) -> ImageSettings:
        return ImageSettings(width_factor=1.0 + 0.1 * float(rng.random()))

    def other_prior(rng: np.random.Generator) -> Mapping[str, float]:
        return {**SMALL.draw_parameters(rng), "D": -0.0050001}

    first = FamilySource([SMALL], 5, 1, "test")
    frame = rb2mnf4_frame([(1.0, 4.0), (4.0, 7.0)], pixels=6, subpixels=2)
    others = [
        FamilySource([SMALL], 6, 1, "test"),
        FamilySource([SMALL], 5, 2, "test"),
        FamilySource([SMALL], 5, 1, "other"),
        FamilySource([SMALL], 5, 1, "test", scale=2.0),
        FamilySource([UNSTABLE], 5, 1, "test"),
        FamilySource([Family(SMALL.name, SMALL.simulator, other_prior, SMALL.draw_settings)], 5, 1, "test"),
        FamilySource([Family(SMALL.name, SMALL.simulator, SMALL.draw_parameters, other_settings)], 5, 1, "test"),
        FamilySource([rb2mnf4.family(frame)], 5, 1, "test"),
        FamilySource([_with_margin(0.08)], 5, 1, "test"),
    ]
    texts = {json.dumps(source.describe(), sort_keys=True, allow_nan=False) for source in [first, *others]}
    assert len(texts) == 1 + len(others)


def _with_margin(margin: float) -> Family:
    simulator = ImageSimulator(SMALL.simulator.model, SMALL.simulator.frame, margin=margin)
    return Family(SMALL.name, simulator, SMALL.draw_parameters, SMALL.draw_settings)


def test_bad_sources_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match="families must have one frame and a name each"):
        FamilySource([SMALL, SMALL], 5, 1, "test")
    with pytest.raises(ValueError, match="n_samples must be at least 1"):
        FamilySource([SMALL], 0, 1, "test")
    with pytest.raises(ValueError, match="samples are numbered 0 to 4, got 5"):
        FamilySource([SMALL], 5, 1, "test").make([0, 5])
