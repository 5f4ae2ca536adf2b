"""A finished measurement as numbers of a planner: pixels may be clipped at zero, saturated or hot."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from insdl.dataset.configuration import SubtractedCounting
from insdl.guide.belief import Belief, beforehand, updated
from insdl.guide.compression import pooled_sum
from insdl.guide.observed import Observed
from insdl.guide.planner import Planner
from insdl.learn.likelihood import FaultyPixels, pixel_likelihood

_Reals = npt.NDArray[np.float64]
_Mask = npt.NDArray[np.bool_]
_HOT = FaultyPixels(hot=0.005, height=30.0)


def linearised(
    planner: Planner,
    counts: npt.ArrayLike,
    measured: _Mask,
    *,
    mean: npt.ArrayLike,
    time: npt.ArrayLike = 1.0,
    noise: float = 1.0,
) -> Observed:
    """The numbers of an image, from the likelihood of its pixels to second order about expected counts.

    The log-likelihood of a pixel is replaced by the parabola with the same slope and the expected curvature I at ``mean``
    (Fisher scoring), as if mean + score / I had been measured with variance 1 / I. The image's numbers follow by weighted
    least squares: pixels that were not measured weigh nothing.

    Parameters
    ----------
    counts : (n_bins, n_h, n_k), in unit time, as a file holds them: no smaller than zero.
    measured : bool, the same shape.
    mean : the same shape, counts in unit time. About which; see `belief_of`.
    time : (n_blocks,) or one number. Of counting, in units of the time of the configuration's noise.
    noise : factor on the configuration's noise.

    Raises
    ------
    ValueError
        If an array does not fit.
    """
    squeezed, values = planner.compression, np.asarray(counts, dtype=np.float64)
    counting = planner.configuration.detection.counting
    assert isinstance(counting, SubtractedCounting)
    if values.shape != planner.measured.shape or measured.shape != values.shape:
        raise ValueError(
            f"counts and measured must have shape {planner.measured.shape}, got {values.shape} and {measured.shape}"
        )
    times = np.broadcast_to(np.asarray(time, dtype=np.float64), (len(squeezed.bases),))
    if not (times > 0).all() or not noise > 0:
        raise ValueError(f"time and noise must be positive, got {times.tolist()} and {noise}")
    per_bin = times[squeezed.blocks]
    sigma = noise * np.broadcast_to(np.array(counting.sigma, dtype=np.float64), (len(values),)) * np.sqrt(per_bin)
    largest = np.inf if counting.largest is None else float(counting.largest)
    about = np.asarray(mean, dtype=np.float64)
    information, pseudo = np.zeros(values.shape), about.copy()
    for n in range(len(values)):
        seen = measured[n] & planner.measured[n]
        if not seen.any():
            continue
        t = per_bin[n]
        found = pixel_likelihood(
            t * np.clip(values[n][seen], 0.0, largest), t * about[n][seen], sigma[n], largest=t * largest, faulty=_HOT
        )
        weight = np.maximum(found.information, 1e-12)
        information[n][seen] = t * t * weight
        pseudo[n][seen] += found.score / weight / t
    total = pooled_sum(information, squeezed.pool)
    pooled = pooled_sum(information * pseudo, squeezed.pool) / np.maximum(total, 1e-300)
    numbers, covariances = [], []
    for block, basis in enumerate(squeezed.bases):
        own = squeezed.blocks == block
        root = np.sqrt(squeezed.weight[own]).ravel()
        strength = np.divide(total[own].ravel(), root**2, out=np.zeros(root.size), where=root > 0)
        normal = (basis * strength) @ basis.T
        normal += 1e-9 * max(float(np.trace(normal)), 1e-9) * np.eye(len(basis))
        covariance = np.linalg.inv(normal)
        numbers.append(covariance @ (basis @ (strength * root * pooled[own].ravel())))
        covariances.append(0.5 * (covariance + covariance.T) * times[block])
    return Observed(times.copy(), np.concatenate(numbers), tuple(covariances))


def belief_of(
    planner: Planner,
    counts: npt.ArrayLike,
    measured: _Mask,
    *,
    time: npt.ArrayLike = 1.0,
    noise: float = 1.0,
    rounds: int = 3,
    n_particles: int = 512,
    seed: int = 0,
) -> Belief:
    """What a finished measurement says: linearised about what is expected beforehand, then about what was found."""
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    typical = np.sqrt(planner.scale.low * planner.scale.high)
    rates = typical * np.mean([one.mean for one in planner.surrogates.values()], axis=0) + planner.background_mean
    belief = beforehand(planner, n_particles=n_particles, seed=seed)
    for number in range(rounds):
        observed = linearised(planner, counts, measured, mean=pixel_rates(planner, rates), time=time, noise=noise)
        belief = updated(planner, beforehand(planner, n_particles=n_particles, seed=seed + number), observed)
        rates = expected_rates(planner, belief)
    return belief


def expected_rates(planner: Planner, belief: Belief, *, model: str | None = None) -> _Reals:
    """(n_values,) float64. Numbers that a model expects (None: the most probable), averaged over its particles."""
    name = model or max(belief.particles, key=lambda one: belief.particles[one].log_evidence)
    own, seen = belief.particles[name], belief.likelihoods[name]
    scales = seen.scales(own.values)
    rates = own.weight @ (scales[:, None] * own.values)
    if seen.roots:
        coefficients, _ = seen.residuals(own.values, scales)
        rates = rates + (own.weight @ coefficients) @ planner.background
    return np.asarray(rates + planner.background_mean)


def pixel_rates(planner: Planner, rates: npt.ArrayLike) -> _Reals:
    """(n_bins, n_h, n_k) float64, counts in unit time. The image of numbers, the same in all pixels of a pooled one."""
    squeezed = planner.compression
    values = np.asarray(rates, dtype=np.float64)
    parts = [squeezed.whitened_pixels(values[own], block) for block, own in enumerate(squeezed.slices)]
    root = np.sqrt(squeezed.weight)
    image = np.divide(np.concatenate(parts), root, out=np.zeros(root.shape), where=root > 0)
    return np.repeat(np.repeat(image, squeezed.pool, axis=1), squeezed.pool, axis=2)
