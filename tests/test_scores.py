"""Grades of probabilities and scores: exact values, scikit-learn, closed forms, and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.metrics import log_loss as sklearn_log_loss

from insdl.learn.scores import auroc, brier_score, check_labels, check_probabilities, log_loss


def _probabilities(n: int = 300, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(classes), size=n), rng.integers(classes, size=n)


def test_log_loss_and_brier_score_equal_scikit_learn() -> None:
    rows, labels = _probabilities()
    assert log_loss(rows, labels) == pytest.approx(sklearn_log_loss(labels, rows, labels=range(4)), rel=1e-12)
    assert brier_score(rows, labels) == pytest.approx(
        brier_score_loss(labels, rows, labels=range(4), scale_by_half=False), rel=1e-12
    )


def test_log_loss_and_brier_score_by_hand() -> None:
    rows = [[1.0, 0.0], [0.25, 0.75]]
    assert log_loss(rows, [0, 1]) == pytest.approx(-0.5 * math.log(0.75))
    assert brier_score(rows, [0, 1]) == pytest.approx((0 + 2 * 0.25**2) / 2)
    assert brier_score([[0.0, 1.0]], [0]) == 2.0
    assert log_loss(rows, [1, 1]) == math.inf


@pytest.mark.parametrize("decimals", [0, 1, 8], ids=["many ties", "some ties", "no ties"])
def test_auroc_equals_scikit_learn_with_ties(decimals: int) -> None:
    rng = np.random.default_rng(1)
    low, high = rng.normal(size=200).round(decimals), rng.normal(0.7, 1.3, size=150).round(decimals)
    oracle = roc_auc_score(np.repeat([0, 1], [200, 150]), np.concatenate([low, high]))
    assert auroc(low, high).value == pytest.approx(oracle, abs=1e-12)


def test_auroc_by_hand() -> None:
    assert auroc([1.0], [1.0]).value == 0.5
    assert auroc([1.0, 2.0], [2.0, math.inf]).value == (1 + 0.5 + 1 + 1) / 4
    assert auroc([1.0, 2.0], [3.0, 4.0]) == (1.0, 0.0)
    assert auroc([3.0, 4.0], [1.0, 2.0]).value == 0.0


def test_auroc_of_two_gaussians_is_the_closed_form_within_its_error() -> None:
    """P(x < y) = Phi(d / sqrt 2) for unit normals a distance d apart; the errors of 400 trials are those predicted."""
    rng = np.random.default_rng(2)
    trials = [auroc(rng.normal(size=60), rng.normal(1.0, size=80)) for _ in range(400)]
    values, errors = np.array(trials).T
    expected = norm.cdf(1 / math.sqrt(2))
    assert abs(values.mean() - expected) < 4 * values.std() / 20  # 4 standard errors of the mean of 400
    assert errors.mean() == pytest.approx(values.std(ddof=1), rel=0.15)  # a spread of 400 is known to 3.5 %


def test_bad_input_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"must have shape \(n, classes\), got \(2,\)"):
        check_probabilities([0.5, 0.5])
    for row in ([0.7, 0.7], [1.5, -0.5], [math.nan, 0.5]):
        with pytest.raises(ValueError, match=r"not be negative and add up to 1, got .* in row 1"):
            check_probabilities([[0.5, 0.5], row])
    with pytest.raises(ValueError, match=r"labels must be 2 class indices, got shape \(3,\)"):
        check_labels([0, 1, 1], count=2, classes=2)
    with pytest.raises(ValueError, match="labels must be 2 class indices"):
        check_labels([0.0, 1.0], count=2, classes=2)
    with pytest.raises(ValueError, match="between 0 and 1, got -1 to 1"):
        check_labels([-1, 1], count=2, classes=2)
    with pytest.raises(ValueError, match="positive must not hold NaN, got one at 1"):
        auroc([0.0], [1.0, math.nan])
    with pytest.raises(ValueError, match="negative must be a list of at least one score"):
        auroc([], [1.0])
