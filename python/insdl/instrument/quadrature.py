"""Averages over a Gaussian in up to three dimensions, by sums over lattices.

The trapezoidal rule is exponentially exact for smooth functions: a lattice of step h misses a Gaussian feature of width s (in
standard deviations of the weight) by exp(-2 pi^2 s^2 / h^2). Two lattices that interleave give an average, better than
either, and their difference is an estimate of its error.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

_Reals = npt.NDArray[np.float64]

REACH = 5.5
"""Standard deviations after which a Gaussian's tail is left out: 1e-6 of its weight in three dimensions."""
_FINEST = 0.05


def steps_for(slopes: npt.ArrayLike) -> tuple[float, ...]:
    """Steps of a lattice that resolves a Gaussian line whose position moves by ``slopes`` of its widths per unit of u.

    Along u the line's Gaussian times the weight has the width s = 1 / sqrt(1 + slope^2); the step is 1.4 s, at most 1, and
    powers of sqrt(1/2) are taken, so that points share lattices. A slope that is not finite gets the finest step; a NaN, an
    axis without any width, one point.
    """
    result = []
    for slope in np.atleast_1d(np.asarray(slopes, dtype=np.float64)):
        if np.isnan(slope):
            result.append(np.inf)
            continue
        step = max(_FINEST, min(1.0, 1.4 / np.hypot(1.0, slope)))
        result.append(float(2.0 ** (0.5 * np.floor(2.0 * np.log2(step)))))
    return tuple(result)


def n_nodes(steps: tuple[float, ...]) -> float:
    """About how many points `gaussian_lattices` has, both lattices together."""
    finite = [step for step in steps if np.isfinite(step)]
    volume = {0: 1.0, 1: 2.0 * REACH, 2: np.pi * REACH**2, 3: 4.0 / 3.0 * np.pi * REACH**3}[len(finite)]
    return float(2.0 * volume / np.prod(finite)) if finite else 1.0


@lru_cache(maxsize=32)
def gaussian_lattices(steps: tuple[float, ...]) -> tuple[tuple[_Reals, _Reals], tuple[_Reals, _Reals]]:
    """Two interleaving lattices for averages over independent standard Gaussians.

    Parameters
    ----------
    steps : (d,), d at most 3, standard deviations. Infinite for an axis that does not matter.

    Returns
    -------
    Two pairs of points (n, d) float64, read-only, and weights (n,) float64 that sum to one: one lattice with a point at 0, one
    moved by half a step along every axis. Points within `REACH` of 0.
    """
    return _lattice(steps, 0.0), _lattice(steps, 0.5)


def _lattice(steps: tuple[float, ...], offset: float) -> tuple[_Reals, _Reals]:
    axes: list[_Reals] = []
    for step in steps:
        if np.isinf(step):
            axes.append(np.zeros(1))
            continue
        count = int(np.ceil(REACH / step)) + 1
        axes.append(np.asarray(step * (np.arange(-count, count + 1) + offset), dtype=np.float64))
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(steps))
    squared = np.sum(points**2, axis=1)
    points, squared = points[squared <= REACH**2], squared[squared <= REACH**2]
    weights = np.exp(-0.5 * squared)
    weights /= weights.sum()
    points.setflags(write=False)
    weights.setflags(write=False)
    return points, weights
