"""Convolutions against exact results, sum rules, Monte Carlo, and the image kernel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from insdl import Bond, SingleIon, Site, SpinModel, Zeeman
from insdl.crystal import reciprocal
from insdl.dataset.randomness import generator
from insdl.instrument import EnergyBlock, ImageFrame, ImageSettings, ImageSimulator
from insdl.instrument.convolution import (
    Twin,
    convolve,
    convolve_layered,
    convolve_spectrum,
    turned_twin,
)
from insdl.instrument.covariance import with_mosaic
from insdl.instrument.kinematics import kinematic_l
from insdl.instrument.line import Line
from insdl.instrument.pcsmo import TABLE_SETTINGS, pcsmo_frame
from insdl.instrument.resolution import read_resolution_table
from insdl.materials import goodenough
from insdl.materials.pcsmo import LITERATURE
from insdl.units import BOLTZMANN
from magnets import random_magnet

Reals = npt.NDArray[np.float64]
CELL = np.array([[4.0, 0.0, 0.0], [-1.0, 5.0, 0.0], [0.3, 0.4, 6.0]])
SWAP = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])


def gaussian(x: npt.ArrayLike, variance: npt.ArrayLike) -> Reals:
    return np.asarray(np.exp(-0.5 * np.asarray(x) ** 2 / variance) / np.sqrt(2 * np.pi * np.asarray(variance)))


def ferromagnet(*bonds: Bond, field: float = 1.0, **changes: Any) -> SpinModel:
    site = Site((0, 0, 0), 1.0, (0, 0, 1), "Mn2+")
    terms = {"lattice": CELL, "magnetic_lattice": CELL, "sites": [site], "bonds": bonds}
    return SpinModel(**{**terms, "zeeman": [Zeeman(0, (0, 0, -field))], **changes})


def random_covariance(rng: np.random.Generator, sigma: npt.ArrayLike) -> Reals:
    """Random correlations with the given standard deviations."""
    size = len(np.asarray(sigma))
    root = rng.normal(size=(size, size)) + np.eye(size)
    matrix = root @ root.T
    scale = np.asarray(sigma) / np.sqrt(np.diag(matrix))
    return np.asarray(matrix * np.outer(scale, scale))


def test_a_flat_mode_is_the_marginal_gaussian() -> None:
    """Without dispersion the whole variance of E is seen, whatever the correlations with Q."""
    rng = np.random.default_rng(0)
    field = 3.0
    model = ferromagnet(field=field)
    covariance = random_covariance(rng, [0.05, 0.08, 0.1, 0.4])
    energy = field + np.linspace(-1.2, 1.2, 9)
    q = np.tile([0.0, 0.0, 1.3], (9, 1))
    weight = model.modes(q[:1]).intensity[0, 0]

    def flat(points: Reals) -> tuple[Reals, Reals]:
        return np.full((len(points), 1), field), np.ones((len(points), 1))

    expected = gaussian(energy - field, 0.16)
    found = convolve_spectrum(flat, q, covariance, Line(energy), tolerance=1e-7, max_nodes=10**6)
    np.testing.assert_allclose(found.intensity, expected, rtol=1e-5, atol=1e-6)
    # The field's flat mode: a width in Q that is narrow, so that the polarisation factor is that of the nominal Q.
    narrow = np.array([1e-4, 1e-4, 1e-4, 1.0])
    found = convolve(model, q, energy, covariance * np.outer(narrow, narrow), form_factor="none", tolerance=1e-7)
    np.testing.assert_allclose(found.intensity, weight * expected, rtol=1e-5, atol=1e-6 * weight)


@pytest.mark.parametrize("slope_scale", [0.1, 1.0, 5.0])
def test_a_linear_dispersion_is_exact(slope_scale: float) -> None:
    """E = E1 + s.(Q - Q1): a Gaussian of variance Var(E) - 2 s.Cov(Q, E) + s.Cov(Q, Q).s around E1 + s.(Q0 - Q1)."""
    rng = np.random.default_rng(1)
    for _ in range(5):
        covariance = random_covariance(rng, [0.05, 0.08, 0.1, 0.4])
        slope, start = slope_scale * rng.normal(size=3) * 4.0, rng.normal(size=3)
        q = start + 0.05 * rng.normal(size=(6, 3))

        def linear(points: Reals, slope: Reals = slope, start: Reals = start) -> tuple[Reals, Reals]:
            return 10.0 + (points - start)[:, :, None].transpose(0, 2, 1) @ slope, np.ones((len(points), 1))

        variance = covariance[3, 3] - 2 * slope @ covariance[:3, 3] + slope @ covariance[:3, :3] @ slope
        centre = 10.0 + (q - start) @ slope
        energy = centre + np.sqrt(variance) * np.linspace(-2, 2, 6)
        found = convolve_spectrum(linear, q, covariance, Line(energy), tolerance=1e-5, max_nodes=10**6)
        expected = gaussian(energy - centre, variance)
        np.testing.assert_allclose(found.intensity, expected, atol=1e-5 * expected.max() + 2 * found.error.max())
        assert found.error.max() < 2e-4 * expected.max()


def test_focusing_side_is_narrow() -> None:
    """Cov(Q, E) > 0 along the magnons' rise makes them narrow at +q and broad at -q: the sign, on a real model."""
    model = ferromagnet(Bond(0, 0, (1, 0, 0), -2.0))
    frame = reciprocal(CELL)
    direction = np.array([1.0, 0.0, 0.0])
    step = 1e-4
    around = [[0.2 - step, 0, 0], [0.2, 0, 0], [0.2 + step, 0, 0]]
    below, centre, above = model.modes(around).energy[:, 0]
    slope = (above - below) / np.linalg.norm(2 * step * direction @ frame)
    unit = direction @ frame / np.linalg.norm(direction @ frame)
    sigma_q, sigma_e, correlation = 0.02, 0.02 * slope, 0.9
    covariance = np.zeros((4, 4))
    covariance[:3, :3] = sigma_q**2 * np.outer(unit, unit)
    covariance[:3, 3] = covariance[3, :3] = correlation * sigma_q * sigma_e * unit
    covariance[3, 3] = sigma_e**2
    energy = centre + np.linspace(-6, 6, 241) * sigma_e
    widths = []
    for sign in (1.0, -1.0):
        q = np.tile([0.2 * sign, 0.0, 0.0], (len(energy), 1))
        seen = convolve(model, q, energy, covariance, form_factor="none", tolerance=1e-5).intensity
        mean = energy @ seen / seen.sum()
        widths.append(np.sqrt((energy - mean) ** 2 @ seen / seen.sum()))
        expected = np.sqrt(sigma_e**2 - 2 * sign * slope * covariance[:3, 3] @ unit + (slope * sigma_q) ** 2)
        assert widths[-1] == pytest.approx(expected, rel=0.02)  # the band's curvature over the width
    assert widths[1] > 4.0 * widths[0]


