"""Statements about parameters: the words, the weak direction, the calibration and the remedies."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.dataset.parameter_prior import ParameterPrior
from insdl.learn.identifiability import direction_in_words, identifiability, identifiability_of, remedies, word
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


def test_a_posteriors_covariance_says_the_same_as_its_information():
    matrix = np.array([[400.0, 90.0, 5.0], [90.0, 3000.0, 8.0], [5.0, 8.0, 700.0]])
    information = Information(PRIOR.names, matrix)
    values = [0.6, 0.01, 0.0]
    expected = identifiability(information, prior=PRIOR, values=values)
    before = np.diag(np.asarray(PRIOR.width) ** 2)
    covariance = np.linalg.inv(matrix + np.linalg.inv(before))
    found = identifiability_of(covariance, prior=before, names=PRIOR.names, values=values)
    assert found.weak_ratio == pytest.approx(expected.weak_ratio)
    assert dict(found.weak_direction) == pytest.approx(dict(expected.weak_direction))
    for name in PRIOR.names:
        assert found.of(name).ratio == pytest.approx(expected.of(name).ratio)
        assert found.of(name).word == expected.of(name).word
        assert not found.of(name).calibration
    known = identifiability_of(covariance, prior=before, names=PRIOR.names, values=values, known=covariance / 9.0)
    assert all(worth.calibration for worth in known.worths)
    assert known.of("J1").ratio_known_instrument == pytest.approx(known.of("J1").ratio / 3.0)


def test_the_direction_known_worst_is_the_same_for_combinations_of_parameters():
    """sum = a + b instead of a: the direction is the same change of a and b."""
    covariance, before = np.array([[4.0, -3.5], [-3.5, 4.0]]), np.diag([9.0, 16.0])
    plain = identifiability_of(covariance, prior=before, names=("a", "b"), values=[1.0, 2.0])
    to = np.array([[1.0, 1.0], [0.0, 1.0]])
    turned = identifiability_of(to @ covariance @ to.T, prior=to @ before @ to.T, names=("sum", "b"), values=[3.0, 2.0])
    assert turned.weak_ratio == pytest.approx(plain.weak_ratio)
    a, b = plain.weak_direction.values()
    assert abs(turned.weak_direction["sum"]) == pytest.approx(abs(a + b))
    assert abs(turned.weak_direction["b"]) == pytest.approx(abs(b))
    with pytest.raises(ValueError, match="prior must be a covariance of 2 parameters"):
        identifiability_of(covariance, prior=np.diag([1.0, 0.0]), names=("a", "b"), values=[1.0, 2.0])
