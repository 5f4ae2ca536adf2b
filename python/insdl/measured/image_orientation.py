"""Is a measured image mirrored or transposed against the mask of its detectors?

Where no detector looked, an image must hold nothing. Of the eight operations of the square on (Qh, Qk), the right one brings
the empty pixels of the image over all of the mask. An image that is mirrored by mistake still looks like an image; this is
how to find out without a model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_Array = npt.NDArray[np.float64]

OPERATIONS: dict[str, Callable[[npt.NDArray[np.generic]], npt.NDArray[np.generic]]] = {
    "as it stands": lambda a: a,
    "Qk mirrored": lambda a: a[..., :, ::-1],
    "Qh mirrored": lambda a: a[..., ::-1, :],
    "Qh and Qk mirrored": lambda a: a[..., ::-1, ::-1],
    "Qh and Qk exchanged": lambda a: np.swapaxes(a, -1, -2),
    "turned by 90 degrees, Qh to Qk": lambda a: np.swapaxes(a, -1, -2)[..., ::-1, :],
    "turned by 90 degrees, Qk to Qh": lambda a: np.swapaxes(a, -1, -2)[..., :, ::-1],
    "Qh and -Qk exchanged": lambda a: np.swapaxes(a, -1, -2)[..., ::-1, ::-1],
}
"""Name: what it does to the last two axes (Qh, Qk) of an image."""

# A mirror that the mask itself has, all but this share of its pixels, cannot be told from none.
_TIE = 0.002

MATCH = 0.95
"""An image and a mask that belong together overlap to at least this share one way round."""


@dataclass(frozen=True, eq=False)
class OrientationReport:
    """How well the empty pixels of an image cover the pixels where no detector looked.

    Attributes
    ----------
    operation : str. Of `OPERATIONS`, to be applied to the image: the one of largest overlap. "as it stands" where it ties.
    overlap : dict of str to float. For each operation the share of unseen pixels at which the image is empty.
    by_cell : dict of str to (n_bins,) float64. The same cell by cell; NaN where all of a cell was seen.
    chance : float. The share of empty pixels in the image: what an operation without meaning would reach.
    margin : float. Overlap of ``operation`` above that of the next one that does not tie.
    ties : str, ... Operations whose overlap is as good, ``operation`` left out: the mask cannot tell them.
    """

    operation: str
    overlap: dict[str, float]
    by_cell: dict[str, _Array]
    chance: float
    margin: float
    ties: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The finding in words."""
        stands, best = self.overlap["as it stands"], self.overlap[self.operation]
        if self.chance > 1 - _TIE:
            return "The image is empty: its orientation cannot be told."
        if max(self.overlap.values()) < MATCH:
            return (
                f"The empty pixels of the image cover at most {max(self.overlap.values()):.1%} of the pixels that no detector "
                f"saw, whichever way round ({self.chance:.1%} would be chance): image and mask do not belong together."
            )
        told = f"The empty pixels of the image cover {stands:.1%} of the pixels that no detector saw as it stands"
        if len(self.ties) == len(OPERATIONS) - 1:
            return f"{told}, and as many however it is turned: the mask cannot tell its orientation."
        tie = f" The mask cannot tell that from: {'; '.join(self.ties)}." if self.ties else ""
        if self.operation == "as it stands":
            return f"{told}, more than any other way round.{tie}"
        return f"{told} and {best:.1%} with {self.operation}: the image is probably the other way round.{tie}"


def orientation(image: npt.ArrayLike, measured: npt.ArrayLike) -> OrientationReport:
    """Tries the eight operations of the square on an image against the mask of its detectors.

    Parameters
    ----------
    image : (..., n, n) float64 or bool. Counts, zero or NaN where empty; or a mask of its own, True where it holds something.
    measured : (..., n, n) bool, same shape. True where a detector looked.

    Raises
    ------
    ValueError
        If the shapes differ, cells are not square, or every pixel was measured.
    """
    values, seen = np.asarray(image), np.asarray(measured)
    if seen.dtype != np.bool_:
        raise ValueError(f"measured must be an array of bool, got {seen.dtype}")
    if values.shape != seen.shape or values.ndim < 2 or values.shape[-1] != values.shape[-2]:
        raise ValueError(f"image and measured must have one shape (..., n, n), got {values.shape} and {seen.shape}")
    n = values.shape[-1]
    empty = (np.isnan(values) | (values == 0)) if values.dtype.kind == "f" else values == 0
    empty, unseen = empty.reshape(-1, n, n), ~seen.reshape(-1, n, n)
    if not unseen.any():
        raise ValueError("every pixel was measured: a full mask says nothing about the orientation")
    number = unseen.sum(axis=(1, 2))
    overlap, by_cell = {}, {}
    for name, operation in OPERATIONS.items():
        covered = (operation(empty) & unseen).sum(axis=(1, 2))
        overlap[name] = float(covered.sum() / number.sum())
        by_cell[name] = np.where(number > 0, covered / np.maximum(number, 1), np.nan)
    highest = max(overlap.values())
    as_good = [name for name in overlap if overlap[name] >= highest - _TIE]
    # Of operations that tie, the one that does nothing, else the best.
    best = "as it stands" if "as it stands" in as_good else max(overlap, key=lambda name: overlap[name])
    others = [value for name, value in overlap.items() if name not in as_good]
    margin = overlap[best] - max(others) if others else 0.0
    ties = tuple(name for name in as_good if name != best)
    return OrientationReport(best, overlap, by_cell, float(empty.mean()), float(margin), ties)
