"""Images as points: PCA and t-SNE of what a layer makes of them, and the simulated neighbours of a measured image.

t-SNE (van der Maaten and Hinton, J. Mach. Learn. Res. 9, 2579 (2008)) by openTSNE (Policar, Strazar and Zupan, J. Stat.
Softw. 109, 3 (2024)), which can place a new point into an embedding without moving it: a measured image is laid among
the simulated ones and does not help to arrange them. Distances in a t-SNE plane mean little: neighbours are looked for
among the vectors themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

_Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pca:
    """Principal components of vectors.

    Attributes
    ----------
    mean : (m,) float64.
    components : (k, m) float64. Orthonormal, by falling variance; the largest entry of each is positive.
    variance : (k,) float64. Variance (divided by n - 1) along each.
    share : (k,) float64. Of the total variance.
    points : (n, k) float64. The vectors, projected.
    """

    mean: _Reals
    components: _Reals
    variance: _Reals
    share: _Reals
    points: _Reals

    def place(self, vectors: npt.ArrayLike) -> _Reals:
        """Other vectors, (n, m), projected onto the same components: (n, k)."""
        return (_vectors(vectors, width=len(self.mean)) - self.mean) @ self.components.T


@dataclass(frozen=True, eq=False)
class Tsne:
    """A t-SNE embedding of vectors.

    Attributes
    ----------
    points : (n, 2) float64. The vectors in the plane; the axes have no unit.
    perplexity : float. About how many neighbours each point has.
    """

    points: _Reals
    perplexity: float
    _pca: Pca
    _embedding: Any

    def place(self, vectors: npt.ArrayLike, *, perplexity: float = 5.0) -> _Reals:
        """Other vectors, (n, m), laid into the embedding, (n, 2), each by itself; the embedding stays as it is."""
        rows = self._pca.place(vectors)
        placed = [
            np.asarray(self._embedding.transform(row[None], perplexity=min(perplexity, (len(self.points) - 1) / 3)))[0]
            for row in rows
        ]
        return np.array(placed, dtype=np.float64).reshape(-1, 2)


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest of a set of vectors to each of some others.

    Attributes
    ----------
    indices : (n, count) int64. The nearest first.
    distance : (n, count) float64. In standard deviations along the principal directions kept.
    typicality : (n,) float64. Share of the set whose own nearest neighbour is at least as far away: near 0, the image is
        unlike every one of the set, and what a network says about it is extrapolation.
    """

    indices: npt.NDArray[np.int64]
    distance: _Reals
    typicality: _Reals


def pca(vectors: npt.ArrayLike, *, components: int = 2) -> Pca:
    """Principal components by singular values of the centred vectors, (n, m)."""
    rows = _vectors(vectors)
    n, m = rows.shape
    if n < 2 or not 1 <= components <= min(n - 1, m):
        raise ValueError(
            f"components must lie in 1 to {min(n - 1, m)} for {n} vectors of {m} numbers, got {components}"
        )
    mean = rows.mean(axis=0)
    _, singular, axes = np.linalg.svd(rows - mean, full_matrices=False)
    found = axes[:components]
    found = found * np.where(found[np.arange(components), np.abs(found).argmax(axis=1)] < 0, -1.0, 1.0)[:, None]
    variance = singular**2 / (n - 1)
    total = max(float(variance.sum()), 1e-300)
    return Pca(mean, found, variance[:components], variance[:components] / total, (rows - mean) @ found.T)


def tsne(
    vectors: npt.ArrayLike,
    *,
    perplexity: float = 30.0,
    components: int = 50,
    seed: int = 0,
    threads: int = 1,
) -> Tsne:
    """t-SNE of vectors in a plane, started from their principal components. Needs openTSNE (`insdl[explain]`).

    Parameters
    ----------
    vectors : (n, m), n at least 10. `insdl.explain.activations.layer_vectors` of simulated images, for instance.
    perplexity : about how many neighbours count; at most (n - 1) / 3.
    components : principal components to keep before; what is left out is mostly noise.
    seed : the same seed, vectors and number of threads give the same points.
    """
    from openTSNE import TSNE

    rows = _vectors(vectors)
    n = len(rows)
    if n < 10 or not 1 <= perplexity <= (n - 1) / 3:
        raise ValueError(f"perplexity must lie in 1 to {(n - 1) / 3:g} for {n} vectors (at least 10), got {perplexity}")
    reduced = pca(rows, components=min(components, n - 1, rows.shape[1]))
    exact: Literal["exact", "auto"] = "exact" if n <= 3000 else "auto"
    engine = TSNE(
        perplexity=perplexity, n_jobs=threads, random_state=seed, initialization="pca", neighbors=exact,
        negative_gradient_method="bh",
    )  # fmt: skip
    embedding = engine.fit(reduced.points)
    return Tsne(np.array(embedding, dtype=np.float64), perplexity, reduced, embedding)


def nearest(vectors: npt.ArrayLike, others: npt.ArrayLike, *, count: int = 5, components: int = 20) -> Neighbours:
    """The nearest of ``vectors`` (simulated images, say) to each of ``others`` (a measured one).

    Distances are Euclidean along the leading principal components of ``vectors``, each divided by its standard
    deviation (Mahalanobis distance in that space): no component counts more because its filters are louder.

    Parameters
    ----------
    vectors : (n, m). others : (k, m).
    count : neighbours to return, at most n - 1.
    components : principal components to keep, at most; those without variance are left out.
    """
    rows = _vectors(vectors)
    given = _vectors(others, width=rows.shape[1])
    if not 1 <= count < len(rows):
        raise ValueError(f"count must lie in 1 to {len(rows) - 1}, got {count}")
    found = pca(rows, components=max(1, min(components, len(rows) - 1, rows.shape[1])))
    kept = found.variance > 1e-12 * max(float(found.variance[0]), 1e-300)
    scale = np.sqrt(found.variance[kept])
    points, places = found.points[:, kept] / scale, found.place(given)[:, kept] / scale
    distance = _distances(places, points)
    order = np.argsort(distance, axis=1, kind="stable")[:, :count]
    own = _distances(points, points)
    np.fill_diagonal(own, np.inf)
    usual = own.min(axis=1)
    shortest = distance.min(axis=1)
    typicality = (usual[None, :] >= shortest[:, None]).mean(axis=1)
    return Neighbours(order.astype(np.int64), np.take_along_axis(distance, order, axis=1), typicality)


def _distances(a: _Reals, b: _Reals) -> _Reals:
    square = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    distance: _Reals = np.sqrt(np.maximum(square, 0.0))
    return distance


def _vectors(vectors: npt.ArrayLike, *, width: int | None = None) -> _Reals:
    rows = np.asarray(vectors, dtype=np.float64)
    if rows.ndim != 2 or (width is not None and rows.shape[1] != width):
        raise ValueError(f"vectors must have shape (n, {'m' if width is None else width}), got {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError("vectors must be finite")
    return rows
