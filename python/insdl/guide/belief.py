"""How probable each model is after what was measured so far, and what of its unknowns is left: particles that are moved along.

Iterated batch importance sampling (Chopin, Biometrika 89, 539 (2002)): particles from the prior are weighted by what each
batch of data adds to the likelihood, and the mean weights multiply up to the evidence. When few particles carry most of the
weight they are drawn anew and each makes some Metropolis steps, so that they never thin out; a batch that says too much at
once is taken in parts (tempering).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from insdl.dataset.randomness import generator
from insdl.guide.observed import Likelihood, Observed, likelihood, none_log_likelihood, nothing
from insdl.guide.planner import Planner

_Reals = npt.NDArray[np.float64]
NONE = "none of these"
_ENOUGH = 0.5  # of the particles: below that effective number they are drawn anew


@dataclass(frozen=True, eq=False)
class Particles:
    """What is known about one model.

    Attributes
    ----------
    points : (n, n_unknowns) float64, unit cube. values : (n, n_values), of the surrogate there.
    log_weight : (n,) float64, normalised. log_likelihood : (n,) of the data so far, at the points.
    log_evidence : of the data so far.
    """

    points: _Reals
    values: _Reals
    log_weight: _Reals
    log_likelihood: _Reals
    log_evidence: float

    @property
    def weight(self) -> _Reals:
        """(n,) float64, sum one."""
        return np.exp(self.log_weight)

    @property
    def effective(self) -> float:
        """The effective number of particles, 1 / sum of squared weights."""
        return float(1.0 / np.sum(self.weight**2))


@dataclass(frozen=True, eq=False)
class Belief:
    """What is known after a measurement.

    Attributes
    ----------
    observed : Observed. particles : by model. likelihoods : by model, of the data so far.
    log_none : log-evidence of "none of these". updates : how often it was updated. seed : of what is random.
    """

    observed: Observed
    particles: Mapping[str, Particles]
    likelihoods: Mapping[str, Likelihood]
    log_none: float
    updates: int
    seed: int

    @property
    def probabilities(self) -> dict[str, float]:
        """Of the models and of `NONE`, all equally probable beforehand."""
        logs = np.array([*(one.log_evidence for one in self.particles.values()), self.log_none])
        shares = np.exp(logs - logs.max())
        return dict(zip((*self.particles, NONE), (shares / shares.sum()).tolist(), strict=True))

    @property
    def best(self) -> tuple[str, float]:
        """The most probable of them and its probability."""
        found = self.probabilities
        name = max(found, key=lambda one: found[one])
        return name, found[name]


def beforehand(planner: Planner, *, n_particles: int = 512, seed: int = 0) -> Belief:
    """Before the first neutron: particles spread over the priors."""
    if n_particles < 10:
        raise ValueError(f"n_particles must be at least 10, got {n_particles}")
    empty = nothing(planner)
    particles = {}
    for number, (name, surrogate) in enumerate(planner.surrogates.items()):
        points = generator(seed, "guide/particles", number).random((n_particles, len(planner.unknowns[name].names) - 2))
        flat = np.full(n_particles, -np.log(n_particles))
        particles[name] = Particles(points, surrogate(points), flat, np.zeros(n_particles), 0.0)
    likelihoods = {name: likelihood(planner, empty) for name in particles}
    return Belief(empty, particles, likelihoods, 0.0, 0, seed)


def updated(planner: Planner, belief: Belief, observed: Observed, *, moves: int = 3) -> Belief:
    """The belief after more was measured.

    Parameters
    ----------
    observed : all that was measured so far, what the belief knew included.
    moves : Metropolis steps after particles were drawn anew.
    """
    particles, likelihoods = {}, {}
    scale = _typical_scale(belief)
    for number, (name, own) in enumerate(belief.particles.items()):
        rng = generator(belief.seed, f"guide/moves/{name}", belief.updates)
        now = likelihood(planner, observed, error=planner.surrogates[name].error, scale=scale)
        particles[name] = _moved_on(planner, name, own, belief.likelihoods[name], now, rng, moves)
        likelihoods[name] = now
        del number
    return Belief(
        observed, particles, likelihoods, none_log_likelihood(planner, observed), belief.updates + 1, belief.seed
    )


def _typical_scale(belief: Belief) -> float:
    """counts. The mean signal that the best model's particles find."""
    name = max(belief.particles, key=lambda one: belief.particles[one].log_evidence)
    own = belief.particles[name]
    return float(own.weight @ belief.likelihoods[name].scales(own.values))


