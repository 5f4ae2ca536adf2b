"""Spurious streaks: lines of constant scattering angle, azimuth, Qh or Qk in neighbouring energy bins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from insdl.instrument.nuisance.geometry import PixelGeometry

Along = Literal["two_theta", "azimuth", "Qh", "Qk"]
KINDS: tuple[Along, ...] = ("two_theta", "azimuth", "Qh", "Qk")


@dataclass(frozen=True)
class Streak:
    """One line.

    Attributes
    ----------
    constant : which coordinate is constant along the line.
    value : float. Its value there: radian for the angles, r.l.u. for Qh and Qk.
    width : float. Standard deviation across the line, in the unit of ``value``.
    height : float, counts. At the middle of the line.
    first_bin, last_bin : int. The energy bins it is seen in, both included.
    """

    constant: Along
    value: float
    width: float
    height: float
    first_bin: int
    last_bin: int

    def __post_init__(self) -> None:
        if self.constant not in KINDS:
            raise ValueError(f"constant must be one of {', '.join(KINDS)}, got {self.constant!r}")
        if not np.isfinite([self.value, self.height]).all() or not 0 < self.width < np.inf:
            raise ValueError(f"a streak needs a finite value and height and a positive width, got {self}")
        if not 0 <= self.first_bin <= self.last_bin:
            raise ValueError(f"first_bin must not lie behind last_bin, got {self.first_bin} and {self.last_bin}")


def add_streak(mean: npt.NDArray[np.float32], geometry: PixelGeometry, streak: Streak) -> None:
    """Adds height exp(-(coordinate - value)^2 / 2 width^2) to the bins of ``mean``, (n_bins, n_h, n_k) float32, counts."""
    rows = slice(streak.first_bin, streak.last_bin + 1)
    pixels = np.asarray(geometry.frame.pixels)
    if streak.constant == "two_theta":
        distance = geometry.two_theta[rows] - streak.value
    elif streak.constant == "azimuth":
        distance = np.mod(geometry.azimuth - streak.value + np.pi, 2.0 * np.pi) - np.pi
    else:
        distance = pixels[:, None] - streak.value if streak.constant == "Qh" else pixels[None, :] - streak.value
    mean[rows] += (streak.height * np.exp(-0.5 * (distance / streak.width) ** 2)).astype(np.float32)


def random_streak(
    geometry: PixelGeometry, rng: np.random.Generator, *, height: float, relative_width: float, n_bins: int
) -> Streak:
    """A streak through a random seen pixel of a random bin.

    Parameters
    ----------
    height : float, counts.
    relative_width : float. Width over the range of the coordinate in the frame.
    n_bins : int. Over how many neighbouring bins of one incident energy it runs, as far as they are there.
    """
    constant = KINDS[int(rng.integers(len(KINDS)))]
    middle = int(rng.integers(len(geometry.energy)))
    place = rng.integers(len(np.asarray(geometry.frame.pixels)), size=2)
    incident = geometry.incident_energy
    first, last = middle, middle
    while last - first + 1 < n_bins:
        more = False
        if last + 1 < len(incident) and incident[last + 1] == incident[middle]:
            last, more = last + 1, True
        if last - first + 1 < n_bins and first > 0 and incident[first - 1] == incident[middle]:
            first, more = first - 1, True
        if not more:
            break
    low, high = geometry.frame.pixel_edges[[0, -1]]
    pixels = np.asarray(geometry.frame.pixels)
    angles = geometry.two_theta[middle]
    value, span = {
        "two_theta": (float(angles[tuple(place)]), float(np.ptp(angles))),
        "azimuth": (float(geometry.azimuth[tuple(place)]), 2.0 * np.pi),
        "Qh": (float(pixels[place[0]]), float(high - low)),
        "Qk": (float(pixels[place[1]]), float(high - low)),
    }[constant]
    return Streak(constant, value, relative_width * span, height, first, last)
