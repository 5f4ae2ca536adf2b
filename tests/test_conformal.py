"""Conformal sets: exact ranks, coverage over 1000 repetitions within binomial error, and words."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import betabinom, kstest

from insdl.learn.conformal import coverage, describe_set, finite_sample_rank, fit_conformal, label_sets

NAMES = ("goodenough", "dimer", "zener-polaron")


def _images(rng: np.random.Generator, n: int, *, shares: tuple[float, ...] = (1 / 3,) * 3) -> tuple[np.ndarray, ...]:
    """Probabilities of a badly calibrated classifier, without ties, and labels."""
    labels = rng.choice(3, size=n, p=shares)
    logits = 3 * (rng.normal(size=(n, 3)) + 1.2 * np.eye(3)[labels] * [0.3, 1.0, 2.0])
    rows = np.exp(logits - logits.max(axis=1, keepdims=True))
    return rows / rows.sum(axis=1, keepdims=True), labels


@pytest.mark.parametrize("miscoverage", ["0.05", "0.1", "0.01", "1/3"])
def test_rank_is_that_of_exact_arithmetic(miscoverage: str) -> None:
    exact = Fraction(miscoverage)
    for n in range(1, 400):
        assert finite_sample_rank(n, float(exact)) == math.ceil((n + 1) * (1 - exact))


@pytest.mark.parametrize(("n", "miscoverage"), [(50, 0.1), (99, 0.05), (20, 0.3)])
def test_marginal_coverage_over_1000_repetitions(n: int, miscoverage: float) -> None:
    """A calibration set and one new image, 1000 times: covered with P = k / (n + 1) exactly."""
    rng = np.random.default_rng(n)
    covered = 0
    for _ in range(1000):
        rows, labels = _images(rng, n + 1)
        sets = label_sets(rows[-1:], fit_conformal(rows[:-1], labels[:-1], miscoverage=miscoverage))
        covered += int(sets[0, labels[-1]])
    p = finite_sample_rank(n, miscoverage) / (n + 1)
    assert abs(covered - 1000 * p) < 4 * math.sqrt(1000 * p * (1 - p))
    assert p >= 1 - miscoverage


def test_coverage_of_many_images_is_beta_binomial() -> None:
    """Over calibration sets, the number covered of 200 new images follows BetaBinomial(200, k, n + 1 - k)."""
    n, new, rng = 60, 200, np.random.default_rng(3)
    numbers = []
    for _ in range(300):
        rows, labels = _images(rng, n + new)
        conformal = fit_conformal(rows[:n], labels[:n], miscoverage=0.2)
        numbers.append(new * coverage(label_sets(rows[n:], conformal), labels[n:]))
    rank = finite_sample_rank(n, 0.2)
    expected = betabinom(new, rank, n + 1 - rank)
    # Between the integers, so that the discrete distribution meets the test's assumptions on the safe side.
    assert kstest(np.array(numbers), lambda x: expected.cdf(np.floor(x + 0.5))).pvalue > 1e-3
    assert abs(np.mean(numbers) - expected.mean()) < 4 * expected.std() / math.sqrt(300)


def test_each_class_is_covered_where_that_was_asked_for() -> None:
    """The weak class 0 is missed too often by marginal sets, and as often as was asked for by class-conditional ones."""
    rng, missed = np.random.default_rng(4), {"marginal": [], "class-conditional": []}
    for _ in range(40):
        rows, labels = _images(rng, 1200, shares=(0.15, 0.35, 0.5))
        for guarantee, shares in missed.items():
            conformal = fit_conformal(rows[:600], labels[:600], miscoverage=0.1, guarantee=guarantee)
            sets, true = label_sets(rows[600:], conformal), labels[600:]
            shares.append([1 - coverage(sets[true == k], true[true == k]) for k in range(3)])
    assert np.mean(missed["marginal"], axis=0)[0] > 0.2
    by_class = np.mean(missed["class-conditional"], axis=0)
    error = np.std(missed["class-conditional"], axis=0, ddof=1) / math.sqrt(40)
    assert (by_class < 0.1 + 4 * error).all()
    assert (by_class > 0.1 - 2 / 90 - 4 * error).all()  # one image of the 90 of class 0 is the rank's granularity


def test_a_class_with_too_few_images_is_never_excluded() -> None:
    rows, labels = _images(np.random.default_rng(5), 60, shares=(0.1, 0.45, 0.45))
    conformal = fit_conformal(rows, labels, miscoverage=0.05, guarantee="class-conditional")
    assert conformal.n_images[0] < 19
    assert conformal.thresholds[0] == math.inf
    assert label_sets([[0.0, 0.0, 1.0]], conformal)[0, 0]


def test_ties_cover_more_never_less() -> None:
    rows = np.tile([0.6, 0.4], (100, 1))
    labels = np.repeat([0, 1], [97, 3])
    sets = label_sets(rows, fit_conformal(rows, labels, miscoverage=0.05))
    assert coverage(sets, labels) == 0.97
    assert sets.tolist() == [[True, False]] * 100


def test_sets_in_words() -> None:
    def words(*members: bool) -> str:
        return describe_set(members, NAMES, miscoverage=0.05)

    assert words(True, False, False) == "goodenough: every other class is excluded at 95 %"
    assert words(True, True, False).startswith("goodenough or dimer: cannot be told apart at 95 %")
    assert words(True, True, True).endswith("the image does not decide")
    assert "none of these" in words(False, False, False)


def test_bad_input_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="miscoverage must lie between 0 and 1, got 1"):
        finite_sample_rank(10, 1.0)
    rows, labels = _images(np.random.default_rng(0), 30)
    with pytest.raises(ValueError, match="'marginal' or 'class-conditional', got 'each'"):
        fit_conformal(rows, labels, guarantee="each")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must have the 3 classes of the calibration, got 2"):
        label_sets([[0.5, 0.5]], fit_conformal(rows, labels))
    with pytest.raises(ValueError, match="members must be 3 bool"):
        describe_set([1, 0, 0], NAMES, miscoverage=0.1)
    with pytest.raises(ValueError, match="sets must be bool of shape"):
        coverage(np.ones((2, 2)), [0, 1])
