"""What every version of Horace's files comes to: an image over three axes of Q and one of energy, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from insdl.instrument.measurement import file_sha256
from insdl.measured.histogram import Axis, Histogram

_Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class HoraceImage:
    """An image as Horace keeps it.

    Attributes
    ----------
    signal, variance, pixels : (n1, n2, n3, n4) float64. Mean over the detector pixels of a bin, its variance, their number.
    edges : four arrays. Edges of the bins, counted from ``offset``.
    matrix : (4, 4) float64. Columns are the axes in (h, k, l, E): r.l.u. and meV.
    offset : (4,) float64. (h, k, l, E) from which the coordinates are counted.
    labels : four names, empty where there is none.
    """

    signal: _Reals
    variance: _Reals
    pixels: _Reals
    edges: Sequence[_Reals]
    matrix: _Reals
    offset: _Reals
    labels: Sequence[str]

    def histogram(self, file: Path, notes: Sequence[str]) -> Histogram:
        """The image with coordinates counted from zero, NaN in bins without pixels.

        Raises
        ------
        ValueError
            For numbers that are not finite, negative variances or numbers of pixels, edges that do not ascend, or axes that
            mix Q and E.
        """
        self._check_values(file)
        edges, notes = list(self.edges), list(notes)
        if np.abs(self.offset).any():
            # (h, k, l, E) = matrix x + offset: the same points have coordinates x + matrix^-1 offset from zero.
            finite = np.isfinite(self.matrix).all() and np.isfinite(self.offset).all()
            if not finite or abs(np.linalg.det(self.matrix)) < 1e-9:
                raise ValueError(
                    f"{file}: the axes must be finite and independent to count from the offset {self.offset.tolist()}"
                )
            shift = np.linalg.solve(self.matrix, self.offset)
            edges = [values + shift[number] for number, values in enumerate(edges)]
            notes.append(
                f"coordinates were counted from (h, k, l, E) = {tuple(self.offset.tolist())} and are from zero here"
            )
        axes = [self._axis(file, number, edges[number]) for number in range(4)]
        seen = self.pixels > 0
        value = np.where(seen, self.signal, np.nan)
        error = np.sqrt(np.where(seen, self.variance, np.nan))
        try:
            return Histogram(value, error, tuple(axes), file.name, file_sha256(file), tuple(notes))
        except ValueError as problem:
            raise ValueError(f"{file}: {problem}") from None

    def _check_values(self, file: Path) -> None:
        if (self.pixels < 0).any():
            raise ValueError(f"{file}: numbers of pixels must not be negative")
        seen = self.pixels > 0
        for values, what in ((self.signal, "signal"), (self.variance, "variance")):
            wrong = seen & ~np.isfinite(values)
            if wrong.any():
                raise ValueError(
                    f"{file}: the {what} must be finite where pixels contribute; {int(wrong.sum())} are not"
                )
        if (self.variance[seen] < 0).any():
            raise ValueError(f"{file}: variances must not be negative, got {self.variance[seen].min():g}")

    def _axis(self, file: Path, number: int, edges: _Reals) -> Axis:
        column = self.matrix[:, number]
        names = [label or f"u{n + 1}" for n, label in enumerate(self.labels)]
        name = names[number]
        if names.count(name) > 1:
            name = f"{name} (u{number + 1})"
        energy = number == 3
        mixed = column[:3].any() if energy else column[3] != 0
        if mixed or not np.isfinite(column).all():
            raise ValueError(
                f"{file}: axis {number + 1} must be {'an energy' if energy else 'a momentum'}, got {column.tolist()}"
            )
        if energy and column[3] != 1:
            raise ValueError(f"{file}: the energy axis must be in meV, got a factor of {column[3]:g}")
        try:
            return Axis(name, "meV", edges) if energy else Axis(name, "r.l.u.", edges, column[:3])
        except ValueError as problem:
            raise ValueError(f"{file}: {problem}") from None
