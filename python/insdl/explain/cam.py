"""Class activation maps: which places, in which (Ei, energy) cells, a network's answer rests on.

Each channel of a layer gets a weight for the answer, and the weighted channels are summed. The methods differ in the
weight. Grad-CAM (Selvaraju et al., ICCV 2017, arXiv:1610.02391, eq. 1 and 2): the mean gradient of the answer over the
channel's pixels. CAM (Zhou et al., CVPR 2016, arXiv:1512.04150): the weight of the linear layer behind a mean over
pixels. Grad-CAM++ (Chattopadhay et al., WACV 2018, arXiv:1710.11063): a weighted sum of the positive gradients. HiResCAM
(Draelos and Carin, arXiv:2011.08891): the gradient itself, pixel by pixel. The answer is always an output before any
softmax: behind a softmax, the gradient of a sure classifier is zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from insdl.explain.grid import Entrance, LayerGrid, layer_grid, to_pixels
from insdl.explain.layers import (
    Output,
    Target,
    activation_and_gradient,
    answer,
    checked_batch,
    forward_steps,
    module_named,
)

__all__ = [
    "LayerGrid",
    "Output",
    "Target",
    "cell_importance",
    "class_activation_map",
    "grad_cam",
    "grad_cam_plus_plus",
    "hires_cam",
    "layer_grid",
    "to_pixels",
]

Sign = Literal["positive", "signed"]
_Maps = npt.NDArray[np.float64]


def grad_cam(
    network: nn.Module,
    images: npt.ArrayLike,
    *,
    target: Target,
    layer: str,
    cells: int | None = None,
    sign: Literal["positive", "signed"] = "positive",
    baseline: npt.ArrayLike | None = None,
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
    baseline : (channels, height, width), an image without evidence, such as the average of all classes' simulated images.
        The maps then count from its activation, <d answer / d A_c> (A_c(x) - A0_c(x)), not from no activation at all: a
        cell that looks as on average has no evidence. This is ours, not the paper's.
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

    origin = 0.0 if baseline is None else _activation(network, baseline, target=target, layer=layer)

    def weighted(activation: Tensor, gradient: Tensor) -> Tensor:
        return gradient.mean(dim=(2, 3), keepdim=True) * (activation - origin)

    return _maps(network, images, weighted, target=target, layer=layer, cells=cells, sign=sign, batch_size=batch_size)


def grad_cam_plus_plus(
    network: nn.Module,
    images: npt.ArrayLike,
    *,
    target: Target,
    layer: str,
    cells: int | None = None,
    sign: Sign = "positive",
    batch_size: int = 64,
) -> _Maps:
    """Maps of Grad-CAM++: as Grad-CAM, but several small places with positive gradient count as much as one large one.

    With S the answer and g = dS/dA_c(x): w_c = sum over x of alpha_c(x) max(g, 0), alpha_c(x) = g^2 / (2 g^2 + g^3 sum
    over x' of A_c(x')), 0 where g is 0 (eq. 19 of the paper, for Y = exp(S), whose common factor exp(S) is left out as
    everybody does; it holds where the network is piecewise linear behind the layer). The paper takes activations that are
    not negative. Where the denominator is not positive, which only negative gradients make it, alpha is 0: such places
    have no part in the weight anyway.

    Parameters and shapes as in `grad_cam`. The maps do not add up to anything: compare them within an image.
    """

    def weighted(activation: Tensor, gradient: Tensor) -> Tensor:
        total = activation.sum(dim=(2, 3), keepdim=True)
        denominator = 2.0 + gradient * total  # divided by g^2
        alpha = torch.where((gradient != 0) & (denominator > 0), 1.0 / denominator, torch.zeros_like(gradient))
        weights = (alpha * gradient.clamp(min=0.0)).sum(dim=(2, 3), keepdim=True)
        return weights * activation

    return _maps(network, images, weighted, target=target, layer=layer, cells=cells, sign=sign, batch_size=batch_size)


def hires_cam(
    network: nn.Module,
    images: npt.ArrayLike,
    *,
    target: Target,
    layer: str,
    cells: int | None = None,
    sign: Sign = "positive",
    baseline: npt.ArrayLike | None = None,
    batch_size: int = 64,
) -> _Maps:
    """Maps of HiResCAM: map(x) = sum over channels c of d answer / d A_c(x) times A_c(x), the gradient not averaged.

    Where the answer depends on the places of a layer differently, as at an early layer, the mean gradient of Grad-CAM says
    little; this is the first-order change of the answer when the layer's output at x goes to zero (to that of the baseline).

    Parameters and shapes as in `grad_cam`.
    """
    origin = 0.0 if baseline is None else _activation(network, baseline, target=target, layer=layer)

    def weighted(activation: Tensor, gradient: Tensor) -> Tensor:
        return gradient * (activation - origin)

    return _maps(network, images, weighted, target=target, layer=layer, cells=cells, sign=sign, batch_size=batch_size)


def class_activation_map(
    network: nn.Module,
    images: npt.ArrayLike,
    *,
    target: Target,
    layer: str,
    sign: Sign = "positive",
    batch_size: int = 64,
) -> _Maps:
    """CAM, for networks that end in a mean over pixels and one linear layer: map(x) = sum over c of w_c A_c(x) / pixels.

    Divided by the number of pixels, the signed map adds up to the answer less the bias of the linear layer, exactly.

    Parameters
    ----------
    layer : the last one before the mean over pixels, "mix3" of a `CellClassifier` for instance.
    target, sign, batch_size, and what is returned : as in `grad_cam`.

    Raises
    ------
    ValueError
        If anything but a mean over pixels, a flattening and a linear layer stands behind the layer.
    """
    checked = checked_batch(images)
    linear = _linear_head(network, checked, layer=layer)
    weights = answer(network, linear.weight.detach().T, target)[None, :, None, None]

    def weighted(activation: Tensor, gradient: Tensor) -> Tensor:
        return weights * activation / (activation.shape[2] * activation.shape[3])

    return _maps(network, checked, weighted, target=target, layer=layer, cells=None, sign=sign, batch_size=batch_size)


def cell_importance(maps: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Evidence of each cell, (n, cells): the sum over the pixels of maps (n, cells, height, width)."""
    values = np.asarray(maps, dtype=np.float64)
    if values.ndim != 4:
        raise ValueError(f"maps must have shape (n, cells, height, width), got {values.shape}")
    importance: npt.NDArray[np.float64] = values.sum(axis=(2, 3))
    return importance


