"""Backgrounds: exact recovery, honest errors, hot pixels, |Q| of an image, subtraction that says what it did."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from insdl.dataset.randomness import generator
from insdl.instrument import EnergyBlock, ImageFrame, Measurement
from insdl.measured import fit_background, measurement_background, q_length, subtracted
from insdl.units import NEUTRON_E_PER_K2

LATTICE = np.diag([4.0, 5.0, 12.0])
FRAME = ImageFrame(
    blocks=[
        EnergyBlock(bins=[(2.0, 4.0), (4.0, 6.0)], incident_energy=20.0, sigma_energy=(0.1, 0, 0), sigma_q=0.01),
        EnergyBlock(
            bins=[(4.0, 8.0), (8.0, 12.0)], incident_energy=50.0, sigma_energy=(0.1, 0, 0), sigma_q=0.01, fixed_l=0.5
        ),
    ],
    pixels=np.linspace(-1.0, 1.0, 8),
)


def points(n: int, index: int = 0) -> Any:
    rng = generator(0, "tests/background", index)
    return rng, np.stack([rng.uniform(0.5, 3.0, n), rng.uniform(5.0, 40.0, n)])


def surface(x: Any) -> Any:
    return 3.0 - 0.7 * x[0] + 0.02 * x[1] + 0.1 * x[0] ** 2 + 0.003 * x[0] * x[1] - 0.0004 * x[1] ** 2


def test_polynomials_are_found_exactly() -> None:
    """Of degree two in two coordinates, signal outside the free points notwithstanding."""
    rng, x = points(200)
    signal = rng.random(200) < 0.3
    y = surface(x) + 100.0 * signal
    background = fit_background(y, x, degree=2, free=~signal)
    value, error = background.at(x)
    np.testing.assert_allclose(value, surface(x), rtol=1e-9)
    assert error.max() < 1e-9
    assert background.used == (~signal).sum()
    assert len(background.powers) == 6


def test_errors_are_what_repetition_gives() -> None:
    """The fitted level scatters as its error says: standard deviation of 300 pulls is 1 within 4 of its own errors."""
    pulls = []
    for index in range(300):
        rng, x = points(120, index)
        sigma = rng.uniform(0.2, 1.5, 120)
        y = surface(x) + sigma * rng.standard_normal(120)
        value, error = fit_background(y, x, degree=2, free=np.ones(120, bool), error=sigma).at([[1.5], [20.0]])
        pulls.append((value[0] - surface([1.5, 20.0])) / error[0])
    assert np.std(pulls) == pytest.approx(1.0, abs=4 / np.sqrt(600))
    assert abs(np.mean(pulls)) < 4 / np.sqrt(300)


def test_hot_pixels_pull_little() -> None:
    """3 % of points a thousand standard deviations high move least squares by far, and this by less than 0.3."""
    rng, x = points(2000)
    y = surface(x) + rng.standard_normal(2000)
    hot = rng.random(2000) < 0.03
    value, error = fit_background(y + 1000.0 * hot, x, degree=1, free=np.ones(2000, bool)).at(x)
    clean, _ = fit_background(y, x, degree=1, free=np.ones(2000, bool)).at(x)
    assert np.abs(value - clean).max() < 0.3
    assert error.max() < 0.2
    plain = np.polynomial.polynomial.polyfit(x[0], y + 1000.0 * hot, 1)
    assert np.abs(plain[0] + plain[1] * x[0] - clean).max() > 10


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"degree": -1}, "degree must be"),
        ({"degree": True}, "degree must be"),
        ({"free": np.ones(200)}, "free be bool"),
        ({"free": np.ones(199, bool)}, "free be bool"),
        ({"free": np.arange(200) < 5}, "at least 6 free points, got 5"),
        ({"coordinates": np.ones(200)}, r"coordinates must have shape"),
        ({"coordinates": np.ones((2, 200))}, "do not tell the 3 terms"),
        ({"error": np.zeros(200)}, "above zero"),
        ({"intensity": np.full(200, np.nan)}, "must be finite"),
    ],
)
def test_fits_that_cannot_be(change: dict[str, Any], words: str) -> None:
    _, x = points(200)
    call: dict[str, Any] = {
        "intensity": surface(x),
        "coordinates": x,
        "degree": 1,
        "free": np.ones(200, bool),
        **change,
    }
    intensity, coordinates = call.pop("intensity"), call.pop("coordinates")
    with pytest.raises(ValueError, match=words):
        fit_background(intensity, coordinates, **call)


def test_lengths_of_q_by_hand() -> None:
    """One pixel: Qx = h 2 pi / 4, Qy = k 2 pi / 5, Qz from energy and momentum conservation, or the fixed l."""
    lengths = q_length(FRAME, LATTICE)
    h, k = (float(np.asarray(FRAME.pixels)[n]) for n in (6, 2))
    qx, qy = h * 2 * np.pi / 4, k * 2 * np.pi / 5
    kf2 = (20.0 - 5.0) / NEUTRON_E_PER_K2
    qz = np.sqrt(20.0 / NEUTRON_E_PER_K2) - np.sqrt(kf2 - qx**2 - qy**2)
    assert lengths[1, 6, 2] == pytest.approx(np.sqrt(qx**2 + qy**2 + qz**2), rel=1e-12)
    assert lengths[3, 6, 2] == pytest.approx(np.sqrt(qx**2 + qy**2 + (0.5 * 2 * np.pi / 12) ** 2), rel=1e-12)
    slow = ImageFrame(blocks=[EnergyBlock([(4.9, 5.0)], 5.0, (0.1, 0, 0), 0.01)], pixels=FRAME.pixels)
    assert np.isnan(q_length(slow, LATTICE)[0, 0, 0])


def test_each_incident_energy_has_its_own_background() -> None:
    lengths, energy = q_length(FRAME, LATTICE), FRAME.bins.mean(axis=1)[:, None, None]
    level = np.concatenate([2.0 + 0.5 * lengths[:2] - 0.1 * energy[:2], 1.0 - 0.2 * lengths[2:] + 0.05 * energy[2:]])
    rng = generator(0, "tests/background", 1000)
    signal, measured = rng.random(FRAME.shape) < 0.2, rng.random(FRAME.shape) < 0.9
    image = np.where(measured, level + 30.0 * signal, 0.0)
    measurement = Measurement(image, measured, "test", "")
    value, error = measurement_background(measurement, FRAME, LATTICE, signal=signal)
    np.testing.assert_allclose(value, level, rtol=1e-9)
    assert error.max() < 1e-8
    rest = subtracted(measurement, value, below_zero="keep")
    np.testing.assert_allclose(rest.image, np.where(measured, 30.0 * signal, 0.0), atol=1e-8)
    everywhere = np.concatenate([signal[:2], np.ones((2, 8, 8), bool)])
    with pytest.raises(ValueError, match="Ei = 50 meV: a background of 3 terms"):
        measurement_background(measurement, FRAME, LATTICE, signal=everywhere)
    with pytest.raises(ValueError, match="must have the frame's shape"):
        measurement_background(measurement, FRAME, LATTICE, signal=signal[:2])


def test_subtraction_says_what_it_did() -> None:
    image, measured = np.array([[[1.0, 2.0], [3.0, 0.0]]]), np.array([[[True, True], [True, False]]])
    measurement = Measurement(image, measured, "test", "")
    kept = subtracted(measurement, np.full((1, 2, 2), 1.5), below_zero="keep")
    np.testing.assert_array_equal(kept.image, [[[-0.5, 0.5], [1.5, 0.0]]])
    assert "33.3% of the pixels below zero kept" in kept.source
    clipped = subtracted(measurement, np.full((1, 2, 2), 1.5), below_zero="clip")
    np.testing.assert_array_equal(clipped.image, [[[0.0, 0.5], [1.5, 0.0]]])
    assert "set to zero" in clipped.source
    for level, how, words in (
        (np.ones((1, 2)), "keep", "image's shape"),
        (np.full((1, 2, 2), np.nan), "keep", "finite where"),
        (np.ones((1, 2, 2)), "hide", "below_zero must be"),
    ):
        with pytest.raises(ValueError, match=words):
            subtracted(measurement, level, below_zero=how)  # type: ignore[arg-type]
