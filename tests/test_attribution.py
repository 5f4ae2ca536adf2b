"""Integrated and guided gradients: exact for linear networks, complete, equal to slow versions; hard networks are fine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from insdl.explain.attribution import guided_gradients, integrated_gradients
from insdl.explain.layers import answers
from insdl.learn.networks import CellClassifier, MapRegressor

CELLS, PIXELS = 3, 8


def _network(seed: int = 0) -> CellClassifier:
    return CellClassifier(cells=CELLS, classes=("a", "b", "c"), pixels=PIXELS, widths=(8, 8, 8), seed=seed)


def _images(count: int = 4) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).random((count, CELLS, PIXELS, PIXELS), dtype=np.float32)


def test_linear_network_is_exact() -> None:
    """For a linear answer, integrated gradients are weight times (image - baseline), and guided ones the weight."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(CELLS * PIXELS**2, 2))
    weight = network[1].weight.detach().double().numpy().reshape(2, CELLS, PIXELS, PIXELS)
    baseline = np.full((CELLS, PIXELS, PIXELS), 0.3)
    found = integrated_gradients(network, _images(), target=(0, 1), baseline=baseline, steps=2)
    np.testing.assert_allclose(found.maps, (weight[0] - weight[1]) * (_images() - 0.3), atol=1e-6)
    guided = guided_gradients(network, _images(), target=1)
    np.testing.assert_allclose(guided, np.broadcast_to(weight[1], guided.shape), atol=1e-7)


def test_integrated_gradients_add_up_to_the_answer() -> None:
    found = integrated_gradients(_network(), _images(2), target=("a", "b"), baseline=0.0, steps=100)
    whole = answers(_network(), _images(2), target=("a", "b"))
    blank = answers(_network(), np.zeros((1, CELLS, PIXELS, PIXELS)), target=("a", "b"))
    np.testing.assert_allclose(found.difference, whole - blank, atol=1e-6)
    np.testing.assert_allclose(found.maps.sum(axis=(1, 2, 3)), found.difference + found.error)
    assert np.abs(found.error).max() < 0.01 * np.abs(found.difference).max()


def test_integrated_gradients_of_the_baseline_are_zero() -> None:
    found = integrated_gradients(_network(), np.zeros((1, CELLS, PIXELS, PIXELS)), target=0, baseline=0.0, steps=4)
    assert not found.maps.any()
    assert found.difference == found.error == 0.0


def _guided_by_hand(network: CellClassifier, image: npt.NDArray[np.float32], target: int) -> npt.NDArray[np.float64]:
    """Layer by layer backwards, with a plain autograd step for each and the rule of the paper at each ReLU."""
    layers = [*network.cells, *network.mix1, *network.mix2, *network.mix3, *network.head]
    inputs, value = [], torch.from_numpy(image[None])
    with torch.no_grad():
        for layer in layers:
            inputs.append(value.clone())
            value = layer(value)
    gradient = torch.zeros_like(value)
    gradient[0, target] = 1.0
    for layer, given in zip(reversed(layers), reversed(inputs), strict=True):
        if isinstance(layer, nn.ReLU):
            gradient = gradient.clamp(min=0) * (given > 0)
        else:
            given = given.requires_grad_()
            (gradient,) = torch.autograd.grad(layer(given), given, gradient)
    return gradient[0].numpy().astype(np.float64)


def test_guided_gradients_follow_their_rule() -> None:
    network = _network().eval()
    found = guided_gradients(network, _images(), target="b")
    expected = np.stack([_guided_by_hand(network, image, 1) for image in _images()])
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


def test_batch_equals_loop() -> None:
    network = _network()
    for method in (
        lambda images: integrated_gradients(network, images, target=0, baseline=0.1, steps=8, batch_size=3).maps,
        lambda images: guided_gradients(network, images, target=0, batch_size=3),
    ):
        whole = method(_images())
        assert np.abs(whole).max() > 0
        loop = np.concatenate([method(image[None]) for image in _images()])
        np.testing.assert_allclose(whole, loop, rtol=0, atol=1e-6 * np.abs(whole).max())


class _Reused(nn.Module):
    """One ReLU, in place, that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.relu = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.ReLU(inplace=True)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.relu(self.second(self.relu(self.first(images))))
        return features.mean(dim=(2, 3))


def test_relu_that_runs_twice() -> None:
    """Equal to the same network with a ReLU for each time."""
    torch.manual_seed(0)
    reused = _Reused()
    twice = nn.Sequential(reused.first, nn.ReLU(), reused.second, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for method in (
        lambda network: guided_gradients(network, _images(), target=2),
        lambda network: integrated_gradients(network, _images(), target=2, baseline=0.0, steps=8).maps,
    ):
        np.testing.assert_allclose(method(reused), method(twice), atol=1e-7)


def test_saturated_classifier_still_has_gradients() -> None:
    """Logits of a thousand, whose probability has no gradient left."""
    network = _network()
    with torch.no_grad():
        network.get_parameter("head.2.weight").mul_(1e6)
    probability = torch.softmax(network.eval()(torch.from_numpy(_images(1))), dim=1)
    assert probability.max() == 1.0
    assert np.abs(integrated_gradients(network, _images(1), target=0, baseline=0.0, steps=8).maps).max() > 1.0
    assert np.abs(guided_gradients(network, _images(1), target=0)).max() > 1.0


def test_regressor_and_blank_images() -> None:
    network = MapRegressor(2, parameters=("J1", "J2"), pixels=16)
    images = np.zeros((2, 2, 16, 16))
    for maps in (
        guided_gradients(network, images, target="J1"),
        integrated_gradients(network, images, target="J2", baseline=1.0, steps=8).maps,
    ):
        assert maps.shape == images.shape
        assert np.isfinite(maps).all()


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_network_is_left_as_it_was(context: type[torch.no_grad]) -> None:
    network = _network().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with context():
        integrated_gradients(network, _images(), target=0, baseline=0.0, steps=4)
        guided_gradients(network, _images(), target=0)
    assert network.training
    assert network.mix1[-1].inplace
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._backward_hooks for module in network.modules())


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(ValueError, match=r"baseline must be finite, a number or of shape \(3, 8, 8\), got \(8, 8\)"):
        integrated_gradients(_network(), _images(), target=0, baseline=np.zeros((8, 8)))
    with pytest.raises(ValueError, match="steps and batch_size must be at least 1"):
        integrated_gradients(_network(), _images(), target=0, baseline=0.0, steps=0)
    with pytest.raises(ValueError, match="one of a, b, c, got 'd'"):
        guided_gradients(_network(), _images(), target="d")
    with pytest.raises(ValueError, match="at least one image"):
        guided_gradients(_network(), _images(0), target=0)
