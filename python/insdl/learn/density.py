"""Is an image like those that a network was trained on? Distances in the network's features, and an alarm.

All scores are higher for stranger images. They fail closed: what is not a number, or an image without any contrast,
has an infinite score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from insdl.learn.networks import evaluation_mode
from insdl.learn.scores import check_labels

_Reals = npt.NDArray[np.float64]
Method = Literal["mahalanobis", "relative-mahalanobis", "nearest-neighbours"]
_CONTRAST = 1e-6  # of the largest pixel: below, an image is constant to float32 rounding
_SILENT = 1e-6  # of its largest value: a feature that varies less does not vary
_ROWS = 256  # images whose distances to all training images are held at a time


@dataclass(frozen=True, eq=False)
class FeatureDensity:
    """What training features were like; made by `fit_density`, used by `strangeness`.

    Attributes
    ----------
    method : see `fit_density`.
    centre, scale : (features,) float64. Taken off and divided by before anything else.
    means : (classes, features) float64. Class means of the scaled features.
    whitening : (features, features) float64. |x whitening|^2 is the Mahalanobis distance within a class.
    background : (features, features) float64. The same for all classes together, around 0.
    training : (n, features) float32. Scaled training features, for neighbours only.
    neighbours : which neighbour's distance is the score.
    shrinkage : (within classes, all together) that was used.
    """

    method: Method
    centre: _Reals
    scale: _Reals
    means: _Reals
    whitening: _Reals
    background: _Reals
    training: npt.NDArray[np.float32]
    neighbours: int
    shrinkage: tuple[float, float]


def layer_features(network: nn.Module, images: npt.ArrayLike, *, layers: Sequence[str], batch_size: int = 64) -> _Reals:
    """Outputs of named layers, side by side; maps are averaged over their pixels.

    Parameters
    ----------
    network : evaluated in evaluation mode and left as it was.
    images : (n, channels, height, width). One that is not finite gets features NaN.
    layers : names in `network.named_modules()`; of a `CellClassifier`, "cells" sees each cell by itself and "head.1"
        is what the classes are decided by.
    batch_size : images in one pass.

    Returns
    -------
    (n, features) float64.
    """
    batch = np.asarray(images, dtype=np.float32)
    if batch.ndim != 4:
        raise ValueError(f"images must have shape (n, channels, height, width), got {batch.shape}")
    if isinstance(layers, str) or not layers:
        raise ValueError(f"layers must be a list of names of layers, got {layers!r}")
    modules = dict(network.named_modules())
    missing = [name for name in layers if name not in modules or not name]
    if missing:
        raise ValueError(f"the network has no layer {missing[0]!r}, but {', '.join(filter(None, modules))}")
    finite: npt.NDArray[np.bool_] = np.asarray(np.isfinite(batch).all(axis=(1, 2, 3)))
    device = next(network.parameters()).device
    taken: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> None:
        taken[name] = output.mean(dim=tuple(range(2, output.ndim))) if output.ndim > 2 else output

    hooks = [
        modules[name].register_forward_hook(lambda _, __, output, name=name: keep(name, output)) for name in layers
    ]
    parts: list[_Reals] = []
    try:
        with evaluation_mode(network), torch.no_grad():
            for start in range(0, max(1, len(batch)), batch_size):
                rows = slice(start, start + batch_size)
                clean = np.where(finite[rows, None, None, None], batch[rows], np.float32(0))
                network(torch.from_numpy(clean).to(device))
                parts.append(torch.cat([taken[name] for name in layers], dim=1).double().cpu().numpy())
    finally:
        for hook in hooks:
            hook.remove()
    features = np.concatenate(parts)
    features[~finite] = np.nan
    return features


def has_contrast(images: npt.ArrayLike, *, used: npt.ArrayLike | None = None) -> npt.NDArray[np.bool_]:
    """Whether an image is finite, under its mask too, and its measured pixels are not all the same, (n,) bool.

    Parameters
    ----------
    images : (n, channels, height, width).
    used : bool, of the shape of one image or of all. Pixels that were measured; an image without one has no contrast.
    """
    batch = np.asarray(images)
    if batch.ndim != 4:
        raise ValueError(f"images must have shape (n, channels, height, width), got {batch.shape}")
    mask = np.ones(1, np.bool_) if used is None else np.asarray(used, dtype=np.bool_)
    try:
        measured = np.broadcast_to(mask, batch.shape)
    except ValueError:
        raise ValueError(f"used must have the shape of images, {batch.shape}, got {mask.shape}") from None
    contrast = np.zeros(len(batch), np.bool_)
    for number, (image, seen) in enumerate(zip(batch, measured, strict=True)):
        pixels = image[seen]
        if pixels.size and np.isfinite(image).all():
            contrast[number] = np.ptp(pixels) > _CONTRAST * np.abs(pixels).max()
    return contrast


def fit_density(
    features: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    method: Method = "mahalanobis",
    shrinkage: float | None = None,
    neighbours: int = 10,
) -> FeatureDensity:
    """What the features of training images are like.

    Each feature is centred and divided by its spread within the classes before anything else.

    Parameters
    ----------
    features : (n, features), finite. Of training images, see `layer_features`.
    labels : (n,) class indices; every class from 0 to the largest must occur.
    method : "mahalanobis": the smallest squared Mahalanobis distance to a class mean, with one covariance for all
        classes (Lee et al., NeurIPS 2018, arXiv:1807.03888). "relative-mahalanobis": that minus the distance under one
        Gaussian for all images together, which leaves out directions that do not tell classes apart (Ren et al.,
        arXiv:2106.09022); it can be negative. "nearest-neighbours": Euclidean distance to the k-th nearest training
        image (Sun et al., ICML 2022, arXiv:2204.06507, but not normalised to length 1, as a weak image is strange).
    shrinkage : 0 to 1, of both covariances towards a multiple of the unit matrix; None takes that of `ledoit_wolf`.
    neighbours : k of "nearest-neighbours".
    """
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2 or len(rows) < 2 or not rows.shape[1] or not np.isfinite(rows).all():
        raise ValueError(f"features must be finite and of shape (n, features) with n > 1, got shape {rows.shape}")
    true = check_labels(labels, count=len(rows), classes=len(rows))
    if method not in ("mahalanobis", "relative-mahalanobis", "nearest-neighbours"):
        raise ValueError(f"unknown method {method!r}")
    if shrinkage is not None and not 0.0 <= shrinkage <= 1.0:
        raise ValueError(f"shrinkage must lie between 0 and 1, got {shrinkage}")
    if method == "nearest-neighbours" and not 1 <= neighbours <= len(rows):
        raise ValueError(f"neighbours must lie between 1 and the number of images, {len(rows)}, got {neighbours}")
    per_class = np.bincount(true)
    if (per_class == 0).any():
        raise ValueError(
            f"labels must hold every class, class {int(np.argmin(per_class))} of {len(per_class)} is missing"
        )

    centre = rows.mean(axis=0)
    means = np.stack([rows[true == k].mean(axis=0) for k in range(len(per_class))])
    spread = np.sqrt(((rows - means[true]) ** 2).mean(axis=0))
    alive = spread > _SILENT * np.abs(rows).max(axis=0)
    if not alive.any():
        raise ValueError("features must vary within a class, got constant ones")
    # A feature that was silent in training is not left out: an image in which it speaks is strange.
    scale = np.where(alive, spread, 1e-3 * np.median(spread[alive]))
    scaled, scaled_means = (rows - centre) / scale, (means - centre) / scale
    whitening, within = _whitening(scaled - scaled_means[true], shrinkage)
    background, overall = _whitening(scaled, shrinkage)
    keeps = scaled if method == "nearest-neighbours" else scaled[:0]
    return FeatureDensity(
        method=method,
        centre=centre,
        scale=scale,
        means=scaled_means,
        whitening=whitening,
        background=background,
        training=keeps.astype(np.float32),
        neighbours=neighbours,
        shrinkage=(within, overall),
    )


def strangeness(density: FeatureDensity, features: npt.ArrayLike) -> _Reals:
    """How far features are from those of training, (n,) float64, higher for stranger images.

    Parameters
    ----------
    density : of the training features. features : (n, features). A row that is not finite scores infinity.
    """
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != len(density.centre):
        raise ValueError(f"features must have shape (n, {len(density.centre)}), got {rows.shape}")
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is strange
        scaled = (rows - density.centre) / density.scale
        if density.method == "nearest-neighbours":
            score = _neighbour_distance(scaled, density)
        else:
            own = density.means @ density.whitening
            distances = [((scaled @ density.whitening - mean) ** 2).sum(axis=1) for mean in own]
            score = np.min(distances, axis=0)
            if density.method == "relative-mahalanobis":
                score = score - ((scaled @ density.background) ** 2).sum(axis=1)
    score[~np.isfinite(rows).all(axis=1) | ~np.isfinite(score)] = np.inf
    return score


def image_strangeness(
    density: FeatureDensity,
    network: nn.Module,
    images: npt.ArrayLike,
    *,
    layers: Sequence[str],
    used: npt.ArrayLike | None = None,
    batch_size: int = 64,
) -> _Reals:
    """`strangeness` of images, (n,) float64; infinite where they are not finite or have no contrast.

    Parameters
    ----------
    density : fitted to `layer_features` of the same network and layers.
    images : (n, channels, height, width).
    used : as for `has_contrast`.
    """
    score = strangeness(density, layer_features(network, images, layers=layers, batch_size=batch_size))
    score[~has_contrast(images, used=used)] = np.inf
    return score


def ledoit_wolf(centred: npt.ArrayLike) -> float:
    """The shrinkage of a covariance towards mu times the unit matrix that comes closest to the true one.

    Ledoit and Wolf, J. Multivariate Anal. 88, 365 (2004): b^2 / d^2 with mu = tr S / p, d^2 = |S - mu 1|^2 and
    b^2 = min(d^2, sum_i |x_i x_i^T - S|^2 / n^2), |A|^2 the sum of squared entries over p.

    Parameters
    ----------
    centred : (n, p). Rows of mean 0.
    """
    x = np.asarray(centred, dtype=np.float64)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"centred must have shape (n, p), got {x.shape}")
    n, p = x.shape
    covariance = x.T @ x / n
    spread = float(((covariance - np.eye(p) * np.trace(covariance) / p) ** 2).sum())
    if spread == 0.0:
        return 0.0
    noise = float(((x**2).sum(axis=1) ** 2).sum() / n - (covariance**2).sum()) / n
    return float(min(noise, spread) / spread)


def _whitening(centred: _Reals, shrinkage: float | None) -> tuple[_Reals, float]:
    """A matrix W with W W^T the inverse of the shrunk covariance, and the shrinkage."""
    alpha = ledoit_wolf(centred) if shrinkage is None else shrinkage
    n, p = centred.shape
    covariance = centred.T @ centred / n
    shrunk = (1 - alpha) * covariance + alpha * np.eye(p) * np.trace(covariance) / p
    values, vectors = np.linalg.eigh(shrunk)
    # Without shrinkage, directions in which nothing varied would have no finite distance.
    whitening: _Reals = vectors / np.sqrt(np.maximum(values, 1e-10 * values[-1]))
    return whitening, float(alpha)


def _neighbour_distance(scaled: _Reals, density: FeatureDensity) -> _Reals:
    training = density.training.astype(np.float64)
    squares = (training**2).sum(axis=1)
    k = density.neighbours - 1
    parts = []
    for start in range(0, max(1, len(scaled)), _ROWS):
        rows = scaled[start : start + _ROWS]
        squared = (rows**2).sum(axis=1)[:, None] + squares - 2 * rows @ training.T
        parts.append(np.sqrt(np.maximum(np.partition(squared, k, axis=1)[:, k], 0.0)))
    return np.concatenate(parts)
