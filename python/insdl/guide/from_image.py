"""A finished measurement as numbers of a planner: pixels may be clipped at zero, saturated or hot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from insdl.dataset.configuration import SubtractedCounting
from insdl.guide.belief import Belief, beforehand, updated
from insdl.guide.compression import pooled_sum
from insdl.guide.observed import Observed
from insdl.guide.planner import Planner
from insdl.learn.likelihood import FaultyPixels, PixelLikelihood, pixel_likelihood

_Reals = npt.NDArray[np.float64]
_Mask = npt.NDArray[np.bool_]
HOT = FaultyPixels(hot=0.005, height=30.0)
"""What is assumed of faulty pixels, for counts in unit time."""


def linearised(
    planner: Planner,
    counts: npt.ArrayLike,
    measured: _Mask,
    *,
    mean: npt.ArrayLike,
    time: npt.ArrayLike = 1.0,
    noise: float = 1.0,
    faulty: FaultyPixels = HOT,
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
    noise : factor on the configuration's noise. faulty : FaultyPixels, for counts in unit time.

    Raises
    ------
    ValueError
        If an array does not fit.
    """
    squeezed = planner.compression
    times = _times(planner, time)
    about = np.asarray(mean, dtype=np.float64)
    information, score = np.zeros(about.shape), np.zeros(about.shape)
    seen_at_all = np.zeros(about.shape, dtype=bool)
    for n, seen, t, found in _bins(planner, counts, measured, mean=about, times=times, noise=noise, faulty=faulty):
        information[n][seen] = t * t * np.maximum(found.information, 1e-12)
        score[n][seen] = t * found.score
        seen_at_all[n] = seen
    total = pooled_sum(information, squeezed.pool)
    # What is off is taken as the same in the pixels of a pooled one; what is expected there is their plain mean.
    pooled = squeezed.pooled(about, seen_at_all) + pooled_sum(score, squeezed.pool) / np.maximum(total, 1e-300)
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


def noise_factor(
    planner: Planner,
    counts: npt.ArrayLike,
    measured: _Mask,
    *,
    mean: npt.ArrayLike,
    time: npt.ArrayLike = 1.0,
    noise: float = 1.0,
    steps: int = 4,
    faulty: FaultyPixels = HOT,
) -> float:
    """The factor on the configuration's noise that makes an image most likely at given expected counts.

    Fisher scoring in its logarithm from ``noise`` on; the other arguments are those of `linearised`. It matters because of
    clipped pixels: what is left of noise there looks like signal.
    """
    about, times = np.asarray(mean, dtype=np.float64), _times(planner, time)
    found = noise
    for _ in range(steps):
        bins = list(_bins(planner, counts, measured, mean=about, times=times, noise=found, faulty=faulty))
        score = sum(float(one.noise_score.sum()) for _, _, _, one in bins)
        information = sum(float(one.noise_information.sum()) for _, _, _, one in bins)
        found *= float(np.exp(np.clip(score / max(information, 1e-12), -0.3, 0.3)))
    return found


def belief_of(
    planner: Planner,
    counts: npt.ArrayLike,
    measured: _Mask,
    *,
    time: npt.ArrayLike = 1.0,
    rounds: int = 3,
    n_particles: int = 512,
    seed: int = 0,
) -> Belief:
    """What a finished measurement says: linearised about what is expected beforehand, then about what was found; noise fitted.

    The last round's numbers are those of the belief. `insdl.guide.gain.surrogate_share` says whether the surrogates are good
    enough for so precise a measurement.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    typical = np.sqrt(planner.scale.low * planner.scale.high)
    rates = typical * np.mean([one.mean for one in planner.surrogates.values()], axis=0) + planner.background_mean
    belief, noise = beforehand(planner, n_particles=n_particles, seed=seed), 1.0
    for number in range(rounds):
        mean = pixel_rates(planner, rates)
        noise = noise_factor(planner, counts, measured, mean=mean, time=time, noise=noise)
        observed = linearised(planner, counts, measured, mean=mean, time=time, noise=noise)
        belief = updated(planner, beforehand(planner, n_particles=n_particles, seed=seed + number), observed)
        rates = expected_rates(planner, belief)
    return belief


def _times(planner: Planner, time: npt.ArrayLike) -> _Reals:
    times = np.broadcast_to(np.asarray(time, dtype=np.float64), (len(planner.compression.bases),))
    if not (times > 0).all():
        raise ValueError(f"time must be positive, got {times.tolist()}")
    return times


def _bins(
    planner: Planner,
    counts: npt.ArrayLike,
    measured: _Mask,
    *,
    mean: _Reals,
    times: _Reals,
    noise: float,
    faulty: FaultyPixels,
) -> Iterator[tuple[int, _Mask, float, PixelLikelihood]]:
    """Of each energy bin: its number, the pixels that were measured, its time, and their likelihood, of counts in that time."""
    values = np.asarray(counts, dtype=np.float64)
    counting = planner.configuration.detection.counting
    assert isinstance(counting, SubtractedCounting)
    if values.shape != planner.measured.shape or measured.shape != values.shape or mean.shape != values.shape:
        raise ValueError(
            f"counts and measured must have shape {planner.measured.shape}, got {values.shape} and {measured.shape}"
        )
    if not noise > 0:
        raise ValueError(f"noise must be positive, got {noise}")
    sigma = np.broadcast_to(np.array(counting.sigma, dtype=np.float64), (len(values),))
    largest = np.inf if counting.largest is None else float(counting.largest)
    for n, (own, look) in enumerate(zip(values, measured & planner.measured, strict=True)):
        if not look.any():
            continue
        t = float(times[planner.compression.blocks[n]])
        found = pixel_likelihood(
            t * np.clip(own[look], 0.0, largest),
            t * mean[n][look],
            sigma[n] * np.sqrt(t),
            noise=noise,
            largest=t * largest,
            faulty=replace(faulty, height=t * faulty.height),
        )
        yield n, look, t, found


def expected_rates(planner: Planner, belief: Belief, *, model: str | None = None) -> _Reals:
    """(n_values,) float64. Numbers that a model expects (None: the most probable), averaged over its particles."""
    name = model or max(belief.particles, key=lambda one: belief.particles[one].log_evidence)
    own, seen = belief.particles[name], belief.likelihoods[name]
    scales = seen.scales(own.values)
    rates = own.weight @ (scales[:, None] * own.values)
    if seen.used.any():
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
