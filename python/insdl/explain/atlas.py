"""An atlas of what a layer tells apart: its vectors at many places of many images, laid out in a plane and gridded.

Carter et al., Activation Atlas, Distill (2019), doi:10.23915/distill.00015. Each cell of the grid holds the mean of the
vectors that fall into it, the image that maximises the layer along this mean, the patches nearest to it, and what it
speaks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from torch import nn

from insdl.dataset.randomness import generator
from insdl.explain.embedding import pca, tsne
from insdl.explain.grid import LayerGrid, layer_grid
from insdl.explain.layers import Target, activation_and_gradient, checked_batch, module_named
from insdl.explain.maximisation import Direction, MaximisationSettings, maximise

_Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AtlasCell:
    """One cell of the grid.

    Attributes
    ----------
    row, column : of the grid; rows count upwards along the second axis of the plane.
    count : int. Vectors in it.
    vector : (filters,) float64. Their mean.
    evidence : float, units of the output. Mean over its vectors of (gradient of the target) . (vector): what they speak for.
    nearest : (k, 3) int64. Image, and pixel of the layer, of the vectors nearest to the mean, within the cell.
    visualisation : (channels, height, width) float32. What maximises the layer along the mean, at the layer's centre; empty
        if none was asked for.
    """

    row: int
    column: int
    count: int
    vector: _Reals
    evidence: float
    nearest: npt.NDArray[np.int64]
    visualisation: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Atlas:
    """An activation atlas.

    Attributes
    ----------
    layer : str. grid : int. Cells along each axis of the plane.
    points : (n, 2) float64. The vectors in the plane; edges : (2, 2) lowest and highest value of each axis on the grid.
    images : (n,) int64. places : (n, 2) int64. Which image and layer pixel each vector is of.
    evidence : (n,) float64. Of each vector.
    cells : the cells that hold enough vectors.
    layer_grid : LayerGrid. From layer pixels to image pixels.
    """

    layer: str
    grid: int
    points: _Reals
    edges: _Reals
    images: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    evidence: _Reals
    cells: tuple[AtlasCell, ...]
    layer_grid: LayerGrid


def activation_atlas(
    network: nn.Module,
    images: npt.ArrayLike,
    *,
    layer: str,
    target: Target,
    free: npt.ArrayLike,
    grid: int = 6,
    places: int = 4,
    least: int = 5,
    nearest: int = 4,
    reduction: Literal["pca", "tsne"] = "pca",
    maximisation: MaximisationSettings | None = None,
    visualise: Literal["every cell", "none"] = "every cell",
    seed: int = 0,
    batch_size: int = 64,
) -> Atlas:
    """An activation atlas of a layer.

    Parameters
    ----------
    images : (n, channels, height, width).
    layer : one that gives (n, filters, height, width).
    target : what the evidence of a vector is for.
    free : (channels, height, width) bool. Pixels that visualisations may use: where a detector looks.
    grid : cells along each axis. The grid holds the central 98 % of the vectors along each axis.
    places : random pixels of the layer that are taken from each image.
    least : vectors that a cell must hold to be shown. nearest : patches of each cell, at most.
    reduction : "pca", or "tsne" with openTSNE.
    maximisation : settings of the visualisations, made at once for all cells.
    seed : of the places and of t-SNE.
    """
    checked = checked_batch(images)
    for name, value in (("grid", grid), ("places", places), ("least", least), ("nearest", nearest)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if reduction not in ("pca", "tsne"):
        raise ValueError(f"reduction must be 'pca' or 'tsne', got {reduction!r}")
    where = layer_grid(network, layer=layer, image_shape=checked.shape[1:])
    height, width = where.shape
    which = np.repeat(np.arange(len(checked)), places)
    rng = generator(seed, "explain/atlas", 0)
    spots = np.stack([rng.integers(0, height, len(which)), rng.integers(0, width, len(which))], axis=1)
    vectors, evidence = _vectors(network, checked, which, spots, layer=layer, target=target, batch_size=batch_size)
    points = tsne(vectors, seed=seed).points if reduction == "tsne" else pca(vectors, components=2).points
    edges = np.quantile(points, [0.01, 0.99], axis=0).T
    span = np.maximum(edges[:, 1] - edges[:, 0], 1e-30)
    number = np.clip(np.floor((points - edges[:, 0]) / span * grid).astype(np.int64), 0, grid - 1)
    inside = ((points >= edges[:, 0]) & (points <= edges[:, 1])).all(axis=1)
    members = {
        (row, column): found
        for row in range(grid)
        for column in range(grid)
        if len(found := np.flatnonzero(inside & (number[:, 1] == row) & (number[:, 0] == column))) >= least
    }
    means = {key: vectors[found].mean(axis=0) for key, found in members.items()}
    pictures = np.zeros((len(means), 0, 0, 0), np.float32)
    if visualise == "every cell" and means:
        objectives = [Direction(layer, tuple(mean.tolist())) for mean in means.values()]
        pictures = maximise(network, objectives, free=free, settings=maximisation).images
    cells = []
    for (key, found), picture in zip(members.items(), pictures, strict=True):
        distance = np.linalg.norm(vectors[found] - means[key], axis=1)
        closest = found[np.argsort(distance, kind="stable")[:nearest]]
        spot = np.concatenate([which[closest, None], spots[closest]], axis=1)
        cells.append(AtlasCell(*key, len(found), means[key], float(evidence[found].mean()), spot, picture))
    return Atlas(layer, grid, points, edges, which, spots, evidence, tuple(cells), where)


def _vectors(
    network: nn.Module,
    images: npt.NDArray[np.float32],
    which: npt.NDArray[np.int64],
    spots: npt.NDArray[np.int64],
    *,
    layer: str,
    target: Target,
    batch_size: int,
) -> tuple[_Reals, _Reals]:
    """The layer's vectors at the spots of the images, and gradient . vector there."""
    module = module_named(network, layer)
    vectors, evidence = [], []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        activation, gradient = (
            tensor.cpu().numpy().astype(np.float64)
            for tensor in activation_and_gradient(network, batch, module=module, layer=layer, target=target)
        )
        mine = (which >= start) & (which < start + len(batch))
        at = (which[mine] - start, slice(None), spots[mine, 0], spots[mine, 1])
        vectors.append(activation[at])
        evidence.append((activation[at] * gradient[at]).sum(axis=1))
    return np.concatenate(vectors), np.concatenate(evidence)
