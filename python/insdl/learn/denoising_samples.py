"""Pairs of a noisy image and what it should have been, among them many that are neither model in question.

A denoiser that has seen nothing but two models makes one of them of everything. So the clean images here are also those of
other magnets, mixtures of two magnets, magnets with exchanged cells, and patterns that belong to no magnet at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from insdl.dataset.configuration import Configuration, SubtractedCounting, configuration, load_configuration
from insdl.dataset.configured import ConfiguredSource
from insdl.dataset.distribution import draw
from insdl.dataset.nuisance_prior import HotPixelPrior
from insdl.dataset.prior import Range
from insdl.dataset.randomness import generator
from insdl.dataset.source import GOOD
from insdl.instrument.counting import counted
from insdl.instrument.coverage import detector_coverage
from insdl.instrument.nuisance import add_hot_pixels, kill_pixels

_Singles = npt.NDArray[np.float32]
_Mask = npt.NDArray[np.bool_]
Kind = Literal["model", "blend", "halves", "exchanged", "pattern"]
KINDS: tuple[Kind, ...] = ("model", "blend", "halves", "exchanged", "pattern")
_BANKS = 8  # detector banks of slightly different size: the measurement's own is none of them


class Pair(NamedTuple):
    """A noisy image and the truth behind it.

    counts : (n_bins, n_h, n_k) float32, counts as measured; zero where not measured.
    expected : (n_bins, n_h, n_k) float32, counts. Without noise, hot and dead pixels; with every background. May be negative.
    measured : (n_bins, n_h, n_k) bool. sigma : (n_bins,) float32, counts, the noise where there is no signal.
    label : of the model; -1 where the image is of no single one.
    """

    counts: _Singles
    expected: _Singles
    measured: _Mask
    sigma: _Singles
    label: int


@dataclass(frozen=True)
class DenoisingPrior:
    """What pairs are drawn from, besides the configuration.

    Attributes
    ----------
    shares : of the kinds of clean images, in the order of `KINDS`.
    counting_time : relative to the measurement's: signal and background grow with it, their noise with its square root.
    known_sigma : factor between the noise as given to the denoiser and the true one.
    missing_energy : share of the images that lack one incident energy.
    hidden : largest share of the pixels that are taken away besides, one by one.
    """

    shares: tuple[float, ...] = (0.55, 0.1, 0.1, 0.1, 0.15)
    counting_time: Range = Range(0.15, 5.0, "log")
    known_sigma: Range = Range(0.9, 1.1, "log")
    missing_energy: float = 0.1
    hidden: float = 0.0

    def __post_init__(self) -> None:
        if len(self.shares) != len(KINDS) or min(self.shares) < 0 or not np.isclose(sum(self.shares), 1.0):
            raise ValueError(f"shares must be {len(KINDS)} numbers of sum 1, for {', '.join(KINDS)}, got {self.shares}")
        for name in ("missing_energy", "hidden"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in 0 to 1, got {getattr(self, name)}")


def denoising_configuration() -> Configuration:
    """The preset "pcsmo" with one more magnet: Rb2MnF4's square lattice, with exchanges as large as those of manganites."""
    content = load_configuration("pcsmo").model_dump()
    square = {
        "name": "square_antiferromagnet",
        "model": "rb2mnf4",
        "own": {"J1": {"kind": "uniform", "low": 1.0, "high": 8.0}},
        "derived": {"J2": {"J1": 0.05}, "D": {"J1": -0.01}},
    }
    # The rivals share D; here it is theirs alone, because the square lattice has one of the other sign.
    anisotropy = content["shared"].pop("D")
    for rival in content["classes"]:
        if "D" not in rival["own"] and rival["model"] in ("goodenough", "dimer"):
            rival["own"]["D"] = anisotropy
    content["classes"].append(square)
    return configuration(content)


