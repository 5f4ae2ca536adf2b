"""What a trained network says about images, in the words of the science."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from insdl.learn.networks import CellClassifier, MapRegressor, evaluation_mode
from insdl.learn.registry import configuration, kind_of

_Array = npt.NDArray[np.float64]


@overload
def predict(network: CellClassifier, images: npt.ArrayLike, *, batch_size: int = 64) -> _Array: ...
@overload
def predict(network: MapRegressor, images: npt.ArrayLike, *, batch_size: int = 64) -> tuple[_Array, _Array]: ...
@overload
def predict(network: nn.Module, images: npt.ArrayLike, *, batch_size: int = 64) -> Any: ...
def predict(network: nn.Module, images: npt.ArrayLike, *, batch_size: int = 64) -> Any:
    """Class probabilities, or the means and standard deviations of parameters, for a batch of images.

    Parameters
    ----------
    network : of a registered class; what its output means is that class's objective.
    images : (n,) + network.config.image_shape.
    batch_size : images in one pass; it changes memory and time, not the result beyond rounding.

    Returns
    -------
    For a classifier (n, classes) float64, rows of sum 1. For a regressor (mean, sigma), each (n, p) float64, in
    standardised units. Neither is calibrated. For another network what its objective's `answer` makes of the output.

    Raises
    ------
    ValueError
        If the images have another shape or hold a number that is not finite.
    TypeError
        If the class of the network is not registered.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    kind = kind_of(network)
    if kind is None:
        raise TypeError(f"nothing says what a {type(network).__name__} predicts: register_network it first")
    checked = checked_images(images, configuration(network).image_shape)
    return kind.objective.answer(outputs(network, checked, batch_size=batch_size).double())


def outputs(network: nn.Module, images: npt.NDArray[np.float32], *, batch_size: int) -> Tensor:
    """What the network makes of images in evaluation mode and float32, on the CPU."""
    device = device_of(network)
    with evaluation_mode(network), torch.no_grad():
        parts = [
            network(torch.from_numpy(images[start : start + batch_size]).to(device)).cpu()
            for start in range(0, max(1, len(images)), batch_size)
        ]
    return torch.cat(parts)


def checked_images(images: npt.ArrayLike, image_shape: Sequence[int]) -> npt.NDArray[np.float32]:
    """(n,) + image_shape float32; ValueError for another shape or a pixel that is not finite."""
    array = np.ascontiguousarray(images, dtype=np.float32)
    shape = tuple(image_shape)
    if array.shape[1:] != shape or array.ndim != len(shape) + 1:
        raise ValueError(f"images must have shape (n, {', '.join(map(str, shape))}), got {array.shape}")
    for index, image in enumerate(array):
        if not np.isfinite(image).all():
            where = tuple(int(i) for i in np.argwhere(~np.isfinite(image))[0])
            raise ValueError(f"images must be finite, got {image[where]} in image {index} at pixel {where}")
    return array


def device_of(network: nn.Module) -> torch.device:
    """Where the weights of a network are."""
    return next(network.parameters()).device
