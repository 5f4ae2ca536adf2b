"""What is unknown about one class of a configuration, as a point in the unit cube: uniform priors become a constant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from insdl.dataset.configuration import Configuration, SubtractedCounting
from insdl.dataset.distribution import Choice, LogUniform, Normal, Uniform, bounds
from insdl.dataset.prior import Range
from insdl.instrument.image import ImageSettings

_Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Unknowns:
    """Everything that is fitted for one class besides the background.

    Attributes
    ----------
    name : str. The class.
    ranges : by name. Quantities of the model first, then settings, then "scale" and "noise".
    n_quantities, n_settings : int. How many there are of the first two.
    parameters : (n_parameters,) str. Of the model, in its order.
    offset : (n_parameters,) float64, meV. linear : (n_parameters, n_quantities) float64. parameters = offset + linear @ q.
    settings : Mapping. Settings that are fixed.
    scale_kind : "mean" or "factor", as in the configuration.
    """

    name: str
    ranges: Mapping[str, Range]
    n_quantities: int
    n_settings: int
    parameters: tuple[str, ...]
    offset: _Reals
    linear: _Reals
    settings: Mapping[str, float]
    scale_kind: str

    @property
    def names(self) -> tuple[str, ...]:
        """Of all unknowns, in the order of the cube's axes; the last two are "scale" and "noise"."""
        return tuple(self.ranges)

    def values(self, point: npt.ArrayLike) -> _Reals:
        """(..., n) float64: the unknowns' values at points (..., n) of the unit cube."""
        u = np.asarray(point, dtype=np.float64)
        found = np.empty_like(u)
        for i, span in enumerate(self.ranges.values()):
            if span.scale == "log":
                found[..., i] = span.low * (span.high / span.low) ** u[..., i]
            else:
                found[..., i] = span.low + (span.high - span.low) * u[..., i]
        return found

    def slopes(self, point: npt.ArrayLike) -> _Reals:
        """(n,) float64: d value / d coordinate."""
        values = self.values(point)
        spans = list(self.ranges.values())
        return np.array(
            [
                value * np.log(span.high / span.low) if span.scale == "log" else span.high - span.low
                for value, span in zip(values, spans, strict=True)
            ]
        )

    def point(self, values: Mapping[str, float]) -> _Reals:
        """(n,) float64: the point of the cube with these values, by name; values outside a range end up at its border."""
        missing = [name for name in self.names if name not in values]
        if missing:
            raise ValueError(f"values must name {list(self.names)}, but {missing} is missing")
        found = []
        for name, span in self.ranges.items():
            value = float(values[name])
            if span.scale == "log":
                value = float(np.log(max(value, 1e-300) / span.low) / np.log(span.high / span.low))
            else:
                value = (value - span.low) / (span.high - span.low)
            found.append(value)
        return np.clip(found, 0.0, 1.0)

    def model_values(self, point: npt.ArrayLike) -> _Reals:
        """(..., n_parameters) float64, meV: the model's parameters, in its order."""
        q = self.values(point)[..., : self.n_quantities]
        return np.asarray(self.offset + q @ self.linear.T)

    def image_settings(self, point: npt.ArrayLike) -> ImageSettings:
        """The settings at one point."""
        free = self.names[self.n_quantities : self.n_quantities + self.n_settings]
        values = self.values(point)[self.n_quantities :]
        return ImageSettings(**{**self.settings, **{name: float(v) for name, v in zip(free, values, strict=False)}})


def unknowns_of(configuration: Configuration, name: str) -> Unknowns:
    """The unknowns of a class of a configuration, with its priors.

    A quantity that no parameter of the class's model uses is left out; one that is fixed is no unknown.

    Raises
    ------
    ValueError
        If there is no such class, a prior is neither uniform nor loguniform, or the noise is not that of subtracted counts.
    """
    names = [rival.name for rival in configuration.classes]
    if name not in names:
        raise ValueError(f"the class must be one of {names}, got {name!r}")
    counting = configuration.detection.counting
    if not isinstance(counting, SubtractedCounting) or counting.negative != "clipped":
        raise ValueError(f"the noise must be that of subtracted counts, clipped at zero, got {counting.kind}")
    rival = configuration.classes[names.index(name)]
    drawn = {**configuration.shared, **rival.own}
    parameters = tuple(rival.spin_model().parameters)
    terms = {one: rival.derived.get(one, {one: 1.0}) for one in parameters}
    used = [q for q in drawn if any(q in term for term in terms.values())]
    free = [q for q in used if _is_free(drawn[q])]
    offset = np.array(
        [sum(f * bounds(drawn[q])[0] for q, f in terms[one].items() if q not in free) for one in parameters], float
    )
    linear = np.array([[terms[one].get(q, 0.0) for q in free] for one in parameters], dtype=np.float64)
    fields = {field: getattr(configuration.settings, field) for field in type(configuration.settings).model_fields}
    free_settings = [field for field, distribution in fields.items() if _is_free(distribution)]
    ranges = {q: _range(drawn[q], q) for q in free} | {field: _range(fields[field], field) for field in free_settings}
    for what, distribution in (("scale", configuration.detection.scale.value), ("noise", counting.factor)):
        low, high = bounds(distribution)
        if low == high:  # all but fixed, so that the cube has the same axes for every configuration
            distribution = LogUniform(low=low * 0.9999, high=high * 1.0001)
        ranges[what] = _range(distribution, what)
    return Unknowns(
        name=name,
        ranges=ranges,
        n_quantities=len(free),
        n_settings=len(free_settings),
        parameters=parameters,
        offset=offset,
        linear=linear.reshape(len(parameters), len(free)),
        settings={field: bounds(value)[0] for field, value in fields.items() if field not in free_settings},
        scale_kind=configuration.detection.scale.kind,
    )


def _is_free(distribution: float | Uniform | LogUniform | Normal | Choice) -> bool:
    low, high = bounds(distribution)
    return low < high


def _range(distribution: float | Uniform | LogUniform | Normal | Choice, what: str) -> Range:
    if isinstance(distribution, Uniform):
        return Range(distribution.low, distribution.high)
    if isinstance(distribution, LogUniform):
        return Range(distribution.low, distribution.high, "log")
    raise ValueError(f"{what} must have a uniform or loguniform prior for a fit, got {distribution}")
