"""Numbers that grade what a classifier or a detector says: log loss, Brier score, area under the ROC curve."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_Reals = npt.NDArray[np.float64]
_SUM_TOLERANCE = 1e-4  # a softmax in float32 over a few classes adds up to 1 within a few 1e-7


class Auroc(NamedTuple):
    """Area under the ROC curve, and its standard error by DeLong's formula."""

    value: float
    error: float


def check_probabilities(probabilities: npt.ArrayLike, *, name: str = "probabilities") -> _Reals:
    """Class probabilities as float64, refused when they are none.

    Parameters
    ----------
    probabilities : (n, classes), n and classes at least 1. Not negative, rows of sum 1.
    name : what to call them in an error.

    Returns
    -------
    (n, classes) float64, rows of sum 1 to rounding.
    """
    rows = np.asarray(probabilities, dtype=np.float64)
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f"{name} must have shape (n, classes), got {rows.shape}")
    total = rows.sum(axis=1)
    wrong = ~(np.abs(total - 1.0) <= _SUM_TOLERANCE) | ~(rows >= 0).all(axis=1)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise ValueError(f"{name} must not be negative and add up to 1, got {rows[first].tolist()} in row {first}")
    normalised: _Reals = rows / total[:, np.newaxis]
    return normalised


def check_labels(labels: npt.ArrayLike, *, count: int, classes: int) -> npt.NDArray[np.int64]:
    """Class indices as int64, refused when they are not ``count`` whole numbers from 0 to ``classes`` - 1."""
    given = np.asarray(labels)
    if given.shape != (count,) or given.dtype.kind not in "iu":
        raise ValueError(f"labels must be {count} class indices, got shape {given.shape} of {given.dtype}")
    if count and (given.min() < 0 or given.max() >= classes):
        raise ValueError(f"labels must lie between 0 and {classes - 1}, got {given.min()} to {given.max()}")
    return given.astype(np.int64)


def log_loss(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Mean of -ln P(true class), in nats; infinite if a true class was given probability 0.

    Parameters
    ----------
    probabilities : (n, classes). labels : (n,) class indices.
    """
    rows = check_probabilities(probabilities)
    true = check_labels(labels, count=len(rows), classes=rows.shape[1])
    with np.errstate(divide="ignore"):
        return float(-np.log(rows[np.arange(len(rows)), true]).mean())


def brier_score(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Mean over images of the squared distance between the probabilities and the truth, from 0 to 2.

    The sum runs over all classes (Brier, Mon. Weather Rev. 78, 1 (1950)): for two classes it is twice (P - outcome)^2.

    Parameters
    ----------
    probabilities : (n, classes). labels : (n,) class indices.
    """
    rows = check_probabilities(probabilities)
    true = check_labels(labels, count=len(rows), classes=rows.shape[1])
    return float(((rows - np.eye(rows.shape[1])[true]) ** 2).sum(axis=1).mean())


def auroc(negative: npt.ArrayLike, positive: npt.ArrayLike) -> Auroc:
    """The probability that a positive scores above a negative, a tie counting one half, with its standard error.

    This is the Mann-Whitney statistic, exact for ties; the error is that of DeLong, DeLong and Clarke-Pearson,
    Biometrics 44, 837 (1988). It is 0 where the two do not overlap: the error of a perfect score is not known.

    Parameters
    ----------
    negative, positive : (m,) and (n,). Scores that should be low and high: of images like those in training and of
        strange ones, for instance. An infinite score is allowed, NaN is not.

    Examples
    --------
    >>> round(auroc([0.1, 0.2, 0.3], [0.3, 0.4]).value, 4)
    0.9167
    """
    low, high = _scores(negative, name="negative"), _scores(positive, name="positive")
    above_negatives = _share_below(np.sort(low), high)
    below_positives = 1.0 - _share_below(np.sort(high), low)
    variance = sum(share.var(ddof=1) / len(share) for share in (above_negatives, below_positives) if len(share) > 1)
    return Auroc(float(above_negatives.mean()), float(np.sqrt(variance)))


def _share_below(ordered: _Reals, scores: _Reals) -> _Reals:
    """Of the ascending numbers, which share is below each score; one half of those that equal it."""
    below, not_above = np.searchsorted(ordered, scores, "left"), np.searchsorted(ordered, scores, "right")
    share: _Reals = 0.5 * (below + not_above) / len(ordered)
    return share


def _scores(given: npt.ArrayLike, *, name: str) -> _Reals:
    scores = np.asarray(given, dtype=np.float64)
    if scores.ndim != 1 or not len(scores):
        raise ValueError(f"{name} must be a list of at least one score, got shape {scores.shape}")
    if np.isnan(scores).any():
        raise ValueError(f"{name} must not hold NaN, got one at {int(np.argmax(np.isnan(scores)))}")
    return scores
