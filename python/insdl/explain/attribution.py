"""Evidence for an answer at every pixel of the input: integrated gradients and guided gradients, by captum.

Integrated gradients: Sundararajan, Taly and Yan, ICML 2017 (arXiv:1703.01365). Guided gradients: Springenberg et al.,
ICLR 2015 workshop (arXiv:1412.6806); they are sharp, but mostly show edges of the image whatever the network has learned
(Adebayo et al., arXiv:1810.03292): run `insdl.explain.stability.randomisation_check` on them before reading them. The
methods need `insdl[explain]`. Answers are outputs before any softmax, as everywhere in this room.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from insdl.explain.layers import Target, answer, answers, checked_batch, on_device

_Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class IntegratedGradients:
    """Shares of the pixels in the difference between the answers to an image and to a baseline.

    Attributes
    ----------
    maps : (n, channels, height, width) float64, units of the output. They add up to `difference` but for `error`.
    difference : (n,) float64. Answer to the image less answer to the baseline.
    error : (n,) float64. Sum of the maps less the difference: what the steps of the integral leave.
    """

    maps: _Reals
    difference: _Reals
    error: _Reals


def integrated_gradients(
    network: nn.Module,
    images: npt.ArrayLike,
    *,
    target: Target,
    baseline: npt.ArrayLike,
    steps: int = 64,
    batch_size: int = 16,
) -> IntegratedGradients:
    """Integrated gradients: (x - x0) times the gradient, averaged along the straight line from the baseline x0 to x.

    Parameters
    ----------
    network : evaluated in evaluation mode and left as it was.
    images : (n, channels, height, width).
    target : as in `insdl.explain.cam.grad_cam`.
    baseline : (channels, height, width), or a number: the image without information. `class_average` of simulated images
        of all classes asks "why this class?"; 0 asks "why anything at all?".
    steps : of the Gauss-Legendre rule.
    batch_size : images, and line points, in one pass.
    """
    from captum.attr import IntegratedGradients as Engine

    checked = checked_batch(images)
    if steps < 1 or batch_size < 1:
        raise ValueError(f"steps and batch_size must be at least 1, got {steps} and {batch_size}")
    origin = np.asarray(baseline, dtype=np.float32)
    if origin.shape not in ((), checked.shape[1:]) or not np.isfinite(origin).all():
        raise ValueError(f"baseline must be finite, a number or of shape {checked.shape[1:]}, got {origin.shape}")
    origin = np.broadcast_to(origin, checked.shape[1:])
    parts = []
    with _ready(network) as ready:
        engine = Engine(_Answer(ready, target))
        start = on_device(ready, origin.copy())[None]
        for first in range(0, len(checked), batch_size):
            batch = on_device(ready, checked[first : first + batch_size])
            found = engine.attribute(
                batch,
                start.expand_as(batch),
                n_steps=steps,
                method="gausslegendre",
                internal_batch_size=max(batch_size, len(batch)),
            )
            parts.append(found.detach().cpu().numpy().astype(np.float64))
    maps = np.concatenate(parts)
    at_origin = answers(network, origin[None], target=target)
    difference = answers(network, checked, target=target, batch_size=batch_size) - at_origin
    return IntegratedGradients(maps, difference, maps.sum(axis=(1, 2, 3)) - difference)


def guided_gradients(network: nn.Module, images: npt.ArrayLike, *, target: Target, batch_size: int = 64) -> _Reals:
    """Gradients of an answer with respect to the pixels, where each ReLU passes only positive gradients back.

    The network's ReLUs must be modules (`torch.nn.ReLU`); in-place ones, and ones that run several times, are fine.

    Returns
    -------
    (n, channels, height, width) float64, units of the output per unit of the image. Signed.
    """
    from captum.attr import GuidedBackprop

    checked = checked_batch(images)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    parts = []
    with _ready(network) as ready:
        engine = GuidedBackprop(_Answer(ready, target))
        for start in range(0, len(checked), batch_size):
            batch = on_device(ready, checked[start : start + batch_size]).requires_grad_()
            parts.append(engine.attribute(batch).detach().cpu().numpy().astype(np.float64))
    return np.concatenate(parts)


class _Answer(nn.Module):
    """The target alone as the output of a network: contrasts and names then need nothing of captum."""

    def __init__(self, network: nn.Module, target: Target) -> None:
        super().__init__()
        self.network = network
        self.target = target

    def forward(self, images: Tensor) -> Tensor:
        return answer(self.network, self.network(images), self.target)


@contextmanager
def _ready(network: nn.Module) -> Iterator[nn.Module]:
    """A copy in evaluation mode that hooks cannot break: nothing works in place, and no weight keeps a gradient."""
    with torch.inference_mode(False), torch.enable_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Setting backward hooks on ReLU")
        ready = copy.deepcopy(network).eval().requires_grad_(False)
        for module in ready.modules():
            if getattr(module, "inplace", False):
                _out_of_place(module)
        yield ready


def _out_of_place(module: Any) -> None:
    module.inplace = False