def _moved_on(
    planner: Planner,
    name: str,
    own: Particles,
    before: Likelihood,
    now: Likelihood,
    rng: np.random.Generator,
    moves: int,
) -> Particles:
    new = now.log(own.values)
    old = own.log_likelihood
    done, evidence = 0.0, own.log_evidence
    while True:
        # As much of the batch as leaves enough effective particles; all of it where that is possible.
        step = _part(own.log_weight, new - old, 1.0 - done)
        raised = own.log_weight + step * (new - old)
        total = _log_sum(raised)
        evidence += total
        done += step
        own = replace(own, log_weight=raised - total)
        if own.effective < _ENOUGH * len(raised):
            own, old, new = _renewed(planner, name, own, old, new, done, before, now, rng, moves)
        if done >= 1.0 - 1e-9:
            return replace(own, log_likelihood=new, log_evidence=evidence)


def _part(log_weight: _Reals, change: _Reals, most: float) -> float:
    """How much of the change, at most ``most``, leaves an effective number of a third of the particles, by bisection."""

    def effective(step: float) -> float:
        raised = log_weight + step * change
        weight = np.exp(raised - raised.max())
        return float(weight.sum() ** 2 / np.sum(weight**2))

    least = len(log_weight) / 3.0
    if effective(most) >= least:
        return most
    low, high = 0.0, most
    for _ in range(30):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if effective(middle) >= least else (low, middle)
    return max(low, 1e-4 * most)


def _renewed(
    planner: Planner, name: str, own: Particles, old: _Reals, new: _Reals, done: float, before: Likelihood,
    now: Likelihood, rng: np.random.Generator, moves: int,
) -> tuple[Particles, _Reals, _Reals]:  # fmt: skip
    """Particles drawn by their weights (systematic resampling), then moved by random-walk Metropolis steps."""
    n, d = own.points.shape
    mean = own.weight @ own.points
    spread = (own.points - mean).T @ ((own.points - mean) * own.weight[:, None]) + 1e-10 * np.eye(d)
    root = np.linalg.cholesky(spread)
    places = (rng.random() + np.arange(n)) / n
    chosen = np.minimum(np.searchsorted(np.cumsum(own.weight), places), n - 1)
    points, values, old, new = own.points[chosen], own.values[chosen], old[chosen], new[chosen]
    for number in range(moves):
        # 2.38 / sqrt(d) is best for a normal target (Roberts, Gelman, Gilks, Ann. Appl. Probab. 7, 110 (1997)); smaller
        # steps between help where it is not.
        size = 2.38 / np.sqrt(d) * (1.0, 0.4)[number % 2]
        trial = points + size * rng.standard_normal((n, d)) @ root.T
        trial = np.abs(np.mod(trial + 1.0, 2.0) - 1.0)  # reflected at the faces of the cube, which is symmetric
        made = planner.surrogates[name](trial)
        trial_old, trial_new = before.log(made), now.log(made)
        gain = (1.0 - done) * (trial_old - old) + done * (trial_new - new)
        taken = np.log(rng.random(n)) < gain
        points = np.where(taken[:, None], trial, points)
        values = np.where(taken[:, None], made, values)
        old, new = np.where(taken, trial_old, old), np.where(taken, trial_new, new)
    flat = np.full(n, -np.log(n))
    return replace(own, points=points, values=values, log_weight=flat), old, new


def _log_sum(logs: _Reals) -> float:
    top = float(logs.max())
    return top + float(np.log(np.sum(np.exp(logs - top))))
