"""What a measurement can tell about each parameter, in words: measured, weak, or no more than was put in.

r is the width of the posterior over that of the prior, both standard deviations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from insdl.dataset.parameter_prior import ParameterPrior
from insdl.learn.information import Information, covariance, fixed, with_prior

_Reals = npt.NDArray[np.float64]
Word = Literal["measured", "weak", "this is your prior"]

MEASURED, WEAK = 0.3, 0.7
"""Posterior over prior width: below the first "measured", above the second "this is your prior"."""
CALIBRATION = 2.0
"""By what factor the instrument's nuisances must widen a posterior for "this comes from your calibration"."""
_TOLD = 0.05  # of the largest change in prior widths: smaller ones are not told in words


def word(ratio: float) -> Word:
    """What a posterior of ``ratio`` times the prior's width is worth."""
    if not ratio >= 0:
        raise ValueError(f"the ratio of two widths must not be negative, got {ratio}")
    return "measured" if ratio < MEASURED else "weak" if ratio <= WEAK else "this is your prior"


@dataclass(frozen=True)
class Worth:
    """What is known about one parameter.

    Attributes
    ----------
    name : of the parameter. error, prior_width : standard deviations, units of the parameter.
    ratio : error over prior width. ratio_known_instrument : the same if the instrument were known exactly.
    word : see `word`. calibration : whether the error is the calibration's, see `CALIBRATION`.
    """

    name: str
    error: float
    prior_width: float
    ratio: float
    ratio_known_instrument: float
    word: Word
    calibration: bool

    @property
    def sentence(self) -> str:
        """In one line, such as "J1: this is your prior"."""
        tail = (
            f"; this comes from your calibration (r = {self.ratio_known_instrument:.2g} if the instrument were known)"
            if self.calibration
            else ""
        )
        return f"{self.name}: {self.word} (r = {self.ratio:.2g}{tail})"


@dataclass(frozen=True, eq=False)
class Identifiability:
    """What a measurement can tell about all parameters.

    Attributes
    ----------
    worths : one for each parameter.
    weak_direction : change by parameter, its units: one standard deviation along the direction that is known worst.
    weak_ratio : posterior over prior width along it.
    direction : `weak_direction` in words.
    """

    worths: tuple[Worth, ...]
    weak_direction: Mapping[str, float]
    weak_ratio: float
    direction: str

    def of(self, name: str) -> Worth:
        """The worth of one parameter."""
        for worth in self.worths:
            if worth.name == name:
                return worth
        raise ValueError(f"the statement is about {', '.join(w.name for w in self.worths)}, got {name!r}")

    @property
    def sentences(self) -> list[str]:
        """All of it, one line a parameter and one for the weak direction."""
        return [*(worth.sentence for worth in self.worths), self.direction]


def identifiability(
    information: Information,
    *,
    prior: ParameterPrior,
    values: npt.ArrayLike,
    instrument: Sequence[str] = (),
) -> Identifiability:
    """What counts with this information can tell about each parameter that is not the instrument's.

    Parameters
    ----------
    information : about all parameters of the prior, scale and backgrounds left out; see `counting_information`.
    prior : of parameters and of the instrument's nuisances.
    values : (n,) float64. Where the information was taken, in the prior's order: for the words about the weak direction.
    instrument : names of the prior that belong to the instrument, such as "energy_zero" and "width_factor".

    Raises
    ------
    ValueError
        If the names do not fit or nothing but the instrument is left.
    """
    names = tuple(name for name in prior.names if name not in instrument)
    wrong = [name for name in instrument if name not in prior.names]
    if wrong or not names or set(information.names) != set(prior.names):
        raise ValueError(
            f"information and prior must name the same parameters, the instrument's among them, got "
            f"{list(information.names)}, {list(prior.names)} and {list(instrument)}"
        )
    point = dict(zip(prior.names, np.asarray(values, dtype=np.float64), strict=True))
    own = prior.of(names)
    width = dict(zip(prior.names, map(float, prior.width), strict=True))
    posterior = with_prior(information, width)
    rows = posterior.rows(names)
    spread = covariance(posterior)[np.ix_(rows, rows)]
    known = covariance(fixed(posterior, names))
    worths = []
    for i, name in enumerate(names):
        error, alone = float(np.sqrt(spread[i, i])), float(np.sqrt(known[i, i]))
        ratio = error / width[name]
        worths.append(
            Worth(name, error, width[name], ratio, alone / width[name], word(ratio), bool(error > CALIBRATION * alone))
        )
    values_, vectors = np.linalg.eigh(spread / np.outer(own.width, own.width))
    change = vectors[:, -1] * np.sqrt(values_[-1]) * own.width
    direction = dict(zip(names, map(float, change * np.sign(change[np.argmax(np.abs(vectors[:, -1]))])), strict=True))
    ratio = float(np.sqrt(values_[-1]))
    words = direction_in_words(direction, point)
    return Identifiability(tuple(worths), direction, ratio, f"Known worst (r = {ratio:.2g}): {words}.")


