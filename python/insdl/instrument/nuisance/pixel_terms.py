"""Functions of Qh and Qk alone: what most backgrounds are sums of, with coefficients of their own in each energy bin."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from insdl.instrument.frame import ImageFrame
from insdl.instrument.nuisance.smooth import draw_coefficients

_Singles = npt.NDArray[np.float32]

PIXEL_TERMS = ("1", "Qh", "Qk", "Qh Qk", "P2(Qh)", "P2(Qk)", "plane Qh", "plane Qk", "|Q|")
"""Qh and Qk run from -1 to 1 over the pixels' edges, in "plane" over their middles; P2 is Legendre's polynomial; |Q| stands for
|Q| / mean |Q| - 1."""


def pixel_terms(frame: ImageFrame) -> _Singles:
    """(n_terms, n_h, n_k) float32. The functions `PIXEL_TERMS` on the pixels of a frame."""
    pixels = np.asarray(frame.pixels)
    low, high = frame.pixel_edges[[0, -1]]
    axis, middle = (2.0 * pixels - low - high) / (high - low), np.linspace(-1.0, 1.0, len(pixels))
    x, y = np.broadcast_arrays(axis[:, None], axis)
    u, v = np.broadcast_arrays(middle[:, None], middle)
    radius = np.hypot(pixels[:, None], pixels)
    terms = (np.ones_like(x), x, y, x * y, 1.5 * x**2 - 0.5, 1.5 * y**2 - 0.5, u, v, radius / radius.mean() - 1.0)
    return np.stack(terms).astype(np.float32)


def flat_coefficients(level: npt.ArrayLike, n_bins: int) -> _Singles:
    """(n_bins, n_terms) of a background without structure; ``level`` of (n_bins,) or one number, counts."""
    result = np.zeros((n_bins, len(PIXEL_TERMS)), dtype=np.float32)
    result[:, 0] = level
    return result


def smooth_coefficients(
    energies: _Singles, blocks: npt.NDArray[np.int64], level: npt.ArrayLike, variation: float, rng: np.random.Generator
) -> _Singles:
    """(n_bins, n_terms) of `insdl.instrument.nuisance.smooth_background` with the same arguments.

    Parameters
    ----------
    energies : (n_bins,) float32. Middle of each bin, -1 to 1 over its block (`insdl.instrument.nuisance.block_energies`).
    """
    levels = np.asarray(level, dtype=np.float32)
    terms = draw_coefficients(levels, variation, rng)[blocks].T
    second = np.float32(1.5) * energies**2 - np.float32(0.5)
    result = flat_coefficients(levels[blocks] + terms[2] * energies + terms[6] * second, len(blocks))
    result[:, 1], result[:, 2] = terms[0] + terms[7] * energies, terms[1] + terms[8] * energies
    result[:, 3], result[:, 4], result[:, 5] = terms[3], terms[4], terms[5]
    return result


def plane_coefficients(coefficients: npt.ArrayLike, blocks: npt.NDArray[np.int64]) -> _Singles:
    """(n_bins, n_terms) of `insdl.instrument.nuisance.planes` with the same (3, n_blocks) coefficients."""
    offset, along_h, along_k = np.asarray(coefficients, dtype=np.float32)[:, blocks]
    result = flat_coefficients(offset, len(blocks))
    result[:, 6], result[:, 7] = along_h, along_k
    return result
