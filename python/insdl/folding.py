"""Momentum transfers that are equal modulo a reciprocal vector of the magnetic cell, or a sign, share their energies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_Reals = npt.NDArray[np.float64]
_LANES = 16  # of the widest instruction set; the order only matters for speed
_UNIT = 10**9  # fractions of a reciprocal vector are compared to this resolution


@dataclass(frozen=True, eq=False)
class Folding:
    """Points as +-(solve_q + G), G a reciprocal vector of the magnetic cell.

    Attributes
    ----------
    solve_q : (n_solve, d) float64, r.l.u. The momentum transfers that have to be solved.
    shift : (n_shift, d) float64, r.l.u. The distinct vectors G.
    plus, minus : (n_shift, n_solve) int32. The point at solve_q + G, and at -(solve_q + G); -1 where there is none.
    """

    solve_q: _Reals
    shift: _Reals
    plus: npt.NDArray[np.int32]
    minus: npt.NDArray[np.int32]


def fold(points: _Reals, to_magnetic: _Reals) -> Folding:
    """The folding of points (n, d), r.l.u. of the chemical cell; ``to_magnetic`` (d, d) turns them into magnetic r.l.u.

    Of each group of equivalent points the one nearest to the origin is solved, so that points which have no partner but
    their opposite need no G at all.
    """
    magnetic = points @ to_magnetic.T
    keys = np.rint(magnetic * _UNIT).astype(np.int64) % _UNIT
    opposite = (-keys) % _UNIT
    first_difference = np.argmax(keys != opposite, axis=1)
    rows = np.arange(len(points))
    negated = opposite[rows, first_difference] < keys[rows, first_difference]
    canonical = np.where(negated[:, None], opposite, keys)
    nearest = np.lexsort([*magnetic.T, np.round(np.linalg.norm(magnetic, axis=1), 9)])
    _, first, inverse = np.unique(canonical[nearest], axis=0, return_index=True, return_inverse=True)
    group = np.empty(len(points), dtype=np.int64)
    group[nearest] = inverse.ravel()
    chosen = nearest[first]
    sign = np.where(negated == negated[chosen[group]], 1.0, -1.0)
    whole = np.rint(sign[:, None] * magnetic - magnetic[chosen[group]]).astype(np.int64)
    shifts, which = np.unique(whole, axis=0, return_inverse=True)
    which = which.ravel()
    plus = np.full((len(shifts), len(chosen)), -1, dtype=np.int32)
    minus = plus.copy()
    for side, table in ((sign > 0, plus), (sign < 0, minus)):
        table[which[side], group[side]] = np.flatnonzero(side)
    order = lane_order((plus >= 0) | (minus >= 0), magnetic[chosen])
    chosen, plus, minus = chosen[order], np.ascontiguousarray(plus[:, order]), np.ascontiguousarray(minus[:, order])
    # A point that is its own opposite modulo G stands at +; nothing else may have lost its place.
    if (plus >= 0).sum() + (minus >= 0).sum() != len(points):
        raise ValueError("points must be different from each other")
    return Folding(np.ascontiguousarray(points[chosen]), shifts @ np.linalg.inv(to_magnetic).T, plus, minus)


def lane_order(present: npt.NDArray[np.bool_], q: _Reals) -> npt.NDArray[np.int64]:
    """An order of the solved q (n_solve, d) that suits blocks of lanes; present (n_shift, n_solve): which G they have.

    Neighbours in q stay neighbours, which keeps writes together, unless at the rim of the list many blocks would mix q with
    different G: then those with the same G come together.
    """
    natural = np.lexsort(q.T[::-1])
    _, pattern = np.unique(present.T, axis=0, return_inverse=True)
    alike = np.lexsort([*q.T[::-1], pattern.ravel()])

    def evaluations(order: npt.NDArray[np.int64]) -> int:
        starts = np.arange(0, len(order), _LANES)
        return int(np.logical_or.reduceat(present[:, order], starts, axis=1).sum())

    return alike if evaluations(alike) < 0.95 * evaluations(natural) else natural
