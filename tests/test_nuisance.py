"""What is not magnetic: sum rules, detailed balance, rings where they belong, and independent slow forms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from insdl.crystal import reciprocal
from insdl.instrument import EnergyBlock, ImageFrame
from insdl.instrument.nuisance import (
    Aluminium,
    BeamHalo,
    ElasticLine,
    ElasticProfile,
    Phonons,
    Streak,
    add_hot_pixels,
    add_streak,
    aluminium_image,
    beam_halo,
    elastic_image,
    force_constants_image,
    kill_pixels,
    over_subtracted,
    phonon_image,
    pixel_geometry,
    planes,
    random_streak,
    smooth_background,
    smooth_shapes,
)
from insdl.instrument.nuisance.aluminium import (
    DEBYE_ENERGY,
    LATTICE_CONSTANT,
    MASS,
    powder_lines,
    powder_pattern,
    powder_phonons,
)
from insdl.instrument.nuisance.elastic import elastic_profile
from insdl.instrument.nuisance.phonons import bose, one_phonon
from insdl.instrument.pcsmo import pcsmo_frame
from insdl.units import BOLTZMANN, NEUTRON_E_PER_K2, NEUTRON_MASS

CELL = np.diag([5.4, 5.5, 19.3])
CUBIC = np.diag([3.9, 3.9, 3.9])
WARM = Phonons(temperature=120.0)


def frame(
    bins: npt.ArrayLike, *, incident_energy: float = 60.0, fixed_l: float | None = None, pixels: int = 21
) -> ImageFrame:
    block = EnergyBlock(bins, incident_energy, (0.8, 0.0, 0.0), 0.01, fixed_l)
    return ImageFrame([block], np.linspace(-2.0, 2.0, pixels))


def random_q(n: int = 200) -> npt.NDArray[np.float64]:
    return np.random.default_rng(0).uniform(-6.0, 6.0, size=(n, 3))


def test_momentum_transfers_conserve_energy_and_momentum() -> None:
    """kf = ki - Q has the length that the energy asks for, and makes the angle two_theta with ki."""
    place = pixel_geometry(pcsmo_frame(), CELL)
    ki = np.sqrt(place.incident_energy / NEUTRON_E_PER_K2)[:, None, None]
    kf = np.sqrt((place.incident_energy - place.energy) / NEUTRON_E_PER_K2)[:, None, None]
    scattered = ki[..., None] * np.array([0.0, 0.0, 1.0]) - place.q_cart
    seen = place.reachable
    np.testing.assert_allclose(
        np.linalg.norm(scattered, axis=-1)[seen], np.broadcast_to(kf, seen.shape)[seen], rtol=1e-12
    )
    np.testing.assert_allclose(scattered[..., 2][seen], (kf * np.cos(place.two_theta))[seen], rtol=1e-9)
    slow = np.arctan2(place.q_cart[0, ..., 1], place.q_cart[0, ..., 0])
    np.testing.assert_allclose(place.azimuth, slow, atol=1e-12)
    np.testing.assert_allclose(place.q_cart[..., 0], np.broadcast_to(place.q_cart[:1, :, :1, 0], seen.shape))


def test_a_fixed_l_gives_the_same_angle() -> None:
    """The angle from the sides of the triangle is that of the kinematic Ql, where that Ql is given by hand."""
    bins = [[10.0, 12.0]]
    kinematic = pixel_geometry(frame(bins), CELL)
    l_rlu = kinematic.q_cart[0, 3, 5, 2] / (2 * np.pi / 19.3)
    fixed = pixel_geometry(frame(bins, fixed_l=float(l_rlu)), CELL)
    assert fixed.two_theta[0, 3, 5] == pytest.approx(kinematic.two_theta[0, 3, 5], rel=1e-9)


def test_elastic_scattering_keeps_the_direction() -> None:
    place = pixel_geometry(pcsmo_frame(), CELL)
    ki = np.sqrt(place.incident_energy / NEUTRON_E_PER_K2)[:, None, None]
    scattered = ki[..., None] * np.array([0.0, 0.0, 1.0]) - place.elastic_q
    np.testing.assert_allclose(
        np.linalg.norm(scattered, axis=-1), np.broadcast_to(ki, place.two_theta.shape), rtol=1e-12
    )
    truly = ki[..., None] * np.array([0.0, 0.0, 1.0]) - place.q_cart
    cosine = np.sum(scattered * truly, axis=-1) / np.linalg.norm(truly, axis=-1) / ki
    np.testing.assert_allclose(cosine[place.reachable], 1.0, atol=1e-12)


def test_phonon_energies_repeat_and_sound_has_its_velocity() -> None:
    q = random_q()
    energies, _ = one_phonon(q, CELL, WARM)
    for vector in reciprocal(CELL):
        np.testing.assert_allclose(one_phonon(q + vector, CELL, WARM)[0], energies, rtol=1e-9)
        np.testing.assert_allclose(one_phonon(-q, CELL, WARM)[0], energies, rtol=1e-12)
    long_wave = 1e-5 * q  # sin(x) / x differs from one by 1e-7 or less
    slopes = one_phonon(long_wave, CELL, WARM)[0][:2] / np.linalg.norm(long_wave, axis=1)
    np.testing.assert_allclose(slopes[0], WARM.longitudinal_velocity, rtol=1e-6)
    np.testing.assert_allclose(slopes[1], WARM.transverse_velocity, rtol=1e-6)
    corner = 0.5 * reciprocal(CELL).sum(axis=0)
    optic = one_phonon(np.stack([np.zeros(3), corner]), CELL, WARM)[0][2]
    np.testing.assert_allclose(optic, [WARM.optic_energy, WARM.optic_energy - WARM.optic_bandwidth])


@pytest.mark.parametrize("temperature", [0.0, 5.0, 300.0])
def test_phonons_obey_the_first_moment_sum_rule(temperature: float) -> None:
    """Sum of E S(Q, E) over loss and gain is the recoil energy, one acoustic triple and optic_weight times it."""
    q = random_q()
    phonons = replace(WARM, temperature=temperature)
    energies, strengths = one_phonon(q, CELL, phonons)
    filled = bose(energies, temperature)
    moment = energies * strengths * ((filled + 1.0) - filled)
    q2 = np.sum(q**2, axis=1)
    recoil = NEUTRON_E_PER_K2 * NEUTRON_MASS / phonons.mass * q2 * np.exp(-q2 * phonons.mean_square_displacement)
    np.testing.assert_allclose(moment[:2].sum(axis=0), recoil, rtol=1e-9)
    np.testing.assert_allclose(moment[2], phonons.optic_weight * recoil, rtol=1e-9)


def test_phonon_intensity_grows_with_q_squared() -> None:
    """At equal reduced q, along one line, a longitudinal phonon grows as Q^2 times the Debye-Waller factor."""
    step = reciprocal(CELL)[0]
    q = np.array([(n + 0.2) * step for n in range(5)])
    _, strengths = one_phonon(q, CELL, WARM)
    lengths = np.linalg.norm(q, axis=1)
    expected = lengths**2 * np.exp(-(lengths**2) * WARM.mean_square_displacement)
    for branch in (0, 2):
        np.testing.assert_allclose(strengths[branch] / strengths[branch, 0], expected / expected[0], rtol=1e-9)
    np.testing.assert_allclose(strengths[1], 0.0, atol=1e-12 * strengths[0].max())  # nothing moves across that line


def test_phonon_images_integrate_to_the_strengths() -> None:
    """One bin over all energies at a fixed Ql: the sum of (n + 1) and n times strength, without any resolution left."""
    wide = frame([[-90.0, 90.0]], incident_energy=200.0, fixed_l=1.3, pixels=20)
    image = phonon_image(wide, CELL, WARM, samples=1)[0] * 180.0
    q = pixel_geometry(wide, CELL).q_cart[0]
    energies, strengths = one_phonon(q, CELL, WARM)
    expected = np.sum(strengths * (2.0 * bose(energies, 120.0) + 1.0), axis=0)
    np.testing.assert_allclose(image, expected, rtol=1e-9)


def test_phonon_images_obey_detailed_balance() -> None:
    """Narrow bins around the flat optic branch and around minus that: their ratio is exp(E / kT)."""
    flat = replace(WARM, optic_bandwidth=0.0, longitudinal_velocity=1e-3, transverse_velocity=1e-3)
    bins = [[-26.0, -24.0], [24.0, 26.0]]
    gain, loss = phonon_image(frame(bins, fixed_l=0.4, pixels=8), CELL, flat, samples=1)
    np.testing.assert_allclose(loss / gain, np.exp(25.0 / (BOLTZMANN * 120.0)), rtol=1e-9)
    cold = phonon_image(frame(bins, fixed_l=0.4, pixels=8), CELL, replace(flat, temperature=0.0), samples=1)
    assert cold[0].max() < 1e-12 * cold[1].max()  # the resolution's tails alone


def test_phonon_images_converge_against_a_slow_integral() -> None:
    """One pixel, energy by energy on a fine grid, Q at each energy's own Ql."""
    phonons = replace(WARM, temperature=0.0, optic_weight=0.0)
    case = frame([[8.0, 12.0], [12.0, 16.0]])
    image = phonon_image(case, CELL, phonons, samples=40)
    pixels = np.asarray(case.pixels)
    i, j = 15, 13
    for number, (low, high) in enumerate(case.bins):
        total, steps = 0.0, 4000
        for energy in low + (np.arange(steps) + 0.5) * (high - low) / steps:
            ki, kf2 = np.sqrt(60.0 / NEUTRON_E_PER_K2), (60.0 - energy) / NEUTRON_E_PER_K2
            qx, qy = 2 * np.pi * pixels[i] / 5.4, 2 * np.pi * pixels[j] / 5.5
            q = np.array([qx, qy, ki - np.sqrt(kf2 - qx**2 - qy**2)])
            energies, strengths = one_phonon(q, CELL, phonons)
            total += float(strengths @ np.exp(-0.5 * ((energy - energies) / 0.8) ** 2)) / (0.8 * np.sqrt(2 * np.pi))
        assert image[number, i, j] == pytest.approx(total / steps, rel=2e-3)
    rough = phonon_image(case, CELL, phonons)
    assert np.abs(rough - image).max() < 0.05 * image.max()


