"""Split conformal label sets: the classes that cannot be excluded, wrong no more often than was asked for.

Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World (2005); in the form of Sadinle, Lei and Wasserman, J.
Am. Stat. Assoc. 114, 223 (2019): a class is in the set if 1 - P(class) is not above the threshold, which is the k-th
smallest of 1 - P(true class) among n calibration images, k = ceil((n + 1)(1 - miscoverage)). If a new image is
exchangeable with those, its true class is in its set with a probability of at least 1 - miscoverage, averaged over
calibration sets, whatever the network; and of k / (n + 1) exactly if there are no ties. An image of none of the classes is not
exchangeable with them: nothing is promised for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from insdl.learn.scores import check_labels, check_probabilities

Guarantee = Literal["marginal", "class-conditional"]


@dataclass(frozen=True)
class ConformalSets:
    """Thresholds from which label sets follow.

    Attributes
    ----------
    thresholds : of 1 - P(class), one a class; infinite where there were too few calibration images, so that the class
        is in every set.
    n_images : calibration images behind each threshold.
    miscoverage : how often the true class may be missing.
    guarantee : "marginal": over images of all classes together. "class-conditional": over the images of each class.
    """

    thresholds: tuple[float, ...]
    n_images: tuple[int, ...]
    miscoverage: float
    guarantee: Guarantee


def finite_sample_rank(n: int, miscoverage: float) -> int:
    """k = ceil((n + 1)(1 - miscoverage)): a new number exceeds the k-th smallest of n with P <= miscoverage.

    This holds for exchangeable numbers. k = n + 1 means that n is too small: no threshold but infinity will do.
    """
    if n < 0:
        raise ValueError(f"n must not be negative, got {n}")
    if not 0.0 < miscoverage < 1.0:
        raise ValueError(f"miscoverage must lie between 0 and 1, got {miscoverage}")
    # Floor of what may be missed: 0.05 * 20 must be 1 although it is 1.0000000000000002 or 0.9999999999999999.
    return n + 1 - math.floor((n + 1) * miscoverage * (1 + 1e-12))


def fit_conformal(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    miscoverage: float = 0.05,
    guarantee: Guarantee = "marginal",
) -> ConformalSets:
    """Thresholds from calibration images, which neither training nor temperature scaling has seen.

    Parameters
    ----------
    probabilities : (n, classes). labels : (n,) class indices.
    miscoverage : how often the true class may be missing, 0 to 1.
    guarantee : "marginal" or "class-conditional", see `ConformalSets`. The second needs 1 / miscoverage - 1 images of
        each class before it can exclude that class.
    """
    rows = check_probabilities(probabilities)
    n, classes = rows.shape
    true = check_labels(labels, count=n, classes=classes)
    if guarantee not in ("marginal", "class-conditional"):
        raise ValueError(f"guarantee must be 'marginal' or 'class-conditional', got {guarantee!r}")
    strangeness = 1.0 - rows[np.arange(n), true]
    groups = [strangeness if guarantee == "marginal" else strangeness[true == k] for k in range(classes)]
    thresholds = []
    for group in groups:
        rank = finite_sample_rank(len(group), miscoverage)
        thresholds.append(math.inf if rank > len(group) else float(np.sort(group)[rank - 1]))
    return ConformalSets(tuple(thresholds), tuple(len(group) for group in groups), miscoverage, guarantee)


def label_sets(probabilities: npt.ArrayLike, conformal: ConformalSets) -> npt.NDArray[np.bool_]:
    """Which classes cannot be excluded, (n, classes) bool, of images with probabilities (n, classes)."""
    rows = check_probabilities(probabilities)
    if rows.shape[1] != len(conformal.thresholds):
        raise ValueError(
            f"probabilities must have the {len(conformal.thresholds)} classes of the calibration, got {rows.shape[1]}"
        )
    return 1.0 - rows <= np.array(conformal.thresholds)


def coverage(sets: npt.NDArray[np.bool_], labels: npt.ArrayLike) -> float:
    """Share of images whose true class is in their set: sets (n, classes) bool, labels (n,) class indices."""
    if sets.ndim != 2 or sets.dtype != np.bool_ or 0 in sets.shape:
        raise ValueError(f"sets must be bool of shape (n, classes), got {sets.dtype} of shape {sets.shape}")
    true = check_labels(labels, count=len(sets), classes=sets.shape[1])
    return float(sets[np.arange(len(sets)), true].mean())


def describe_set(members: npt.ArrayLike, class_names: Sequence[str], *, miscoverage: float) -> str:
    """What a label set says, in a sentence.

    Parameters
    ----------
    members : (classes,) bool, a row of `label_sets`. class_names : of the classes. miscoverage : of the sets.

    Examples
    --------
    >>> describe_set([True, False], ("goodenough", "dimer"), miscoverage=0.05)
    'goodenough: every other class is excluded at 95 %'
    """
    inside = np.asarray(members)
    if inside.dtype != np.bool_ or inside.shape != (len(class_names),):
        raise ValueError(f"members must be {len(class_names)} bool, got {inside.dtype} of shape {inside.shape}")
    level = f"{100 * (1 - miscoverage):g} %"
    names = [name for name, member in zip(class_names, inside, strict=True) if member]
    if not names:
        return (
            f"no class: the image is less like each of them than {level} of its own images are; it is one of the "
            "others, or none of these"
        )
    if len(names) == 1:
        return f"{names[0]}: every other class is excluded at {level}"
    everything = "the image does not decide" if inside.all() else "the other classes are excluded"
    return f"{' or '.join(names)}: cannot be told apart at {level}; {everything}"
