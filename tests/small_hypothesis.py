"""A small configuration of PCSMO whose fits take a fraction of a second."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from insdl.dataset.configuration import Configuration, configuration, load_configuration
from insdl.dataset.configured import ConfiguredSource
from insdl.dataset.randomness import generator
from insdl.learn.background_prior import Background, background_of
from insdl.learn.hypothesis import Hypothesis, hypotheses


def small_content() -> dict[str, Any]:
    """Two incident energies with three slices each, 16 x 16 pixels, planes, pedestals, smooth backgrounds and hot pixels."""
    content = load_configuration("pcsmo").model_dump()
    content["name"] = "small"
    content["classes"] = content["classes"][:2]
    content["frame"]["pixels"]["count"] = 16
    blocks = [content["frame"]["blocks"][number] for number in (2, 3)]
    sigma = content["detection"]["counting"]["sigma"]
    kept = []
    for block, first in zip(blocks, (20, 30), strict=True):
        block["bins"] = [block["bins"][number] for number in (2, 5, 7)]
        kept += [sigma[first + number] for number in (2, 5, 7)]
    content["frame"]["blocks"] = blocks
    content["detection"]["counting"]["sigma"] = kept
    for name in ("phonons", "elastic", "aluminium", "halo", "streaks", "over_subtraction", "dead_pixels"):
        content["detection"]["nuisances"][name] = {"probability": 0.0}
    content["detection"]["scale"]["value"] = {"kind": "loguniform", "low": 2.0, "high": 30.0}
    return content


@cache
def small() -> Configuration:
    return configuration(small_content())


@cache
def small_background() -> Background:
    return background_of(small(), n_modes=6, n_draws=60)


@cache
def small_hypotheses() -> tuple[Hypothesis, ...]:
    return hypotheses(small(), background=small_background(), n_templates=150)


def small_image(
    number: int, *, stream: str = "likelihood tests"
) -> tuple[npt.NDArray[np.float64], Any, ConfiguredSource]:
    """Counts, what they were drawn from (Samples), and their source."""
    source = ConfiguredSource(small().model_copy(update={"stream": stream}))
    samples = source.make([number], threads=1)
    counts = source.detect(samples.images[0], generator(1, stream, number))
    return counts.astype(np.float64), samples, source
