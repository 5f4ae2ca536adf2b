"""Goodenough against dimer as MAPS would have measured them: priors and detection.

Ranges: wide enough to hold what fits the measurement, not centred on it. What both models have (JA, Jperp, D, and the mean
ferromagnetic exchange along the chain) has one range for both, so that those do not give the model away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from insdl.dataset.prior import Prior, Range
from insdl.dataset.randomness import generator
from insdl.dataset.simulated import Family, Order, SimulatedSet
from insdl.instrument.counting import counted
from insdl.instrument.image import ImageSettings, ImageSimulator
from insdl.instrument.pcsmo import CLIP, NOISE_SIGMA, SCALE, pcsmo_frame
from insdl.materials.pcsmo import dimer, goodenough

CLASSES = ("goodenough", "dimer")
"""In the order of the labels."""

SHARED = Prior(
    {
        "JF": Range(-18.0, -6.0),  # mean exchange along the chain
        "JA": Range(0.5, 2.5),
        "Jperp": Range(0.3, 2.0),
        "D": Range(0.0, 0.25),
    }
)
GOODENOUGH_ONLY = Prior({"JF2": Range(-3.0, 0.0), "JF3": Range(0.0, 3.0)})
DIMER_ONLY = Prior({"difference": Range(0.5, 8.0)})  # JFW - JFS

SETTINGS = Prior(
    {
        "width_factor": Range(1.0, 1.8),
        "broadening": Range(0.03, 0.13),
        "extra_sigma_q": Range(0.0, 0.015),
        "twin_fraction": Range(0.35, 0.65),
        "shift_h": Range(-0.02, 0.02),
        "shift_k": Range(-0.02, 0.02),
    }
)


def draw_goodenough(rng: np.random.Generator) -> Mapping[str, float]:
    """Parameters of `insdl.materials.goodenough`, meV."""
    shared, own = SHARED.draw(rng), GOODENOUGH_ONLY.draw(rng)
    return {"JF1": shared["JF"], "JA": shared["JA"], **own, "Jperp": shared["Jperp"], "D": shared["D"]}


def draw_dimer(rng: np.random.Generator) -> Mapping[str, float]:
    """Parameters of `insdl.materials.dimer`, meV."""
    shared, half = SHARED.draw(rng), 0.5 * DIMER_ONLY.draw(rng)["difference"]
    return {
        "JFS": shared["JF"] - half,
        "JFW": shared["JF"] + half,
        "JA1": shared["JA"],
        "JA2": shared["JA"],
        "Jperp": shared["Jperp"],
        "D": shared["D"],
    }


def draw_settings(rng: np.random.Generator) -> ImageSettings:
    """Widths, twins and offset of the frame."""
    return ImageSettings(**SETTINGS.draw(rng))


def families(*, subpixels: int = 2) -> tuple[Family, Family]:
    """The two rivals. Two subpixels a pixel and axis differ from eight by 0.5 % to 4.4 % (rms) over the range of widths."""
    frame = pcsmo_frame(subpixels=subpixels)
    return (
        Family("goodenough", ImageSimulator(goodenough(), frame), draw_goodenough, draw_settings),
        Family("dimer", ImageSimulator(dimer(), frame), draw_dimer, draw_settings),
    )


@dataclass(frozen=True)
class DetectionPrior:
    """What the detection does to an image, drawn afresh for every sample.

    Attributes
    ----------
    scale : counts relative to the measured scale. noise : noise relative to the measured one, by cell.
    background : counts; standard deviation of a plane over (Qh, Qk) for each incident energy (offset, and slopes at the edge).
    pedestal : counts; standard deviation of an offset for each cell: what subtraction left or took too much.
    hot_fraction : largest share of hot pixels. flips : whether Qh and Qk run either way.
    """

    scale: Range = Range(0.5, 2.0, "log")
    noise: Range = Range(0.7, 1.4, "log")
    background: float = 0.4
    pedestal: float = 0.3
    hot_fraction: float = 0.01
    flips: bool = True


def detect(
    image: npt.NDArray[np.floating],
    measured: npt.NDArray[np.bool_],
    rng: np.random.Generator,
    prior: DetectionPrior | None = None,
) -> npt.NDArray[np.float32]:
    """Counts that a measurement of ``image`` could have given.

    Parameters
    ----------
    image : (60, 40, 40), counts at the nominal scale, Qh and Qk ascending.
    measured : (60, 40, 40) bool, where a detector looked.
    rng : numpy Generator.

    Returns
    -------
    (60, 40, 40) float32, counts, 0 to 120; zero where not measured.
    """
    prior = prior or DetectionPrior()
    mean = image.astype(np.float32)
    if prior.flips:
        h, k = rng.integers(0, 2, size=2)
        mean = mean[:, :: 1 - 2 * h, :: 1 - 2 * k]
    mean = mean * np.float32(prior.scale.draw(rng))
    n_energies, n_slices = NOISE_SIGMA.shape
    axis = np.linspace(-1.0, 1.0, mean.shape[-1], dtype=np.float32)
    plane = prior.background * rng.standard_normal((3, n_energies, 1, 1), dtype=np.float32)
    background = plane[0] + plane[1] * axis[:, None] + plane[2] * axis
    mean += np.repeat(background, n_slices, axis=0)
    mean += prior.pedestal * rng.standard_normal((len(mean), 1, 1), dtype=np.float32)
    sigma = (NOISE_SIGMA * prior.noise.draw(rng)).astype(np.float32).reshape(-1, 1, 1)
    n_hot = int(rng.binomial(mean.size, prior.hot_fraction * rng.random()))
    places = rng.integers(0, mean.size, size=n_hot)
    mean = np.ascontiguousarray(mean)
    mean.reshape(-1)[places] += rng.exponential(30.0, size=n_hot).astype(np.float32)
    counts = counted(mean, sigma, rng, clip=CLIP)
    counts[~measured] = 0.0
    return counts


def network_input(counts: npt.NDArray[np.floating], measured: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """What the network sees: log(1 + counts), zero where not measured, float32."""
    return np.where(measured, np.log1p(np.maximum(counts, 0.0, dtype=np.float32)), np.float32(0.0))


@dataclass(frozen=True, eq=False)
class DetectedSamples:
    """Network inputs and labels drawn from a simulated set: sample(index) is a function of (set, seed, stream, index).

    ``order`` "shuffled" draws the image for every index at random (training), "once" goes through the set (testing).
    """

    simulated: SimulatedSet
    measured: npt.NDArray[np.bool_]
    seed: int
    stream: str
    order: Order = "shuffled"
    prior: DetectionPrior = DetectionPrior()

    def counts(self, index: int) -> tuple[npt.NDArray[np.float32], int]:
        """(60, 40, 40) float32 counts, and the label."""
        rng = generator(self.seed, f"{self.stream}/detection", index)
        which = self.simulated.choose(index, self.order, rng)
        counts = detect(self.simulated.images[which], self.measured, rng, self.prior)
        return counts, int(self.simulated.labels[which])

    def sample(self, index: int) -> tuple[npt.NDArray[np.float32], int]:
        """(60, 40, 40) float32 network input, and the label."""
        counts, label = self.counts(index)
        return network_input(counts, self.measured), label

    def arrays(self, n: int | None = None) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """The first ``n`` samples (default: one for each image) in memory: inputs (n, 60, 40, 40) and labels (n,)."""
        pairs = [self.sample(index) for index in range(len(self.simulated) if n is None else n)]
        return np.stack([image for image, _ in pairs]), np.array([label for _, label in pairs], dtype=np.int64)


__all__ = ["CLASSES", "SCALE", "DetectedSamples", "DetectionPrior", "detect", "families", "network_input"]
