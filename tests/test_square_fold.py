"""Folding on the symmetry of a square: what it keeps, what it averages, where it has nothing."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.dataset.square_fold import fold_square


def test_a_symmetric_map_is_its_own_fold_whatever_the_gaps():
    axis = np.linspace(-1.0, 1.0, 9)[:-1] + 0.125
    image = np.cos(axis)[:, None] * np.cos(axis)[None, :] + np.hypot(axis[:, None], axis[None, :])
    measured = np.random.default_rng(0).random((8, 8)) > 0.4
    folded = fold_square(np.where(measured, image, 1e9)[None], measured[None])
    there = folded.number[0] > 0
    assert folded.rate[0][there] == pytest.approx(image[4:, 4:][there], rel=1e-6)
    assert (folded.rate[0][~there] == 0).all()


def test_equivalent_pixels_are_those_of_the_point_group():
    """A delta at each pixel comes out where its (|h|, |k|), either way round, says; written out pixel by pixel."""
    n = 6
    for i in range(n):
        for j in range(n):
            delta = np.zeros((1, n, n))
            delta[0, i, j] = 1.0
            a, b = (max(x - 3, 2 - x) for x in (i, j))
            expected = np.zeros((3, 3))
            expected[a, b] += 1.0
            expected[b, a] += 1.0
            folded = fold_square(delta, np.ones(delta.shape, dtype=bool))
            assert np.array_equal((folded.rate * folded.number)[0], expected)
            assert (folded.number == 8).all()


def test_odd_maps_are_refused():
    with pytest.raises(ValueError, match=r"shape \(..., n, n\), n even"):
        fold_square(np.zeros((1, 3, 3)), np.ones((1, 3, 3), dtype=bool))
