"""Grad-CAM: agrees with captum, follows the definition, puts planted features where they are."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
from captum.attr import LayerGradCam, LayerGradientXActivation
from torch import Tensor, nn

from insdl.explain.cam import (
    LayerGrid,
    cell_importance,
    class_activation_map,
    grad_cam,
    grad_cam_plus_plus,
    hires_cam,
    layer_grid,
    to_pixels,
)
from insdl.explain.layers import answers
from insdl.learn.networks import CellClassifier, MapRegressor
from insdl.learn.train import TrainingSettings, predict, train

CELLS, PIXELS = 6, 16


def _network(seed: int = 0) -> CellClassifier:
    return CellClassifier(cells=CELLS, classes=("a", "b", "c"), pixels=PIXELS, widths=(8, 8, 8), seed=seed)


def _images(count: int = 5, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).random((count, CELLS, PIXELS, PIXELS), dtype=np.float32)


def _close(actual: npt.NDArray[np.float64], expected: npt.NDArray[np.float64]) -> None:
    """Equal to 1e-6 of the largest value: float32 sums of some hundred terms, in another order."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    assert np.abs(expected).max() > 0


@pytest.mark.parametrize("layer", ["cells.0", "cells", "mix1", "mix3"])
@pytest.mark.parametrize("sign", ["positive", "signed"])
def test_equals_captum(layer: str, sign: Literal["positive", "signed"]) -> None:
    network = _network().eval()
    oracle = LayerGradCam(network, network.get_submodule(layer))
    attributed = oracle.attribute(torch.from_numpy(_images()), target=1, relu_attributions=sign == "positive")
    expected = attributed.detach().numpy()[:, 0].astype(np.float64)
    _close(grad_cam(network, _images(), target=1, layer=layer, sign=sign), expected)


def test_maps_of_cells_equal_captum_without_its_sum_over_channels() -> None:
    network = _network().eval()
    oracle = LayerGradCam(network, network.cells)
    channels = oracle.attribute(torch.from_numpy(_images()), target=1, attr_dim_summation=False)
    expected = channels.detach().numpy().astype(np.float64).reshape(5, CELLS, 2, 8, 8).sum(axis=2)
    _close(grad_cam(network, _images(), target=1, layer="cells", cells=CELLS, sign="signed"), expected)


def test_maps_of_cells_add_up_to_the_map_of_all() -> None:
    options = {"target": 1, "layer": "cells", "sign": "signed"}
    split = grad_cam(_network(), _images(), cells=CELLS, **options)  # type: ignore[arg-type]
    _close(split.sum(axis=1), grad_cam(_network(), _images(), **options))  # type: ignore[arg-type]
    np.testing.assert_allclose(cell_importance(split), split.sum(axis=(2, 3)))


def test_contrast_is_the_difference_of_signed_maps() -> None:
    network = _network()
    maps = {
        target: grad_cam(network, _images(), target=target, layer="cells", sign="signed")
        for target in ("a", "b", ("a", "b"))
    }
    _close(maps[("a", "b")], maps["a"] - maps["b"])


def test_baseline_is_where_evidence_is_counted_from() -> None:
    """Behind "mix3" the answer is linear: maps add up to the difference of the answers, and the baseline has none."""
    network, images = _network(), _images()
    options = {"target": ("a", "b"), "layer": "mix3", "sign": "signed", "baseline": images[0]}
    maps = grad_cam(network, images, **options)  # type: ignore[arg-type]
    value = answers(network, images, target=("a", "b"))
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), value - value[0], rtol=0, atol=1e-6)
    assert np.abs(maps[0]).max() < 1e-6


def test_regressor_is_explained_by_parameter_name() -> None:
    network = MapRegressor(2, parameters=("J1", "J2"), pixels=16)
    images = np.random.default_rng(0).random((3, 2, 16, 16))
    named = grad_cam(network, images, target="J2", layer="block2", sign="signed")
    np.testing.assert_array_equal(named, grad_cam(network, images, target=1, layer="block2", sign="signed"))
    with pytest.raises(ValueError, match="0 to 1 or one of J1, J2, got 2"):
        grad_cam(network, images, target=2, layer="block2")  # a log-variance


