"""Mosaic and conserved weight of images: against convolutions of single points, other paths of the kernel, and sum rules."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import insdl.instrument.image as image_room
from insdl import Bond, SingleIon, Site, SpinModel
from insdl.instrument import EnergyBlock, ImageFrame, ImageSettings, ImageSimulator, convolve_layered
from insdl.instrument.rb2mnf4 import rb2mnf4_frame
from insdl.materials import rb2mnf4

VALUES = {"J1": 0.657, "J2": 0.006, "D": -0.0055}
MOSAIC = np.radians(2.5)


def wide_frame(subpixels: int = 4) -> ImageFrame:
    bins = [(1.0, 3.0), (3.0, 5.5), (5.5, 7.5)]
    block = EnergyBlock(bins=bins, incident_energy=25.0, sigma_energy=(0.3, 0, 0), sigma_q=0.02)
    return ImageFrame([block], np.linspace(-0.95, 0.95, 20), subpixels)


def exact(frame: ImageFrame, number: int, i: int, j: int, mosaic: float) -> float:
    """A pixel's mean of single points, seen with the upright resolution by blocks at the angles of Gauss and Hermite."""
    x, w = np.polynomial.legendre.leggauss(4)
    inside = 0.05 * np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1).reshape(-1, 2)
    angle, share = np.polynomial.hermite_e.hermegauss(21)
    c, s = np.cos(mosaic * angle), np.sin(mosaic * angle)
    pixels = np.asarray(frame.pixels)
    q = np.einsum("abt,pb->tpa", np.array([[c, -s], [s, c]]), np.array([pixels[i], pixels[j]]) + inside)
    weight = share[:, None] / share.sum() * (w[:, None] * w).ravel() / 4.0
    _, low, high = frame.bin_at(number)
    found = convolve_layered(
        rb2mnf4(), q.reshape(-1, 2), np.full(weight.size, 0.5 * (low + high)), np.diag([0.02, 0.02, 0.3]) ** 2,
        incident_energy=25.0, values=VALUES, bin_width=high - low, tolerance=1e-4,
    )  # fmt: skip
    return float(found.intensity @ weight.ravel()) * (rb2mnf4().n_chemical_cells or 1)


@pytest.mark.parametrize("twin_fraction", [0.0, 0.3])
def test_mosaic_is_a_mean_over_turned_blocks(twin_fraction: float) -> None:
    frame = wide_frame()
    settings = ImageSettings(mosaic=MOSAIC, twin_fraction=twin_fraction)  # the model is square: twins change nothing
    image = ImageSimulator(rb2mnf4(), frame, margin=0.25).simulate(settings, **VALUES)
    for number, i, j in [(2, 18, 17), (2, 3, 15), (1, 13, 16), (1, 17, 2), (0, 17, 14), (1, 8, 12)]:
        assert abs(image[number, i, j] - exact(frame, number, i, j, MOSAIC)) < 3e-4 * image[number].max()


def test_mosaic_changes_the_image_by_much_more_than_its_error() -> None:
    simulator = ImageSimulator(rb2mnf4(), wide_frame(), margin=0.25)
    plain, broad = (simulator.simulate(ImageSettings(mosaic=mosaic), **VALUES) for mosaic in (0.0, MOSAIC))
    assert np.abs(broad - plain).max() > 0.03 * plain.max()
    # A mosaic that is next to nothing goes the other way through the kernel, and makes the same image.
    nothing = simulator.simulate(ImageSettings(mosaic=1e-7), **VALUES)
    np.testing.assert_allclose(nothing, plain, rtol=0, atol=2e-6 * plain.max())


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.01, 0.01), (0.02, -0.03)])
@pytest.mark.parametrize("n_pixels", [7, 8])
def test_mirrors_of_turned_images(monkeypatch: pytest.MonkeyPatch, shift: tuple[float, float], n_pixels: int) -> None:
    """Quarters, rows at opposite angles, pixels of one half: the same as all points and all pixels."""
    block = EnergyBlock(bins=[(1.0, 4.0), (4.0, 7.0)], incident_energy=25.0, sigma_energy=(0.3, 0, 0), sigma_q=0.03)
    frame = ImageFrame([block], np.linspace(-0.9, 0.9, n_pixels), 3)
    settings = ImageSettings(1.0, 0.0, 0.01, 0.3, *shift, mosaic=0.03)
    quick = ImageSimulator(rb2mnf4(), frame, margin=0.4)
    monkeypatch.setattr(image_room, "mirrors_of", lambda model: "none")
    plain = ImageSimulator(rb2mnf4(), frame, margin=0.4)
    assert (quick.mirrors, plain.mirrors) == ("square", "none")
    a, b = quick.simulate(settings, **VALUES), plain.simulate(settings, **VALUES)
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-11 * b.max())


