"""Expected calibration error: constructed sets with a known answer, an independent slow form, the noise floor."""

from __future__ import annotations

import math

import numpy as np
import pytest

from insdl.learn.reliability import calibration_error, expected_calibration_error, reliability_diagram
from insdl.plot import reliability


def _constructed() -> tuple[np.ndarray, np.ndarray]:
    """40 images at P = 0.9 of which 30 are right, 60 at P = 0.6 of which 45 are right."""
    top = np.repeat([0.9, 0.6], [40, 60])
    right = np.concatenate([np.arange(40) < 30, np.arange(60) < 45])
    return np.stack([top, 1 - top], axis=1), np.where(right, 0, 1)


@pytest.mark.parametrize("binning", ["equal-width", "equal-mass"])
def test_a_constructed_set_has_its_error(binning: str) -> None:
    rows, labels = _constructed()
    expected = 0.4 * abs(30 / 40 - 0.9) + 0.6 * abs(45 / 60 - 0.6)
    assert expected_calibration_error(rows, labels, bins=10, binning=binning) == pytest.approx(expected, abs=1e-14)
    diagram = reliability_diagram(rows, labels, bins=10, binning=binning)
    np.testing.assert_allclose(diagram.probability, [0.6, 0.9])
    np.testing.assert_allclose(diagram.frequency, [0.75, 0.75])
    np.testing.assert_array_equal(diagram.count, [60, 40])


def test_errors_in_one_bin_cancel_and_in_two_do_not() -> None:
    """One bin sees only the mean: |0.72 - 0.75|."""
    rows, labels = _constructed()
    assert expected_calibration_error(rows, labels, bins=1) == pytest.approx(0.03, abs=1e-14)


@pytest.mark.parametrize("statement", ["top", 0, 2])
def test_equal_width_agrees_with_a_loop(statement: str | int) -> None:
    rng = np.random.default_rng(0)
    rows, labels = rng.dirichlet(np.ones(3), size=500), rng.integers(3, size=500)
    expected = 0.0
    for low in np.arange(12) / 12:
        members = []
        for row, label in zip(rows, labels, strict=True):
            named = int(np.argmax(row)) if statement == "top" else int(statement)
            if low < row[named] <= low + 1 / 12:
                members.append((row[named], named == label))
        if members:
            expected += abs(sum(p for p, _ in members) - sum(right for _, right in members)) / 500
    found = expected_calibration_error(rows, labels, bins=12, statement=statement)
    assert found == pytest.approx(expected, abs=1e-12)


def test_equal_mass_bins_hold_equal_numbers_and_never_tear_ties_apart() -> None:
    rng = np.random.default_rng(1)
    top = rng.uniform(0.5, 1.0, size=600)
    rows = np.stack([top, 1 - top], axis=1)
    diagram = reliability_diagram(rows, np.zeros(600, int), bins=10, binning="equal-mass")
    np.testing.assert_array_equal(diagram.count, 60)
    rows[:400] = [0.75, 0.25]  # two thirds are equal
    tied = reliability_diagram(rows, np.zeros(600, int), bins=10, binning="equal-mass")
    assert tied.count.max() >= 400
    assert tied.count.sum() == 600
    order = rng.permutation(600)
    labels = rng.integers(2, size=600)
    assert expected_calibration_error(rows, labels, binning="equal-mass") == pytest.approx(
        expected_calibration_error(rows[order], labels[order], binning="equal-mass"), abs=1e-14
    )


def test_certain_and_right_is_perfect_and_certain_and_wrong_is_one() -> None:
    rows = np.tile([1.0, 0.0], (10, 1))
    for binning in ("equal-width", "equal-mass"):
        assert expected_calibration_error(rows, np.zeros(10, int), binning=binning) == 0.0
        assert expected_calibration_error(rows, np.ones(10, int), binning=binning) == 1.0


