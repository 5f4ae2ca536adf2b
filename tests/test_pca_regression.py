"""The baseline: exact for what it can express, and scikit-learn's answer."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.learn.pca_regression import fit_pca_regression


def images(strengths, rng, noise):
    """Images that are sums of two patterns."""
    patterns = np.random.default_rng(9).standard_normal((2, 6, 6))
    return np.einsum("nk,kij->nij", strengths, patterns) + noise * rng.standard_normal((len(strengths), 6, 6))


def cubic(strengths):
    a, b = strengths.T
    return np.stack([a + 0.3 * b**3, a * b - 0.2 * a**2 * b], axis=1)


def test_it_finds_what_is_a_cubic_polynomial_of_the_components():
    rng = np.random.default_rng(0)
    strengths = rng.uniform(-1.0, 1.0, (600, 2))
    data = images(strengths, rng, 1e-5).astype(np.float32)
    found = fit_pca_regression(data, cubic(strengths), components=2)
    unseen = rng.uniform(-1.0, 1.0, (200, 2))
    error = found.predict(images(unseen, rng, 1e-5)) - cubic(unseen)
    assert np.abs(error).max() < 1e-3  # single precision
    assert np.sqrt(np.mean(error**2, axis=0)) == pytest.approx(found.error, rel=0.6)
    assert (fit_pca_regression(data, cubic(strengths), components=2, degree=1).error > 0.03).all()


def test_it_is_what_scikit_learn_fits():
    sklearn = pytest.importorskip("sklearn")
    from sklearn.decomposition import PCA
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    assert sklearn
    rng = np.random.default_rng(1)
    strengths = rng.uniform(-1.0, 1.0, (500, 2))
    parameters, data = cubic(strengths), images(strengths, rng, 0.05).astype(np.float32)
    own = fit_pca_regression(data, parameters, components=4, ridges=(1e-8,))
    # The tenth part that chooses the penalty is left out of the polynomial's fit, not of the components.
    flat, kept = data.reshape(500, -1).astype(np.float64), np.arange(500) % 10 != 9
    scores = make_pipeline(StandardScaler(), PCA(4, whiten=True)).fit(flat)
    theirs = make_pipeline(PolynomialFeatures(3), Ridge(alpha=1e-6)).fit(scores.transform(flat[kept]), parameters[kept])
    assert own.predict(data) == pytest.approx(theirs.predict(scores.transform(flat)), abs=2e-3)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="at least 20 pairs"):
        fit_pca_regression(np.zeros((5, 3)), np.zeros((5, 1)))
    with pytest.raises(ValueError, match="components must lie in"):
        fit_pca_regression(np.zeros((50, 3)), np.zeros((50, 1)), components=9)
    rng = np.random.default_rng(2)
    fitted = fit_pca_regression(rng.random((50, 2, 2)), rng.random((50, 1)), components=2)
    with pytest.raises(ValueError, match="images must have 4 pixels"):
        fitted.predict(np.zeros((1, 5)))
