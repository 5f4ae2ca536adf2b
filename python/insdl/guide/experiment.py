"""A simulated experiment that can be measured bit by bit: any incident energy, for any time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from insdl.dataset.configuration import SubtractedCounting
from insdl.dataset.configured import ConfiguredSource
from insdl.dataset.distribution import draw
from insdl.dataset.randomness import generator
from insdl.guide.planner import Planner
from insdl.instrument.counts import count_images

_Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Experiment:
    """A sample in an instrument.

    Attributes
    ----------
    truth : what the image is of. number : of the experiment; what it is made of depends on it.
    mean : (n_bins, n_h, n_k) float32, counts in unit time, everything that is not magnetic included.
    sigma : (n_bins,) float64, counts. Noise of an empty pixel after unit time.
    covariance : of the numbers of each block after unit time, see `Compression.covariance`: what error bars of pixels say.
    """

    truth: str
    number: int
    mean: npt.NDArray[np.float32]
    sigma: _Reals
    covariance: tuple[_Reals, ...]


def experiment(
    planner: Planner, source: ConfiguredSource, image: npt.NDArray[np.floating], *, truth: str, number: int, stream: str
) -> Experiment:
    """An experiment on a sample with this image, at scale, orientation and with a background drawn from the configuration.

    Faulty pixels are left out: what is wrong with a detector is known before an experiment.

    Parameters
    ----------
    source : of the configuration; its detector draws the background.
    image : (n_bins, n_h, n_k), counts at any scale. number, stream : of the random numbers.
    """
    detector = source.detector
    rng = generator(detector.seed, f"{stream}/detection", number)
    mean = _without_faults(source).expected(np.asarray(image, dtype=np.float32), rng)
    counting = planner.configuration.detection.counting
    assert isinstance(counting, SubtractedCounting)
    sigma = np.asarray(detector.noise_sigma, dtype=np.float64) * draw(counting.factor, rng)
    variance = sigma[:, None, None] ** 2 + np.maximum(mean, 0.0)
    pooled = planner.compression.pooled(variance, planner.measured) / np.maximum(planner.compression.pixels, 1.0)
    return Experiment(truth, number, mean, sigma, tuple(planner.compression.covariance(pooled)))


def measured(planner: Planner, one: Experiment, block: int, time: float, *, run: int, stream: str) -> _Reals:
    """(n_values of the block,) float64. Numbers of a measurement of a block for ``time``, as mean counts in unit time.

    Counts in time t are t mean + N(0, t (sigma^2 + mean)); negative ones are kept, as a subtraction leaves them.

    Parameters
    ----------
    run : number of the measurement; another one has other noise.
    """
    squeezed = planner.compression
    own = squeezed.blocks == block
    expected = np.ascontiguousarray(np.float32(time) * one.mean[None, own])
    counts = count_images(
        expected, seed=one.number, stream=f"{stream}/counts/{block}", indices=[run], form="subtracted",
        sigma=one.sigma[own] * np.sqrt(time), lowest=-np.inf, threads=1,
    )[0]  # fmt: skip
    pooled = squeezed.pooled(counts / time, planner.measured[own])
    white = pooled * np.sqrt(squeezed.weight[own])
    return np.asarray(squeezed.bases[block] @ white.ravel())


def _without_faults(source: ConfiguredSource):  # type: ignore[no-untyped-def]
    from copy import copy

    nuisances = source.detector.prior.nuisances
    off = {
        name: getattr(nuisances, name).model_copy(update={"probability": 0.0}) for name in ("hot_pixels", "dead_pixels")
    }
    detector = copy(source.detector)
    detector.prior = source.detector.prior.model_copy(update={"nuisances": nuisances.model_copy(update=off)})
    return detector
