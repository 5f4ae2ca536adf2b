"""Counting noise in the forms that data come in: counts, or what is left of them after a subtraction."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt


def counted(
    mean: npt.NDArray[np.float32],
    sigma: npt.NDArray[np.float32],
    rng: np.random.Generator,
    *,
    clip: float = np.inf,
    negative: Literal["clipped", "kept"] = "clipped",
) -> npt.NDArray[np.float32]:
    """A measured image around its mean: clip(mean + N(0, sigma^2 + max(mean, 0)), 0, clip).

    Parameters
    ----------
    mean : (n_bins, n_h, n_k) float32, counts. Signal and background left after subtraction (may be negative).
    sigma : broadcastable to ``mean``, counts. Noise where there is no signal: counting noise of what was subtracted.
    rng : numpy Generator.
    clip : float, counts. Upper limit of the file.
    negative : "clipped" puts zero where the subtracted signal is negative, "kept" leaves it.

    Returns
    -------
    (n_bins, n_h, n_k) float32, counts. Clipped, zero where the subtracted signal was negative: about half of the empty pixels.
    """
    if negative not in ("clipped", "kept"):
        raise ValueError(f"negative must be 'clipped' or 'kept', got {negative!r}")
    noise: npt.NDArray[np.float32] = rng.standard_normal(mean.shape, dtype=np.float32)
    noise *= np.sqrt(sigma * sigma + np.maximum(mean, 0.0))
    noise += mean
    smallest = np.float32(0.0 if negative == "clipped" else -np.inf)
    np.clip(noise, smallest, np.float32(clip), out=noise)
    return noise


def poisson_counts(mean: npt.NDArray[np.floating], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Counts that nothing was subtracted from: Poisson numbers of the given mean, float32; a negative mean counts nothing."""
    return np.asarray(rng.poisson(np.maximum(mean, 0.0)), dtype=np.float32)