def test_phonons_refuse_nonsense() -> None:
    with pytest.raises(ValueError, match="orthogonal axes"):
        one_phonon([1.0, 0.0, 0.0], [[4.0, 0, 0], [2.0, 3.5, 0], [0, 0, 5.0]], WARM)
    with pytest.raises(ValueError, match="must be positive"):
        Phonons(longitudinal_velocity=-1.0)
    with pytest.raises(ValueError, match="optic_bandwidth must be less than optic_energy"):
        Phonons(optic_bandwidth=30.0)


def test_euphonic_agrees_with_the_parametric_model() -> None:
    """A simple cubic crystal of one atom with scalar springs K: E^2 = (4 hbar^2 K / M) sum of sin^2, three branches alike."""
    euphonic = pytest.importorskip("euphonic", reason="insdl[phonons] is not installed")
    ureg, a, mass, velocity = euphonic.ureg, 3.9, 55.0, 30.0
    crystal = euphonic.Crystal(
        CUBIC * ureg("angstrom"), np.zeros((1, 3)), np.array(["Mn"]), np.array([mass]) * ureg("amu")
    )
    # Long waves: E = hbar sqrt(K / M) a q, so that K = M (velocity / (hbar a))^2.
    spring = (mass * ureg("amu") * (velocity * ureg("meV angstrom") / ureg("hbar") / (a * ureg("angstrom"))) ** 2).to(
        "meV / angstrom**2"
    )
    axis = np.arange(3)  # Euphonic takes the first cell as the origin
    origins = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    matrices = np.zeros((27, 3, 3))
    for number, origin in enumerate(origins):
        steps = np.minimum(origin, 3 - origin).sum()
        matrices[number] = {0: 6.0, 1: -1.0}.get(int(steps), 0.0) * np.eye(3)
    constants = euphonic.ForceConstants(crystal, matrices * spring, 3 * np.eye(3, dtype=int), origins)
    length = -3.73 * ureg("fm")
    phonons = Phonons(velocity, velocity, optic_weight=0.0, temperature=80.0, mean_square_displacement=0.0, mass=mass)
    case = frame([[5.0, 9.0], [14.0, 18.0], [22.0, 25.0]], pixels=12)
    image = force_constants_image(constants, {"Mn": length}, case, CUBIC, temperature=80.0, samples=3)
    expected = 0.373**2 * phonon_image(case, CUBIC, phonons, samples=3)  # b^2 in barn
    assert expected.max() > 0
    np.testing.assert_allclose(image, expected, rtol=2e-4, atol=1e-6 * expected.max())
    turned = force_constants_image(
        constants, {"Mn": length}, case, np.diag([3.9, 3.9, 7.8]), to_phonon_cell=np.diag([1, 1, 0.5]),
        temperature=80.0, samples=3,
    )  # fmt: skip
    np.testing.assert_allclose(turned, image, rtol=1e-9, atol=1e-9 * image.max())


