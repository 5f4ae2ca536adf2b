"""What simple methods say where networks judge between rivals: to be printed beside every network.

Logistic regression on one number a cell knows how bright a cell is and nothing of its pattern. Principal components of folded,
coarse images with logistic regression know the pattern, linearly. Both are convex, have no seed, and take seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from insdl.learn.baselines import cell_sums, fit_logistic, logistic_logits, principal_components, project
from insdl.learn.calibration import calibrated
from insdl.learn.scores import check_labels

_Reals = npt.NDArray[np.float64]
_Singles = npt.NDArray[np.float32]
_POOL = 2  # pixels of a quarter that become one
_PENALTIES = (1.0, 10.0, 100.0)


@dataclass(frozen=True, eq=False)
class BaselineAnswer:
    """What one simple method does.

    Attributes
    ----------
    name : of the method.
    accuracy, log_loss : on the held-out measurements.
    probabilities : (m, classes) float64 of the measurements asked about; not calibrated. held_out : (n, classes), the same.
    """

    name: str
    accuracy: float
    log_loss: float
    probabilities: _Reals
    held_out: _Reals


def baseline_answers(
    training: tuple[_Singles, npt.NDArray[np.int64]],
    held_out: tuple[_Singles, npt.NDArray[np.int64]],
    asked: _Singles | None = None,
    *,
    classes: int,
    components: int = 24,
) -> tuple[BaselineAnswer, ...]:
    """Simple methods, fitted to simulated measurements and asked about others.

    Parameters
    ----------
    training, held_out : inputs (n, 2 cells, p, p) of `insdl.dataset.view.network_view` and labels (n,). A quarter of the
        training chooses the penalty.
    asked : inputs (m, 2 cells, p, p); None for none.
    classes : how many there are. components : principal components; fewer where there are few measurements.
    """
    given = [np.asarray(training[0]), np.asarray(held_out[0])]
    if asked is not None:
        given.append(np.asarray(asked))
    shape = given[0].shape[1:]
    if len(shape) != 3 or shape[0] % 2 or any(one.shape[1:] != shape for one in given):
        raise ValueError(f"inputs must have one shape (n, 2 cells, p, p), got {[one.shape for one in given]}")
    known = check_labels(training[1], count=len(given[0]), classes=classes)
    true = check_labels(held_out[1], count=len(given[1]), classes=classes)
    sums = [_sums(one) for one in given]
    coarse = [_coarse(one) for one in given]
    basis = principal_components(coarse[0], components=min(components, len(coarse[0]) - 1))
    projected = [project(basis, one) for one in coarse]
    found = []
    for name, features in (
        ("logistic regression on cell means", sums),
        ("principal components, logistic regression", projected),
    ):
        probabilities = [calibrated(logits, temperature=1.0) for logits in _logits(features, known, classes=classes)]
        right = probabilities[0][np.arange(len(true)), true]
        found.append(
            BaselineAnswer(
                name,
                float((probabilities[0].argmax(axis=1) == true).mean()),
                float(-np.log(np.maximum(right, 1e-300)).mean()),
                probabilities[1] if asked is not None else np.zeros((0, classes)),
                probabilities[0],
            )
        )
    return tuple(found)


def _logits(features: Sequence[_Reals], labels: npt.NDArray[np.int64], *, classes: int) -> list[_Reals]:
    """Logits of all but the first set of features, with the penalty that is best on every fourth of each class of the first."""
    turn = np.array([int((labels[:row] == label).sum()) for row, label in enumerate(labels)])
    chosen = turn % 4 == 3
    rows = features[0]
    best, penalty = np.inf, _PENALTIES[0]
    for tried in _PENALTIES:
        model = fit_logistic(rows[~chosen], labels[~chosen], classes=classes, penalty=tried)
        logits = logistic_logits(model, rows[chosen])
        loss = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(int(chosen.sum())), labels[chosen]]
        if loss.mean() < best:
            best, penalty = float(loss.mean()), tried
    model = fit_logistic(rows, labels, classes=classes, penalty=penalty)
    return [logistic_logits(model, one) for one in features[1:]]


def _sums(inputs: _Singles) -> _Reals:
    middle = inputs.shape[1] // 2
    return cell_sums(inputs[:, :middle], used=inputs[:, middle:] > 0)


def _coarse(inputs: npt.NDArray[Any]) -> _Reals:
    """(n, features): means over mirror images and `_POOL` x `_POOL` pixels, of what was measured; zero elsewhere."""
    middle = inputs.shape[1] // 2
    total, number = (_pooled(part) for part in (inputs[:, :middle] * inputs[:, middle:], inputs[:, middle:]))
    means = np.divide(total, number, out=np.zeros_like(total), where=number > 0)
    return np.asarray(means.reshape(len(means), -1), dtype=np.float64)


def _pooled(images: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Sums over the four mirror images and over pixels side by side."""
    half = images.shape[-1] // 2
    rows = images[..., half:, :] + images[..., half - 1 :: -1, :]
    quarter = rows[..., half:] + rows[..., half - 1 :: -1]
    size = half // _POOL * _POOL
    blocks = quarter[..., :size, :size].reshape(*quarter.shape[:-2], size // _POOL, _POOL, size // _POOL, _POOL)
    return np.asarray(blocks.sum(axis=(-3, -1)))
