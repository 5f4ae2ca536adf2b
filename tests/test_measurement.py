"""Reading measured images: the real file, its mask, and everything that is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from insdl.instrument import Measurement, read_pcsmo
from insdl.instrument.measurement import file_sha256, grown, load_array, read_detector_mask
from insdl.instrument.pcsmo import SHEET_SHAPE, from_sheet, to_sheet

Reals = npt.NDArray[np.float64]


def save(folder: Path, name: str, values: Any) -> Path:
    np.save(folder / name, values)
    return folder / name


def save_mask(folder: Path, name: str, values: Any, key: str = "nan_mask") -> Path:
    io = pytest.importorskip("scipy.io")
    io.savemat(folder / name, {key: values})
    return folder / name


def bright(seed: int = 0) -> Reals:
    """An image without any zero."""
    return np.random.default_rng(seed).uniform(1.0, 50.0, (60, 40, 40))


def test_the_detector_mask_lies_inside_the_zeros_of_the_measurement(pcsmo_measurement: Path) -> None:
    """To 100 % where Qk is mirrored as in the measurement, to 87 % as the simulations are laid out."""
    measured = read_detector_mask(pcsmo_measurement / "detector_mask.mat")
    sheet = load_array(pcsmo_measurement / "measured.npy")
    assert measured.sum() == 76689
    inside = {
        orientation: float((from_sheet(sheet, orientation=orientation)[~measured] == 0).mean())  # type: ignore[arg-type]
        for orientation in ("measured", "published")
    }
    assert inside["measured"] == 1.0
    assert inside["published"] == pytest.approx(0.871, abs=2e-3)


def test_the_real_measurement(pcsmo_measurement: Path) -> None:
    """Its published digest, range and zeros; the mask beside it is found; 29.4 % zeros where measured."""
    file = pcsmo_measurement / "measured.npy"
    measurement = read_pcsmo(file)
    assert measurement.sha256 == "30dc045bf224c7c7ec42353ff091ef2176bda0e164e4f00d4f7d6fcc9e64d55e"
    assert measurement.image.shape == measurement.measured.shape == (60, 40, 40)
    assert measurement.image.min() == 0.0
    assert measurement.image.max() == 120.0
    assert (measurement.image[measurement.measured] == 0).mean() == pytest.approx(0.294, abs=0.02)
    assert not measurement.image[~measurement.measured].any()
    assert "mask detector_mask.mat" in measurement.source
    np.testing.assert_array_equal(to_sheet(measurement.image, orientation="measured"), load_array(file))


def test_a_mask_guessed_from_the_zeros_of_the_real_measurement(pcsmo_measurement: Path, tmp_path: Path) -> None:
    """Nine of ten pixels as the detectors' own mask has them."""
    alone = save(tmp_path, "measured.npy", load_array(pcsmo_measurement / "measured.npy"))
    guessed, known = read_pcsmo(alone), read_pcsmo(pcsmo_measurement / "measured.npy")
    assert "mask taken from the zeros" in guessed.source
    assert (guessed.measured == known.measured).mean() > 0.9


def test_zeros_beside_zeros_are_not_measured(tmp_path: Path) -> None:
    """Without a mask: blocks of 3 x 3 zeros at two energies count as unseen, single zeros and thin lines as measured."""
    image = bright()
    image[3:5, 10:15, 20:24] = 0.0  # unseen
    image[7, 10:15, 20:24] = 0.0  # at one energy alone: noise
    image[3, 30, 30] = 0.0  # clipped noise
    image[14:16, 20:22, :] = 0.0  # two pixels wide
    image[5:7, :2, 7:10] = 0.0  # at the edge, beyond which nothing is seen either
    image[6, 20:25, 10:15] = np.nan  # some write unseen pixels so
    expected = np.ones((60, 40, 40), bool)
    expected[3:5, 10:15, 20:24] = expected[5:7, :2, 7:10] = expected[6, 20:25, 10:15] = False
    measurement = read_pcsmo(save(tmp_path, "image.npy", to_sheet(image, orientation="measured")))
    np.testing.assert_array_equal(measurement.measured, expected)
    np.testing.assert_array_equal(measurement.image, np.where(expected, image, 0.0))


