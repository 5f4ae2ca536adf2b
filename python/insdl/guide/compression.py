"""Images as a few hundred numbers: what all likely images and backgrounds of an incident energy differ in.

Noise of an unclipped measurement is nearly normal, and its variance in a pixel falls as 1 / time. So the weighted sums of
pixels along a fixed basis are all that a comparison of images within that basis needs: they are sufficient statistics for
expected images of the span (e.g. Kay, Fundamentals of Statistical Signal Processing I, chapter 5), and an exact likelihood
of themselves for any other image, whose rest is only not looked at.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from insdl.instrument.frame import ImageFrame

_Reals = npt.NDArray[np.float64]
_Mask = npt.NDArray[np.bool_]


def pooled_frame(frame: ImageFrame, pool: int) -> ImageFrame:
    """The frame with pixels of ``pool`` times the size.

    Raises
    ------
    ValueError
        If the number of pixels is no multiple of ``pool``.
    """
    pixels = np.asarray(frame.pixels)
    if pool < 1 or len(pixels) % pool:
        raise ValueError(f"pool must divide the {len(pixels)} pixels of an axis, got {pool}")
    return replace(frame, pixels=pixels.reshape(-1, pool).mean(axis=1))


def pooled_sum(image: npt.ArrayLike, pool: int) -> _Reals:
    """(..., n_h / pool, n_k / pool) float64. Sums over pool x pool pixels."""
    values = np.asarray(image, dtype=np.float64)
    n_h, n_k = values.shape[-2:]
    shape = (*values.shape[:-2], n_h // pool, pool, n_k // pool, pool)
    return np.asarray(values.reshape(shape).sum(axis=(-3, -1)))


@dataclass(frozen=True, eq=False)
class Compression:
    """Weighted sums of pixels for every block (incident energy or window that is measured on its own).

    Attributes
    ----------
    frame : ImageFrame of the pooled pixels.
    pool : pixels of the measurement along an axis of a pooled one.
    pixels : (n_bins, n_h, n_k) float64. How many measured pixels a pooled one holds.
    weight : (n_bins, n_h, n_k) float64, 1/counts^2. Inverse variance of a pooled pixel's mean counts after unit time, as
        expected beforehand; 0 where not measured. What the variance really was goes into `covariance`.
    blocks : (n_bins,) int64. The block of each bin, ascending.
    bases : one (n_values, n_pixels) float64 a block. Orthonormal rows over whitened pixels (counts times sqrt(weight)).
    """

    frame: ImageFrame
    pool: int
    pixels: _Reals
    weight: _Reals
    blocks: npt.NDArray[np.int64]
    bases: tuple[_Reals, ...]

    @property
    def slices(self) -> tuple[slice, ...]:
        """Where each block's numbers stand in a row of values."""
        ends = np.cumsum([0, *(len(basis) for basis in self.bases)])
        return tuple(slice(int(a), int(b)) for a, b in itertools.pairwise(ends))

    def pooled(self, image: npt.ArrayLike, measured: _Mask) -> _Reals:
        """(..., n_bins, n_h, n_k) float64. Means over the measured pixels of each pooled one; 0 where there is none."""
        total = pooled_sum(np.where(measured, np.asarray(image, dtype=np.float64), 0.0), self.pool)
        return np.asarray(total / np.maximum(pooled_sum(measured, self.pool), 1.0))

    def values(self, images: npt.ArrayLike) -> _Reals:
        """(n, n_values) float64. The numbers of pooled images (n, n_bins, n_h, n_k)."""
        white = np.asarray(images, dtype=np.float64) * np.sqrt(self.weight)
        parts = [white[:, self.blocks == b].reshape(len(white), -1) @ basis.T for b, basis in enumerate(self.bases)]
        return np.concatenate(parts, axis=1)

    def covariance(self, variance: npt.ArrayLike) -> list[_Reals]:
        """Covariance of a block's numbers from the variance of the pooled pixels, (n_bins, n_h, n_k) counts^2; one a block."""
        ratio = np.asarray(variance, dtype=np.float64) * self.weight
        return [(basis * ratio[self.blocks == b].ravel()) @ basis.T for b, basis in enumerate(self.bases)]

    def whitened_pixels(self, values: npt.ArrayLike, block: int) -> _Reals:
        """(..., n_bins of the block, n_h, n_k). Whitened pixels of numbers of one block, (..., n_values of it)."""
        shape = (int((self.blocks == block).sum()), *self.weight.shape[1:])
        found = np.asarray(values, dtype=np.float64) @ self.bases[block]
        return np.asarray(found.reshape(*found.shape[:-1], *shape))


def compression(
    frame: ImageFrame,
    *,
    pool: int,
    measured: _Mask,
    variance: npt.ArrayLike,
    exact: npt.NDArray[Any],
    typical: Sequence[npt.NDArray[Any]],
    components: Sequence[int],
) -> Compression:
    """A basis that holds some shapes exactly and the principal components of others.

    Parameters
    ----------
    frame : of the measurement. pool : see `pooled_frame`.
    measured : (n_bins, n_h, n_k) bool, in the pixels of the measurement.
    variance : (n_bins, n_h / pool, n_k / pool), counts^2. Of a pixel of the measurement after unit time; expected.
    exact : (n, n_bins, n_h / pool, n_k / pool). Shapes that lie in the basis, such as backgrounds.
    typical : arrays (n, n_bins, n_h / pool, n_k / pool). Images whose mean and components lie in the basis.
    components : how many of each of ``typical``, for every block.
    """
    small = pooled_frame(frame, pool)
    count = pooled_sum(measured, pool)
    weight = count / np.asarray(variance, dtype=np.float64)
    lengths = [len(np.asarray(block.bins)) for block in frame.blocks]
    blocks = np.repeat(np.arange(len(lengths)), lengths)
    bases = []
    for block in range(len(lengths)):
        own = blocks == block
        root = np.sqrt(weight[own])
        rows = [_white(exact, own, root)]
        for images, n in zip(typical, components, strict=True):
            flat = _white(images, own, root)
            mean = flat.mean(axis=0)
            _, _, sides = np.linalg.svd(flat - mean, full_matrices=False)
            rows += [mean[None], sides[:n]]
        bases.append(_orthonormal(np.concatenate(rows)))
    return Compression(small, pool, count, weight, blocks, tuple(bases))


def _white(images: npt.NDArray[Any], own: _Mask, root: _Reals) -> _Reals:
    return np.asarray((np.asarray(images[:, own], dtype=np.float64) * root).reshape(len(images), -1))


def _orthonormal(rows: _Reals) -> _Reals:
    """Orthonormal rows that span the given ones; rows that are zero or lie in the others' span add none."""
    size = np.linalg.norm(rows, axis=1)
    rows = rows[size > 0] / size[size > 0, None]
    _, values, sides = np.linalg.svd(rows, full_matrices=False)
    return np.ascontiguousarray(sides[values > 1e-6 * values[0]])
