"""Where two models' simulations differ, whatever a network makes of it: the plain physics score beside an explanation."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_Reals = npt.NDArray[np.float64]


def class_separation(
    first: npt.NDArray[np.floating[Any]],
    second: npt.NDArray[np.floating[Any]],
    *,
    noise_sigma: npt.ArrayLike,
    scale: float = 1.0,
    measured: npt.ArrayLike | None = None,
) -> _Reals:
    """Squared effect size of each cell: sum over pixels of (difference of the mean counts)^2 over their variance.

    The variance is that of counting, sigma^2 + counts, and that of the exchange constants and nuisances over their priors, the
    mean of the two classes'. What the finite number of images adds to the square on average is taken off, so that cells in
    which the classes do not differ scatter about 0.

    Parameters
    ----------
    first, second : (n, cells, p, p). Expected images of the two classes, without noise, drawn from equal priors; 2 at least.
    noise_sigma : (cells,) counts. Noise of an empty pixel.
    scale : counts for an image of 1.
    measured : (cells, p, p) bool. Where a detector looks; everywhere by default.

    Returns
    -------
    (cells,) float64, no unit.

    Raises
    ------
    ValueError
        If shapes do not fit.
    """
    classes = [scale * np.asarray(one, dtype=np.float64) for one in (first, second)]
    if any(one.ndim != 4 or len(one) < 2 for one in classes) or classes[0].shape[1:] != classes[1].shape[1:]:
        raise ValueError(
            f"two sets of at least 2 images (n, cells, p, p) are needed, got {classes[0].shape} and {classes[1].shape}"
        )
    sigma = np.asarray(noise_sigma, dtype=np.float64)
    if sigma.shape != classes[0].shape[1:2]:
        raise ValueError(f"noise_sigma must have shape {classes[0].shape[1:2]}, got {sigma.shape}")
    looked = np.ones(classes[0].shape[1:], dtype=bool) if measured is None else np.asarray(measured, dtype=bool)
    if looked.shape != classes[0].shape[1:]:
        raise ValueError(f"measured must have shape {classes[0].shape[1:]}, got {looked.shape}")
    mean = [one.mean(axis=0) for one in classes]
    spread = [one.var(axis=0, ddof=1) for one in classes]
    square = (mean[0] - mean[1]) ** 2 - spread[0] / len(classes[0]) - spread[1] / len(classes[1])
    counting = sigma[:, None, None] ** 2 + 0.5 * np.maximum(mean[0] + mean[1], 0.0)
    variance = counting + 0.5 * (spread[0] + spread[1])
    effect: _Reals = np.divide(square, variance, out=np.zeros_like(square), where=looked & (variance > 0))
    size: _Reals = effect.sum(axis=(1, 2))
    return size
