"""The images that excite a filter most, and where: against a search by hand and against the gradient."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from insdl.explain.activations import layer_activations
from insdl.explain.maximal_activation import field_edges, maximal_activation, patch, region
from insdl.instrument.frame import EnergyBlock, ImageFrame
from insdl.learn.networks import CellClassifier

CELLS, PIXELS = 4, 16


def _images(count: int = 7) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).random((count, CELLS, PIXELS, PIXELS), dtype=np.float32)


def _network() -> CellClassifier:
    return CellClassifier(cells=CELLS, pixels=PIXELS, widths=(8, 8, 8))


@pytest.mark.parametrize("layer", ["cells.0", "mix3"])
def test_agrees_with_a_search_by_hand(layer: str) -> None:
    found = maximal_activation(_network(), _images(), layer=layer, filter=5, count=3, batch_size=4)
    maps = layer_activations(_network(), _images(), layer=layer)[:, 5]
    best = sorted(range(7), key=lambda n: -maps[n].max())[:3]
    assert found.images.tolist() == best
    for number, image in enumerate(best):
        assert found.activation[number] == pytest.approx(maps[image].max(), rel=1e-5)
        assert tuple(found.place[number]) == np.unravel_index(maps[image].argmax(), maps[image].shape)


def test_planted_patch_is_found() -> None:
    """A matched filter: the image, the place and the patch that were planted."""
    rng = np.random.default_rng(1)
    kernel = rng.normal(size=(3, 3)).astype(np.float32)
    network = nn.Sequential(nn.Conv2d(2, 2, 3, stride=2, groups=2), nn.Flatten(), nn.Linear(2 * 49, 2))
    with torch.no_grad():
        network[0].weight[1, 0] = torch.from_numpy(kernel)
    images = 0.1 * rng.normal(size=(20, 2, 15, 15)).astype(np.float32)
    images[13, 1, 4:7, 8:11] = kernel
    found = maximal_activation(network, images, layer="0", filter=1, count=2)
    assert found.images[0] == 13
    assert found.rows[0].tolist() == [4, 7]
    assert found.columns[0].tolist() == [8, 11]
    assert found.channels.tolist() == [1]
    np.testing.assert_array_equal(patch(images, found, 0), kernel[None])


def test_field_is_where_the_gradient_is() -> None:
    network = _network().eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.abs_()  # so that no ReLU is shut
    found = maximal_activation(network, _images(), layer="mix2", filter=2, count=4)
    for number in range(4):
        image = torch.from_numpy(_images()[found.images[number] : found.images[number] + 1]).requires_grad_()
        features = network.mix2(network.mix1(network.cells(image)))
        (gradient,) = torch.autograd.grad(features[0, 2, found.place[number, 0], found.place[number, 1]], image)
        seen = gradient[0].abs().sum(dim=0).numpy() > 0
        for axis, edges in enumerate((found.rows, found.columns)):
            lit = np.flatnonzero(seen.any(axis=1 - axis))
            assert [lit[0], lit[-1] + 1] == edges[number].tolist()


def test_region_on_physical_axes() -> None:
    """First-layer pixel (0, 7) of a 16-pixel cell sees rows -1 to 2, cut at 0, and columns 13 to 16, cut at 15."""
    blocks = [
        EnergyBlock([[1, 2], [2, 4]], 10.0, (0.1, 0, 0), 0.01),
        EnergyBlock([[3, 5], [5, 8]], 20.0, (0.1, 0, 0), 0.01),
    ]
    frame = ImageFrame(blocks, np.linspace(-1.5, 1.5, PIXELS))
    network, images = _network(), np.zeros((1, CELLS, PIXELS, PIXELS), np.float32)
    with torch.no_grad():
        network.cells[0].weight.fill_(1.0)
    images[0, 3, 0, 15] = 5.0
    found = maximal_activation(network, images, layer="cells", filter=7)
    assert tuple(found.place[0]) == (0, 7)
    where = region(frame, found, 0)
    assert where.qh == pytest.approx((-1.6, -1.0))
    assert where.qk == pytest.approx((1.0, 1.6))
    assert where.bins == ("Ei = 20 meV, 5 to 8 meV",)
    assert field_edges(found.grid, [1], axis=0).tolist() == [[1, 5]]


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(ValueError, match="filter must lie in 0 to 7"):
        maximal_activation(_network(), _images(), layer="mix3", filter=-1)
    with pytest.raises(ValueError, match="count must be at least 1"):
        maximal_activation(_network(), _images(), layer="mix3", filter=0, count=0)