def test_force_constants_need_euphonic(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "euphonic", None)
    nothing: Any = object()
    with pytest.raises(ModuleNotFoundError):
        force_constants_image(nothing, {}, frame([[1.0, 2.0]]), CELL)


def test_the_elastic_line_is_normalised_and_its_tail_is_one_sided() -> None:
    edges = np.linspace(-20.0, 60.0, 201)
    case = frame(np.stack([edges[:-1], edges[1:]], axis=1))
    for share, length in ((0.0, 0.05), (0.3, 0.05), (1.0, 0.02)):
        line = elastic_profile(case, ElasticProfile(1.4, share, length))
        assert line.sum() * 0.4 == pytest.approx(1.0, abs=1e-6)
        assert line[edges[1:] < -7.0].sum() == pytest.approx(0.0, abs=1e-6)
    far = edges[:-1] > 8.0
    tail = elastic_profile(case, ElasticProfile(1.0, 0.3, 0.05))[far]
    np.testing.assert_allclose(tail[1:] / tail[:-1], np.exp(-0.4 / 3.0), rtol=1e-4)  # decay length 0.05 x 60 meV
    with pytest.raises(ValueError, match="tail_share must lie in 0 to 1, got 2"):
        ElasticProfile(1.0, 2.0)


def test_bragg_peaks_lie_at_reciprocal_lattice_points() -> None:
    """In an elastic bin; related pairs alike, nothing at the direct beam, the energy spread as the line's."""
    case = frame([[-1.0, 1.0], [6.0, 9.0]], pixels=41)
    line = ElasticLine(incoherent=0.0, bragg=1.0, sigma_q=0.05, sigma_l=50.0, mean_square_displacement=0.0)
    image = elastic_image(case, CELL, line, np.random.default_rng(1))
    pixels = np.asarray(case.pixels)
    near = np.abs(pixels - np.rint(pixels)) < 0.05
    on, off = image[0][np.ix_(near, near)], image[0][np.ix_(~near, ~near)]
    assert on.shape == (5, 5)
    assert on[2, 2] == 0.0
    assert np.sort(on.ravel())[1] > 0.0
    assert on.mean() > 20 * off.mean()
    np.testing.assert_allclose(on, on[::-1, ::-1], rtol=1e-9)
    flat = ElasticLine(incoherent=2.0, bragg=0.0, mean_square_displacement=0.0)
    image = elastic_image(case, CELL, flat, np.random.default_rng(1))
    np.testing.assert_allclose(image, 2.0 * elastic_profile(case, flat.profile)[:, None, None] * np.ones((41, 41)))
    strengths = [
        elastic_image(case, CELL, line, np.random.default_rng(seed))[0][np.ix_(near, near)].sum() for seed in range(300)
    ]
    # 24 peaks a draw, of mean strength one; the profile's mean over the bin is known.
    once = elastic_profile(case, line.profile)[0]
    assert np.mean(strengths) / once == pytest.approx(24.0, rel=0.05)