def test_error_bars_are_wilson_intervals() -> None:
    """The interval's ends p solve (f - p)^2 = z^2 p (1 - p) / n."""
    rows, labels = _constructed()
    diagram = reliability_diagram(rows, labels)
    for end in (diagram.low, diagram.high):
        np.testing.assert_allclose((diagram.frequency - end) ** 2, end * (1 - end) / diagram.count, rtol=1e-12)
    never = reliability_diagram(np.tile([1.0, 0.0], (10, 1)), np.zeros(10, int))
    assert never.low[0] == pytest.approx(10 / 11)
    assert never.high[0] == pytest.approx(1.0)


def test_floor_of_one_bin_is_the_mean_deviation_of_a_binomial() -> None:
    """All images at P = 0.8 in one bin: the floor is E|X / n - 0.8| with X binomial, summed exactly."""
    n, p = 50, 0.8
    rows, labels = np.tile([p, 1 - p], (n, 1)), np.repeat([0, 1], [40, 10])
    result = calibration_error(rows, labels, bins=10, draws=4000)
    exact = sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) * abs(k / n - p) for k in range(n + 1))
    width = math.sqrt(p * (1 - p) / n - exact**2)
    assert abs(result.floor - exact) < 4 * width / math.sqrt(4000)
    assert result.value == pytest.approx(0.0, abs=1e-14)
    assert result.p_value == 1.0  # nothing is below 0
    # The bootstrap's |X / n - 0.8| has the same distribution.
    assert result.error == pytest.approx(width, rel=0.1)


def test_p_values_of_calibrated_classifiers_are_uniform_and_of_others_small() -> None:
    p_values = []
    for seed in range(60):
        rng = np.random.default_rng((5, seed))
        top = rng.uniform(0.5, 1, size=300)
        labels = (rng.random(300) > top).astype(int)
        p_values.append(calibration_error(np.stack([top, 1 - top], 1), labels, draws=60, seed=seed).p_value)
    assert abs(np.mean(p_values) - 0.5) < 4 / math.sqrt(12 * 60)
    sure = 0.5 + 0.5 * np.sqrt(2 * top - 1)
    wrong = calibration_error(np.stack([sure, 1 - sure], 1), labels, draws=60)
    assert wrong.p_value == 1 / 61
    assert wrong.value > wrong.floor_95 > wrong.floor
    assert wrong.n_images == 300


def test_seeds_repeat() -> None:
    rows, labels = _constructed()
    assert calibration_error(rows, labels, draws=30) == calibration_error(rows, labels, draws=30)
    assert calibration_error(rows, labels, draws=30, seed=1) != calibration_error(rows, labels, draws=30)


def test_bad_input_is_refused_in_words() -> None:
    rows, labels = _constructed()
    with pytest.raises(ValueError, match="bins must be at least 1, got 0"):
        reliability_diagram(rows, labels, bins=0)
    with pytest.raises(ValueError, match="'equal-width' or 'equal-mass', got 'equal'"):
        expected_calibration_error(rows, labels, binning="equal")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'top' or a class index from 0 to 1, got 2"):
        reliability_diagram(rows, labels, statement=2)
    with pytest.raises(ValueError, match="draws must be at least 20, got 3"):
        calibration_error(rows, labels, draws=3)


def test_the_plot_shows_the_diagram() -> None:
    rows, labels = _constructed()
    diagram = reliability_diagram(rows, labels, bins=10)
    error = calibration_error(rows, labels, bins=10, draws=20)
    figure = reliability({"one": (diagram, error), "two": (diagram, error)}, title="t", statement="the named class")
    assert len(figure.axes) == 4
    points = figure.axes[1].containers[0]
    np.testing.assert_allclose(points.lines[0].get_xydata(), np.stack([diagram.probability, diagram.frequency], 1))
    low, high = np.array([segment[:, 1] for segment in points.lines[2][0].get_segments()]).T
    np.testing.assert_allclose([low, high], [diagram.low, diagram.high])
    assert f"{error.value:.3f}" in figure.axes[0].get_title()
