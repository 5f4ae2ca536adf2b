"""Grad-CAM: which places, in which (Ei, energy) cells, a network's answer rests on.

Selvaraju et al., ICCV 2017 (arXiv:1610.02391), eq. 1 and 2: each channel of a layer is weighted with the mean
gradient of the answer over its pixels, and the weighted channels are summed. The answer is always an output before
any softmax: behind a softmax, the gradient of a sure classifier is zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from insdl.learn.networks import check_images, evaluation_mode

Output = int | str


@dataclass(frozen=True)
class LayerGrid:
    """Where the pixels of a layer lie on the image: pixel i at image pixel offset + stride * i, along (h, k).

    Attributes
    ----------
    shape, image_shape : (height, width) of the layer and of the image.
    offset, stride : (2,) in image pixels; image pixel 0 has its centre at 0.
    field : (2,) receptive field, the image pixels that one layer pixel has seen.
    """

    shape: tuple[int, int]
    image_shape: tuple[int, int]
    offset: tuple[float, float]
    stride: tuple[float, float]
    field: tuple[float, float]


def grad_cam(
    network: nn.Module,
    images: npt.ArrayLike,
    *,
    target: Output | tuple[Output, Output],
    layer: str,
    cells: int | None = None,
    sign: Literal["positive", "signed"] = "positive",
    batch_size: int = 64,
) -> npt.NDArray[np.float64]:
    """Maps of the evidence for an answer at the pixels of a layer; they add up over pixels, channels and cells.

    map(x) = sum over channels c of <d answer / d A_c> A_c(x), where A is the output of the layer and <> the mean
    over its pixels. The network is evaluated in evaluation mode and is left as it was.

    Parameters
    ----------
    network : maps (n, channels, height, width) to outputs (n, m); no softmax inside.
    images : (n, channels, height, width).
    target : an output, by index or by its name in `network.config.outputs`; or a pair (a, b) for output a minus
        output b, which is what decides between two classes. A regressor's outputs are its means.
    layer : name of a module in `network.named_modules()`, "cells" for instance. Its output is used, so a block that
        ends in a ReLU gives activations that are not negative.
    cells : number of cells, the number of input channels: each gets a map of its own from its own channels. Only for
        layers up to which all convolutions are grouped by cell. None: one map for all channels.
    sign : "positive" cuts negative values of the maps to zero, as the paper does; "signed" keeps what speaks against.
    batch_size : images in one pass.

    Returns
    -------
    (n, height, width), or (n, cells, height, width) with `cells`, float64, in units of the output, on the grid of
    the layer: see `to_pixels`.

    Examples
    --------
    >>> from insdl.learn.networks import CellClassifier
    >>> network = CellClassifier(classes=("goodenough", "dimer"))
    >>> image = np.random.default_rng(0).random((1, 60, 40, 40))
    >>> grad_cam(network, image, target=("goodenough", "dimer"), layer="cells", cells=60).shape
    (1, 60, 20, 20)
    """
    if sign not in ("positive", "signed"):
        raise ValueError(f"sign must be 'positive' or 'signed', got {sign!r}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    module = _module(network, layer)
    checked = check_images(images)
    if len(checked) == 0:
        raise ValueError("images must hold at least one image, got 0")
    if cells is not None:
        _check_cells(network, checked, layer=layer, cells=cells)
    parts = []
    for start in range(0, len(checked), batch_size):
        activation, gradient = _activation_and_gradient(
            network, checked[start : start + batch_size], module=module, layer=layer, target=target
        )
        weighted = gradient.mean(dim=(2, 3), keepdim=True) * activation
        groups = weighted.reshape(len(weighted), 1 if cells is None else cells, -1, *weighted.shape[2:])
        parts.append(groups.sum(dim=2))
    maps = torch.cat(parts).cpu().numpy().astype(np.float64)
    if cells is None:
        maps = maps[:, 0]
    return np.maximum(maps, 0.0) if sign == "positive" else maps


def layer_grid(network: nn.Module, *, layer: str, image_shape: Sequence[int]) -> LayerGrid:
    """Where a layer's pixels lie on the image, from the kernels, strides and paddings of all layers up to it.

    Only for chains: layers that run one after the other, as in the networks of `insdl.learn`.

    Parameters
    ----------
    layer : name of a module, as for `grad_cam`.
    image_shape : (channels, height, width) of an image.

    Examples
    --------
    >>> from insdl.learn.networks import CellClassifier
    >>> layer_grid(CellClassifier(), layer="cells", image_shape=(60, 40, 40)).offset
    (0.5, 0.5)
    """
    channels, height, width = image_shape
    steps, output = _trace(network, np.zeros((1, channels, height, width), np.float32), layer=layer)
    axes = []
    for axis, size in enumerate((height, width)):
        offset, stride, field = 0.0, 1.0, 1.0
        for name, step, shape_in, shape_out in steps:
            if len(shape_in) != 4 or len(shape_out) != 4 or shape_in[2 + axis] != size:
                raise ValueError(f"the layers up to {layer!r} must form a chain, but {name!r} breaks it")
            kernel, pitch, shift = _geometry(step, axis, name=name, size_in=size, size_out=shape_out[2 + axis])
            offset += shift * stride
            field += (kernel - 1) * stride
            stride *= pitch
            size = shape_out[2 + axis]
        if output[2 + axis] != size:
            raise ValueError(f"the layers up to {layer!r} must form a chain, but its output has shape {output}")
        axes.append((size, offset, stride, field))
    (rows, top, row_stride, row_field), (columns, left, column_stride, column_field) = axes
    return LayerGrid(
        (rows, columns), (height, width), (top, left), (row_stride, column_stride), (row_field, column_field)
    )


def to_pixels(maps: npt.ArrayLike, grid: LayerGrid) -> npt.NDArray[np.float64]:
    """Maps at the pixels of the image, by bilinear interpolation between the centres of the layer's pixels.

    Beyond the outermost centres the outermost value holds. Values are interpolated, not shared out: the sum over
    pixels grows by about the product of the strides.

    Parameters
    ----------
    maps : (..., height, width) on the grid of the layer.
    grid : from `layer_grid`.

    Returns
    -------
    (..., image height, image width) float64.
    """
    values = np.asarray(maps, dtype=np.float64)
    if values.shape[-2:] != grid.shape:
        raise ValueError(f"maps must have shape (..., {grid.shape[0]}, {grid.shape[1]}), got {values.shape}")
    rows, columns = (_interpolation(grid, axis) for axis in (0, 1))
    pixels: npt.NDArray[np.float64] = rows @ values @ columns.T
    return pixels


def cell_importance(maps: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Evidence of each cell, (n, cells): the sum over the pixels of maps (n, cells, height, width)."""
    values = np.asarray(maps, dtype=np.float64)
    if values.ndim != 4:
        raise ValueError(f"maps must have shape (n, cells, height, width), got {values.shape}")
    importance: npt.NDArray[np.float64] = values.sum(axis=(2, 3))
    return importance


