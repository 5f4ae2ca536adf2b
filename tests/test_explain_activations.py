"""Activations: as a plain forward pass gives them; dead and duplicate filters as they were planted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from insdl.explain.activations import filter_use, layer_activations, layer_vectors, seen_channels
from insdl.learn.networks import CellClassifier, MapRegressor

CELLS, PIXELS = 4, 16


def _network(seed: int = 0) -> CellClassifier:
    return CellClassifier(cells=CELLS, pixels=PIXELS, widths=(8, 8, 8), seed=seed)


def _images(count: int = 6) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).random((count, CELLS, PIXELS, PIXELS), dtype=np.float32)


def test_layers_step_by_step() -> None:
    """Each layer is that of the chain run by hand, the convolution before its in-place ReLU included."""
    network = _network().eval()
    features = torch.from_numpy(_images())
    with torch.no_grad():
        convolved = network.cells[0](features)
        assert (convolved < 0).any()
        np.testing.assert_allclose(layer_activations(network, _images(), layer="cells.0"), convolved.numpy(), atol=1e-6)
        last = network.mix3(network.mix2(network.mix1(torch.relu(convolved))))
        np.testing.assert_allclose(layer_activations(network, _images(), layer="mix3"), last.numpy(), atol=1e-5)
        np.testing.assert_allclose(
            layer_vectors(network, _images(), layer="mix3"), last.numpy().mean(axis=(2, 3)), atol=1e-5
        )
        logits = layer_activations(network, _images(), layer="head.2")
        np.testing.assert_allclose(logits, network(features).numpy(), atol=1e-5)
    assert layer_vectors(network, _images(), layer="head.2").shape == (6, 2)


def test_batch_equals_loop_and_network_is_left_alone() -> None:
    network = _network().train()
    whole = layer_activations(network, _images(), layer="mix2")
    loop = [layer_activations(network, image[None], layer="mix2")[0] for image in _images()]
    np.testing.assert_allclose(whole, np.stack(loop), atol=1e-5)
    np.testing.assert_allclose(whole, layer_activations(network, _images(), layer="mix2", batch_size=4), atol=1e-5)
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())


def test_dead_and_duplicate_filters_are_found() -> None:
    """Filter 1 never fires and filter 3 is twice filter 2; nothing else is alike."""
    network = _network()
    with torch.no_grad():
        weight, bias = network.cells[0].weight, network.cells[0].bias
        weight[1], bias[1] = 0.0, -1.0
        weight[3], bias[3] = 2 * weight[2], 2 * bias[2]
    use = filter_use(network, _images(), layer="cells.1", batch_size=4)
    assert use.dead.tolist() == [1]
    assert use.duplicates == ((2, 3),)
    assert use.superfluous == 2
    assert use.active[1] == use.largest[1] == 0.0
    rows = np.moveaxis(layer_activations(network, _images(), layer="cells.1"), 1, 0).reshape(8, -1).astype(np.float64)
    alive = [0, 2, 3, 4, 5, 6, 7]
    np.testing.assert_allclose(use.correlation[np.ix_(alive, alive)], np.corrcoef(rows[alive]), atol=1e-9)
    np.testing.assert_allclose(use.spread, rows.std(axis=1), atol=1e-9)
    np.testing.assert_allclose(use.mean, rows.mean(axis=1), atol=1e-9)
    np.testing.assert_allclose(use.active, (rows > 0).mean(axis=1))
    assert np.isfinite(use.correlation).all()


def test_blank_images_make_every_filter_dead() -> None:
    """Zero images without padding: every output is constant; nothing is nan."""
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 36, 2))
    use = filter_use(network, np.zeros((3, 2, 8, 8)), layer="0")
    assert use.dead.tolist() == [0, 1, 2]
    assert not use.duplicates
    assert np.isfinite(use.correlation).all()


def test_channels_seen_are_those_with_a_gradient() -> None:
    network = _network().eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.abs_()  # so that no ReLU is shut
    for layer, filter_number in (("cells", 5), ("cells.0", 0), ("mix1", 3)):
        images = torch.from_numpy(_images(1)).requires_grad_()
        outputs: list[torch.Tensor] = []
        hook = network.get_submodule(layer).register_forward_hook(
            lambda _, __, out, seen=outputs: seen.append(out.clone())
        )
        network(images)
        hook.remove()
        (gradient,) = torch.autograd.grad(outputs[0][0, filter_number].sum(), images)
        expected = np.flatnonzero(gradient[0].abs().sum(dim=(1, 2)).numpy())
        assert seen_channels(network, _images(1), layer=layer, filter=filter_number).tolist() == expected.tolist()
    regressor = MapRegressor(3, pixels=16)
    assert seen_channels(regressor, np.zeros((1, 3, 16, 16)), layer="block1.0", filter=2).tolist() == [0, 1, 2]


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(ValueError, match=r"layer must be one of cells, .* got 'nowhere'"):
        layer_activations(_network(), _images(), layer="nowhere")
    with pytest.raises(ValueError, match="at least one image"):
        layer_activations(_network(), _images(0), layer="cells")
    with pytest.raises(ValueError, match="got nan in image 1"):
        layer_vectors(_network(), np.where(np.arange(2)[:, None, None, None], np.nan, _images(2)), layer="cells")
    with pytest.raises(ValueError, match="duplicate_above must lie in"):
        filter_use(_network(), _images(), layer="cells", duplicate_above=0.0)
    with pytest.raises(ValueError, match="filter must lie in 0 to 7"):
        seen_channels(_network(), _images(), layer="cells", filter=8)
