"""Rivals fitted to one measurement, and errors from leaving incident energies out; on a small frame."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.instrument.measurement import grown
from insdl.learn.measurement_fit import (
    MeasurementFit,
    fit_measurement,
    fit_statement,
    jackknife_errors,
    left_out,
    starting_point,
)
from insdl.learn.profile import fit_hypothesis
from small_hypothesis import small_hypotheses, small_image


@pytest.fixture(scope="module")
def fitted() -> MeasurementFit:
    counts, _, source = small_image(0)
    return fit_measurement(small_hypotheses(), counts, source.detector.measured, n_starts=1, threads=1)


def test_the_truth_is_first_and_edges_are_not_used(fitted: MeasurementFit) -> None:
    _, samples, source = small_image(0)
    assert source.classes[samples.labels[0]] == fitted.ranked[0] == "goodenough"
    measured = source.detector.measured
    assert (fitted.used == (measured & ~grown(~measured))).all()
    assert fitted.used.sum() < measured.sum()
    first, second = (fitted.comparison.fits[name].log_evidence for name in fitted.ranked)
    assert first > second
    assert sum(fitted.comparison.probabilities.values()) == pytest.approx(1.0)


def test_a_start_elsewhere_ends_at_the_same_place(fitted: MeasurementFit) -> None:
    """From the true quantities, as a network would give them; nuisances begin in the middle of their ranges."""
    _, samples, source = small_image(0)
    rival = small_hypotheses()[0]
    given = dict(zip(source.parameter_names, samples.parameters[0], strict=True))
    quantities = {name: given[name] for name in ("JA", "Jperp", "D", "JF2", "JF3")}
    quantities["JF"] = given["JF1"] + 0.5 * (given["JF2"] + given["JF3"])
    start = starting_point(rival, quantities)
    values = dict(zip(rival.unknowns.names, rival.unknowns.values(start), strict=True))
    assert values["JF"] == pytest.approx(quantities["JF"])
    assert start[-1] == pytest.approx(0.5)
    again = fit_measurement(
        [rival], fitted.counts, fitted.measured, starts={"goodenough": start[None]}, threads=1
    ).comparison.fits["goodenough"]
    assert again.log_evidence >= fitted.comparison.fits["goodenough"].log_evidence - 0.5
    with pytest.raises(ValueError, match="quantities must be"):
        starting_point(rival, {"JF": -10.0})


def test_statements_are_those_of_the_fits_errors(fitted: MeasurementFit) -> None:
    goodenough, dimer = small_hypotheses()
    fit = fitted.comparison.fits["goodenough"]
    statement = fit_statement(goodenough, fit)
    for worth in statement.worths:
        assert worth.error == pytest.approx(fit.parameter_errors[worth.name])
        assert worth.ratio_known_instrument <= worth.ratio * (1 + 1e-9)
    assert statement.of("JA").prior_width == pytest.approx(2.4 / np.sqrt(12))
    # JF1 = JF - JF2 / 2 - JF3 / 2: variances 121 / 12 and twice 4 / 12.
    assert statement.of("JF1").prior_width == pytest.approx(np.sqrt(121 / 12 + 8 / 12))
    rival = fit_statement(dimer, fitted.comparison.fits["dimer"])
    assert {worth.name for worth in rival.worths} == {"JF", "JA", "Jperp", "D", "difference"}  # JA1 = JA2


def test_the_jackknife_is_its_formula(fitted: MeasurementFit) -> None:
    rival = small_hypotheses()[0]
    without = left_out(fitted, [rival], threads=1)
    assert set(without) == {50.0, 70.0}
    one, other = (without[energy]["goodenough"].parameters["JA"] for energy in (50.0, 70.0))
    assert one != other
    # Two values: (n - 1) / n sum of squares = half of 2 (d / 2)^2.
    assert jackknife_errors(without, "goodenough")["JA"] == pytest.approx(0.5 * abs(one - other))
    used = fitted.used.copy()
    used[:3] = False
    alone = fit_hypothesis(
        rival, fitted.counts, fitted.measured, used=used, threads=1, iterations=10,
        starts=fitted.comparison.fits["goodenough"].point,
    )  # fmt: skip
    assert alone.parameters["JA"] == pytest.approx(one)
    with pytest.raises(ValueError, match="two incident energies at least, got 1"):
        jackknife_errors({50.0: without[50.0]}, "goodenough")


def test_wrong_names_are_refused(fitted: MeasurementFit) -> None:
    with pytest.raises(ValueError, match="starts be of these"):
        fit_measurement(small_hypotheses(), fitted.counts, fitted.measured, starts={"zener": [[0.5]]})
    with pytest.raises(ValueError, match="different names"):
        fit_measurement([], fitted.counts, fitted.measured)
