"""A task whose explanation is known: a feature planted in one cell and place decides the class.

It measures explanations, not networks: a method that cannot find what alone tells the classes apart need not be asked
about a measurement.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from insdl.dataset.randomness import generator


@dataclass(frozen=True)
class PlantedTask:
    """Noise images; those of class 1 have a Gaussian spot in one cell, whose place varies a little.

    Attributes
    ----------
    image_shape : (channels, height, width).
    cell : channel of the spot. place : mean pixel of its centre, (row, column).
    wander : pixels; the centre is drawn evenly from a square of this half-width around the place.
    width : pixels, standard deviation of the spot. height : of the spot, in standard deviations of the noise.
    seed : of everything random.
    """

    image_shape: tuple[int, int, int]
    cell: int
    place: tuple[float, float]
    wander: float = 1.0
    width: float = 1.5
    height: float = 6.0
    seed: int = 0

    def __post_init__(self) -> None:
        channels, height, width = self.image_shape
        inside = 0 <= self.place[0] < height and 0 <= self.place[1] < width
        if not 0 <= self.cell < channels or not inside:
            raise ValueError(f"cell {self.cell} and place {self.place} must lie in images of shape {self.image_shape}")

    def centre(self, index: int) -> tuple[float, float]:
        """Pixel of the spot of sample ``index``: (row, column)."""
        row, column = generator(self.seed, "explain/planted", index).uniform(-self.wander, self.wander, size=2)
        return self.place[0] + float(row), self.place[1] + float(column)

    def sample(self, index: int) -> tuple[npt.NDArray[np.float32], int]:
        """Image and class, index modulo 2, of sample ``index``."""
        label = index % 2
        image = generator(self.seed, "explain/noise", index).standard_normal(self.image_shape, dtype=np.float32)
        if label:
            row, column = self.centre(index)
            rows, columns = np.mgrid[: self.image_shape[1], : self.image_shape[2]]
            square = (rows - row) ** 2 + (columns - column) ** 2
            image[self.cell] += (self.height * np.exp(-square / (2 * self.width**2))).astype(np.float32)
        return image, label


@dataclass(frozen=True, eq=False)
class Localisation:
    """Where maps say that a feature is.

    Attributes
    ----------
    cell : (n,) int64. The cell with the largest positive sum.
    cell_share : float. Share of images where that is the planted one.
    place : (n, 2) float64, pixels. Centre of the map of the planted cell.
    distance : (n,) float64, pixels. From the planted place.
    """

    cell: npt.NDArray[np.int64]
    cell_share: float
    place: npt.NDArray[np.float64]
    distance: npt.NDArray[np.float64]


def localise(maps: npt.ArrayLike, *, cell: int, places: npt.ArrayLike) -> Localisation:
    """Whether maps find a planted feature.

    Parameters
    ----------
    maps : (n, cells, height, width), at the pixels of the image (`insdl.explain.grid.to_pixels`).
    cell : the planted one. places : (n, 2) pixels, where the feature is in each image.

    Notes
    -----
    The centre of a map is the centre of mass of what exceeds half of its largest value. A map without any positive value
    has its centre in the middle of the cell.
    """
    values = np.asarray(maps, dtype=np.float64)
    planted = np.asarray(places, dtype=np.float64)
    if values.ndim != 4 or not 0 <= cell < values.shape[1]:
        raise ValueError(f"maps must have shape (n, cells, height, width) with a cell {cell}, got {values.shape}")
    if planted.shape != (len(values), 2):
        raise ValueError(f"places must have shape ({len(values)}, 2), got {planted.shape}")
    positive = np.maximum(values, 0.0)
    found = positive.sum(axis=(2, 3)).argmax(axis=1)
    own = positive[:, cell]
    weight = np.maximum(own - 0.5 * own.max(axis=(1, 2), keepdims=True), 0.0)
    total = weight.sum(axis=(1, 2))
    even = np.where(total > 0, 0.0, 1.0)[:, None, None]
    weight = weight + even
    rows, columns = np.mgrid[: own.shape[1], : own.shape[2]]
    mass = weight.sum(axis=(1, 2))
    place = np.stack([(weight * rows).sum(axis=(1, 2)) / mass, (weight * columns).sum(axis=(1, 2)) / mass], axis=1)
    distance = np.hypot(*(place - planted).T)
    return Localisation(found, float((found == cell).mean()), place, distance)
