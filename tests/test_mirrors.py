"""Mirrors of S(Q, E): found where they are, and images that make use of them equal to those that do not."""

from __future__ import annotations

import numpy as np
import pytest

import insdl.instrument.image as image_room
import magnets
from insdl import Bond, SingleIon, Site, SpinModel
from insdl.instrument import EnergyBlock, ImageFrame, ImageSettings, ImageSimulator
from insdl.instrument.pcsmo import pcsmo_frame
from insdl.instrument.rb2mnf4 import rb2mnf4_frame
from insdl.materials import dimer, goodenough, rb2mnf4
from insdl.materials.pcsmo import LITERATURE, zener_polaron
from insdl.mirrors import Mirrors, mirrors_of


def square(
    direction: tuple[float, float, float], diagonals: tuple[str, str] = ("J2", "J2"), b: float = 4.0
) -> SpinModel:
    """A square-lattice ferromagnet with an easy axis along its moment."""
    axis = np.array(direction) / np.linalg.norm(direction)
    return SpinModel(
        lattice=np.diag([4.0, b, 9.0]), magnetic_lattice=np.diag([4.0, b, 9.0]),
        sites=[Site((0, 0, 0), 1.5, direction, "Mn2+")],
        bonds=[
            Bond(0, 0, (1, 0, 0), parameter="J1"), Bond(0, 0, (0, 1, 0), parameter="J1"),
            Bond(0, 0, (1, 1, 0), parameter=diagonals[0]), Bond(0, 0, (1, -1, 0), parameter=diagonals[1]),
        ],
        single_ion=[SingleIon(0, -0.1 * np.outer(axis, axis))],
        parameters=["J1", *dict.fromkeys(diagonals)],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("model", "mirrors"),
    [
        (goodenough(), "axes"),
        (dimer(), "axes"),
        (zener_polaron(), "axes"),
        (rb2mnf4(), "square"),
        (square((0, 0, 1)), "square"),
        (square((0, 1, 0)), "axes"),  # a moment along b tells a from b
        (square((0, 0, 1), b=4.01), "axes"),
    ],
)
def test_mirrors_are_found(model: SpinModel, mirrors: Mirrors) -> None:
    assert mirrors_of(model) == mirrors


@pytest.mark.parametrize(
    "model",
    [
        square((1, 2, 0)),  # the energies have the mirrors, the polarisation factor has not
        square((0, 1, 1e-3)),  # a moment out of the plane by a thousandth
        square((0, 0, 1), ("J2", "J3")),  # equal only if the parameters were
        SpinModel.from_dict(magnets.reference("A12")),  # honeycomb in hexagonal axes
    ],
)
def test_broken_mirrors_are_noticed(model: SpinModel) -> None:
    assert mirrors_of(model) == "none"


SETTINGS = (
    ImageSettings(),
    ImageSettings(1.2, 0.09, 0.008, 0.4, 0.01, -0.015),
    ImageSettings(1.1, 0.0, 0.0, 1.0, 0.02, 0.02),
)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("subpixels", [1, 3])
def test_images_with_mirrors_equal_images_without(
    monkeypatch: pytest.MonkeyPatch, settings: ImageSettings, subpixels: int
) -> None:
    frame = pcsmo_frame(subpixels=subpixels)
    quick = ImageSimulator(goodenough(), frame)
    monkeypatch.setattr(image_room, "mirrors_of", lambda model: "none")
    plain = ImageSimulator(goodenough(), frame)
    assert (quick.mirrors, plain.mirrors) == ("axes", "none")
    values = LITERATURE["goodenough"]
    a, b = quick.simulate(settings, **values), plain.simulate(settings, **values)
    # Other lanes, other order of sums: rounding, amplified by modes near zero energy.
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-11 * b.max())


def test_the_square_of_rb2mnf4(monkeypatch: pytest.MonkeyPatch) -> None:
    frame, values = rb2mnf4_frame(pixels=20), {"J1": 0.657, "J2": 0.006, "D": -0.0055}
    settings = ImageSettings(1.1, 0.0, 0.005, 0.3, 0.01, -0.004)
    quick = ImageSimulator(rb2mnf4(), frame)
    assert quick.mirrors == "square"
    for other in ("axes", "none"):
        monkeypatch.setattr(image_room, "mirrors_of", lambda model, other=other: other)
        plain = ImageSimulator(rb2mnf4(), frame)
        assert plain.mirrors == other
        a, b = quick.simulate(settings, **values), plain.simulate(settings, **values)
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * b.max())


@pytest.mark.parametrize("n_pixels", [7, 8])
@pytest.mark.parametrize("subpixels", [1, 2])
def test_odd_and_even_grids(monkeypatch: pytest.MonkeyPatch, n_pixels: int, subpixels: int) -> None:
    """Odd: a point at zero, which is its own mirror image. A frame beside the origin has no use for mirrors."""
    block = EnergyBlock(bins=[(0.5, 3.0), (3.0, 8.0)], incident_energy=25.0, sigma_energy=(0.2, 0, 0), sigma_q=0.03)
    model, values = square((0, 0, 1)), {"J1": -0.4, "J2": -0.1}
    settings = ImageSettings(twin_fraction=0.3, shift_h=0.02, shift_k=-0.05)

    def image(centre: float) -> tuple[np.ndarray, bool]:
        frame = ImageFrame([block], centre + np.linspace(-0.9, 0.9, n_pixels), subpixels)
        simulator = ImageSimulator(model, frame, margin=0.3)
        return simulator.simulate(settings, **values), simulator.mirrors == "square"

    (at_zero, used), (beside, not_used) = image(0.0), image(0.37)
    assert used
    assert not not_used
    assert beside.max() > 0
    monkeypatch.setattr(image_room, "mirrors_of", lambda model: "none")
    np.testing.assert_allclose(at_zero, image(0.0)[0], rtol=0, atol=1e-12 * at_zero.max())