def test_weight_is_conserved() -> None:
    """Bins over the whole band: their sum times their width is 1, and the mean of S_perp over the Gaussian in Q."""
    covariance = random_covariance(np.random.default_rng(3), [0.05, 0.08, 0.1, 0.3])

    def wavy(points: Reals) -> tuple[Reals, Reals]:
        return 5.0 + 2.0 * np.sin(6.0 * points @ [[1.0, 0.3], [0.5, -1.0], [-1.0, 0.4]]), np.full((len(points), 2), 0.5)

    edges = np.linspace(-1.0, 11.0, 61)
    centres = 0.5 * (edges[1:] + edges[:-1])
    q = np.tile([0.1, 0.2, 0.3], (60, 1))
    found = convolve_spectrum(wavy, q, covariance, Line(centres, bin_width=0.2), tolerance=1e-8, max_nodes=10**5)
    assert found.intensity.sum() * 0.2 == pytest.approx(1.0, abs=1e-6)
    model = ferromagnet(Bond(0, 0, (1, 0, 0), -0.7), Bond(0, 0, (0, 1, 0), -0.5))
    edges = np.linspace(-3.0, 11.0, 71)
    centres = 0.5 * (edges[1:] + edges[:-1])
    q = np.tile([0.2, 0.35, 0.6], (70, 1))
    found = convolve(model, q, centres, covariance, bin_width=0.2, tolerance=1e-8, max_nodes=30_000)
    x, w = np.polynomial.hermite_e.hermegauss(24)
    nodes = np.stack(np.meshgrid(x, x, x, indexing="ij"), axis=-1).reshape(-1, 3)
    weights = np.prod(np.stack(np.meshgrid(w, w, w, indexing="ij"), axis=-1).reshape(-1, 3), axis=1)
    drawn = q[0] @ reciprocal(CELL) + nodes @ np.linalg.cholesky(covariance[:3, :3]).T
    intensity = model.modes(drawn @ np.linalg.inv(reciprocal(CELL)), form_factor="ion").intensity.sum(axis=1)
    assert found.intensity.sum() * 0.2 == pytest.approx(weights @ intensity / weights.sum(), rel=1e-6)