def test_aluminium_lines() -> None:
    """fcc: (111), (200), (220), (311), (222) with multiplicities 8, 6, 12, 24, 8."""
    radii, counts = powder_lines(5.6)
    np.testing.assert_allclose(radii, 2 * np.pi / LATTICE_CONSTANT * np.sqrt([3, 4, 8, 11, 12]), rtol=1e-12)
    assert counts.tolist() == [8, 6, 12, 24, 8]
    q = np.linspace(2.0, 3.0, 4001)
    integral = np.sum(4 * np.pi * q**2 * powder_pattern(q, 0.01)) * (q[1] - q[0])
    assert integral == pytest.approx(8.0, rel=1e-4)  # (111) alone: its multiplicity


def test_aluminium_rings_lie_at_their_radius() -> None:
    """At E = 0 a ring is where |Q| = 2 pi sqrt(3) / a; in the tail it keeps its angle."""
    case = ImageFrame([EnergyBlock([[-0.5, 0.5], [8.0, 10.0]], 60.0, (0.5, 0, 0), 0.01)], np.linspace(-2.6, 2.6, 201))
    image = aluminium_image(case, CELL, Aluminium(mean_square_displacement=0.0))
    place = pixel_geometry(case, CELL)
    q = place.q_length[0]
    first = 2 * np.pi * np.sqrt(3) / LATTICE_CONSTANT
    window = np.abs(q - first) < 0.2
    weight = image[0][window]
    assert np.sum(q[window] * weight) / weight.sum() == pytest.approx(first, abs=0.002)
    assert np.sqrt(np.sum((q[window] - first) ** 2 * weight) / weight.sum()) == pytest.approx(0.03, rel=0.02)
    ki = np.sqrt(60.0 / NEUTRON_E_PER_K2)
    angle = 2 * np.arcsin(first / (2 * ki))
    for number in (0, 1):
        near = np.abs(place.two_theta[number] - angle) < 0.04
        weight = image[number][near]
        assert np.sum(place.two_theta[number][near] * weight) / weight.sum() == pytest.approx(angle, abs=0.001)


