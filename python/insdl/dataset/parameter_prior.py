"""What is known of parameters beforehand: a box, and where something was measured before, a normal distribution in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from insdl.dataset.configuration import Configuration
from insdl.dataset.distribution import Normal, Uniform

_Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ParameterPrior:
    """Independent priors of named parameters: flat between two bounds, or normal and cut off there.

    Attributes
    ----------
    names : of the parameters, in the order of all arrays.
    low, high : (n,) float64, units of the parameters. Bounds.
    mean, sigma : (n,) float64, units of the parameters. Of a normal prior; sigma is infinite where the prior is flat.
    """

    names: Sequence[str]
    low: _Reals
    high: _Reals
    mean: _Reals | None = None
    sigma: _Reals | None = None

    def __post_init__(self) -> None:
        names = tuple(self.names)
        if isinstance(self.names, str) or not names or len(set(names)) < len(names):
            raise ValueError(f"names must be one or more different names, got {self.names!r}")
        low, high = (np.array(bound, dtype=np.float64) for bound in (self.low, self.high))
        if low.shape != (len(names),) or high.shape != low.shape or not (low < high).all():
            raise ValueError(
                f"low must be below high, one of each for {', '.join(names)}, got {low.tolist()} and {high.tolist()}"
            )
        if not np.isfinite([low, high]).all():
            raise ValueError(f"bounds must be finite, got {low.tolist()} and {high.tolist()}")
        mean = 0.5 * (low + high) if self.mean is None else np.array(self.mean, dtype=np.float64)
        sigma = np.full(len(names), np.inf) if self.sigma is None else np.array(self.sigma, dtype=np.float64)
        if mean.shape != low.shape or sigma.shape != low.shape or not (sigma > 0).all():
            raise ValueError(
                f"mean and sigma must be one number a parameter, sigma positive, got {mean.tolist()} and {sigma.tolist()}"
            )
        for name, value in (("names", names), ("low", low), ("high", high), ("mean", mean), ("sigma", sigma)):
            object.__setattr__(self, name, value)

    @property
    def width(self) -> _Reals:
        """(n,) float64. Standard deviations: (high - low) / sqrt(12) where flat, sigma where normal, the smaller of the two."""
        flat: _Reals = (self.high - self.low) / np.sqrt(12.0)
        return np.asarray(np.minimum(flat, np.asarray(self.sigma)))

    @property
    def centre(self) -> _Reals:
        """(n,) float64. The middle of a flat prior, the mean of a normal one."""
        return np.asarray(self.mean, dtype=np.float64)

    @property
    def precision(self) -> _Reals:
        """(n,) float64. 1 / sigma^2 of the normal priors, zero where flat."""
        return np.asarray(1.0 / np.asarray(self.sigma) ** 2, dtype=np.float64)

    def contains(self, values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """(...,) bool. Which of the parameter sets, (..., n), lie within the bounds."""
        array = np.asarray(values, dtype=np.float64)
        return np.asarray(((array >= self.low) & (array <= self.high)).all(axis=-1))

    def log_density(self, values: npt.ArrayLike) -> _Reals:
        """(...,) float64. Logarithm of the prior at (..., n), without its constant; minus infinity outside the bounds."""
        array = np.asarray(values, dtype=np.float64)
        normal = -0.5 * np.sum((array - self.centre) ** 2 * self.precision, axis=-1)
        return np.where(self.contains(array), normal, -np.inf)

    def of(self, names: Sequence[str]) -> ParameterPrior:
        """The prior of some of the parameters, in the order asked for."""
        unknown = [name for name in names if name not in self.names]
        if unknown:
            raise ValueError(f"the prior is of {', '.join(self.names)}, got {unknown}")
        rows = [list(self.names).index(name) for name in names]
        return ParameterPrior(names, *(np.asarray(a)[rows] for a in (self.low, self.high, self.mean, self.sigma)))

    def also(self, name: str, *, low: float, high: float, mean: float, sigma: float = np.inf) -> ParameterPrior:
        """This prior and that of one more parameter."""
        added = (low, high, mean, sigma)
        old = (self.low, self.high, self.mean, self.sigma)
        return ParameterPrior(
            [*self.names, name], *(np.append(np.asarray(a), b) for a, b in zip(old, added, strict=True))
        )


def prior_of(configuration: Configuration, names: Sequence[str], *, label: int = 0) -> ParameterPrior:
    """The prior of model parameters and image settings that a configuration draws.

    Parameters
    ----------
    configuration : `insdl.dataset.configuration.Configuration`.
    names : parameters that the class draws as such, or fields of the settings.
    label : number of the class.

    Raises
    ------
    ValueError
        If a name is drawn neither from a uniform nor from a normal distribution.
    """
    drawn: Mapping[str, object] = {
        **{name: getattr(configuration.settings, name) for name in type(configuration.settings).model_fields},
        **configuration.shared,
        **configuration.classes[label].own,
    }
    rows = []
    for name in names:
        found = drawn.get(name)
        if isinstance(found, Uniform):
            rows.append((found.low, found.high, 0.5 * (found.low + found.high), np.inf))
        elif isinstance(found, Normal):
            rows.append((found.low, found.high, found.mean, found.sigma))
        else:
            raise ValueError(
                f"{name!r} must be drawn from a uniform or a normal distribution, got {found!r} in {configuration.name}"
            )
    return ParameterPrior(names, *np.array(rows, dtype=np.float64).T)
