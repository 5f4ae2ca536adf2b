"""How to share counting time among windows so that error bars of chosen parameters shrink fastest.

Counts of a window grow with its time, and so does its Fisher information, its own free background left out (a Schur
complement is linear in a common factor). With information F_w of unit time the covariance after times t_w is
(P + sum of t_w F_w)^-1, P the prior's, and what is minimised is the sum of the chosen variances over their wanted variances:
A-optimality for some of the parameters (e.g. Pukelsheim, Optimal Design of Experiments, chapter 6).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from insdl.dataset.parameter_prior import ParameterPrior
from insdl.learn.information import Expected, eliminated, fisher_information, jacobian

_Reals = npt.NDArray[np.float64]
LOG_SCALE = "log scale"


@dataclass(frozen=True, eq=False)
class WindowInformation:
    """What unit time in each window tells.

    Attributes
    ----------
    names : of the parameters, "log scale" of the signal last.
    matrices : (n_windows, n, n) float64, per unit time. prior : (n, n) float64, precision of what is known beforehand.
    """

    names: tuple[str, ...]
    matrices: _Reals
    prior: _Reals

    def covariance(self, time: npt.ArrayLike) -> _Reals:
        """(n, n) float64. Expected of all parameters after times (n_windows,)."""
        total = self.prior + np.tensordot(np.asarray(time, dtype=np.float64), self.matrices, 1)
        size = np.sqrt(np.diag(total))
        return np.asarray(np.linalg.inv(total / np.outer(size, size)) / np.outer(size, size))

    def errors(self, time: npt.ArrayLike) -> dict[str, float]:
        """Expected standard deviations by name."""
        return dict(zip(self.names, np.sqrt(np.diag(self.covariance(time))).tolist(), strict=True))


def window_information(
    expected: Expected,
    values: npt.ArrayLike,
    *,
    prior: ParameterPrior,
    measured: npt.NDArray[np.bool_],
    scale: float,
    background: npt.ArrayLike,
) -> WindowInformation:
    """The information of each window about parameters at ``values``; every window has a free, flat background.

    Parameters
    ----------
    expected : images (n, n_windows, n_h, n_k) for rows of the prior's parameters. values : (n,) of these.
    measured : (n_windows, n_h, n_k) bool.
    scale : counts per unit of the image and unit time. background : (n_windows,) float64, counts a pixel and unit time.
    """
    steps = np.minimum(1e-3 * prior.width, 0.25 * (prior.high - prior.low))
    slopes = jacobian(expected, values, steps=steps)
    level = np.broadcast_to(np.asarray(background, dtype=np.float64), (len(measured),))
    names = (*prior.names, LOG_SCALE)
    matrices = []
    for window, seen in enumerate(measured):
        signal = scale * slopes.mean[window][seen]
        mean = signal + max(float(level[window]), 0.0)
        rows = np.concatenate([scale * slopes.derivative[:, window][:, seen], signal[None], np.ones((1, signal.size))])
        lit = mean > 1e-6 * max(float(mean.max()), 1e-300)
        one = fisher_information(rows[:, lit], mean[lit], names=(*names, "background"))
        matrices.append(eliminated(one, names).matrix)
    known = np.zeros((len(names), len(names)))
    known[np.arange(len(prior.names)), np.arange(len(prior.names))] = 1.0 / prior.width**2
    known[-1, -1] = 1e-6  # the scale is free; a number that no data notices keeps the matrix regular
    return WindowInformation(names, np.array(matrices), known)


def best_allocation(
    information: WindowInformation,
    *,
    targets: Mapping[str, float],
    time: float,
    spent: npt.ArrayLike = 0.0,
    power: float = 1.0,
    steps: int = 300,
) -> _Reals:
    """(n_windows,) float64, sum ``time``. How to share more time among the windows, after times ``spent``.

    Minimises the sum of (variance over target squared) to the ``power``: 1 is A-optimality, and a large power looks at the
    parameter that is farthest from its target alone. A multiplicative algorithm for designs (Silvey, Titterington,
    Torsney, Commun. Stat. A7, 1379 (1978)): each share is multiplied by the square root of what more time in its window
    would gain; by a higher root for a power over one, where whole steps would overshoot.

    Raises
    ------
    ValueError
        If a target names no parameter or is not positive, or the power is below one.
    """
    rows = [information.names.index(name) for name in targets if name in information.names]
    wanted = np.array(list(targets.values()), dtype=np.float64)
    if len(rows) != len(targets) or not rows or not (wanted > 0).all() or not time > 0:
        raise ValueError(
            f"targets must be positive errors of {list(information.names)} and time positive, got {dict(targets)}, {time}"
        )
    if not power >= 1:
        raise ValueError(f"power must be at least 1, got {power}")
    before = np.broadcast_to(np.asarray(spent, dtype=np.float64), (len(information.matrices),))
    share = np.full(len(before), 1.0 / len(before))
    weights = np.zeros(len(information.names))
    for _ in range(steps):
        covariance = information.covariance(before + time * share)
        # -d/dt_w of sum r_i^p, r_i = C_ii / target_i^2, is p trace(W C F_w C) with W_ii = r_i^(p-1) / target_i^2.
        ratio = np.diag(covariance)[rows] / wanted**2
        weights[rows] = (ratio / ratio.max()) ** (power - 1.0) / wanted**2
        inner = (covariance * weights) @ covariance
        gain = np.maximum(np.einsum("ij,wji->w", inner, information.matrices), 0.0)
        if not gain.any():
            break
        share = share * (gain / gain.max()) ** (1.0 / (power + 1.0))
        share /= share.sum()
    return np.asarray(time * share)


def time_needed(
    information: WindowInformation, *, targets: Mapping[str, float], shares: npt.ArrayLike, spent: npt.ArrayLike = 0.0
) -> float:
    """Total time more, shared like ``shares``, until all expected errors are at their targets; infinite if never."""
    division = np.asarray(shares, dtype=np.float64) / np.sum(shares)
    before = np.broadcast_to(np.asarray(spent, dtype=np.float64), division.shape)

    def reached(time: float) -> bool:
        errors = information.errors(before + time * division)
        return all(errors[name] <= wanted for name, wanted in targets.items())

    if reached(0.0):
        return 0.0
    high = 1e-6
    while not reached(high):
        high *= 2.0
        if high > 1e9:
            return float("inf")
    low = 0.5 * high
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def ranked_windows(
    information: WindowInformation, *, targets: Mapping[str, float], time: float, spent: Sequence[float] | _Reals
) -> list[tuple[int, dict[str, float]]]:
    """Each window with the errors expected after ``time`` more in it alone, the most helpful first."""
    before = np.asarray(spent, dtype=np.float64)
    found = []
    for window in range(len(information.matrices)):
        more = before.copy()
        more[window] += time
        errors = information.errors(more)
        found.append((window, {name: errors[name] for name in targets}))
    return sorted(found, key=lambda one: sum((one[1][name] / wanted) ** 2 for name, wanted in targets.items()))
