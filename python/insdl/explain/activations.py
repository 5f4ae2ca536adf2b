"""What the layers of a network put out, and the filters that do nothing or the same as another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from insdl.explain.grid import Entrance
from insdl.explain.layers import checked_batch, forward_steps, module_named, on_device
from insdl.learn.networks import evaluation_mode


@dataclass(frozen=True, eq=False)
class FilterUse:
    """What the filters of a layer do on a set of images.

    Attributes
    ----------
    mean, spread, largest : (channels,) float64. Mean, standard deviation and maximum over images and pixels.
    active : (channels,) float64. Share of images and pixels where the output is above zero.
    correlation : (channels, channels) float64. Pearson correlation over images and pixels; 0 with a dead filter.
    dead : (n_dead,) int64. Filters whose output never changes, whatever the image and the place.
    duplicates : groups of two or more filters, each of which correlates with another of its group above the limit.
    """

    mean: npt.NDArray[np.float64]
    spread: npt.NDArray[np.float64]
    largest: npt.NDArray[np.float64]
    active: npt.NDArray[np.float64]
    correlation: npt.NDArray[np.float64]
    dead: npt.NDArray[np.int64]
    duplicates: tuple[tuple[int, ...], ...]

    @property
    def superfluous(self) -> int:
        """How many filters could go: the dead ones, and all but one of each group of duplicates."""
        return len(self.dead) + sum(len(group) - 1 for group in self.duplicates)


def layer_activations(
    network: nn.Module, images: npt.ArrayLike, *, layer: str, batch_size: int = 64
) -> npt.NDArray[np.float32]:
    """Output of any named layer for each image, as it is before the next layer changes it in place.

    Parameters
    ----------
    network : maps (n, channels, height, width) to outputs; it is evaluated in evaluation mode and left as it was.
    images : (n, channels, height, width).
    layer : name of a module in `network.named_modules()`, "cells" or "head.2" for instance.
    batch_size : images in one pass.

    Returns
    -------
    (n, filters, height, width) float32, or (n, units) behind a flattening.

    Raises
    ------
    ValueError
        If there is no such layer, or it does not run once, or an image is not finite.

    Examples
    --------
    >>> from insdl.learn.networks import CellClassifier
    >>> layer_activations(CellClassifier(), np.zeros((2, 60, 40, 40)), layer="mix2").shape
    (2, 64, 10, 10)
    """
    return np.concatenate(list(activation_batches(network, images, layer=layer, batch_size=batch_size)))


def layer_vectors(
    network: nn.Module, images: npt.ArrayLike, *, layer: str, batch_size: int = 64
) -> npt.NDArray[np.float64]:
    """One vector an image, (n, filters) float64: the output of a layer, averaged over its pixels where it has any."""
    batches = activation_batches(network, images, layer=layer, batch_size=batch_size)
    return np.concatenate(
        [np.asarray(batch, np.float64).reshape(*batch.shape[:2], -1).mean(axis=2) for batch in batches]
    )


def activation_batches(
    network: nn.Module, images: npt.ArrayLike, *, layer: str, batch_size: int = 64
) -> Iterator[npt.NDArray[np.float32]]:
    """The output of a layer, batch by batch, for sets whose activations do not fit into memory together."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    module, checked = module_named(network, layer), checked_batch(images)
    for start in range(0, len(checked), batch_size):
        seen: list[Tensor] = []

        def keep(_: nn.Module, __: Any, output: Any, seen: list[Tensor] = seen) -> None:
            if not isinstance(output, Tensor) or output.ndim < 2:
                raise ValueError(f"layer {layer!r} must give one tensor, (n, filters) or (n, filters, height, width)")
            seen.append(output.detach().clone())  # the next layer may work in place

        hook = module.register_forward_hook(keep)
        try:
            with evaluation_mode(network), torch.no_grad():
                network(on_device(network, checked[start : start + batch_size]))
        finally:
            hook.remove()
        if len(seen) != 1:
            raise ValueError(f"layer {layer!r} must run once in a forward pass, it runs {len(seen)} times")
        yield seen[0].cpu().numpy()


