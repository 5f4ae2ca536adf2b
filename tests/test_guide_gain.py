"""Expected gains against exact results for normal distributions."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.guide.belief import beforehand, updated
from insdl.guide.experiment import measured
from insdl.guide.gain import Prediction, evidence_map, expected_errors, expected_gain, gains, predictions
from insdl.guide.observed import nothing
from small_planner import small_experiment, small_planner


def _prediction(mean: list[float], covariance: np.ndarray) -> Prediction:
    return Prediction(np.array(mean), covariance, np.zeros((1, len(mean))))


def _gain(time: float, probabilities: dict[str, float], *, spread: float = 0.0):  # type: ignore[no-untyped-def]
    predicted = {"a": _prediction([0.0, 0.0], spread * np.eye(2)), "b": _prediction([2.0, 0.0], spread * np.eye(2))}
    return expected_gain(predicted, probabilities, np.eye(2), block=0, incident_energy=50.0, time=time, draws=20000)


@pytest.mark.parametrize("time", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("prior", [0.5, 0.9])
def test_information_is_the_mutual_information(time: float, prior: float) -> None:
    """Of a choice between two normal numbers 2 apart with variance 1 / t + 0.3, by quadrature."""
    found = _gain(time, {"a": prior, "b": 1.0 - prior}, spread=0.3)
    variance = 1.0 / time + 0.3
    x = np.linspace(-60, 60, 400_001)
    a = prior * np.exp(-0.5 * x**2 / variance)
    b = (1.0 - prior) * np.exp(-0.5 * (x - 2.0) ** 2 / variance)
    share = np.clip(a / np.maximum(a + b, 1e-300), 1e-300, 1.0)
    other = np.clip(b / np.maximum(a + b, 1e-300), 1e-300, 1.0)
    left = np.trapezoid((a + b) * -(share * np.log(share) + other * np.log(other)), x) / np.sqrt(2 * np.pi * variance)
    before = -(prior * np.log(prior) + (1 - prior) * np.log(1 - prior))
    assert found.information == pytest.approx(before - left, abs=0.01)
    assert found.log_ratio == pytest.approx(0.5 * 4.0 / variance, rel=0.05)
    assert found.rate == found.information / time


def test_what_a_model_can_adapt_to_is_no_evidence() -> None:
    free = _gain(10.0, {"a": 0.5, "b": 0.5}, spread=100.0)
    fixed = _gain(10.0, {"a": 0.5, "b": 0.5})
    assert free.information < 0.02 < 0.6 < fixed.information


def _informed():  # type: ignore[no-untyped-def]
    planner, one = small_planner(), small_experiment(0)
    seen = nothing(planner, one.covariance)
    for block in (0, 1):
        seen = seen.added(block, 0.002, measured(planner, one, block, 0.002, run=0, stream="gain"))
    return planner, updated(planner, beforehand(planner, n_particles=200), seen)


def test_more_time_is_expected_to_tell_more() -> None:
    planner, belief = _informed()
    short, long = gains(planner, belief, time=0.001), gains(planner, belief, time=0.01)
    assert {one.block for one in short} == {0, 1}
    assert short[0].information >= short[1].information
    for block in (0, 1):
        one, other = (next(g for g in found if g.block == block) for found in (short, long))
        assert other.log_ratio > one.log_ratio > 0


def test_evidence_by_pixel_adds_up_to_fishers_discriminant() -> None:
    planner, belief = _informed()
    for block in (0, 1):
        predicted = predictions(planner, belief, block)
        one, other = predicted["goodenough"], predicted["dimer"]
        total = belief.observed.covariance[block] / 0.01 + 0.5 * (one.covariance + other.covariance)
        apart = one.mean - other.mean
        found = evidence_map(planner, belief, block, time=0.01, pair=("goodenough", "dimer"))
        assert found.shape == (3, 8, 8)
        assert found.sum() == pytest.approx(0.5 * apart @ np.linalg.solve(total, apart), rel=1e-9)
        dark = planner.compression.pixels[planner.compression.blocks == block] == 0
        assert np.abs(found[dark]).max(initial=0.0) < 1e-12


def test_errors_shrink_with_time_and_start_as_the_particles_spread() -> None:
    planner, belief = _informed()
    before = expected_errors(planner, belief, 0, model="goodenough", time=0.0)
    particles = belief.particles["goodenough"]
    place = planner.unknowns["goodenough"].names.index("JA")
    spread = np.sqrt(np.cov(particles.points[:, place], aweights=particles.weight, ddof=0)) * (3.0 - 0.6)
    assert before["JA"] == pytest.approx(float(spread), rel=1e-9)
    after = expected_errors(planner, belief, 0, model="goodenough", time=0.1)
    later = expected_errors(planner, belief, 0, model="goodenough", time=1.0)
    assert all(before[name] >= after[name] >= later[name] for name in before)
    assert after["JF"] < 0.8 * before["JF"]


def test_wrong_arguments_are_refused() -> None:
    planner, belief = small_planner(), beforehand(small_planner(), n_particles=20)
    with pytest.raises(ValueError, match="time must be positive, got 0"):
        gains(planner, belief, time=0)
    with pytest.raises(ValueError, match="pair must be two of"):
        evidence_map(planner, belief, 0, time=1.0, pair=("dimer", "dimer"))
    with pytest.raises(ValueError, match="model must be one of"):
        expected_errors(planner, belief, 0, model="polaron", time=1.0)