def test_batch_equals_loop() -> None:
    images = _images()
    whole = grad_cam(_network(), images, target=0, layer="cells", cells=CELLS, sign="signed")
    loop = [
        grad_cam(_network(), image[None], target=0, layer="cells", cells=CELLS, sign="signed")[0] for image in images
    ]
    _close(whole, np.stack(loop))
    _close(grad_cam(_network(), images, target=0, layer="cells", cells=CELLS, sign="signed", batch_size=2), whole)


def test_saturated_classifier_still_has_maps() -> None:
    """Logits of a thousand: the probability is exactly 1 and its gradient exactly 0, that of the logit is not."""
    network = _network()
    with torch.no_grad():
        network.get_parameter("head.2.weight").mul_(1e6)
    sure = int(predict(network, _images(1))[0].argmax())
    assert predict(network, _images(1))[0, sure] == 1.0
    assert np.abs(grad_cam(network, _images(1), target=sure, layer="cells", sign="signed")).max() > 1.0


@pytest.mark.parametrize("target", [1, ("a", "c")])
def test_cam_adds_up_to_the_answer_less_the_bias(target: int | tuple[str, str]) -> None:
    """And is Grad-CAM at the same layer, whose gradient is the weight over the number of pixels."""
    network = _network()
    maps = class_activation_map(network, _images(), target=target, layer="mix3", sign="signed")
    bias = network.head[2].bias.detach().numpy()
    offset = bias[1] if target == 1 else bias[0] - bias[2]
    np.testing.assert_allclose(
        maps.sum(axis=(1, 2)), answers(network, _images(), target=target) - offset, rtol=0, atol=1e-6
    )
    _close(maps, grad_cam(network, _images(), target=target, layer="mix3", sign="signed"))


def test_hires_cam_is_activation_times_gradient() -> None:
    """As captum has it at any layer; and Grad-CAM where the gradient is the same at each pixel."""
    network = _network().eval()
    oracle = LayerGradientXActivation(network, network.cells)
    expected = oracle.attribute(torch.from_numpy(_images()), target=1).detach().double().numpy()
    found = hires_cam(network, _images(), target=1, layer="cells", cells=CELLS, sign="signed")
    _close(found, expected.reshape(5, CELLS, 2, 8, 8).sum(axis=2))
    last = {"target": ("a", "b"), "layer": "mix3", "sign": "signed", "baseline": _images()[0]}
    _close(hires_cam(network, _images(), **last), grad_cam(network, _images(), **last))  # type: ignore[arg-type]


def test_cam_is_refused_without_a_mean_over_pixels() -> None:
    with pytest.raises(ValueError, match=r"CAM needs a mean over pixels .* behind layer 'block4', got Flatten, Linear"):
        class_activation_map(MapRegressor(2, pixels=16), np.zeros((1, 2, 16, 16)), target=0, layer="block4")
    with pytest.raises(ValueError, match="behind layer 'mix2', got Conv2d"):
        class_activation_map(_network(), _images(), target=0, layer="mix2")


def _plus_plus_by_hand(network: CellClassifier, image: npt.NDArray[np.float32], target: int) -> npt.NDArray[np.float64]:
    """The paper's definition: second and third derivatives of Y = exp(S), one pixel at a time, by automatic ones."""
    network = network.double().eval()
    with torch.no_grad():
        activation = network.mix3(network.mix2(network.mix1(network.cells(torch.from_numpy(image[None]).double()))))
    values = activation.flatten().tolist()
    weights = torch.zeros(activation.shape[1], dtype=torch.float64)
    pixels = activation.shape[2] * activation.shape[3]
    for index, value in enumerate(values):
        one = torch.tensor(value, dtype=torch.float64, requires_grad=True)
        flat = activation.flatten().clone()
        changed = torch.cat([flat[:index], one[None], flat[index + 1 :]]).reshape(activation.shape)
        exponential = torch.exp(network.head(changed)[0, target])
        (first,) = torch.autograd.grad(exponential, one, create_graph=True)
        (second,) = torch.autograd.grad(first, one, create_graph=True)
        (third,) = torch.autograd.grad(second, one)
        channel = index // pixels
        alpha = second / (2 * second + activation[0, channel].sum() * third)
        weights[channel] += alpha.detach() * first.detach().clamp(min=0) / exponential.detach()
    combined = (weights[:, None, None] * activation[0]).sum(dim=0).clamp(min=0)
    return combined.numpy()