def test_the_margin_holds_the_mosaic() -> None:
    with pytest.raises(
        ValueError, match=r"three momentum widths and the shift reach 0\.0949 r\.l\.u\. beyond the pixels"
    ):
        ImageSimulator(rb2mnf4(), rb2mnf4_frame(), margin=0.07).simulate(ImageSettings(mosaic=0.03), **VALUES)
    for bad in (-0.1, 0.3, np.nan):
        with pytest.raises(ValueError, match=r"mosaic at most 0\.2"):
            ImageSettings(mosaic=bad)


def test_a_pickled_simulator_keeps_its_form_factor() -> None:
    simulator = ImageSimulator(rb2mnf4(), wide_frame(1), margin=0.25, form_factor="none")
    copied = pickle.loads(pickle.dumps(simulator))
    np.testing.assert_array_equal(copied.simulate(**VALUES), simulator.simulate(**VALUES))


def test_bits_of_turned_images_do_not_depend_on_threads() -> None:
    simulator = ImageSimulator(rb2mnf4(), wide_frame(1), margin=0.25)
    sets = np.array([simulator.model.values({**VALUES, "J1": j}) for j in (0.5, 0.6, 0.7)])
    settings = [ImageSettings(mosaic=m, twin_fraction=0.2, shift_h=0.01) for m in (0.0, 0.01, 0.02)]
    images, _ = simulator.simulate_sets(sets, settings, threads=1)
    for threads in (2, 5):
        np.testing.assert_array_equal(simulator.simulate_sets(sets, settings, threads=threads)[0], images)
    for one, values, own in zip(images, sets, settings, strict=True):
        np.testing.assert_array_equal(simulator.simulate_sets(values[None], own, threads=3)[0][0], one)


CELL = np.diag([4.0, 4.0, 6.0])
FLAT = SpinModel(
    CELL,
    CELL,
    [Site((0, 0, 0), 2.5, (0, 0, 1))],
    [Bond(0, 0, (1, 0, 0), parameter="J"), Bond(0, 0, (0, 1, 0), parameter="J")],
    [SingleIon(0, np.diag([0.0, 0.0, 1.0]), parameter="D")],
    parameters=["J", "D"],
)


@pytest.mark.parametrize(
    "settings",
    [
        ImageSettings(),
        ImageSettings(1.3, 0.05, 0.02, 0.4, 0.02, -0.01, 0.1),
        ImageSettings(mosaic=0.02),
        ImageSettings(0.7, 0.02, 0.01, 0.4, 0.01, 0.03, 0.2, mosaic=0.02),
    ],
)
def test_weight_is_conserved(settings: ImageSettings) -> None:
    """A ferromagnet along c seen at Ql = 0 has the weight S/2 everywhere: in every pixel's sum over bins, to 1e-6.

    (1 - Qx^2/Q^2) + (1 - Qy^2/Q^2) = 1 for Q in the plane, with <Sx Sx> = S/2.
    """
    edges = np.linspace(-2.0, 16.0, 31)
    bins = np.stack([edges[:-1], edges[1:]], axis=1)
    block = EnergyBlock(bins=bins, incident_energy=40.0, sigma_energy=(0.25, 0, 0), sigma_q=0.02, fixed_l=0.0)
    frame = ImageFrame([block], np.linspace(-0.45, 0.45, 10), 4)
    image = ImageSimulator(FLAT, frame, margin=0.3, form_factor="none").simulate(settings, J=-0.5, D=-0.3)
    total = np.einsum("bij,b->ij", image, np.diff(edges))
    np.testing.assert_allclose(total, 1.25, rtol=1e-6)


