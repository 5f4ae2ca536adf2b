"""How much the off-diagonal terms of the resolution change pixels of the PCSMO image: python bench/off_diagonal.py [points].

Needs the measurement and the published resolution tables (see docs/pcsmo.md). Random measured (pixel, bin) of the literature
Goodenough model, each a mean over 4 x 4 Gauss-Legendre points of the pixel, with the covariance of the tables there and with
its diagonal alone; twins, kinematic Ql and form factor as in the image. Beside them the image kernel, upright and leaning.
"""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt

from insdl.dataset.randomness import generator
from insdl.instrument import ImageSettings, ImageSimulator, Twin, convolve_layered, read_pcsmo, read_resolution_table
from insdl.instrument.pcsmo import (
    INCIDENT_ENERGIES,
    NOISE_SIGMA,
    SCALE,
    SETTINGS,
    TABLE_SETTINGS,
    pcsmo_frame,
    pcsmo_frame_from_tables,
)
from insdl.materials import goodenough
from insdl.materials.pcsmo import LITERATURE
from insdl.measured_data import find_pcsmo

Reals = npt.NDArray[np.float64]
ORDER = 4
TWINS = (Twin(0.5, np.eye(3)), Twin(0.5, np.eye(3)[[1, 0, 2]]))


def both(points: npt.NDArray[np.int64], settings: ImageSettings) -> Reals:
    """(n, 4) of pixels (n, 3: bin, h, k): full covariance, its diagonal, the image kernel, and its change where it leans."""
    folder = find_pcsmo()
    if folder is None:
        raise SystemExit("the PCSMO measurement was not found: set INSDL_DATA, see docs/pcsmo.md")
    frame, model, values = pcsmo_frame(), goodenough(), dict(LITERATURE["goodenough"])
    image = ImageSimulator(model, frame).simulate(settings, **values)
    upright, leaning = (
        ImageSimulator(model, pcsmo_frame_from_tables(folder / "resolution", region=region)[0]).simulate(
            settings, **values
        )
        for region in ("upright", "leaning")
    )
    names = {energy: folder / "resolution" / f"PCSMO_ei{energy:g}_resolution.txt" for energy in INCIDENT_ENERGIES}
    tables = {energy: read_resolution_table(name) for energy, name in names.items()}
    pixels = np.asarray(frame.pixels)
    x, w = np.polynomial.legendre.leggauss(ORDER)
    inside = 0.5 * (pixels[1] - pixels[0]) * np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1).reshape(-1, 2)
    weights = (w[:, None] * w).ravel() / 4.0
    rows = []
    for number, i, j in points.tolist():
        incident, low, high = frame.bin_at(number)
        scale = np.array([1.0, 1.0, settings.width_factor])  # the same correlations where the width in E is larger
        covariance = tables[incident].at(pixels[i], pixels[j], 0.5 * (low + high)) * np.outer(scale, scale)
        covariance += np.diag([settings.extra_sigma_q**2, settings.extra_sigma_q**2, 0.0])
        row = []
        for resolution in (covariance, np.diag(np.diag(covariance))):
            found = convolve_layered(
                model,
                np.array([pixels[i], pixels[j]]) + inside,
                np.full(len(inside), 0.5 * (low + high)),
                resolution,
                incident_energy=incident,
                values=values,
                bin_width=high - low,
                twins=TWINS,
                intrinsic_sigma=lambda energy: settings.broadening * energy,
                tolerance=2e-3,
                max_nodes=6000,
            )
            row.append(float(found.intensity @ weights) * (model.n_chemical_cells or 1))
        rows.append([*row, image[number, i, j], leaning[number, i, j] - upright[number, i, j]])
    return np.array(rows)


def main(count: int) -> None:
    """Prints the changes, with table widths and with those found for the measured image."""
    folder = find_pcsmo()
    if folder is None:
        raise SystemExit("the PCSMO measurement was not found: set INSDL_DATA, see docs/pcsmo.md")
    measured = np.argwhere(read_pcsmo(folder / "measured.npy").measured)
    points = measured[generator(0, "bench/off-diagonal", 0).permutation(len(measured))[:count]]
    for name, settings in (("table widths", TABLE_SETTINGS), ("widths found", SETTINGS)):
        full, diagonal, kernel, leaned = both(points, settings).T
        rms = np.sqrt(np.mean((full - diagonal) ** 2)) / np.sqrt(np.mean(diagonal**2))
        bright = diagonal > 0.1 * diagonal.max()
        relative = np.sqrt(np.mean((full[bright] / diagonal[bright] - 1.0) ** 2))
        noise = np.sqrt(NOISE_SIGMA.ravel()[points[:, 0]] ** 2 + SCALE * diagonal)
        in_noise = np.sqrt(np.mean((SCALE * (full - diagonal) / noise) ** 2))
        offset = np.sqrt(np.mean((kernel - diagonal) ** 2)) / np.sqrt(np.mean(diagonal**2))
        left = np.sqrt(np.mean((full - diagonal - leaned) ** 2)) / np.sqrt(np.mean((full - diagonal) ** 2))
        sys.stdout.write(
            f"{name}: {count} points, rms change {rms:.3f} of the rms image, {relative:.3f} of a pixel where bright "
            f"({bright.sum()} points), {in_noise:.3f} of a pixel's noise; "
            f"kernel beside the diagonal {offset:.3f}; a kernel that leans leaves {left:.2f} of the change\n"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
