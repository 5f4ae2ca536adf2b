"""Images whose resolution leans along Q, against the convolution with the full covariance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

import insdl.instrument.image as image_room
from insdl import Bond, SingleIon, Site, SpinModel, _core
from insdl.instrument import EnergyBlock, ImageFrame, ImageSettings, ImageSimulator, Twin, convolve_layered
from insdl.instrument.resolution import ResolutionTable
from insdl.materials import goodenough, rb2mnf4
from insdl.materials.pcsmo import LITERATURE

Reals = npt.NDArray[np.float64]
CELL = np.diag([4.0, 4.0, 6.0])
SWAP = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])
FLAT = SpinModel(
    CELL,
    CELL,
    [Site((0, 0, 0), 2.5, (0, 0, 1), "Mn2+")],
    [Bond(0, 0, (1, 0, 0), parameter="J"), Bond(0, 0, (0, 1, 0), parameter="J")],
    [SingleIon(0, np.diag([0.0, 0.0, 1.0]), parameter="D")],
    parameters=["J", "D"],
)
VALUES = {"J": -0.5, "D": -0.3}
SETTINGS = ImageSettings(1.2, 0.02, 0.01, 0.4)


def leaning(slope: float, *, sigma_q: float = 0.02, subpixels: int = 8, pixels: npt.ArrayLike = ()) -> ImageFrame:
    """Bins on the slopes of the band of `FLAT`, which rises with |Q| where the pixels are."""
    edges = np.array([4.0, 5.0, 6.0, 7.0])
    block = EnergyBlock(
        np.stack([edges[:-1], edges[1:]], axis=1), 25.0, (0.35, 0, 0), sigma_q, energy_slope=slope
    )  # fmt: skip
    return ImageFrame([block], pixels if len(np.asarray(pixels)) else np.linspace(0.05, 0.5, 10), subpixels)


def seen_by_full_covariance(
    model: SpinModel,
    values: dict[str, float],
    frame: ImageFrame,
    settings: ImageSettings,
    chosen: npt.NDArray[np.int64],
) -> Reals:
    """(n_bins, n_chosen) of the pixels ``chosen`` (n, 2), by 4 x 4 Gauss points of each, with its own covariance."""
    block, pixels = frame.blocks[0], np.asarray(frame.pixels)
    sigma, width = (
        np.asarray(block.sigma_energy)[0] * settings.width_factor,
        np.hypot(block.sigma_q, settings.extra_sigma_q),
    )
    x, w = np.polynomial.legendre.leggauss(4)
    inside = 0.5 * (pixels[1] - pixels[0]) * np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1).reshape(-1, 2)
    weights = (w[:, None] * w).ravel() / 4.0
    shift = np.array([settings.shift_h, settings.shift_k])
    twins = [Twin(1 - settings.twin_fraction, np.eye(3)), Twin(settings.twin_fraction, SWAP)]
    result = np.empty((len(frame.bins), len(chosen)))
    covariance = np.zeros((len(chosen), 3, 3))
    covariance[:, [0, 1], [0, 1]], covariance[:, 2, 2] = width**2, sigma**2
    lean = block.energy_slope * block.sigma_q**2 * settings.width_factor * (pixels[chosen] + shift)
    covariance[:, :2, 2] = covariance[:, 2, :2] = lean
    for number, (low, high) in enumerate(frame.bins):
        found = convolve_layered(
            model,
            ((pixels[chosen] + shift)[:, None] + inside).reshape(-1, 2),
            np.full(len(chosen) * len(inside), 0.5 * (low + high)),
            np.repeat(covariance, len(inside), axis=0),
            incident_energy=block.incident_energy,
            values=values,
            bin_width=high - low,
            twins=twins,
            intrinsic_sigma=lambda energy: settings.broadening * energy,
            tolerance=1e-3,
        )
        result[number] = found.intensity.reshape(len(chosen), -1) @ weights * (model.n_chemical_cells or 1)
    return result


CHOSEN = np.array([[2, 1], [4, 2], [3, 5], [6, 4], [8, 3], [1, 7], [9, 9]])


@pytest.mark.parametrize(("correlation", "within"), [(0.1, 3e-5), (0.25, 4e-4), (-0.25, 4e-4), (0.45, 2.5e-3)])
def test_leaning_image_is_the_convolution_with_the_full_covariance(correlation: float, within: float) -> None:
    """To a share of the brightest of pixels that grows with the third power of the correlation of E with Q.

    correlation: of E with |Q|, at the corner of the frame. Without the slope the pixels are off by more than ten times as much.
    """
    sigma_q = 0.02
    slope = correlation * 0.35 / (sigma_q * np.sqrt(2) * 0.5)
    frame = leaning(slope, sigma_q=sigma_q)
    settings = replace(SETTINGS, broadening=0.0, extra_sigma_q=0.0)
    image = ImageSimulator(FLAT, frame).simulate(settings, **VALUES)
    upright = ImageSimulator(FLAT, leaning(0.0, sigma_q=sigma_q)).simulate(settings, **VALUES)
    expected = seen_by_full_covariance(FLAT, VALUES, frame, settings, CHOSEN)
    found, without = image[:, *CHOSEN.T], upright[:, *CHOSEN.T]
    largest = expected.max()
    assert np.abs(found - expected).max() < within * largest
    assert np.abs(without - expected).max() > 10 * within * largest


def test_of_goodenough_with_kinematic_l() -> None:
    """Sixteen modes in two layers, twins, broadening and a shift: to 5e-5 of the brightest, of a change of a percent."""
    model, values = goodenough(), dict(LITERATURE["goodenough"])
    # The kernel multiplies by the mean form factor of the ions, `convolve_layered` each site by its own: make them one.
    model = replace(model, sites=[replace(site, ion="Mn3+") for site in model.sites])
    pixels = np.linspace(0.1, 0.55, 10)
    settings = ImageSettings(1.2, 0.05, twin_fraction=0.4, shift_h=0.01, shift_k=0.01)
    frames = [
        ImageFrame([EnergyBlock([[18.0, 22.0], [22.0, 26.0]], 70.0, (1.1, 0, 0), 0.016, energy_slope=s)], pixels, 8)
        for s in (20.0, 0.0)
    ]
    image, upright = (ImageSimulator(model, frame).simulate(settings, **values) for frame in frames)
    bright = np.argwhere(image.min(axis=0) > 0.3 * image.max(axis=(1, 2)).min())
    chosen = bright[np.random.default_rng(5).permutation(len(bright))[:3]]
    expected = seen_by_full_covariance(model, values, frames[0], settings, chosen)
    found, without = image[:, *chosen.T], upright[:, *chosen.T]
    assert np.abs(found - expected).max() < 5e-5 * expected.max()
    assert np.abs(without - expected).max() > 1e-2 * expected.max()


def test_weight_is_conserved() -> None:
    """A ferromagnet along c seen at Ql = 0 has the weight S/2 everywhere, in every pixel's sum over bins."""
    edges = np.linspace(-2.0, 16.0, 31)
    block = EnergyBlock(
        np.stack([edges[:-1], edges[1:]], axis=1), 40.0, (0.25, 0, 0), 0.02, fixed_l=0.0, energy_slope=8.0
    )  # fmt: skip
    frame = ImageFrame([block], np.linspace(-0.45, 0.45, 10), 4)
    simulator = ImageSimulator(FLAT, frame, margin=0.3, form_factor="none")
    upright = ImageSimulator(
        FLAT, replace(frame, blocks=[replace(block, energy_slope=0.0)]), margin=0.3, form_factor="none"
    )
    for settings in (ImageSettings(), ImageSettings(1.3, 0.05, 0.02, 0.4, 0.02, -0.01, 0.1)):
        image = simulator.simulate(settings, **VALUES)
        assert np.abs(image - upright.simulate(settings, **VALUES)).max() > 0.02 * image.max()
        # Where the second order would be negative it is cut, far below the last digit of a measurement.
        np.testing.assert_allclose(np.einsum("bij,b->ij", image, np.diff(edges)), 1.25, rtol=3e-5)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.01, 0.01), (0.02, -0.03)])
