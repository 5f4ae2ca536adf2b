"""Statements about parameters: the words, the weak direction, the calibration and the remedies."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.dataset.parameter_prior import ParameterPrior
from insdl.learn.identifiability import direction_in_words, identifiability, remedies, word
from insdl.learn.information import Information

PRIOR = ParameterPrior(("J1", "J2", "energy_zero"), [0.5, -0.03, -0.1], [0.8, 0.05, 0.1], sigma=[np.inf, np.inf, 0.05])


def test_thresholds_are_those_of_the_words():
    assert [word(r) for r in (0.0, 0.29, 0.3, 0.7, 0.71, 1.0)] == [
        "measured", "measured", "weak", "weak", "this is your prior", "this is your prior",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="must not be negative"):
        word(-1.0)


def test_no_information_is_the_prior_and_much_is_a_measurement():
    nothing = identifiability(
        Information(PRIOR.names, np.zeros((3, 3))), prior=PRIOR, values=[0.6, 0.01, 0.0], instrument=["energy_zero"]
    )
    for worth in nothing.worths:
        assert worth.ratio == pytest.approx(1.0)
        assert worth.word == "this is your prior"
    assert [worth.name for worth in nothing.worths] == ["J1", "J2"]
    assert nothing.of("J1").sentence.startswith("J1: this is your prior")
    much = Information(PRIOR.names, np.diag([1e8, 1e8, 1e8]))
    known = identifiability(much, prior=PRIOR, values=[0.6, 0.01, 0.0], instrument=["energy_zero"])
    assert known.of("J1").error == pytest.approx(1e-4, rel=1e-4)
    assert known.of("J1").word == "measured"
    assert not known.of("J1").calibration


def test_an_error_that_is_the_calibrations_says_so():
    """J1 enters only as J1 - 0.12 energy_zero, known to 1e-4: its error is 0.12 times that of the zero of energy."""
    row = np.array([1.0, 0.0, -0.12]) / 1e-4
    matrix = np.outer(row, row) + np.diag([0.0, 1e8, 0.0])
    found = identifiability(
        Information(PRIOR.names, matrix), prior=PRIOR, values=[0.6, 0.01, 0.0], instrument=["energy_zero"]
    )
    assert found.of("J1").error == pytest.approx(0.12 * 0.05, rel=0.01)
    assert found.of("J1").calibration
    assert found.of("J1").ratio_known_instrument == pytest.approx(1e-4 / PRIOR.width[0], rel=0.01)
    assert "this comes from your calibration" in found.of("J1").sentence
    assert not found.of("J2").calibration


def test_the_weak_direction_is_named():
    names = ("J1", "J2", "D")
    prior = ParameterPrior(names, [0.5, -0.03, -0.012], [0.8, 0.05, -0.003])
    values = np.array([0.657, 0.006, -0.00547])
    # Ratios are known, their common factor is not: the integrated map. Distances in prior widths.
    unit = values / np.linalg.norm(values)
    matrix = 1e12 * (np.eye(3) - np.outer(unit, unit))
    found = identifiability(Information(names, matrix), prior=prior, values=values)
    assert found.weak_ratio > 0.9
    assert found.direction.endswith("J1, J2 and D all changed by the same factor.")
    assert direction_in_words({"J1": 0.02, "J2": -0.01}, {"J1": 0.6, "J2": 0.01}) == (
        "J1 up by 0.02 together with J2 down by 0.01"
    )
    assert direction_in_words({"J1": 0.02, "J2": 1e-5}, {"J1": 0.6, "J2": 0.01}) == "J1 up by 0.02"


def test_remedies_are_ordered_by_what_they_bring():
    """An imagined instrument: an upper edge of 6 tells J1 to 0.001, one of 8 nothing."""

    def information(windows):
        precision = 1e6 if windows[-1][1] == 6.0 else 0.0
        return Information(PRIOR.names, np.diag([precision, 1.0, 1.0]))

    found = remedies("J1", [[(1.0, 8.0)], [(1.0, 6.0)]], information, prior=PRIOR)
    assert [remedy.windows[-1][1] for remedy in found] == [6.0, 8.0]
    assert found[0].error == pytest.approx(1e-3, rel=1e-3)
    assert found[1].ratio == pytest.approx(1.0)
    with pytest.raises(ValueError, match="the prior is of"):
        remedies("J3", [[(1.0, 8.0)]], information, prior=PRIOR)


def test_wrong_names_are_refused():
    with pytest.raises(ValueError, match="must name the same parameters"):
        identifiability(Information(("a",), np.eye(1)), prior=PRIOR, values=[1.0])
