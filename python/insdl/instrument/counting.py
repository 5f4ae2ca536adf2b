"""Counting noise as background-subtracted measurements have it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def counted(
    mean: npt.NDArray[np.float32],
    sigma: npt.NDArray[np.float32],
    rng: np.random.Generator,
    *,
    clip: float = np.inf,
) -> npt.NDArray[np.float32]:
    """A measured image around its mean: clip(mean + N(0, sigma^2 + max(mean, 0)), 0, clip).

    Parameters
    ----------
    mean : (n_bins, n_h, n_k) float32, counts. Signal and background left after subtraction (may be negative).
    sigma : broadcastable to ``mean``, counts. Noise where there is no signal: counting noise of what was subtracted.
    rng : numpy Generator.
    clip : float, counts. Upper limit of the file.

    Returns
    -------
    (n_bins, n_h, n_k) float32, counts. Zero where the subtracted signal was negative: about half of the empty pixels.
    """
    noise = rng.standard_normal(mean.shape, dtype=np.float32)
    noise *= np.sqrt(sigma * sigma + np.maximum(mean, 0.0))
    noise += mean
    return np.clip(noise, 0.0, np.float32(clip), out=noise)