@pytest.mark.parametrize("n_pixels", [7, 8])
def test_mirrors(monkeypatch: pytest.MonkeyPatch, shift: tuple[float, float], n_pixels: int) -> None:
    """Quarters and pixels of one half are the same as all points and all pixels; twins as two images."""
    values = {"J1": 0.65, "J2": 0.01, "D": -0.005}
    block = EnergyBlock([(1.0, 4.0), (4.0, 7.0)], 25.0, (0.3, 0, 0), 0.03, energy_slope=4.0)
    frame = ImageFrame([block], np.linspace(-0.9, 0.9, n_pixels), 3)
    settings = ImageSettings(1.0, 0.0, 0.01, 0.3, *shift)
    quick = ImageSimulator(rb2mnf4(), frame, margin=0.4)
    monkeypatch.setattr(image_room, "mirrors_of", lambda model: "none")
    plain = ImageSimulator(rb2mnf4(), frame, margin=0.4)
    assert (quick.mirrors, plain.mirrors) == ("square", "none")
    a, b = quick.simulate(settings, **values), plain.simulate(settings, **values)
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-11 * b.max())


def test_bits_do_not_depend_on_threads_and_hardly_on_the_instruction_set() -> None:
    simulator = ImageSimulator(FLAT, leaning(10.0))
    sets = np.array([[-0.5, -0.3], [-0.52, -0.2], [-0.45, -0.4]])
    images, stable = simulator.simulate_sets(sets, SETTINGS, threads=1)
    assert stable.all()
    for threads in (2, 5):
        np.testing.assert_array_equal(simulator.simulate_sets(sets, SETTINGS, threads=threads)[0], images)
    np.testing.assert_array_equal(simulator.simulate_sets(sets[1:2], SETTINGS, threads=3)[0][0], images[1])
    before = _core.instruction_set()
    try:
        for name in _core.instruction_sets():
            _core.choose_instruction_set(name)
            np.testing.assert_allclose(
                simulator.simulate_sets(sets, SETTINGS)[0], images, rtol=0, atol=1e-9 * images.max()
            )
    finally:
        _core.choose_instruction_set(before)


