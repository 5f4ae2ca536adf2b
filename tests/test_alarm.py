"""The alarm keeps its rate of false alarms, and never lets pass what is not a number."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import beta

from insdl.learn.alarm import fit_alarm, p_values, raises_alarm


def test_false_alarms_over_1000_repetitions() -> None:
    """The chance of a false alarm, averaged over held-out sets, is floor((n + 1) rate) / (n + 1) exactly."""
    rng, false_alarms = np.random.default_rng(0), 0
    for _ in range(1000):
        scores = rng.standard_cauchy(70)
        alarm = fit_alarm(scores[:-1], false_alarm_rate=0.1)
        false_alarms += int(raises_alarm(alarm, scores[-1]))
    assert alarm.expected_rate == 7 / 70
    assert abs(false_alarms - 100) < 4 * math.sqrt(1000 * 0.1 * 0.9)


def test_a_confident_alarm_keeps_its_rate_in_so_many_held_out_sets() -> None:
    """Uniform scores: the true false-alarm rate of a threshold t is 1 - t; above 0.1 in 5 % of the sets at most."""
    rng = np.random.default_rng(1)
    alarms = [fit_alarm(rng.random(200), false_alarm_rate=0.1, confidence=0.95) for _ in range(2000)]
    broken = np.mean([1 - alarm.threshold > 0.1 for alarm in alarms])
    rank = 201 - round(201 * alarms[0].expected_rate)
    exact = 1 - beta.cdf(0.1, 201 - rank, rank)
    assert exact <= 0.05 < 1 - beta.cdf(0.1, 202 - rank, rank - 1)  # the smallest rank that will do
    assert abs(broken - exact) < 4 * math.sqrt(exact * (1 - exact) / 2000)
    plain = fit_alarm(rng.random(200), false_alarm_rate=0.1)
    assert alarms[0].expected_rate < plain.expected_rate <= 0.1


def test_the_alarm_is_a_p_value_not_above_the_rate() -> None:
    """With ties, infinities and NaN, too."""
    rng = np.random.default_rng(2)
    for n, rate in ((19, 0.05), (60, 0.05), (100, 0.31)):
        held_out = rng.integers(12, size=n).astype(float)
        alarm = fit_alarm(held_out, false_alarm_rate=rate)
        scores = np.concatenate([np.arange(-1, 14, 0.5), [math.inf, -math.inf, math.nan]])
        by_hand = np.array([(1 + np.count_nonzero(held_out >= s)) / (1 + n) for s in scores])
        found = p_values(alarm, scores)
        np.testing.assert_allclose(found[:-3], by_hand[:-3])
        assert found[-3:].tolist() == [0.0, 1.0, 0.0]
        np.testing.assert_array_equal(raises_alarm(alarm, scores), found <= rate * (1 + 1e-12))
        assert (np.diff(found[:-3]) <= 0).all()


def test_what_is_not_a_number_raises_the_alarm() -> None:
    alarm = fit_alarm(np.arange(100.0))
    assert raises_alarm(alarm, [math.nan, math.inf, -math.inf, 3.0]).tolist() == [True, True, False, False]


def test_too_few_held_out_scores_are_refused_and_do_not_let_everything_pass() -> None:
    assert fit_alarm(np.arange(19.0)).threshold == 18.0
    with pytest.raises(ValueError, match=r"18 held-out scores are too few for a false-alarm rate of 0\.05$"):
        fit_alarm(np.arange(18.0))
    with pytest.raises(ValueError, match=r"58 held-out .* with confidence 0\.95"):
        fit_alarm(np.arange(58.0), confidence=0.95)
    assert fit_alarm(np.arange(59.0), confidence=0.95).threshold == 58.0  # 0.95^59 < 0.05: the 59 of Wilks


def test_bad_input_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="scores must be a list of finite numbers"):
        fit_alarm([1.0, math.nan])
    with pytest.raises(ValueError, match="scores must be a list of finite numbers"):
        fit_alarm([])
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1, got 1"):
        fit_alarm(np.arange(100.0), confidence=1.0)
    with pytest.raises(ValueError, match="must lie between 0 and 1, got 0"):
        fit_alarm(np.arange(100.0), false_alarm_rate=0.0)
