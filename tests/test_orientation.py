"""Lattices, B and UB against their closed forms, and turns of the crystal against conservation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from insdl.crystal import reciprocal
from insdl.instrument.kinematics import momentum_transfer, wave_number
from insdl.instrument.orientation import Orientation, b_matrix, detector_path, lattice_from_parameters, rotations

Reals = npt.NDArray[np.float64]
TRICLINIC = (np.array([5.1, 6.7, 8.3]), np.radians([81.0, 97.0, 113.0]))


def busing_levy(lengths: Reals, angles: Reals) -> Reals:
    """Eq. (3) of Busing & Levy (1967), 2 pi included, from the textbook reciprocal cell."""
    a, b, c = lengths
    ca, cb, cg = np.cos(angles)
    sa, sb, sg = np.sin(angles)
    volume = a * b * c * np.sqrt(1 - ca**2 - cb**2 - cg**2 + 2 * ca * cb * cg)
    a_star, b_star, c_star = 2 * np.pi * np.array([b * c * sa, a * c * sb, a * b * sg]) / volume
    cos_beta = (ca * cg - cb) / (sa * sg)
    cos_gamma = (ca * cb - cg) / (sa * sb)
    sin_beta, sin_gamma = np.sqrt(1 - cos_beta**2), np.sqrt(1 - cos_gamma**2)
    return np.array(
        [
            [a_star, b_star * cos_gamma, c_star * cos_beta],
            [0.0, b_star * sin_gamma, -c_star * sin_beta * ca],
            [0.0, 0.0, 2 * np.pi / c],
        ]
    )


def test_b_matrix_is_busing_and_levys() -> None:
    lattice = lattice_from_parameters(*TRICLINIC)
    np.testing.assert_allclose(b_matrix(lattice), busing_levy(*TRICLINIC), atol=1e-13)
    # The lattice's own axes are those of B, and a turned lattice has the same B.
    np.testing.assert_allclose(reciprocal(lattice).T, b_matrix(lattice), atol=1e-13)
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    turn *= np.linalg.det(turn)
    np.testing.assert_allclose(b_matrix(lattice @ turn.T), b_matrix(lattice), atol=1e-12)


def test_hexagonal_b_matrix() -> None:
    """|(1,1,0)|^2 = 4 a*^2 cos^2(30 degrees) = 3 a*^2, with a* = 4 pi / (sqrt(3) a)."""
    b = b_matrix(lattice_from_parameters([4.0, 4.0, 7.0], np.radians([90, 90, 120])))
    a_star = 4 * np.pi / (np.sqrt(3) * 4.0)
    assert np.linalg.norm(b @ [1, 0, 0]) == pytest.approx(a_star)
    assert np.linalg.norm(b @ [1, 1, 0]) == pytest.approx(np.sqrt(3) * a_star)
    assert np.linalg.norm(b @ [1, -1, 0]) == pytest.approx(a_star)


def test_cell_has_the_lengths_and_angles_asked_for() -> None:
    lengths, angles = TRICLINIC
    a, b, c = lattice_from_parameters(lengths, angles)
    np.testing.assert_allclose([np.linalg.norm(x) for x in (a, b, c)], lengths)
    pairs = ((b, c), (a, c), (a, b))
    found = [np.arccos(x @ y / np.linalg.norm(x) / np.linalg.norm(y)) for x, y in pairs]
    np.testing.assert_allclose(found, angles)


@pytest.mark.parametrize(
    ("lengths", "angles"), [((4, 4, 0), (1, 1, 1)), ((4, 4, 4), (0.1, 1.0, 2.0)), ((4, 4), (1, 1, 1))]
)
def test_impossible_cells_are_refused(lengths: tuple[float, ...], angles: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"three positive numbers|no cell has the angles"):
        lattice_from_parameters(lengths, angles)


def triclinic() -> Orientation:
    return Orientation(lattice_from_parameters(*TRICLINIC), u=(1, 1, 0), v=(0, 1, 0.5))


def test_u_is_along_the_beam_and_v_horizontal() -> None:
    crystal = triclinic()
    u, v = crystal.q_lab(crystal.u), crystal.q_lab(crystal.v)
    np.testing.assert_allclose(u / np.linalg.norm(u), [0, 0, 1], atol=1e-14)
    assert v[1] == pytest.approx(0.0, abs=1e-14)
    assert v[0] > 0
    matrix = crystal.u_matrix
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-14)
    assert np.linalg.det(matrix) == pytest.approx(1.0)
    # A quarter turn around y (up) brings the beam's direction to x, by the right-hand rule.
    np.testing.assert_allclose(crystal.q_lab(crystal.u, psi=np.pi / 2) / np.linalg.norm(u), [1, 0, 0], atol=1e-14)


def test_ub_keeps_lengths_and_its_inverse_returns() -> None:
    crystal = triclinic()
    q = np.random.default_rng(3).normal(size=(20, 3))
    lab = crystal.q_lab(q, psi=0.7)
    np.testing.assert_allclose(np.linalg.norm(lab, axis=1), np.linalg.norm(q @ reciprocal(crystal.lattice), axis=1))
    np.testing.assert_allclose(crystal.q_rlu(lab, psi=0.7), q, atol=1e-12)


def test_rotations_bring_q_onto_a_detector() -> None:
    crystal, energy, incident = triclinic(), 8.0, 40.0
    angles = (np.array([0.4, 1.3, 2.0]), np.array([0.1, -2.9, 1.0]))
    paths = detector_path(crystal, *angles, [energy, 12.0], incident_energy=incident, psi=0.35)
    assert paths.shape == (3, 2, 3)
    for two_theta, azimuth, q in zip(*angles, paths[:, 0], strict=True):
        psi, found_angle, found_azimuth = rotations(crystal, q, energy, incident_energy=incident)
        (place,) = np.flatnonzero(np.abs(psi - 0.35) < 1e-6)
        assert found_angle[place] == pytest.approx(two_theta, abs=1e-6)
        assert found_azimuth[place] == pytest.approx(azimuth, abs=1e-6)
        for turn, angle, around in zip(psi, found_angle, found_azimuth, strict=True):
            seen = momentum_transfer(angle, around, energy, incident_energy=incident)
            np.testing.assert_allclose(crystal.q_rlu(seen, psi=turn), q, atol=1e-6)
    too_far = np.array([1.0, 0, 0]) * 3 * wave_number(incident)
    assert np.isnan(rotations(crystal, crystal.q_rlu(too_far), energy, incident_energy=incident)[0]).all()


def test_bad_orientations_are_refused() -> None:
    cell = np.diag([4.0, 5.0, 6.0])
    with pytest.raises(ValueError, match="must not be parallel"):
        Orientation(cell, u=(1, 0, 0), v=(2, 0, 0))
    with pytest.raises(ValueError, match="right-handed"):
        Orientation(np.diag([4.0, 5.0, -6.0]))
    with pytest.raises(ValueError, match="u must be three finite numbers"):
        Orientation(cell, u=(0, 0, 0))