def monte_carlo(
    model: SpinModel, q: Reals, energy: float, width: float, covariance: Reals, rng: np.random.Generator, n: int
) -> tuple[float, float]:
    """The same intensity by drawing (Q, E) and counting modes in the bin, and its standard deviation."""
    drawn = rng.multivariate_normal(np.zeros(4), covariance, n)
    modes = model.modes(q + drawn[:, :3] @ np.linalg.inv(reciprocal(model.lattice)))
    inside = np.abs(modes.energy - energy - drawn[:, 3:]) < width / 2
    counted = np.sum(modes.intensity * inside, axis=1) / width
    return float(counted.mean()), float(counted.std() / np.sqrt(n))


@pytest.mark.parametrize("number", range(20))
def test_random_models_agree_with_monte_carlo(number: int) -> None:
    """20 models in general form (DM and anisotropic exchange, triclinic): within 4 sigma of 60 000 drawn (Q, E), and 1 %.

    The standard deviation of each Monte-Carlo mean is asserted to be below 0.5 % of it.
    """
    rng = generator(0, "tests/convolution", number)
    model = SpinModel.from_dict(random_magnet(rng, sites=2, bonds=6))
    q = rng.uniform(-1, 1, 3)
    covariance = random_covariance(rng, [*rng.uniform(0.02, 0.15, 3).tolist(), rng.uniform(0.2, 0.6)])
    modes = model.modes(q[None])
    energy = float(modes.energy[0] @ modes.intensity[0] / modes.intensity[0].sum())
    width = float(np.ptp(modes.energy[0]) + 1.0)
    found = convolve(model, q[None], [energy], covariance, bin_width=width, form_factor="none", tolerance=2e-4)
    mean, sigma = monte_carlo(model, q, energy, width, covariance, rng, 60_000)
    assert sigma < 5e-3 * mean
    assert abs(found.intensity[0] - mean) < 4 * sigma
    assert found.intensity[0] == pytest.approx(mean, rel=0.01)


def two_layers() -> SpinModel:
    """Two ferromagnetic layers without symmetry between a and b."""
    cell = np.diag([3.9, 4.4, 7.0])
    bonds = [Bond(i, i, step, 1.0, name) for i in (0, 1) for step, name in (((1, 0, 0), "Ja"), ((0, 1, 0), "Jb"))]
    sites = [Site((0.1, 0.25, 0.13), 1.5, (0, 0, 1), "Mn2+"), Site((0.4, 0.1, -0.21), 1.5, (0, 0, 1), "Mn2+")]
    return SpinModel(cell, cell, sites, [*bonds, Bond(0, 1, (0, 0, 0), -0.3)],
                     zeeman=[Zeeman(i, (0, 0, -0.8)) for i in (0, 1)], parameters=["Ja", "Jb"])  # fmt: skip


