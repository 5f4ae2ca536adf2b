"""The baseline beside every regressor: principal components of the images and a polynomial of degree three in them.

The number that a network has to beat: linear algebra on the same input, trained in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import numpy.typing as npt

_Reals = npt.NDArray[np.float64]
_Singles = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class PcaRegression:
    """A fitted regression from images to parameters.

    Attributes
    ----------
    pixel_mean, pixel_scale : (n_pixels,) float32. By which each pixel is standardised.
    components : (n_components, n_pixels) float32, orthonormal. component_scale : (n_components,) float32.
    coefficients : (n_terms, n_parameters) float64. degree : of the polynomial.
    error : (n_parameters,) float64. Root mean square error on a tenth of the images that was left out of the fit.
    """

    pixel_mean: _Singles
    pixel_scale: _Singles
    components: _Singles
    component_scale: _Singles
    coefficients: _Reals
    degree: int
    error: _Reals

    def predict(self, images: npt.NDArray[np.floating]) -> _Reals:
        """(n, n_parameters) float64. Parameters of images (n, ...)."""
        flat = np.asarray(images, dtype=np.float32).reshape(len(images), -1)
        if flat.shape[1] != len(self.pixel_mean):
            raise ValueError(f"images must have {len(self.pixel_mean)} pixels, got {flat.shape[1]}")
        scores = ((flat - self.pixel_mean) / self.pixel_scale) @ self.components.T / self.component_scale
        return np.asarray(_terms(scores, self.degree).astype(np.float64) @ self.coefficients)


def fit_pca_regression(
    images: npt.NDArray[np.floating],
    parameters: npt.ArrayLike,
    *,
    components: int = 24,
    degree: int = 3,
    ridges: tuple[float, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2),
) -> PcaRegression:
    """Principal components of standardised pixels, all their products up to a degree, and ridge regression.

    Parameters
    ----------
    images : (n, ...) float32. parameters : (n, n_parameters) float64.
    components : principal components kept. degree : of the polynomial: C(components + degree, degree) terms.
    ridges : penalties tried, relative to the number of images; the best on a tenth of the images is kept.

    Raises
    ------
    ValueError
        If the shapes do not fit or there are fewer than 20 images.
    """
    flat, wanted = np.asarray(images, dtype=np.float32).reshape(len(images), -1), np.asarray(parameters, np.float64)
    if len(flat) < 20 or wanted.ndim != 2 or len(wanted) != len(flat):
        raise ValueError(f"images and parameters must be at least 20 pairs, got {flat.shape} and {wanted.shape}")
    if not 1 <= components <= min(flat.shape) or degree < 1:
        raise ValueError(
            f"components must lie in 1 to {min(flat.shape)} and degree be positive, got {components} and {degree}"
        )
    mean, scale = flat.mean(axis=0), flat.std(axis=0)
    scale = np.where(scale > 1e-6 * max(float(scale.max()), 1e-30), scale, np.inf).astype(np.float32)
    standard = (flat - mean) / scale
    axes, spread = _principal(standard, components)
    terms = _terms(standard @ axes.T / spread, degree)
    held = np.arange(len(flat)) % 10 == 9
    centre = wanted.mean(axis=0)
    normal = (terms[~held].T @ terms[~held]).astype(np.float64)
    right = terms[~held].T.astype(np.float64) @ (wanted[~held] - centre)
    eigenvalues, basis = np.linalg.eigh(normal)
    turned = basis.T @ right
    best, found, error = np.inf, np.zeros(right.shape), np.zeros(wanted.shape[1])
    for ridge in ridges:
        coefficients = basis @ (turned / (np.maximum(eigenvalues, 0.0) + ridge * len(flat))[:, None])
        missed = terms[held].astype(np.float64) @ coefficients + centre - wanted[held]
        rms = np.sqrt(np.mean(missed**2, axis=0))
        score = float(np.sum((rms / np.maximum(wanted.std(axis=0), 1e-30)) ** 2))
        if score < best:
            best, found, error = score, coefficients, rms
    found[0] += centre  # the first term is the constant one
    return PcaRegression(mean, scale, axes, spread, found, degree, error)


def _principal(standard: _Singles, components: int) -> tuple[_Singles, _Singles]:
    """The first principal axes (k, n_pixels) of centred images (n, n_pixels), and the standard deviations along them (k,)."""
    if min(standard.shape) < 10 * components:
        _, values, axes = np.linalg.svd(standard, full_matrices=False)
    else:  # a few of thousands: Lanczos, from a fixed start
        from scipy.sparse.linalg import svds

        _, values, axes = svds(standard, k=components, v0=np.ones(min(standard.shape), dtype=np.float32))
        values, axes = values[::-1], axes[::-1]
    spread = np.maximum(values[:components], 1e-6) / np.sqrt(len(standard))
    return np.ascontiguousarray(axes[:components], dtype=np.float32), spread.astype(np.float32)


def _terms(scores: npt.NDArray[np.floating], degree: int) -> _Singles:
    """(n, n_terms) float32. One, and all products of up to ``degree`` columns of (n, n_components) scores."""
    columns = scores.astype(np.float32).T
    table = [np.ones((1, columns.shape[1]), dtype=np.float32), columns]
    for power in range(2, degree + 1):
        products = list(combinations_with_replacement(range(len(columns)), power))
        block = np.empty((len(products), columns.shape[1]), dtype=np.float32)
        for row, product in enumerate(products):
            np.prod(columns[list(product)], axis=0, out=block[row])
        table.append(block)
    return np.ascontiguousarray(np.concatenate(table).T)
