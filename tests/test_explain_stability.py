"""Agreement of explanations, and the check with random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from insdl.explain.stability import modules_with_weights, randomisation_check, randomised, seed_spread, spearman
from insdl.learn.networks import CellClassifier


def test_spearman() -> None:
    """Ranks by hand, with ties averaged: Pearson's correlation of (1, 2.5, 2.5, 4) and (1, 3, 2, 4)."""
    assert spearman([1.0, 2.0, 2.0, 9.0], [0.1, 0.5, 0.3, 7.0]) == pytest.approx(4.5 / np.sqrt(4.5 * 5.0))
    assert spearman(np.arange(6).reshape(2, 3), -(np.arange(6.0).reshape(2, 3) ** 3)) == pytest.approx(-1.0)
    assert spearman([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) == 0.0
    with pytest.raises(ValueError, match="one shape"):
        spearman([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="finite"):
        spearman([1.0, np.nan], [1.0, 2.0])


def test_spread_over_seeds() -> None:
    rows = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 9.0], [3.0, 0.0, 0.0]])
    found = seed_spread(rows)
    np.testing.assert_allclose(found.mean, [2, 2, 4])
    np.testing.assert_allclose(found.deviation, [1, 2, np.sqrt(21)])
    np.testing.assert_allclose(found.error, found.deviation / np.sqrt(3))
    tie = -1.5 / np.sqrt(2 * 1.5)
    np.testing.assert_allclose(found.rank_correlation, [[1, 1, tie], [1, 1, tie], [tie, tie, 1]])
    assert found.agreement == pytest.approx((1 + 2 * tie) / 3)
    with pytest.raises(ValueError, match="n of at least 2"):
        seed_spread(rows[:1])


def test_randomised_changes_what_it_says_and_no_more() -> None:
    network = CellClassifier(cells=3, pixels=8, widths=(8, 8, 8), seed=5)
    fresh = randomised(network, modules=("head.2", "mix3.0"), seed=1)
    changed = {name for name, value in fresh.state_dict().items() if not torch.equal(value, network.state_dict()[name])}
    assert changed == {"head.2.weight", "head.2.bias", "mix3.0.weight"}
    again = randomised(network, modules=("head.2", "mix3.0"), seed=1)
    assert all(torch.equal(a, b) for a, b in zip(fresh.state_dict().values(), again.state_dict().values(), strict=True))
    with pytest.raises(ValueError, match=r"modules must be among cells.0, .*, got 'head'"):
        randomised(network, modules=("head",))


def test_check_goes_backwards_and_tells_learned_from_not() -> None:
    """An explanation that is the first layer's weights changes with the last step alone; one of the image never does."""
    network = CellClassifier(cells=30, pixels=8, widths=(8, 8, 8))
    assert modules_with_weights(network)[0] == "cells.0"
    learned = randomisation_check(network, lambda one: one.cells[0].weight.detach().numpy())
    assert learned.modules[0] == "head.2"
    assert learned.modules[-1] == "cells.0"
    np.testing.assert_allclose(learned.rank_correlation[:-1], 1.0)
    assert abs(learned.rank_correlation[-1]) < 4 / np.sqrt(960)  # four standard deviations of 960 independent pairs
    edges = randomisation_check(network, lambda _: np.arange(9.0))
    np.testing.assert_allclose(edges.rank_correlation, 1.0)
    flips = iter([1.0, *[-1.0] * 9])
    mirrored = randomisation_check(network, lambda _: next(flips) * np.arange(1.0, 9.0))
    np.testing.assert_allclose(mirrored.rank_correlation, -1.0)
    np.testing.assert_allclose(mirrored.size_correlation, 1.0)


def test_modules_that_cannot_be_reset_are_named() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

    with pytest.raises(ValueError, match="module '0', a Own, cannot be reset"):
        randomised(nn.Sequential(Own()))
