"""Images against a slow independent one, and against what must hold for any image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest

import insdl
from insdl import Bond, SingleIon, Site, SpinModel, Zeeman
from insdl.form_factor import form_factor
from insdl.instrument import EnergyBlock, ImageFrame, ImageSettings, ImageSimulator, read_pcsmo
from insdl.instrument.pcsmo import SCALE, SETTINGS, TABLE_SETTINGS, pcsmo_frame
from insdl.materials import dimer, goodenough
from insdl.materials.pcsmo import LITERATURE

Reals = npt.NDArray[np.float64]
GOODENOUGH = dict(LITERATURE["goodenough"])
REACH = 5.2  # standard deviations after which the kernel drops the tail of a Gaussian
UP = (0, 0, 1)


def square(**changes: Any) -> SpinModel:
    """A ferromagnetic layer without any symmetry between a and b, nor between k and -k: Ja, Jb, Jd along a + b.

    Two layers of different spin, tilted out of the axes.
    """
    cell = np.diag([3.9, 4.4, 7.0])
    bonds = [Bond(i, i, step, 1.0, name) for i in (0, 1) for step, name in (((1, 0, 0), "Ja"), ((0, 1, 0), "Jb"))]
    bonds += [Bond(i, i, (1, 1, 0), 1.0, "Jd") for i in (0, 1)]
    bonds += [Bond(0, 1, (0, 0, 0), -1.3), Bond(0, 1, (1, 0, 0), -0.4)]
    direction = (0.3, 0.5, 0.8)
    terms: dict[str, Any] = {
        "lattice": cell,
        "magnetic_lattice": cell,
        "sites": [
            Site((0.1, 0.25, 0.13), 1.5, direction, "Mn2+"),
            Site((0.4, 0.1, -0.21), 1.0, direction, "Fe3+"),
        ],
        "bonds": bonds,
        "zeeman": [Zeeman(i, -0.8 * np.array(direction)) for i in (0, 1)],
        "parameters": ["Ja", "Jb", "Jd"],
    }
    return SpinModel(**{**terms, **changes})


SQUARE = {"Ja": -1.1, "Jb": -0.4, "Jd": -0.7}


def bins(edges: npt.ArrayLike) -> Reals:
    values = np.asarray(edges, dtype=np.float64)
    return np.stack([values[:-1], values[1:]], axis=1)


def gaussian(low: float, high: float, sigma: float) -> float:
    """Gaussian integral from low to high around zero."""
    return 0.5 * (math.erf(high / (math.sqrt(2) * sigma)) - math.erf(low / (math.sqrt(2) * sigma)))


def spectrum(
    model: SpinModel, values: dict[str, float], frame: ImageFrame, settings: ImageSettings, q: Reals, reach: float
) -> Reals:
    """(n_q, n_bins) S_perp F^2 in 1/meV per magnetic cell, each mode solved again at the L where its energy is seen."""
    a_star, b_star, c_star = np.linalg.norm(2 * np.pi * np.linalg.inv(np.asarray(model.lattice)), axis=0)
    ions = [str(site.ion) for site in model.sites]
    result = np.zeros((len(q), len(frame.bins)))
    for n, (h, k) in enumerate(q):
        energies = model.modes([[h, k, 0.0]], output="amplitude", **values).energy[0]
        seen, places, first = [], [], 0
        for block in frame.blocks:
            for m, energy in enumerate(energies):
                if block.fixed_l is None:
                    kf2 = (block.incident_energy - energy) / 2.0721 - (h * a_star) ** 2 - (k * b_star) ** 2
                    if energy >= block.incident_energy or kf2 < 0:
                        continue
                    height = (math.sqrt(block.incident_energy / 2.0721) - math.sqrt(kf2)) / c_star
                else:
                    height = block.fixed_l
                seen.append((block, first, m, energy))
                places.append([h, k, height])
            first += len(np.asarray(block.bins))
        there = model.modes(np.reshape(places, (-1, 3)), output="amplitude", **values)
        lengths = np.linalg.norm(np.reshape(places, (-1, 3)) * (a_star, b_star, c_star), axis=1)
        factors = np.mean([form_factor(ion, lengths) for ion in ions], axis=0) ** 2
        for (block, first, m, energy), found, strengths, factor in zip(
            seen, there.energy, there.intensity, factors, strict=True
        ):
            assert found[m] == pytest.approx(energy, abs=1e-9)
            s0, s1, s2 = np.asarray(block.sigma_energy)
            table = settings.width_factor * (s0 + s1 * energy + s2 * energy**2)
            sigma = math.hypot(table, settings.broadening * energy, settings.intrinsic_sigma)
            cross_section = 1.0
            if frame.kf_ki == "included":
                cross_section *= math.sqrt(max(0.0, 1 - energy / block.incident_energy))
            if settings.temperature > 0:
                thermal = max(energy, 0.1 * sigma) / (8.617333262e-2 * settings.temperature)
                cross_section /= 1 - math.exp(-thermal)
            for b, (low, high) in enumerate(np.asarray(block.bins)):
                if low - reach * sigma < energy < high + reach * sigma:
                    weight = gaussian(low - energy, high - energy, sigma) / (high - low)
                    result[n, first + b] += (
                        strengths[m] * factor * (model.n_chemical_cells or 1) * weight * cross_section
                    )
    return result


def slow_image(
    model: SpinModel,
    values: dict[str, float],
    frame: ImageFrame,
    settings: ImageSettings,
    *,
    margin: int = 0,
    reach: float = REACH,
) -> Reals:
    """The image by loops over points; ``margin`` points beyond the pixels on every side."""
    pixels = np.asarray(frame.pixels)
    pitch = pixels[1] - pixels[0]
    step = pitch / frame.subpixels
    points = pixels[0] - pitch / 2 + (np.arange(-margin, len(pixels) * frame.subpixels + margin) + 0.5) * step
    n = len(points)
    pairs = np.array([[h, k] for h in points for k in points])
    crystal = spectrum(model, values, frame, settings, pairs, reach).reshape(n, n, -1)
    image = np.zeros(frame.shape)
    first = 0
    for block in frame.blocks:
        count = len(np.asarray(block.bins))
        sigma = math.hypot(block.sigma_q, settings.extra_sigma_q)

        def weights(shift: float, sigma: float = sigma) -> Reals:
            """(n_pixels, n): Gaussian around every point, integrated over every pixel, times the point's share."""
            table = np.zeros((len(pixels), n))
            for i, centre in enumerate(pixels + shift):
                low, high = centre - pitch / 2, centre + pitch / 2
                for g, u in enumerate(points):
                    if sigma == 0.0:
                        table[i, g] = max(0.0, min(high, u + step / 2) - max(low, u - step / 2)) / pitch
                    elif low - reach * sigma <= u <= high + reach * sigma:
                        table[i, g] = gaussian(low - u, high - u, sigma) * step / pitch
            return table

        along_h, along_k = weights(settings.shift_h), weights(settings.shift_k)
        for b in range(first, first + count):
            one = along_h @ crystal[:, :, b] @ along_k.T
            # The other domain shows the crystal's (k, h) at (h, k); widths and shifts belong to the spectrometer.
            other = along_h @ crystal[:, :, b].T @ along_k.T
            image[b] = (1 - settings.twin_fraction) * one + settings.twin_fraction * other
        first += count
    return image


