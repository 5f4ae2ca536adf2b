"""Shapley values: exact for what adds up, and against the sum over all orders."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from insdl.explain.shapley import cell_values

CELLS = 4


class Additive(nn.Module):
    """Each measured cell adds the sum of its values, times its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0, 0.5, 3.0]))

    def forward(self, images: Tensor) -> Tensor:
        values, mask = images.chunk(2, dim=1)
        each = (values * mask).sum(dim=(2, 3)) * self.weight
        return torch.stack([each.sum(1), torch.zeros(len(images))], dim=1)


class Together(Additive):
    """Cells 0 and 1 count only if both are there; cell 2 counts the more the more others are there."""

    def forward(self, images: Tensor) -> Tensor:
        values, mask = images.chunk(2, dim=1)
        there = mask.amax(dim=(2, 3))
        answer = values[:, 0].sum((1, 2)) * there[:, 0] * there[:, 1] + there[:, 2] * there.sum(1) ** 2
        return torch.stack([answer, torch.zeros(len(images))], dim=1)


def measurement() -> np.ndarray:
    values = np.random.default_rng(0).random((CELLS, 2, 2), dtype=np.float32)
    return np.concatenate([values, np.ones_like(values)])


def test_what_adds_up_is_found_exactly() -> None:
    given = measurement()
    found = cell_values(Additive(), given, target=0, orders=4)
    weights = np.array([1.0, -2.0, 0.5, 3.0])
    np.testing.assert_allclose(found.value, given[:CELLS].sum(axis=(1, 2)) * weights, rtol=1e-5)
    assert found.error.max() < 1e-6
    assert found.value.sum() == pytest.approx(found.whole - found.empty, rel=1e-6)


def test_against_all_orders() -> None:
    given, network = measurement(), Together()

    def answer(cells: tuple[int, ...]) -> float:
        image = np.zeros_like(given)
        for cell in cells:
            image[[cell, CELLS + cell]] = given[[cell, CELLS + cell]]
        return float(network(torch.from_numpy(image)[None])[0, 0])

    exact = np.zeros(CELLS)
    every = list(permutations(range(CELLS)))
    for order in every:
        for place, cell in enumerate(order):
            exact[cell] += (answer(order[: place + 1]) - answer(order[:place])) / len(every)
    found = cell_values(network, given, target=0, orders=400)
    assert (np.abs(found.value - exact) < 4 * found.error + 1e-6).all()
    assert found.value.sum() == pytest.approx(found.whole - found.empty, rel=1e-6)


def test_a_cell_that_was_not_measured_is_worth_nothing() -> None:
    given = measurement()
    given[CELLS + 3] = 0.0
    found = cell_values(Additive(), given, target=(0, 1), orders=4)
    assert found.value[3] == found.error[3] == 0.0
    given[CELLS:] = 0.0
    with pytest.raises(ValueError, match="no cell of the measurement was measured"):
        cell_values(Additive(), given, target=0)
    with pytest.raises(ValueError, match="orders must be even and at least 4, got 5"):
        cell_values(Additive(), measurement(), target=0, orders=5)
