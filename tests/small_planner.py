"""A planner of the small configuration: two incident energies, made in a second or two."""

from __future__ import annotations

from functools import cache

import numpy as np

from insdl.dataset.configured import ConfiguredSource
from insdl.guide.experiment import Experiment, experiment
from insdl.guide.planner import Planner, PlannerSettings, prepare
from insdl.guide.surrogate import SurrogateSettings
from small_hypothesis import small

SETTINGS = PlannerSettings(
    images=400, held=60, foreign=12, components=(8, 4), background=4, surrogate=SurrogateSettings(width=64, epochs=60)
)


@cache
def small_planner() -> Planner:
    return prepare(small(), settings=SETTINGS, threads=1)


@cache
def small_source() -> ConfiguredSource:
    return ConfiguredSource(small().model_copy(update={"stream": "guide tests", "n_samples": 1000}))


@cache
def small_experiment(number: int) -> Experiment:
    """Number 0, 2, ... Goodenough, 1, 3, ... dimer."""
    source = small_source()
    image = source.make([number], threads=1).images[0]
    return experiment(
        small_planner(), source, image, truth=source.classes[number % 2], number=number, stream="guide tests"
    )


def whole(values: np.ndarray, n: int) -> np.ndarray:
    """n rows of the same values."""
    return np.repeat(values[None], n, axis=0)
