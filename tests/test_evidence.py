"""The choice between hypotheses: the truth wins by about the expected ratio, and nothing is decided where nothing differs."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from insdl.learn.evidence import (
    Comparison,
    compare_hypotheses,
    expected_log_ratio,
    probabilities,
    used_blocks,
)
from insdl.learn.hypothesis import hypotheses
from small_hypothesis import small, small_hypotheses, small_image


@cache
def compared(number: int) -> tuple[Comparison, str]:
    counts, samples, source = small_image(number)
    found = compare_hypotheses(small_hypotheses(), counts, source.detector.measured, n_starts=1, threads=1)
    return found, source.classes[int(samples.labels[0])]


def test_the_truth_is_chosen_by_about_the_expected_ratio() -> None:
    """Six images: where the fits' means differ by more than chance, evidence and likelihood name the truth."""
    told = 0
    for number in range(6):
        found, truth = compared(number)
        (rival,) = set(found.fits) - {truth}
        expected = expected_log_ratio(found.fits[truth], found.fits[rival])
        if expected > 25:
            told += 1
            assert found.best.name == truth
            assert found.probabilities[truth] > 0.99
            ratio = found.log_ratio(truth, rival, by="likelihood")
            # To second order in the difference, with chance sqrt(2 expected); a third for the higher orders.
            assert abs(ratio - expected) < 4 * np.sqrt(2 * expected) + expected / 3
    assert told >= 3


def test_equal_hypotheses_are_equally_probable() -> None:
    """A class beside a copy of itself under another name: one half each, nothing expected, nothing in any block."""
    counts, _, source = small_image(0)
    one = small_hypotheses()[0]
    other = replace(one, unknowns=replace(one.unknowns, name="copy"))
    start = compared(0)[0].fits["goodenough"].point
    object.__setattr__(other, "templates", one.templates)  # a name draws its own templates
    found = compare_hypotheses([one, other], counts, source.detector.measured, n_starts=1, threads=1)
    assert found.probabilities == pytest.approx({"goodenough": 0.5, "copy": 0.5})
    assert found.log_ratio("goodenough", "copy") == pytest.approx(0.0, abs=1e-9)
    assert expected_log_ratio(found.fits["goodenough"], found.fits["copy"]) == pytest.approx(0.0, abs=1e-9)
    assert len(start) == len(found.fits["copy"].point)


def test_vuong_is_the_sum_over_its_scatter() -> None:
    """The same as the t statistic of a mean of zero; it changes sign with the order; bins without pixels do not count."""
    stats = pytest.importorskip("scipy.stats")
    found, _ = compared(0)
    one, other = found.fits["goodenough"], found.fits["dimer"]
    t = stats.ttest_1samp(one.by_bin - other.by_bin, 0.0).statistic
    assert found.vuong("goodenough", "dimer") == pytest.approx(t)
    assert found.vuong("dimer", "goodenough") == pytest.approx(-t)
    information = one.information.copy()
    information[0] = 0.0
    fewer = replace(found, fits={"goodenough": replace(one, information=information), "dimer": other})
    t = stats.ttest_1samp((one.by_bin - other.by_bin)[1:], 0.0).statistic
    assert fewer.vuong("goodenough", "dimer") == pytest.approx(t)


def test_blocks_add_up() -> None:
    found, _ = compared(0)
    frame = small_hypotheses()[0].simulator.frame
    parts = found.by_block("goodenough", "dimer", frame)
    assert list(parts) == [50.0, 70.0]
    assert sum(parts.values()) == pytest.approx(found.log_ratio("goodenough", "dimer", by="likelihood"), abs=1e-6)


def test_probabilities_are_shares_of_evidence() -> None:
    found = probabilities({"a": -1e6, "b": -1e6 - np.log(3.0), "c": -2e6})
    assert found == pytest.approx({"a": 0.75, "b": 0.25, "c": 0.0})


def test_pixels_of_some_incident_energies() -> None:
    frame = small_hypotheses()[0].simulator.frame
    measured = np.ones(frame.shape, dtype=bool)
    measured[0, 0, 0] = False
    only = used_blocks(measured, frame, [50.0])
    without = used_blocks(measured, frame, [50.0], mode="without")
    assert only.sum() == 3 * 256 - 1
    np.testing.assert_array_equal(only | without, measured)
    assert not (only & without).any()
    with pytest.raises(ValueError, match=r"incident energies must be among \[50.0, 70.0\], got \[60.0\]"):
        used_blocks(measured, frame, [60.0])
    with pytest.raises(ValueError, match="no measured pixel is left"):
        used_blocks(measured, frame, [50.0, 70.0], mode="without")
    with pytest.raises(ValueError, match="mode must be 'only' or 'without', got 'all'"):
        used_blocks(measured, frame, [50.0], mode="all")  # type: ignore[arg-type]


def test_starting_points_are_apart_and_near_the_truth() -> None:
    """Among 150 templates, the best match has about the scale of the image (of a range of fifteen); points differ."""
    for number in (0, 1):
        counts, samples, source = small_image(number)
        hypothesis = small_hypotheses()[int(samples.labels[0])]
        points = hypothesis.starting_points(counts, source.detector.measured, n=3)
        assert len(points) == 3
        n = hypothesis.unknowns.n_quantities
        gaps = [np.abs(a[:n] - b[:n]).max() for a in points for b in points if a is not b]
        assert min(gaps) > 0.3
        fit = compared(number)[0].fits[hypothesis.name]
        assert hypothesis.unknowns.values(points[0])[-2] == pytest.approx(fit.values["scale"], rel=0.5)


def test_wrong_input() -> None:
    counts, _, source = small_image(0)
    one, measured = small_hypotheses()[0], source.detector.measured
    with pytest.raises(ValueError, match=r"with different names, got \['goodenough', 'goodenough'\]"):
        compare_hypotheses([one, one], counts, measured)
    found, _ = compared(0)
    with pytest.raises(ValueError, match=r"the class must be one of .*, got 'other'"):
        found.log_ratio("goodenough", "other")
    with pytest.raises(ValueError, match="by must be 'evidence' or 'likelihood'"):
        found.log_ratio("goodenough", "dimer", by="luck")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"the class must be one of \['goodenough', 'dimer'\], got 'other'"):
        hypotheses(small(), names=["other"])