def test_grad_cam_plus_plus_is_the_papers() -> None:
    """At the last layer, where the answer is linear, with the common factor exp(S) left out."""
    expected = np.stack([_plus_plus_by_hand(_network(), image, 1) for image in _images(2)])
    _close(grad_cam_plus_plus(_network(), _images(2), target=1, layer="mix3"), expected)


def test_grad_cam_plus_plus_by_cell_and_blank() -> None:
    whole = grad_cam_plus_plus(_network(), _images(), target=("a", "b"), layer="cells", sign="signed")
    parts = grad_cam_plus_plus(_network(), _images(), target=("a", "b"), layer="cells", cells=CELLS, sign="signed")
    _close(parts.sum(axis=1), whole)
    loop = [
        grad_cam_plus_plus(_network(), x[None], target=("a", "b"), layer="cells", sign="signed")[0] for x in _images()
    ]
    _close(whole, np.stack(loop))
    blank = grad_cam_plus_plus(_network(), np.zeros((1, CELLS, 16, 16)), target=0, layer="mix1.0", sign="signed")
    assert np.isfinite(blank).all()


class _Functional(nn.Module):
    """Out-of-place activations, for comparison with in-place ones."""

    def __init__(self, network: CellClassifier) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        for block in (self.network.cells, self.network.mix1, self.network.mix2, self.network.mix3):
            for layer in block:
                images = torch.relu(images) if isinstance(layer, nn.ReLU) else layer(images)
        logits: Tensor = self.network.head(images)
        return logits


