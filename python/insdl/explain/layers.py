"""Access to the layers of a network: by name, what they put out, and how an answer depends on them."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from insdl.learn.networks import check_images, evaluation_mode

Output = int | str
Target = Output | tuple[Output, Output]
"""What is explained: an output, by index or by its name in `network.config.outputs`; or a pair (a, b) for output a minus
output b, which is what decides between two classes. A regressor's outputs are its means."""

Step = tuple[str, nn.Module, tuple[int, ...], tuple[int, ...]]
"""Name, module, and shapes of input and output of a module that ran."""


def module_named(network: nn.Module, layer: str) -> nn.Module:
    """The module of this name in `network.named_modules()`."""
    modules: dict[str, nn.Module] = dict(network.named_modules())
    if not layer or layer not in modules:
        raise ValueError(f"layer must be one of {', '.join(name for name in modules if name)}, got {layer!r}")
    return modules[layer]


def on_device(network: nn.Module, images: npt.NDArray[np.float32]) -> Tensor:
    """Images where the network's weights are."""
    parameter = next(network.parameters(), None)
    writable = images if images.flags.writeable else images.copy()  # torch warns of others
    return torch.from_numpy(writable).to("cpu" if parameter is None else parameter.device)


def checked_batch(images: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Images, (n, channels, height, width) float32, finite, at least one."""
    checked = check_images(images)
    if len(checked) == 0:
        raise ValueError("images must hold at least one image, got 0")
    return checked


def forward_steps(
    network: nn.Module, images: npt.NDArray[np.float32], *, layer: str | None = None
) -> tuple[list[Step], tuple[int, ...]]:
    """Modules without children that run up to the end of a layer, with input and output shapes; the layer's shape.

    Without a layer: all that run, and the shape of the network's output.
    """
    module = network if layer is None else module_named(network, layer)
    steps: list[Step] = []
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
            network(on_device(network, images))
    finally:
        for hook in hooks:
            hook.remove()
    if len(ends) != 1 or (layer is not None and len(ends[0][1]) != 4):
        raise ValueError(f"layer {layer!r} must run once, and give (n, channels, height, width), in a forward pass")
    count, shape = ends[0]
    return steps[:count], shape


def activation_and_gradient(
    network: nn.Module,
    images: npt.NDArray[np.float32],
    *,
    module: nn.Module,
    layer: str,
    target: Target,
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
            outputs = network(on_device(network, images))
        finally:
            hook.remove()
        if len(seen) != 1:
            raise ValueError(f"layer {layer!r} must run once in a forward pass, it runs {len(seen)} times")
        value = answer(network, outputs, target)
        if not value.requires_grad:
            raise ValueError(f"the target {target!r} does not depend on layer {layer!r}")
        (gradient,) = torch.autograd.grad(value.sum(), seen)
    return seen[0].detach(), gradient


def answer(network: nn.Module, outputs: Tensor, target: Target) -> Tensor:
    """The target's value for each image, (n,), from the outputs (n, m) of a network."""
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


def answers(
    network: nn.Module, images: npt.ArrayLike, *, target: Target, batch_size: int = 64
) -> npt.NDArray[np.float64]:
    """The target's value for each image, (n,) float64, in units of the output: logits, no probabilities."""
    checked = checked_batch(images)
    with evaluation_mode(network), torch.no_grad():
        parts = [
            answer(network, network(on_device(network, checked[start : start + batch_size])), target).cpu()
            for start in range(0, len(checked), batch_size)
        ]
    return torch.cat(parts).numpy().astype(np.float64)