def _maps(
    network: nn.Module,
    images: npt.ArrayLike,
    weighted: Callable[[Tensor, Tensor], Tensor],
    *,
    target: Target,
    layer: str,
    cells: int | None,
    sign: Sign,
    batch_size: int,
) -> _Maps:
    """The weighted channels of a layer, from its activation and gradient, summed for each cell or for all."""
    if sign not in ("positive", "signed"):
        raise ValueError(f"sign must be 'positive' or 'signed', got {sign!r}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    module = module_named(network, layer)
    checked = checked_batch(images)
    if cells is not None:
        check_cells(network, checked, layer=layer, cells=cells)
    parts = []
    for start in range(0, len(checked), batch_size):
        batch = checked[start : start + batch_size]
        channels = weighted(*activation_and_gradient(network, batch, module=module, layer=layer, target=target))
        groups = channels.reshape(len(channels), 1 if cells is None else cells, -1, *channels.shape[2:])
        parts.append(groups.sum(dim=2))
    maps = torch.cat(parts).cpu().numpy().astype(np.float64)
    if cells is None:
        maps = maps[:, 0]
    return np.maximum(maps, 0.0) if sign == "positive" else maps


def _activation(network: nn.Module, image: npt.ArrayLike, *, target: Target, layer: str) -> Tensor:
    """Output of a layer, (1, channels, height, width), for one image."""
    one = checked_batch(np.asarray(image, dtype=np.float32)[None])
    return activation_and_gradient(network, one, module=module_named(network, layer), layer=layer, target=target)[0]


def _linear_head(network: nn.Module, images: npt.NDArray[np.float32], *, layer: str) -> nn.Linear:
    """The linear layer behind a mean over pixels that follows a layer."""
    before, _ = forward_steps(network, images[:1], layer=layer)
    behind = forward_steps(network, images[:1])[0][len(before) :]
    kinds = [type(step).__name__ for _, step, _, __ in behind if not isinstance(step, nn.Dropout)]
    last = behind[-1][1] if behind else None
    mean = behind[0][1] if behind else None
    size = _one_pixel(mean)
    if kinds not in (["AdaptiveAvgPool2d", "Flatten", "Linear"], ["AdaptiveAvgPool2d", "Linear"]) or not size:
        raise ValueError(
            f"CAM needs a mean over pixels and one linear layer behind layer {layer!r}, got {', '.join(kinds) or 'nothing'}"
        )
    assert isinstance(last, nn.Linear)
    return last


def _one_pixel(module: nn.Module | None) -> bool:
    return isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1))


def check_cells(network: nn.Module, images: npt.NDArray[np.float32], *, layer: str, cells: int) -> None:
    """Refuses layers whose channels cannot be told apart by cell, for the cells have met before."""
    steps, output = forward_steps(network, images[:1], layer=layer)
    if cells != images.shape[1] or output[1] % cells:
        raise ValueError(
            f"cells must be the number of input channels, {images.shape[1]}, and divide the {output[1]} channels of "
            f"layer {layer!r}, got {cells}"
        )
    entrance: Entrance | None = getattr(network, "entrance", None)
    apart = "" if entrance is None else f"{entrance.layer}."  # takes the cells one by one in its own way
    for name, step, _, __ in steps:
        if isinstance(step, nn.Conv2d) and step.groups % cells and not (apart and name.startswith(apart)):
            raise ValueError(
                f"layer {layer!r} cannot be split into cells: {name!r}, at or before it, mixes them (it has "
                f"{step.groups} groups)"
            )
