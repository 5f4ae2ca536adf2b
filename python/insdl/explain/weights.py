"""The weights of a layer, and whether they are smooth, which weights of a trained filter are and random ones are not.

Smoothness is Moran's I, the lag-1 autocorrelation of a kernel: I = (m / p) (sum over pairs of neighbours (w_i - <w>)
(w_j - <w>)) / sum over i of (w_i - <w>)^2, for m weights and p pairs. Its mean and variance over all orders of the same
weights are known exactly (Cliff and Ord, Spatial Processes, Pion 1981, section 2.3; Moran, Biometrika 37, 17 (1950)).
Initial weights are independent and alike, so every order of them is equally probable, whatever their distribution: the
null hypothesis "noise" has no free parameter, and a test by reordering is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from insdl.dataset.randomness import generator
from insdl.explain.layers import module_named

_Reals = npt.NDArray[np.float64]
_Pairs = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Smoothness:
    """Moran's I of the kernels of a layer.

    Attributes
    ----------
    index : (n,) float64. Moran's I of each kernel: 1 very smooth, -1 a chequerboard; nan-free: 0 for a constant kernel.
    expected : float. Its mean over all orders, -1 / (m - 1), which is not zero.
    deviation : (n,) float64. Its standard deviation over all orders of this kernel's weights.
    z : (n,) float64. (index - expected) / deviation, for ranking filters; 0 for a constant kernel.
    mean : float. Of the layer.
    p_value : float. Share of random orders of all kernels in which the layer's mean is at least as large: small for a
        trained layer. The smallest possible is 1 / (orders + 1).
    """

    index: _Reals
    expected: float
    deviation: _Reals
    z: _Reals
    mean: float
    p_value: float


def layer_weights(network: nn.Module, *, layer: str) -> _Reals:
    """Weights of any layer that has some, float64: (filters, inputs of a group, height, width) for a convolution."""
    weight = getattr(module_named(network, layer), "weight", None)
    if not isinstance(weight, Tensor):
        having = [name for name, module in network.named_modules() if isinstance(_weight(module), Tensor)]
        raise ValueError(f"layer must have weights, one of {', '.join(having)}, got {layer!r}")
    values: _Reals = weight.detach().cpu().numpy().astype(np.float64)
    return values


def smoothness(kernels: npt.ArrayLike, *, pairs: npt.ArrayLike, orders: int = 999, seed: int = 0) -> Smoothness:
    """How smooth kernels are, and how likely noise would be as smooth.

    Parameters
    ----------
    kernels : (n, m). One kernel a row; for `layer_weights`, ``weights.reshape(-1, height * width)``.
    pairs : (p, 2) int. Which entries of a row are neighbours: `grid_pairs`, `chain_pairs`.
    orders : number of random orders for the test of the whole layer.
    seed : of these orders.
    """
    rows = np.asarray(kernels, dtype=np.float64)
    joined = np.asarray(pairs, dtype=np.int64)
    if rows.ndim != 2 or rows.shape[1] < 4 or not len(rows):
        raise ValueError(f"kernels must have shape (n, m) with m of at least 4, got {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError("kernels must be finite")
    n, m = rows.shape
    if joined.ndim != 2 or joined.shape[1:] != (2,) or not len(joined) or joined.min() < 0 or joined.max() >= m:
        raise ValueError(f"pairs must have shape (p, 2) with entries 0 to {m - 1}, got shape {joined.shape}")
    if orders < 1:
        raise ValueError(f"orders must be at least 1, got {orders}")
    index = _moran(rows, joined)
    rng = generator(seed, "explain/smoothness", 0)
    mean = float(index.mean())
    shuffled = (float(_moran(rng.permuted(rows, axis=1), joined).mean()) for _ in range(orders))
    reached = sum(value >= mean - 1e-12 for value in shuffled)
    deviation = np.sqrt(_variance(rows, joined))
    expected = -1.0 / (m - 1)
    z = np.divide(index - expected, deviation, out=np.zeros(n), where=deviation > 0)
    return Smoothness(index, expected, deviation, z, mean, (1 + reached) / (1 + orders))


def kernel_smoothness(network: nn.Module, *, layer: str, orders: int = 999, seed: int = 0) -> Smoothness:
    """Smoothness of the kernels of a convolution over (Qh, Qk); a filter with several inputs has a kernel for each."""
    weights = layer_weights(network, layer=layer)
    if weights.ndim != 4 or min(weights.shape[2:]) < 2:
        raise ValueError(f"layer {layer!r} must be a convolution of at least 2 x 2, its weights are {weights.shape}")
    pairs = grid_pairs((weights.shape[2], weights.shape[3]))
    return smoothness(weights.reshape(-1, weights.shape[2] * weights.shape[3]), pairs=pairs, orders=orders, seed=seed)


def grid_pairs(shape: tuple[int, int]) -> _Pairs:
    """(p, 2) neighbours, along both axes, of the entries of a (height, width) grid in C order."""
    entries = np.arange(shape[0] * shape[1]).reshape(shape)
    along = [np.stack([entries[:-1].ravel(), entries[1:].ravel()], axis=1)]
    along.append(np.stack([entries[:, :-1].ravel(), entries[:, 1:].ravel()], axis=1))
    return np.concatenate(along)


def chain_pairs(lengths: tuple[int, ...], *, filters: int = 1) -> _Pairs:
    """(p, 2) neighbours of inputs that are ordered in energy: for 1 x 1 convolutions that mix cells.

    Parameters
    ----------
    lengths : number of energy bins of each incident energy; bins of different incident energies are no neighbours.
    filters : inputs of each bin, which follow each other; each is a neighbour of its like in the next bin.
    """
    pairs, start = [], 0
    for length in lengths:
        first = start + np.arange((length - 1) * filters)
        pairs.append(np.stack([first, first + filters], axis=1))
        start += length * filters
    return np.concatenate(pairs)


def _weight(module: nn.Module) -> object:
    return getattr(module, "weight", None)


def _moran(rows: _Reals, pairs: _Pairs) -> _Reals:
    centred = rows - rows.mean(axis=1, keepdims=True)
    square = (centred**2).sum(axis=1)
    product = (centred[:, pairs[:, 0]] * centred[:, pairs[:, 1]]).sum(axis=1)
    constant = square <= 1e-24 * np.maximum((rows**2).sum(axis=1), 1e-300)
    index: _Reals = np.where(constant, 0.0, rows.shape[1] / len(pairs) * product / np.where(constant, 1.0, square))
    return index


def _variance(rows: _Reals, pairs: _Pairs) -> _Reals:
    """Exact variance over all orders ("randomisation"), with weights 1 for each pair in both directions.

    Cliff and Ord: E[I^2] = (m ((m^2 - 3 m + 3) S1 - m S2 + 3 S0^2) - k ((m^2 - m) S1 - 2 m S2 + 6 S0^2)) / ((m - 1)
    (m - 2) (m - 3) S0^2), with S0 = 2 p, S1 = 4 p, S2 = 4 sum of degree^2, k the kurtosis.
    """
    m, p = rows.shape[1], len(pairs)
    degree = np.bincount(pairs.ravel(), minlength=m).astype(np.float64)
    s0, s1, s2 = 2.0 * p, 4.0 * p, 4.0 * float((degree**2).sum())
    centred = rows - rows.mean(axis=1, keepdims=True)
    second = (centred**2).mean(axis=1)
    constant = second <= 1e-24 * np.maximum((rows**2).mean(axis=1), 1e-300)
    kurtosis = (centred**4).mean(axis=1) / np.where(constant, 1.0, second) ** 2
    first = m * ((m**2 - 3 * m + 3) * s1 - m * s2 + 3 * s0**2)
    other = kurtosis * ((m**2 - m) * s1 - 2 * m * s2 + 6 * s0**2)
    square = (first - other) / ((m - 1) * (m - 2) * (m - 3) * s0**2)
    variance: _Reals = np.where(constant, 0.0, np.maximum(square - 1.0 / (m - 1) ** 2, 0.0))
    return variance
