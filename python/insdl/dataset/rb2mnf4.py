"""Maps of Rb2MnF4 as counted: priors, counting, and what a network sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from insdl.dataset.prior import Prior, Range
from insdl.dataset.randomness import generator
from insdl.dataset.simulated import Family, Order, SimulatedSet
from insdl.instrument.frame import ImageFrame
from insdl.instrument.image import ImageSettings, ImageSimulator
from insdl.instrument.rb2mnf4 import rb2mnf4_frame
from insdl.materials.rb2mnf4 import rb2mnf4

PARAMETERS = ("J1", "J2")
"""What is estimated; the anisotropy D is a nuisance."""

PRIOR = Prior({"J1": Range(0.5, 0.8), "J2": Range(-0.03, 0.05), "D": Range(-0.008, -0.003)})
"""meV; not centred on the literature values."""

SETTINGS = Prior({"width_factor": Range(0.8, 1.3), "extra_sigma_q": Range(0.0, 0.01)})

BRAGG_RADIUS = 0.05
"""r.l.u. around the magnetic Bragg points (1/2, 1/2), ... that is masked."""


def prior_centre_and_spread() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and standard deviation of the prior of `PARAMETERS`, meV: the standardised units of the network."""
    ranges = [PRIOR.ranges[name] for name in PARAMETERS]
    centre = np.array([0.5 * (r.low + r.high) for r in ranges])
    return centre, np.array([(r.high - r.low) / np.sqrt(12.0) for r in ranges])


def draw_parameters(rng: np.random.Generator) -> Mapping[str, float]:
    """Parameters of `insdl.materials.rb2mnf4`, meV."""
    return PRIOR.draw(rng)


def draw_settings(rng: np.random.Generator) -> ImageSettings:
    """Energy and momentum widths."""
    return ImageSettings(**SETTINGS.draw(rng))


def family(frame: ImageFrame | None = None) -> Family:
    """The one family of maps; the default frame has the windows of `insdl.instrument.rb2mnf4`."""
    simulator = ImageSimulator(rb2mnf4(), rb2mnf4_frame() if frame is None else frame, margin=0.07)
    return Family("rb2mnf4", simulator, draw_parameters, draw_settings)


def away_from_bragg(frame: ImageFrame) -> npt.NDArray[np.bool_]:
    """(n_bins, n_h, n_k) bool, False within `BRAGG_RADIUS` of a magnetic Bragg point."""
    pixels = np.asarray(frame.pixels)
    distance = np.abs((pixels + 0.5) - np.rint(pixels + 0.5))
    far = np.hypot(distance[:, None], distance[None, :]) > BRAGG_RADIUS
    return np.broadcast_to(far, frame.shape).copy()


@dataclass(frozen=True)
class CountingPrior:
    """How a map is counted: total signal counts, and the background's share of the counts of each window."""

    counts: Range = Range(3e5, 3e6, "log")
    background: Range = Range(0.05, 0.35)


def count(
    image: npt.NDArray[np.floating],
    measured: npt.NDArray[np.bool_],
    rng: np.random.Generator,
    prior: CountingPrior | None = None,
) -> npt.NDArray[np.float32]:
    """Poisson counts (n_windows, n_h, n_k) of a map of intensities per meV: free scale, one flat background a window."""
    prior = prior or CountingPrior()
    signal = np.where(measured, image, 0.0).astype(np.float64)
    signal *= prior.counts.draw(rng) / signal.sum()
    share = np.array([prior.background.draw(rng) for _ in range(len(signal))])
    level = signal.mean(axis=(1, 2)) * share / (1.0 - share)
    counts = rng.poisson(signal + level[:, None, None])
    return np.where(measured, counts, 0).astype(np.float32)


def network_input(counts: npt.NDArray[np.floating], measured: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """What the network sees: the square root of counts over their mean, and log10 of all counts as one more channel.

    Returns
    -------
    (n_windows + 1, n_h, n_k) float32; zero where not measured.
    """
    values = np.where(measured, counts, 0.0)
    total = float(values.sum())
    if not total > 0:
        raise ValueError("the map holds no counts")
    shape = np.sqrt(values / (total / max(1, int(measured.sum()))))
    level = np.full((1, *shape.shape[1:]), np.log10(total) - 6.0)
    return np.concatenate([shape, level]).astype(np.float32)


@dataclass(frozen=True, eq=False)
class CountedSamples:
    """Network inputs and standardised parameters drawn from a simulated set; as `insdl.dataset.pcsmo.DetectedSamples`."""

    simulated: SimulatedSet
    measured: npt.NDArray[np.bool_]
    seed: int
    stream: str
    order: Order = "shuffled"
    prior: CountingPrior = CountingPrior()

    def sample(self, index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """(n_windows + 1, n_h, n_k) float32 network input, and (2,) float32 standardised J1, J2."""
        rng = generator(self.seed, f"{self.stream}/detection", index)
        which = self.simulated.choose(index, self.order, rng)
        counts = count(self.simulated.images[which], self.measured, rng, self.prior)
        centre, spread = prior_centre_and_spread()
        values = np.array([self.simulated.parameters[which][name] for name in PARAMETERS])
        return network_input(counts, self.measured), ((values - centre) / spread).astype(np.float32)

    def arrays(self, n: int | None = None) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """The first ``n`` samples (default: one for each map) in memory."""
        pairs = [self.sample(index) for index in range(len(self.simulated) if n is None else n)]
        return np.stack([image for image, _ in pairs]), np.stack([target for _, target in pairs])