def over_pixel(pixels: Reals, indices: npt.NDArray[np.int64], order: int) -> tuple[Reals, Reals]:
    """Gauss-Legendre points (n, order^2, 2) of pixels (n, 2) and their weights."""
    x, w = np.polynomial.legendre.leggauss(order)
    half = 0.5 * (pixels[1] - pixels[0])
    offsets = half * np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1).reshape(-1, 2)
    return pixels[indices][:, None] + offsets, (w[:, None] * w).ravel() / 4


@pytest.mark.parametrize("name", ["two layers", "goodenough"])
def test_image_is_this_convolution_with_a_diagonal_covariance(name: str) -> None:
    """Pixel by pixel, with kinematic Ql, bins, twins and broadening: to 3e-5 of the brightest."""
    if name == "goodenough":
        model, values, incident, edges = goodenough(), dict(LITERATURE["goodenough"]), 70.0, [18.0, 22.0, 26.0]
        # The kernel multiplies by the mean form factor of the ions, `convolve_layered` each site by its own: make them one.
        model = replace(model, sites=[replace(site, ion="Mn3+") for site in model.sites])
        settings, sigma, sigma_q = ImageSettings(1.2, 0.05, twin_fraction=0.4), 1.1, 0.02
    else:
        model, values, incident, edges = two_layers(), {"Ja": -1.1, "Jb": -0.4}, 20.0, [2.0, 3.5, 5.0]
        settings, sigma, sigma_q = ImageSettings(1.0, 0.02, 0.01, 0.3), 0.3, 0.02
    bins = np.stack([edges[:-1], edges[1:]], axis=1)
    pixels = np.linspace(0.1, 0.55, 10)
    frame = ImageFrame([EnergyBlock(bins, incident, (sigma, 0.0, 0.0), sigma_q)], pixels, 10)
    image = ImageSimulator(model, frame).simulate(settings, **values)
    bright = np.argwhere(image.min(axis=0) > 0.3 * image.max(axis=(1, 2)).min())
    chosen = bright[np.random.default_rng(5).permutation(len(bright))[:3]]
    places, weights = over_pixel(pixels, chosen, 4)
    width_q = np.hypot(sigma_q, settings.extra_sigma_q)
    twins = [Twin(1 - settings.twin_fraction, np.eye(3)), Twin(settings.twin_fraction, SWAP)]
    for number, (low, high) in enumerate(bins):
        found = convolve_layered(
            model,
            places.reshape(-1, 2),
            np.full(places.shape[0] * places.shape[1], 0.5 * (low + high)),
            np.diag([width_q, width_q, settings.width_factor * sigma]) ** 2,
            incident_energy=incident,
            values=values,
            bin_width=high - low,
            twins=twins,
            intrinsic_sigma=lambda energy: settings.broadening * energy,
            tolerance=1e-3,
        )
        seen = found.intensity.reshape(len(chosen), -1) @ weights * (model.n_chemical_cells or 1)
        expected = image[number][tuple(chosen.T)]
        assert expected.max() > 0.3 * image[number].max()
        np.testing.assert_allclose(seen, expected, rtol=0, atol=3e-5 * expected.max())


