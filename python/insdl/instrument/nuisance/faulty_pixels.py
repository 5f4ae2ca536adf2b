"""Hot and dead pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_Singles = npt.NDArray[np.float32]


def add_hot_pixels(mean: _Singles, fraction: float, height: float, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Adds an exponentially distributed excess to random pixels of ``mean``, and returns which.

    Parameters
    ----------
    mean : (n_bins, n_h, n_k) float32, counts, C-contiguous. Changed in place.
    fraction : float, 0 to 1. Expected share of the pixels; their number is binomial. A pixel may be drawn twice.
    height : float, counts. Mean excess.

    Returns
    -------
    (n_hot,) int64. Places in the flattened image.
    """
    places = _places(mean, fraction, rng)
    np.add.at(mean.reshape(-1), places, rng.exponential(height, size=len(places)).astype(np.float32))
    return places


def kill_pixels(counts: _Singles, fraction: float, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Sets random pixels of ``counts`` to zero (as `add_hot_pixels`), and returns which."""
    places = _places(counts, fraction, rng)
    counts.reshape(-1)[places] = 0.0
    return places


def _places(image: _Singles, fraction: float, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction must lie in 0 to 1, got {fraction}")
    if not image.flags.c_contiguous:
        raise ValueError("the image must be C-contiguous, because it is changed in place")
    return rng.integers(0, image.size, size=int(rng.binomial(image.size, fraction)))