def test_activation_in_place_changes_nothing() -> None:
    network = _network()
    in_place = grad_cam(network, _images(), target=1, layer="cells.0", sign="signed")
    _close(in_place, grad_cam(_Functional(network), _images(), target=1, layer="network.cells.0", sign="signed"))


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_network_is_left_as_it_was(context: type[torch.no_grad]) -> None:
    network = _network().train()
    network.mix2.eval()
    network.head[-1].weight.requires_grad_(False)
    network.head[-1].bias.grad = torch.ones(3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with context():
        maps = grad_cam(network, _images(), target=1, layer="cells", cells=CELLS)
    assert np.abs(maps).max() > 0
    assert network.training
    assert network.mix1.training
    assert not network.mix2.training
    assert not network.head[-1].weight.requires_grad
    assert [name for name, value in network.named_parameters() if value.grad is not None] == ["head.2.bias"]
    assert torch.equal(network.head[-1].bias.grad, torch.ones(3))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_hook_is_removed_after_an_error() -> None:
    network = _network()
    with pytest.raises(ValueError, match="images must have shape"):
        grad_cam(network, np.zeros((1, 3, 16, 16)), target=0, layer="cells")
    assert not any(module._forward_hooks for module in network.modules())


def test_blank_image_gives_finite_maps() -> None:
    assert np.isfinite(grad_cam(_network(), np.zeros((2, CELLS, 16, 16)), target=0, layer="cells", cells=CELLS)).all()


def test_planted_feature_is_found_in_its_cell_and_place() -> None:
    """Class 1 has a blob in cell 4, around pixel (11, 5); nothing else tells the classes apart."""
    rows, columns = np.mgrid[:PIXELS, :PIXELS]
    blob = 3 * np.exp(-((rows - 11) ** 2 + (columns - 5) ** 2) / (2 * 1.5**2)).astype(np.float32)

    def sample(index: int) -> tuple[npt.NDArray[np.float32], int]:
        image = np.random.default_rng((1, index)).random((CELLS, PIXELS, PIXELS), dtype=np.float32)
        image[4] += blob * (index % 2)
        return image, index % 2

    network = CellClassifier(cells=CELLS, pixels=PIXELS, widths=(16, 16, 16))
    held_out = [sample(10**6 + i) for i in range(40)]
    images, targets = np.stack([image for image, _ in held_out]), np.array([target for _, target in held_out])
    settings = TrainingSettings(epochs=4, samples_per_epoch=480, batch_size=16, learning_rate=1e-2, threads=1)
    train(network, sample=sample, validation=(images, targets), settings=settings, progress="silent")
    assert (predict(network, images).argmax(axis=1) == targets).all()

    maps = grad_cam(network, images[targets == 1], target=(1, 0), layer="cells", cells=CELLS)
    importance = cell_importance(maps)
    assert (importance.argmax(axis=1) == 4).all()
    pixels = to_pixels(maps[:, 4].mean(axis=0), layer_grid(network, layer="cells", image_shape=images.shape[1:]))
    peak = np.unravel_index(pixels.argmax(), pixels.shape)
    assert np.hypot(peak[0] - 11, peak[1] - 5) <= 1.5  # the layer's pixels are 2 apart


def test_grid_of_each_block() -> None:
    """By hand for 4 x 4 kernels of stride 2 with one pixel of padding, and 1 x 1 and 3 x 3 of stride 1."""
    network = CellClassifier()
    expected = {"cells": (20, 0.5, 2.0, 4.0), "mix1": (20, 0.5, 2.0, 4.0), "mix2": (10, 1.5, 4.0, 10.0)}
    expected["mix3"] = (10, 1.5, 4.0, 18.0)
    for layer, (size, offset, stride, field) in expected.items():
        grid = layer_grid(network, layer=layer, image_shape=(60, 40, 40))
        assert grid == LayerGrid((size, size), (40, 40), (offset, offset), (stride, stride), (field, field))


def test_grid_is_where_the_gradient_says() -> None:
    """The centre and extent of the pixels that one layer pixel depends on, for a chain of unlike layers."""
    layers = (nn.Conv2d(1, 1, (5, 3), stride=(1, 2), padding=(0, 1)), nn.MaxPool2d(2), nn.ReLU(inplace=True))
    network = nn.Sequential(*layers, nn.Conv2d(1, 1, 3, dilation=2, padding="same"), nn.AvgPool2d(3, stride=1))
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.1)
    image = (torch.rand(1, 1, 44, 40) + 1).requires_grad_()
    network[1] = nn.AvgPool2d(2)  # as MaxPool2d, but every pixel has a gradient
    grid = layer_grid(network, layer="4", image_shape=(1, 44, 40))
    network(image)[0, 0, 8, 4].backward()
    assert image.grad is not None
    rows, columns = (np.flatnonzero(image.grad[0, 0].sum(dim=axis)) for axis in (1, 0))
    for axis, (index, seen) in enumerate(zip((8, 4), (rows, columns), strict=True)):
        assert (seen[0] + seen[-1]) / 2 == grid.offset[axis] + grid.stride[axis] * index
        assert seen[-1] - seen[0] + 1 == grid.field[axis]


def test_to_pixels_equals_torch_where_grids_are_centred() -> None:
    grid = layer_grid(CellClassifier(), layer="mix2", image_shape=(60, 40, 40))
    maps = np.random.default_rng(0).normal(size=(2, 3, 10, 10))
    expected = nn.functional.interpolate(
        torch.from_numpy(maps), size=(40, 40), mode="bilinear", align_corners=False
    ).numpy()
    np.testing.assert_allclose(to_pixels(maps, grid), expected, atol=1e-12)


