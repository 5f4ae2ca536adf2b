"""PCA against scikit-learn, neighbours against a search by hand, t-SNE by what an embedding must keep."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from insdl.explain.embedding import nearest, pca, tsne


def _clouds(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three clouds of 30 points in 8 dimensions, far apart, and which each point is of."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), 30)
    return rng.normal(size=(90, 8)) + 12 * np.eye(8)[labels], labels


def test_pca_equals_scikit_learn() -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 6)) * np.array([5, 3, 2, 1, 0.5, 0.1]) + 7
    found, oracle = pca(vectors, components=3), PCA(n_components=3, svd_solver="full").fit(vectors)
    signs = np.sign((found.components * oracle.components_).sum(axis=1))
    np.testing.assert_allclose(found.components, oracle.components_ * signs[:, None], atol=1e-10)
    np.testing.assert_allclose(found.variance, oracle.explained_variance_)
    np.testing.assert_allclose(found.share, oracle.explained_variance_ratio_)
    np.testing.assert_allclose(found.points, oracle.transform(vectors) * signs, atol=1e-9)
    np.testing.assert_allclose(found.place(vectors[:5]), found.points[:5], atol=1e-12)
    assert (found.components[np.arange(3), np.abs(found.components).argmax(axis=1)] > 0).all()


def test_neighbours_are_those_of_a_search_by_hand() -> None:
    rng = np.random.default_rng(1)
    vectors, others = rng.normal(size=(50, 4)) * [9, 1, 1, 0.1], rng.normal(size=(3, 4))
    found = nearest(vectors, others, count=4, components=4)
    inverse = np.linalg.inv(np.cov(vectors.T))
    for row, other in enumerate(others):
        distance = np.sqrt([(v - other) @ inverse @ (v - other) for v in vectors])
        assert found.indices[row].tolist() == np.argsort(distance)[:4].tolist()
        np.testing.assert_allclose(found.distance[row], np.sort(distance)[:4], rtol=1e-8)


def test_typicality_tells_strangers() -> None:
    """A point of the cloud, one of its kind, and one far outside; ties count as at least as far."""
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(400, 3))
    found = nearest(vectors, np.stack([vectors[7], [0.0, 0.0, 0.0], [30.0, 0.0, 0.0]]), count=1, components=3)
    assert found.indices[0, 0] == 7
    assert found.typicality[0] == 1.0
    assert found.typicality[1] > 0.2
    assert found.typicality[2] == 0.0


def test_constant_directions_do_no_harm() -> None:
    vectors = np.zeros((20, 3))
    vectors[:, 0] = np.arange(20.0)
    found = nearest(vectors, [[4.2, 0.0, 0.0]], count=2)
    assert found.indices.tolist() == [[4, 5]]
    assert np.isfinite(found.distance).all()


def test_tsne_keeps_clouds_apart_and_places_new_points_among_their_kin() -> None:
    pytest.importorskip("openTSNE", reason="t-SNE needs openTSNE: pip install 'insdl[explain]'")
    vectors, labels = _clouds()
    found = tsne(vectors, perplexity=10, seed=1)
    distance = np.linalg.norm(found.points[:, None] - found.points[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (labels[distance.argmin(axis=1)] == labels).all()
    before = found.points.copy()
    fresh, kin = _clouds(seed=5)
    placed = found.place(fresh[::10])
    closest = np.linalg.norm(placed[:, None] - found.points[None], axis=2).argmin(axis=1)
    assert (labels[closest] == kin[::10]).all()
    np.testing.assert_array_equal(found.points, before)
    np.testing.assert_allclose(found.place(fresh[30:31])[0], placed[3], atol=1e-9)  # alone or in company
    np.testing.assert_array_equal(tsne(vectors, perplexity=10, seed=1).points, found.points)


def test_wrong_calls_are_refused() -> None:
    vectors = np.random.default_rng(0).normal(size=(12, 4))
    with pytest.raises(ValueError, match="components must lie in 1 to 4 for 12 vectors of 4 numbers, got 5"):
        pca(vectors, components=5)
    with pytest.raises(ValueError, match=r"vectors must have shape \(n, m\), got \(4,\)"):
        pca(vectors[0])
    with pytest.raises(ValueError, match="vectors must be finite"):
        pca(np.full((4, 3), np.nan))
    with pytest.raises(ValueError, match=r"vectors must have shape \(n, 4\), got \(1, 3\)"):
        nearest(vectors, np.zeros((1, 3)))
    with pytest.raises(ValueError, match="count must lie in 1 to 11"):
        nearest(vectors, vectors, count=12)
    pytest.importorskip("openTSNE", reason="t-SNE needs openTSNE: pip install 'insdl[explain]'")
    with pytest.raises(ValueError, match=r"perplexity must lie in 1 to 3.66667 for 12 vectors"):
        tsne(vectors, perplexity=5)
