"""A number of a configuration: fixed, or drawn from a distribution."""

from __future__ import annotations

from statistics import NormalDist
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
"""A finite number; text and truth values are refused."""
Whole = Annotated[int, Field(strict=True)]


class Section(BaseModel):
    """A part of a configuration: unknown names are refused, nothing changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Uniform(Section):
    """Uniform between two numbers."""

    kind: Literal["uniform"] = "uniform"
    low: Number
    high: Number

    @model_validator(mode="after")
    def _ordered(self) -> Uniform:
        if self.low > self.high:
            raise ValueError(f"low must not be above high, got {self.low:g} and {self.high:g}")
        return self


class LogUniform(Section):
    """Uniform in the logarithm, between two positive numbers."""

    kind: Literal["loguniform"] = "loguniform"
    low: Annotated[Number, Field(gt=0)]
    high: Number

    @model_validator(mode="after")
    def _ordered(self) -> LogUniform:
        if self.low > self.high:
            raise ValueError(f"low must not be above high, got {self.low:g} and {self.high:g}")
        return self


class Normal(Section):
    """A normal distribution cut off at two numbers."""

    kind: Literal["normal"] = "normal"
    mean: Number
    sigma: Annotated[Number, Field(gt=0)]
    low: Number
    high: Number

    @model_validator(mode="after")
    def _holds_something(self) -> Normal:
        normal = NormalDist(self.mean, self.sigma)
        if self.low >= self.high or normal.cdf(self.high) - normal.cdf(self.low) < 1e-6:
            raise ValueError(
                f"low to high must hold at least a millionth of the normal distribution, got {self.low:g} to "
                f"{self.high:g} of {self.mean:g} +- {self.sigma:g}"
            )
        return self


class Choice(Section):
    """One of some numbers, all alike or by their weights."""

    kind: Literal["choice"] = "choice"
    values: Annotated[list[Number], Field(min_length=1)]
    weights: list[Annotated[Number, Field(ge=0)]] | None = None

    @model_validator(mode="after")
    def _matched(self) -> Choice:
        if self.weights is not None and (len(self.weights) != len(self.values) or not sum(self.weights) > 0):
            raise ValueError(
                f"weights must be one a value and not all zero, got {self.weights} for {len(self.values)} values"
            )
        return self


def _kind(value: Any) -> str | None:
    if isinstance(value, Section):
        return str(getattr(value, "kind", None))
    if isinstance(value, dict):
        kind = value.get("kind")
        return kind if isinstance(kind, str) else None
    return "fixed"


Distribution = Annotated[
    Annotated[Number, Tag("fixed")]
    | Annotated[Uniform, Tag("uniform")]
    | Annotated[LogUniform, Tag("loguniform")]
    | Annotated[Normal, Tag("normal")]
    | Annotated[Choice, Tag("choice")],
    Discriminator(
        _kind,
        custom_error_type="distribution",
        custom_error_message="expected a number or a distribution of kind uniform, loguniform, normal or choice",
    ),
]
"""A number, or a mapping with the ``kind`` of a distribution and what that needs."""


def draw(distribution: float | Uniform | LogUniform | Normal | Choice, rng: np.random.Generator) -> float:
    """One value. Every distribution uses one random number, a fixed number too: what follows does not depend on the kind."""
    u = float(rng.random())
    if isinstance(distribution, Uniform):
        return distribution.low + (distribution.high - distribution.low) * u
    if isinstance(distribution, LogUniform):
        return float(distribution.low * (distribution.high / distribution.low) ** u)
    if isinstance(distribution, Normal):
        normal = NormalDist(distribution.mean, distribution.sigma)
        below, above = normal.cdf(distribution.low), normal.cdf(distribution.high)
        level = min(max(below + (above - below) * u, 1e-16), 1.0 - 1e-16)
        return min(max(normal.inv_cdf(level), distribution.low), distribution.high)
    if isinstance(distribution, Choice):
        weights = distribution.weights or [1.0] * len(distribution.values)
        cumulated = np.cumsum(weights) / sum(weights)
        return distribution.values[min(int(np.searchsorted(cumulated, u, side="right")), len(cumulated) - 1)]
    return float(distribution)


def bounds(distribution: float | Uniform | LogUniform | Normal | Choice) -> tuple[float, float]:
    """The smallest and the largest number that can be drawn."""
    if isinstance(distribution, Uniform | LogUniform | Normal):
        return distribution.low, distribution.high
    if isinstance(distribution, Choice):
        return min(distribution.values), max(distribution.values)
    return float(distribution), float(distribution)


def times(distribution: float | Uniform | LogUniform | Normal | Choice, factor: float) -> Any:
    """The distribution of a positive factor times the number."""
    if isinstance(distribution, Choice):
        return distribution.model_copy(update={"values": [factor * value for value in distribution.values]})
    if isinstance(distribution, Uniform | LogUniform | Normal):
        names = ("low", "high", "mean", "sigma") if isinstance(distribution, Normal) else ("low", "high")
        return distribution.model_copy(update={name: factor * getattr(distribution, name) for name in names})
    return factor * float(distribution)
