"""One training by several processes, as torchrun starts them: the same steps as one process with a larger batch.

Every rank has a copy of the network and its own part of each batch. Gradients are summed over the ranks, weighted by
the samples that each had, and batch norm takes its mean and variance over all ranks: so the weights stay those that
one process would have found with the batches of all ranks together, but for rounding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from insdl.learn.stream import Rank


@contextmanager
def process_group() -> Iterator[Rank]:
    """Joins the processes that torchrun started and gives this one's `Rank`; alone when it was started without.

    The backend is gloo, which needs no GPU.

    Examples
    --------
    >>> with process_group() as rank:
    ...     rank.world_size
    1
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ or distributed.is_initialized():
        yield current_rank()
        return
    distributed.init_process_group("gloo")
    try:
        yield current_rank()
        distributed.barrier()  # nobody leaves while another may still be talking to it
    finally:
        distributed.destroy_process_group()


def current_rank() -> Rank:
    """Which of the processes side by side this one is. Samples that do not go round are left out."""
    if not distributed.is_available() or not distributed.is_initialized():
        return Rank(tail="drop")
    return Rank(distributed.get_rank(), distributed.get_world_size(), "drop")


def share_weights(network: nn.Module) -> None:
    """Gives every rank the weights and buffers of rank 0."""
    with torch.no_grad():
        for value in network.state_dict().values():
            distributed.broadcast(value, src=0)


def sum_gradients(network: nn.Module) -> None:
    """Replaces every gradient by its sum over the ranks."""
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    distributed.all_reduce(flat)
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, total in zip(gradients, parts, strict=True):
        gradient.copy_(total.view_as(gradient))


def counts(own: int) -> tuple[int, int]:
    """The sum and the smallest of a number over the ranks."""
    everywhere = [torch.zeros(1, dtype=torch.int64) for _ in range(distributed.get_world_size())]
    distributed.all_gather(everywhere, torch.tensor([own]))
    numbers = [int(value) for value in everywhere]
    return sum(numbers), min(numbers)


def summed(value: float) -> float:
    """A number's sum over the ranks."""
    total = torch.tensor(value, dtype=torch.float64)
    distributed.all_reduce(total)
    return total.item()


def from_rank_0(values: Sequence[float]) -> list[float]:
    """The numbers that rank 0 has; those of the others are only as many."""
    shared = torch.tensor(values, dtype=torch.float64)
    distributed.broadcast(shared, src=0)
    return [float(value) for value in shared]


def gathered(value: Tensor) -> list[Tensor]:
    """A tensor of every rank, of one shape, in the order of the ranks."""
    everywhere = [torch.empty_like(value) for _ in range(distributed.get_world_size())]
    distributed.all_gather(everywhere, value)
    return everywhere


@contextmanager
def synchronised_batch_norm(network: nn.Module) -> Iterator[None]:
    """Batch norm over the samples of all ranks inside the block; afterwards over each one's own again.

    torch.nn.SyncBatchNorm does the same, on GPUs only.
    """
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    for layer in layers:
        layer.__dict__["forward"] = _Synchronised(layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.__dict__["forward"]


class _Synchronised:
    """The forward pass of a batch norm whose mean and variance are those over all ranks."""

    def __init__(self, layer: _BatchNorm) -> None:
        self.layer = layer

    def __call__(self, features: Tensor) -> Tensor:
        layer = self.layer
        if not layer.training:
            return type(layer).forward(layer, features)
        axes = [axis for axis in range(features.ndim) if axis != 1]
        shape = [1, -1] + [1] * (features.ndim - 2)
        number = features.new_tensor([features.numel() / features.shape[1]], dtype=torch.float32)
        values = features.float()  # 16-bit sums would be too coarse
        sums = _sum_over_ranks(torch.cat([values.sum(axes), number]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = values - mean.view(shape)
        variance = _sum_over_ranks((centred**2).sum(axes)) / count  # from centred values: no cancellation
        if layer.track_running_stats and layer.running_mean is not None and layer.running_var is not None:
            assert layer.num_batches_tracked is not None
            layer.num_batches_tracked.add_(1)
            share = 1 / float(layer.num_batches_tracked) if layer.momentum is None else layer.momentum
            with torch.no_grad():
                layer.running_mean.lerp_(mean.detach(), share)
                layer.running_var.lerp_(variance.detach() * count / (count - 1), share)
        normal = centred * torch.rsqrt(variance + layer.eps).view(shape)
        if layer.affine:
            normal = normal * layer.weight.view(shape) + layer.bias.view(shape)
        return normal.to(features.dtype)


class _SumOverRanks(torch.autograd.Function):
    """The sum over all ranks; its gradient is the sum of theirs, for the sum is used on each."""

    @staticmethod
    def forward(_: Any, value: Tensor) -> Tensor:
        total = value.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total


def _sum_over_ranks(value: Tensor) -> Tensor:
    total: Tensor = _SumOverRanks.apply(value)  # type: ignore[no-untyped-call]
    return total
