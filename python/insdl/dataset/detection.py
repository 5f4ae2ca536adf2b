"""Detection of an image: scale, everything that is not magnetic, counting; drawn afresh whenever an image is loaded."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from insdl.dataset.configuration import Configuration, PoissonCounting, SubtractedCounting
from insdl.dataset.distribution import Section, draw
from insdl.dataset.nuisance_prior import Nuisances
from insdl.dataset.randomness import generator
from insdl.instrument.counts import count_images
from insdl.instrument.coverage import detector_coverage
from insdl.instrument.expected_image import expected_image, weighted_sum
from insdl.instrument.nuisance import (
    Aluminium,
    BeamHalo,
    ElasticLine,
    ElasticProfile,
    Phonons,
    add_halo,
    add_hot_pixels,
    add_streak,
    aluminium_image,
    block_energies,
    elastic_image,
    flat_coefficients,
    kill_pixels,
    phonon_image,
    pixel_geometry,
    pixel_terms,
    plane_coefficients,
    random_streak,
    smooth_coefficients,
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
        self._shape = self.frame.shape
        self.measured = self._coverage()
        self._n_measured = float(self.measured.sum())
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
        if image.shape != self._shape:
            raise ValueError(f"image must have the shape {self._shape} of the frame, got {image.shape}")
        own = _Streams(rng)
        nuisances = self.prior.nuisances
        given = np.ascontiguousarray(image, dtype=np.float32)
        mirrored, scale = self._scale(given, own.next())
        sums = flat_coefficients(0.0, len(given))
        shapes: list[tuple[float, _Singles]] = []
        for name in ("phonons", "elastic", "aluminium"):
            prior = getattr(nuisances, name)
            if numbers := own.present(prior):
                found = getattr(self, f"_{name}")
                shapes.append((draw(prior.level, numbers), found[int(numbers.integers(len(found)))]))
        signal = scale * given.mean(axis=(1, 2)) if nuisances.window.probability > 0 else None
        lines = self._add_backgrounds(sums, nuisances, own, signal)
        shapes += self._subtract(sums, nuisances, own)
        mean = expected_image(
            given, mirrored=mirrored, scale=scale, terms=self._terms, coefficients=sums,
            shapes=[shape for _, shape in shapes], levels=[level for level, _ in shapes],
        )  # fmt: skip
        for line in lines:
            line(mean)
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
        counts *= self._looked[False, False]
        return counts

    def _scale(self, image: _Singles, numbers: np.random.Generator) -> tuple[tuple[bool, bool], float]:
        """Whether the image is mirrored along Qh and Qk, and what it is multiplied by."""
        mirrored = (False, False)
        if self.prior.orientation == "either":
            h, k = numbers.integers(0, 2, size=2)
            mirrored = (bool(h), bool(k))
        value = draw(self.prior.scale.value, numbers)
        if self.prior.scale.kind == "mean":
            total = weighted_sum(image, self._looked[mirrored])
            value = value * self._n_measured / total if total > 0 else 0.0
        return mirrored, value

    def _add_backgrounds(
        self, sums: _Singles, nuisances: Nuisances, own: _Streams, signal: npt.NDArray[np.float32] | None
    ) -> list[Callable[[_Singles], None]]:
        """Adds what is a sum of pixel terms to their coefficients; returns what adds the rest to an image."""
        n_blocks = len(self.frame.blocks)
        lines: list[Callable[[_Singles], None]] = []
        if numbers := own.present(nuisances.smooth):
            level = [draw(nuisances.smooth.level, numbers) for _ in range(n_blocks)]
            variation = draw(nuisances.smooth.variation, numbers)
            sums += smooth_coefficients(self._energies, self.blocks, level, variation, numbers)
        numbers = own.present(nuisances.window)
        if signal is not None and numbers:
            share = np.array([draw(nuisances.window.share, numbers) for _ in signal], dtype=np.float32)
            flat = signal * share / (1.0 - share)
            slope = np.array([draw(nuisances.window.slope, numbers) for _ in signal], dtype=np.float32)
            sums[:, 0] += flat
            sums[:, -1] += flat * np.maximum(slope, -1.0 / max(float(self._terms[-1].max()), 1.0))  # never negative
        halo = nuisances.halo
        if numbers := own.present(halo):
            names = ("level", "edge", "width", "energy", "energy_width")
            drawn = BeamHalo(**{name: draw(getattr(halo, name), numbers) for name in names})
            lines.append(partial(add_halo, geometry=self.geometry, halo=drawn))
        streaks = nuisances.streaks
        if numbers := own.present(streaks):
            for _ in range(round(draw(streaks.count, numbers))):
                height, width = draw(streaks.height, numbers), draw(streaks.width, numbers)
                n_bins = max(1, round(draw(streaks.bins, numbers)))
                streak = random_streak(self.geometry, numbers, height=height, relative_width=width, n_bins=n_bins)
                lines.append(partial(add_streak, geometry=self.geometry, streak=streak))
        return lines

    def _subtract(self, sums: _Singles, nuisances: Nuisances, own: _Streams) -> list[tuple[float, _Singles]]:
        """Adds what is a sum of pixel terms to their coefficients; returns levels and shapes of the rest."""
        n_blocks = len(self.frame.blocks)
        if numbers := own.present(nuisances.planes):
            size = draw(nuisances.planes.sigma, numbers)
            sums += plane_coefficients(size * numbers.standard_normal((3, n_blocks)), self.blocks)
        if numbers := own.present(nuisances.pedestals):
            height = np.float32(draw(nuisances.pedestals.sigma, numbers))
            sums[:, 0] += height * numbers.standard_normal(len(sums), dtype=np.float32)
        excess = nuisances.over_subtraction
        if numbers := own.present(excess):
            levels = np.array([draw(excess.smooth, numbers) for _ in range(n_blocks)], dtype=np.float32)
            variation = draw(excess.variation, numbers)
            shape = smooth_coefficients(self._energies, self.blocks, np.ones(n_blocks), variation, numbers)
            sums -= levels[self.blocks, None] * shape
            elastic = self._elastic[int(numbers.integers(len(self._elastic)))]
            return [(-draw(excess.elastic, numbers), elastic)]
        return []

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
    def _terms(self) -> _Singles:
        return pixel_terms(self.frame)

    @cached_property
    def _energies(self) -> _Singles:
        return block_energies(self.frame).astype(np.float32)

    @cached_property
    def _looked(self) -> dict[tuple[bool, bool], _Singles]:
        """1 where a detector looks and 0 elsewhere, for every way in which the image may be mirrored against it."""
        ones = self.measured.astype(np.float32)
        return {
            (h, k): np.ascontiguousarray(ones[:, :: -1 if h else 1, :: -1 if k else 1])
            for h in (False, True)
            for k in (False, True)
        }

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
    """Streams of random numbers, one after the other, all from a few numbers of ``rng``; and who gets one at all.

    All are one generator, put to its next place: a stream ends where the next one begins.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        key = rng.integers(0, 2**64, size=2, dtype=np.uint64)
        self._chances = rng.random(16).tolist()
        self._number = 0
        self._bits = np.random.Philox(key=key)
        self._numbers = np.random.Generator(self._bits)
        self._state = self._bits.state
        self._place = self._state["state"]["counter"]

    def next(self) -> np.random.Generator:
        self._number += 1
        self._place[3] = self._number
        self._bits.state = self._state
        return self._numbers

    def present(self, prior: Any) -> np.random.Generator | None:
        """The generator of a nuisance, or None where this image does not have it."""
        if self._chances[self._number] < prior.probability:
            return self.next()
        self._number += 1
        return None


def _drawn(prior: Section, rng: np.random.Generator, *, skip: tuple[str, ...]) -> dict[str, float]:
    return {name: draw(getattr(prior, name), rng) for name in type(prior).model_fields if name not in skip}


def _profile(prior: Any, rng: np.random.Generator) -> ElasticProfile:
    return ElasticProfile(tail_share=draw(prior.tail_share, rng), tail_length=draw(prior.tail_length, rng))
