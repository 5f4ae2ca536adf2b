"""A measurement on one quarter of the (Qh, Qk) plane: the four pixels that the mirrors of a model bring together become one.

Models with both mirrors, Qh -> -Qh and Qk -> -Qk, say the same of all four. Their mean has half the noise, and a network that
sees it has a quarter of the pixels to look at. What breaks the mirrors is a nuisance (a shift of the frame by less than half a
pixel, slopes of backgrounds, gaps), and is averaged too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from insdl.dataset.configured import ConfiguredSource
from insdl.dataset.view import ViewPrior, partial_view

_Singles = npt.NDArray[np.float32]
_Mask = npt.NDArray[np.bool_]


def quarter_view(counts: npt.NDArray[np.floating[Any]], seen: _Mask, sigma: npt.ArrayLike) -> _Singles:
    """Means of arsinh(counts / sigma) over mirror images, and which share of the four was seen.

    arsinh is linear where noise rules and a logarithm where the signal does, so that neither strong pixels nor hot ones
    outweigh the others; the mean is taken after it for the same reason.

    Parameters
    ----------
    counts : (n_bins, p, p) or (n, n_bins, p, p), p even, Q = 0 in the middle. What is not finite where it is seen is refused.
    seen : bool of the same shape, or of one image.
    sigma : (n_bins,) counts, positive. Noise of an empty pixel.

    Returns
    -------
    (2 n_bins, p / 2, p / 2) or (n, 2 n_bins, p / 2, p / 2) float32, |Qh| and |Qk| ascending from zero: means, 0 where none of
    the four was seen; then shares, 0 to 1.
    """
    values = np.asarray(counts, dtype=np.float32)
    if values.ndim not in (3, 4) or values.shape[-1] != values.shape[-2] or values.shape[-1] % 2:
        raise ValueError(f"counts must have shape (n_bins, p, p) or (n, n_bins, p, p), p even, got {values.shape}")
    noise = np.asarray(sigma, dtype=np.float32)
    if noise.shape != values.shape[-3:-2] or not (np.isfinite(noise) & (noise > 0)).all():
        raise ValueError(f"sigma must be {values.shape[-3]} positive numbers, one a bin, got shape {noise.shape}")
    mask = np.broadcast_to(np.asarray(seen, dtype=bool), values.shape)
    if not np.isfinite(values[mask]).all():
        raise ValueError("counts must be finite wherever they are seen")
    number = _folded(mask.astype(np.float32))
    total = _folded(np.arcsinh(np.where(mask, values, np.float32(0.0)) / noise[:, None, None]))
    means = np.divide(total, number, out=np.zeros_like(total), where=number > 0)
    return np.concatenate([means, number / np.float32(4.0)], axis=-3)


@dataclass(frozen=True, eq=False)
class QuarterDetection:
    """Quarter views of expected images: detected, perhaps seen in part, folded; for `insdl.dataset.reader` and streams.

    Attributes
    ----------
    source : `ConfiguredSource`, whose detector counts.
    prior : `ViewPrior`; None shows the whole of every measurement.
    """

    source: ConfiguredSource
    prior: ViewPrior | None = None

    def __call__(self, image: npt.NDArray[np.floating[Any]], rng: np.random.Generator) -> _Singles:
        """(2 n_bins, p / 2, p / 2) float32: `quarter_view` of a measurement of ``image``."""
        detector = self.source.detector
        counts, seen = detector.detect(image, rng), detector.measured
        if self.prior is not None:
            counts, seen = partial_view(counts, seen, detector.blocks, detector.noise_sigma, rng, self.prior)
        return quarter_view(counts, seen, detector.noise_sigma)


def _folded(images: _Singles) -> _Singles:
    """Sums over the four mirror images."""
    half = images.shape[-1] // 2
    rows = images[..., half:, :] + images[..., half - 1 :: -1, :]
    return np.ascontiguousarray(rows[..., half:] + rows[..., half - 1 :: -1])
