"""One answer from calibrated class probabilities and from how strange an image is: a class, "cannot tell", or none.

The rule. Let p be the p-value of the image's strangeness among held-out images of the known classes, and p0 the
smallest p-value that does not raise the alarm. The weight w = min(1, p / p0) is 1 for an image that does not raise the
alarm, below 1 for one that does, and 0 for one that has no score. Then

    P(class) = w P_classifier(class),   P(none) = 1 - w (1 - P_classifier(none)),

where the classifier's own "none", if it has one, counts. A stranger image has a lower w, so that strangeness never
raises the probability of a class. The answer is

    none of these models   if the alarm is raised, or if none is the most probable and has the required probability;
    a class                if it is the most probable, has the required probability, and, where label sets are given,
                           is the only one in its set;
    cannot tell            otherwise.

w is a rule and not a posterior: how often images of something else turn up is not known. That is why it multiplies
probabilities only after an alarm, whose rate is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from insdl.learn.alarm import Alarm, p_values, raises_alarm
from insdl.learn.scores import check_probabilities

NONE = "none"
NONE_OF_THESE = "none of these models"
CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class Verdict:
    """What is said about one image.

    Attributes
    ----------
    answer : name of a class, "cannot tell", or "none of these models".
    probability : by class, with "none"; they add up to 1.
    in_distribution : whether the image is like those that the classifier knows; False raises the alarm.
    score, p_value : its strangeness, and how often an image of the known classes is at least as strange.
    label_set : classes that cannot be excluded; None where no sets were given.
    reason : why this is the answer, a sentence.
    """

    answer: str
    probability: Mapping[str, float]
    in_distribution: bool
    score: float
    p_value: float
    label_set: tuple[str, ...] | None
    reason: str


def judge(
    probabilities: npt.ArrayLike,
    class_names: Sequence[str],
    *,
    scores: npt.ArrayLike,
    alarm: Alarm,
    required: float = 0.95,
    label_sets: npt.ArrayLike | None = None,
) -> tuple[Verdict, ...]:
    """The verdict on each image by the rule of this file.

    Parameters
    ----------
    probabilities : (n, classes). Calibrated. A row that is not finite is none of these models.
    class_names : of the classes; one of them may be "none".
    scores : (n,). Strangeness of the images; NaN is as strange as can be.
    alarm : fitted to the same score on held-out images.
    required : probability that an answer needs, above 1/2.
    label_sets : (n, classes) bool, of `insdl.learn.conformal.label_sets`.

    Examples
    --------
    >>> from insdl.learn.alarm import fit_alarm
    >>> alarm = fit_alarm(np.arange(100.0))
    >>> [verdict.answer for verdict in judge(
    ...     [[0.99, 0.01], [0.6, 0.4], [0.99, 0.01]], ("goodenough", "dimer"), scores=[50, 50, 200], alarm=alarm)]
    ['goodenough', 'cannot tell', 'none of these models']
    """
    names = tuple(class_names)
    rows = np.asarray(probabilities, dtype=np.float64)
    strange = np.asarray(scores, dtype=np.float64)
    if len(set(names)) != len(names) or {CANNOT_TELL, NONE_OF_THESE} & set(names):
        raise ValueError(f"class_names must differ from each other and from the other answers, got {names}")
    if rows.ndim != 2 or rows.shape[1] != len(names):
        raise ValueError(f"probabilities must have shape (n, {len(names)}), got {rows.shape}")
    if strange.shape != rows.shape[:1]:
        raise ValueError(f"scores must have shape ({len(rows)},), got {strange.shape}")
    if not 0.5 < required <= 1.0:
        raise ValueError(f"required must lie between 1/2 and 1, got {required}")
    sets = None if label_sets is None else np.asarray(label_sets)
    if sets is not None and (sets.shape != rows.shape or sets.dtype != np.bool_):
        raise ValueError(f"label_sets must be bool of shape {rows.shape}, got {sets.dtype} of shape {sets.shape}")

    known: npt.NDArray[np.bool_] = np.asarray(np.isfinite(rows).all(axis=1))
    if known.any():
        rows = rows.copy()
        rows[known] = check_probabilities(rows[known])
    strange = np.where(known, strange, np.nan)
    p = p_values(alarm, strange)
    weight = np.minimum(1.0, p / _smallest_quiet_p(alarm))
    out = raises_alarm(alarm, strange)
    return tuple(
        _verdict(
            names,
            rows[i] if known[i] else None,
            weight=float(weight[i]),
            out=bool(out[i]),
            score=float(strange[i]),
            p_value=float(p[i]),
            members=None if sets is None else tuple(n for n, inside in zip(names, sets[i], strict=True) if inside),
            required=required,
        )
        for i in range(len(rows))
    )


def _smallest_quiet_p(alarm: Alarm) -> float:
    """The p-value of an image whose score is the threshold itself."""
    return float(p_values(alarm, alarm.threshold))


def _verdict(
    names: tuple[str, ...],
    row: npt.NDArray[np.float64] | None,
    *,
    weight: float,
    out: bool,
    score: float,
    p_value: float,
    members: tuple[str, ...] | None,
    required: float,
) -> Verdict:
    kept = {name: 0.0 if row is None else weight * float(row[k]) for k, name in enumerate(names) if name != NONE}
    probability = {**kept, NONE: max(0.0, 1.0 - sum(kept.values()))}
    best = max(probability, key=lambda name: probability[name])
    sure = probability[best] >= required
    if row is None:
        answer, reason = NONE_OF_THESE, "the classifier gave no probabilities for this image"
    elif out:
        answer = NONE_OF_THESE
        if p_value == 0.0:
            reason = "the image has no score, or is strange beyond measure"
        else:
            reason = f"only {100 * p_value:.2g} % of images of the known classes are as strange as this one"
    elif best == NONE and sure:
        answer, reason = NONE_OF_THESE, f"the classifier gives none of the models P = {probability[NONE]:.4f}"
    elif not sure:
        answer = CANNOT_TELL
        reason = f"the most probable answer, {best}, has P = {probability[best]:.4f}; {required:g} is required"
    elif members is not None and members != (best,):
        answer = CANNOT_TELL
        reason = f"the set of classes that cannot be excluded is {{{', '.join(members)}}}"
    else:
        answer = best
        reason = f"P = {probability[best]:.4f}, and {100 * p_value:.2g} % of images of the known classes are as strange"
    return Verdict(answer, MappingProxyType(probability), not out, score, p_value, members, reason)