@pytest.mark.parametrize("temperature", [1.0, 300.0])
def test_aluminium_phonons_obey_the_first_moment_sum_rule(temperature: float) -> None:
    aluminium = Aluminium(temperature=temperature, mean_square_displacement=0.004)
    energy = (np.arange(20000) + 0.5) * DEBYE_ENERGY / 20000
    for q in (1.0, 4.0):
        loss, gain = powder_phonons(q, energy, aluminium), powder_phonons(q, -energy, aluminium)
        moment = np.sum(energy * (loss - gain)) * (energy[1] - energy[0])
        recoil = NEUTRON_E_PER_K2 * NEUTRON_MASS / MASS * q**2 * np.exp(-(q**2) * 0.004)
        assert moment == pytest.approx(recoil, rel=1e-4)
        np.testing.assert_allclose(gain, loss * np.exp(-energy / (BOLTZMANN * temperature)), rtol=1e-9, atol=1e-300)
    assert not powder_phonons(1.0, DEBYE_ENERGY + 1.0, aluminium)
    case = frame([[8.0, 12.0]], pixels=6)
    only = aluminium_image(case, CELL, replace(aluminium, lines=0.0, phonons=2.0))
    np.testing.assert_allclose(
        only, 2.0 * powder_phonons(pixel_geometry(case, CELL).q_length, 10.0, aluminium), rtol=1e-12
    )


def test_smooth_backgrounds_are_positive_and_as_large_as_asked() -> None:
    case = pcsmo_frame()
    shapes, blocks = smooth_shapes(case), np.repeat(np.arange(6), 10)
    assert shapes.shape == (9, *case.shape)
    assert np.abs(shapes).max() <= 1.0 + 1e-6
    level = np.array([0.0, 1.0, 2.0, 0.5, 3.0, 1.0])
    for seed in range(20):
        image = smooth_background(shapes, blocks, level, 1.0, np.random.default_rng(seed)).reshape(6, -1)
        assert image.min() >= -1e-6
        assert (image.max(axis=1) <= 2.0 * level + 1e-5).all()
        assert (np.ptp(image, axis=1)[level > 0] > 0.2 * level[level > 0]).all()
    flat = smooth_background(shapes, blocks, level, 0.0, np.random.default_rng(0))
    np.testing.assert_allclose(flat.reshape(6, -1), np.repeat(level[:, None], 16000, axis=1))
    with pytest.raises(ValueError, match="variation must lie in 0 to 1"):
        smooth_background(shapes, blocks, level, 1.5, np.random.default_rng(0))
    with pytest.raises(ValueError, match="level must be one number a block"):
        smooth_background(shapes, blocks, -level, 0.5, np.random.default_rng(0))


def test_smooth_shapes_are_what_they_say() -> None:
    case = pcsmo_frame()
    h, k, e, hk, h2, _, e2, he, _ = smooth_shapes(case)
    x = np.asarray(case.pixels) / case.pixel_edges[-1]
    np.testing.assert_allclose(h[3], np.repeat(x[:, None], 40, axis=1), atol=1e-6)
    np.testing.assert_allclose(e[:10, 0, 0], np.linspace(-0.9, 0.9, 10), atol=1e-6)
    np.testing.assert_allclose(hk, h * k, atol=1e-6)
    np.testing.assert_allclose(he, h * e, atol=1e-6)
    np.testing.assert_allclose(h2, 1.5 * h**2 - 0.5, atol=1e-6)
    np.testing.assert_allclose(e2, 1.5 * e**2 - 0.5, atol=1e-6)


def test_planes_and_what_is_subtracted_too_much() -> None:
    image = planes([[1.0, 0.0], [0.5, 0.0], [0.0, -2.0]], np.array([0, 0, 1]), 5)
    assert image.shape == (3, 5, 5)
    np.testing.assert_allclose(image[1, :, 2], 1.0 + 0.5 * np.linspace(-1, 1, 5))
    np.testing.assert_allclose(image[2, 0], -2.0 * np.linspace(-1, 1, 5))
    mean = np.full((3, 5, 5), 2.0, dtype=np.float32)
    np.testing.assert_allclose(over_subtracted(mean, image, 0.5), 2.0 - 0.5 * image)
    np.testing.assert_allclose(
        over_subtracted(mean, image, [1.0, 0.0, -1.0]), 2.0 - np.array([1, 0, -1])[:, None, None] * image
    )


