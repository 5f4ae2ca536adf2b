"""Distributions draw what they say, with one random number each."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, ValidationError

from insdl.dataset.distribution import Choice, Distribution, LogUniform, Normal, Uniform, bounds, draw, times


class _Holder(BaseModel):
    value: Distribution


def quantile_distance(values: list[float], cumulated: Any) -> float:
    """Kolmogorov's distance between drawn values and a distribution function."""
    x = np.sort(values)
    exact = np.array([cumulated(v) for v in x])
    steps = np.arange(len(x) + 1) / len(x)
    return float(max(np.abs(exact - steps[1:]).max(), np.abs(exact - steps[:-1]).max()))


def test_draws_follow_their_distribution() -> None:
    """Kolmogorov-Smirnov: 4000 draws stay within 1.63 / sqrt(4000) (1 %) of the exact distribution function."""
    rng, n = np.random.default_rng(0), 4000
    normal = NormalDist(1.0, 2.0)
    below, above = normal.cdf(0.5), normal.cdf(4.0)
    cases: list[tuple[Any, Any]] = [
        (Uniform(low=-2.0, high=3.0), lambda v: (v + 2.0) / 5.0),
        (LogUniform(low=0.1, high=10.0), lambda v: np.log(v / 0.1) / np.log(100.0)),
        (Normal(mean=1.0, sigma=2.0, low=0.5, high=4.0), lambda v: (normal.cdf(v) - below) / (above - below)),
    ]
    for distribution, cumulated in cases:
        values = [draw(distribution, rng) for _ in range(n)]
        assert quantile_distance(values, cumulated) < 1.63 / np.sqrt(n)
        assert bounds(distribution)[0] <= min(values)
        assert max(values) <= bounds(distribution)[1]
    even = [draw(Choice(values=[1.0, 2.0, 5.0]), rng) for _ in range(3000)]
    assert [even.count(v) / 3000 for v in (1.0, 2.0, 5.0)] == pytest.approx([1 / 3] * 3, abs=0.03)
    uneven = [draw(Choice(values=[1.0, 2.0, 5.0], weights=[1.0, 0.0, 3.0]), rng) for _ in range(3000)]
    assert [uneven.count(v) / 3000 for v in (1.0, 2.0, 5.0)] == pytest.approx([0.25, 0.0, 0.75], abs=0.03)
    assert bounds(Choice(values=[3.0, -1.0, 2.0])) == (-1.0, 3.0)


@pytest.mark.parametrize(
    "distribution",
    [
        4.0,
        Uniform(low=-1.0, high=2.0),
        LogUniform(low=0.5, high=4.0),
        Normal(mean=1.0, sigma=2.0, low=0.5, high=4.0),
        Choice(values=[1.0, 2.0, 5.0], weights=[1.0, 0.5, 3.0]),
    ],
)
def test_a_multiple_of_a_distribution_draws_multiples(distribution: Any) -> None:
    one, other = np.random.default_rng(5), np.random.default_rng(5)
    for _ in range(20):
        assert draw(times(distribution, 3.0), one) == pytest.approx(3.0 * draw(distribution, other), rel=1e-12)


def test_every_distribution_takes_one_random_number() -> None:
    """What is drawn next does not depend on whether a number is fixed."""
    following = set()
    for distribution in (
        4.0,
        Uniform(low=0.0, high=1.0),
        LogUniform(low=1.0, high=2.0),
        Normal(mean=0.0, sigma=1.0, low=-1.0, high=1.0),
        Choice(values=[1.0]),
    ):
        rng = np.random.default_rng(3)
        draw(distribution, rng)
        following.add(rng.random())
    assert len(following) == 1
    assert draw(4.0, np.random.default_rng(0)) == 4.0
    assert bounds(4.0) == (4.0, 4.0)


@pytest.mark.parametrize(
    "bad",
    [
        {"kind": "uniform", "low": 2.0, "high": 1.0},
        {"kind": "loguniform", "low": 0.0, "high": 1.0},
        {"kind": "loguniform", "low": 2.0, "high": 1.0},
        {"kind": "normal", "mean": 0.0, "sigma": 0.0, "low": -1.0, "high": 1.0},
        {"kind": "normal", "mean": 0.0, "sigma": 1.0, "low": 20.0, "high": 30.0},
        {"kind": "choice", "values": []},
        {"kind": "choice", "values": [1.0], "weights": [1.0, 2.0]},
        {"kind": "choice", "values": [1.0], "weights": [0.0]},
        {"kind": "uniform", "low": 0.0, "high": 1.0, "sigma": 2.0},
        {"kind": "lognormal", "low": 1.0},
        {"low": 0.0, "high": 1.0},
        "3",
        True,
        None,
        float("nan"),
        [1.0, 2.0],
    ],
)
def test_what_is_no_distribution_is_refused(bad: Any) -> None:
    with pytest.raises(ValidationError):
        _Holder(value=bad)
