"""Baselines: equal scikit-learn, recover what made the data, and treat masks and missing cells as they should."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression as SklearnLogistic
from sklearn.linear_model import Ridge
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from insdl.learn.baselines import (
    cell_sums,
    choose_component_regression,
    fit_component_regression,
    fit_logistic,
    logistic_logits,
    principal_components,
    project,
    regress,
)
from insdl.learn.calibration import calibrated


def _classes(n: int = 400, p: int = 5, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(classes, size=n)
    return 10 + 3 * rng.normal(size=(n, p)) + 2 * rng.normal(size=(classes, p))[labels], labels


@pytest.mark.parametrize("penalty", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("classes", [2, 3])
def test_logistic_regression_equals_scikit_learn(penalty: float, classes: int) -> None:
    """For two classes, scikit-learn's one weight vector w is w1 - w0, whose penalty is half as strong."""
    rows, labels = _classes(classes=classes)
    strength = 1 / penalty if classes > 2 else 2 / penalty
    oracle = SklearnLogistic(C=strength, tol=1e-10, max_iter=5000)
    standard = StandardScaler().fit_transform(rows)
    oracle.fit(standard, labels)
    model = fit_logistic(rows, labels, classes=classes, penalty=penalty)
    found = calibrated(logistic_logits(model, rows), temperature=1.0)
    np.testing.assert_allclose(found, oracle.predict_proba(standard), atol=1e-5)


def test_logistic_regression_recovers_the_weights_that_drew_the_labels() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(20_000, 3))
    weight, n = np.array([1.0, -2.0, 0.5]), 20_000
    labels = (rng.random(n) < 1 / (1 + np.exp(-(rows @ weight + 0.3)))).astype(int)
    model = fit_logistic(rows, labels, classes=2, penalty=1e-3)
    found = (model.weight[1] - model.weight[0]) / model.scale
    p = 1 / (1 + np.exp(-(rows @ weight + 0.3)))
    error = np.sqrt(np.diag(np.linalg.inv((rows * (p * (1 - p))[:, None]).T @ rows)))  # Fisher
    assert (np.abs(found - weight) < 4 * error).all()


def test_separable_classes_have_finite_weights() -> None:
    model = fit_logistic([[0.0], [1.0], [10.0], [11.0]], [0, 0, 1, 1], classes=2, penalty=0.1)
    assert np.isfinite(model.weight).all()
    assert logistic_logits(model, [[0.0], [11.0]]).argmax(axis=1).tolist() == [0, 1]


def test_cell_sums_see_only_measured_pixels() -> None:
    images = np.arange(2 * 2 * 2 * 2, dtype=np.float32).reshape(2, 2, 2, 2)
    used = np.ones((2, 2, 2), np.bool_)
    used[0, 0, 0] = False
    images[:, 0, 0, 0] = math.nan
    np.testing.assert_allclose(cell_sums(images, used=used), [[2.0, 5.5], [10.0, 13.5]])
    used[1] = False
    assert np.isnan(cell_sums(images, used=used)[:, 1]).all()
    each = np.stack([used, np.ones((2, 2, 2), np.bool_)])
    assert np.isnan(cell_sums(images, used=each)[0, 1])
    assert cell_sums(images, used=each)[1, 1] == 13.5


def test_a_missing_cell_says_nothing() -> None:
    """Its weight does not enter: the logits are those of an image whose cell is at the mean of the others."""
    rows, labels = _classes()
    rows[::7, 2] = math.nan
    model = fit_logistic(rows, labels, classes=3)
    np.testing.assert_allclose(model.centre[2], np.nanmean(rows[:, 2]))
    missing, mean = np.full((1, 5), 11.0), np.full((1, 5), 11.0)
    missing[0, 2], mean[0, 2] = math.nan, model.centre[2]
    np.testing.assert_allclose(logistic_logits(model, missing), logistic_logits(model, mean))


