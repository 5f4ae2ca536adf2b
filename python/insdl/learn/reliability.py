"""Is a probability of 0.8 right in 80 of 100 cases? Reliability diagrams and the expected calibration error.

The expected calibration error (Naeini, Cooper and Hauskrecht, AAAI 2015) sorts probabilities into bins and averages
|frequency - mean probability| over the images. It is never 0, not even for a perfect classifier, because frequencies
fluctuate: its value means something only beside this noise floor, which is found here by drawing the outcomes from the
probabilities themselves (the consistency resampling of Broecker and Smith, Weather and Forecasting 22, 651 (2007)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from insdl.dataset.randomness import generator
from insdl.learn.scores import check_labels, check_probabilities

_Reals = npt.NDArray[np.float64]
Binning = Literal["equal-width", "equal-mass"]
_SIGMAS = 1.0  # of the error bars in a reliability diagram


@dataclass(frozen=True, eq=False)
class ReliabilityDiagram:
    """Frequency against probability, bin by bin; empty bins are left out.

    Attributes
    ----------
    probability : (bins,) float64. Mean probability that was given to the statement in question.
    frequency : (bins,) float64. Share of the images for which the statement was right.
    low, high : (bins,) float64. Wilson interval of the frequency, one standard deviation.
    count : (bins,) int64. Images in the bin.
    edges : float64, from 0 to 1. Edges of all bins, of the empty ones too.
    """

    probability: _Reals
    frequency: _Reals
    low: _Reals
    high: _Reals
    count: npt.NDArray[np.int64]
    edges: _Reals


@dataclass(frozen=True)
class CalibrationError:
    """The expected calibration error beside what chance makes of a perfectly calibrated classifier.

    Attributes
    ----------
    value : the expected calibration error, 0 to 1.
    error : its standard deviation over bootstrap samples of the images.
    floor, floor_95 : mean and 95 % quantile for labels drawn from the given probabilities.
    p_value : how often such labels give at least ``value``; small where the probabilities are wrong.
    n_images : how many.
    """

    value: float
    error: float
    floor: float
    floor_95: float
    p_value: float
    n_images: int


def reliability_diagram(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    bins: int = 15,
    binning: Binning = "equal-width",
    statement: Literal["top"] | int = "top",
) -> ReliabilityDiagram:
    """How often a statement was right, by the probability that it was given.

    Parameters
    ----------
    probabilities : (n, classes). labels : (n,) class indices.
    bins : number of bins from 0 to 1.
    binning : "equal-width", or "equal-mass" for bins with about the same number of images; equal probabilities are
        never torn apart, so that there may be fewer bins than asked for.
    statement : "top": the most probable class is the true one. A class index: that class is the true one.
    """
    claimed, right = _statements(probabilities, labels, statement)
    edges, number = _bins(claimed, bins, binning)
    count, sums, hits = _totals(number, len(edges) - 1, claimed, right)
    filled = count > 0
    n = count[filled]
    low, high = _wilson(hits[filled] / n, n)
    return ReliabilityDiagram(sums[filled] / n, hits[filled] / n, low, high, n, edges)


def expected_calibration_error(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    bins: int = 15,
    binning: Binning = "equal-width",
    statement: Literal["top"] | int = "top",
) -> float:
    """Mean over images of |frequency - mean probability| of their bin; arguments as for `reliability_diagram`."""
    claimed, right = _statements(probabilities, labels, statement)
    return _error(claimed, right, bins, binning)


def calibration_error(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    bins: int = 15,
    binning: Binning = "equal-width",
    statement: Literal["top"] | int = "top",
    draws: int = 500,
    seed: int = 0,
) -> CalibrationError:
    """The expected calibration error, its bootstrap error, and the floor that chance sets.

    Parameters
    ----------
    probabilities, labels, bins, binning, statement : as for `reliability_diagram`.
    draws : bootstrap samples of the images, and as many sets of labels drawn from the probabilities.
    seed : of both.
    """
    if draws < 20:
        raise ValueError(f"draws must be at least 20, got {draws}")
    claimed, right = _statements(probabilities, labels, statement)
    value, n = _error(claimed, right, bins, binning), len(claimed)
    resampled, perfect = np.empty(draws), np.empty(draws)
    for draw in range(draws):
        rng = generator(seed, "calibration/bootstrap", draw)
        chosen = rng.integers(n, size=n)
        resampled[draw] = _error(claimed[chosen], right[chosen], bins, binning)
        drawn = generator(seed, "calibration/floor", draw).random(n) < claimed
        perfect[draw] = _error(claimed, drawn, bins, binning)
    return CalibrationError(
        value=value,
        error=float(resampled.std(ddof=1)),
        floor=float(perfect.mean()),
        floor_95=float(np.quantile(perfect, 0.95)),
        # A tie is up to the order of additions.
        p_value=float((1 + np.count_nonzero(perfect >= value - 1e-12)) / (1 + draws)),
        n_images=n,
    )


def _statements(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, statement: Literal["top"] | int
) -> tuple[_Reals, npt.NDArray[np.bool_]]:
    """What probability each statement was given, and whether it was right."""
    rows = check_probabilities(probabilities)
    n, classes = rows.shape
    true = check_labels(labels, count=n, classes=classes)
    if statement == "top":
        named = rows.argmax(axis=1)
    elif isinstance(statement, int) and 0 <= statement < classes:
        named = np.full(n, statement)
    else:
        raise ValueError(f"statement must be 'top' or a class index from 0 to {classes - 1}, got {statement!r}")
    return rows[np.arange(n), named], named == true


def _bins(claimed: _Reals, bins: int, binning: Binning) -> tuple[_Reals, npt.NDArray[np.int64]]:
    """Edges, and the bin of each probability; a probability on an edge belongs to the bin below, 0 to the first."""
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    steps = np.linspace(0.0, 1.0, bins + 1)
    if binning == "equal-width":
        edges = steps
    elif binning == "equal-mass":
        # An edge is a probability that occurs, so that its equals are all below it.
        ranks = -(-len(claimed) * np.arange(1, bins) // bins)  # rounded up, in whole numbers
        inner = np.sort(claimed)[ranks - 1]
        edges = np.unique(np.concatenate([[0.0], inner, [1.0]]))
    else:
        raise ValueError(f"binning must be 'equal-width' or 'equal-mass', got {binning!r}")
    return edges, np.searchsorted(edges[1:-1], claimed, side="left")


def _totals(
    number: npt.NDArray[np.int64], bins: int, claimed: _Reals, right: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], _Reals, _Reals]:
    """By bin: images, sum of probabilities, right statements."""
    count = np.bincount(number, minlength=bins)
    sums: _Reals = np.bincount(number, weights=claimed, minlength=bins).astype(np.float64)
    hits: _Reals = np.bincount(number, weights=right, minlength=bins).astype(np.float64)
    return count, sums, hits


def _error(claimed: _Reals, right: npt.NDArray[np.bool_], bins: int, binning: Binning) -> float:
    edges, number = _bins(claimed, bins, binning)
    _, sums, hits = _totals(number, len(edges) - 1, claimed, right)
    return float(np.abs(hits - sums).sum() / len(claimed))


def _wilson(frequency: _Reals, n: npt.NDArray[np.int64]) -> tuple[_Reals, _Reals]:
    """Wilson's interval (J. Am. Stat. Assoc. 22, 209 (1927)); it has a width where all or none are right, too."""
    z2 = _SIGMAS**2
    centre = (frequency + z2 / (2 * n)) / (1 + z2 / n)
    half = _SIGMAS / (1 + z2 / n) * np.sqrt(frequency * (1 - frequency) / n + z2 / (4 * n**2))
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)