@pytest.mark.parametrize("orientation", ["measured", "published"])
def test_masks_and_orientations(tmp_path: Path, orientation: Any) -> None:
    """The mask's file is upside down, with Qk ascending, whatever the orientation of the image."""
    image, unseen = bright(), np.zeros((60, 40, 40))
    unseen[7, 3:9, 30:33] = 1.0
    file = save(tmp_path, "image.npy", to_sheet(image, orientation=orientation))
    upside_down = to_sheet(unseen, orientation="published")[::-1]
    for mask in (save(tmp_path, "mask.npy", upside_down), save_mask(tmp_path, "other.mat", upside_down)):
        measurement = read_pcsmo(file, mask=mask, orientation=orientation)
        np.testing.assert_array_equal(measurement.measured, unseen == 0)
        np.testing.assert_array_equal(measurement.image, np.where(unseen == 0, image, 0.0))
        assert measurement.sha256 == file_sha256(file)
        assert orientation in measurement.source
    save_mask(tmp_path, "detector_mask.mat", upside_down)
    np.testing.assert_array_equal(read_pcsmo(file, orientation=orientation).measured, unseen == 0)


def test_missing_files(tmp_path: Path) -> None:
    file = save(tmp_path, "image.npy", to_sheet(bright()))
    with pytest.raises(FileNotFoundError, match=r"there is no file .*other\.npy"):
        read_pcsmo(tmp_path / "other.npy")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_pcsmo(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no file .*mask\.mat"):
        read_pcsmo(file, mask=tmp_path / "mask.mat")


@pytest.mark.parametrize("content", [b"Qh Qk intensity\n0 0 1\n", b"", b"\x93NUMPY"])
def test_files_that_are_no_images(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "image.npy"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"image\.npy could not be read as an image \(\.npy or \.mat\)"):
        read_pcsmo(file)


@pytest.mark.parametrize(
    "header",
    [b"{'descr': '<f8', ", b"{'descr': (", b"{{{", b"{'descr': '<f8', 'fortran_order': False, 'shape': (9**18,)}"],
)
def test_npy_files_with_damaged_headers(tmp_path: Path, header: bytes) -> None:
    file = tmp_path / "image.npy"
    file.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(80))
    with pytest.raises(ValueError, match=r"image\.npy could not be read as an image"):
        load_array(file)


@pytest.mark.parametrize("values", [np.zeros(SHEET_SHAPE, complex), np.full(SHEET_SHAPE, "1"), np.zeros(3, "M8[s]")])
def test_arrays_that_are_no_numbers(tmp_path: Path, values: Any) -> None:
    with pytest.raises(ValueError, match=r"image\.npy must hold one array of numbers"):
        read_pcsmo(save(tmp_path, "image.npy", values))