def test_the_halo_decays_from_the_beam_stop() -> None:
    place = pixel_geometry(pcsmo_frame(), CELL)
    halo = BeamHalo(level=3.0, edge=0.06, width=0.05, energy=11.0, energy_width=2.0)
    image = beam_halo(place, halo)
    slow = 3.0 * np.exp(-np.maximum(place.two_theta - 0.06, 0.0) / 0.05)
    slow *= np.exp(-((place.energy - 11.0) ** 2) / 8.0)[:, None, None]
    np.testing.assert_allclose(image, slow, atol=3e-3)
    assert image.max() == pytest.approx(3.0, rel=0.05)
    with pytest.raises(ValueError, match="widths positive"):
        BeamHalo(width=0.0)


@pytest.mark.parametrize("constant", ["two_theta", "azimuth", "Qh", "Qk"])
def test_a_streak_is_a_line_of_constant_coordinate(constant: Any) -> None:
    place = pixel_geometry(pcsmo_frame(), CELL)
    mean = np.zeros(place.two_theta.shape, dtype=np.float32)
    add_streak(mean, place, Streak(constant, 0.2, 0.03, 10.0, 31, 33))
    pixels = np.broadcast_to(np.asarray(place.frame.pixels), (40, 40))
    coordinate = {"two_theta": place.two_theta[32], "azimuth": place.azimuth, "Qh": pixels.T, "Qk": pixels}[constant]
    np.testing.assert_allclose(mean[32], 10.0 * np.exp(-(((coordinate - 0.2) / 0.03) ** 2) / 2), atol=1e-5)
    assert mean[[31, 32, 33]].max(axis=(1, 2)).min() > 5.0
    assert not np.delete(mean, [31, 32, 33], axis=0).any()


def test_azimuthal_streaks_join_at_pi() -> None:
    place = pixel_geometry(pcsmo_frame(), CELL)
    mean = np.zeros(place.two_theta.shape, dtype=np.float32)
    add_streak(mean, place, Streak("azimuth", np.pi, 0.1, 1.0, 0, 0))
    np.testing.assert_allclose(mean[0], mean[0, :, ::-1], atol=1e-6)
    assert mean[0, :5, 19:21].min() > 0.9


def test_random_streaks_stay_within_one_incident_energy() -> None:
    place = pixel_geometry(pcsmo_frame(), CELL)
    rng = np.random.default_rng(0)
    streaks = [random_streak(place, rng, height=5.0, relative_width=0.02, n_bins=3) for _ in range(200)]
    assert {s.constant for s in streaks} == {"two_theta", "azimuth", "Qh", "Qk"}
    for streak in streaks:
        assert streak.last_bin - streak.first_bin == 2
        assert streak.first_bin // 10 == streak.last_bin // 10
        mean = np.zeros(place.two_theta.shape, dtype=np.float32)
        add_streak(mean, place, streak)
        assert mean.max() > 1.0
    whole = random_streak(place, rng, height=5.0, relative_width=0.02, n_bins=99)
    assert whole.last_bin - whole.first_bin == 9
    with pytest.raises(ValueError, match="constant must be one of"):
        Streak("Ql", 0.0, 0.1, 1.0, 0, 0)  # type: ignore[arg-type]


def test_hot_and_dead_pixels() -> None:
    rng = np.random.default_rng(0)
    mean = np.zeros((60, 40, 40), dtype=np.float32)
    places = add_hot_pixels(mean, 0.01, 30.0, rng)
    assert len(places) == pytest.approx(960, abs=5 * np.sqrt(960))
    assert np.flatnonzero(mean.ravel()).tolist() == sorted(set(places.tolist()))
    assert mean.sum() / len(places) == pytest.approx(30.0, rel=0.15)
    counts = np.ones((60, 40, 40), dtype=np.float32)
    dead = kill_pixels(counts, 0.02, rng)
    assert (counts == 0).sum() == len(set(dead.tolist()))
    assert len(dead) == pytest.approx(1920, abs=5 * np.sqrt(1920))
    assert not len(kill_pixels(counts, 0.0, rng))
    for fraction in (-0.1, 1.1):
        with pytest.raises(ValueError, match="fraction must lie in 0 to 1"):
            kill_pixels(counts, fraction, rng)