class DenoisingSamples:
    """Pairs drawn from a set of clean images; pair number i is a function of (configuration, seed, stream, i) alone.

    Parameters
    ----------
    n_images : clean images simulated beforehand, of all models in turn; kept as float16.
    seed, stream : of everything random. Sets with other streams share no model.
    prior : see `DenoisingPrior`.
    given : models, nuisances and noise; None for `denoising_configuration`. Its own hot pixels are not part of the truth.
    threads : of the simulation; None for all processors.

    Attributes
    ----------
    classes : names of the models in the order of the labels.
    images : (n, n_bins, n_h, n_k) float16, expected counts at the nominal scale. labels : (n,) int64.
    frame : ImageFrame. sigma : (n_bins,) float32, counts, the noise of the measurement where there is no signal.
    """

    def __init__(
        self,
        n_images: int,
        *,
        seed: int = 0,
        stream: str = "training",
        prior: DenoisingPrior | None = None,
        given: Configuration | None = None,
        threads: int | None = None,
    ) -> None:
        if n_images < 1:
            raise ValueError(f"n_images must be at least 1, got {n_images}")
        self.prior, self.seed, self.stream = prior or DenoisingPrior(), seed, stream
        content = (denoising_configuration() if given is None else given).model_dump()
        content |= {"n_samples": n_images, "seed": seed, "stream": f"{stream}/models"}
        self._hot = HotPixelPrior(**content["detection"]["nuisances"]["hot_pixels"])
        content["detection"]["nuisances"]["hot_pixels"]["probability"] = 0.0  # added here, behind the truth
        content["detection"]["orientation"] = "fixed"  # drawn here, so that a test can compare with a clean image
        self._source = ConfiguredSource(configuration(content))
        self._detector = self._source.detector
        self.frame, self.classes = self._detector.frame, self._source.classes
        counting = self._detector.prior.counting
        if not isinstance(counting, SubtractedCounting):
            raise ValueError(f"denoising needs the noise of a subtraction, kind 'subtracted', got {counting.kind!r}")
        self._counting = counting
        self.sigma = np.broadcast_to(np.array(counting.sigma, np.float32), self.frame.shape[:1])
        images, labels = [], []
        for begin in range(0, n_images, 32):
            made = self._source.make(range(begin, min(begin + 32, n_images)), threads=threads)
            images.append(made.images[made.status == GOOD].astype(np.float16))
            labels.append(made.labels[made.status == GOOD])
        self.images, self.labels = np.concatenate(images), np.concatenate(labels)
        if not len(self.images):
            raise ValueError(f"none of {n_images} models is stable")
        self.coverages = self._banks()

    def pair(self, index: int) -> Pair:
        """Pair number ``index``: model, mixture or pattern, nuisances, counting time and noise drawn afresh."""
        rng = generator(self.seed, f"{self.stream}/pairs", index)
        kind = KINDS[int(rng.choice(len(KINDS), p=self.prior.shares))]
        clean, label = self.clean(kind, rng)
        h, k = rng.integers(0, 2, size=2)
        clean = clean[:, :: 1 - 2 * h, :: 1 - 2 * k]
        measured = self.coverages[int(rng.integers(len(self.coverages)))].copy()
        share = self.prior.hidden * rng.random()
        measured &= rng.random(measured.shape, dtype=np.float32) >= share
        if rng.random() < self.prior.missing_energy:
            measured[self._detector.blocks == rng.integers(len(self.frame.blocks))] = False
        time = self.prior.counting_time.draw(rng)
        pair = self.detected(clean, measured, rng, counting_time=time, label=label)
        return pair._replace(sigma=pair.sigma * np.float32(self.prior.known_sigma.draw(rng)))

    def detected(
        self,
        clean: npt.NDArray[np.floating[Any]],
        measured: _Mask,
        rng: np.random.Generator,
        *,
        counting_time: float = 1.0,
        label: int = -1,
    ) -> Pair:
        """A measurement of a clean image with every nuisance of the configuration; its sigma is the true one.

        Parameters
        ----------
        clean : (n_bins, n_h, n_k), counts at the nominal scale.
        measured : (n_bins, n_h, n_k) bool, where a detector looks.
        counting_time : relative to the measurement's.
        """
        time = np.float32(counting_time)
        expected = time * self._detector.expected(clean, rng)
        sigma = self.sigma * np.float32(np.sqrt(time) * draw(self._counting.factor, rng))
        mean = expected.copy()
        if rng.random() < self._hot.probability:
            add_hot_pixels(mean, draw(self._hot.fraction, rng), float(time) * draw(self._hot.height, rng), rng)
        clip = np.inf if self._counting.largest is None else self._counting.largest * float(time)
        counts = counted(mean, sigma[:, None, None], rng, clip=clip, negative=self._counting.negative)
        dead = self._detector.prior.nuisances.dead_pixels
        if rng.random() < dead.probability:
            kill_pixels(counts, draw(dead.fraction, rng), rng)
        counts[~measured] = 0.0
        return Pair(counts, expected, measured, sigma, label)

    def clean(self, kind: Kind, rng: np.random.Generator) -> tuple[_Singles, int]:
        """A clean image of one kind, and its label (-1 where it is of no single model)."""
        if kind == "pattern":
            return contour_pattern(self.frame.shape, self._detector.blocks, rng), -1
        first, second = rng.integers(len(self.images), size=2)
        image, other = self.images[first].astype(np.float32), self.images[second].astype(np.float32)
        if kind == "model":
            return image, int(self.labels[first])
        if kind == "exchanged":
            return image[rng.permutation(len(image))], -1
        weight = np.float32(rng.uniform(0.2, 0.8)) if kind == "blend" else half(self.frame.shape, rng)
        return weight * image + (1.0 - weight) * other, -1

    def of_class(self, name: str) -> npt.NDArray[np.float16]:
        """The clean images of one model."""
        if name not in self.classes:
            raise ValueError(f"there is no model {name!r}, expected one of {', '.join(self.classes)}")
        chosen: npt.NDArray[np.float16] = self.images[self.labels == self.classes.index(name)]
        return chosen

    def _banks(self) -> tuple[_Mask, ...]:
        """The configuration's own detector bank, and others a little smaller or larger."""
        given, banks = self._detector.prior.coverage, [self._detector.measured]
        rng = generator(self.seed, f"{self.stream}/banks", 0)
        for _ in range(_BANKS - 1):
            banks.append(
                detector_coverage(
                    self.frame,
                    self._detector.lattice,
                    beam_stop=given.beam_stop * rng.uniform(0.8, 1.25),
                    outer_edge=given.outer_edge * rng.uniform(0.9, 1.1),
                    gaps=tuple(gap * rng.uniform(0.8, 1.2) for gap in given.gaps),
                    gap_width=given.gap_width * rng.uniform(0.7, 2.0),
                )
            )
        return tuple(banks)