@pytest.mark.parametrize("shape", [(60, 30), (40, 900), (600, 500)], ids=["tall", "wide", "iterative"])
def test_principal_components_equal_scikit_learn(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(shape[0], 8)) * np.arange(8, 0, -1) @ rng.normal(size=(8, shape[1]))
    rows += 0.01 * rng.normal(size=shape)
    oracle = PCA(n_components=6, svd_solver="full").fit(rows)
    found = principal_components(rows, components=6)
    np.testing.assert_allclose(found.variance, oracle.explained_variance_, rtol=1e-8)
    np.testing.assert_allclose(np.abs(np.sum(found.directions * oracle.components_, axis=1)), 1.0, rtol=1e-10)
    np.testing.assert_allclose(project(found, rows).var(axis=0, ddof=1), found.variance, rtol=1e-8)
    np.testing.assert_array_equal(found.directions, principal_components(rows, components=6).directions)
    assert (found.directions[np.arange(6), np.abs(found.directions).argmax(axis=1)] > 0).all()


@pytest.mark.parametrize("degree", [1, 2])
def test_component_regression_equals_scikit_learn(degree: int) -> None:
    rng = np.random.default_rng(3)
    rows, targets = rng.normal(size=(200, 12)), rng.normal(size=(200, 2))
    model = fit_component_regression(rows, targets, components=4, degree=degree, ridge=0.1)
    unit = PCA(n_components=4, whiten=True).fit_transform(rows)
    monomials = PolynomialFeatures(degree, include_bias=False).fit_transform(unit)
    scaled = StandardScaler().fit_transform(monomials)  # our ridge is in units of each monomial's variance
    oracle = Ridge(alpha=0.1 * 200).fit(scaled, targets).predict(scaled)
    np.testing.assert_allclose(regress(model, rows), oracle, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(model.rmse, np.sqrt(((oracle - targets) ** 2).mean(axis=0)))


def test_a_parabola_is_found_exactly_and_a_line_is_not_enough() -> None:
    rng = np.random.default_rng(4)
    hidden = rng.normal(size=(300, 2))
    images = (hidden @ rng.normal(size=(2, 48))).reshape(300, 3, 4, 4)
    targets = np.stack([1 + hidden[:, 0] ** 2 - hidden[:, 0] * hidden[:, 1], 5 * hidden[:, 1]], axis=1)
    fitted = fit_component_regression(images[:200], targets[:200], components=2, ridge=0.0)
    np.testing.assert_allclose(regress(fitted, images[200:]), targets[200:], atol=1e-9)
    validation = (images[100:200], targets[100:200])
    chosen = choose_component_regression(images[:100], targets[:100], validation=validation, components=(1, 2))
    assert (chosen.degree, len(chosen.components.variance)) == (2, 2)
    np.testing.assert_allclose(regress(chosen, images[200:]), targets[200:], atol=1e-4)
    np.testing.assert_allclose(
        chosen.rmse, np.sqrt(((regress(chosen, validation[0]) - validation[1]) ** 2).mean(axis=0)), rtol=1e-6, atol=1e-9
    )


def test_bad_input_is_refused_in_words() -> None:
    rows, labels = _classes(n=20)
    with pytest.raises(ValueError, match=r"labels must hold every one of the 4 classes, got \[0, 1, 2\]"):
        fit_logistic(rows, labels, classes=4)
    with pytest.raises(ValueError, match="penalty must be positive and finite, got 0"):
        fit_logistic(rows, labels, classes=3, penalty=0.0)
    hole = rows.copy()
    hole[:, 1] = math.nan
    with pytest.raises(ValueError, match="feature 1 is missing in every image"):
        fit_logistic(hole, labels, classes=3)
    with pytest.raises(ValueError, match=r"features must have shape \(n, 5\), got \(20, 4\)"):
        logistic_logits(fit_logistic(rows, labels, classes=3), rows[:, :4])
    with pytest.raises(ValueError, match="expected finite numbers, got nan"):
        principal_components(hole, components=2)
    with pytest.raises(ValueError, match="components must lie between 1 and 5 for 20 images of 5 numbers, got 6"):
        principal_components(rows, components=6)
    with pytest.raises(ValueError, match="20 monomials need more than as many images, got 20"):
        fit_component_regression(rows, rows[:, :1], components=5)
    with pytest.raises(ValueError, match="degree must be 1 or 2, got 3"):
        fit_component_regression(rows, rows[:, :1], components=2, degree=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"validation must have targets of shape \(20, 1\), got \(20, 2\)"):
        choose_component_regression(rows, rows[:, :1], validation=(rows, rows[:, :2]), components=(2,))
    with pytest.raises(ValueError, match="used must be bool of shape"):
        cell_sums(np.ones((2, 3, 4, 4)), used=np.ones((4, 4), np.bool_))
