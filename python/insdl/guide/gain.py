"""What more time on a block is expected to bring: information about which model is right, and where in E and Q it comes from.

For each model the numbers that a block will give are predicted from the particles: each with its most probable scale, and the
background's coefficients as the data so far leave them (a normal distribution). A model's prediction is then summarised by
mean and covariance, the spread of the particles included, so that nothing that the model could adapt to counts as evidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from insdl.dataset.randomness import generator
from insdl.guide.belief import Belief
from insdl.guide.planner import Planner

_Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model expects of a block, as rates: mean counts in unit time.

    Attributes
    ----------
    mean : (n_values,) float64. covariance : (n_values, n_values), of what is not known of the rates; counting not included.
    cross : (n_unknowns, n_values) float64. Covariance of the unknowns, in the unit cube, with the rates.
    """

    mean: _Reals
    covariance: _Reals
    cross: _Reals


@dataclass(frozen=True)
class Gain:
    """What is expected of more time on a block.

    Attributes
    ----------
    block : its number. incident_energy : meV. time : of counting.
    information : nats, 0 to log(number of models). Expected decrease of the entropy of the models' probabilities.
    log_ratio : nats. Expected growth of the log-evidence of the right model over the most probable of the others.
    """

    block: int
    incident_energy: float
    time: float
    information: float
    log_ratio: float

    @property
    def rate(self) -> float:
        """Nats per unit time: the information over the time."""
        return self.information / self.time


def predictions(planner: Planner, belief: Belief, block: int) -> dict[str, Prediction]:
    """What each model expects of a block."""
    own = planner.compression.slices[block]
    found = {}
    for name, particles in belief.particles.items():
        seen = belief.likelihoods[name]
        scales = seen.scales(particles.values)
        shapes = planner.background[:, own]
        error = seen.error_scale**2 * planner.surrogates[name].error
        unknown_error = error[own, own]
        if seen.used.any():
            coefficients, left = seen.residuals(particles.values, scales)
            # A surrogate's error is the same however often a block is measured: with A = noise so far + error E, it is
            # known to be E A^-1 (data - rates), to within E - E A^-1 E.
            known = error[own][:, seen.used] @ seen.root.T @ seen.root
            so_far = scales[:, None] * particles.values[:, seen.used] + coefficients @ planner.background[:, seen.used]
            data = (belief.observed.values - planner.background_mean)[seen.used]
            rates = scales[:, None] * particles.values[:, own] + coefficients @ shapes + (data - so_far) @ known.T
            rest = shapes - planner.background[:, seen.used] @ known.T
            unknown = rest.T @ left @ rest
            unknown_error = unknown_error - known @ error[seen.used][:, own]
        else:
            rates = scales[:, None] * particles.values[:, own]
            unknown = shapes.T @ shapes
        mean = particles.weight @ rates
        apart = rates - mean
        heavy = apart * particles.weight[:, None]
        points = particles.points - particles.weight @ particles.points
        covariance = apart.T @ heavy + unknown + 0.5 * (unknown_error + unknown_error.T)
        found[name] = Prediction(mean + planner.background_mean[own], covariance, points.T @ heavy)
    return found


