"""How well counts can tell parameters apart: Fisher information, Cramer-Rao bounds, and directions that are not there at all.

For counts of mean m(theta) with independent noise of variance v (v = m for Poisson counts),

    F_ij = sum over pixels of (dm / dtheta_i) (dm / dtheta_j) / v,

and no unbiased estimate has a covariance below F^-1 (e.g. Kay, Fundamentals of Statistical Signal Processing I, chapter 3).
Nuisances are parameters too; leaving them out of F^-1 afterwards is the Schur complement. A prior of variance s^2 adds 1/s^2
(van Trees' inequality for normal priors).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from insdl.learn.counting_likelihood import bin_backgrounds

_Reals = npt.NDArray[np.float64]
Expected = Callable[[npt.ArrayLike], npt.NDArray[Any]]
"""Expected images (n, ...) of rows of parameters (n, n_parameters), such as an `insdl.instrument.ForwardModel`."""

_NULL = 1e-9  # of the largest eigenvalue of the matrix with unit diagonal: derivatives are good to about 1e-6


@dataclass(frozen=True, eq=False)
class Jacobian:
    """Derivatives of an expected image.

    Attributes
    ----------
    mean : (...) float64. The image itself.
    derivative : (n, ...) float64. d mean / d parameter, units of the image over units of the parameter.
    error : (n,) float64. Estimated relative error of each derivative, as norms over all pixels.
    """

    mean: _Reals
    derivative: _Reals
    error: _Reals


def jacobian(expected: Expected, values: npt.ArrayLike, *, steps: npt.ArrayLike, tolerance: float = 0.01) -> Jacobian:
    """Derivatives of an image by central differences at two steps, with their error.

    D(h) = (m(theta + h) - m(theta - h)) / 2h is off by order h^2, so (4 D(h/2) - D(h)) / 3 is off by order h^4
    (Richardson), and its difference from D(h/2) bounds what is left. Where that is more than ``tolerance``, the step is divided
    by four, twice at most.

    Parameters
    ----------
    expected : see `Expected`.
    values : (n,) float64. Where.
    steps : (n,) float64, units of the parameters. Steps h to begin with: about a thousandth of the prior's width.
    tolerance : relative error of a derivative at which a smaller step is tried.

    Raises
    ------
    ValueError
        If an image is not finite at a step, such as beyond the edge of stability.
    """
    centre = np.asarray(values, dtype=np.float64)
    widths = np.array(steps, dtype=np.float64)
    if centre.ndim != 1 or widths.shape != centre.shape or not (widths > 0).all():
        raise ValueError(f"steps must be one positive number for each of {centre.shape} values, got {widths.tolist()}")
    mean: _Reals | None = None
    found: list[_Reals | None] = [None] * len(centre)
    error = np.full(len(centre), np.inf)
    for _ in range(3):
        open_ = [i for i in range(len(centre)) if error[i] > tolerance]
        if not open_:
            break
        rows = [] if mean is not None else [centre]
        for i in open_:
            rows += [centre + factor * widths[i] * np.eye(len(centre))[i] for factor in (1.0, -1.0, 0.5, -0.5)]
        images = np.asarray(expected(np.array(rows)), dtype=np.float64)
        if not np.isfinite(images).all():
            bad = int(np.flatnonzero(~np.isfinite(images.reshape(len(images), -1)).all(axis=1))[0])
            raise ValueError(f"the image is not finite at {rows[bad].tolist()}: start elsewhere, or with smaller steps")
        if mean is None:
            mean, images = images[0], images[1:]
        for i, (a, b, c, d) in zip(open_, images.reshape(-1, 4, *images.shape[1:]), strict=True):
            wide, narrow = (a - b) / (2.0 * widths[i]), (c - d) / widths[i]
            size = float(np.linalg.norm(narrow))
            off = float(np.linalg.norm(narrow - wide)) / 3.0 / size if size > 0 else 0.0
            if off < error[i]:
                found[i], error[i] = narrow + (narrow - wide) / 3.0, off
            widths[i] /= 4.0
    assert mean is not None
    derivative = np.array([one for one in found if one is not None]).reshape(len(centre), *mean.shape)
    return Jacobian(mean, derivative, error)


@dataclass(frozen=True, eq=False)
class Information:
    """A Fisher information matrix with the names of its parameters.

    Attributes
    ----------
    names : of the parameters. matrix : (n, n) float64, symmetric, 1 / (units of the parameters)^2.
    """

    names: tuple[str, ...]
    matrix: _Reals

    def __post_init__(self) -> None:
        n = len(self.names)
        if self.matrix.shape != (n, n) or not np.isfinite(self.matrix).all():
            raise ValueError(f"the matrix must be finite and of shape ({n}, {n}), got {self.matrix.shape}")

    def rows(self, names: Sequence[str]) -> list[int]:
        """Where these names stand."""
        unknown = [name for name in names if name not in self.names]
        if unknown:
            raise ValueError(f"the information is about {', '.join(self.names)}, got {unknown}")
        return [self.names.index(name) for name in names]


def fisher_information(derivative: npt.ArrayLike, variance: npt.ArrayLike, *, names: Sequence[str]) -> Information:
    """Fisher information of independent counts.

    Parameters
    ----------
    derivative : (n, ...) float64. d mean counts / d parameter.
    variance : (...) float64, counts^2, positive. The mean itself for Poisson counts. Leave out what was not measured.
    names : of the n parameters.

    Raises
    ------
    ValueError
        If the shapes do not fit or a variance is not positive.
    """
    slopes, noise = np.asarray(derivative, dtype=np.float64), np.asarray(variance, dtype=np.float64)
    if slopes.shape != (len(names), *noise.shape):
        raise ValueError(f"derivative must have shape {(len(names), *noise.shape)}, got {slopes.shape}")
    if not (noise > 0).all():
        raise ValueError(
            f"variance must be positive in every pixel, got {noise.min():.3g}: leave out unmeasured pixels"
        )
    flat = slopes.reshape(len(names), -1)
    return Information(tuple(names), (flat / noise.ravel()) @ flat.T)


def counting_information(
    jacobian: Jacobian,
    *,
    names: Sequence[str],
    measured: npt.NDArray[np.bool_],
    counts: float,
    background: npt.ArrayLike,
    radial: npt.ArrayLike | None = None,
) -> Information:
    """Information of a counted map of free scale, with one free background a bin.

    Parameters
    ----------
    jacobian : of the expected image, any unit; (n_bins, n_h, n_k).
    names : of its parameters.
    measured : (n_bins, n_h, n_k) bool.
    counts : signal counts of all measured pixels together.
    background : (n_bins,) or one number, 0 to below 1. The flat background's share of all counts of each bin.
    radial : (n_h, n_k) or None. A shape that every bin's background may have besides, see `bin_backgrounds`.

    Returns
    -------
    Information about ``names``; scale and backgrounds are free and already left out.
    """
    n_bins = len(jacobian.mean)
    share = np.broadcast_to(np.asarray(background, dtype=np.float64), (n_bins,))
    if not ((share >= 0) & (share < 1)).all() or not counts > 0:
        raise ValueError(f"counts must be positive and background in 0 to below 1, got {counts} and {share.tolist()}")
    factor = counts / float(jacobian.mean[measured].sum())
    signal = factor * jacobian.mean
    seen = np.maximum(measured.sum(axis=(1, 2)), 1)
    level = np.sum(signal, axis=(1, 2), where=measured) / seen * share / (1.0 - share)
    mean = (signal + level[:, None, None])[measured]
    shapes = bin_backgrounds(measured, radial=radial)[:, measured]
    slopes = np.concatenate([factor * jacobian.derivative[:, measured], signal[measured][None], shapes])
    free = ("log scale", *(f"background {i}" for i in range(len(shapes))))
    dark = mean <= 0
    if dark.any():  # nothing is expected there and nothing is counted: such pixels carry no noise and no slope
        slopes, mean = slopes[:, ~dark], mean[~dark]
    return eliminated(fisher_information(slopes, mean, names=(*names, *free)), names)


def eliminated(information: Information, names: Sequence[str]) -> Information:
    """Information about some parameters where the others are free: the Schur complement F_aa - F_ab F_bb^-1 F_ba."""
    kept = information.rows(names)
    rest = [i for i in range(len(information.names)) if i not in kept]
    full = information.matrix
    matrix = full[np.ix_(kept, kept)]
    if rest:
        cross = full[np.ix_(rest, kept)]
        size = np.sqrt(np.maximum(np.diag(full)[rest], 1e-300))
        scaled = np.linalg.pinv(full[np.ix_(rest, rest)] / np.outer(size, size), rcond=1e-12, hermitian=True)
        matrix = matrix - cross.T @ (scaled / np.outer(size, size)) @ cross
    return Information(tuple(names), 0.5 * (matrix + matrix.T))


def fixed(information: Information, names: Sequence[str]) -> Information:
    """Information about some parameters where the others are known."""
    rows = information.rows(names)
    return Information(tuple(names), information.matrix[np.ix_(rows, rows)])


def with_prior(information: Information, sigma: Mapping[str, float]) -> Information:
    """Information with what was known before: 1 / sigma^2 is added for each parameter named; infinite sigma adds nothing."""
    rows = information.rows(list(sigma))
    values = np.array(list(sigma.values()), dtype=np.float64)
    if not (values > 0).all():
        raise ValueError(f"a prior's sigma must be positive, got {dict(sigma)}")
    matrix = information.matrix.copy()
    matrix[rows, rows] += 1.0 / values**2
    return Information(information.names, matrix)


def cramer_rao_bound(information: Information) -> dict[str, float]:
    """The smallest standard deviation that an unbiased estimate of each parameter can have; infinite where nothing is known.

    Directions whose information is below 1e-9 of the largest, each parameter in the unit of its own bound with all others
    known, count as not there: derivatives are not known better.
    """
    size, values, vectors = _spectrum(information)
    present = values > _NULL * max(float(values.max()), 1e-300)
    inside = np.sum(vectors[:, present] ** 2 / values[present], axis=1)
    outside = np.sum(vectors[:, ~present] ** 2, axis=1)
    bound = np.where((outside > 1e-6) | (size <= 0), np.inf, np.sqrt(inside) / np.where(size > 0, size, 1.0))
    return dict(zip(information.names, map(float, bound), strict=True))


def covariance(information: Information) -> _Reals:
    """(n, n) float64. The inverse of the information.

    Raises
    ------
    ValueError
        If there is a null direction: add a prior first.
    """
    null = null_directions(information)
    if len(null):
        raise ValueError(
            f"nothing is known along {dict(zip(information.names, null[0].round(3), strict=True))}: add a prior first"
        )
    size, values, vectors = _spectrum(information)
    return np.asarray((vectors / values) @ vectors.T / np.outer(size, size))


def null_directions(information: Information) -> _Reals:
    """(k, n) float64, unit vectors in the parameters' units. Along these the counts do not change at all."""
    size, values, vectors = _spectrum(information)
    absent = values <= _NULL * max(float(values.max()), 1e-300)
    rows = (vectors[:, absent] / np.where(size > 0, size, 1.0)[:, None]).T
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300)
    return np.asarray(rows)


def _spectrum(information: Information) -> tuple[_Reals, _Reals, _Reals]:
    """Square roots of the diagonal, and eigenvalues (ascending) and eigenvectors of the matrix with unit diagonal."""
    size = np.sqrt(np.maximum(np.diag(information.matrix), 0.0))
    unit = np.where(size > 0, size, 1.0)
    values, vectors = np.linalg.eigh(information.matrix / np.outer(unit, unit))
    return size, values, vectors
