"""Detection of an image: scale, everything that is not magnetic, counting; drawn afresh whenever an image is loaded."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from insdl.dataset.configuration import Configuration, PoissonCounting, SubtractedCounting
from insdl.dataset.distribution import Section, draw
from insdl.dataset.nuisance_prior import Nuisances
from insdl.dataset.randomness import generator
from insdl.instrument.counts import count_images
from insdl.instrument.coverage import detector_coverage
from insdl.instrument.nuisance import (
    Aluminium,
    BeamHalo,
    ElasticLine,
    ElasticProfile,
    Phonons,
    add_hot_pixels,
    add_streak,
    aluminium_image,
    beam_halo,
    elastic_image,
    kill_pixels,
    over_subtracted,
    phonon_image,
    pixel_geometry,
    planes,
    random_streak,
    smooth_background,
    smooth_shapes,
)

_Singles = npt.NDArray[np.float32]


class Detector:
    """The detection of a configuration, its shapes worked out once on the frame.

    Attributes
    ----------
    measured : (n_bins, n_h, n_k) bool. Where a detector looks.
    blocks : (n_bins,) int64. Which incident energy a bin belongs to.
    noise_sigma : (n_bins,) float32, counts. Noise of an empty pixel at the nominal factor; zero for Poisson counts.

    Notes
    -----
    What is slow (phonons, elastic line, aluminium) is worked out beforehand for a number of draws of its parameters; a sample
    takes one of these shapes, each of mean one in the bin in which it is strongest, times a level of its own. They depend on
    the seed. Every nuisance has random numbers of its own: switching one off does not change the others.
    """

    def __init__(self, configuration: Configuration) -> None:
        self.prior = configuration.detection
        self.seed = configuration.seed
        self.frame = configuration.frame.image_frame()
        self.lattice = np.asarray(configuration.classes[0].spin_model().lattice)
        self.geometry = pixel_geometry(self.frame, self.lattice)
        self.measured = self._coverage()
        counts = [len(np.asarray(block.bins)) for block in self.frame.blocks]
        self.blocks = np.repeat(np.arange(len(counts)), counts)
        counting = self.prior.counting
        sigma = np.array(counting.sigma if isinstance(counting, SubtractedCounting) else 0.0, dtype=np.float32)
        self.noise_sigma = np.broadcast_to(sigma, len(self.blocks))

    def detect(self, image: npt.NDArray[np.floating[Any]], rng: np.random.Generator) -> _Singles:
        """Counts that a measurement of ``image`` could have given.

        Parameters
        ----------
        image : (n_bins, n_h, n_k), counts at the nominal scale, Qh and Qk ascending.
        rng : numpy Generator.

        Returns
        -------
        (n_bins, n_h, n_k) float32, counts; zero where not measured.
        """
        expected = self.expected(image, rng)
        return self.count(expected, rng)

    def expected(self, image: npt.NDArray[np.floating[Any]], rng: np.random.Generator) -> _Singles:
        """The mean counts of a measurement: the image at a drawn scale and orientation, and all that is not magnetic."""
        if image.shape != self.frame.shape:
            raise ValueError(f"image must have the shape {self.frame.shape} of the frame, got {image.shape}")
        own = _Streams(rng)
        nuisances = self.prior.nuisances
        mean = self._scaled(image, own.next())
        signal = mean.mean(axis=(1, 2)) if nuisances.window.probability > 0 else None
        for name in ("phonons", "elastic", "aluminium"):
            prior = getattr(nuisances, name)
            if numbers := own.present(prior):
                shapes = getattr(self, f"_{name}")
                mean += np.float32(draw(prior.level, numbers)) * shapes[int(numbers.integers(len(shapes)))]
        self._add_backgrounds(mean, nuisances, own, signal)
        self._subtract(mean, nuisances, own)
        if numbers := own.present(nuisances.hot_pixels):
            fraction, height = (draw(d, numbers) for d in (nuisances.hot_pixels.fraction, nuisances.hot_pixels.height))
            add_hot_pixels(mean, fraction, height, numbers)
        return mean

    def count(self, expected: _Singles, rng: np.random.Generator) -> _Singles:
        """Counts of a mean in the configuration's form of noise; zero at dead pixels and where nothing is measured."""
        counting = self.prior.counting
        own = _Streams(rng)
        noise = own.next()
        factor = 1.0 if isinstance(counting, PoissonCounting) else draw(counting.factor, noise)
        seed = int(noise.integers(2**63))
        given: dict[str, Any] = {"seed": seed, "stream": "counts", "indices": [0], "threads": 1}
        if isinstance(counting, PoissonCounting):
            counts: _Singles = count_images(np.maximum(expected, 0.0)[None], **given)[0]
        else:
            highest = np.inf if counting.largest is None else counting.largest
            lowest = 0.0 if counting.negative == "clipped" else -np.inf
            given |= {"form": "subtracted", "sigma": self.noise_sigma * factor, "lowest": lowest, "highest": highest}
            counts = count_images(np.ascontiguousarray(expected)[None], **given)[0]
        dead = self.prior.nuisances.dead_pixels
        if faults := own.present(dead):
            kill_pixels(counts, draw(dead.fraction, faults), faults)
        counts[~self.measured] = 0.0
        return counts

    def _scaled(self, image: npt.NDArray[np.floating[Any]], numbers: np.random.Generator) -> _Singles:
        """A new array: the image, perhaps mirrored, at a drawn scale."""
        if self.prior.orientation == "either":
            h, k = numbers.integers(0, 2, size=2)
            image = image[:, :: 1 - 2 * h, :: 1 - 2 * k]
        value = draw(self.prior.scale.value, numbers)
        mean = np.array(image, dtype=np.float32, order="C")
        if self.prior.scale.kind == "mean":
            total = float(np.sum(mean * self.measured, dtype=np.float64))
            value = value * float(self.measured.sum()) / total if total > 0 else 0.0
        mean *= np.float32(value)
        return mean

    def _add_backgrounds(
        self, mean: _Singles, nuisances: Nuisances, own: _Streams, signal: npt.NDArray[np.float32] | None
    ) -> None:
        n_blocks = len(self.frame.blocks)
        if numbers := own.present(nuisances.smooth):
            level = [draw(nuisances.smooth.level, numbers) for _ in range(n_blocks)]
            variation = draw(nuisances.smooth.variation, numbers)
            mean += smooth_background(self._smooth_shapes, self.blocks, level, variation, numbers)
        numbers = own.present(nuisances.window)
        if signal is not None and numbers:
            share = np.array([draw(nuisances.window.share, numbers) for _ in signal], dtype=np.float32)
            flat = (signal * share / (1.0 - share))[:, None, None]
            slope = np.array([draw(nuisances.window.slope, numbers) for _ in signal], dtype=np.float32)
            mean += flat if not slope.any() else flat * np.maximum(1.0 + slope[:, None, None] * self._radius, 0.0)
        halo = nuisances.halo
        if numbers := own.present(halo):
            names = ("level", "edge", "width", "energy", "energy_width")
            mean += beam_halo(self.geometry, BeamHalo(**{name: draw(getattr(halo, name), numbers) for name in names}))
        streaks = nuisances.streaks
        if numbers := own.present(streaks):
            for _ in range(round(draw(streaks.count, numbers))):
                height, width = draw(streaks.height, numbers), draw(streaks.width, numbers)
                n_bins = max(1, round(draw(streaks.bins, numbers)))
                streak = random_streak(self.geometry, numbers, height=height, relative_width=width, n_bins=n_bins)
                add_streak(mean, self.geometry, streak)

    def _subtract(self, mean: _Singles, nuisances: Nuisances, own: _Streams) -> None:
        n_blocks, n = len(self.frame.blocks), mean.shape[-1]
        if numbers := own.present(nuisances.planes):
            size = draw(nuisances.planes.sigma, numbers)
            mean += planes(size * numbers.standard_normal((3, n_blocks)), self.blocks, n)
        if numbers := own.present(nuisances.pedestals):
            height = np.float32(draw(nuisances.pedestals.sigma, numbers))
            mean += height * numbers.standard_normal((len(mean), 1, 1), dtype=np.float32)
        excess = nuisances.over_subtraction
        if numbers := own.present(excess):
            levels = np.array([draw(excess.smooth, numbers) for _ in range(n_blocks)], dtype=np.float32)
            variation = draw(excess.variation, numbers)
            shape = smooth_background(self._smooth_shapes, self.blocks, np.ones(n_blocks), variation, numbers)
            mean[:] = over_subtracted(mean, shape, levels[self.blocks])
            elastic = self._elastic[int(numbers.integers(len(self._elastic)))]
            mean[:] = over_subtracted(mean, elastic, draw(excess.elastic, numbers))

    def _coverage(self) -> npt.NDArray[np.bool_]:
        prior = self.prior.coverage
        measured = np.ones(self.frame.shape, dtype=bool)
        if prior.bank == "square":
            measured = detector_coverage(
                self.frame,
                self.lattice,
                beam_stop=prior.beam_stop,
                outer_edge=prior.outer_edge,
                gaps=tuple(prior.gaps),
                gap_width=prior.gap_width,
            )
        mask = prior.frame_mask(self.frame)
        if mask is not None:
            measured &= mask
        if prior.bragg_radius > 0:
            pixels = np.asarray(self.frame.pixels)
            h, k = (pixels - point - np.rint(pixels - point) for point in prior.bragg_point)
            measured &= np.hypot(h[:, None], k[None, :]) > prior.bragg_radius
        if not measured.any():
            raise ValueError("detection.coverage leaves no pixel of the frame, expected at least one")
        return measured

    @cached_property
    def _radius(self) -> _Singles:
        """(n_h, n_k) float32. |Q| / mean |Q| - 1 of the pixels' Qh and Qk in r.l.u."""
        pixels = np.asarray(self.frame.pixels)
        radius = np.hypot(pixels[:, None], pixels[None, :])
        return np.asarray(radius / radius.mean() - 1.0, dtype=np.float32)

    @cached_property
    def _smooth_shapes(self) -> _Singles:
        return smooth_shapes(self.frame)

    @cached_property
    def _phonons(self) -> _Singles:
        prior = self.prior.nuisances.phonons

        def one(rng: np.random.Generator) -> npt.NDArray[np.float64]:
            values = _drawn(prior, rng, skip=("probability", "shapes", "level"))
            return phonon_image(self.frame, self.lattice, Phonons(**values))

        return self._bank("phonons", prior.shapes, one)

    @cached_property
    def _elastic(self) -> _Singles:
        prior = self.prior.nuisances.elastic

        def one(rng: np.random.Generator) -> npt.NDArray[np.float64]:
            values = _drawn(prior, rng, skip=("probability", "shapes", "level", "tail_share", "tail_length"))
            line = ElasticLine(**values, profile=_profile(prior, rng))
            return elastic_image(self.frame, self.lattice, line, rng, geometry=self.geometry)

        return self._bank("elastic", prior.shapes, one)

    @cached_property
    def _aluminium(self) -> _Singles:
        prior = self.prior.nuisances.aluminium

        def one(rng: np.random.Generator) -> npt.NDArray[np.float64]:
            values = _drawn(prior, rng, skip=("probability", "shapes", "level", "tail_share", "tail_length"))
            aluminium = Aluminium(**values, profile=_profile(prior, rng))
            return aluminium_image(self.frame, self.lattice, aluminium, geometry=self.geometry)

        return self._bank("aluminium", prior.shapes, one)

    def _bank(self, name: str, n: int, one: Any) -> _Singles:
        """(n, n_bins, n_h, n_k) float32. Shapes of mean one over the measured pixels of the bin in which each is strongest."""
        shapes = np.zeros((n, *self.frame.shape), dtype=np.float32)
        seen = np.maximum(self.measured.sum(axis=(1, 2)), 1)
        for number in range(n):
            shape = one(generator(self.seed, f"shapes/{name}", number))
            largest = float(np.max(np.sum(shape, axis=(1, 2), where=self.measured) / seen))
            if largest > 0:
                shapes[number] = shape / largest
        return shapes


class _Streams:
    """Generators of their own, one after the other, all from a few numbers of ``rng``; and who gets one at all."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._key = rng.integers(0, 2**64, size=2, dtype=np.uint64)
        self._chances = rng.random(16)
        self._number = 0

    def next(self) -> np.random.Generator:
        self._number += 1
        counter = np.array([0, 0, 0, self._number], dtype=np.uint64)
        return np.random.Generator(np.random.Philox(key=self._key, counter=counter))

    def present(self, prior: Any) -> np.random.Generator | None:
        """The generator of a nuisance, or None where this image does not have it (making one costs 30 us)."""
        if self._chances[self._number] < prior.probability:
            return self.next()
        self._number += 1
        return None


def _drawn(prior: Section, rng: np.random.Generator, *, skip: tuple[str, ...]) -> dict[str, float]:
    return {name: draw(getattr(prior, name), rng) for name in type(prior).model_fields if name not in skip}


def _profile(prior: Any, rng: np.random.Generator) -> ElasticProfile:
    return ElasticProfile(tail_share=draw(prior.tail_share, rng), tail_length=draw(prior.tail_length, rng))
