"""Distributions of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Range:
    """A parameter between ``low`` and ``high``: uniform, or uniform in the logarithm; fixed where both are equal."""

    low: float
    high: float
    scale: Literal["linear", "log"] = "linear"

    def __post_init__(self) -> None:
        if not np.isfinite([self.low, self.high]).all() or self.low > self.high:
            raise ValueError(f"a range needs finite low <= high, got {self.low} and {self.high}")
        if self.scale not in ("linear", "log") or (self.scale == "log" and self.low <= 0):
            raise ValueError(f"scale must be 'linear', or 'log' with low > 0, got {self}")

    def draw(self, rng: np.random.Generator) -> float:
        """One value."""
        u = float(rng.random())
        if self.scale == "log":
            return float(self.low * (self.high / self.low) ** u)
        return self.low + (self.high - self.low) * u


@dataclass(frozen=True)
class Prior:
    """Independent ranges by parameter name."""

    ranges: Mapping[str, Range]

    def draw(self, rng: np.random.Generator) -> dict[str, float]:
        """One value for every parameter, drawn in the order of the names as given."""
        return {name: value.draw(rng) for name, value in self.ranges.items()}
