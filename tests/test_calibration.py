"""Temperature scaling: recovers a known temperature, finds the minimum, and does not believe a small perfect score."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from insdl.learn.calibration import TemperatureScaling, calibrated, ensemble_logits, fit_temperature
from insdl.learn.scores import log_loss


def _drawn(n: int, *, classes: int = 3, spread: float = 1.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from their softmax: calibrated at temperature 1."""
    rng = np.random.default_rng(seed)
    logits = spread * rng.normal(size=(n, classes))
    cumulative = np.cumsum(calibrated(logits, temperature=1.0), axis=1)
    return logits, np.minimum((rng.random((n, 1)) > cumulative).sum(axis=1), classes - 1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("targets", ["smoothed", "hard"])
def test_a_known_temperature_is_recovered_within_its_error(temperature: float, targets: str) -> None:
    """(found - true) / error of 60 trials has mean 0 and width 1: mean within 4/sqrt(60), width within 4 sigma of 1."""
    pulls = []
    for seed in range(60):
        logits, labels = _drawn(2000, seed=seed)
        found = fit_temperature(temperature * logits, labels, targets=targets)
        pulls.append((found.temperature - temperature) / found.error)
    assert abs(np.mean(pulls)) < 4 / math.sqrt(60)
    assert abs(np.std(pulls, ddof=1) - 1) < 4 / math.sqrt(2 * 59)


def test_it_is_the_minimum_of_the_log_loss() -> None:
    logits, labels = _drawn(500, seed=1)

    def loss(temperature: float) -> float:
        return log_loss(calibrated(2.5 * logits, temperature=temperature), labels)

    found = fit_temperature(2.5 * logits, labels, targets="hard")
    oracle = minimize_scalar(loss, bounds=(0.1, 10), method="bounded", options={"xatol": 1e-10})
    # A minimum found from values is good to the root of rounding; the root of the derivative to rounding.
    assert found.temperature == pytest.approx(oracle.x, rel=1e-6)
    assert found.loss_after == pytest.approx(loss(found.temperature), abs=1e-14)
    assert found.loss_before == pytest.approx(loss(1.0), abs=1e-14)
    assert found.n_images == 500
    h = 1e-3
    inverse = 1 / found.temperature
    curvature = (loss(1 / (inverse + h)) - 2 * loss(1 / inverse) + loss(1 / (inverse - h))) / h**2
    assert found.error == pytest.approx(found.temperature**2 / math.sqrt(500 * curvature), rel=1e-4)


def test_it_equals_lbfgs_with_smoothed_targets() -> None:
    """Targets written out image by image, and torch for the optimisation."""
    logits, labels = _drawn(300, seed=2)
    count = np.bincount(labels)
    targets = np.array([[(count[k] + 1 if j == k else 1) / (count[k] + 3) for j in range(3)] for k in labels])
    z, t = torch.from_numpy(4 * logits), torch.from_numpy(targets)
    inverse = torch.ones(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([inverse], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-15)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(inverse * z, t)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert fit_temperature(4 * logits, labels).temperature == pytest.approx(1 / inverse.item(), rel=1e-8)


def test_no_mistakes_allow_no_certainty() -> None:
    """Without a mistake among n images of each class, no more than (n + 1) / (n + 2) is claimed on average."""
    labels = np.repeat([0, 1], 50)
    logits = np.where(np.eye(2)[labels] > 0, 1.0, -1.0)
    found = fit_temperature(logits, labels)
    claimed = calibrated(logits, temperature=found.temperature).max(axis=1)
    np.testing.assert_allclose(claimed, 51 / 52, rtol=1e-9)
    with pytest.raises(ValueError, match="no mistake among 100 held-out images"):
        fit_temperature(logits, labels, targets="hard")


def test_logits_that_say_nothing_are_refused() -> None:
    logits, labels = _drawn(400, seed=3)
    with pytest.raises(ValueError, match="say nothing about the labels"):
        fit_temperature(-logits, labels)
    with pytest.raises(ValueError, match="say nothing about the labels"):
        fit_temperature(np.zeros((4, 2)), [0, 1, 0, 1])


def test_an_ensemble_is_the_mean_of_its_members() -> None:
    members = 5 * np.random.default_rng(0).normal(size=(4, 7, 3))
    mean = np.mean([calibrated(member, temperature=1.0) for member in members], axis=0)
    np.testing.assert_allclose(calibrated(ensemble_logits(members), temperature=1.0), mean, rtol=1e-12)
    np.testing.assert_allclose(
        calibrated(ensemble_logits(members[:1]), temperature=2.0), calibrated(members[0], temperature=2.0)
    )
    huge = ensemble_logits(1e5 * members)  # probabilities underflow, their logs do not
    assert np.isfinite(huge).all()


def test_the_average_of_calibrated_members_is_not_calibrated_and_scaling_mends_it() -> None:
    """Members that each see part of the evidence: the mean of their probabilities is not sure enough."""
    rng = np.random.default_rng(4)
    labels = rng.integers(2, size=4000)
    evidence = rng.normal(2 * labels - 1.0, 1.5, size=(5, 4000))
    logit = 2 * evidence / 1.5**2  # log-likelihood ratio of each: calibrated by construction
    members = np.stack([np.zeros_like(logit), logit], axis=-1)
    alone = fit_temperature(members[0], labels)
    assert abs(alone.temperature - 1) < 4 * alone.error
    together = fit_temperature(ensemble_logits(members), labels)
    assert together.temperature < 1 - 10 * together.error
    assert together.loss_after < together.loss_before


def test_order_stays_and_shifts_do_not_matter() -> None:
    logits, labels = _drawn(200, seed=5)
    shifted = logits + np.random.default_rng(0).normal(size=(200, 1))
    assert fit_temperature(shifted, labels).temperature == pytest.approx(fit_temperature(logits, labels).temperature)
    for temperature in (0.1, 1.0, 10.0):
        scaled = calibrated(logits, temperature=temperature)
        np.testing.assert_array_equal(scaled.argsort(axis=1), logits.argsort(axis=1))
        np.testing.assert_allclose(scaled.sum(axis=1), 1.0)


def test_bad_input_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"shape \(n, classes\) with two classes at least, got \(3, 1\)"):
        calibrated(np.zeros((3, 1)), temperature=1.0)
    with pytest.raises(ValueError, match="temperature must be positive and finite, got 0"):
        calibrated([[0.0, 1.0]], temperature=0.0)
    with pytest.raises(ValueError, match="temperature must be positive and finite, got nan"):
        TemperatureScaling(math.nan, 0.1, 1.0, 1.0, 5)
    with pytest.raises(ValueError, match="logits must be finite"):
        fit_temperature([[0.0, math.inf]], [0])
    with pytest.raises(ValueError, match=r"shape \(members, n, classes\), got \(2, 2\)"):
        ensemble_logits(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="'smoothed' or 'hard', got 'soft'"):
        fit_temperature([[0.0, 1.0]], [0], targets="soft")  # type: ignore[arg-type]
