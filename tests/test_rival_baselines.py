"""Simple methods beside networks: what each can and cannot see."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.learn.rival_baselines import baseline_answers


def inputs(n: int, seed: int, *, by: str) -> tuple[np.ndarray, np.ndarray]:
    """Two classes of two cells on 8 x 8 pixels: one brighter, or both as bright with another mirror-symmetric pattern."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    axis = np.abs(np.linspace(-1, 1, 8))
    pattern = np.where(axis[:, None] + 0 * axis > 0.5, 1.0, -1.0)
    values = 2.0 + 0.5 * rng.standard_normal((n, 2, 8, 8))
    if by == "brightness":
        values += labels[:, None, None, None]
    else:
        values += np.where(labels[:, None, None], pattern, pattern.T)[:, None]
    mask = np.ones_like(values)
    return np.concatenate([values, mask], axis=1).astype(np.float32), labels.astype(np.int64)


def test_brightness_is_seen_by_both_and_a_pattern_by_the_components_alone() -> None:
    bright = baseline_answers(inputs(200, 0, by="brightness"), inputs(100, 1, by="brightness"), classes=2, components=4)
    assert [one.accuracy for one in bright] == [1.0, 1.0]
    sums, components = baseline_answers(
        inputs(200, 2, by="pattern"), inputs(400, 3, by="pattern"), classes=2, components=4
    )
    assert 0.4 < sums.accuracy < 0.6
    assert components.accuracy == 1.0
    assert components.log_loss < 0.1 < sums.log_loss


def test_answers_are_probabilities_of_what_was_asked() -> None:
    asked, true = inputs(6, 5, by="pattern")
    _, found = baseline_answers(
        inputs(200, 2, by="pattern"), inputs(50, 3, by="pattern"), asked, classes=2, components=4
    )
    assert found.probabilities.shape == (6, 2)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1.0)
    assert (found.probabilities.argmax(axis=1) == true).all()
    assert found.held_out.shape == (50, 2)


def test_missing_pixels_are_left_out() -> None:
    training, held = inputs(200, 0, by="brightness"), inputs(100, 1, by="brightness")
    dark = held[0].copy()
    dark[:, :2, :3] = 0.0
    dark[:, 2:, :3] = 0.0  # not measured: a darker cell if it counted
    sums, _ = baseline_answers(training, (dark, held[1]), classes=2, components=4)
    assert sums.accuracy == 1.0


def test_classes_may_take_turns() -> None:
    """As in a data set: every fourth measurement of all is of one class."""
    x, y = inputs(240, 6, by="brightness")
    cycle = np.concatenate([np.flatnonzero(y == 1)[:90], np.flatnonzero(y == 0)[:30]])
    order = np.concatenate([np.append(cycle[3 * i : 3 * i + 3], cycle[90 + i]) for i in range(30)])
    sums, _ = baseline_answers((x[order], y[order]), (x, y), classes=2, components=4)
    assert (y[order][3::4] == 0).all()
    assert sums.accuracy > 0.95


def test_wrong_shapes_are_refused() -> None:
    x, y = inputs(20, 0, by="pattern")
    with pytest.raises(ValueError, match="one shape"):
        baseline_answers((x, y), (x[:, :, :4], y), classes=2)
