"""What a network has to beat: logistic regression on one number a cell, and principal components with a polynomial.

Both are convex or linear, have no seed, and are fitted in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Literal

import numpy as np
import numpy.typing as npt

from insdl.learn.scores import check_labels

_Reals = npt.NDArray[np.float64]
_FULL_DECOMPOSITION = 400  # images or pixels up to which all components are found, and the first ones kept


@dataclass(frozen=True, eq=False)
class LogisticRegression:
    """Multinomial logistic regression on standardised features; see `fit_logistic`.

    Attributes
    ----------
    centre, scale : (features,) float64. Mean and spread of the training features; missing ones are put at the mean.
    weight : (classes, features) float64. intercept : (classes,) float64.
    penalty : of the weights.
    """

    centre: _Reals
    scale: _Reals
    weight: _Reals
    intercept: _Reals
    penalty: float


@dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """Directions of the largest variance.

    Attributes
    ----------
    mean : (features,) float64.
    directions : (components, features) float64. Orthonormal, by falling variance; the entry of largest size is positive.
    variance : (components,) float64. Along each, with n - 1.
    """

    mean: _Reals
    directions: _Reals
    variance: _Reals


@dataclass(frozen=True, eq=False)
class ComponentRegression:
    """Targets as a polynomial in principal components; see `fit_component_regression`.

    Attributes
    ----------
    components : the principal components, each scaled to variance 1 before it enters the polynomial.
    degree : of the polynomial.
    weight : (monomials, targets) float64. intercept : (targets,) float64.
    rmse : (targets,) float64. On the images that it was chosen by, or else fitted to; in the targets' units.
    """

    components: PrincipalComponents
    degree: int
    weight: _Reals
    intercept: _Reals
    rmse: _Reals


def cell_sums(images: npt.ArrayLike, *, used: npt.ArrayLike | None = None) -> _Reals:
    """One number a cell: the mean over its measured pixels; NaN for a cell without any.

    Parameters
    ----------
    images : (n, cells, height, width). Pixels that are not used may hold anything.
    used : bool, (cells, height, width) or of the images' shape. Measured pixels.

    Returns
    -------
    (n, cells) float64, in the images' unit.
    """
    batch = np.asarray(images, dtype=np.float64)
    if batch.ndim != 4:
        raise ValueError(f"images must have shape (n, cells, height, width), got {batch.shape}")
    mask = np.ones(batch.shape[1:], np.bool_) if used is None else np.asarray(used)
    if mask.dtype != np.bool_ or mask.shape not in (batch.shape, batch.shape[1:]):
        raise ValueError(
            f"used must be bool of shape {batch.shape[1:]} or {batch.shape}, got {mask.dtype} {mask.shape}"
        )
    total = np.where(mask, batch, 0.0).sum(axis=(2, 3))
    with np.errstate(invalid="ignore"):  # 0 / 0 of a cell that is missing
        means: _Reals = total / np.broadcast_to(mask, batch.shape).sum(axis=(2, 3))
    return means


def fit_logistic(
    features: npt.ArrayLike, labels: npt.ArrayLike, *, classes: int, penalty: float = 1.0
) -> LogisticRegression:
    """The weights of the lowest summed log loss plus penalty / 2 times their squared length, by L-BFGS.

    Parameters
    ----------
    features : (n, features). Standardised before; NaN is a missing value and counts as the mean of the others.
    labels : (n,) class indices. classes : how many there are.
    penalty : of standardised weights, above 0; the intercept is free.
    """
    from scipy.optimize import minimize

    rows = _matrix(features, missing="allowed")
    true = check_labels(labels, count=len(rows), classes=classes)
    if classes < 2:
        raise ValueError(f"classes must be at least 2, got {classes}")
    if len(np.unique(true)) < classes:
        raise ValueError(f"labels must hold every one of the {classes} classes, got {np.unique(true).tolist()}")
    if not (np.isfinite(penalty) and penalty > 0):
        raise ValueError(f"penalty must be positive and finite, got {penalty}")
    seen = np.isfinite(rows)
    if not seen.any(axis=0).all():
        raise ValueError(f"feature {int(np.argmin(seen.any(axis=0)))} is missing in every image")
    centre = np.nanmean(rows, axis=0)
    spread = np.nanstd(rows, axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    x = _standardised(rows, centre, scale)
    n, p = x.shape
    target = np.eye(classes)[true]

    def objective(flat: _Reals) -> tuple[float, _Reals]:
        weight, intercept = flat[: classes * p].reshape(classes, p), flat[classes * p :]
        logits = x @ weight.T + intercept
        shifted = logits - logits.max(axis=1, keepdims=True)
        norm = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        residual = np.exp(shifted - norm) - target
        loss = float((norm[:, 0] - shifted[np.arange(n), true]).sum()) + 0.5 * penalty * float((weight**2).sum())
        gradient = np.concatenate([(residual.T @ x + penalty * weight).ravel(), residual.sum(axis=0)])
        return loss / n, gradient / n  # per image, so that one tolerance fits all

    options = {"maxiter": 5000, "maxfun": 10000, "ftol": 0.0, "gtol": 1e-8}
    found = minimize(objective, np.zeros(classes * (p + 1)), jac=True, method="L-BFGS-B", options=options)
    gradient = float(np.abs(objective(found.x)[1]).max())
    if gradient > 1e-5:  # the line search may end at rounding before gtol is met
        raise RuntimeError(f"logistic regression did not converge: {found.message}, gradient {gradient:.2g}")
    intercept = found.x[classes * p :]
    weight = found.x[: classes * p].reshape(classes, p)
    return LogisticRegression(centre, scale, weight, intercept - intercept.mean(), penalty)


def logistic_logits(model: LogisticRegression, features: npt.ArrayLike) -> _Reals:
    """Class logits, (n, classes) float64, of features (n, features); NaN is a missing value, put at the mean."""
    rows = _matrix(features, missing="allowed")
    if rows.shape[1] != len(model.centre):
        raise ValueError(f"features must have shape (n, {len(model.centre)}), got {rows.shape}")
    logits: _Reals = _standardised(rows, model.centre, model.scale) @ model.weight.T + model.intercept
    return logits


def principal_components(features: npt.ArrayLike, *, components: int) -> PrincipalComponents:
    """The directions in which features vary most, of features (n, features) or images (n, ...)."""
    rows = _matrix(features)
    n, p = rows.shape
    if not 1 <= components <= min(n - 1, p):
        raise ValueError(
            f"components must lie between 1 and {min(n - 1, p)} for {n} images of {p} numbers, got {components}"
        )
    mean = rows.mean(axis=0)
    if min(n, p) <= max(_FULL_DECOMPOSITION, components + 1):
        _, values, directions = np.linalg.svd(rows - mean, full_matrices=False)
    else:
        from scipy.sparse.linalg import svds

        # The starting vector is fixed, so that the result is; its entries must not favour a symmetry.
        start = np.cos(np.arange(1.0, min(n, p) + 1))
        _, values, directions = svds(rows - mean, k=components, v0=start)
        values, directions = values[::-1], directions[::-1]
    values, directions = values[:components], directions[:components]
    largest = np.abs(directions).argmax(axis=1)
    directions = directions * np.sign(directions[np.arange(components), largest])[:, None]
    return PrincipalComponents(mean, directions, values**2 / (n - 1))


def project(components: PrincipalComponents, features: npt.ArrayLike) -> _Reals:
    """Coordinates along the components, (n, components) float64, of features (n, features) or images (n, ...)."""
    rows = _matrix(features)
    if rows.shape[1] != len(components.mean):
        raise ValueError(f"features must be {len(components.mean)} numbers an image, got {rows.shape[1]}")
    coordinates: _Reals = (rows - components.mean) @ components.directions.T
    return coordinates


def fit_component_regression(
    features: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    components: int,
    degree: Literal[1, 2] = 2,
    ridge: float = 1e-6,
) -> ComponentRegression:
    """Targets as a polynomial in the first principal components, by least squares.

    Parameters
    ----------
    features : (n, features) or images (n, ...), finite.
    targets : (n, targets). Parameter values, in any unit.
    components : number of principal components.
    degree : 1, or 2 with squares and products.
    ridge : added to the diagonal of the monomials' covariance, in units of their variance.
    """
    basis = principal_components(features, components=components)
    return _regression(basis, project(basis, features), targets, degree=degree, ridge=ridge)


def choose_component_regression(
    features: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    validation: tuple[npt.ArrayLike, npt.ArrayLike],
    components: Sequence[int] = (2, 4, 8, 16, 32),
    degrees: Sequence[Literal[1, 2]] = (1, 2),
    ridge: float = 1e-6,
) -> ComponentRegression:
    """The number of components and the degree of the lowest error on a validation set, which must not be reported.

    The error is the mean over targets of the squared error in units of the target's variance in training. Choices with
    as many monomials as training images are passed over.

    Parameters
    ----------
    features, targets, ridge : as for `fit_component_regression`.
    validation : (features, targets) of other images.
    components, degrees : what is tried.
    """
    goal, held_out = _matrix(targets), _matrix(validation[1])
    unit = goal.var(axis=0)
    if not (unit > 0).all():
        raise ValueError("targets must vary")
    widest = principal_components(features, components=max(components))
    inside, outside = project(widest, features), project(widest, validation[0])
    if held_out.shape != (len(outside), goal.shape[1]):
        raise ValueError(
            f"validation must have targets of shape ({len(outside)}, {goal.shape[1]}), got {held_out.shape}"
        )
    best: tuple[float, ComponentRegression] | None = None
    for count in sorted(components):
        basis = PrincipalComponents(widest.mean, widest.directions[:count], widest.variance[:count])
        for degree in degrees:
            if _monomial_count(count, degree) >= len(goal):
                continue
            model = _regression(basis, inside[:, :count], goal, degree=degree, ridge=ridge)
            squared = ((_polynomial(model, outside[:, :count]) - held_out) ** 2).mean(axis=0)
            error = float((squared / unit).mean())
            if best is None or error < best[0]:
                best = error, ComponentRegression(basis, degree, model.weight, model.intercept, np.sqrt(squared))
    if best is None:
        raise ValueError(f"{len(goal)} training images are too few for any of components {tuple(components)}")
    return best[1]


def regress(model: ComponentRegression, features: npt.ArrayLike) -> _Reals:
    """Targets, (n, targets) float64 in their own unit, of features (n, features) or images (n, ...)."""
    return _polynomial(model, project(model.components, features))


def _regression(
    basis: PrincipalComponents, coordinates: _Reals, targets: npt.ArrayLike, *, degree: int, ridge: float
) -> ComponentRegression:
    goal = _matrix(targets)
    if len(goal) != len(coordinates):
        raise ValueError(f"targets must be given for {len(coordinates)} images, got {len(goal)}")
    if degree not in (1, 2):
        raise ValueError(f"degree must be 1 or 2, got {degree}")
    if not (np.isfinite(ridge) and ridge >= 0):
        raise ValueError(f"ridge must not be negative, got {ridge}")
    x = _monomials(coordinates, basis.variance, degree)
    if x.shape[1] >= len(x):
        raise ValueError(f"{x.shape[1]} monomials need more than as many images, got {len(x)}")
    mean, centre = x.mean(axis=0), goal.mean(axis=0)
    covariance = (x - mean).T @ (x - mean) / len(x)
    damped = covariance + ridge * np.diag(np.diag(covariance))
    weight = np.linalg.lstsq(damped, (x - mean).T @ (goal - centre) / len(x), rcond=None)[0]
    fitted = ComponentRegression(basis, degree, weight, centre - mean @ weight, np.zeros(goal.shape[1]))
    rmse = np.sqrt(((_polynomial(fitted, coordinates) - goal) ** 2).mean(axis=0))
    return ComponentRegression(basis, degree, weight, fitted.intercept, rmse)


def _polynomial(model: ComponentRegression, coordinates: _Reals) -> _Reals:
    value: _Reals = _monomials(coordinates, model.components.variance, model.degree) @ model.weight + model.intercept
    return value


def _monomials(coordinates: _Reals, variance: _Reals, degree: int) -> _Reals:
    """(n, monomials): coordinates in units of their spread and, for degree 2, their products."""
    if not (variance > 0).all():
        raise ValueError("a principal component has no variance: ask for fewer components")
    unit = coordinates / np.sqrt(variance)
    if degree == 1:
        return unit
    first, second = np.array(list(combinations_with_replacement(range(unit.shape[1]), 2))).T
    return np.concatenate([unit, unit[:, first] * unit[:, second]], axis=1)


def _monomial_count(components: int, degree: int) -> int:
    return components if degree == 1 else components + components * (components + 1) // 2


def _standardised(rows: _Reals, centre: _Reals, scale: _Reals) -> _Reals:
    x = (rows - centre) / scale
    return np.where(np.isnan(x), 0.0, x)


def _matrix(given: npt.ArrayLike, *, missing: Literal["allowed", "refused"] = "refused") -> _Reals:
    """(n, numbers of each) float64."""
    rows = np.asarray(given, dtype=np.float64)
    if rows.ndim < 2 or 0 in rows.shape:
        raise ValueError(f"expected an array of shape (n, numbers), got {rows.shape}")
    bad = np.isinf(rows) if missing == "allowed" else ~np.isfinite(rows)
    if bad.any():
        raise ValueError(f"expected finite numbers, got {rows[bad].flat[0]}")
    return rows.reshape(len(rows), -1)
