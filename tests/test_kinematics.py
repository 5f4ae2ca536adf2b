"""Kinematics against conservation of energy and momentum, and against what the image kernel does."""

from __future__ import annotations

import numpy as np
import pytest

from insdl import SpinModel, Zeeman
from insdl.instrument import EnergyBlock, ImageFrame, ImageSimulator
from insdl.instrument.kinematics import (
    detector_angles,
    kinematic_l,
    momentum_transfer,
    q_along_beam,
    wave_number,
)
from insdl.materials.pcsmo import A, B, C
from insdl.model import Site

PCSMO = np.diag([A, B, C])


def test_wave_number_of_known_neutrons() -> None:
    """Thermal 25.3 meV is 3.494 1/angstrom (1.798 angstrom, 2200 m/s) in every textbook."""
    assert float(wave_number(25.3)) == pytest.approx(3.494, abs=5e-4)
    assert 2 * np.pi / float(wave_number(25.3)) == pytest.approx(1.798, abs=5e-4)
    assert np.isnan(wave_number(-1.0))


def test_momentum_and_energy_are_conserved() -> None:
    rng = np.random.default_rng(1)
    two_theta, azimuth = rng.uniform(0.0, np.pi, 200), rng.uniform(-np.pi, np.pi, 200)
    incident = rng.uniform(10.0, 200.0, 200)
    energy = incident * rng.uniform(-0.5, 0.99, 200)
    q = momentum_transfer(two_theta, azimuth, energy, incident_energy=incident)
    ki = np.stack([0 * incident, 0 * incident, wave_number(incident)], axis=1)
    kf = ki - q
    np.testing.assert_allclose(2.0721 * np.sum(ki**2 - kf**2, axis=1), energy, atol=1e-10)
    np.testing.assert_allclose(np.sum(ki * kf, axis=1), np.linalg.norm(ki, axis=1) * np.linalg.norm(kf, axis=1)
                               * np.cos(two_theta), atol=1e-10)  # fmt: skip
    # The neutron flies to the azimuth; the sample takes up the opposite.
    np.testing.assert_allclose(np.arctan2(kf[:, 1], kf[:, 0]), azimuth, atol=1e-9)
    back = detector_angles(q, energy, incident_energy=incident)
    np.testing.assert_allclose(back[0], two_theta, atol=1e-7)
    np.testing.assert_allclose(back[1], azimuth, atol=1e-7)


def test_elastic_scattering_is_braggs_law() -> None:
    """|Q| = 2 k sin(theta), and the forward beam has Q = 0."""
    angle = np.array([0.0, 0.3, 1.1, np.pi])
    q = momentum_transfer(angle, 0.4, 0.0, incident_energy=30.0)
    np.testing.assert_allclose(np.linalg.norm(q, axis=1), 2 * wave_number(30.0) * np.sin(angle / 2), atol=1e-12)


def test_a_q_off_the_surface_is_not_seen() -> None:
    q = momentum_transfer(0.5, 0.1, 10.0, incident_energy=50.0)
    assert np.isfinite(detector_angles(q, 10.0, incident_energy=50.0)).all()
    assert np.isnan(detector_angles(q, 12.0, incident_energy=50.0)).all()


def test_kinematic_l_conserves_energy() -> None:
    rng = np.random.default_rng(2)
    h, k, energy = rng.uniform(-1, 1, 100), rng.uniform(-1, 1, 100), rng.uniform(0, 40, 100)
    height = kinematic_l(h, k, energy, incident_energy=70.0, lattice=PCSMO)
    q = 2 * np.pi * np.stack([h / A, k / B, height / C], axis=1)
    kf = np.array([0.0, 0.0, np.sqrt(70.0 / 2.0721)]) - q
    np.testing.assert_allclose(2.0721 * np.sum(kf**2, axis=1), 70.0 - energy, rtol=1e-12)
    assert np.isfinite(detector_angles(q, energy, incident_energy=70.0)).all()
    # From the design: at (0, 0), from 0.72 to 4.5 over the bins of Ei = 25 meV within their printed digits.
    ends = kinematic_l(0.0, 0.0, np.array([0.1, 0.46]) * 25.0, incident_energy=25.0, lattice=PCSMO)
    np.testing.assert_allclose(ends[0], (1 - np.sqrt(0.9)) * np.sqrt(25 / 2.0721) * C / (2 * np.pi))
    assert np.isnan(kinematic_l(1.0, 1.0, 24.9, incident_energy=25.0, lattice=PCSMO))


def test_kinematic_l_is_the_kernels() -> None:
    """A flat mode of two layers shows 1 + cos(2 pi L / 5) of the L it is seen at: read the kernel's L off its picture.

    Two layers of a ferromagnet d = c/5 apart, uncoupled, in one field: their in-phase structure factor is computed by
    `modes` at the L of `kinematic_l`, and the kernel must show the same in every pixel.
    """
    cell = np.diag([5.0, 6.0, 18.0])
    field = 20.0
    model = SpinModel(
        cell, cell, [Site((0, 0, z), 1.0, (0, 0, 1), "Mn2+") for z in (0.0, 0.2)],
        zeeman=[Zeeman(i, (0, 0, -field)) for i in range(2)],
    )  # fmt: skip
    pixels = np.linspace(-0.8, 0.8, 5)
    block = EnergyBlock([(field - 1e-3, field + 1e-3)], 60.0, (1e-5, 0, 0), 0.0)
    image = ImageSimulator(model, ImageFrame([block], pixels, 1)).simulate()[0]
    h, k = np.meshgrid(pixels, pixels, indexing="ij")
    heights = kinematic_l(h, k, field, incident_energy=60.0, lattice=cell)
    assert np.ptp(heights) > 0.5  # the test sees the shape of the surface, not one value
    q = np.stack([h, k, heights], axis=-1).reshape(-1, 3)
    expected = model.modes(q, form_factor="ion").intensity.sum(axis=1).reshape(h.shape) / 2e-3
    np.testing.assert_allclose(image, expected, rtol=2e-5)
    wrong = model.modes(q * [1, 1, 1.01], form_factor="ion").intensity.sum(axis=1).reshape(h.shape) / 2e-3
    assert np.abs(wrong / image - 1).max() > 1e-3


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="incident_energy must be positive"):
        momentum_transfer(0.1, 0.0, 1.0, incident_energy=0.0)
    with pytest.raises(ValueError, match="q_lab must have shape"):
        detector_angles([1.0, 2.0], 1.0, incident_energy=20.0)
    with pytest.raises(ValueError, match="c perpendicular"):
        kinematic_l(0, 0, 1, incident_energy=20.0, lattice=[[5, 0, 1], [0, 5, 0], [0, 0, 5]])
    assert np.isnan(q_along_beam(100.0, 1.0, incident_energy=20.0))
