"""PCSMO as measured on MAPS (ISIS): frame, file layout, noise.

Layout of the published files: 240 x 400, six blocks of 40 rows (incident energies from the top), each with ten energy slices of
40 columns; in every cell the row r is Qh = 1 - 2r/39, and the column c is Qk = -1 + 2c/39 in the published simulations and in
the detector mask once that is flipped up-down, but Qk = 1 - 2c/39 in the measured image (its mask overlaps its zeros to
100 % only after this mirror). Data: Butler et al., J. Phys.: Condens. Matter 33, 194006 (2021), and its public
repository; the measurement: Johnstone et al., Phys. Rev. Lett. 109, 237202 (2012).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from insdl.instrument.frame import EnergyBlock, ImageFrame
from insdl.instrument.image import ImageSettings
from insdl.instrument.resolution import read_resolution_table
from insdl.instrument.widths import WidthFit

INCIDENT_ENERGIES = (25.0, 35.0, 50.0, 70.0, 100.0, 140.0)
"""meV."""
SLICES = 10
PIXELS = 40

SHEET_SHAPE = (len(INCIDENT_ENERGIES) * PIXELS, SLICES * PIXELS)

# Standard deviation of the energy resolution at 0.13, 0.40 and 0.67 of the incident energy, meV, and of the momentum
# resolution, r.l.u.: read off the resolution tables published with the data.
_SIGMA_ENERGY = (
    (0.389, 0.343, 0.308),
    (0.670, 0.561, 0.480),
    (1.05, 0.866, 0.728),
    (1.42, 1.18, 0.991),
    (2.26, 1.83, 1.52),
    (2.67, 2.23, 1.91),
)
_SIGMA_Q = (0.0095, 0.011, 0.0135, 0.016, 0.019, 0.022)

SCALE = 12.4
"""Counts of the measured image per S_perp in 1/meV per magnetic cell (16 Mn); one number for all incident energies."""

# Standard deviation of the measured image's noise where there is no signal, by incident energy and slice.
NOISE_SIGMA = np.array(
    [
        [2.7, 4.8, 3.8, 4.1, 5.1, 5.0, 4.5, 4.7, 3.9, 4.7],
        [1.9, 1.8, 2.6, 2.4, 2.7, 1.7, 1.4, 1.4, 1.1, 1.1],
        [1.9, 2.0, 1.7, 1.5, 1.0, 0.85, 0.88, 0.95, 0.90, 1.0],
        [1.8, 1.7, 1.3, 0.98, 0.89, 0.78, 0.77, 0.72, 0.70, 0.60],
        [1.6, 1.1, 0.83, 0.77, 0.75, 0.67, 0.63, 0.62, 0.71, 0.55],
        [1.4, 0.95, 1.0, 0.81, 0.92, 0.78, 0.75, 0.57, 0.36, 0.37],
    ]
)

CLIP = 120.0
"""The published measurement is clipped to 0..120."""

SETTINGS = ImageSettings(width_factor=1.4, broadening=0.095, extra_sigma_q=0.008, twin_fraction=0.5)
"""Widths and twins found for the measured image; the broadening is phenomenological."""

TABLE_SETTINGS = ImageSettings(twin_fraction=0.5)
"""Table widths only."""


def pcsmo_frame(*, subpixels: int = 4, fixed_l: float | None = None) -> ImageFrame:
    """The frame of the measured image: six incident energies, ten slices each, 40 x 40 pixels over [-1, 1]^2 r.l.u.

    ``fixed_l`` replaces the kinematic Ql by one value (0 reproduces the published simulations).
    """
    blocks = []
    for energy, sigma, sigma_q in zip(INCIDENT_ENERGIES, _SIGMA_ENERGY, _SIGMA_Q, strict=True):
        # The parabola through the three tabulated widths.
        s2, s1, s0 = np.polyfit(np.array([0.13, 0.40, 0.67]) * energy, sigma, 2)
        low = (0.1 + 0.06 * np.arange(SLICES)) * energy
        blocks.append(
            EnergyBlock(
                bins=np.stack([low, low + 0.06 * energy], axis=1),
                incident_energy=energy,
                sigma_energy=(s0, s1, s2),
                sigma_q=sigma_q,
                fixed_l=fixed_l,
            )
        )
    return ImageFrame(blocks=blocks, pixels=np.linspace(-1.0, 1.0, PIXELS), subpixels=subpixels)


def pcsmo_frame_from_tables(
    folder: str | os.PathLike[str],
    *,
    subpixels: int = 4,
    fixed_l: float | None = None,
    region: Literal["upright", "leaning"] = "upright",
) -> tuple[ImageFrame, tuple[WidthFit, ...]]:
    """The frame of `pcsmo_frame` with widths read from the resolution tables published with the data.

    Parameters
    ----------
    folder : holds PCSMO_ei25_resolution.txt and so on, one for each of `INCIDENT_ENERGIES`.
    subpixels, fixed_l : as in `pcsmo_frame`.
    region : as in `ResolutionTable.energy_block`.

    Returns
    -------
    ImageFrame, and for each incident energy the fit of the parabola, with its misfit. The width in Q, which falls by a sixth
    over the bins, is that at 0.2 of the incident energy, as in `pcsmo_frame`.
    """
    blocks, fits = [], []
    for block in pcsmo_frame(fixed_l=fixed_l).blocks:
        incident = block.incident_energy
        table = read_resolution_table(Path(folder) / f"PCSMO_ei{incident:g}_resolution.txt")
        made, fit = table.energy_block(
            block.bins, incident_energy=incident, q_energy=0.2 * incident, fixed_l=fixed_l, region=region
        )
        blocks.append(made)
        fits.append(fit)
    return ImageFrame(blocks=blocks, pixels=np.linspace(-1.0, 1.0, PIXELS), subpixels=subpixels), tuple(fits)


Orientation = Literal["published", "measured"]


def to_sheet(cells: npt.ArrayLike, *, orientation: Orientation = "published") -> npt.NDArray[np.float64]:
    """The 240 x 400 sheet of an image in the frame: (60, 40, 40) or (6, 10, 40, 40), Qh and Qk ascending."""
    image = np.asarray(cells, dtype=np.float64).reshape(len(INCIDENT_ENERGIES), SLICES, PIXELS, PIXELS)
    image = image[..., ::-1, :] if _checked(orientation) == "published" else image[..., ::-1, ::-1]
    return np.ascontiguousarray(image.transpose(0, 2, 1, 3).reshape(SHEET_SHAPE))


def from_sheet(sheet: npt.ArrayLike, *, orientation: Orientation) -> npt.NDArray[np.float64]:
    """A 240 x 400 sheet brought into the frame: (60, 40, 40) float64, Qh and Qk ascending."""
    image = np.asarray(sheet, dtype=np.float64)
    if image.shape == (1, *SHEET_SHAPE):
        image = image[0]
    if image.shape != SHEET_SHAPE:
        raise ValueError(
            f"a PCSMO image must have shape {SHEET_SHAPE} (six incident energies x 40 rows, ten slices x 40 columns), "
            f"got {image.shape}"
        )
    cells = image.reshape(len(INCIDENT_ENERGIES), PIXELS, SLICES, PIXELS).transpose(0, 2, 1, 3)
    cells = cells[..., ::-1, :] if _checked(orientation) == "published" else cells[..., ::-1, ::-1]
    return np.ascontiguousarray(cells.reshape(-1, PIXELS, PIXELS))


def _checked(orientation: str) -> str:
    if orientation not in ("published", "measured"):
        raise ValueError(f"orientation must be 'published' or 'measured', got {orientation!r}")
    return orientation
