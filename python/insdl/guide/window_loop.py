"""The closed loop for error bars: count windows for some time, refine the parameters, share out the next batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from insdl.dataset.parameter_prior import ParameterPrior
from insdl.dataset.randomness import generator
from insdl.guide.allocation import WindowInformation, best_allocation, time_needed, window_information
from insdl.learn.counting_likelihood import CountingProblem, fit_scale
from insdl.learn.information import Expected
from insdl.learn.refinement import Refinement, refine

_Reals = npt.NDArray[np.float64]
_Mask = npt.NDArray[np.bool_]
Strategy = Literal["guided", "even"]


@dataclass(frozen=True, eq=False)
class Sample:
    """What is measured: rates that nobody knows.

    Attributes
    ----------
    values : (n,) float64. Of the prior's parameters. rate : (n_windows, n_h, n_k) float64, counts a pixel and unit time.
    measured : bool, the same shape. number : of the random numbers.
    """

    values: _Reals
    rate: _Reals
    measured: _Mask
    number: int


@dataclass(frozen=True, eq=False)
class WindowOutcome:
    """How a loop ended.

    Attributes
    ----------
    strategy : of it. time : (n_windows,) spent. refinement : of all counts. reached : whether all targets were.
    batches : how many.
    """

    strategy: Strategy
    time: _Reals
    refinement: Refinement
    reached: bool
    batches: int

    @property
    def total(self) -> float:
        """Counting time in all."""
        return float(self.time.sum())


def window_loop(
    sample: Sample,
    expected: Expected,
    *,
    prior: ParameterPrior,
    targets: Mapping[str, float],
    strategy: Strategy,
    starts: tuple[_Reals, npt.NDArray[Any]],
    first: float,
    growth: float = 1.5,
    longest: float = 1e4,
    told: Callable[[Refinement], None] | None = None,
) -> WindowOutcome:
    """Counting until the error bars of a refinement are at their targets.

    Parameters
    ----------
    expected : images (n, n_windows, n_h, n_k) for rows of the prior's parameters.
    targets : wanted standard deviations by parameter.
    strategy : "even" shares each batch evenly among the windows, "guided" as `best_allocation` says at the refined values.
        The first batch is even for both.
    starts : parameters (n, n_parameters) and their images, among which the first refinement starts with the likeliest.
    first : total time of the first batch. growth : of the total time by a batch at most; one that is expected to be
        sufficient when shorter is. longest : total time at which the loop gives up.

    Raises
    ------
    ValueError
        If the strategy is unknown.
    """
    if strategy not in ("guided", "even"):
        raise ValueError(f"strategy must be 'guided' or 'even', got {strategy!r}")
    n_windows = len(sample.measured)
    time, counts = np.zeros(n_windows), np.zeros(sample.rate.shape)
    batch, number = np.full(n_windows, first / n_windows), 0
    start: _Reals | None = None
    while True:
        rng = generator(sample.number, f"guide/windows/{strategy}", number)
        counts += rng.poisson(sample.rate * batch[:, None, None])
        time, number = time + batch, number + 1
        problem = CountingProblem(counts, sample.measured & (time > 0)[:, None, None])
        found, known = refined(problem, expected, prior=prior, time=time, starts=starts, start=start)
        start = found.estimate
        if told is not None:
            told(found)
        reached = all(found.error[name] <= wanted for name, wanted in targets.items())
        if reached or time.sum() >= longest * (1 - 1e-9):
            return WindowOutcome(strategy, time, found, reached, number)
        most = min(time.sum() * (growth - 1.0), longest - time.sum())
        shares = np.full(n_windows, 1.0 / n_windows)
        if strategy == "guided":
            shares = best_allocation(known, targets=targets, time=most, spent=time) / most
        needed = time_needed(known, targets=targets, shares=shares, spent=time)
        batch = shares * min(most, 1.05 * max(needed, 0.02 * float(time.sum())))


def refined(
    problem: CountingProblem,
    expected: Expected,
    *,
    prior: ParameterPrior,
    time: _Reals,
    starts: tuple[_Reals, npt.NDArray[Any]],
    start: _Reals | None = None,
) -> tuple[Refinement, WindowInformation]:
    """The refined parameters of counts, and what unit time more in each window tells there.

    Parameters
    ----------
    time : (n_windows,) float64. Of counting so far in each window; those with none must not be measured in the problem.
    starts, start : see `window_loop`; a given start goes before them.
    """
    timed = _timed(expected, time)
    begin = _best_start(problem, starts, time) if start is None else start
    found = refine(problem, timed, prior=prior, start=_inside(begin, prior))
    known = window_information(
        expected,
        _inside(found.estimate, prior),
        prior=prior,
        measured=np.broadcast_to(problem.measured.any(axis=0), problem.measured.shape),
        scale=max(found.scale, 1e-12),
        background=_levels(found, problem.measured, time),
    )
    return found, known


def _timed(expected: Expected, time: _Reals) -> Expected:
    """Images times the time of each window: what counts are proportional to."""
    return lambda rows: np.asarray(expected(rows)) * time[:, None, None]


def _best_start(problem: CountingProblem, starts: tuple[_Reals, npt.NDArray[Any]], time: _Reals) -> _Reals:
    rows, images = starts
    likely = [fit_scale(problem, image * time[:, None, None], steps=3).log_likelihood for image in images]
    return np.asarray(rows[int(np.argmax(likely))])


def _inside(values: _Reals, prior: ParameterPrior) -> _Reals:
    """A little inside the bounds, where derivatives can be taken on both sides."""
    margin = 2e-3 * (prior.high - prior.low)
    return np.clip(values, prior.low + margin, prior.high - margin)


def _levels(found: Refinement, used: _Mask, time: _Reals) -> _Reals:
    """(n_windows,) float64. Backgrounds in counts a pixel and unit time; the mean of the others where nothing was measured."""
    seen = used.any(axis=(1, 2))
    levels = np.full(len(time), np.nan)
    levels[seen] = np.maximum(found.levels[: int(seen.sum())], 0.0) / time[seen]
    levels[~seen] = float(np.mean(levels[seen]))
    return levels
