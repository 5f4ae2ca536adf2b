"""Whether an explanation is the network's, and whether it is every network's: spread, and random weights.

The check with random weights: Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018 (arXiv:1810.03292). A map that
looks the same when the weights are noise shows the image, not what the network has learned.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

_Reals = npt.NDArray[np.float64]
_Module = TypeVar("_Module", bound=nn.Module)


@dataclass(frozen=True, eq=False)
class Spread:
    """How far explanations of several networks agree.

    Attributes
    ----------
    mean, deviation : shape of one explanation, float64. Over the networks (deviation with n - 1).
    error : the same shape. Standard error of the mean: the error bar of the explanation.
    rank_correlation : (n, n) float64. Spearman's, of each pair.
    agreement : float. Mean of it over pairs; 1: every network ranks alike.
    """

    mean: _Reals
    deviation: _Reals
    error: _Reals
    rank_correlation: _Reals
    agreement: float


@dataclass(frozen=True, eq=False)
class RandomisationCheck:
    """An explanation while the weights become noise, from the output backwards.

    Attributes
    ----------
    modules : names of the modules whose weights have been made random, in this order, each besides those before.
    rank_correlation : (n,) float64. Spearman's, of the signed explanation with that of the trained network. The last is the
        network without anything learned: it should be near 0.
    size_correlation : (n,) float64. The same of the sizes without sign: what stays of it comes from the image, whose
        bright places count in any network.
    """

    modules: tuple[str, ...]
    rank_correlation: _Reals
    size_correlation: _Reals


def spearman(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Spearman's rank correlation of two arrays of one shape, ties averaged; 0 where one of them is constant."""
    from scipy.stats import spearmanr

    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape or first.size < 2:
        raise ValueError(f"two arrays of one shape and at least 2 values are needed, got {first.shape}, {second.shape}")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("ranks need finite values")
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(spearmanr(first.ravel(), second.ravel()).statistic)


def seed_spread(explanations: npt.ArrayLike | Sequence[npt.ArrayLike]) -> Spread:
    """Mean, spread and agreement of the explanations, (n, ...), of networks that differ in their seed alone."""
    rows = np.asarray(explanations, dtype=np.float64)
    if rows.ndim < 2 or len(rows) < 2:
        raise ValueError(f"explanations must have shape (n, ...) with n of at least 2, got {rows.shape}")
    n = len(rows)
    table = np.eye(n)
    for i in range(n):
        for j in range(i):
            table[i, j] = table[j, i] = spearman(rows[i], rows[j])
    deviation = rows.std(axis=0, ddof=1)
    agreement = float(table[np.triu_indices(n, 1)].mean())
    return Spread(rows.mean(axis=0), deviation, deviation / np.sqrt(n), table, agreement)


def randomised(network: _Module, *, modules: Sequence[str] | None = None, seed: int = 0) -> _Module:
    """A copy of the network whose modules have fresh random weights, as before training; the others keep theirs.

    Parameters
    ----------
    modules : names in `network.named_modules()` of modules with weights of their own; None: all of them.
    """
    fresh = copy.deepcopy(network)
    own = modules_with_weights(fresh)
    names = own if modules is None else tuple(modules)
    for name in names:
        if name not in own:
            raise ValueError(f"modules must be among {', '.join(own)}, got {name!r}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name in names:
            reset = getattr(fresh.get_submodule(name), "reset_parameters", None)
            if reset is None:
                raise ValueError(f"module {name!r}, a {type(fresh.get_submodule(name)).__name__}, cannot be reset")
            reset()
    return fresh


def modules_with_weights(network: nn.Module) -> tuple[str, ...]:
    """Names of the modules that have weights of their own, in the order of the network's definition."""
    return tuple(
        name for name, module in network.named_modules() if any(True for _ in module.parameters(recurse=False))
    )


def randomisation_check(
    network: _Module, explain: Callable[[_Module], npt.ArrayLike], *, seed: int = 0
) -> RandomisationCheck:
    """Makes the weights random one module after the other, from the output backwards, and follows the explanation.

    Parameters
    ----------
    explain : returns the explanation of a network, an array of any shape: maps, or the importance of cells.
    """
    trained = np.asarray(explain(network), dtype=np.float64)
    order = modules_with_weights(network)[::-1]
    signed, sizes = [], []
    for count in range(len(order)):
        now = np.asarray(explain(randomised(network, modules=order[: count + 1], seed=seed)), dtype=np.float64)
        signed.append(spearman(trained, now))
        sizes.append(spearman(np.abs(trained), np.abs(now)))
    return RandomisationCheck(order, np.array(signed), np.array(sizes))
