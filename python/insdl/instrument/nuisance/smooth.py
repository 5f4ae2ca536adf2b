"""A smooth positive background, as multiple scattering and the sample's surroundings give."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from insdl.instrument.frame import ImageFrame

_Singles = npt.NDArray[np.float32]

TERMS = ("Qh", "Qk", "E", "Qh Qk", "P2(Qh)", "P2(Qk)", "P2(E)", "Qh E", "Qk E")
"""The polynomials of `smooth_shapes`; P2 is Legendre's."""


def smooth_shapes(frame: ImageFrame) -> _Singles:
    """Low-order polynomials of Qh, Qk and E over each block of a frame.

    Returns
    -------
    (n_terms, n_bins, n_h, n_k) float32. Qh and Qk run from -1 to 1 over the pixels' edges, E over each block; every shape
    lies within [-1, 1].
    """
    low, high = frame.pixel_edges[[0, -1]]
    axis = (2.0 * np.asarray(frame.pixels) - low - high) / (high - low)
    x, y = axis[:, None] + np.zeros_like(axis), axis + np.zeros_like(axis)[:, None]
    e = block_energies(frame)[:, None, None]

    def second(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(1.5 * values**2 - 0.5)

    shapes = (x, y, e, x * y, second(x), second(y), second(e), x * e, y * e)
    return np.stack([np.broadcast_to(shape, frame.shape) for shape in shapes]).astype(np.float32)


def block_energies(frame: ImageFrame) -> npt.NDArray[np.float64]:
    """(n_bins,). Middle of each energy bin, -1 to 1 from the lowest to the highest edge of its block."""
    energies = []
    for block in frame.blocks:
        bins = np.asarray(block.bins)
        energies.append((2.0 * bins.mean(axis=1) - bins.min() - bins.max()) / np.ptp(bins))
    return np.concatenate(energies)


def draw_coefficients(levels: _Singles, variation: float, rng: np.random.Generator) -> _Singles:
    """(n_blocks, n_terms) float32, counts. Factors of `TERMS` whose sizes add up to variation times level.

    Raises
    ------
    ValueError
        If the levels, (n_blocks,), are negative, or the variation is not 0 to 1.
    """
    if not 0 <= variation <= 1:
        raise ValueError(f"variation must lie in 0 to 1, got {variation}")
    if levels.ndim != 1 or not (levels >= 0).all():
        raise ValueError(f"level must be one number a block, not negative, got {levels.tolist()}")
    coefficients = rng.standard_normal((len(levels), len(TERMS)), dtype=np.float32)
    coefficients *= np.float32(variation) / np.abs(coefficients).sum(axis=1, keepdims=True)
    coefficients *= levels[:, None]
    return coefficients


def smooth_background(
    shapes: _Singles,
    blocks: npt.NDArray[np.int64],
    level: npt.ArrayLike,
    variation: float,
    rng: np.random.Generator,
) -> _Singles:
    """level (1 + sum of coefficients times shapes) for every block, positive by construction.

    Parameters
    ----------
    shapes : (n_terms, n_bins, n_h, n_k) float32. As `smooth_shapes` gives them.
    blocks : (n_bins,) int64, ascending. Which block each bin belongs to.
    level : (n_blocks,) float, counts.
    variation : float, 0 to 1. Sum of the coefficients' sizes: the background lies within level (1 -+ variation).
    rng : numpy Generator, for the coefficients, of any sign.

    Returns
    -------
    (n_bins, n_h, n_k) float32, counts.
    """
    levels = np.asarray(level, dtype=np.float32)
    coefficients = draw_coefficients(levels, variation, rng)
    result = np.empty(shapes.shape[1:], dtype=np.float32)
    ends = np.searchsorted(blocks, np.arange(len(levels) + 1))
    for number, (begin, end) in enumerate(pairwise(ends)):
        np.einsum("t,tbhk->bhk", coefficients[number], shapes[:, begin:end], out=result[begin:end])
        result[begin:end] += levels[number]
    return result
