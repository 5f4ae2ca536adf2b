"""What images of none of the rivals look like: one normal distribution of their numbers for each kind of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from insdl.dataset.configured import ConfiguredSource
from insdl.dataset.foreign import Kind, SourceWithForeign

_Reals = npt.NDArray[np.float64]
STRANGERS: tuple[Kind, ...] = ("shuffled", "pattern", "strokes", "grains")


@dataclass(frozen=True, eq=False)
class NoneOfThem:
    """Numbers of foreign images of mean one, as a mixture of normal distributions.

    Attributes
    ----------
    kinds : of images, one distribution each, equally probable.
    means : (n_kinds, n_values) float64. covariances : (n_kinds, n_values, n_values) float64.
    """

    kinds: tuple[str, ...]
    means: _Reals
    covariances: _Reals


def none_of_them(kinds: tuple[str, ...], values: npt.ArrayLike) -> NoneOfThem:
    """The distributions of numbers (n_kinds, n, n_values), n images of each kind.

    The covariance is the sample's, an eighth of it given to its diagonal, so that directions that few images have are not
    impossible.
    """
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 3 or len(rows) != len(kinds) or rows.shape[1] < 2:
        raise ValueError(f"values must have shape ({len(kinds)}, n > 1, n_values), got {rows.shape}")
    means = rows.mean(axis=1)
    covariances = []
    for one, mean in zip(rows, means, strict=True):
        sample = (one - mean).T @ (one - mean) / (len(one) - 1)
        covariances.append(0.875 * sample + 0.125 * np.diag(np.diag(sample)))
    return NoneOfThem(kinds, means, np.array(covariances))


def foreign_images(source: ConfiguredSource, n: int, *, kinds: tuple[Kind, ...] = STRANGERS) -> npt.NDArray[Any]:
    """(n_kinds, n, n_bins, n_h, n_k) float32. Images of each kind, in the order of ``kinds``; any scale."""
    foreign = SourceWithForeign(source, kinds=kinds)
    step, last = len(foreign.classes), len(foreign.classes) - 1
    images = [foreign.make([turn * step + last], threads=1).images[0] for turn in range(n * len(kinds))]
    return np.stack(images).reshape(n, len(kinds), *foreign.image_shape).swapaxes(0, 1)