def test_other_blocks_keep_their_bits() -> None:
    """A block that leans changes nothing in one that does not."""
    upright = EnergyBlock([(1.0, 4.0), (4.0, 7.0)], 25.0, (0.3, 0, 0), 0.03)
    pixels = np.linspace(0.05, 0.5, 10)
    alone = ImageSimulator(FLAT, ImageFrame([upright], pixels, 3)).simulate(SETTINGS, **VALUES)
    beside = ImageSimulator(FLAT, ImageFrame([replace(upright, energy_slope=5.0), upright], pixels, 3))
    both = beside.simulate(SETTINGS, **VALUES)
    np.testing.assert_array_equal(both[2:], alone)
    assert np.abs(both[:2] - alone).max() > 0.01 * alone.max()


def test_the_slope_of_a_table() -> None:
    """Covariances made with a slope give that slope back, and only where they are asked for."""
    q, energy = np.linspace(-1.0, 1.0, 5), np.array([0.0, 5.0, 10.0])
    covariance = np.zeros((5, 5, 3, 3, 3))
    covariance[..., [0, 1], [0, 1]], covariance[..., 2, 2] = 0.02**2, 0.25
    for axis, values in ((0, q[:, None, None]), (1, q[None, :, None])):
        covariance[..., axis, 2] = covariance[..., 2, axis] = 7.0 * 0.02**2 * values
    table = ResolutionTable(q, q, energy, covariance)
    assert table.energy_slope(1.0, 9.0, sigma_q=0.02) == pytest.approx(7.0, rel=1e-12)
    block, _ = table.energy_block([(1.0, 9.0)], incident_energy=20.0, region="leaning")
    assert block.energy_slope == pytest.approx(7.0, rel=1e-12)
    assert table.energy_block([(1.0, 9.0)], incident_energy=20.0)[0].energy_slope == 0.0
    with pytest.raises(ValueError, match="region must be 'upright' or 'leaning', got 'round'"):
        table.energy_block([(1.0, 9.0)], incident_energy=20.0, region="round")  # type: ignore[arg-type]


def test_bad_slopes_are_refused() -> None:
    with pytest.raises(ValueError, match="energy_slope must be finite, got nan"):
        leaning(float("nan"))
    with pytest.raises(
        ValueError, match=r"0\.707 meV at the corners of the frame, but the width of E is only 0\.35 meV"
    ):
        leaning(50.0)
    with pytest.raises(ValueError, match="a mosaic cannot be had with a resolution that leans"):
        ImageSimulator(FLAT, leaning(5.0), margin=0.2).simulate(ImageSettings(mosaic=0.01), **VALUES)
