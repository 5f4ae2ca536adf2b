"""What every reader of measured data gives: a histogram with named axes, and where it came from."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from insdl.crystal import real_numbers

_Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Axis:
    """One axis of a histogram.

    Attributes
    ----------
    name : str. Such as ``"E"`` or ``"[H,-H,0]"``.
    unit : str. ``"meV"`` for an energy transfer, ``"r.l.u."`` or ``"1/angstrom"`` for a momentum transfer.
    edges : (n + 1,) float64, ``unit``. Edges of the bins, ascending.
    projection : (3,) float64 or None, r.l.u. For an axis of momentum transfer: coordinate x stands for
        q_rlu = x * projection. None for every other axis.
    """

    name: str
    unit: str
    edges: npt.ArrayLike
    projection: npt.ArrayLike | None = None

    def __post_init__(self) -> None:
        edges = real_numbers(self.edges, f"edges of axis {self.name}")
        if edges.ndim != 1 or len(edges) < 2:
            raise ValueError(f"axis {self.name} must have at least two edges in one row, got shape {edges.shape}")
        if not np.isfinite(edges).all() or not (np.diff(edges) > 0).all():
            raise ValueError(f"the edges of axis {self.name} must be finite and ascend")
        object.__setattr__(self, "edges", edges)
        if self.projection is not None:
            projection = real_numbers(self.projection, f"projection of axis {self.name}")
            if projection.shape != (3,) or not np.isfinite(projection).all() or not projection.any():
                raise ValueError(
                    f"the projection of axis {self.name} must be three finite numbers, not all zero, "
                    f"got {projection.tolist()}"
                )
            object.__setattr__(self, "projection", projection)

    def __len__(self) -> int:
        return len(np.asarray(self.edges)) - 1

    @property
    def centres(self) -> _Reals:
        """(n,) float64. Middle of each bin."""
        edges = np.asarray(self.edges)
        return np.asarray(0.5 * (edges[1:] + edges[:-1]))

    @property
    def widths(self) -> _Reals:
        """(n,) float64. Width of each bin."""
        return np.diff(np.asarray(self.edges))

    def turned(self) -> Axis:
        """The axis of -x: edges negated and in the other order. Its data must be flipped with it."""
        return Axis(self.name, self.unit, -np.asarray(self.edges)[::-1], self.projection)


@dataclass(frozen=True, eq=False)
class Histogram:
    """Measured intensities on a grid.

    Attributes
    ----------
    signal : (n1, n2, ...) float64. NaN where not measured.
    error : (n1, n2, ...) float64 or None. Standard deviation, not negative, NaN where not measured.
    axes : Axis, ... One for each dimension of ``signal``, in its order.
    source : str. Where it came from, in words.
    sha256 : str. Of the file.
    notes : str, ... What the reader assumed or left out, one sentence each.
    """

    signal: npt.NDArray[np.float64]
    error: npt.NDArray[np.float64] | None
    axes: tuple[Axis, ...]
    source: str
    sha256: str
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        signal = real_numbers(self.signal, "signal")
        object.__setattr__(self, "axes", tuple(self.axes))
        object.__setattr__(self, "notes", tuple(self.notes))
        expected = tuple(len(axis) for axis in self.axes)
        if signal.shape != expected:
            raise ValueError(f"signal must have one value a bin, {expected}, got shape {signal.shape}")
        names = [axis.name for axis in self.axes]
        if len(set(names)) != len(names):
            raise ValueError(f"axes must have different names, got {names}")
        if np.isinf(signal).any():
            raise ValueError("signal must be finite where measured and NaN elsewhere; it holds infinite values")
        missing = np.isnan(signal)
        if self.error is not None:
            error = real_numbers(self.error, "error")
            if error.shape != signal.shape:
                raise ValueError(f"error must have the shape of the signal, {signal.shape}, got {error.shape}")
            bad = np.argwhere(~missing & ~(np.isfinite(error) & (error >= 0)))
            if len(bad):
                where = tuple(bad[0].tolist())
                raise ValueError(
                    f"error must be finite and not negative where the signal was measured, got {error[where]} at {where}"
                )
            object.__setattr__(self, "error", np.where(missing, np.nan, error))
        object.__setattr__(self, "signal", signal)

    @property
    def measured(self) -> npt.NDArray[np.bool_]:
        """(n1, n2, ...) bool. True where there is a signal."""
        return ~np.isnan(self.signal)

    @property
    def shape(self) -> tuple[int, ...]:
        """Bins along each axis."""
        return tuple(len(axis) for axis in self.axes)

    def number(self, axis: str | int) -> int:
        """The position of an axis, given by its name or by its position.

        Raises
        ------
        ValueError
            If there is no such axis.
        """
        names = [known.name for known in self.axes]
        if isinstance(axis, str) and axis in names:
            return names.index(axis)
        if isinstance(axis, int) and not isinstance(axis, bool) and 0 <= axis < len(names):
            return axis
        raise ValueError(f"the histogram has the axes {names}, got {axis!r}")


def existing_file(path: str | os.PathLike[str], suffixes: tuple[str, ...]) -> Path:
    """The file at ``path``, which must exist and end in one of ``suffixes`` (lower case, with the dot).

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If its name ends otherwise.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    if file.suffix.lower() not in suffixes:
        raise ValueError(f"{file} must end in {' or '.join(suffixes)}, got {file.suffix or 'no ending'!r}")
    return file


def sha256_of(content: bytes) -> str:
    """SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
