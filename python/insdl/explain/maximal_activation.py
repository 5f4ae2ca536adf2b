"""The images of a set that most excite a filter, and the region of Qh, Qk and energy that does it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import nn

from insdl.explain.activations import activation_batches, seen_channels
from insdl.explain.grid import LayerGrid, layer_grid
from insdl.explain.layers import checked_batch
from insdl.instrument.frame import ImageFrame


@dataclass(frozen=True, eq=False)
class Excitation:
    """Where in a set of images a filter is excited most; one place an image, the strongest first.

    Attributes
    ----------
    layer : str. filter : int.
    images : (count,) int64. Which images.
    activation : (count,) float64. Output of the filter there.
    place : (count, 2) int64. Pixel of the layer, along (Qh, Qk).
    rows, columns : (count, 2) int64. First and one past the last image pixel of the receptive field, inside the image.
    channels : (n,) int64. Input channels that the filter sees.
    grid : LayerGrid. Of the layer.
    """

    layer: str
    filter: int
    images: npt.NDArray[np.int64]
    activation: npt.NDArray[np.float64]
    place: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    channels: npt.NDArray[np.int64]
    grid: LayerGrid


@dataclass(frozen=True)
class Region:
    """A receptive field on physical axes: ranges of Qh and Qk (r.l.u.), and the bins it holds, in words."""

    qh: tuple[float, float]
    qk: tuple[float, float]
    bins: tuple[str, ...]


def maximal_activation(
    network: nn.Module,
    images: npt.ArrayLike,
    *,
    layer: str,
    filter: int,
    count: int = 9,
    batch_size: int = 64,
) -> Excitation:
    """The images that excite a filter most, each at its strongest place.

    Parameters
    ----------
    network, layer : as for `insdl.explain.activations.layer_activations`; the layers up to it must form a chain.
    images : (n, channels, height, width). The set to search.
    filter : channel of the layer.
    count : how many images, at most.

    Notes
    -----
    The receptive field is that of convolutions and poolings. A normalisation over channels and pixels lets the rest of
    the image in as well, as one common factor and offset.
    """
    checked = checked_batch(images)
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    channels = seen_channels(network, checked, layer=layer, filter=filter)
    grid = layer_grid(network, layer=layer, image_shape=checked.shape[1:])
    best, where = [], []
    for batch in activation_batches(network, checked, layer=layer, batch_size=batch_size):
        flat = batch[:, filter].reshape(len(batch), -1)
        where.append(flat.argmax(axis=1))
        best.append(flat.max(axis=1))
    activation, place = np.concatenate(best), np.concatenate(where)
    order = np.argsort(-activation, kind="stable")[:count]
    places = np.stack(np.unravel_index(place[order], grid.shape), axis=1).astype(np.int64)
    rows, columns = (field_edges(grid, places[:, axis], axis=axis) for axis in (0, 1))
    return Excitation(
        layer,
        filter,
        order.astype(np.int64),
        activation[order].astype(np.float64),
        places,
        rows,
        columns,
        channels,
        grid,
    )


def field_edges(grid: LayerGrid, pixels: npt.ArrayLike, *, axis: int) -> npt.NDArray[np.int64]:
    """First and one past the last image pixel, (n, 2), that layer pixels have seen along an axis, inside the image.

    Where mirrors are folded: of the quarter with Qh, Qk > 0, which stands for its mirror images.
    """
    centre = grid.offset[axis] + grid.stride[axis] * np.asarray(pixels, dtype=np.float64)
    half = 0.5 * (grid.field[axis] - 1)
    first, last = np.ceil(centre - half - 1e-9), np.floor(centre + half + 1e-9)
    edges = np.stack([first, last + 1], axis=-1).astype(np.int64)
    lowest = grid.image_shape[axis] // 2 if grid.mirrors == "folded" else 0
    return np.minimum(np.maximum(edges, lowest), grid.image_shape[axis])


def patch(images: npt.ArrayLike, found: Excitation, number: int) -> npt.NDArray[np.float32]:
    """What excited the filter: (channels seen, rows, columns) of the image of one entry of an `Excitation`."""
    image: npt.NDArray[np.float32] = np.asarray(images, dtype=np.float32)[found.images[number]]
    (top, bottom), (left, right) = found.rows[number], found.columns[number]
    seen: npt.NDArray[np.float32] = image[found.channels, top:bottom, left:right]
    return seen


def region(frame: ImageFrame, found: Excitation, number: int) -> Region:
    """The receptive field of one entry on the axes of a frame. Channels beyond the frame's bins have no name."""
    edges = frame.pixel_edges
    (top, bottom), (left, right) = found.rows[number], found.columns[number]
    bins = tuple(frame.label(int(channel)) for channel in found.channels if channel < len(frame.bins))
    return Region((float(edges[top]), float(edges[bottom])), (float(edges[left]), float(edges[right])), bins)
