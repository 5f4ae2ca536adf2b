"""Masks from files on the pixels of a frame: every form, its place in a configuration, and everything that is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from insdl.dataset import generator
from insdl.dataset.configuration import configuration, configuration_from_yaml, load_configuration
from insdl.dataset.configured import ConfiguredSource
from insdl.dataset.detection import Detector
from insdl.dataset.mask_file import mask_digest, read_frame_mask
from insdl.instrument import EnergyBlock, ImageFrame
from insdl.instrument.measurement import read_detector_mask
from insdl.instrument.pcsmo import pcsmo_frame
from insdl.measured import Axis, DetectorSpectra, Histogram, write_md_histogram, write_nxspe

N = 6
PIXELS = np.linspace(-1.0, 1.0, N)
BINS = ([(2.0, 4.0), (4.0, 8.0)], [(4.0, 8.0), (8.0, 16.0)])
FRAME = ImageFrame(
    [
        EnergyBlock(bins=bins, incident_energy=energy, sigma_energy=(1.0, 0.0, 0.0), sigma_q=0.02)
        for energy, bins in zip((20.0, 40.0), BINS, strict=True)
    ],
    PIXELS,
    1,
)
LAYOUT: dict[str, Any] = {
    "incident_energies": [40.0, 20.0],  # from the top, against the order of the frame
    "energy_edges": [[4.0, 8.0, 16.0], [2.0, 4.0, 8.0]],
    "row_centres": [-1.0, 1.0, N],
    "column_centres": [-1.0, 1.0, N],
    "row_direction": "descending",
    "not_measured": 1.0,
}


def mask() -> Any:
    return generator(0, "tests/mask_file", 0).random(FRAME.shape) > 0.4


def sheet(cells: Any) -> Any:
    """As LAYOUT has it: 1 where nothing was measured, the second incident energy on top, Qh descending."""
    blocks = np.where(cells, 0.0, 1.0).reshape(2, 2, N, N)[::-1, :, ::-1]
    return blocks.transpose(0, 2, 1, 3).reshape(2 * N, 2 * N)


def test_an_array_of_the_frame(tmp_path: Path) -> None:
    for number, dtype in enumerate((bool, np.uint8, np.float32)):
        np.save(tmp_path / f"{number}.npy", mask().astype(dtype))
        found = read_frame_mask(tmp_path / f"{number}.npy", FRAME)
        assert found.dtype == bool
        np.testing.assert_array_equal(found, mask())
    assert mask_digest(found) == mask_digest(mask())
    assert mask_digest(~found) != mask_digest(found) != mask_digest(found.reshape(2, 2 * N, N))


def test_an_array_with_a_layout(tmp_path: Path) -> None:
    """Blocks are found by their incident energy, and pixels by the directions of the axes."""
    np.save(tmp_path / "mask.npy", sheet(mask()))
    (tmp_path / "other.yaml").write_text(json.dumps(LAYOUT))
    np.testing.assert_array_equal(
        read_frame_mask(tmp_path / "mask.npy", FRAME, layout=str(tmp_path / "other.yaml")), mask()
    )
    (tmp_path / "other.yaml").rename(tmp_path / "mask.layout.yaml")
    np.testing.assert_array_equal(read_frame_mask(tmp_path / "mask.npy", FRAME), mask())


def test_half_of_a_pixel_must_have_been_seen(tmp_path: Path) -> None:
    """A mask of twice as many rows and columns: a pixel was seen where two or more of its four parts were."""
    parts = generator(0, "tests/mask_file", 1).integers(0, 5, FRAME.shape)
    fine = np.zeros((*FRAME.shape[:1], 2 * N, 2 * N), bool)
    for number in range(4):
        fine[:, number // 2 :: 2, number % 2 :: 2] = parts > number
    half = (PIXELS[1] - PIXELS[0]) / 4
    centres = [-1.0 - half, 1.0 + half, 2 * N]
    layout = {**LAYOUT, "arrangement": "stack", "incident_energies": [20.0, 40.0], "row_direction": "ascending",
              "energy_edges": LAYOUT["energy_edges"][::-1], "row_centres": centres, "column_centres": centres}  # fmt: skip
    np.save(tmp_path / "mask.npy", np.where(fine, 0.0, 1.0))
    (tmp_path / "mask.layout.yaml").write_text(json.dumps(layout))
    np.testing.assert_array_equal(read_frame_mask(tmp_path / "mask.npy", FRAME), parts >= 2)


def test_an_image_is_a_mask(tmp_path: Path) -> None:
    """What a Mantid workspace did not measure was not seen; one file is one incident energy."""
    frame = ImageFrame(FRAME.blocks[:1], PIXELS, 1)
    edges = frame.pixel_edges
    axes = (Axis("E", "meV", [2.0, 4.0, 6.0, 8.0]), Axis("[H,0,0]", "r.l.u.", edges, (1, 0, 0)),
            Axis("[0,K,0]", "r.l.u.", edges, (0, 1, 0)))  # fmt: skip
    seen = mask()[:2]
    signal = np.where(seen[[0, 1, 1]], 3.0, np.nan)
    write_md_histogram(tmp_path / "image.nxs", Histogram(signal, np.ones(signal.shape), axes, "test", ""))
    np.testing.assert_array_equal(read_frame_mask(tmp_path / "image.nxs", frame), seen)
    with pytest.raises(ValueError, match="the frame has 2 incident energies, got 1 histograms"):
        read_frame_mask(tmp_path / "image.nxs", FRAME)


def test_what_is_no_mask(tmp_path: Path) -> None:
    good = tmp_path / "mask.npy"
    np.save(good, mask())
    np.save(tmp_path / "turned.npy", mask()[:, :-1])
    np.save(tmp_path / "two.npy", mask() + 1.0)
    np.save(tmp_path / "nan.npy", np.where(mask(), 1.0, np.nan))
    np.save(tmp_path / "empty.npy", np.zeros(FRAME.shape, bool))
    (tmp_path / "text.npy").write_text("true")
    (tmp_path / "mask.csv").write_text("1,0\n")
    (tmp_path / "bad.yaml").write_text("rows: Qh\n")
    (tmp_path / "hot.yaml").write_text(json.dumps({**LAYOUT, "incident_energies": [40.0, 25.0]}))
    np.save(tmp_path / "sheet.npy", sheet(mask()))
    np.save(tmp_path / "unseen.npy", np.ones((2 * N, 2 * N)))
    (tmp_path / "unseen.layout.yaml").write_text(json.dumps(LAYOUT))
    (tmp_path / "scan.dat").write_text("# col_headers =\n# h k l e detector\n0.5 0 1 4 93\n")
    run = DetectorSpectra(
        np.ones((3, 2)), np.ones((3, 2)), np.array([-1.0, 1.0, 3.0]), np.array([0.1, 0.5, 1.0]), np.zeros(3), np.ones(3),
        20.0, np.nan, False, "test", "",
    )  # fmt: skip
    write_nxspe(tmp_path / "run.nxspe", run)
    cases: list[tuple[str, str | None, str]] = [
        ("turned.npy", None, r"must have the shape \(4, 6, 6\) of the frame, got \(4, 5, 6\)"),
        ("two.npy", None, r"must hold true and false \(or 1 and 0\) only, got 2.0"),
        ("nan.npy", None, "must hold true and false .* got nan"),
        ("empty.npy", None, "leaves nothing: it is false everywhere"),
        ("text.npy", None, "could not be read"),
        ("mask.csv", None, "needs a layout to be a mask: pcsmo-mask, or a YAML file"),
        ("mask.npy", "pcsmo-mask", r"must have shape \(240, 400\) by its layout"),
        ("sheet.npy", "bad.yaml", "missing"),
        ("sheet.npy", "none.yaml", "there is no file"),
        ("sheet.npy", "hot.yaml", r"must have the frame's incident energies, \[20.0, 40.0\] meV, got \[40.0, 25.0\]"),
        ("unseen.npy", None, "nothing of the frame was measured"),
        ("scan.dat", None, "must hold an image to be a mask, got detector spectra or scans"),
        ("run.nxspe", None, "must hold an image to be a mask"),
        ("run.nxspe", "pcsmo-mask", "needs no layout, got 'pcsmo-mask'"),
        ("mask.xyz", None, "there is no file"),
    ]
    for name, layout, words in cases:
        given = str(tmp_path / layout) if layout and layout.endswith(".yaml") else layout
        with pytest.raises((ValueError, FileNotFoundError), match=words) as caught:
            read_frame_mask(tmp_path / name, FRAME, layout=given)
        assert str(tmp_path) in str(caught.value)


def preset(**coverage: Any) -> dict[str, Any]:
    content = load_configuration("rb2mnf4").model_dump()
    content["detection"]["coverage"] |= coverage
    return content


def test_in_a_configuration(tmp_path: Path) -> None:
    """A mask comes on top of the bank and of the Bragg points, survives YAML, and is part of what makes a data set."""
    plain = configuration(preset())
    frame = plain.frame.image_frame()
    seen = generator(0, "tests/mask_file", 2).random(frame.shape) > 0.3
    np.save(tmp_path / "mask.npy", seen)
    masked = configuration(preset(mask=str(tmp_path / "mask.npy")))
    assert configuration_from_yaml(masked.to_yaml()) == masked
    assert "mask" not in plain.to_yaml()
    without, detector = Detector(plain), Detector(masked)
    assert 0 < without.measured.sum() < without.measured.size
    np.testing.assert_array_equal(detector.measured, without.measured & seen)
    source = ConfiguredSource(masked)
    image = source.make([0]).images[0]
    counts = source.detect(image, generator(0, "any", 0))
    assert not counts[~seen].any()
    assert counts[seen].any()
    described = source.describe()
    assert described["mask"] == mask_digest(seen)
    assert "mask" not in ConfiguredSource(plain).describe()
    np.save(tmp_path / "mask.npy", ~seen)
    assert ConfiguredSource(masked).describe() != described  # the same configuration, another file


def test_bad_masks_in_a_configuration(tmp_path: Path) -> None:
    shape = configuration(preset()).frame.image_frame().shape
    np.save(tmp_path / "small.npy", np.ones((2, 2), bool))
    bragg = np.zeros(shape, bool)
    pixels = np.asarray(configuration(preset()).frame.image_frame().pixels)
    nearest = int(np.argmin(np.abs(np.abs(pixels) - 0.5)))
    bragg[:, nearest, nearest] = True
    np.save(tmp_path / "bragg.npy", bragg)
    for coverage, words in (
        ({"mask": str(tmp_path / "none.npy")}, r"detection\.coverage\.mask: there is no file"),
        ({"mask": str(tmp_path / "small.npy")}, r"detection\.coverage\.mask: .* of the frame, got \(2, 2\)"),
        ({"mask_layout": "pcsmo-mask"}, "detection.coverage: mask_layout needs a mask, got 'pcsmo-mask' alone"),
        ({"mask": 3}, "detection.coverage.mask: input should be a valid string, got 3"),
        ({"masks": "a.npy"}, "there is no field detection.coverage.masks"),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            configuration(preset(**coverage))
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"detection\.coverage leaves no pixel of the frame"):
        Detector(configuration(preset(mask=str(tmp_path / "bragg.npy"))))


def test_the_published_mask(pcsmo_measurement: Path) -> None:
    """By its layout as by the reader of the measurement; and it is what the measured image's zeros are."""
    file = pcsmo_measurement / "detector_mask.mat"
    expected = read_detector_mask(file)
    np.testing.assert_array_equal(read_frame_mask(file, pcsmo_frame(), layout="pcsmo-mask"), expected)
    content = load_configuration("pcsmo").model_dump()
    content["detection"]["coverage"] = {"mask": str(file), "mask_layout": "pcsmo-mask"}
    np.testing.assert_array_equal(Detector(configuration(content)).measured, expected)