def small_frame(pixels: npt.ArrayLike, *, sigma_q: float = 0.0, subpixels: int = 2) -> ImageFrame:
    """Two incident energies with uneven bins and widths that change with energy."""
    first = EnergyBlock(bins([2.0, 9.0, 18.0, 30.0, 34.0]), 45.0, (0.8, -0.004, 1e-5), sigma_q)
    second = EnergyBlock(bins([5.0, 25.0, 60.0, 90.0]), 120.0, (2.4, -0.01, 1e-5), 1.3 * sigma_q)
    return ImageFrame([first, second], pixels, subpixels)


def uncorrected_frame(pixels: npt.ArrayLike, *, sigma_q: float = 0.0, subpixels: int = 2) -> ImageFrame:
    """The same with the factor kf / ki left in."""
    return replace(layer_frame(pixels, sigma_q=sigma_q, subpixels=subpixels), kf_ki="included")


def layer_frame(pixels: npt.ArrayLike, *, sigma_q: float = 0.0, subpixels: int = 2) -> ImageFrame:
    """For `square`: a kinematic block whose incident energy cuts the band, and one of fixed L."""
    first = EnergyBlock(bins([0.2, 1.5, 3.0, 6.0, 9.0]), 9.5, (0.2, 0.01, 0.001), sigma_q)
    second = EnergyBlock(bins([0.5, 4.0, 8.0, 16.0]), 40.0, (0.5, 0.0, 0.0), sigma_q, fixed_l=0.6)
    return ImageFrame([first, second], pixels, subpixels)


