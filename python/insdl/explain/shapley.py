"""What each cell contributes to an answer when it is measured together with some of the others: Shapley values.

Shapley, in Contributions to the Theory of Games II (1953); by sampled orders: Strumbelj and Kononenko, J. Mach. Learn.
Res. 11, 1 (2010). A cell's value is the mean change of the answer when it joins the cells before it, over random orders.
A `CellSetClassifier` knows what it is not to have measured a cell, so that nothing has to stand in for a missing one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import nn

from insdl.dataset.randomness import generator
from insdl.explain.layers import Target, answers, checked_batch

_Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CellValues:
    """Contributions of the cells of one measurement.

    Attributes
    ----------
    value : (cells,) float64, units of the output. They add up to `whole` - `empty`; 0 for a cell that was not measured.
    error : (cells,) float64. Standard error of the sampling of orders.
    whole, empty : the answer to all measured cells, and to none.
    """

    value: _Reals
    error: _Reals
    whole: float
    empty: float


def cell_values(
    network: nn.Module,
    measurement: npt.ArrayLike,
    *,
    target: Target,
    orders: int = 32,
    seed: int = 0,
    batch_size: int = 64,
) -> CellValues:
    """Shapley values of the cells of one measurement, from random orders and the same orders backwards.

    Parameters
    ----------
    network : reads (n, 2 cells, p, p): values, then masks, as a `CellSetClassifier`.
    measurement : (2 cells, p, p). See `insdl.dataset.view.network_view`.
    target : as in `insdl.explain.cam.grad_cam`.
    orders : even. Backwards orders take the first cells' turn last, which takes most of the scatter away.

    Raises
    ------
    ValueError
        If orders is odd or less than 4, or nothing is measured.
    """
    whole = checked_batch(np.asarray(measurement, dtype=np.float32)[None])[0]
    if len(whole) % 2:
        raise ValueError(f"a measurement has values and then masks, an even number of channels, got {len(whole)}")
    if orders < 4 or orders % 2:
        raise ValueError(f"orders must be even and at least 4, got {orders}")
    cells = len(whole) // 2
    players = np.flatnonzero(whole[cells:].any(axis=(1, 2)))
    if not len(players):
        raise ValueError("no cell of the measurement was measured")
    rng = generator(seed, "explain/shapley", 0)
    half = [rng.permutation(players) for _ in range(orders // 2)]
    pairs = np.zeros((len(half), cells))
    ends = (0.0, 0.0)
    for number, order in enumerate(half):
        for turn in (order, order[::-1]):
            stages = np.zeros((len(turn) + 1, *whole.shape), dtype=np.float32)
            for stage, cell in enumerate(turn, start=1):
                stages[stage] = stages[stage - 1]
                stages[stage, [cell, cells + cell]] = whole[[cell, cells + cell]]
            found = answers(network, stages, target=target, batch_size=batch_size)
            pairs[number, turn] += 0.5 * np.diff(found)
            ends = (float(found[-1]), float(found[0]))
    error = pairs.std(axis=0, ddof=1) / np.sqrt(len(half))
    return CellValues(pairs.mean(axis=0), error, *ends)
