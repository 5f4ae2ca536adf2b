"""A classifier of cells and masks behind one detector: the same answers, and maps that lie where the data are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from insdl.explain.cam import hires_cam, layer_grid, to_pixels
from insdl.explain.seen_cells import SeenCells
from insdl.explain.stability import randomised
from insdl.learn.networks import CellSetClassifier

CELLS = [(25.0, 2.5, 4.0), (70.0, 7.0, 9.0), (70.0, 9.0, 12.0)]


def pair(mirrors: str = "folded") -> tuple[CellSetClassifier, SeenCells, np.ndarray]:
    network = CellSetClassifier(
        CELLS,
        classes=("a", "b"),
        pixels=16,
        filters=2,
        widths=(8, 8, 8),
        mirrors=mirrors,  # type: ignore[arg-type]
    ).eval()
    measured = np.random.default_rng(0).random((3, 16, 16)) < 0.9
    return network, SeenCells(network, measured).eval(), measured


@pytest.mark.parametrize("mirrors", ["folded", "apart"])
def test_it_answers_as_the_classifier(mirrors: str) -> None:
    network, seen, measured = pair(mirrors)
    images = np.random.default_rng(1).random((4, 3, 16, 16), dtype=np.float32)
    masks = np.broadcast_to(measured.astype(np.float32), images.shape)
    whole = torch.from_numpy(np.concatenate([images, masks], axis=1))
    torch.testing.assert_close(seen(torch.from_numpy(images)), network(whole))
    assert seen.config.image_shape == (3, 16, 16)
    assert seen.config.outputs == ("a", "b")


def test_a_copy_with_random_weights_leaves_the_classifier_alone() -> None:
    network, seen, _ = pair()
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    before = seen(images)
    other = randomised(seen, seed=1).eval()
    assert not torch.allclose(other(images), before)
    torch.testing.assert_close(seen(images), before)
    assert other.network is not network


def test_where_the_pixels_of_its_layers_lie() -> None:
    """By what changes: a pixel of the image, or any of its mirrors, reaches the layer's pixels whose field holds it."""
    network, seen, _ = pair()
    del network
    seen = SeenCells(seen.network, np.ones((3, 16, 16), bool)).eval()
    images = torch.zeros(1, 3, 16, 16)
    found: list[torch.Tensor] = []
    seen.get_submodule("cells").register_forward_hook(lambda *step: found.append(step[2].detach().clone()))
    grid = layer_grid(seen, layer="cells", image_shape=(3, 16, 16))
    assert grid.shape == (4, 4)
    assert (grid.offset, grid.stride, grid.field, grid.mirrors) == ((8.5, 8.5), (2.0, 2.0), (4.0, 4.0), "folded")
    found.clear()
    encoder = seen.get_submodule("cells").get_submodule("convolution")
    kept: list[torch.Tensor] = []
    encoder.register_forward_hook(lambda *step: kept.append(step[2].detach().clone()))
    for h, k in [(12, 9), (3, 6), (15, 8), (8, 15)]:
        bright = images.clone()
        bright[0, 1, h, k] = 1.0
        seen(images)
        seen(bright)
        changed = (kept[-1] - kept[-2])[1].abs().amax(dim=0).numpy() > 1e-9
        inner = max(h, 15 - h), max(k, 15 - k)
        for row, column in np.ndindex(4, 4):
            inside = all(
                abs(place - (grid.offset[0] + grid.stride[0] * index)) < grid.field[0] / 2
                for place, index in zip(inner, (row, column), strict=True)
            )
            assert changed[row, column] == inside or not inside  # replicated edges reach one further
            if inside:
                assert changed[row, column]


def test_maps_are_unfolded_and_keep_their_sum() -> None:
    _, seen, _ = pair()
    images = np.random.default_rng(2).random((2, 3, 16, 16), dtype=np.float32)
    coarse = hires_cam(seen, images, target=("a", "b"), layer="cells", cells=3, sign="signed")
    grid = layer_grid(seen, layer="cells", image_shape=(3, 16, 16))
    pixels = to_pixels(coarse, grid)
    assert pixels.shape == (2, 3, 16, 16)
    np.testing.assert_allclose(pixels, pixels[..., ::-1, :])
    np.testing.assert_allclose(pixels, pixels[..., ::-1])
    assert grid.pixels_each == 16.0
    flat = to_pixels(np.ones((4, 4)), grid)
    np.testing.assert_allclose(flat, 1.0)
    np.testing.assert_allclose(pixels[:, :, 12, 9], to_pixels(coarse, grid)[:, :, 3, 6])


def test_bad_masks_are_refused() -> None:
    network, _, __ = pair()
    with pytest.raises(ValueError, match=r"measured must have shape \(3, 16, 16\), got \(3, 8, 8\)"):
        SeenCells(network, np.ones((3, 8, 8), bool))
