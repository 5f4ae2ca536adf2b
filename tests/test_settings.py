"""Settings of a training: schedules, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from insdl.learn.settings import TrainingSettings, relative_rate


def test_one_cycle_rises_for_a_quarter_and_falls_to_almost_nothing() -> None:
    rates = [relative_rate("one-cycle", step, 100) for step in range(100)]
    assert max(rates) == rates[25] == 1.0
    assert rates[:26] == sorted(rates[:26])
    assert rates[25:] == sorted(rates[25:], reverse=True)
    assert rates[0] == pytest.approx(0.02)
    assert 0 < rates[-1] < 1e-3


def test_cosine_only_falls() -> None:
    """The closed form, and so the mean of all rates is a half (plus half a step)."""
    rates = [relative_rate("cosine", step, 200) for step in range(200)]
    assert rates[0] == 1.0
    assert rates[100] == pytest.approx(0.5)
    assert rates == sorted(rates, reverse=True)
    assert sum(rates) / 200 == pytest.approx(0.5 + 0.5 / 200)


def test_constant_stays() -> None:
    assert {relative_rate("constant", step, 7) for step in range(7)} == {1.0}


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine", "constant"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_short_trainings_have_rates(schedule: Any, steps: int) -> None:
    assert all(0 < relative_rate(schedule, step, steps) <= 1 for step in range(steps))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "linear"}, r"schedule must be one of \['one-cycle', 'cosine', 'constant'\], got 'linear'"),
        ({"precision": "half"}, "precision must be one of"),
        ({"device": "gpu"}, "device must be one of"),
        ({"patience": 0}, "patience must be at least 1, got 0"),
        ({"gradient_clip": float("inf")}, "gradient_clip must be positive and finite"),
    ],
)
def test_wrong_settings_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingSettings(**options)
