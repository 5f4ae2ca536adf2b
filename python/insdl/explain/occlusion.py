"""How an answer changes when a physical region of the image is replaced by what carries no information.

Zeiler and Fergus, ECCV 2014 (arXiv:1311.2901), with regions of a spectrometer in place of grey squares: a cell, a band of
energy transfer, a patch of the Brillouin zone. What a region is replaced by is part of the result: zeros would be an
image that no spectrometer gives, and a network answers anything outside its training set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from torch import nn

from insdl.explain.layers import Target, answers, checked_batch
from insdl.instrument.frame import ImageFrame

_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Region:
    """A part of an image: its name with units, and a mask (n_bins, n_h, n_k)."""

    name: str
    mask: _Mask


@dataclass(frozen=True, eq=False)
class Occlusion:
    """What each region is worth.

    Attributes
    ----------
    drop : (n, n_regions) float64, units of the output. Answer to the image less the answer without the region: positive
        where the region speaks for the target.
    answer : (n,) float64. To the whole image.
    names : of the regions.
    replacement : what a region was replaced by, in words.
    """

    drop: npt.NDArray[np.float64]
    answer: npt.NDArray[np.float64]
    names: tuple[str, ...]
    replacement: str


def cell_regions(frame: ImageFrame) -> tuple[Region, ...]:
    """Each (incident energy, energy bin) cell by itself, in the order of the image."""
    regions = []
    for number in range(len(frame.bins)):
        mask = np.zeros(frame.shape, dtype=bool)
        mask[number] = True
        regions.append(Region(frame.label(number), mask))
    return tuple(regions)


def band_regions(frame: ImageFrame, *, edges: npt.ArrayLike) -> tuple[Region, ...]:
    """Bands of energy transfer over all incident energies: the bins whose centre lies in each band.

    Parameters
    ----------
    edges : (n + 1,) meV, ascending. Bands without any bin are left out.
    """
    limits = np.asarray(edges, dtype=np.float64)
    if limits.ndim != 1 or len(limits) < 2 or not (np.diff(limits) > 0).all():
        raise ValueError(f"edges must ascend, at least two of them, got {limits.tolist()}")
    centres = frame.bins.mean(axis=1)
    regions = []
    for low, high in pairwise(limits.tolist()):
        inside = (centres >= low) & (centres < high)
        if inside.any():
            mask = np.broadcast_to(inside[:, None, None], frame.shape).copy()
            regions.append(Region(f"{low:g} to {high:g} meV", mask))
    return tuple(regions)


def zone_regions(frame: ImageFrame, *, size: float = 0.5, at: tuple[float, float] = (0.0, 0.0)) -> tuple[Region, ...]:
    """Square patches of the (Qh, Qk) plane over all cells: Brillouin zones of a square lattice, or parts of them.

    Parameters
    ----------
    size : r.l.u., width of a patch along Qh and Qk.
    at : r.l.u., centre of one of the patches.
    """
    if not (np.isfinite(size) and size > 0):
        raise ValueError(f"size must be positive, got {size}")
    pixels = np.asarray(frame.pixels)
    numbers = [np.floor((pixels - at[axis]) / size + 0.5 + 1e-9).astype(int) for axis in (0, 1)]
    regions = []
    for row in np.unique(numbers[0]):
        for column in np.unique(numbers[1]):
            plane = (numbers[0] == row)[:, None] & (numbers[1] == column)[None, :]
            name = f"Qh = {at[0] + row * size:g}, Qk = {at[1] + column * size:g} (± {size / 2:g} r.l.u.)"
            regions.append(Region(name, np.broadcast_to(plane, frame.shape).copy()))
    return tuple(regions)


def class_average(images: npt.ArrayLike, labels: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Mean image, (channels, height, width), in which each class counts the same: what speaks for none of them.

    Parameters
    ----------
    images : (n, channels, height, width). Network inputs. labels : (n,) int.
    """
    rows, classes = checked_batch(images), np.asarray(labels)
    if classes.shape != (len(rows),):
        raise ValueError(f"labels must have shape ({len(rows)},), got {classes.shape}")
    means = [rows[classes == label].mean(axis=0, dtype=np.float64) for label in np.unique(classes)]
    average: npt.NDArray[np.float32] = np.mean(means, axis=0).astype(np.float32)
    return average


def occlude(
    network: nn.Module,
    images: npt.ArrayLike,
    *,
    regions: Sequence[Region],
    target: Target,
    replacement: npt.ArrayLike,
    replacement_name: str,
    measured: npt.ArrayLike | None = None,
    batch_size: int = 64,
) -> Occlusion:
    """What each region is worth for an answer: the answer to the image less the answer when the region is replaced.

    Parameters
    ----------
    images : (n, channels, height, width). Channels beyond those of the regions (a number of counts, say) are kept.
    regions : `cell_regions`, `band_regions`, `zone_regions`, or one's own.
    target : as in `insdl.explain.cam.grad_cam`.
    replacement : (channels, height, width), or a number. `class_average` of simulated images, or a background.
    replacement_name : what it is, in words, for the reader of the result.
    measured : (n_bins, height, width) bool. Only these pixels are replaced: what no detector saw stays as it is.

    Returns
    -------
    Occlusion.

    Raises
    ------
    ValueError
        If shapes do not fit, or an image or the replacement is not finite.
    """
    checked = checked_batch(images)
    filling = _filling(replacement, checked.shape[1:])
    if not regions:
        raise ValueError("regions must hold at least one region, got none")
    masks = [padded_mask(region.mask, checked.shape[1:], measured=measured) for region in regions]
    whole = answers(network, checked, target=target, batch_size=batch_size)
    drop = np.empty((len(checked), len(regions)))
    for number, mask in enumerate(masks):
        drop[:, number] = whole - answers(
            network, np.where(mask, filling, checked), target=target, batch_size=batch_size
        )
    return Occlusion(drop, whole, tuple(region.name for region in regions), replacement_name)


def padded_mask(mask: _Mask, image_shape: tuple[int, ...], *, measured: npt.ArrayLike | None = None) -> _Mask:
    """A region's mask on images that may have further channels, of which nothing is taken."""
    n = len(mask)
    if mask.ndim != 3 or n > image_shape[0] or mask.shape[1:] != tuple(image_shape[1:]):
        raise ValueError(f"a region of shape {mask.shape} does not fit images of shape {tuple(image_shape)}")
    full = np.zeros(image_shape, dtype=bool)
    full[:n] = mask
    if measured is not None:
        looked = np.asarray(measured, dtype=bool)
        if looked.shape != mask.shape:
            raise ValueError(f"measured must have shape {mask.shape}, got {looked.shape}")
        full[:n] &= looked
    return full


def _filling(replacement: npt.ArrayLike, image_shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    values = np.asarray(replacement, dtype=np.float32)
    if values.shape not in ((), image_shape):
        raise ValueError(f"replacement must be a number or have shape {image_shape}, got {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("replacement must be finite")
    return np.broadcast_to(values, image_shape)