WARM = ImageSettings(1.1, 0.02, 0.0, 0.3, 0.0, 0.0, intrinsic_sigma=0.4, temperature=90.0)

CASES: dict[str, tuple[SpinModel, dict[str, float], Callable[..., ImageFrame], Reals, float, ImageSettings]] = {
    "goodenough": (
        goodenough(),
        GOODENOUGH,
        small_frame,
        np.linspace(-0.2, 0.61, 4),
        0.0,
        ImageSettings(1.3, 0.05, 0.0, 0.4),
    ),
    "layers, kf/ki and Bose": (square(), SQUARE, uncorrected_frame, np.linspace(-0.3, 0.5, 4), 0.03, WARM),
    "goodenough, warm": (goodenough(), GOODENOUGH, small_frame, np.array([0.1, 0.28]), 0.03, WARM),
    "goodenough, table": (goodenough(), GOODENOUGH, small_frame, np.array([0.1, 0.28]), 0.03, ImageSettings()),
    "goodenough, shifted": (
        goodenough(),
        GOODENOUGH,
        small_frame,
        np.array([0.1, 0.28]),
        0.03,
        ImageSettings(1.0, 0.09, 0.02, 0.3, 0.03, -0.05),
    ),
    "dimer": (
        dimer(),
        dict(LITERATURE["dimer"]),
        small_frame,
        np.array([-0.3, 0.0]),
        0.0,
        ImageSettings(1.0, 0.1, twin_fraction=1.0),
    ),
    "layer": (square(), SQUARE, layer_frame, np.linspace(0.1, 0.7, 4), 0.0, ImageSettings(1.2, 0.02)),
    "layer, twins": (
        square(),
        SQUARE,
        layer_frame,
        np.linspace(-0.37, 0.23, 4),
        0.04,
        ImageSettings(1.0, 0.02, 0.01, 0.3, 0.02, -0.04),
    ),
    "layer, shifted": (
        square(),
        SQUARE,
        layer_frame,
        np.linspace(0.1, 0.7, 4),
        0.0,
        ImageSettings(twin_fraction=0.2, shift_h=0.05, shift_k=-0.02),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_image_agrees_with_the_slow_one(name: str) -> None:
    """To 1e-6 of its largest value with the same cut tails (interpolated form factor), and to 2e-5 without a cut."""
    model, values, make, pixels, sigma_q, settings = CASES[name]
    frame = make(pixels, sigma_q=sigma_q)
    step = (pixels[1] - pixels[0]) / 2
    margin = 0 if settings.shift_h == sigma_q == 0.0 else math.ceil(0.3 / step)
    simulator = ImageSimulator(model, frame, margin=0.0 if margin == 0 else 0.3)
    image = simulator.simulate(settings, **values)
    assert image.shape == frame.shape
    expected = slow_image(model, values, frame, settings, margin=margin)
    assert expected.max() > 0.01
    np.testing.assert_allclose(image, expected, rtol=1e-6, atol=1e-8 * expected.max())
    if margin == 0:
        exact = slow_image(model, values, frame, settings, reach=np.inf)
        np.testing.assert_allclose(image, exact, rtol=0, atol=2e-5 * exact.max())


def test_slow_image_would_notice_swapped_and_mirrored_axes() -> None:
    """The layer's image differs from its transpose and its mirrors by more than a tenth of its largest value."""
    model, values, make, pixels, _, settings = CASES["layer"]
    image = ImageSimulator(model, make(pixels)).simulate(settings, **values)
    for other in (image.transpose(0, 2, 1), image[:, ::-1], image[:, :, ::-1], image[:, ::-1, ::-1]):
        assert np.abs(image - other).max() > 0.1 * image.max()


def test_axes_contract() -> None:
    """Index 1 is Qh, index 2 is Qk, both ascending: a layer coupled along a only disperses along index 1."""
    cell = np.diag([4.0, 4.0, 10.0])
    model = SpinModel(cell, cell, [Site((0, 0, 0), 1.0, UP, "Mn2+")], [Bond(0, 0, (1, 0, 0), -1.0)])
    pixels = np.linspace(0.0, 0.5, 11)
    frame = ImageFrame([EnergyBlock(bins(np.linspace(-0.05, 4.15, 43)), 200.0, (0.02, 0, 0), 0.0, 0.0)], pixels, 1)
    image = ImageSimulator(model, frame).simulate()
    centres = frame.bins.mean(axis=1)
    for i, h in enumerate(pixels):
        for k in range(11):
            energy = 2 * (1 - np.cos(2 * np.pi * h))
            assert abs(centres[image[:, i, k].argmax()] - energy) <= 0.051


def test_energy_bins_keep_the_weight() -> None:
    """Fine bins over the whole band: their sum times their width is the sum of S_perp F^2, whatever the width."""
    model, frame_bins = square(), bins(np.linspace(-15.0, 45.0, 241))
    pixels = np.array([0.12, 0.31, 0.5])
    frame = ImageFrame([EnergyBlock(frame_bins, 40.0, (0.5, 0.0, 0.0), 0.0, 0.7)], pixels, 1)
    simulator = ImageSimulator(model, frame)
    a_star, b_star, c_star = 2 * np.pi / np.array([3.9, 4.4, 7.0])
    for settings in (ImageSettings(), ImageSettings(2.0, 0.2)):
        total = simulator.simulate(settings, **SQUARE).sum(axis=0) * 0.25
        for i, h in enumerate(pixels):
            for j, k in enumerate(pixels):
                length = np.linalg.norm([h * a_star, k * b_star, 0.7 * c_star])
                factor = np.mean([form_factor(ion, length) for ion in ("Mn2+", "Fe3+")]) ** 2
                expected = factor * model.modes([[h, k, 0.7]], output="amplitude", **SQUARE).intensity.sum()
                assert total[i, j] == pytest.approx(expected, rel=1e-5)  # 7e-6 of a Gaussian lies beyond its cut


def period_frame(sigma_q: float, subpixels: int) -> ImageFrame:
    """One period of a lattice so large that neither Q's length nor its direction matters."""
    pixels = (np.arange(10) + 0.5) / 10
    return ImageFrame([EnergyBlock([[0.5, 2.0], [2.0, 5.0]], 100.0, (0.3, 0, 0), sigma_q, 0.0)], pixels, subpixels)


@pytest.mark.parametrize("subpixels", [2, 3])
def test_momentum_resolution_keeps_the_weight(subpixels: int) -> None:
    """Over one period the sum of the pixels does not depend on the resolution; single pixels do."""
    cell = np.diag([1000.0, 1100.0, 1200.0])
    bonds = [Bond(0, 0, (1, 0, 0), -0.5), Bond(0, 0, (0, 1, 0), -0.3), Bond(0, 0, (1, 1, 0), -0.2)]
    model = SpinModel(cell, cell, [Site((0, 0, 0), 1.0, UP, "Mn2+")], bonds)
    images = [
        ImageSimulator(model, period_frame(sigma, subpixels), margin=0.5).simulate(ImageSettings(shift_h=shift))
        for sigma, shift in ((0.0, 0.0), (0.03, 0.0), (0.08, 0.0), (0.05, 0.013))
    ]
    for image in images[1:]:
        np.testing.assert_allclose(image.sum(axis=(1, 2)), images[0].sum(axis=(1, 2)), rtol=2e-5)
    assert np.abs(images[2] - images[0]).max() > 0.05 * images[0].max()


@pytest.mark.parametrize("sigma_q", [0.0, 0.0095, 0.022])
def test_flat_band_gives_a_flat_image(sigma_q: float) -> None:
    """A spin in a field: S/2 F^2 / width in every pixel, edges included, whatever the resolution."""
    cell = np.diag([1000.0, 1000.0, 1000.0])
    model = SpinModel(cell, cell, [Site((0, 0, 0), 2.0, UP, "Mn2+")], zeeman=[Zeeman(0, (0, 0, -3.0))])
    frame = ImageFrame([EnergyBlock([[1.0, 5.0]], 20.0, (0.1, 0, 0), sigma_q, 0.0)], np.linspace(-1, 1, 20), 2)
    simulator = ImageSimulator(model, frame)
    expected = 0.5 * 2.0 / 4.0 * float(form_factor("Mn2+", 0.0)) ** 2  # Q is in the plane: one component is seen
    for settings in (ImageSettings(), ImageSettings(twin_fraction=0.4, shift_h=0.0004, shift_k=-0.0004)):
        image = simulator.simulate(settings)
        np.testing.assert_allclose(image, expected, rtol=3e-5)


@pytest.mark.parametrize("cell", [((2, 0), (0, 1)), ((1, 0), (0, 3)), ((1, 1), (-1, 1)), ((2, 0), (0, 2))])
def test_larger_cell_gives_the_same_image(cell: tuple[tuple[int, int], tuple[int, int]]) -> None:
    """No ghosts: an image per magnetic cell grows with the cell and changes in nothing else."""
    rows = np.eye(3)
    rows[:2, :2] = cell
    axes = np.diag([3.9, 4.4, 7.0])
    size = round(abs(np.linalg.det(rows)))
    inverse = np.linalg.inv(rows)
    box = [np.array([i, j, 0]) for i in range(-3, 4) for j in range(-3, 4)]
    inside = [r for r in box if ((r @ inverse > -1e-9) & (r @ inverse < 1 - 1e-9)).all()]
    steps = {(1, 0, 0): -1.1, (0, 1, 0): -0.4, (1, 1, 0): -0.7}
    bonds = []
    for i, r in enumerate(inside):
        for step, exchange in steps.items():
            offset = np.floor((r + step) @ inverse + 1e-9).astype(int)
            home = r + step - offset @ rows.astype(int)
            j = next(n for n, other in enumerate(inside) if (other == home).all())
            x, y, z = (int(n) for n in offset)
            bonds.append(Bond(i, j, (x, y, z), exchange))
    assert len(inside) == size
    sites = [Site((r + np.array([0.1, 0.2, 0.0])) @ inverse, 1.5, (0.6, 0, 0.8), "Mn3+") for r in inside]
    large = SpinModel(axes, rows @ axes, sites, bonds)
    small = SpinModel(
        axes, axes, [Site((0.1, 0.2, 0), 1.5, (0.6, 0, 0.8), "Mn3+")], [Bond(0, 0, s, j) for s, j in steps.items()]
    )
    frame = ImageFrame(
        [EnergyBlock(bins(np.linspace(0.1, 13.1, 27)), 30.0, (0.1, 0.01, 0), 0.01)], np.linspace(-0.9, 1.1, 12), 2
    )
    settings = ImageSettings(broadening=0.02, twin_fraction=0.25, shift_h=0.01)
    one, many = (ImageSimulator(model, frame).simulate(settings) for model in (small, large))
    np.testing.assert_allclose(many / size, one, rtol=0, atol=1e-10)


def test_doubled_cell_shows_no_ghost_branch() -> None:
    """A ferromagnetic chain in a doubled cell: its second mode, at h + 1/2, is solved for and has no weight in the image."""
    small, large = np.diag([4.0, 5.0, 10.0]), np.diag([8.0, 5.0, 10.0])
    sites = [Site((x, 0.0, 0.0), 1.0, UP, "Mn2+") for x in (0.0, 0.5)]
    bonds = [Bond(0, 1, (0, 0, 0), -1.0), Bond(1, 0, (1, 0, 0), -1.0)]
    model = SpinModel(small, large, sites, bonds)
    pixels = np.linspace(-0.9, 0.9, 19)
    frame = ImageFrame([EnergyBlock(bins(np.linspace(0.02, 4.18, 209)), 60.0, (0.02, 0, 0), 0.0)], pixels, 1)
    image = ImageSimulator(model, frame).simulate(ImageSettings())
    centres = frame.bins.mean(axis=1)
    width = 4.5 * 0.02 + 0.02  # where the kernel ends a Gaussian, and a bin
    ghost = total = 0.0
    for i, h in enumerate(pixels):
        true, other = 2 * (1 - np.cos(2 * np.pi * h)), 2 * (1 + np.cos(2 * np.pi * h))
        assert model.modes([[h, 0.3, 0.0]]).energy[0] == pytest.approx(sorted([true, other])[::-1], abs=1e-9)
        apart = (np.abs(centres - other) < width) & (np.abs(centres - true) > width)
        ghost += image[apart, i].sum()
        total += image[:, i].sum()
        if abs(true - other) > 2 * width:
            assert apart.any()
    assert total > 1.0
    assert ghost < 1e-10 * total


def test_form_factor_can_be_left_out() -> None:
    """At fixed Q the two images differ by <F>^2; without a form factor no site needs an ion."""
    cell = np.diag([4.0, 4.0, 10.0])
    frame = ImageFrame([EnergyBlock([[1.0, 5.0]], 20.0, (0.1, 0, 0), 0.0, 0.5)], np.array([0.2, 0.5, 0.8]), 1)

    def image(ion: str | None, form_factor: Literal["ion", "none"]) -> Reals:
        model = SpinModel(cell, cell, [Site((0, 0, 0), 2.0, UP, ion)], zeeman=[Zeeman(0, (0, 0, -3.0))])
        return ImageSimulator(model, frame, form_factor=form_factor).simulate()[0]

    bare, whole = image(None, "none"), image("Mn2+", "ion")
    for i, h in enumerate((0.2, 0.5, 0.8)):
        for j, k in enumerate((0.2, 0.5, 0.8)):
            q = 2 * np.pi * np.array([h / 4, k / 4, 0.5 / 10])
            assert bare[i, j] == pytest.approx(
                1.0 * (1 + q[2] ** 2 / (q @ q)) / 4.0, rel=3e-5
            )  # S/2 (1 + cos^2) / width
            assert whole[i, j] / bare[i, j] == pytest.approx(form_factor("Mn2+", np.linalg.norm(q)) ** 2, rel=1e-5)
    np.testing.assert_array_equal(image("Mn2+", "none"), bare)
    with pytest.raises(ValueError, match="form_factor must be 'ion' or 'none', got 'all'"):
        image("Mn2+", "all")  # type: ignore[arg-type]


def test_threads_give_the_same_bits() -> None:
    simulator = ImageSimulator(goodenough(), small_frame(np.linspace(-1, 1, 9), sigma_q=0.02))
    first = simulator.simulate(SETTINGS, threads=1, **GOODENOUGH)
    for threads in (2, 3, None):
        np.testing.assert_array_equal(simulator.simulate(SETTINGS, threads=threads, **GOODENOUGH), first)


def test_one_unstable_set_kills_no_other() -> None:
    simulator = ImageSimulator(square(), layer_frame(np.linspace(-0.5, 0.5, 5)))
    sets = np.array([[-1.1, -0.4, -0.7], [3.0, -0.4, -0.7], [-0.9, -0.5, -0.1]])
    settings = [ImageSettings(), ImageSettings(), ImageSettings(twin_fraction=0.5)]
    for threads in (1, 3):
        images, stable = simulator.simulate_sets(sets, settings, threads=threads)
        assert stable.tolist() == [True, False, True]
        assert not images[1].any()
        for n in (0, 2):
            alone = simulator.simulate(settings[n], **dict(zip(("Ja", "Jb", "Jd"), sets[n], strict=True)))
            np.testing.assert_array_equal(images[n], alone)


def test_unstable_model_raises() -> None:
    simulator = ImageSimulator(square(), layer_frame(np.linspace(-0.5, 0.5, 5)))
    with pytest.raises(insdl.UnstableModelError, match="unstable") as caught:
        simulator.simulate(Ja=3.0, Jb=-0.4, Jd=-0.7)
    assert caught.value.lowest_eigenvalue < -0.1
    assert caught.value.largest_torque == pytest.approx(0.0, abs=1e-12)


def test_modes_above_the_incident_energy_are_unseen() -> None:
    """A flat band at 10 meV: seen from 10.3 meV on (where the neutron keeps enough momentum), at fixed L always."""
    cell = np.diag([4.0, 4.0, 10.0])
    model = SpinModel(cell, cell, [Site((0, 0, 0), 2.0, UP, "Mn2+")], zeeman=[Zeeman(0, (0, 0, -10.0))])
    pixels = np.linspace(0.0, 0.9, 10)

    def seen(energy: float, fixed_l: float | None = None) -> Reals:
        frame = ImageFrame([EnergyBlock([[5.0, 15.0]], energy, (0.1, 0, 0), 0.0, fixed_l)], pixels, 1)
        return ImageSimulator(model, frame).simulate()[0]

    assert not seen(9.9).any()
    assert not seen(10.0).any()
    assert (seen(9.0, fixed_l=0.0) > 0).all()
    h, k = np.meshgrid(pixels, pixels, indexing="ij")
    in_plane = (2 * np.pi / 4.0) ** 2 * (h**2 + k**2)
    for energy in (10.3, 12.0, 14.0):
        np.testing.assert_array_equal(seen(energy) > 1e-9, in_plane < (energy - 10.0) / 2.0721)


def test_what_cannot_be_an_image_is_refused() -> None:
    frame = layer_frame([0.0, 0.1])
    cell = np.diag([3.9, 4.4, 7.0])
    site = Site((0, 0, 0), 1.0, UP, "Mn2+")
    with pytest.raises(ValueError, match="a bond couples magnetic cells along c"):
        ImageSimulator(SpinModel(cell, cell, [site], [Bond(0, 0, (0, 0, 1), -1.0)]), frame)
    twist = np.array([[0, 0.3, 0], [-0.3, 0, 0], [0, 0, 0]])
    with pytest.raises(ValueError, match="split form"):
        ImageSimulator(SpinModel(cell, cell, [site], [Bond(0, 0, (1, 0, 0), twist - np.eye(3))]), frame)
    tilted = np.array([[3.9, 0, 0], [0, 4.4, 0], [1.0, 0, 7.0]])
    with pytest.raises(ValueError, match="c perpendicular to a and b"):
        ImageSimulator(SpinModel(tilted, tilted, [site]), frame)
    with pytest.raises(ValueError, match="with the c axis of the chemical cell"):
        ImageSimulator(SpinModel(cell, np.diag([3.9, 4.4, 14.0]), [site]), frame)
    with pytest.raises(ValueError, match="needs the ion of every site for the form factor; site 0 has none"):
        ImageSimulator(SpinModel(cell, cell, [Site((0, 0, 0), 1.0, UP)]), frame)


def test_wrong_calls_are_refused() -> None:
    simulator = ImageSimulator(square(), layer_frame([0.0, 0.1]))
    with pytest.raises(TypeError, match="missing"):
        simulator.simulate(Ja=-1.0)
    with pytest.raises(ValueError, match=r"parameters must have shape \(n_sets, 3\)"):
        simulator.simulate_sets([[-1.0, -1.0]], [ImageSettings()])
    with pytest.raises(ValueError, match="one ImageSettings is needed for each of the 1 sets, got 2"):
        simulator.simulate_sets([[-1.0, -1.0, -1.0]], [ImageSettings()] * 2)
    with pytest.raises(ValueError, match="threads must be"):
        simulator.simulate(threads=10**12, **SQUARE)
    for bad in ({"width_factor": -1.0}, {"twin_fraction": 1.1}, {"broadening": np.nan}, {"shift_k": np.inf}):
        with pytest.raises(ValueError, match="image settings must be finite"):
            ImageSettings(**bad)
    for pixels in ([0.0], [0.1, 0.0], [0.0, 0.1, 0.3], [[0.0, 0.1]]):
        with pytest.raises(ValueError, match="pixels must be an ascending, equally spaced list"):
            layer_frame(pixels)
    with pytest.raises(ValueError, match="subpixels must be a whole number of at least 1"):
        layer_frame([0.0, 0.1], subpixels=0)
    for edges in ([[1.0, 1.0]], [1.0, 2.0], [[1.0, 2.0, 3.0]], np.empty((0, 2))):
        with pytest.raises(ValueError, match=r"bins must have shape \(n, 2\)"):
            EnergyBlock(edges, 10.0, (0.1, 0, 0), 0.0)
    with pytest.raises(ValueError, match="incident_energy must be positive"):
        EnergyBlock([[1.0, 2.0]], -10.0, (0.1, 0, 0), 0.0)
    with pytest.raises(ValueError, match="sigma_energy must be three finite numbers"):
        EnergyBlock([[1.0, 2.0]], 10.0, (0.1,), 0.0)


def test_single_ion_hard_axis_goes_through_the_image() -> None:
    """An easy-plane layer: elliptic precession, both quadratures in the image."""
    cell = np.diag([3.9, 4.4, 7.0])
    model = SpinModel(
        cell,
        cell,
        [Site((0, 0, 0), 1.5, (1, 0, 0), "Mn2+")],
        [Bond(0, 0, (1, 0, 0), -0.8), Bond(0, 0, (0, 1, 0), -0.3)],
        [SingleIon(0, np.diag([0, 0, 0.6]))],
    )
    frame = layer_frame(np.linspace(0.1, 0.7, 4))
    image = ImageSimulator(model, frame, margin=0.0).simulate()
    expected = slow_image(model, {}, frame, ImageSettings())
    np.testing.assert_allclose(image, expected, rtol=1e-6, atol=1e-8 * expected.max())


@pytest.mark.parametrize(("settings", "least"), [(TABLE_SETTINGS, 0.72), (SETTINGS, 0.74)])
def test_literature_goodenough_resembles_the_measurement(
    pcsmo_measurement: Path, settings: ImageSettings, least: float
) -> None:
    """Correlation of log(1 + counts) over the measured pixels, one scale for all incident energies, nothing fitted."""
    measurement = read_pcsmo(pcsmo_measurement / "measured.npy")
    where = measurement.measured
    assert where.sum() == 76689
    simulator = ImageSimulator(goodenough(), pcsmo_frame(subpixels=4))
    image = SCALE * simulator.simulate(settings, **GOODENOUGH)
    assert SCALE == 12.4

    def resemblance(counts: Reals) -> float:
        return float(np.corrcoef(np.log1p(counts[where]), np.log1p(measurement.image[where]))[0, 1])

    assert resemblance(image) > least
    for mirrored in (image[:, ::-1], image[:, :, ::-1]):
        assert resemblance(np.ascontiguousarray(mirrored)) < resemblance(image) + 0.005


def test_unstable_image_names_the_q() -> None:
    simulator = ImageSimulator(square(), layer_frame(np.linspace(-0.5, 0.5, 5)))
    with pytest.raises(insdl.UnstableModelError) as caught:
        simulator.simulate(Ja=3.0, Jb=-0.4, Jd=-0.7)
    assert np.isfinite(caught.value.q_rlu).all()
    with pytest.raises(insdl.UnstableModelError):
        square().modes([caught.value.q_rlu], output="amplitude", Ja=3.0, Jb=-0.4, Jd=-0.7)


def test_too_narrow_margins_are_refused() -> None:
    simulator = ImageSimulator(square(), layer_frame(np.linspace(-0.5, 0.5, 5)))
    for settings in (ImageSettings(extra_sigma_q=0.1), ImageSettings(shift_h=0.2)):
        with pytest.raises(ValueError, match="larger margin"):
            simulator.simulate(settings, **SQUARE)


def test_goldstone_points_on_the_grid_do_not_shine() -> None:
    """Two subpixels put a point on (1/2, 1/2) exactly; nothing may stand out there against four."""
    settings = ImageSettings(1.8, 0.1, 0.0, 0.5)
    two, four = (
        ImageSimulator(goodenough(), pcsmo_frame(subpixels=n)).simulate(settings, **GOODENOUGH) for n in (2, 4)
    )
    assert np.abs(two - four).max() < 0.03 * four.max()  # coarser sampling; the artefact was 0.28
