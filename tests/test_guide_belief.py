"""Evidence and posterior of particles against plain sums over many draws of the prior."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.guide.belief import NONE, beforehand, updated
from insdl.guide.experiment import measured
from insdl.guide.observed import likelihood, none_log_likelihood, nothing
from small_planner import small_experiment, small_planner


def _seen(number: int, time: float, *, batches: int = 1):  # type: ignore[no-untyped-def]
    planner, one = small_planner(), small_experiment(number)
    seen, found = nothing(planner, one.covariance), []
    for run in range(batches):
        for block in (0, 1):
            seen = seen.added(block, time, measured(planner, one, block, time, run=run, stream="belief"))
        found.append(seen)
    return planner, found


@pytest.mark.parametrize("number", [0, 1])
def test_evidence_is_the_mean_likelihood_over_the_prior(number: int) -> None:
    """By 20000 draws, of which enough count."""
    planner, (seen,) = _seen(number, 0.002)
    belief = updated(planner, beforehand(planner, n_particles=1000), seen)
    rng = np.random.default_rng(1)
    for name, particles in belief.particles.items():
        surrogate = planner.surrogates[name]
        points = rng.random((20000, len(planner.unknowns[name].names) - 2))
        logs = likelihood(planner, seen, error=surrogate.error, scale=_scale(planner)).log(surrogate(points))
        weights = np.exp(logs - logs.max())
        assert weights.sum() ** 2 / np.sum(weights**2) > 100
        assert particles.log_evidence == pytest.approx(logs.max() + np.log(weights.mean()), abs=0.4)
        mean = weights @ points / weights.sum()
        spread = np.sqrt(weights @ (points - mean) ** 2 / weights.sum())
        assert (np.abs(particles.weight @ particles.points - mean) < 0.45 * spread).all()
    assert belief.log_none == none_log_likelihood(planner, seen)


def test_a_measurement_in_parts_is_the_measurement() -> None:
    planner, found = _seen(0, 0.001, batches=4)
    parts = beforehand(planner, n_particles=800)
    for seen in found:
        parts = updated(planner, parts, seen)
    whole = updated(planner, beforehand(planner, n_particles=800, seed=5), found[-1])
    for name in whole.particles:
        assert parts.particles[name].log_evidence == pytest.approx(whole.particles[name].log_evidence, abs=1.0)
    assert parts.updates == 4


def test_probabilities_add_up_and_nothing_is_known_beforehand() -> None:
    belief = beforehand(small_planner(), n_particles=50)
    assert belief.probabilities == pytest.approx({"goodenough": 1 / 3, "dimer": 1 / 3, NONE: 1 / 3})
    assert all(one.effective == pytest.approx(50) for one in belief.particles.values())
    with pytest.raises(ValueError, match="n_particles must be at least 10, got 3"):
        beforehand(small_planner(), n_particles=3)


def test_the_same_seed_gives_the_same_belief() -> None:
    planner, (seen,) = _seen(1, 0.003)
    first, second = (updated(planner, beforehand(planner, n_particles=60, seed=4), seen) for _ in range(2))
    assert first.probabilities == second.probabilities


def _scale(planner) -> float:  # type: ignore[no-untyped-def]
    """What `updated` multiplies a surrogate's error with before anything is known."""
    return float(np.sqrt(planner.scale.low * planner.scale.high))
