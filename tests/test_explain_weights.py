"""Smoothness of kernels: Moran's I against its definition, and its moments against all orders of the weights."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch

from insdl.explain.weights import chain_pairs, grid_pairs, kernel_smoothness, layer_weights, smoothness
from insdl.learn.networks import CellClassifier


def _index(kernel: np.ndarray) -> float:
    """By the definition, over the ordered pairs of places at distance 1."""
    centred, total, pairs = kernel - kernel.mean(), 0.0, 0
    for i, j in np.ndindex(kernel.shape):
        for a, b in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
            if 0 <= a < kernel.shape[0] and 0 <= b < kernel.shape[1]:
                total, pairs = total + centred[i, j] * centred[a, b], pairs + 1
    return float(kernel.size / pairs * total / (centred**2).sum())


def test_index_is_the_definition() -> None:
    kernels = np.random.default_rng(0).normal(size=(7, 3, 4))
    found = smoothness(kernels.reshape(7, 12), pairs=grid_pairs((3, 4)), orders=9)
    np.testing.assert_allclose(found.index, [_index(kernel) for kernel in kernels], rtol=1e-12)


def test_moments_are_those_over_all_orders() -> None:
    """All 720 orders of six weights with a heavy tail: mean and standard deviation to rounding."""
    weights = np.array([0.3, -1.2, 0.8, 2.5, -0.1, 0.05])
    pairs = grid_pairs((2, 3))
    found = smoothness(weights[None], pairs=pairs, orders=9)
    every = smoothness(np.array(list(permutations(weights))), pairs=pairs, orders=1).index
    assert found.expected == pytest.approx(every.mean(), abs=1e-13)
    assert found.deviation[0] == pytest.approx(every.std(), rel=1e-10)
    assert found.z[0] == pytest.approx((found.index[0] - every.mean()) / every.std(), rel=1e-9)


def test_limits() -> None:
    plane = np.add.outer(np.arange(8.0), np.arange(8.0))
    board = np.indices((8, 8)).sum(axis=0) % 2
    smooth, rough, constant = smoothness(
        np.stack([plane, board, np.full((8, 8), 0.7)]).reshape(3, 64), pairs=grid_pairs((8, 8)), orders=9
    ).index
    assert smooth > 0.85
    assert rough == pytest.approx(-1.0)
    assert constant == 0.0


def test_noise_is_called_noise_and_smoothed_weights_are_not() -> None:
    """p-values of fresh layers are uniform (a Kolmogorov distance that 99.9 % of uniform samples stay below)."""
    p_values = [
        kernel_smoothness(CellClassifier(cells=12, pixels=8, seed=seed), layer="cells.0", orders=199, seed=seed).p_value
        for seed in range(40)
    ]
    ranks = np.sort(p_values)
    distance = np.max(np.abs(ranks - (np.arange(40) + 0.5) / 40))
    assert distance < 1.95 / np.sqrt(40)
    network = CellClassifier(cells=12, pixels=8)
    with torch.no_grad():
        weight = network.cells[0].weight
        weight += 0.5 * (weight.roll(1, dims=2) + weight.roll(1, dims=3))
    assert kernel_smoothness(network, layer="cells.0", orders=999).p_value == 0.001


def test_pairs_along_energy() -> None:
    """Two incident energies of three and two bins with two filters each."""
    expected = [[0, 2], [1, 3], [2, 4], [3, 5], [6, 8], [7, 9]]
    assert chain_pairs((3, 2), filters=2).tolist() == expected


def test_weights_of_any_layer() -> None:
    network = CellClassifier(cells=3, pixels=8)
    assert layer_weights(network, layer="cells.0").shape == (6, 1, 4, 4)
    np.testing.assert_array_equal(layer_weights(network, layer="head.2"), network.head[2].weight.detach().numpy())
    with pytest.raises(ValueError, match=r"layer must have weights, one of cells.0, mix1.0, .* got 'mix1.2'"):
        layer_weights(network, layer="mix1.2")
    with pytest.raises(ValueError, match=r"'mix1.0' must be a convolution of at least 2 x 2"):
        kernel_smoothness(network, layer="mix1.0")
    with pytest.raises(ValueError, match="entries 0 to 5"):
        smoothness(np.ones((1, 6)), pairs=[[0, 6]])
    with pytest.raises(ValueError, match="must be finite"):
        smoothness(np.full((1, 6), np.nan), pairs=[[0, 1]])
