"""The frame and the sheets of PCSMO: energies, axes, resolution, coverage."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from insdl.instrument import EnergyBlock, ImageFrame, counted, detector_coverage
from insdl.instrument.pcsmo import (
    INCIDENT_ENERGIES,
    NOISE_SIGMA,
    SETTINGS,
    SHEET_SHAPE,
    TABLE_SETTINGS,
    from_sheet,
    pcsmo_frame,
    to_sheet,
)
from insdl.materials.pcsmo import A, B, C


def test_frame_of_the_measured_image() -> None:
    """Slices from (0.1 + 0.06 n) Ei, 40 x 40 pixels centred on linspace(-1, 1)."""
    frame = pcsmo_frame()
    assert frame.shape == (60, 40, 40)
    bins = frame.bins.reshape(6, 10, 2)
    for row, energy in zip(bins, INCIDENT_ENERGIES, strict=True):
        np.testing.assert_allclose(row[:, 0], (0.1 + 0.06 * np.arange(10)) * energy, rtol=1e-12)
        np.testing.assert_allclose(row[:-1, 1], row[1:, 0], rtol=1e-12)
    np.testing.assert_allclose(frame.pixels, np.linspace(-1, 1, 40), rtol=0, atol=1e-15)
    np.testing.assert_allclose(frame.pixel_edges, (np.arange(41) - 20) * 2 / 39, rtol=0, atol=1e-12)
    assert NOISE_SIGMA.shape == (6, 10)


def test_resolution_goes_through_the_tabulated_widths() -> None:
    """Ei = 25 and 140 meV at 0.13, 0.40 and 0.67 Ei; the width falls with the energy transfer inside the frame."""
    blocks = pcsmo_frame().blocks
    for block, wanted in ((blocks[0], (0.389, 0.343, 0.308)), (blocks[5], (2.67, 2.23, 1.91))):
        energy = np.array([0.13, 0.40, 0.67]) * block.incident_energy
        s0, s1, s2 = np.asarray(block.sigma_energy)
        np.testing.assert_allclose(s0 + s1 * energy + s2 * energy**2, wanted, rtol=1e-9)
    for block in blocks:
        s0, s1, s2 = np.asarray(block.sigma_energy)
        energy = np.linspace(0.0, 1.0, 50) * block.incident_energy
        width = s0 + s1 * energy + s2 * energy**2
        assert (width > 0).all()
    assert [block.sigma_q for block in blocks] == sorted(block.sigma_q for block in blocks)
    assert TABLE_SETTINGS.width_factor == 1.0
    assert TABLE_SETTINGS.twin_fraction == SETTINGS.twin_fraction == 0.5


def test_labels() -> None:
    frame = pcsmo_frame()
    assert frame.label(0) == "Ei = 25 meV, 2.5 to 4 meV"
    assert frame.label(59) == "Ei = 140 meV, 89.6 to 98 meV"
    with pytest.raises(IndexError, match="the frame has 60 bins"):
        frame.label(60)


@pytest.mark.parametrize("orientation", ["published", "measured"])
def test_sheets_there_and_back(orientation: Any) -> None:
    image = np.random.default_rng(0).random((60, 40, 40))
    sheet = to_sheet(image, orientation=orientation)
    assert sheet.shape == SHEET_SHAPE
    np.testing.assert_array_equal(from_sheet(sheet, orientation=orientation), image)
    np.testing.assert_array_equal(from_sheet(sheet[None], orientation=orientation), image)
    np.testing.assert_array_equal(to_sheet(image.reshape(6, 10, 40, 40), orientation=orientation), sheet)


def test_where_a_pixel_lies_on_a_sheet() -> None:
    """Row r is Qh = 1 - 2r/39; column c is Qk = -1 + 2c/39 in published sheets, 1 - 2c/39 in measured ones."""
    image = np.zeros((60, 40, 40))
    image[23, 30, 5] = 1.0  # Ei = 50 meV (third block), fourth slice, Qh = 21/39, Qk = -29/39
    for orientation, column in (("published", 5), ("measured", 34)):
        sheet = to_sheet(image, orientation=orientation)  # type: ignore[arg-type]
        assert np.argwhere(sheet).tolist() == [[2 * 40 + 9, 3 * 40 + column]]
    assert np.asarray(pcsmo_frame().pixels)[30] == pytest.approx(1 - 2 * 9 / 39)


@pytest.mark.parametrize("shape", [(60, 40, 40), (400, 240), (240,), (2, 240, 400), (0,)])
def test_other_layouts_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"a PCSMO image must have shape \(240, 400\)"):
        from_sheet(np.zeros(shape), orientation="published")


@pytest.mark.parametrize("call", [to_sheet, from_sheet])
def test_other_orientations_are_refused(call: Any) -> None:
    with pytest.raises(ValueError, match="orientation must be 'published' or 'measured', got 'mirrored'"):
        call(np.zeros(SHEET_SHAPE), orientation="mirrored")


def test_detector_coverage() -> None:
    """A beam stop in the middle, gaps, an outer edge: symmetric, and wider in Q for larger incident energies."""
    frame, lattice = pcsmo_frame(), np.diag([A, B, C])
    covered = detector_coverage(frame, lattice)
    assert covered.shape == frame.shape
    assert covered.dtype == bool
    assert 0.6 < covered.mean() < 0.95
    assert not covered[:, 19:21, 19:21].any()
    np.testing.assert_array_equal(covered, covered[:, ::-1])
    np.testing.assert_array_equal(covered, covered[:, :, ::-1])
    assert not covered[9, 0].any()  # Ei = 25 meV, the largest energy transfer: the edge of the image is out of reach
    assert covered[50, 0, 0]


def test_counting() -> None:
    """Half of an empty image is zero, bright pixels scatter like their root, and nothing leaves 0 .. clip."""
    rng = np.random.default_rng(1)
    empty = counted(np.zeros((10, 40, 40), np.float32), np.full((10, 1, 1), 2.0, np.float32), rng)
    assert 0.47 < (empty == 0).mean() < 0.53
    assert empty.mean() == pytest.approx(2.0 / np.sqrt(2 * np.pi), rel=0.05)
    bright = counted(np.full((10, 40, 40), 64.0, np.float32), np.full((1, 1, 1), 6.0, np.float32), rng)
    assert bright.std() == pytest.approx(10.0, rel=0.03)
    assert bright.mean() == pytest.approx(64.0, rel=0.01)
    clipped = counted(np.full((10, 40, 40), 119.0, np.float32), np.full((1, 1, 1), 6.0, np.float32), rng, clip=120.0)
    assert clipped.max() == 120.0
    assert clipped.min() >= 0.0


def test_frames_keep_their_own_numbers() -> None:
    edges, pixels = np.array([[1.0, 2.0]]), np.array([0.0, 0.5])
    frame = ImageFrame([EnergyBlock(edges, 10.0, (0.1, 0, 0), 0.01)], pixels)
    edges[:], pixels[:] = 7.0, 7.0
    np.testing.assert_array_equal(frame.bins, [[1.0, 2.0]])
    np.testing.assert_allclose(frame.pixel_edges, [-0.25, 0.25, 0.75])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"sigma_energy": (-1.0, 0.0, 0.0)}, "must not be negative over the bins"),
        ({"sigma_energy": (1.0, np.nan, 0.0)}, "three finite numbers"),
        ({"sigma_q": -0.1}, "sigma_q must be finite and not negative"),
        ({"incident_energy": 0.0}, "incident_energy must be positive"),
        ({"bins": [(3.0, 2.0)]}, "lower edge before upper"),
    ],
)
def test_bad_blocks_are_refused(change: dict[str, Any], sentence: str) -> None:
    good: dict[str, Any] = {"bins": [(2.0, 3.0)], "incident_energy": 25.0, "sigma_energy": (0.3, 0, 0), "sigma_q": 0.01}
    with pytest.raises(ValueError, match=sentence):
        EnergyBlock(**{**good, **change})


def test_bad_frames_are_refused() -> None:
    block = EnergyBlock([(2.0, 3.0)], 25.0, (0.3, 0, 0), 0.01)
    with pytest.raises(ValueError, match="at least one block"):
        ImageFrame([], np.linspace(-1, 1, 5))
    with pytest.raises(ValueError, match="subpixels must be a whole number"):
        ImageFrame([block], np.linspace(-1, 1, 5), subpixels=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="equally spaced"):
        ImageFrame([block], [0.0, 0.1, 0.3])
