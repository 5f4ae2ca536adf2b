"""Sharing time among windows, against cases that are solved by hand and against a general optimiser."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from insdl.dataset.parameter_prior import ParameterPrior
from insdl.guide.allocation import (
    WindowInformation,
    best_allocation,
    ranked_windows,
    time_needed,
    window_information,
)


def _separate(a: float = 4.0, b: float = 1.0) -> WindowInformation:
    """Two windows, each of which tells one parameter."""
    matrices = np.zeros((2, 2, 2))
    matrices[0, 0, 0], matrices[1, 1, 1] = a, b
    return WindowInformation(("a", "b"), matrices, 1e-9 * np.eye(2))


def test_separate_windows_share_by_the_root_of_what_each_costs() -> None:
    """Minimum of 1 / (4 t) + 1 / (1 - t): t to 1 - t as 1/2 to 1."""
    share = best_allocation(_separate(), targets={"a": 1.0, "b": 1.0}, time=3.0)
    np.testing.assert_allclose(share, [1.0, 2.0], rtol=1e-4)


def test_a_large_power_brings_all_parameters_to_their_targets_together() -> None:
    """Errors 1/2 / sqrt(t) and 1 / sqrt(1 - t) are equal at t = 1/5."""
    share = best_allocation(_separate(), targets={"a": 1.0, "b": 1.0}, time=1.0, power=40.0, steps=2000)
    np.testing.assert_allclose(share, [0.2, 0.8], atol=0.01)
    with pytest.raises(ValueError, match="power must be at least 1, got 0"):
        best_allocation(_separate(), targets={"a": 1.0}, time=1.0, power=0.0)


def test_a_window_that_tells_nothing_gets_nothing() -> None:
    share = best_allocation(_separate(b=0.0), targets={"a": 0.1}, time=2.0)
    np.testing.assert_allclose(share, [2.0, 0.0], atol=1e-6)


def test_allocation_agrees_with_a_general_optimiser() -> None:
    rng = np.random.default_rng(0)
    roots = rng.normal(size=(4, 3, 2))
    matrices = np.stack([root @ root.T for root in roots])
    known = WindowInformation(("a", "b", "c"), matrices, 0.1 * np.eye(3))
    spent = np.array([0.5, 0.0, 0.2, 0.0])
    targets = {"a": 0.5, "c": 1.0}

    def cost(x: np.ndarray) -> float:
        share = np.exp(x) / np.exp(x).sum()
        errors = known.errors(spent + 5.0 * share)
        return sum((errors[name] / wanted) ** 2 for name, wanted in targets.items())

    best = min((minimize(cost, start, method="Nelder-Mead", options={"maxiter": 4000, "xatol": 1e-6, "fatol": 1e-9})
                for start in rng.normal(size=(4, 4))), key=lambda one: one.fun)  # fmt: skip
    found = best_allocation(known, targets=targets, time=5.0, spent=spent, steps=3000)
    errors = known.errors(spent + found)
    value = sum((errors[name] / wanted) ** 2 for name, wanted in targets.items())
    assert found.sum() == pytest.approx(5.0)
    assert value <= best.fun * (1 + 1e-3)


def test_time_needed_is_that_of_the_square_root_law() -> None:
    """An error of 1 / sqrt(4 t / 2) falls to 0.1 at t = 50."""
    assert time_needed(_separate(), targets={"a": 0.1}, shares=[1.0, 1.0]) == pytest.approx(50.0, rel=1e-6)
    assert time_needed(_separate(), targets={"a": 0.1}, shares=[1.0, 1.0], spent=[25.0, 0.0]) == pytest.approx(0.0)
    assert time_needed(_separate(), targets={"b": 0.1}, shares=[1.0, 0.0]) == float("inf")


def test_windows_are_ranked_by_what_they_bring() -> None:
    ranked = ranked_windows(_separate(), targets={"a": 1.0, "b": 1.0}, time=1.0, spent=[1.0, 1.0])
    assert [window for window, _ in ranked] == [1, 0]
    assert ranked[0][1]["b"] == pytest.approx(np.sqrt(0.5), rel=1e-6)


def test_information_of_a_window_is_that_of_a_straight_line() -> None:
    """Counts m = 10 (1 + p x) + 5, scale and background free: the information about p is worked out by least squares."""
    x = np.linspace(-1.0, 1.0, 16).reshape(1, 4, 4)
    shape = x**2

    def expected(rows: np.ndarray) -> np.ndarray:
        return 1.0 + np.asarray(rows)[:, :1, None, None] * x + 0.3 * shape

    prior = ParameterPrior(["p"], np.array([-0.5]), np.array([0.5]))
    found = window_information(
        expected, [0.1], prior=prior, measured=np.ones((1, 4, 4), bool), scale=10.0, background=[5.0]
    )
    signal = 10.0 * (1.0 + 0.1 * x + 0.3 * shape).ravel()
    design = np.stack([10.0 * x.ravel(), signal, np.ones(16)])
    full = np.linalg.inv((design / (signal + 5.0)) @ design.T)
    np.testing.assert_allclose(np.linalg.inv(found.matrices[0]), full[:2, :2], rtol=1e-6)
    more = found.errors([1e6])["p"] / found.errors([4e6])["p"]
    assert more == pytest.approx(2.0, rel=1e-2)


@pytest.mark.parametrize(("targets", "time"), [({"c": 1.0}, 1.0), ({"a": -1.0}, 1.0), ({}, 1.0), ({"a": 1.0}, 0.0)])
def test_wrong_targets_are_refused(targets: dict[str, float], time: float) -> None:
    with pytest.raises(ValueError, match="targets must be positive errors of"):
        best_allocation(_separate(), targets=targets, time=time)
