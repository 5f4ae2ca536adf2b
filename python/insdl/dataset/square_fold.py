"""A square map folded on its symmetry: the eight pixels that Qh -> -Qh, Qk -> -Qk and Qh <-> Qk bring together become one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class FoldedMap:
    """Maps of one quarter, Qh and Qk from zero outwards, symmetric in both.

    Attributes
    ----------
    rate : (..., n / 2, n / 2) float32. Mean over the equivalent pixels that were measured; zero where none was.
    number : same shape, float32. How many of the eight were measured (0 to 8; a pixel of the diagonal counts twice).
    """

    rate: npt.NDArray[np.float32]
    number: npt.NDArray[np.float32]


def fold_square(counts: npt.NDArray[np.floating], measured: npt.NDArray[np.bool_]) -> FoldedMap:
    """Means over equivalent pixels; the sum ``rate * number`` of Poisson counts is Poisson again.

    Parameters
    ----------
    counts : (..., n, n). Maps with n even and zero momentum in the middle.
    measured : bool, broadcastable to ``counts``.

    Raises
    ------
    ValueError
        If the maps are not square with an even number of pixels.
    """
    n = counts.shape[-1]
    if counts.ndim < 2 or counts.shape[-2] != n or n % 2:
        raise ValueError(f"a map to fold must have shape (..., n, n), n even, got {counts.shape}")
    seen = np.broadcast_to(measured, counts.shape)
    total = _folded(np.where(seen, counts, 0.0).astype(np.float32))
    number = _folded(seen.astype(np.float32))
    return FoldedMap(np.divide(total, number, out=np.zeros_like(total), where=number > 0), number)


def _folded(maps: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    half = maps.shape[-1] // 2
    rows = maps[..., half:, :] + maps[..., half - 1 :: -1, :]
    quarter = rows[..., half:] + rows[..., half - 1 :: -1]
    return np.ascontiguousarray(quarter + np.swapaxes(quarter, -1, -2))
