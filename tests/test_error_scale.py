"""Factors on errors: the rms where they are constant, the right course where they are not."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.learn.error_scale import fit_error_scale


def test_one_factor_is_the_rms():
    z = 1.7 * np.random.default_rng(0).standard_normal((200, 2))
    found = fit_error_scale(z, np.linspace(5.0, 7.0, 200), degree=0)
    assert found.factor([5.0, 9.0]) == pytest.approx(np.tile(np.sqrt(np.mean(z**2, axis=0)), (2, 1)), rel=1e-9)


def test_errors_that_are_wrong_by_counts_are_put_right_at_all_counts():
    rng = np.random.default_rng(1)
    level = rng.uniform(5.0, 7.0, 4000)
    wrong = np.stack([10.0 ** (-0.3 * (level - 6.0)), 1.0 + 0.5 * (level - 6.0) ** 2], axis=1)
    found = fit_error_scale(wrong * rng.standard_normal((4000, 2)), level)
    right = found.factor(level)
    assert np.abs(right / wrong - 1.0).max() < 0.15
    assert found.factor([2.0]) == pytest.approx(found.factor([level.min()]))  # no extrapolation
    same = fit_error_scale(rng.standard_normal((100, 1)), np.full(100, 6.0))
    assert 0.7 < same.factor([6.0])[0, 0] < 1.3


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="n at least 30"):
        fit_error_scale(np.zeros((29, 1)), np.zeros(29))
    with pytest.raises(ValueError, match="must be finite"):
        fit_error_scale(np.full((40, 1), np.nan), np.zeros(40))
