"""Lattices, reciprocal lattices and neighbours."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Neighbours:
    """A pair of sites: ``i`` in cell 0 and ``j`` in cell ``offset``.

    Attributes
    ----------
    i, j : int. Sites.
    offset : (3,) int. The cell of site j.
    vector : (3,) float64, angstrom, Cartesian. From i to j.
    distance : float, angstrom.
    """

    i: int
    j: int
    offset: tuple[int, int, int]
    vector: _Reals
    distance: float


def shown(value: object) -> str:
    """What was given, cut short and on one line, for a message."""
    return " ".join(reprlib.repr(value).split())


def real_numbers(value: npt.ArrayLike, what: str) -> _Reals:
    """``value`` as a new float64 array; a ragged list, text, complex numbers or truth values get one clear sentence."""
    try:
        array = np.array(value)
    except (TypeError, ValueError):
        raise ValueError(f"{what} must be an array of numbers, got {shown(value)}") from None
    if array.size and array.dtype.kind not in "iuf":
        raise ValueError(f"{what} must be real numbers, got {shown(value)}")
    return np.ascontiguousarray(array, dtype=np.float64).reshape(array.shape)


def checked_lattice(value: npt.ArrayLike, what: str) -> _Reals:
    """``value`` as (3, 3) float64 with three independent rows, or one clear sentence."""
    rows = real_numbers(value, what)
    if rows.shape != (3, 3):
        raise ValueError(f"{what} must have shape (3, 3), got {rows.shape}")
    if not np.isfinite(rows).all() or abs(np.linalg.det(rows)) < 1e-9:
        raise ValueError(f"{what} must have three independent rows (angstrom), got {rows.tolist()}")
    return rows


def reciprocal(lattice: npt.ArrayLike) -> _Reals:
    """Reciprocal vectors of a lattice, 2 pi included.

    Parameters
    ----------
    lattice : (3, 3) float64, angstrom. Rows a, b, c.

    Returns
    -------
    (3, 3) float64, 1/angstrom. Rows a*, b*, c* with a_i . b_j = 2 pi delta_ij.
    """
    return np.ascontiguousarray(2.0 * np.pi * np.linalg.inv(checked_lattice(lattice, "lattice")).T)


def neighbours(lattice: npt.ArrayLike, positions: npt.ArrayLike, *, max_distance: float) -> list[Neighbours]:
    """Every pair of sites up to a distance, each once, sorted by distance.

    Parameters
    ----------
    lattice : (3, 3) float64, angstrom. Rows a, b, c.
    positions : (n, 3) float64, fractions of the lattice.
    max_distance : float, angstrom.

    Returns
    -------
    list of Neighbours. Of the two descriptions of a pair, the one with i < j, or with the first non-zero
    component of the offset positive where i = j.
    """
    cell, places = checked_lattice(lattice, "lattice"), real_numbers(positions, "positions")
    if places.ndim != 2 or places.shape[1] != 3 or not np.isfinite(places).all():
        raise ValueError(f"positions must be finite and of shape (n, 3), got {shown(places.tolist())}")
    if not 0 < max_distance < np.inf:
        raise ValueError(f"max_distance must be positive and finite (angstrom), got {max_distance}")
    span = np.ptp(places, axis=0) if len(places) else np.zeros(3)
    spacing = 2.0 * np.pi / np.linalg.norm(reciprocal(cell), axis=1)
    reach = np.ceil(max_distance / spacing + span).astype(int)
    ranges = [np.arange(-n, n + 1) for n in reach]
    offsets = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
    pairs = []
    for i in range(len(places)):
        for j in range(i, len(places)):
            vectors = (places[j] + offsets - places[i]) @ cell
            for offset, vector in zip(offsets, vectors, strict=True):
                distance = float(np.linalg.norm(vector))
                once = i < j or tuple(offset) > (0, 0, 0)
                if once and distance <= max_distance:
                    x, y, z = (int(n) for n in offset)
                    pairs.append(Neighbours(i, j, (x, y, z), vector, distance))
    return sorted(pairs, key=lambda pair: pair.distance)