def _activation_and_gradient(
    network: nn.Module,
    images: npt.NDArray[np.float32],
    *,
    module: nn.Module,
    layer: str,
    target: Output | tuple[Output, Output],
) -> tuple[Tensor, Tensor]:
    """Output of the layer, and the gradient of the answer with respect to it, both (n, channels, height, width)."""
    seen: list[Tensor] = []

    def cut(_: nn.Module, __: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim != 4:
            raise ValueError(f"layer {layer!r} must give one tensor (n, channels, height, width)")
        seen.append(output.detach().clone().requires_grad_())
        return seen[-1].clone()  # the next layer may work in place

    with evaluation_mode(network), torch.inference_mode(False), torch.enable_grad():
        hook = module.register_forward_hook(cut)
        try:
            outputs = network(_on_device(network, images))
        finally:
            hook.remove()
        if len(seen) != 1:
            raise ValueError(f"layer {layer!r} must run once in a forward pass, it runs {len(seen)} times")
        answer = _answer(network, outputs, target)
        if not answer.requires_grad:
            raise ValueError(f"the target {target!r} does not depend on layer {layer!r}")
        (gradient,) = torch.autograd.grad(answer.sum(), seen)
    return seen[0].detach(), gradient


def _answer(network: nn.Module, outputs: Tensor, target: Output | tuple[Output, Output]) -> Tensor:
    if not isinstance(outputs, Tensor) or outputs.ndim != 2:
        raise ValueError("the network must give one tensor of outputs (n, m)")
    names = getattr(getattr(network, "config", None), "outputs", ())
    count = len(names) or outputs.shape[1]

    def column(output: Output) -> Tensor:
        index = names.index(output) if isinstance(output, str) and output in names else output
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < count:
            choices = f"0 to {count - 1}" + (f" or one of {', '.join(names)}" if names else "")
            raise ValueError(f"target must be an output, {choices}, got {output!r}")
        return outputs[:, index]

    if isinstance(target, tuple):
        if len(target) != 2:
            raise ValueError(f"target must be an output or a pair of outputs, got {target!r}")
        return column(target[0]) - column(target[1])
    return column(target)


def _check_cells(network: nn.Module, images: npt.NDArray[np.float32], *, layer: str, cells: int) -> None:
    steps, output = _trace(network, images[:1], layer=layer)
    if cells != images.shape[1] or output[1] % cells:
        raise ValueError(
            f"cells must be the number of input channels, {images.shape[1]}, and divide the {output[1]} channels of "
            f"layer {layer!r}, got {cells}"
        )
    for name, step, _, __ in steps:
        if isinstance(step, nn.Conv2d) and step.groups % cells:
            raise ValueError(
                f"layer {layer!r} cannot be split into cells: {name!r}, at or before it, mixes them (it has "
                f"{step.groups} groups)"
            )


_Step = tuple[str, nn.Module, tuple[int, ...], tuple[int, ...]]


def _trace(network: nn.Module, images: npt.NDArray[np.float32], *, layer: str) -> tuple[list[_Step], tuple[int, ...]]:
    """Modules without children that run up to the end of a layer, with input and output shapes; the layer's shape."""
    module = _module(network, layer)
    steps: list[_Step] = []
    ends: list[tuple[int, tuple[int, ...]]] = []

    def record(name: str, step: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, Tensor) and inputs and isinstance(inputs[0], Tensor):
            if not any(True for _ in step.children()):
                steps.append((name, step, tuple(inputs[0].shape), tuple(output.shape)))
            if step is module:
                ends.append((len(steps), tuple(output.shape)))

    hooks = [step.register_forward_hook(partial(record, name)) for name, step in network.named_modules()]
    try:
        with evaluation_mode(network), torch.no_grad():
            network(_on_device(network, images))
    finally:
        for hook in hooks:
            hook.remove()
    if len(ends) != 1 or len(ends[0][1]) != 4:
        raise ValueError(f"layer {layer!r} must run once, and give (n, channels, height, width), in a forward pass")
    count, shape = ends[0]
    return steps[:count], shape


def _geometry(step: nn.Module, axis: int, *, name: str, size_in: int, size_out: int) -> tuple[float, float, float]:
    """(extent of the kernel, stride, position of output pixel 0) of a layer along an axis, in its input's pixels."""
    if isinstance(step, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        width, pitch = _pair(step.kernel_size)[axis], _pair(step.stride)[axis]
        dilation = _pair(getattr(step, "dilation", 1))[axis]
        extent = dilation * (width - 1)
        before = extent // 2 if step.padding == "same" else 0  # an odd pixel of "same" goes to the end
        if not isinstance(step.padding, str):
            before = _pair(step.padding)[axis]
        return extent + 1.0, float(pitch), extent / 2 - before
    if isinstance(step, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d) and size_in % size_out == 0:
        ratio = size_in / size_out
        return ratio, ratio, (ratio - 1) / 2
    if size_in == size_out and not isinstance(step, nn.ConvTranspose2d | nn.Linear):
        return 1.0, 1.0, 0.0  # pointwise: activation, normalisation, dropout
    raise ValueError(f"the grid of layer {name!r}, a {type(step).__name__}, is not known")


def _interpolation(grid: LayerGrid, axis: int) -> npt.NDArray[np.float64]:
    """Weights, (image pixels, layer pixels), rows of sum 1, of linear interpolation along an axis."""
    last = grid.shape[axis] - 1
    place = (np.arange(grid.image_shape[axis]) - grid.offset[axis]) / grid.stride[axis]
    distance = np.abs(np.clip(place, 0, last)[:, None] - np.arange(last + 1)[None, :])
    weights: npt.NDArray[np.float64] = np.maximum(0.0, 1.0 - distance)
    return weights


def _module(network: nn.Module, layer: str) -> nn.Module:
    modules: dict[str, nn.Module] = dict(network.named_modules())
    if not layer or layer not in modules:
        raise ValueError(f"layer must be one of {', '.join(name for name in modules if name)}, got {layer!r}")
    return modules[layer]


def _on_device(network: nn.Module, images: npt.NDArray[np.float32]) -> Tensor:
    parameter = next(network.parameters(), None)
    return torch.from_numpy(images).to("cpu" if parameter is None else parameter.device)


def _pair(value: Any) -> tuple[int, int]:
    return (value[0], value[1]) if isinstance(value, tuple) else (value, value)
