"""From how strange an image is to an alarm with a known rate of false ones.

The threshold is a finite-sample quantile of the scores of held-out images, as in split conformal prediction (Vovk,
Gammerman and Shafer 2005; Bates et al., Ann. Stat. 51, 149 (2023), for outliers): nothing is assumed about the
distribution of the scores, only that new images of the known kind are exchangeable with the held-out ones. A score
that is not a number raises the alarm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from insdl.learn.conformal import finite_sample_rank

_Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Alarm:
    """A threshold on a score that is higher for stranger images.

    Attributes
    ----------
    threshold : a score above it raises the alarm.
    false_alarm_rate : the promised upper bound.
    confidence : None: the bound holds for the average over held-out sets. A probability: it holds with this
        probability for the very held-out set that was drawn.
    expected_rate : the false-alarm rate averaged over held-out sets, exact if no scores are equal.
    held_out : (n,) float64, ascending. The scores that it rests on.
    """

    threshold: float
    false_alarm_rate: float
    confidence: float | None
    expected_rate: float
    held_out: _Reals


def fit_alarm(scores: npt.ArrayLike, *, false_alarm_rate: float = 0.05, confidence: float | None = None) -> Alarm:
    """The lowest threshold that keeps a false-alarm rate.

    The threshold is the k-th smallest of n scores. The rate of false alarms then follows a beta distribution with n +
    1 - k and k (Vovk, ACML 2012), of mean (n + 1 - k) / (n + 1): k is the smallest for which this mean, or with
    ``confidence`` this quantile, is not above ``false_alarm_rate``.

    Parameters
    ----------
    scores : (n,), finite. Of held-out images of the known kind, which the score was not fitted to.
    false_alarm_rate : upper bound on the share of images of the known kind that raise the alarm, 0 to 1.
    confidence : see `Alarm`.

    Raises
    ------
    ValueError
        if n is too small for such a rate: only an infinite threshold would keep it, and let everything pass.
    """
    held_out = np.sort(np.asarray(scores, dtype=np.float64))
    if held_out.ndim != 1 or not len(held_out) or not np.isfinite(held_out).all():
        raise ValueError(f"scores must be a list of finite numbers, got shape {held_out.shape}")
    if confidence is not None and not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    n = len(held_out)
    rank = finite_sample_rank(n, false_alarm_rate)
    if confidence is not None:
        from scipy.stats import beta

        ranks = np.arange(1, n + 1)
        kept = beta.cdf(false_alarm_rate, n + 1 - ranks, ranks) >= confidence
        rank = int(ranks[kept][0]) if kept.any() else n + 1
    if rank > n:
        raise ValueError(
            f"{n} held-out scores are too few for a false-alarm rate of {false_alarm_rate:g}"
            + ("" if confidence is None else f" with confidence {confidence:g}")
        )
    return Alarm(float(held_out[rank - 1]), false_alarm_rate, confidence, (n + 1 - rank) / (n + 1), held_out)


def raises_alarm(alarm: Alarm, scores: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Whether scores are above the threshold, or are no numbers; bool of the scores' shape."""
    quiet: npt.NDArray[np.bool_] = np.asarray(scores, dtype=np.float64) <= alarm.threshold
    return ~quiet


def p_values(alarm: Alarm, scores: npt.ArrayLike) -> _Reals:
    """How often an image of the known kind scores at least as high, of the scores' shape; 0 for infinity and NaN.

    p = (1 + number of held-out scores at least as high) / (1 + n): for images of the known kind, P(p <= a) <= a. The
    smallest that n finite scores can give is 1 / (1 + n).
    """
    given = np.asarray(scores, dtype=np.float64)
    n = len(alarm.held_out)
    p = (1 + n - np.searchsorted(alarm.held_out, given, side="left")) / (1 + n)
    return np.where(np.isnan(given) | (given == np.inf), 0.0, p)