@pytest.mark.slow
def test_off_diagonal_terms_of_pcsmo(pcsmo_measurement: Path) -> None:
    """With the published covariances: bright pixels change by a few percent, not by tens and not by nothing.

    The diagonal is what the kernel makes of the frame, but for the width's change over a bin and across Q: to 3 %.
    """
    folder = pcsmo_measurement / "resolution"
    if not folder.is_dir():
        pytest.skip(f"THE PUBLISHED RESOLUTION TABLES ARE NOT TESTED: no folder {folder}")
    model, values, frame = goodenough(), dict(LITERATURE["goodenough"]), pcsmo_frame()
    image = ImageSimulator(model, frame).simulate(TABLE_SETTINGS, **values)
    number = 35  # Ei = 70 meV, 28 to 32 meV
    incident, low, high = frame.bin_at(number)
    table = read_resolution_table(folder / f"PCSMO_ei{incident:g}_resolution.txt")
    bright = np.argwhere(image[number] > 0.5 * image[number].max())
    chosen = bright[generator(0, "tests/off-diagonal", 0).permutation(len(bright))[:5]]
    pixels = np.asarray(frame.pixels)
    places, weights = over_pixel(pixels, chosen, 4)
    covariance = np.repeat(table.at(*pixels[chosen].T, 0.5 * (low + high)), len(weights), axis=0)
    upright = covariance * np.eye(3)
    seen = []
    for resolution in (covariance, upright):
        found = convolve_layered(
            model,
            places.reshape(-1, 2),
            np.full(len(resolution), 0.5 * (low + high)),
            resolution,
            incident_energy=incident,
            values=values,
            bin_width=high - low,
            twins=[Twin(0.5, np.eye(3)), Twin(0.5, SWAP)],
            tolerance=2e-3,
            max_nodes=6000,
        )
        seen.append(found.intensity.reshape(len(chosen), -1) @ weights * (model.n_chemical_cells or 1))
    change = np.sqrt(np.mean((seen[0] / seen[1] - 1) ** 2))
    assert 0.002 < change < 0.2
    np.testing.assert_allclose(seen[1], image[number][tuple(chosen.T)], rtol=0.03)


def test_layered_is_the_general_one_with_ql_tied_to_q_and_e() -> None:
    """A small covariance with Ql a linear function of (Qh, Qk, E) through the kinematic surface: both agree."""
    model, values = two_layers(), {"Ja": -1.1, "Jb": -0.4}
    lattice, incident = np.asarray(model.lattice), 20.0
    q_hk = np.array([[0.22, 0.31]])
    energy = model.modes([[0.22, 0.31, 0.0]], **values).energy[0, :1] + 0.01
    small = random_covariance(np.random.default_rng(7), [0.004, 0.004, 0.03])
    layered = convolve_layered(model, q_hk, energy, small, incident_energy=incident, values=values, tolerance=1e-6)

    def height(h: float, k: float, e: float) -> float:
        return float(kinematic_l(h, k, e, incident_energy=incident, lattice=lattice))

    h, k, e, d = 0.22, 0.31, float(energy[0]), 1e-4
    tied = np.array(
        [
            (height(h + d, k, e) - height(h - d, k, e)) / (2 * d),
            (height(h, k + d, e) - height(h, k - d, e)) / (2 * d),
            (height(h, k, e + d) - height(h, k, e - d)) / (2 * d),
        ]
    )
    jacobian = np.array([[1, 0, 0], [0, 1, 0], tied, [0, 0, 1]])
    whole = np.eye(4)
    whole[:3, :3] = reciprocal(lattice).T
    covariance = whole @ jacobian @ small @ jacobian.T @ whole.T
    # E is a function of Q there; a little of its own keeps the sum smooth, in both.
    own = 0.01
    q = [[h, k, height(h, k, e)]]
    full = convolve(model, q, energy, covariance, values=values, intrinsic_sigma=own, tolerance=1e-6, max_nodes=10**6)
    layered = convolve_layered(
        model, q_hk, energy, small, incident_energy=incident, values=values, intrinsic_sigma=own, tolerance=1e-6
    )
    assert full.intensity[0] == pytest.approx(layered.intensity[0], rel=3e-3)