def filter_use(
    network: nn.Module,
    images: npt.ArrayLike,
    *,
    layer: str,
    duplicate_above: float = 0.99,
    dead_below: float = 1e-6,
    batch_size: int = 64,
) -> FilterUse:
    """Which filters of a layer are used, which are dead, and which do the same.

    Parameters
    ----------
    images : (n, channels, height, width). A representative set: a filter is dead on it, not for ever.
    duplicate_above : Pearson correlation above which two filters are duplicates: they differ by a factor and an offset
        alone, which the next layer can undo. Filters that correlate negatively are none, since a ReLU tells them apart.
    dead_below : a filter whose standard deviation is below this share of the layer's largest is dead.
    """
    if not 0 < duplicate_above <= 1:
        raise ValueError(f"duplicate_above must lie in (0, 1], got {duplicate_above}")
    shift: npt.NDArray[np.float64] | None = None
    count = 0
    sums, products, largest, active = np.zeros(1), np.zeros((1, 1)), np.full(1, -np.inf), np.zeros(1)
    for batch in activation_batches(network, images, layer=layer, batch_size=batch_size):
        rows = np.moveaxis(batch, 1, -1).reshape(-1, batch.shape[1]).astype(np.float64)
        shift = rows.mean(axis=0) if shift is None else shift  # keeps the sums of squares accurate
        count += len(rows)
        active = active + (rows > 0).sum(axis=0)
        largest = np.maximum(largest, rows.max(axis=0))
        rows -= shift
        sums = sums + rows.sum(axis=0)
        products = products + rows.T @ rows
    assert shift is not None
    offset = sums / count
    covariance = products / count - np.outer(offset, offset)
    spread = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    dead = spread <= dead_below * max(float(spread.max()), 1e-30)
    scale = np.where(dead, np.inf, spread)
    correlation = np.clip(covariance / np.outer(scale, scale), -1.0, 1.0)
    return FilterUse(
        mean=shift + offset,
        spread=spread,
        largest=largest,
        active=active / count,
        correlation=correlation,
        dead=np.flatnonzero(dead),
        duplicates=_groups((correlation >= duplicate_above) & ~np.eye(len(dead), dtype=bool)),
    )


def seen_channels(network: nn.Module, images: npt.ArrayLike, *, layer: str, filter: int) -> npt.NDArray[np.int64]:
    """Input channels, that is energy cells, that a filter of a layer depends on through the groups of convolutions.

    A normalisation over channels ("layer" norm) counts as seeing them all, as it does, if only by their scale.
    """
    checked = checked_batch(images)[:1]
    steps, shape = forward_steps(network, checked, layer=layer)
    entrance: Entrance | None = getattr(network, "entrance", None)
    if entrance is not None:
        steps = [step for step in steps if step[0].split(".")[0] not in (entrance.layer, *entrance.beside)]
    if not 0 <= filter < shape[1]:
        raise ValueError(f"filter must lie in 0 to {shape[1] - 1} for layer {layer!r}, got {filter}")
    seen = {filter}
    for _, step, shape_in, shape_out in reversed(steps):
        channels_in, channels_out = shape_in[1], shape_out[1]
        if isinstance(step, nn.Conv2d | nn.GroupNorm):
            groups = step.groups if isinstance(step, nn.Conv2d) else step.num_groups
        elif channels_in == channels_out:
            groups = channels_in
        else:
            groups = 1
        width_in, width_out = channels_in // groups, channels_out // groups
        hit = {channel // width_out for channel in seen}
        seen = {group * width_in + i for group in hit for i in range(width_in)}
    if entrance is not None:  # whose output has the same number of channels for each cell
        entered = forward_steps(network, checked, layer=entrance.layer)[1][1]
        seen = {channel * checked.shape[1] // entered for channel in seen}
    return np.array(sorted(seen), dtype=np.int64)


def _groups(linked: npt.NDArray[np.bool_]) -> tuple[tuple[int, ...], ...]:
    """Connected groups of two or more."""
    groups, left = [], set(np.flatnonzero(linked.any(axis=1)).tolist())
    while left:
        group, edge = set(), {min(left)}
        while edge:
            group |= edge
            edge = {int(j) for i in edge for j in np.flatnonzero(linked[i])} - group
        groups.append(tuple(sorted(group)))
        left -= group
    return tuple(groups)