def expected_gain(
    predicted: Mapping[str, Prediction],
    probabilities: Mapping[str, float],
    noise: _Reals,
    *,
    block: int,
    incident_energy: float,
    time: float,
    draws: int = 256,
    seed: int = 0,
) -> Gain:
    """The gain from ``time`` more on a block.

    Parameters
    ----------
    predicted : by model. probabilities : of the models so far; others than these are left out.
    noise : (n_values, n_values) float64. Covariance of the block's numbers after unit time.
    draws : of results of each model, over which the information is averaged.
    """
    names = list(predicted)
    prior = np.array([probabilities[name] for name in names])
    prior = prior / prior.sum()
    roots = {name: np.linalg.cholesky(noise / time + one.covariance) for name, one in predicted.items()}

    def log_density(name: str, results: _Reals) -> _Reals:
        rest = np.linalg.solve(roots[name], (results - predicted[name].mean).T)
        return np.asarray(-0.5 * np.sum(rest**2, axis=0) - np.log(np.diag(roots[name])).sum())

    information = float(_entropy(prior))
    log_ratio = 0.0
    for number, name in enumerate(names):
        normal = generator(seed, "guide/results", number).standard_normal((draws // 2, len(noise)))
        results = predicted[name].mean + np.concatenate([normal, -normal]) @ roots[name].T
        logs = np.stack([log_density(other, results) for other in names])
        with np.errstate(divide="ignore"):
            shares = logs + np.log(prior)[:, None]
        shares = np.exp(shares - shares.max(axis=0))
        shares /= shares.sum(axis=0)
        information -= prior[number] * float(np.mean(_entropy(shares)))
        if len(names) > 1:
            rivals = [i for i in range(len(names)) if i != number]
            rival = max(rivals, key=lambda i: prior[i])
            log_ratio += prior[number] * float(np.mean(logs[number] - logs[rival]))
    return Gain(block, incident_energy, time, max(0.0, information), log_ratio)


def gains(
    planner: Planner, belief: Belief, *, time: float, blocks: Sequence[int] | None = None, seed: int = 0
) -> list[Gain]:
    """The gain from ``time`` more on each block, the largest information first (the largest ratio where nothing is open)."""
    if not time > 0:
        raise ValueError(f"time must be positive, got {time}")
    chosen = range(len(planner.incident_energies)) if blocks is None else blocks
    found = [
        expected_gain(
            predictions(planner, belief, block),
            belief.probabilities,
            belief.observed.covariance[block],
            block=block,
            incident_energy=float(planner.incident_energies[block]),
            time=time,
            seed=seed,
        )
        for block in chosen
    ]
    return sorted(found, key=lambda one: (round(one.information, 6), one.log_ratio), reverse=True)


def evidence_map(planner: Planner, belief: Belief, block: int, *, time: float, pair: tuple[str, str]) -> _Reals:
    """Where in a block the evidence between two models is expected.

    With d the difference of the predicted means and S the mean of both models' covariances, counting included, the expected
    log-ratio from the means is 1/2 d^T S^-1 d (Fisher's linear discriminant). Written in pixels it is a sum of one term a
    pixel; what a pixel gives only together with others, such as in fixing the background, is in those others' terms.

    Returns
    -------
    (n_bins of the block, n_h, n_k) float64, nats. Sums to the whole; a term may be negative.
    """
    predicted = predictions(planner, belief, block)
    unknown = [name for name in pair if name not in predicted]
    if unknown or pair[0] == pair[1]:
        raise ValueError(f"pair must be two of {list(predicted)}, got {list(pair)}")
    one, other = (predicted[name] for name in pair)
    apart = one.mean - other.mean
    total = belief.observed.covariance[block] / time + 0.5 * (one.covariance + other.covariance)
    weights = np.linalg.solve(total, apart)
    squeezed = planner.compression
    return 0.5 * squeezed.whitened_pixels(apart, block) * squeezed.whitened_pixels(weights, block)


def expected_errors(planner: Planner, belief: Belief, block: int, *, model: str, time: float) -> dict[str, float]:
    """Standard deviations of a model's unknowns, in their units, after ``time`` more on a block.

    The linear update of the particles' covariance, as in an ensemble Kalman filter (Evensen, Ocean Dynamics 53, 343 (2003)):
    C - X^T (S + noise / time)^-1 X, with X the covariance of unknowns and rates. A time of zero gives the errors so far.
    """
    if model not in belief.particles:
        raise ValueError(f"model must be one of {list(belief.particles)}, got {model!r}")
    particles = belief.particles[model]
    points = particles.points - particles.weight @ particles.points
    covariance = (points.T * particles.weight) @ points
    if time > 0:
        one = predictions(planner, belief, block)[model]
        total = one.covariance + belief.observed.covariance[block] / time
        covariance = covariance - one.cross @ np.linalg.solve(total, one.cross.T)
    unknowns = planner.unknowns[model]
    centre = np.concatenate([particles.weight @ particles.points, [0.5, 0.5]])
    slopes = unknowns.slopes(centre)[:-2]
    errors = np.sqrt(np.maximum(np.diag(covariance), 0.0)) * slopes
    return dict(zip(unknowns.names[:-2], errors.tolist(), strict=True))


def surrogate_share(planner: Planner, belief: Belief) -> dict[str, float]:
    """By model, 0 to 1: the share of a surrogate's error in what a measurement's numbers are uncertain by.

    Well below one half the probabilities are those of the models; above, the surrogate is not good enough for the
    measurement, and its error, which is not quite normal, can decide.
    """
    found = {}
    for name, particles in belief.particles.items():
        scale = float(particles.weight @ belief.likelihoods[name].scales(particles.values))
        error, noise = 0.0, 0.0
        for own, time, covariance in zip(
            planner.compression.slices, belief.observed.time, belief.observed.covariance, strict=True
        ):
            if time > 0:
                error += scale**2 * float(
                    np.trace(np.linalg.solve(covariance / time, planner.surrogates[name].error[own, own]))
                )
                noise += len(covariance)
        found[name] = error / (error + noise) if error + noise > 0 else 0.0
    return found


def _entropy(shares: _Reals) -> _Reals:
    """Nats. Of probabilities along the first axis."""
    logs = np.log(np.where(shares > 0, shares, 1.0))
    return np.asarray(-np.sum(shares * logs, axis=0))