def half(shape: Sequence[int], rng: np.random.Generator) -> _Singles:
    """(n_bins, n_h, n_k) float32, ones in one half of an image and zeros in the other: along Qh, Qk, or cell by cell."""
    weight = np.zeros(tuple(shape), dtype=np.float32)
    side = int(rng.integers(3))
    if side == 0:
        weight[:, : shape[1] // 2] = 1.0
    elif side == 1:
        weight[:, :, : shape[2] // 2] = 1.0
    else:
        weight[rng.permutation(shape[0])[: shape[0] // 2]] = 1.0
    return weight


def contour_pattern(shape: Sequence[int], blocks: npt.NDArray[np.int64], rng: np.random.Generator) -> _Singles:
    """An image of no magnet: contour lines, or hills, of smooth random fields that drift from slice to slice.

    Parameters
    ----------
    shape : (n_bins, n_h, n_k). blocks : (n_bins,) int, the incident energy of each bin; their fields are independent.

    Returns
    -------
    (n_bins, n_h, n_k) float32, counts of order one, not negative.
    """
    n_bins, n_h, n_k = shape
    length = np.exp(rng.uniform(np.log(1.5), np.log(8.0)))  # pixels
    h, k = np.fft.fftfreq(n_h)[:, None], np.fft.rfftfreq(n_k)[None, :]
    smooth = np.exp(-2.0 * (np.pi * length) ** 2 * (h * h + k * k)).astype(np.float32)
    waves = np.fft.rfft2(rng.standard_normal((n_bins, n_h, n_k), dtype=np.float32)) * smooth
    drift = np.float32(rng.uniform(0.2, 1.0))  # how much of a slice is new
    for number in range(1, n_bins):
        if blocks[number] == blocks[number - 1]:
            waves[number] = np.sqrt(1.0 - drift**2) * waves[number - 1] + drift * waves[number]
    field = np.fft.irfft2(waves, s=(n_h, n_k)).astype(np.float32)
    field /= field.std()
    width = np.float32(np.exp(rng.uniform(np.log(0.15), np.log(0.6))))
    pattern = np.exp(-0.5 * np.square(field / width)) if rng.random() < 0.7 else np.exp(field)
    envelope = np.exp(rng.normal(0.0, 0.7, size=(n_bins, 1, 1))).astype(np.float32)
    return np.asarray(pattern * envelope, dtype=np.float32)
