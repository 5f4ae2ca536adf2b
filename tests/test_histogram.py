"""Axes and histograms: what they hold and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from insdl.measured import Axis, Histogram

E = Axis("E", "meV", [0.0, 1.0, 3.0])
Q = Axis("Qh", "r.l.u.", [-1.0, 0.0, 1.0, 2.0], (1, 0, 0))


def test_axes_know_their_bins() -> None:
    np.testing.assert_array_equal(E.centres, [0.5, 2.0])
    np.testing.assert_array_equal(E.widths, [1.0, 2.0])
    assert len(Q) == 3
    np.testing.assert_array_equal(np.asarray(Q.turned().edges), [-2.0, -1.0, 0.0, 1.0])


def test_what_was_not_measured_is_nan_in_signal_and_error() -> None:
    signal = np.array([[1.0, np.nan, 2.0], [0.0, 3.0, np.nan]])
    histogram = Histogram(signal, np.full((2, 3), 0.5), (E, Q), "test", "")
    np.testing.assert_array_equal(histogram.measured, ~np.isnan(signal))
    assert histogram.error is not None
    np.testing.assert_array_equal(np.isnan(histogram.error), np.isnan(signal))
    assert histogram.shape == (2, 3)
    assert histogram.number("Qh") == histogram.number(1) == 1


@pytest.mark.parametrize(
    ("edges", "projection", "words"),
    [
        ([1.0], None, "at least two edges"),
        ([[0.0, 1.0]], None, "at least two edges"),
        ([0.0, 2.0, 1.0], None, "finite and ascend"),
        ([0.0, 1.0, 1.0], None, "finite and ascend"),
        ([0.0, np.nan], None, "finite and ascend"),
        ([0.0, np.inf], None, "finite and ascend"),
        (["a", "b"], None, "real numbers"),
        ([0.0, 1.0], (0, 0, 0), "not all zero"),
        ([0.0, 1.0], (1, 0), "three finite numbers"),
        ([0.0, 1.0], (1, np.nan, 0), "three finite numbers"),
    ],
)
def test_axes_that_are_none(edges: Any, projection: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Axis("E", "meV", edges, projection)


@pytest.mark.parametrize(
    ("signal", "error", "axes", "words"),
    [
        (np.zeros((3, 2)), None, (E, Q), "one value a bin"),
        (np.zeros((2, 3)), np.zeros((3, 2)), (E, Q), "shape of the signal"),
        (np.zeros((2, 3)), np.full((2, 3), -1.0), (E, Q), "not negative"),
        (np.zeros((2, 3)), np.full((2, 3), np.nan), (E, Q), "must be finite"),
        (np.full((2, 3), np.inf), None, (E, Q), "infinite"),
        (np.zeros((2, 2)), None, (E, E), "different names"),
    ],
)
def test_histograms_that_are_none(signal: Any, error: Any, axes: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Histogram(signal, error, axes, "test", "")


@pytest.mark.parametrize("axis", ["Ql", 2, -1, True])
def test_unknown_axes(axis: Any) -> None:
    with pytest.raises(ValueError, match=r"has the axes \['E', 'Qh'\], got"):
        Histogram(np.zeros((2, 3)), None, (E, Q), "test", "").number(axis)
