"""Where samples come from: the seam between what makes images and what stores or streams them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class SampleSource(Protocol):
    """Where samples come from: sample i is a function of (configuration, seed, i) alone."""

    name: str
    seed: int
    n_samples: int
    image_shape: tuple[int, ...]
    classes: tuple[str, ...]
    parameter_names: tuple[str, ...]
    setting_names: tuple[str, ...]

    def describe(self) -> dict[str, Any]: ...

    def make(self, indices: Sequence[int], *, threads: int | None = None) -> Samples: ...


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples in the order they were asked for.

    Attributes
    ----------
    images : (n, *image_shape) float32.
    labels : (n,) int64. Index into the source's classes.
    parameters : (n, n_parameters) float64. NaN where a class lacks one.
    settings : (n, n_settings) float64.
    attempts : (n,) int64. Draws that were unstable.
    status : (n,) int64. 0 good, 1 gave up.
    """

    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    parameters: npt.NDArray[np.float64]
    settings: npt.NDArray[np.float64]
    attempts: npt.NDArray[np.int64]
    status: npt.NDArray[np.int64]
