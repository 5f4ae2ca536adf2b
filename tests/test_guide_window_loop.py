"""The closed loop for error bars, on straight lines whose information is known."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.dataset.parameter_prior import ParameterPrior
from insdl.guide.window_loop import Sample, window_loop

PRIOR = ParameterPrior(["a", "b"], np.array([-0.5, -0.5]), np.array([0.5, 0.5]))
X = np.linspace(-1.0, 1.0, 64).reshape(8, 8)
TARGETS = {"a": 0.03}


def expected(rows: np.ndarray) -> np.ndarray:
    """Three windows: one tells a, one tells b, one neither."""
    a, b = np.asarray(rows)[:, 0, None, None], np.asarray(rows)[:, 1, None, None]
    flat = np.ones((len(a), 8, 8)) + 0.5 * X**2
    return np.stack([flat + a * X, flat + b * X, flat], axis=1)


def _run(number: int, strategy: str, *, targets: dict[str, float] | None = None, longest: float = 1e4):  # type: ignore[no-untyped-def]
    values = np.array([0.2, -0.1])
    sample = Sample(values, 20.0 * expected(values[None])[0] + 4.0, np.ones((3, 8, 8), bool), number)
    starts = np.random.default_rng(0).uniform(-0.4, 0.4, size=(20, 2))
    return window_loop(
        sample, expected, prior=PRIOR, targets=targets or TARGETS, strategy=strategy,  # type: ignore[arg-type]
        starts=(starts, expected(starts)), first=0.6, longest=longest,
    )  # fmt: skip


def test_guidance_measures_where_the_parameter_is() -> None:
    guided, even = _run(0, "guided"), _run(0, "even")
    assert guided.reached
    assert even.reached
    assert guided.refinement.error["a"] <= 0.03
    np.testing.assert_allclose(even.time, even.time[0])
    assert guided.total < 0.8 * even.total  # the first window and what fixes the scale, instead of all three
    assert guided.time[0] > 0.8 * (guided.total - 0.6)


def test_estimates_scatter_as_their_error_bars_say() -> None:
    """30 experiments that stop by their own error bars: the chi-squared of 30 lies in 14 to 51 with 99 %."""
    pulls = [
        (found.refinement.values["a"] - 0.2) / found.refinement.error["a"]
        for found in (_run(number, "guided") for number in range(30))
    ]
    assert 14 < np.sum(np.square(pulls)) < 51


def test_it_gives_up_when_time_is_over() -> None:
    found = _run(1, "guided", targets={"a": 1e-4}, longest=1.5)
    assert not found.reached
    assert found.total == pytest.approx(1.5)


def test_an_unknown_strategy_is_refused() -> None:
    with pytest.raises(ValueError, match="strategy must be 'guided' or 'even', got 'odd'"):
        _run(0, "odd")