def test_twins_are_turned_crystals() -> None:
    """A twin by a Cartesian rotation shows what the first domain shows at the turned-back Q with the turned-back covariance."""
    rng = np.random.default_rng(9)
    model = ferromagnet(Bond(0, 0, (1, 0, 0), -1.0), Bond(0, 0, (0, 0, 1), -0.4))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn = turn * np.linalg.det(turn)
    covariance = random_covariance(rng, [0.05, 0.08, 0.1, 0.3])
    frame = reciprocal(CELL)
    q = np.array([[0.3, 0.2, 0.4]])
    twin = convolve(model, q, [2.0], covariance, twins=[turned_twin(0.4, turn, CELL)], tolerance=1e-6)
    back = np.eye(4)
    back[:3, :3] = turn.T
    turned_back = q @ frame @ turn @ np.linalg.inv(frame)
    alone = convolve(model, turned_back, [2.0], back @ covariance @ back.T, tolerance=1e-6)
    np.testing.assert_allclose(twin.intensity, 0.4 * alone.intensity, rtol=1e-5)
    assert alone.intensity[0] > 1e-3


def test_detailed_balance_flux_and_mosaic() -> None:
    """S(-Q, -E) = exp(-E / kT) S(Q, E) with energies that differ at Q and -Q; kf/ki; a mosaic is its own covariance."""
    twist = np.array([[0.0, 0.5, 0], [-0.5, 0, 0], [0, 0, 0]])
    model = ferromagnet(Bond(0, 0, (1, 0, 0), -np.eye(3) + twist))
    q = np.array([[0.2, 0.1, 0.3]])
    assert abs(np.diff(model.modes(np.concatenate([q, -q])).energy[:, 0])[0]) > 0.5
    sharp = np.diag([0.0, 0.0, 0.0, 0.02]) ** 2
    energy = model.modes(q).energy[0]
    loss = convolve(model, q, energy, sharp, temperature=30.0).intensity[0]
    gain = convolve(model, -q, -energy, sharp, temperature=30.0).intensity[0]
    assert gain / loss == pytest.approx(np.exp(-energy[0] / (BOLTZMANN * 30.0)), rel=1e-6)
    cold = convolve(model, q, energy, sharp).intensity[0]
    assert loss / cold == pytest.approx(1 / (1 - np.exp(-energy[0] / (BOLTZMANN * 30.0))), rel=1e-6)
    flux = convolve(model, q, energy, sharp, incident_energy=3.0 * energy[0]).intensity[0]
    assert flux / cold == pytest.approx(np.sqrt(2 / 3), rel=1e-6)
    # Blocks turned one by one around every axis against the covariance that stands for them.
    broad = np.diag([0.0, 0.0, 0.0, 0.15]) ** 2
    q_cart = q @ reciprocal(CELL)
    mosaic = 0.02
    once = convolve(model, q, energy, with_mosaic(broad, q_cart[0], mosaic=mosaic), tolerance=1e-6).intensity[0]
    turns = np.random.default_rng(0).normal(scale=mosaic, size=(4000, 3))
    places = (q_cart + np.cross(turns, q_cart)) @ np.linalg.inv(reciprocal(CELL))
    blocks = convolve(model, places, np.tile(energy, 4000), broad).intensity
    assert once == pytest.approx(blocks.mean(), abs=4 * blocks.std() / np.sqrt(4000))
    assert blocks.std() > 0.05 * blocks.mean()  # the mosaic matters here


def test_layered_detailed_balance() -> None:
    """With a narrow covariance and Ql compared at the same place: gain over loss is the Boltzmann factor."""
    cell = np.diag([4.0, 5.0, 9.0])
    site = Site((0, 0, 0), 1.0, (0, 0, 1), "Mn2+")
    model = SpinModel(cell, cell, [site], [Bond(0, 0, (1, 0, 0), -1.0)], zeeman=[Zeeman(0, (0, 0, -1.0))])
    narrow = np.diag([0.0, 0.0, 0.05]) ** 2
    energy = model.modes([[0.2, 0.1, 0.0]]).energy[0]
    common: dict[str, Any] = {"incident_energy": 30.0, "temperature": 40.0, "form_factor": "none"}
    loss = convolve_layered(model, [[0.2, 0.1]], energy, narrow, **common).intensity[0]
    gain = convolve_layered(model, [[0.2, 0.1]], -energy, narrow, **common).intensity[0]
    heights = [float(kinematic_l(0.2, 0.1, e, incident_energy=30.0, lattice=cell)) for e in (energy[0], -energy[0])]
    shown = model.modes([[0.2, 0.1, height] for height in heights]).intensity[:, 0]
    expected = shown[1] / shown[0] * np.exp(-energy[0] / (BOLTZMANN * 40.0))
    assert gain / loss == pytest.approx(expected, rel=1e-6)


