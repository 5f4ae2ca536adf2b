"""Whether a network looks where the information is: its explanation by cell beside the evidence expected from each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from insdl.explain.stability import spearman

_Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RankedCell:
    """One energy bin.

    Attributes
    ----------
    cell : its number. rank_by_information, rank_by_network : 1 is the strongest.
    evidence : nats, expected. importance : of the network's explanation, its unit.
    """

    cell: int
    rank_by_information: int
    rank_by_network: int
    evidence: float
    importance: float


@dataclass(frozen=True, eq=False)
class Agreement:
    """Two rankings of the same cells.

    Attributes
    ----------
    cells : the most informative first. spearman : rank correlation of evidence and importance; NaN where one is constant.
    missed : of the ``top`` most informative cells those that are not among the network's. top : how many.
    """

    cells: tuple[RankedCell, ...]
    spearman: float
    missed: tuple[int, ...]
    top: int


def agreement(evidence: npt.ArrayLike, importance: npt.ArrayLike, *, top: int = 12) -> Agreement:
    """Cells ranked by expected evidence and by what a network uses.

    Parameters
    ----------
    evidence : (n_cells,) float64, nats, such as `insdl.guide.advice.Advice.cells`.
    importance : (n_cells,) float64. Of an explanation, such as the effect of occluding each cell (`insdl.explain.occlusion`);
        the sign is not looked at, because a cell may speak for either class.

    Raises
    ------
    ValueError
        If the arrays do not fit, are not finite, or ``top`` is out of range.
    """
    known, used = np.asarray(evidence, dtype=np.float64), np.abs(np.asarray(importance, dtype=np.float64))
    if known.ndim != 1 or known.shape != used.shape or len(known) < 2:
        raise ValueError(f"evidence and importance must be one number a cell, got {known.shape} and {used.shape}")
    if not (np.isfinite(known).all() and np.isfinite(used).all()):
        raise ValueError("evidence and importance must be finite")
    if not 1 <= top <= len(known):
        raise ValueError(f"top must lie from 1 to {len(known)}, got {top}")
    by_information, by_network = _ranks(known), _ranks(used)
    order = np.argsort(by_information)
    cells = tuple(
        RankedCell(int(i), int(by_information[i]), int(by_network[i]), float(known[i]), float(used[i])) for i in order
    )
    missed = tuple(one.cell for one in cells[:top] if one.rank_by_network > top)
    correlation = spearman(known, used) if np.ptp(known) > 0 and np.ptp(used) > 0 else float("nan")
    return Agreement(cells, correlation, missed, top)


def _ranks(values: _Reals) -> npt.NDArray[np.int64]:
    """1 for the largest."""
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[np.argsort(-values, kind="stable")] = np.arange(1, len(values) + 1)
    return ranks
