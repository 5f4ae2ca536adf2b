"""The networks: shapes, budgets, cells kept apart, standardised pixels, clear refusals."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from insdl.learn.checkpoint import load_checkpoint, save_checkpoint
from insdl.learn.networks import (
    CellClassifier,
    CellSetClassifier,
    MapRegressor,
    check_images,
    evaluation_mode,
)


def _parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_classifier_gives_logits_of_named_classes() -> None:
    network = CellClassifier(cells=60, classes=("goodenough", "dimer"))
    assert network(torch.rand(3, 60, 40, 40)).shape == (3, 2)
    assert network.config.outputs == ("goodenough", "dimer")
    assert network.config.image_shape == (60, 40, 40)
    assert _parameters(network) <= 400_000


def test_regressor_gives_means_and_log_variances() -> None:
    network = MapRegressor(4, parameters=("J1", "J2"))
    output = network(torch.rand(3, 4, 64, 64))
    assert output.shape == (3, 4)
    assert (output[:, 2:] > -14).all()  # the soft floor
    assert _parameters(network) <= 400_000


def test_first_block_keeps_cells_apart() -> None:
    """A change in cell 3 changes the channels of cell 3 and no other, exactly."""
    network = CellClassifier(cells=5, pixels=8, filters=3).eval()
    images = torch.rand(1, 5, 8, 8)
    changed = images.clone()
    changed[0, 3] += 1.0
    with torch.no_grad():
        difference = (network.cells(changed) - network.cells(images)).abs().amax(dim=(0, 2, 3)).reshape(5, 3)
    assert (difference[3] > 0).any()
    assert (difference[[0, 1, 2, 4]] == 0).all()


def test_every_cell_reaches_the_answer() -> None:
    network = CellClassifier(cells=5, pixels=8).eval()
    images = torch.rand(16, 5, 8, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    network(images)[:, 0].sum().backward()
    assert images.grad is not None
    assert (images.grad.abs().amax(dim=(0, 2, 3)) > 0).all()


def test_initial_weights_come_from_the_seed_alone() -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    first = CellClassifier(cells=3, pixels=8, seed=4)
    assert torch.equal(torch.rand(3), expected)  # torch's own stream is not consumed
    second, other = CellClassifier(cells=3, pixels=8, seed=4), CellClassifier(cells=3, pixels=8, seed=5)
    weights = [network.state_dict()["head.2.weight"] for network in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_standardised_pixels_make_the_answer_independent_of_unit_and_offset() -> None:
    images = np.random.default_rng(0).random((20, 2, 16, 16)).astype(np.float32)
    images[:, 0, 3, 3] = 0.0  # a masked pixel
    network, scaled = MapRegressor(2, pixels=16).eval(), MapRegressor(2, pixels=16).eval()
    network.standardise_pixels(images)
    scaled.standardise_pixels(8 * images + 2)
    with torch.no_grad():
        difference = network(torch.from_numpy(images)) - scaled(torch.from_numpy(8 * images + 2))
    assert difference.abs().max() < 1e-4  # float32 rounding of 8 x + 2 over a spread of 0.3


def test_configuration_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        CellClassifier(cells=3, pixels=8).config.cells = 4  # type: ignore[misc]


def test_evaluation_mode_restores_each_module() -> None:
    network = CellClassifier(cells=3, pixels=8).train()
    network.mix2.eval()
    with evaluation_mode(network):
        assert not network.mix1.training
        network.mix1.train()
    assert network.mix1.training
    assert not network.mix2.training


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cells": 0}, "cells must be at least 1, got 0"),
        ({"classes": 1}, "classes must hold at least 2"),
        ({"classes": ("a", "a")}, "different names"),
        ({"classes": "ab"}, "sequence of names, got 'ab'"),
        ({"pixels": 42}, "multiple of 4, got 42"),
        ({"widths": (8, 8)}, r"widths must hold 3 .* got \(8, 8\)"),
    ],
)
def test_wrong_configurations_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CellClassifier(**options)  # type: ignore[arg-type]


def test_wrong_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(n, 60, 40, 40\), got \(1, 40, 40, 60\)"):
        CellClassifier()(torch.zeros(1, 40, 40, 60))
    images = np.zeros((3, 2, 4, 4), np.float32)
    images[2, 1, 0, 3] = np.nan
    with pytest.raises(ValueError, match=r"got nan in image 2 at pixel \(1, 0, 3\)"):
        check_images(images)


CELLS = [(25.0, 2.5, 4.0), (35.0, 5.0, 8.0), (35.0, 8.0, 11.0), (70.0, 11.0, 15.0)]


def cell_set_input(n: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    values = torch.rand((n, 4, 16, 16), generator=generator)
    mask = (torch.rand((n, 4, 16, 16), generator=generator) < 0.8).float()
    return torch.cat([values, mask], dim=1)


def small_set(head: Any = "pool", mirrors: Any = "folded") -> CellSetClassifier:
    return CellSetClassifier(
        CELLS, classes=("a", "b"), pixels=16, filters=3, widths=(8, 8, 8), head=head, mirrors=mirrors
    ).eval()


@pytest.mark.parametrize("mirrors", ["folded", "apart"])
@pytest.mark.parametrize("head", ["pool", "dense"])
def test_a_cell_set_does_not_look_where_nothing_is_measured(head: str, mirrors: str) -> None:
    network, images = small_set(head, mirrors), cell_set_input()
    other = images.clone()
    other[:, :4] += 100.0 * (1.0 - other[:, 4:])
    torch.testing.assert_close(network(images), network(other))
    seen = images.clone()
    seen[0, 0] += images[0, 4]
    assert not torch.allclose(network(images)[0], network(seen)[0])


@pytest.mark.parametrize("mirrors", ["folded", "apart"])
def test_a_missing_cell_gives_no_features_and_leaves_the_others_alone(mirrors: str) -> None:
    network, images = small_set(mirrors=mirrors), cell_set_input()
    whole = network.cells(images)
    images[:, 5] = 0.0
    part = network.cells(images)
    assert not part[:, 3:6].any()
    torch.testing.assert_close(part[:, :3], whole[:, :3])
    torch.testing.assert_close(part[:, 6:], whole[:, 6:])


def test_cells_are_a_set_and_their_order_says_nothing() -> None:
    network, images = small_set(), cell_set_input()
    order = [2, 0, 3, 1]
    cells = [CELLS[i] for i in order]
    other = CellSetClassifier(cells, classes=("a", "b"), pixels=16, filters=3, widths=(8, 8, 8)).eval()
    other.load_state_dict(network.state_dict())
    shuffled = torch.cat([images[:, order], images[:, [4 + i for i in order]]], dim=1)
    torch.testing.assert_close(other(shuffled), network(images))


@pytest.mark.parametrize("axes", [(2,), (3,), (2, 3)])
def test_folded_mirrors_are_symmetries(axes: tuple[int, ...]) -> None:
    images = cell_set_input()
    mirrored = images.flip(axes)
    torch.testing.assert_close(small_set()(mirrored), small_set()(images))
    assert not torch.allclose(small_set(mirrors="apart")(mirrored), small_set(mirrors="apart")(images))


def test_cell_set_refuses_what_is_no_cell() -> None:
    with pytest.raises(ValueError, match=r"cells must be \(incident energy, lower edge, upper edge\).* for cell 1"):
        CellSetClassifier([(25.0, 1.0, 2.0), (25.0, 2.0, 1.0)])
    with pytest.raises(ValueError, match="head must be 'pool' or 'dense', got 'attention'"):
        CellSetClassifier(CELLS, head="attention")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mirrors must be 'folded' or 'apart', got 'both'"):
        CellSetClassifier(CELLS, mirrors="both")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"images must have shape \(n, 8, 40, 40\)"):
        CellSetClassifier(CELLS)(torch.zeros(1, 4, 40, 40))


def test_mirrored_views_are_images_too() -> None:
    """torch refuses negative strides."""
    images = np.random.default_rng(0).random((2, 3, 8, 8), dtype=np.float32)
    mirrored = check_images(images[:, :, ::-1])
    np.testing.assert_array_equal(torch.from_numpy(mirrored).numpy(), images[:, :, ::-1])


def test_a_cell_set_classifier_is_built_again(tmp_path: Path) -> None:
    network = CellSetClassifier(
        [(25.0, 2.5, 4.0), (70.0, 7.0, 9.0)], classes=("a", "b"), pixels=8, widths=(4, 4, 4)
    ).eval()
    save_checkpoint(tmp_path / "network.pt", network)
    copy, _ = load_checkpoint(tmp_path / "network.pt")
    assert copy.config == network.config
    images = torch.ones(1, 4, 8, 8)
    torch.testing.assert_close(copy(images), network(images))