def test_to_pixels_is_exact_for_a_plane_on_an_uncentred_grid() -> None:
    grid = LayerGrid((4, 5), (9, 12), (1.0, 0.0), (2.0, 2.5), (3.0, 3.0))
    rows, columns = np.mgrid[:9, :12].astype(float)
    plane = 2 * (1.0 + 2.0 * np.arange(4))[:, None] - 3 * (2.5 * np.arange(5))[None, :]
    pixels = to_pixels(plane, grid)
    inside = (rows >= 1) & (rows <= 7) & (columns <= 10)
    np.testing.assert_allclose(pixels[inside], (2 * rows - 3 * columns)[inside], atol=1e-12)
    assert pixels[0, 0] == pixels[1, 0]  # constant beyond the outermost centre


class _Reused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 2, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.last = nn.Conv2d(2, 2, 3, padding=1)
        self.spare = nn.Conv2d(2, 2, 3)

    def forward(self, images: Tensor) -> Tensor:
        features = self.relu(self.convolution(self.relu(self.convolution(images))))
        answers: Tensor = self.relu(self.last(features)).mean(dim=(2, 3))
        return answers


def test_reused_modules() -> None:
    """A module used twice cannot be asked about, but may stand elsewhere, and counts twice in the geometry."""
    network, images = _Reused(), np.random.default_rng(0).random((2, 2, 9, 9))
    for layer, times in (("relu", 3), ("convolution", 2), ("spare", 0)):
        with pytest.raises(ValueError, match=f"must run once in a forward pass, it runs {times} times"):
            grad_cam(network, images, target=0, layer=layer)
    assert grad_cam(network, images, target=0, layer="last").shape == (2, 9, 9)
    assert layer_grid(network, layer="last", image_shape=(2, 9, 9)).field == (7.0, 7.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "mix1", "cells": CELLS}, "cells must be the number of input channels, 6, and divide the 8"),
        ({"cells": 3}, "cells must be the number of input channels, 6"),
        ({"layer": "nowhere"}, "layer must be one of cells, .* got 'nowhere'"),
        ({"layer": "head"}, "must give one tensor"),
        ({"target": "d"}, "0 to 2 or one of a, b, c, got 'd'"),
        ({"target": ("a", "b", "c")}, "a pair of outputs"),
        ({"sign": "negative"}, "sign must be 'positive' or 'signed'"),
        ({"images": np.zeros((CELLS, 16, 16))}, r"images must have shape \(n, channels, height, width\)"),
        ({"images": np.full((1, CELLS, 16, 16), np.nan)}, "got nan in image 0"),
        ({"images": np.zeros((0, CELLS, 16, 16))}, "at least one image"),
    ],
)
def test_wrong_calls_are_refused(options: dict[str, object], message: str) -> None:
    call = {"images": _images(), "target": 0, "layer": "cells"} | options
    with pytest.raises(ValueError, match=message):
        grad_cam(_network(), **call)  # type: ignore[arg-type]


def test_cells_are_refused_behind_a_layer_that_mixes_them() -> None:
    network = CellClassifier(cells=4, pixels=8, widths=(8, 8, 8))
    with pytest.raises(ValueError, match=r"'mix1.0', at or before it, mixes them \(it has 1 groups\)"):
        grad_cam(network, np.zeros((1, 4, 8, 8)), target=0, layer="mix1", cells=4)


def test_grid_is_refused_where_it_is_not_known() -> None:
    network = nn.Sequential(nn.ConvTranspose2d(1, 1, 2, stride=2), nn.ReLU())
    with pytest.raises(ValueError, match="'0', a ConvTranspose2d, is not known"):
        layer_grid(network, layer="1", image_shape=(1, 8, 8))
    with pytest.raises(ValueError, match=r"maps must have shape \(..., 4, 5\), got \(5, 4\)"):
        to_pixels(np.zeros((5, 4)), LayerGrid((4, 5), (8, 10), (0.5, 0.5), (2.0, 2.0), (4.0, 4.0)))
