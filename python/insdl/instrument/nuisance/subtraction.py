"""What subtracting a background leaves or takes too much."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_Singles = npt.NDArray[np.float32]


def planes(coefficients: npt.ArrayLike, blocks: npt.NDArray[np.int64], n_pixels: int) -> _Singles:
    """A plane over (Qh, Qk) for every block.

    Parameters
    ----------
    coefficients : (3, n_blocks) float, counts. Offset, and rise along Qh and along Qk from the centre to the last pixel.
    blocks : (n_bins,) int64. Which block each bin belongs to.
    n_pixels : int.

    Returns
    -------
    (n_bins, n_pixels, n_pixels) float32, counts; any sign.
    """
    offset, along_h, along_k = np.asarray(coefficients, dtype=np.float32)[:, :, None, None]
    axis = np.linspace(-1.0, 1.0, n_pixels, dtype=np.float32)
    return np.asarray((offset + along_h * axis[:, None] + along_k * axis)[blocks])


def over_subtracted(mean: _Singles, shape: _Singles, level: npt.ArrayLike) -> _Singles:
    """An image after a background of the wrong size was subtracted.

    Parameters
    ----------
    mean : (n_bins, n_h, n_k) float32, counts.
    shape : (n_bins, n_h, n_k) float32. What was subtracted, of mean one where it is strongest.
    level : (n_bins,) float or float, counts. How much too much (negative: too little).

    Returns
    -------
    (n_bins, n_h, n_k) float32, counts; may be negative.
    """
    excess = np.asarray(level, dtype=np.float32)
    return np.asarray(mean - (excess[:, None, None] if excess.ndim else excess) * shape)