def test_goldstone_points_are_left_out() -> None:
    """An antiferromagnet without anisotropy at its magnetic Bragg point: finite, and the sum converges around it."""
    cell = np.diag([4.0, 4.0, 7.0])
    magnetic = np.array([[4.0, 4.0, 0.0], [-4.0, 4.0, 0.0], [0.0, 0.0, 7.0]])
    sites = [Site((0, 0, 0), 2.5, (0, 0, 1), "Mn2+"), Site((0.5, 0.5, 0), 2.5, (0, 0, -1), "Mn2+")]
    bonds = [Bond(0, 1, step, 0.7) for step in ((0, 0, 0), (-1, 0, 0), (0, -1, 0), (-1, -1, 0))]
    model = SpinModel(cell, magnetic, sites, bonds, [SingleIon(i, np.diag([0.0, 0, 0])) for i in range(2)])
    covariance = np.diag([0.03, 0.03, 0.05, 0.3]) ** 2
    found = convolve(model, [[0.5, 0.5, 0.0]], [0.5], covariance, tolerance=1e-2)
    again = convolve(model, [[0.5, 0.5, 0.0]], [0.5], covariance, tolerance=1e-4, max_nodes=10**6)
    assert np.isfinite(found.intensity).all()
    assert found.intensity[0] == pytest.approx(again.intensity[0], rel=0.03)


def test_bad_calls_are_refused() -> None:
    model, good = ferromagnet(Bond(0, 0, (1, 0, 0), -1.0)), np.eye(4) * 1e-2
    with pytest.raises(ValueError, match="q_rlu must have shape"):
        convolve(model, [0.1, 0.2, 0.3], [1.0], good)
    with pytest.raises(ValueError, match=r"energy must have shape \(1,\)"):
        convolve(model, [[0.1, 0.2, 0.3]], [1.0, 2.0], good)
    with pytest.raises(ValueError, match="no width in energy"):
        convolve(model, [[0.1, 0.2, 0.3]], [1.0], np.diag([1e-2, 1e-2, 1e-2, 0.0]))
    with pytest.raises(ValueError, match="fractions of the twins"):
        convolve(model, [[0.1, 0.2, 0.3]], [1.0], good, twins=[Twin(0.7, np.eye(3))] * 2)
    with pytest.raises(ValueError, match="temperature must be positive"):
        convolve(model, [[0.1, 0.2, 0.3]], [1.0], good, temperature=0.0)
    with pytest.raises(ValueError, match="needs a layered model"):
        convolve_layered(ferromagnet(Bond(0, 0, (0, 0, 1), -1.0)), [[0.1, 0.2]], [1.0], np.eye(3), incident_energy=20.0)
    turned = Twin(1.0, np.eye(3)[[1, 2, 0]])
    with pytest.raises(ValueError, match="must leave Ql alone"):
        convolve_layered(two_layers(), [[0.1, 0.2]], [1.0], np.eye(3), incident_energy=20.0, twins=[turned],
                         values={"Ja": -1.0, "Jb": -1.0})  # fmt: skip
    with pytest.raises(ValueError, match="twin's matrix"):
        Twin(0.5, np.zeros((3, 3)))
    with pytest.raises(ValueError, match="rotation must be"):
        turned_twin(0.5, 2 * np.eye(3), CELL)
    assert convolve(model, np.zeros((0, 3)), [], good).intensity.shape == (0,)
