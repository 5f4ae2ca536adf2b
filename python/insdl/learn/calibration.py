"""Temperature scaling: how sure a classifier may be, learnt from images that it was not trained on.

Guo et al., ICML 2017 (arXiv:1706.04599): all logits are divided by one number, the temperature, chosen for the lowest
log loss on held-out images. The order of the classes, and so the accuracy, stays. An ensemble is averaged first and
scaled afterwards, because the average of calibrated networks is not calibrated (Rahaman and Thiery, NeurIPS 2021,
arXiv:2007.08792).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from insdl.learn.scores import check_labels, log_loss

_Reals = npt.NDArray[np.float64]
Targets = Literal["smoothed", "hard"]
_LOWEST, _HIGHEST = 1e-4, 1e4  # the temperatures looked at


@dataclass(frozen=True)
class TemperatureScaling:
    """A temperature and how it was found.

    Attributes
    ----------
    temperature : what logits are divided by; above 1 for a network that was too sure.
    error : standard error of the temperature, from the curvature of the log loss.
    loss_before, loss_after : mean log loss of the held-out images, nats.
    n_images : of the held-out images.
    """

    temperature: float
    error: float
    loss_before: float
    loss_after: float
    n_images: int

    def __post_init__(self) -> None:
        if not (np.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature must be positive and finite, got {self.temperature}")


def ensemble_logits(logits: npt.ArrayLike) -> _Reals:
    """The log of an ensemble's mean probabilities, which may be scaled like the logits of one network.

    Parameters
    ----------
    logits : (members, n, classes). Each member's logits of the same images.

    Returns
    -------
    (n, classes) float64. Their softmax is the mean over the members of the softmax.
    """
    members = np.asarray(logits, dtype=np.float64)
    if members.ndim != 3 or 0 in members.shape:
        raise ValueError(f"logits must have shape (members, n, classes), got {members.shape}")
    logs = np.stack([_log_softmax(_checked(member)) for member in members])
    highest = logs.max(axis=0)
    mean: _Reals = highest + np.log(np.exp(logs - highest).mean(axis=0))
    return mean


def calibrated(logits: npt.ArrayLike, *, temperature: float) -> _Reals:
    """Class probabilities softmax(logits / temperature).

    Parameters
    ----------
    logits : (n, classes). Of one network, or `ensemble_logits` of several.
    temperature : of a `TemperatureScaling`; 1 leaves the probabilities as they are.

    Returns
    -------
    (n, classes) float64, rows of sum 1.
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature must be positive and finite, got {temperature}")
    probabilities: _Reals = np.exp(_log_softmax(_checked(logits) / temperature))
    return probabilities


def fit_temperature(
    logits: npt.ArrayLike, labels: npt.ArrayLike, *, targets: Targets = "smoothed"
) -> TemperatureScaling:
    """The temperature of the lowest log loss on held-out images.

    In b = 1 / temperature the log loss is convex, with the derivative <sum_k (p_k - t_k) z_k>, where p = softmax(b z)
    and t are the targets, so the minimum is the one root of the derivative, and its standard error follows from the
    curvature, n <Var_p(z)>.

    Parameters
    ----------
    logits : (n, classes). Of held-out images, of one network or from `ensemble_logits`; logs of probabilities will do.
    labels : (n,) class indices.
    targets : "hard" takes the labels for certain. A classifier without a mistake among the held-out images then wants
        a temperature of 0, which is refused. "smoothed" gives an image of class k the target (n_k + 1) / (n_k +
        classes) for its label and 1 / (n_k + classes) for every other class, with n_k the images of that class: what
        n_k images without a mistake allow to say (Platt, Advances in Large Margin Classifiers, 1999, for two classes).

    Raises
    ------
    ValueError
        if the logits say nothing about the labels, or if there is no lowest log loss.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(size=(4000, 2))
    >>> labels = (rng.random(4000) < calibrated(logits, temperature=1)[:, 1]).astype(int)
    >>> round(fit_temperature(3 * logits, labels).temperature)
    3
    """
    from scipy.optimize import brentq

    z = _checked(logits)
    n, classes = z.shape
    true = check_labels(labels, count=n, classes=classes)
    if targets not in ("smoothed", "hard"):
        raise ValueError(f"targets must be 'smoothed' or 'hard', got {targets!r}")
    z = z - z.mean(axis=1, keepdims=True)
    own = z[np.arange(n), true]
    if targets == "smoothed":
        n_own = np.bincount(true, minlength=classes)[true]
        own = own * n_own / (n_own + classes)  # the others add up to -own, each with 1 / (n_own + classes)
    wanted = float(own.mean())

    def slope(log_inverse: float) -> float:
        return float((_softmax(np.exp(log_inverse) * z) * z).sum(axis=1).mean()) - wanted

    low, high = -np.log(_HIGHEST), -np.log(_LOWEST)
    if slope(low) >= 0:
        raise ValueError(
            "the held-out logits say nothing about the labels: no temperature makes them better than guessing"
        )
    if slope(high) <= 0:
        raise ValueError(
            f"the classifier makes no mistake among {n} held-out images, so that the log loss has no minimum: "
            "give more images, or targets='smoothed'"
        )
    inverse = float(np.exp(brentq(slope, low, high, xtol=1e-12)))
    p = _softmax(inverse * z)
    curvature = n * float(((p * z**2).sum(axis=1) - (p * z).sum(axis=1) ** 2).mean())
    with np.errstate(divide="ignore"):
        error = float(1.0 / (inverse**2 * np.sqrt(curvature)))
    return TemperatureScaling(
        temperature=1.0 / inverse,
        error=error,
        loss_before=log_loss(_softmax(z), true),
        loss_after=log_loss(p, true),
        n_images=n,
    )


def _log_softmax(z: _Reals) -> _Reals:
    shifted = z - z.max(axis=1, keepdims=True)
    logs: _Reals = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logs


def _softmax(z: _Reals) -> _Reals:
    probabilities: _Reals = np.exp(_log_softmax(z))
    return probabilities


def _checked(logits: npt.ArrayLike) -> _Reals:
    z = np.asarray(logits, dtype=np.float64)
    if z.ndim != 2 or len(z) < 1 or z.shape[1] < 2:
        raise ValueError(f"logits must have shape (n, classes) with two classes at least, got {z.shape}")
    if not np.isfinite(z).all():
        raise ValueError(f"logits must be finite, got {z[~np.isfinite(z).all(axis=1)][0].tolist()}")
    return z
