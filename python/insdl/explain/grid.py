"""Where the pixels of a layer lie on the image, and maps brought from the one to the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from torch import nn

from insdl.explain.layers import forward_steps


@dataclass(frozen=True)
class Entrance:
    """How a network's layers begin that are no chain from the image on; a network says it by an attribute `entrance`.

    Attributes
    ----------
    layer : name of the first module whose output has pixels; `beside`: modules that are no part of the chain.
    offset, stride, field : of that output, as in `LayerGrid`, the same along both axes.
    mirrors : as in `LayerGrid`.
    """

    layer: str
    beside: tuple[str, ...]
    offset: float
    stride: float
    field: float
    mirrors: Literal["folded", "apart"]


@dataclass(frozen=True)
class LayerGrid:
    """Where the pixels of a layer lie on the image: pixel i at image pixel offset + stride * i, along (h, k).

    Attributes
    ----------
    shape, image_shape : (height, width) of the layer and of the image.
    offset, stride : (2,) in image pixels; image pixel 0 has its centre at 0.
    field : (2,) receptive field, the image pixels that one layer pixel has seen.
    mirrors : "folded" if a layer pixel has seen the mirror images of its field in Qh and Qk as well.
    """

    shape: tuple[int, int]
    image_shape: tuple[int, int]
    offset: tuple[float, float]
    stride: tuple[float, float]
    field: tuple[float, float]
    mirrors: Literal["folded", "apart"] = "apart"

    @property
    def pixels_each(self) -> float:
        """How many of the image's pixels there are for each of the layer's."""
        return self.stride[0] * self.stride[1] * (4.0 if self.mirrors == "folded" else 1.0)


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
    steps, output = forward_steps(network, np.zeros((1, channels, height, width), np.float32), layer=layer)
    entrance: Entrance | None = getattr(network, "entrance", None)
    begin, own = (0.0, 1.0, 1.0), [height, width]
    if entrance is not None:
        begin = (entrance.offset, entrance.stride, entrance.field)
        _, entered = forward_steps(network, np.zeros((1, channels, height, width), np.float32), layer=entrance.layer)
        own = list(entered[2:])
        steps = [step for step in steps if step[0].split(".")[0] not in (entrance.layer, *entrance.beside)]
    axes = []
    for axis, size in enumerate(own):
        offset, stride, field = begin
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
        (rows, columns), (height, width), (top, left), (row_stride, column_stride), (row_field, column_field),
        "apart" if entrance is None else entrance.mirrors,
    )  # fmt: skip


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
    size = grid.image_shape[axis]
    pixel = np.arange(size)
    if grid.mirrors == "folded":
        pixel = np.maximum(pixel, size - 1 - pixel)
    place = (pixel - grid.offset[axis]) / grid.stride[axis]
    distance = np.abs(np.clip(place, 0, last)[:, None] - np.arange(last + 1)[None, :])
    weights: npt.NDArray[np.float64] = np.maximum(0.0, 1.0 - distance)
    return weights


def _pair(value: Any) -> tuple[int, int]:
    return (value[0], value[1]) if isinstance(value, tuple) else (value, value)
