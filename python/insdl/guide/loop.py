"""The closed loop: measure a batch, update what is known, choose the next batch, until a verdict is certain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from insdl.guide.belief import Belief, beforehand, updated
from insdl.guide.experiment import Experiment, measured
from insdl.guide.gain import gains
from insdl.guide.observed import Observed
from insdl.guide.planner import Planner

_Reals = npt.NDArray[np.float64]
Strategy = Literal["guided", "even"]


@dataclass(frozen=True)
class LoopSettings:
    """How long batches are, and when to stop.

    Attributes
    ----------
    first : total time of the first batch; 1 is the time of the configuration's noise at one incident energy.
    growth : each batch makes the total time larger by this factor. longest : total time at which the loop gives up.
    confidence : probability at which it stops. parts : a guided batch is spent in so many parts, each where it is best.
    n_particles, moves : see `insdl.guide.belief`. seed : of particles and moves.
    """

    first: float = 0.002
    growth: float = 1.3
    longest: float = 6.0
    confidence: float = 0.95
    parts: int = 1
    n_particles: int = 512
    moves: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if not (0 < self.first <= self.longest and self.growth > 1 and 0.5 < self.confidence < 1 and self.parts >= 1):
            raise ValueError(
                f"a loop needs 0 < first <= longest, growth over 1, confidence in 0.5 to 1 and parts, got {self}"
            )


@dataclass(frozen=True, eq=False)
class Outcome:
    """How a loop ended.

    Attributes
    ----------
    strategy : how it chose. truth : of the experiment. verdict : the most probable at the end. probability : of it.
    certain : whether the probability reached the confidence. time : (n_blocks,) spent on each.
    totals, probabilities : of the most probable after each batch, and the total times.
    """

    strategy: Strategy
    truth: str
    verdict: str
    probability: float
    certain: bool
    time: _Reals
    totals: tuple[float, ...]
    probabilities: tuple[float, ...]
    belief: Belief

    @property
    def total(self) -> float:
        """Counting time in all."""
        return float(self.time.sum())


def closed_loop(
    planner: Planner,
    one: Experiment,
    *,
    strategy: Strategy,
    settings: LoopSettings | None = None,
    told: Callable[[Belief], None] | None = None,
) -> Outcome:
    """An experiment until its verdict is certain.

    Batches are equally long for both strategies: "even" divides each among all blocks, "guided" spends it where the expected
    information about the models is largest. Both stop by the same rule.

    Raises
    ------
    ValueError
        If the strategy is unknown.
    """
    if strategy not in ("guided", "even"):
        raise ValueError(f"strategy must be 'guided' or 'even', got {strategy!r}")
    chosen = settings or LoopSettings()
    n_blocks = len(planner.incident_energies)
    stream = f"guide/{strategy}"
    belief = beforehand(planner, n_particles=chosen.n_particles, seed=chosen.seed + one.number)
    seen = Observed(np.zeros(n_blocks), np.zeros(len(planner.background_mean)), one.covariance)
    totals, found, run, total = [], [], 0, 0.0
    while True:
        batch = chosen.first if not total else min(total * (chosen.growth - 1.0), chosen.longest - total)
        if strategy == "even":
            spent = np.full(n_blocks, batch / n_blocks)
        else:
            ranked = gains(planner, belief, time=batch, seed=run)
            spent = np.zeros(n_blocks)
            for best in ranked[: chosen.parts]:
                spent[best.block] = batch / chosen.parts
        for block in np.flatnonzero(spent):
            values = measured(planner, one, int(block), float(spent[block]), run=run, stream=stream)
            seen = seen.added(int(block), float(spent[block]), values)
        run, total = run + 1, total + batch
        belief = updated(planner, belief, seen, moves=chosen.moves)
        verdict, probability = belief.best
        totals.append(total)
        found.append(probability)
        if told is not None:
            told(belief)
        if probability >= chosen.confidence or total >= chosen.longest * (1 - 1e-9):
            return Outcome(
                strategy, one.truth, verdict, probability, probability >= chosen.confidence, seen.time, tuple(totals),
                tuple(found), belief,
            )  # fmt: skip
