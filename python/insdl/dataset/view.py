"""What a network is given of a measurement: the whole of it or a part, perhaps with more noise; values and masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from insdl import _core
from insdl.dataset.configured import ConfiguredSource
from insdl.instrument.counts import count_images
from insdl.instrument.seen_pixels import seen_pixels

_Singles = npt.NDArray[np.float32]
_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ViewPrior:
    """How often a training image is seen only in part, or with more noise. Shares of the images, each drawn on its own.

    Attributes
    ----------
    some_energies : some of the incident energies are missing, 1 to all but one of them left. one_energy : all but one.
    some_cells : up to half of the cells are missing.
    some_pixels : a part of the detector is missing: every other pixel, one side, or a share of the pixels.
    mask_from_zeros : nobody kept a mask, and where was measured is told from the zeros (`insdl.instrument.seen_pixels`).
    more_noise : Gaussian noise is added. noise : its standard deviation in units of the image's own noise, log-uniform.
    """

    some_energies: float = 0.3
    one_energy: float = 0.2
    some_cells: float = 0.1
    some_pixels: float = 0.2
    mask_from_zeros: float = 0.2
    more_noise: float = 0.3
    noise: tuple[float, float] = (0.5, 12.0)

    def __post_init__(self) -> None:
        for name in ("some_energies", "one_energy", "some_cells", "some_pixels", "mask_from_zeros", "more_noise"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be a share from 0 to 1, got {getattr(self, name)}")
        if not 0.0 < self.noise[0] <= self.noise[1]:
            raise ValueError(f"noise must be a positive range, got {self.noise}")


def partial_view(
    counts: npt.NDArray[np.floating[Any]],
    measured: _Mask,
    blocks: npt.NDArray[np.int64],
    sigma: npt.NDArray[np.floating[Any]],
    rng: np.random.Generator,
    prior: ViewPrior | None = None,
) -> tuple[_Singles, _Mask]:
    """A part of a measurement as a `ViewPrior` draws it.

    Parameters
    ----------
    counts : (n_bins, n_h, n_k). measured : bool of that shape. blocks : (n_bins,) which incident energy a bin belongs to.
    sigma : (n_bins,) counts. Noise of an empty pixel, which the added noise is a multiple of.

    Returns
    -------
    (n_bins, n_h, n_k) float32 counts, and bool: what of them is seen. One pixel is always seen.
    """
    prior = prior or ViewPrior()
    chance = rng.random(5)
    values = np.asarray(counts, dtype=np.float32)
    if chance[4] < prior.more_noise:
        factor = np.exp(rng.uniform(*np.log(prior.noise)))
        values = with_more_noise(values, sigma, factor, rng, clipped=bool(rng.integers(2)))
    seen = measured.copy()
    energies = np.unique(blocks)
    kept = energies
    if chance[0] < prior.one_energy:
        kept = rng.permutation(energies)[:1]
    elif chance[0] < prior.one_energy + prior.some_energies and len(energies) > 1:
        kept = rng.permutation(energies)[: int(rng.integers(1, len(energies)))]
    if len(kept) < len(energies):
        seen[~np.isin(blocks, kept)] = False
    if chance[1] < prior.some_cells:
        seen[rng.random(len(seen)) < rng.uniform(0.0, 0.5)] = False
    if chance[2] < prior.some_pixels:
        seen &= _part(seen.shape[1:], rng)
    if chance[3] < prior.mask_from_zeros:
        seen &= seen_pixels(values * seen, blocks)
    return (values, seen) if seen.any() else (values, measured.copy())


def with_more_noise(
    counts: npt.NDArray[np.floating[Any]],
    sigma: npt.NDArray[np.floating[Any]],
    factor: float,
    rng: np.random.Generator,
    *,
    clipped: bool = True,
) -> _Singles:
    """Counts with Gaussian noise of ``factor`` times sqrt(sigma^2 + counts) added; negative ones set to zero or kept."""
    values = np.ascontiguousarray(counts, dtype=np.float32)
    finite = np.isfinite(values)
    whole = bool(finite.all())
    # count_images adds noise once: in units of factor^2 counts, sigma / factor and that is factor sqrt(sigma^2 + counts).
    noisy: _Singles = count_images(
        (values if whole else np.where(finite, values, np.float32(0.0)))[None],
        seed=int(rng.integers(2**63)), stream="more noise", indices=[0], form="subtracted", scale=1.0 / factor**2,
        sigma=np.asarray(sigma, dtype=np.float64) / factor, lowest=0.0 if clipped else -np.inf, threads=1,
    )[0]  # fmt: skip
    noisy *= np.float32(factor**2)
    if not whole:
        noisy[~finite] = values[~finite]
    return noisy


def network_view(counts: npt.NDArray[np.floating[Any]], seen: _Mask, *, out: _Singles | None = None) -> _Singles:
    """Input of a `CellSetClassifier`: arsinh(counts) of what is seen, then the masks.

    Parameters
    ----------
    counts : (n_bins, n_h, n_k) or (n, n_bins, n_h, n_k). What is not finite where it is seen is refused.
    seen : bool of the same shape, or of one image.
    out : C-contiguous float32 array for the result; None for a new one.

    Returns
    -------
    (2 n_bins, n_h, n_k) or (n, 2 n_bins, n_h, n_k) float32. arsinh is log(2 counts) for many counts, and keeps negative ones.
    """
    values = np.ascontiguousarray(counts, dtype=np.float32)
    mask = np.ascontiguousarray(np.broadcast_to(np.asarray(seen, dtype=bool), values.shape))
    if values.ndim not in (3, 4):
        raise ValueError(f"counts must have shape (n_bins, n_h, n_k) or (n, n_bins, n_h, n_k), got {values.shape}")
    middle = values.shape[-3]
    n_images, n = math.prod(values.shape[:-3]), math.prod(values.shape[-3:])
    shape = (*values.shape[:-3], 2 * middle, *values.shape[-2:])
    result = np.empty(shape, dtype=np.float32) if out is None else out
    if result.shape != shape or result.dtype != np.float32 or not result.flags.c_contiguous:
        raise ValueError(f"out must be C-contiguous float32 of shape {shape}, got {result.dtype} {result.shape}")
    bad = _core.arsinh_view(values.reshape(n_images, n), mask.reshape(n_images, n), result.reshape(n_images, 2, n))
    if bad >= 0:
        bin_, h, k = np.unravel_index(bad, values.shape)[-3:]
        raise ValueError(
            f"counts must be finite wherever they are seen, got {values.flat[bad]} in bin {bin_}, ({h}, {k})"
        )
    return result


@dataclass(frozen=True, eq=False)
class ViewedDetection:
    """Network inputs of expected images: detected, then seen in part; for `insdl.dataset.reader` and streams.

    Attributes
    ----------
    source : has ``detect(image, rng)`` and a ``detector``, as `insdl.dataset.configured.ConfiguredSource`.
    prior : `ViewPrior`; None shows the whole of every measurement.
    """

    source: ConfiguredSource
    prior: ViewPrior | None = None

    def __call__(self, image: npt.NDArray[np.floating[Any]], rng: np.random.Generator) -> _Singles:
        """(2 n_bins, n_h, n_k) float32: `network_view` of a measurement of ``image``."""
        out = np.empty(self.output_shape(image.shape), dtype=np.float32)
        self.into(image, rng, out)
        return out

    def output_shape(self, image_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of what is made of an image of ``image_shape``."""
        return (2 * image_shape[0], *image_shape[1:])

    def into(self, image: npt.NDArray[np.floating[Any]], rng: np.random.Generator, out: _Singles) -> None:
        """Writes what calling this with ``image`` and ``rng`` gives to ``out``."""
        detector = self.source.detector
        counts, seen = detector.detect(image, rng), detector.measured
        if self.prior is not None:
            counts, seen = partial_view(counts, seen, detector.blocks, detector.noise_sigma, rng, self.prior)
        network_view(counts, seen, out=out)


def halves(measured: _Mask) -> Sequence[_Mask]:
    """Two halves of the detector pixels that share none: those of a checkerboard's two colours."""
    h, k = np.indices(measured.shape[-2:])
    colour = (h + k) % 2 == 0
    return measured & colour, measured & ~colour


def _part(shape: tuple[int, ...], rng: np.random.Generator) -> _Mask:
    """(n_h, n_k) bool: a part of a detector."""
    h, k = np.indices(shape)
    how = int(rng.integers(4))
    if how == 0:
        return np.asarray((h + k + rng.integers(2)) % 2 == 0)
    if how == 1:
        axis = (h, k)[int(rng.integers(2))]
        low = axis < shape[0] // 2
        return np.asarray(low if rng.integers(2) else ~low)
    if how == 2:
        return np.asarray(rng.random(shape) < rng.uniform(0.3, 1.0))
    radius = np.hypot(h - (shape[0] - 1) / 2, k - (shape[1] - 1) / 2)
    edge = rng.uniform(0.3, 0.9) * shape[0] / 2
    return np.asarray(radius < edge if rng.integers(2) else radius > 0.5 * edge)
