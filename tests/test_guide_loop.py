"""The closed loop, small: verdicts, times and what must be equal for both strategies."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.dataset.foreign import other_magnet
from insdl.guide.belief import NONE
from insdl.guide.experiment import experiment
from insdl.guide.loop import LoopSettings, closed_loop
from small_planner import small_experiment, small_planner, small_source

SETTINGS = LoopSettings(first=0.0005, growth=1.6, longest=2.0, n_particles=120)


@pytest.mark.parametrize("strategy", ["guided", "even"])
def test_verdicts_are_right_and_batches_the_same(strategy: str) -> None:
    right = 0
    for number in range(4):
        found = closed_loop(small_planner(), small_experiment(number), strategy=strategy, settings=SETTINGS)  # type: ignore[arg-type]
        assert found.total == pytest.approx(found.totals[-1])
        np.testing.assert_allclose(found.totals[:2], [0.0005, 0.0008][: len(found.totals)])
        assert found.certain == (found.probability >= 0.95)
        assert (np.array(found.probabilities[:-1]) < 0.95).all()
        if strategy == "even":
            assert found.time[0] == pytest.approx(found.time[1])
        right += found.certain and found.verdict == found.truth
    assert right >= 3


def test_another_magnet_is_none_of_them() -> None:
    planner, source = small_planner(), small_source()
    image = other_magnet(planner.configuration.frame.image_frame(), np.random.default_rng(2), threads=1)
    one = experiment(planner, source, image, truth="other magnet", number=1, stream="guide tests")
    found = closed_loop(planner, one, strategy="even", settings=SETTINGS)
    assert found.verdict == NONE


def test_it_gives_up_when_time_is_over() -> None:
    settings = LoopSettings(first=1e-6, growth=2.0, longest=3e-6, n_particles=30)
    found = closed_loop(small_planner(), small_experiment(0), strategy="guided", settings=settings)
    assert not found.certain
    np.testing.assert_allclose(found.totals, [1e-6, 2e-6, 3e-6])


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="strategy must be 'guided' or 'even', got 'best'"):
        closed_loop(small_planner(), small_experiment(0), strategy="best")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a loop needs"):
        LoopSettings(growth=1.0)
