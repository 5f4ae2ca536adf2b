"""An image and everything that is added to it, in one pass of the compiled core."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from insdl import _core

_Singles = npt.NDArray[np.float32]


def expected_image(
    image: _Singles,
    *,
    mirrored: tuple[bool, bool] = (False, False),
    scale: float = 1.0,
    terms: _Singles,
    coefficients: npt.ArrayLike,
    shapes: Sequence[_Singles] = (),
    levels: Sequence[float] = (),
) -> _Singles:
    """scale image + sum over terms of coefficients[bin, term] terms[term] + sum over shapes of level shape.

    Parameters
    ----------
    image : (n_bins, n_h, n_k) float32, C-contiguous.
    mirrored : whether the image is taken backwards along Qh, and along Qk. What is added is not.
    terms : (n_terms, n_h, n_k) float32. Functions of the pixel, as `insdl.instrument.nuisance.pixel_terms` gives them.
    coefficients : (n_bins, n_terms), counts.
    shapes : each (n_bins, n_h, n_k) float32. levels : one for each, counts.

    Returns
    -------
    (n_bins, n_h, n_k) float32, counts. Bitwise the same on any processor.

    Raises
    ------
    ValueError
        For arrays of another shape. TypeError for another dtype.
    """
    out = np.empty_like(image)
    factors = np.ascontiguousarray(coefficients, dtype=np.float32)
    h, k = (bool(one) for one in mirrored)
    given = [float(level) for level in levels]
    _core.expected_image(image, h, k, float(scale), terms, factors, list(shapes), given, out)
    return out


def weighted_sum(image: _Singles, weight: _Singles) -> float:
    """Sum of image times weight over all pixels, float32 arrays of one size; the same on any processor."""
    return float(_core.weighted_sum(image, weight))