def identifiability_of(
    covariance: npt.ArrayLike,
    *,
    prior: npt.ArrayLike,
    names: Sequence[str],
    values: npt.ArrayLike,
    known: npt.ArrayLike | None = None,
) -> Identifiability:
    """What a posterior says about each parameter, from its covariance and the prior's.

    The direction that is known worst is that of the largest v^T C v / v^T P v, C and P the covariances: the same whatever
    linear combinations of the parameters are looked at.

    Parameters
    ----------
    covariance, prior : (n, n) float64, products of the parameters' units. Of the posterior and of the prior.
    names : of the parameters. values : (n,) float64. The posterior's mean, for the words about the direction.
    known : (n, n) float64. Covariance of the posterior if the instrument were known; None where that was not worked out, and
        nothing is said about it.

    Raises
    ------
    ValueError
        If the shapes do not fit or a matrix is not a covariance.
    """
    n = len(names)
    spread, before, alone = (
        np.asarray(c, dtype=np.float64) for c in (covariance, prior, covariance if known is None else known)
    )
    for what, matrix in (("covariance", spread), ("prior", before), ("known", alone)):
        if matrix.shape != (n, n) or not np.isfinite(matrix).all() or not (np.linalg.eigvalsh(matrix) > 0).all():
            raise ValueError(f"{what} must be a covariance of {n} parameters, got {matrix.tolist()}")
    point = dict(zip(names, np.asarray(values, dtype=np.float64), strict=True))
    width, errors, fixed_errors = (np.sqrt(np.diag(matrix)) for matrix in (before, spread, alone))
    worths = tuple(
        Worth(name, float(e), float(w), float(e / w), float(a / w), word(e / w), bool(e > CALIBRATION * a))
        for name, e, w, a in zip(names, errors, width, fixed_errors, strict=True)
    )
    factor = np.linalg.cholesky(before)
    white = np.linalg.solve(factor, np.linalg.solve(factor, spread).T)
    sizes, vectors = np.linalg.eigh(0.5 * (white + white.T))
    change = factor @ vectors[:, -1] * np.sqrt(sizes[-1])
    change *= np.sign(change[np.argmax(np.abs(change / width))])
    ratio = float(np.sqrt(sizes[-1]))
    direction = dict(zip(names, map(float, change), strict=True))
    part = np.abs(change / width)
    told = {name: direction[name] for name, size in zip(names, part, strict=True) if size > _TOLD * part.max()}
    return Identifiability(
        worths, direction, ratio, f"Known worst (r = {ratio:.2g}): {direction_in_words(told, point)}."
    )


def direction_in_words(change: Mapping[str, float], values: Mapping[str, float]) -> str:
    """A direction among parameters in words.

    Parameters
    ----------
    change : by parameter, its units. values : where.
    """
    moved = np.array(list(change.values()))
    point = np.array([values[name] for name in change])
    size = float(np.linalg.norm(moved) * np.linalg.norm(point))
    if len(change) > 1 and size > 0 and abs(float(moved @ point)) > (1.0 - 1e-4) * size:
        return f"{_listed(list(change))} all changed by the same factor"
    largest = max(change, key=lambda name: abs(change[name]))
    parts = [f"{largest} {'up' if change[largest] > 0 else 'down'} by {abs(change[largest]):.2g}"]
    for name in change:
        if name != largest and abs(change[name]) > 0.02 * abs(change[largest]):
            parts.append(f"{name} {'up' if change[name] > 0 else 'down'} by {abs(change[name]):.2g}")
    return parts[0] if len(parts) == 1 else f"{parts[0]} together with {_listed(parts[1:])}"


@dataclass(frozen=True)
class Remedy:
    """Another way to measure. windows : (low, high) of each energy window, meV. error : of the parameter. ratio : r."""

    windows: tuple[tuple[float, float], ...]
    error: float
    ratio: float


def remedies(
    name: str,
    candidates: Sequence[Sequence[tuple[float, float]]],
    information: Callable[[tuple[tuple[float, float], ...]], Information],
    *,
    prior: ParameterPrior,
) -> list[Remedy]:
    """Ways to bin the same counts, best first for one parameter.

    Parameters
    ----------
    name : of the parameter.
    candidates : lists of energy windows, meV.
    information : of a list of windows, about the parameters of the prior.
    prior : of these parameters.
    """
    width = dict(zip(prior.names, map(float, prior.width), strict=True))
    if name not in width:
        raise ValueError(f"the prior is of {', '.join(width)}, got {name!r}")
    found = []
    for candidate in candidates:
        windows = tuple((float(low), float(high)) for low, high in candidate)
        known = with_prior(information(windows), width)
        error = float(np.sqrt(covariance(known)[known.rows([name])[0], known.rows([name])[0]]))
        found.append(Remedy(windows, error, error / width[name]))
    return sorted(found, key=lambda remedy: remedy.error)


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
