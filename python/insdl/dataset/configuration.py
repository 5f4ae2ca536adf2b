"""What a data set is made from: the presets by name."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from insdl.dataset import pcsmo, rb2mnf4
from insdl.dataset.source import FamilySource, SampleSource
from insdl.instrument.frame import ImageFrame
from insdl.instrument.rb2mnf4 import rb2mnf4_frame


def load_source(path_or_preset: str, *, n_samples: int = 1000, seed: int = 0) -> SampleSource:
    """The source of a preset: ``"pcsmo"`` or ``"rb2mnf4"`` (maps of 64 x 64 pixels in eight windows)."""
    presets: dict[str, Callable[[], FamilySource]] = {
        "pcsmo": lambda: FamilySource(pcsmo.families(), n_samples, seed, "pcsmo", scale=pcsmo.SCALE, name="pcsmo"),
        "rb2mnf4": lambda: FamilySource([rb2mnf4.family(_eight_windows())], n_samples, seed, "rb2mnf4"),
    }
    if path_or_preset not in presets:
        raise ValueError(f"the configuration must be one of {list(presets)}, got {path_or_preset!r}")
    return presets[path_or_preset]()


def _eight_windows() -> ImageFrame:
    edges = np.linspace(0.5, 7.7, 9)
    return rb2mnf4_frame([(float(low), float(high)) for low, high in pairwise(edges)])
