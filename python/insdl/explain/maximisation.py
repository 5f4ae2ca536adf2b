"""Images that a filter, a neuron or an output likes best: gradient ascent from noise.

Erhan et al., Visualizing higher-layer features of a deep network, Univ. Montreal (2009); the gradient divided by its
size, jitter, and total variation as in Mahendran and Vedaldi, IJCV 120, 233 (2016), arXiv:1512.02017. Images keep what a
measurement has: one intensity for each energy cell, within given limits, and none where no detector looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from insdl.dataset.randomness import generator
from insdl.explain.layers import Target, answer, module_named, on_device
from insdl.learn.networks import evaluation_mode


@dataclass(frozen=True)
class Filter:
    """The mean output of a filter over the pixels of its layer."""

    layer: str
    channel: int


@dataclass(frozen=True)
class Neuron:
    """The output of a filter at one pixel of its layer."""

    layer: str
    channel: int
    row: int
    column: int


@dataclass(frozen=True)
class Answer:
    """An output of the network, by name or index, or the difference of two: logits, no probabilities."""

    target: Target


@dataclass(frozen=True)
class Direction:
    """The output of a layer along a vector of its channels, at the centre of the layer: v . A / |v|."""

    layer: str
    vector: tuple[float, ...]


Objective = Filter | Neuron | Answer | Direction


@dataclass(frozen=True)
class MaximisationSettings:
    """How an image is maximised.

    Attributes
    ----------
    steps : of gradient ascent.
    step : change of a pixel in one step, root mean square over the pixels that may change, in units of the image.
    jitter : pixels; before each step the image is shifted by up to so many in both directions, and back afterwards. A place
        in Q means something, unlike one in a photograph: shifts much beyond those seen in training make images that work
        when shifted, and may do the contrary where they are.
    total_variation : weight of the roughness within each cell, relative to the objective's gradient of size 1.
    limits : smallest and largest value of a pixel.
    start : standard deviation of the noise at the start, about `level`.
    level : mean of the start.
    seed : of noise and jitter.
    """

    steps: int = 128
    step: float = 0.05
    jitter: int = 1
    total_variation: float = 0.3
    limits: tuple[float, float] = (0.0, 4.8)
    start: float = 0.1
    level: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.jitter < 0:
            raise ValueError(f"steps must be at least 1 and jitter at least 0, got {self.steps} and {self.jitter}")
        if not self.step > 0 or self.total_variation < 0 or self.start < 0:
            raise ValueError(
                f"step must be positive, total_variation and start not negative, got {self.step}, "
                f"{self.total_variation} and {self.start}"
            )
        if not self.limits[0] < self.limits[1]:
            raise ValueError(f"limits must ascend, got {self.limits}")


@dataclass(frozen=True, eq=False)
class Maximised:
    """Images that objectives like best.

    Attributes
    ----------
    images : (n, channels, height, width) float32. One for each objective; `fill` where nothing may change.
    start : same shape. What they were made from.
    history : (n, steps + 1) float64. The objective on the unshifted image, before the first step and after each.
    roughness : (n,) float64. Total variation of the image divided by that of the start, over pixels that may change.
    """

    images: npt.NDArray[np.float32]
    start: npt.NDArray[np.float32]
    history: npt.NDArray[np.float64]
    roughness: npt.NDArray[np.float64]


def maximise(
    network: nn.Module,
    objectives: Sequence[Objective],
    *,
    free: npt.ArrayLike,
    settings: MaximisationSettings | None = None,
    fill: float = 0.0,
) -> Maximised:
    """Images that make each objective large, by gradient ascent from noise.

    Each step adds ``step * (g / rms(g) - total_variation * dV/dx)``, where g is the gradient of the objective, rms its
    root mean square over the pixels that may change, and V the total variation, the sum of the distances between
    neighbours of one cell. A gradient that vanishes stays zero: an objective behind a dead ReLU does not move.

    Parameters
    ----------
    network : evaluated in evaluation mode and left as it was.
    objectives : one image is made for each, independently of the others.
    free : (channels, height, width) bool. Which pixels may change: where a detector looks, or of one cell alone.
    settings : see `MaximisationSettings`. The same settings give the same images.
    fill : value of the other pixels; 0 is what a network sees where no detector looks.
    """
    settings = MaximisationSettings() if settings is None else settings
    mask = np.asarray(free, dtype=bool)
    if mask.ndim != 3 or not mask.any():
        raise ValueError(f"free must have shape (channels, height, width) and at least one True, got {mask.shape}")
    if not objectives:
        raise ValueError("objectives must hold at least one objective, got none")
    noise = generator(settings.seed, "explain/maximisation", 0).normal(size=mask.shape)
    low, high = settings.limits
    first = np.where(mask, np.clip(settings.level + settings.start * noise, low, high), fill).astype(np.float32)
    start = np.repeat(first[None], len(objectives), axis=0)
    shifts = generator(settings.seed, "explain/jitter", 0).integers(
        -settings.jitter, settings.jitter + 1, size=(settings.steps, 2)
    )
    images = on_device(network, start.copy())
    allowed = on_device(network, mask.astype(np.float32))
    history = []
    with evaluation_mode(network), torch.inference_mode(False), torch.enable_grad():
        history.append(_scores(network, images, objectives).detach())
        for row, column in shifts.tolist():
            variable = images.clone().requires_grad_()
            scores = _scores(network, variable.roll((row, column), dims=(2, 3)), objectives)
            (gradient,) = torch.autograd.grad(scores.sum(), variable)
            gradient = gradient * allowed
            size = (gradient.square().sum(dim=(1, 2, 3), keepdim=True) / allowed.sum()).sqrt()
            change = gradient / torch.where(size > 0, size, torch.ones_like(size))
            if settings.total_variation:
                (rough,) = torch.autograd.grad(_total_variation(variable, allowed).sum(), variable)
                change = change - settings.total_variation * rough
            moved = (images + settings.step * change).clamp(low, high)
            images = torch.where(allowed > 0, moved, images)
            with torch.no_grad():
                history.append(_scores(network, images, objectives))
        rough_now, rough_then = (_total_variation(x, allowed).detach() for x in (images, on_device(network, start)))
    table = torch.stack(history, dim=1).cpu().numpy().astype(np.float64)
    roughness = (rough_now / rough_then.clamp(min=1e-30)).cpu().numpy().astype(np.float64)
    return Maximised(images.cpu().numpy(), start, table, roughness)


def _scores(network: nn.Module, images: Tensor, objectives: Sequence[Objective]) -> Tensor:
    """(n,). Objective i of image i."""
    layers = {one.layer for one in objectives if not isinstance(one, Answer)}
    seen: dict[str, list[Tensor]] = {layer: [] for layer in layers}

    def keep(layer: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            if not isinstance(output, Tensor) or output.ndim != 4:
                raise ValueError(f"layer {layer!r} must give one tensor (n, channels, height, width)")
            seen[layer].append(output.clone())  # the next layer may work in place

        return hook

    hooks = [module_named(network, layer).register_forward_hook(keep(layer)) for layer in sorted(layers)]
    try:
        outputs = network(images)
    finally:
        for hook in hooks:
            hook.remove()
    for layer, tensors in seen.items():
        if len(tensors) != 1:
            raise ValueError(f"layer {layer!r} must run once in a forward pass, it runs {len(tensors)} times")
    values = []
    for number, one in enumerate(objectives):
        if isinstance(one, Answer):
            values.append(answer(network, outputs[number : number + 1], one.target)[0])
        else:
            values.append(_of_layer(seen[one.layer][0][number], one))
    return torch.stack(values)


def _of_layer(output: Tensor, objective: Filter | Neuron | Direction) -> Tensor:
    """Objective of the output (channels, height, width) of a layer."""
    channels, height, width = output.shape
    if isinstance(objective, Direction):
        vector = torch.tensor(objective.vector, dtype=output.dtype, device=output.device)
        if vector.shape != (channels,):
            raise ValueError(f"a direction in layer {objective.layer!r} needs {channels} numbers, got {len(vector)}")
        along: Tensor = output[:, height // 2, width // 2] @ vector / vector.norm().clamp(min=1e-30)
        return along
    if not 0 <= objective.channel < channels:
        raise ValueError(f"channel must lie in 0 to {channels - 1} for {objective.layer!r}, got {objective.channel}")
    if isinstance(objective, Filter):
        return output[objective.channel].mean()
    if not (0 <= objective.row < height and 0 <= objective.column < width):
        raise ValueError(
            f"a neuron of layer {objective.layer!r} lies within {height} x {width}, got ({objective.row}, "
            f"{objective.column})"
        )
    return output[objective.channel, objective.row, objective.column]


def _total_variation(images: Tensor, allowed: Tensor) -> Tensor:
    """(n,). Sum of sqrt(d^2 + 1e-6) over neighbours d that may both change."""
    total = torch.zeros(len(images), dtype=images.dtype, device=images.device)
    for axis in (2, 3):
        first, second = images.narrow(axis, 0, images.shape[axis] - 1), images.narrow(axis, 1, images.shape[axis] - 1)
        both = allowed.narrow(axis - 1, 0, images.shape[axis] - 1) * allowed.narrow(axis - 1, 1, images.shape[axis] - 1)
        total = total + (both * ((second - first).square() + 1e-6).sqrt()).sum(dim=(1, 2, 3))
    return total