@pytest.mark.parametrize("shape", [(60, 40, 40), (400, 240), (240, 40), (2, 240, 400)])
def test_other_layouts(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must have shape \(240, 400\)"):
        read_pcsmo(save(tmp_path, "image.npy", np.ones(shape)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_where_measured(tmp_path: Path, bad: float) -> None:
    """Named by its pixel in the frame; where the mask says unseen it may be anything."""
    image, unseen = bright(), np.zeros((60, 40, 40))
    image[3, 8, 9] = bad
    file = save(tmp_path, "image.npy", to_sheet(image, orientation="measured"))
    mask = save(tmp_path, "mask.npy", to_sheet(unseen)[::-1])
    with pytest.raises(ValueError, match=r"must be finite where it was measured; \(3, 8, 9\) is not"):
        read_pcsmo(file, mask=mask)
    unseen[3, 8, 9] = 1.0
    mask = save(tmp_path, "mask.npy", to_sheet(unseen)[::-1])
    assert np.isfinite(read_pcsmo(file, mask=mask).image).all()


@pytest.mark.parametrize("value", [2.0, -1.0, 0.5])
def test_masks_hold_zeros_and_ones(tmp_path: Path, value: float) -> None:
    file = save(tmp_path, "image.npy", to_sheet(bright()))
    values = np.zeros(SHEET_SHAPE)
    values[17, 4] = value
    with pytest.raises(ValueError, match="a detector mask must hold zeros and ones only"):
        read_pcsmo(file, mask=save_mask(tmp_path, "mask.mat", values))


def test_masks_of_nothing_and_of_the_wrong_shape(tmp_path: Path) -> None:
    file = save(tmp_path, "image.npy", to_sheet(bright()))
    with pytest.raises(ValueError, match="the mask leaves no pixel"):
        read_pcsmo(file, mask=save(tmp_path, "mask.npy", np.ones(SHEET_SHAPE)))
    with pytest.raises(ValueError, match=r"must have shape \(240, 400\)"):
        read_pcsmo(file, mask=save(tmp_path, "mask.npy", np.ones((24, 40))))
    with pytest.raises(ValueError, match="the mask leaves no pixel"):
        read_pcsmo(save(tmp_path, "zero.npy", np.zeros(SHEET_SHAPE)))


def test_mat_files_with_two_variables(tmp_path: Path) -> None:
    io = pytest.importorskip("scipy.io")
    io.savemat(tmp_path / "mask.mat", {"first": np.zeros(SHEET_SHAPE), "second": 1.0})
    with pytest.raises(ValueError, match=r"must hold one variable, got \['first', 'second'\]"):
        read_detector_mask(tmp_path / "mask.mat")


def test_measurements_fit_their_masks() -> None:
    with pytest.raises(ValueError, match="must have one shape"):
        Measurement(np.zeros((2, 3, 3)), np.ones((2, 3, 4), bool), "test", "")


def test_grown_masks_stay_in_their_cell() -> None:
    """One pixel in every direction, diagonals included, never into another cell or around the edge."""
    unseen = np.zeros((3, 6, 6), bool)
    unseen[1, 0, 5] = unseen[1, 3, 2] = True
    expected = np.zeros((3, 6, 6), bool)
    expected[1, :2, 4:] = expected[1, 2:5, 1:4] = True
    np.testing.assert_array_equal(grown(unseen), expected)


@pytest.mark.parametrize("content", [b"PK\x03\x04", b"PK\x05\x06" + 18 * b"\0"])
def test_archives_that_are_no_images(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "image.npy"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"image\.npy could not be read as an image"):
        read_pcsmo(file)


@pytest.mark.parametrize(
    "content", [b"hello", b"", b"\0" * 200, b"MATLAB 7.3 MAT-file" + b" " * 105 + b"\x00\x02IM" + bytes(100)]
)
def test_mat_files_that_are_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mask.mat").write_bytes(content)
    with pytest.raises(ValueError, match=r"mask\.mat could not be read as an image"):
        read_detector_mask(tmp_path / "mask.mat")


@pytest.mark.parametrize("values", [np.ones(5), np.array(1.0), np.full(SHEET_SHAPE, np.nan), np.ones((60, 40, 40))])
def test_masks_that_are_none(tmp_path: Path, values: Any) -> None:
    with pytest.raises(ValueError, match="a detector mask must"):
        read_detector_mask(save(tmp_path, "mask.npy", values))


def test_nan_counts_as_not_measured_where_there_is_no_mask(tmp_path: Path) -> None:
    image = bright()
    image[3, 8, 9] = np.nan
    measurement = read_pcsmo(save(tmp_path, "image.npy", to_sheet(image, orientation="measured")))
    np.testing.assert_array_equal(measurement.measured, np.isfinite(image))
