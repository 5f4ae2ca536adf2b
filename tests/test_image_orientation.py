"""Mirrored and transposed measurements are found by their own mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from insdl.dataset.randomness import generator
from insdl.instrument.measurement import load_array, read_detector_mask
from insdl.instrument.pcsmo import from_sheet
from insdl.measured import orientation
from insdl.measured.image_orientation import OPERATIONS


def image_and_mask(*, symmetric: bool = False) -> tuple[Any, Any]:
    """Three cells with gaps at random places, and clipped noise that is zero in a fifth of the measured pixels."""
    rng = generator(0, "tests/orientation", 0)
    measured = rng.random((3, 12, 12)) > 0.25
    if symmetric:
        measured &= measured[:, ::-1]
    image = np.where(measured & (rng.random((3, 12, 12)) > 0.2), rng.uniform(1, 9, (3, 12, 12)), 0.0)
    return image, measured


def test_the_operations_are_the_square() -> None:
    """Eight different ones, closed under composition."""
    grid = np.arange(9).reshape(3, 3)
    images = {name: operation(grid).tobytes() for name, operation in OPERATIONS.items()}
    assert len(set(images.values())) == 8
    for first in OPERATIONS.values():
        for second in OPERATIONS.values():
            assert np.ascontiguousarray(first(second(grid))).tobytes() in images.values()
    assert OPERATIONS["Qh mirrored"](grid)[0, 0] == grid[2, 0]
    assert OPERATIONS["Qk mirrored"](grid)[0, 0] == grid[0, 2]
    # A quarter turn takes what lies along +Qh (row 2, middle) to +Qk (middle, column 2).
    spot = np.zeros((3, 3))
    spot[2, 1] = 1.0
    assert OPERATIONS["turned by 90 degrees, Qh to Qk"](spot)[1, 2] == 1.0
    spot = spot.T
    assert OPERATIONS["turned by 90 degrees, Qk to Qh"](spot)[2, 1] == 1.0


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_way_round_is_found(name: str) -> None:
    """The image turned by the inverse of an operation is turned back by that operation."""
    image, measured = image_and_mask()
    numbers = np.arange(144).reshape(12, 12)
    back = np.argsort(OPERATIONS[name](numbers).ravel())
    turned = image.reshape(3, 144)[:, back].reshape(3, 12, 12)
    np.testing.assert_array_equal(OPERATIONS[name](turned), image)
    report = orientation(turned, measured)
    assert report.operation == name
    assert report.overlap[name] == 1.0
    assert report.margin > 0.3
    assert report.ties == ()
    np.testing.assert_array_equal(report.by_cell[name], 1.0)
    assert ("as it stands, more than any other way round" in report.sentence) == (name == "as it stands")
    assert name in report.sentence


def test_two_masks_and_missing_values() -> None:
    _, measured = image_and_mask()
    assert orientation(measured[..., ::-1], measured).operation == "Qk mirrored"
    assert orientation(np.where(measured, 1.0, np.nan)[:, ::-1], measured).operation == "Qh mirrored"


def test_what_the_mask_cannot_tell() -> None:
    image, measured = image_and_mask(symmetric=True)
    report = orientation(image, measured)
    assert report.operation == "as it stands"
    assert report.ties == ("Qh mirrored",)
    assert "cannot tell that from: Qh mirrored" in report.sentence
    square = np.ones((1, 5, 5), bool)
    square[0, 2, 2] = False
    report = orientation(square, square)
    assert len(report.ties) == 7
    assert report.margin == 0.0
    assert "the mask cannot tell its orientation" in report.sentence
    assert "The image is empty" in orientation(np.zeros((3, 12, 12)), measured).sentence
    rng = generator(1, "tests/orientation", 1)
    foreign = orientation(np.where(rng.random((3, 12, 12)) < 0.4, 0.0, 1.0), measured)
    assert "do not belong together" in foreign.sentence


def test_wrong_calls() -> None:
    image, measured = image_and_mask()
    with pytest.raises(ValueError, match="must be an array of bool"):
        orientation(image, measured.astype(float))
    with pytest.raises(ValueError, match="must have one shape"):
        orientation(image[:, :11], measured[:, :11])
    with pytest.raises(ValueError, match="must have one shape"):
        orientation(image[:2], measured)
    with pytest.raises(ValueError, match="every pixel was measured"):
        orientation(image, np.ones_like(measured))


def test_the_mirror_of_the_published_measurement(pcsmo_measurement: Path) -> None:
    """Laid out as the published simulations: 87 % as it stands, 100 % with Qk mirrored, in every cell."""
    sheet = load_array(pcsmo_measurement / "measured.npy")
    measured = read_detector_mask(pcsmo_measurement / "detector_mask.mat")
    report = orientation(from_sheet(sheet, orientation="published"), measured)
    assert report.operation == "Qk mirrored"
    assert report.overlap["Qk mirrored"] == 1.0
    assert report.overlap["as it stands"] == pytest.approx(0.871, abs=2e-3)
    np.testing.assert_array_equal(report.by_cell["Qk mirrored"], 1.0)
    assert report.ties == ()
    assert "cover 87.1% of the pixels that no detector saw as it stands and 100.0% with Qk mirrored" in report.sentence
    right = orientation(from_sheet(sheet, orientation="measured"), measured)
    assert right.operation == "as it stands"
    assert "more than any other way round" in right.sentence