@pytest.mark.parametrize("extra_sigma_q", [0.01, 0.04])
def test_the_mean_over_a_period_is_conserved(extra_sigma_q: float) -> None:
    """Momentum widths move weight between pixels; over one period of the reciprocal lattice none is lost, to 1e-6."""
    block = EnergyBlock(
        bins=[(0.5, 3.0), (3.0, 8.0)], incident_energy=25.0, sigma_energy=(0.3, 0, 0), sigma_q=0.02, fixed_l=0.0
    )
    frame = ImageFrame([block], np.linspace(-0.475, 0.475, 20), 3)
    simulator = ImageSimulator(FLAT, frame, margin=0.4, form_factor="none")
    sharp, broad = (
        simulator.simulate(ImageSettings(extra_sigma_q=width), J=-0.5, D=-0.3) for width in (0.0, extra_sigma_q)
    )
    assert np.abs(broad - sharp).max() > 1e-3 * sharp.max()
    np.testing.assert_allclose(broad.mean(axis=(1, 2)), sharp.mean(axis=(1, 2)), rtol=1e-6)


@pytest.mark.parametrize("mosaic", [0.0, 0.01])
def test_cut_tails_are_small_on_a_fine_grid(mosaic: float) -> None:
    """Where bins are so fine that tails are cut at their reach, erfc(5.2 / sqrt 2) = 2e-7 of the weight is lost."""
    edges = np.linspace(-0.5, 7.5, 801)
    block = EnergyBlock(
        bins=np.stack([edges[:-1], edges[1:]], axis=1),
        incident_energy=40.0, sigma_energy=(0.25, 0, 0), sigma_q=0.03, fixed_l=0.0,
    )  # fmt: skip
    frame = ImageFrame([block], np.linspace(-0.05, 0.05, 2), 40)
    settings = ImageSettings(mosaic=mosaic)
    image = ImageSimulator(FLAT, frame, margin=0.2, form_factor="none").simulate(settings, J=-0.2, D=-0.3)
    np.testing.assert_allclose(0.01 * image.sum(axis=0), 1.25, rtol=3e-7)


RECTANGLE = SpinModel(
    np.diag([4.0, 5.0, 6.0]),
    np.diag([4.0, 5.0, 6.0]),
    [Site((0, 0, 0), 2.0, (0, 0, 1), "Mn2+")],
    [Bond(0, 0, (1, 0, 0), parameter="Ja"), Bond(0, 0, (0, 1, 0), parameter="Jb")],
    parameters=["Ja", "Jb"],
)


def test_axes_of_different_length() -> None:
    """Blocks turn in space, not in r.l.u.: q and the upright covariance as a block's own axes see them, B^-1 R B."""
    values = {"Ja": -0.5, "Jb": -0.2}
    block = EnergyBlock(bins=[(1.0, 4.0), (4.0, 7.0)], incident_energy=25.0, sigma_energy=(0.3, 0, 0), sigma_q=0.025)
    frame = ImageFrame([block], np.linspace(-0.95, 0.95, 20), 4)
    simulator = ImageSimulator(RECTANGLE, frame, margin=0.3)
    assert simulator.mirrors == "axes"
    image = simulator.simulate(ImageSettings(mosaic=MOSAIC, shift_h=0.02, shift_k=-0.01), **values)
    x, w = np.polynomial.legendre.leggauss(4)
    inside = 0.05 * np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1).reshape(-1, 2)
    angle, share = np.polynomial.hermite_e.hermegauss(15)
    upright, pixels = np.diag([0.025, 0.025, 0.3]) ** 2, np.asarray(frame.pixels)
    for number, i, j in [(0, 16, 4), (1, 15, 18), (1, 3, 14)]:
        expected = 0.0
        for phi, part in zip(MOSAIC * angle, share / share.sum(), strict=True):
            turn = np.eye(3)
            # B = diag(1/4, 1/5) up to 2 pi.
            turn[:2, :2] = [[np.cos(phi), -np.sin(phi) * 4 / 5], [np.sin(phi) * 5 / 4, np.cos(phi)]]
            q = (np.array([pixels[i] + 0.02, pixels[j] - 0.01]) + inside) @ turn[:2, :2].T
            low, high = block.bins[number]  # type: ignore[index]
            found = convolve_layered(
                RECTANGLE, q, np.full(16, 0.5 * (low + high)), turn @ upright @ turn.T, incident_energy=25.0,
                values=values, bin_width=high - low, tolerance=1e-4,
            )  # fmt: skip
            expected += part * float(found.intensity @ (w[:, None] * w).ravel()) / 4.0
        assert abs(image[number, i, j] - expected) < 3e-4 * image[number].max()
