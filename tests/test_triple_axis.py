"""Cooper-Nathans covariances against published numbers, closed forms, and rays reflected one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from insdl import Bond, Site, SpinModel, Zeeman
from insdl.crystal import reciprocal
from insdl.instrument.covariance import with_mosaic
from insdl.instrument.triple_axis import (
    ARCMINUTE,
    PG002,
    MosaicCrystal,
    TripleAxis,
    bragg_widths,
    cooper_nathans,
    resolution_matrix,
    scan_covariance,
    simulated_scan,
    spectrometer_angles,
    vanadium_width,
)

Reals = npt.NDArray[np.float64]
SIGMA = 1.0 / np.sqrt(8.0 * np.log(2.0))


def spectrometer(**changes: object) -> TripleAxis:
    """A thermal spectrometer with four different collimations, and mosaics that differ in and across the plane."""
    settings: dict[str, object] = {
        "monochromator": MosaicCrystal(PG002, 30 * ARCMINUTE, 1, 20 * ARCMINUTE),
        "analyser": MosaicCrystal(PG002, 40 * ARCMINUTE, -1, 25 * ARCMINUTE),
        "sample_sense": 1,
        "fixed": "kf",
        "fixed_energy": 14.7,
        "horizontal_fwhm": np.array([60, 40, 30, 80]) * ARCMINUTE,
        "vertical_fwhm": np.array([60, 90, 120, 100]) * ARCMINUTE,
    }
    return TripleAxis(**{**settings, **changes})  # type: ignore[arg-type]


def rays(
    rng: np.random.Generator, crystal: MosaicCrystal, k: float, near: Reals, far: Reals, before_sample: bool
) -> tuple[Reals, Reals]:
    """Wave vectors (n, 3) on the sample's side of a mosaic crystal, nominally along x, and their weights.

    A direction is drawn in the collimator on one side and a block of the mosaic; the block reflects, in three dimensions, the
    one k that fulfils Bragg's law; the collimator on the other side weighs the outgoing direction by its angles. Nothing is
    linear.
    """
    n = 400_000
    theta = np.arcsin(np.pi / (crystal.spacing * k))
    turn = 2.0 * theta * crystal.sense  # of the beam, counter-clockwise

    def direction(angle: Reals, elevation: Reals) -> Reals:
        return np.stack(
            [np.cos(elevation) * np.cos(angle), np.cos(elevation) * np.sin(angle), np.sin(elevation)], axis=1
        )

    def angles(vectors: Reals, nominal: float) -> tuple[Reals, Reals]:
        return np.arctan2(vectors[:, 1], vectors[:, 0]) - nominal, np.arcsin(vectors[:, 2])

    # The sample's side lies along x; the other side at -turn before it, at +turn after it.
    incoming = -turn if before_sample else 0.0
    outgoing = 0.0 if before_sample else turn
    first, second = (far, near) if before_sample else (near, far)
    arriving = direction(incoming + first[0] * rng.normal(size=n), first[1] * rng.normal(size=n))
    # The nominal normal bisects; blocks are turned around z and tilted out of the plane.
    normal = direction(np.array([outgoing]), np.zeros(1)) - direction(np.array([incoming]), np.zeros(1))
    azimuth = np.arctan2(normal[0, 1], normal[0, 0])
    in_plane, vertical = crystal.sigmas
    block = direction(azimuth + in_plane * rng.normal(size=n), vertical * rng.normal(size=n))
    along = np.sum(block * arriving, axis=1)
    reflected = np.pi / (crystal.spacing * np.abs(along))
    leaving = arriving - 2.0 * along[:, None] * block
    gamma, delta = angles(leaving, outgoing)
    weight = np.exp(-0.5 * ((gamma / second[0]) ** 2 + (delta / second[1]) ** 2))
    side = leaving if before_sample else arriving
    return reflected[:, None] * side, weight


def ray_covariance(setting: TripleAxis, q: float, energy: float) -> tuple[Reals, float]:
    """(4, 4) over (Q along, across, up, E) from rays, and the smaller effective number of them."""
    rng = np.random.default_rng(7)
    angles = spectrometer_angles(setting, [q], [energy])
    ki, kf = float(angles.ki[0]), float(angles.kf[0])
    flat, high = np.asarray(setting.horizontal_fwhm) * SIGMA, np.asarray(setting.vertical_fwhm) * SIGMA
    collimators = np.stack([flat, high], axis=1)
    before, weight_before = rays(rng, setting.monochromator, ki, collimators[1], collimators[0], True)
    after, weight_after = rays(rng, setting.analyser, kf, collimators[2], collimators[3], False)
    # The scattering triangle in the laboratory: ki along x, kf turned by 2 theta.
    two_theta = setting.sample_sense * np.arccos((ki**2 + kf**2 - q**2) / (2 * ki * kf))
    turn = np.array([[np.cos(two_theta), -np.sin(two_theta), 0], [np.sin(two_theta), np.cos(two_theta), 0], [0, 0, 1]])
    nominal = np.array([ki, 0, 0]) - turn @ [kf, 0, 0]
    x = nominal / q
    axes = np.stack([x, np.cross([0, 0, 1.0], x), [0, 0, 1.0]])
    total = np.zeros((4, 4))
    effective = []
    for vectors, weight, sign in ((before, weight_before, 1.0), (after @ turn.T, weight_after, -1.0)):
        columns = np.concatenate([sign * vectors @ axes.T, sign * 2.0721 * np.sum(vectors**2, axis=1)[:, None]], axis=1)
        total += np.cov(columns.T, aweights=weight)
        effective.append(weight.sum() ** 2 / np.sum(weight**2))
    return total, min(effective)


@pytest.mark.parametrize(
    ("changes", "q", "energy"),
    [
        ({}, 2.0, 8.0),
        ({"sample_sense": -1}, 2.0, 8.0),
        ({"fixed": "ki", "fixed_energy": 25.0}, 1.6, -5.0),
        ({"monochromator": MosaicCrystal(2.08, 24 * ARCMINUTE, -1), "fixed_energy": 30.0}, 3.1, 20.0),
    ],
)
def test_covariance_is_that_of_rays(changes: dict[str, object], q: float, energy: float) -> None:
    """Every element to 1 % of the product of the two standard deviations (200 000 effective rays: 0.3 %; second order)."""
    setting = spectrometer(**changes)
    expected, effective = ray_covariance(setting, q, energy)
    assert effective > 150_000
    found = cooper_nathans(setting, [q], [energy])[0]
    sigma = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(found / np.outer(sigma, sigma), expected / np.outer(sigma, sigma), atol=0.01)
    # The test sees signs: some correlation of Q with E is large.
    assert np.abs(found[:2, 3] / (sigma[:2] * sigma[3])).max() > 0.3


def test_published_matrix() -> None:
    """ResLib's matrix as translated by neutronpy, whose own test holds these numbers (its 2.072 for 2.0721: 1e-4).

    5 meV, PG (002) of 25', collimations 32-80-120-120 and 120 vertically, a sample of 3.81 angstrom with 70' at (1, 1, 0).
    neutronpy counts right as +1: its senses (1, -1, 1) are (-1, 1, -1) here. Axes: (Qx, Qy, Qz, E) along a*, b*, c*.
    """
    published = np.array(
        [
            [23867.70517271, 20739.82283639, 0.0, 1427.28556717],
            [20739.82283639, 22311.93077865, 0.0, 746.61192804],
            [0.0, 0.0, 1049.13250378, 0.0],
            [1427.28556717, 746.61192804, 0.0, 187.09685691],
        ]
    )
    graphite = 2 * np.pi / 1.87325
    setting = TripleAxis(
        monochromator=MosaicCrystal(graphite, 25 * ARCMINUTE, -1),
        analyser=MosaicCrystal(graphite, 25 * ARCMINUTE, -1),
        sample_sense=1,
        fixed="ki",
        fixed_energy=5.0,
        horizontal_fwhm=np.array([32, 80, 120, 120]) * ARCMINUTE,
        vertical_fwhm=np.full(4, 120) * ARCMINUTE,
        sample_mosaic_fwhm=70 * ARCMINUTE,
    )
    lattice = np.diag([3.81, 3.81, 6.25])
    covariance = scan_covariance(setting, [[1.0, 1.0, 0.0]], [0.0], lattice=lattice, u=(1, 0, 0), v=(0, 1, 0))
    np.testing.assert_allclose(resolution_matrix(covariance)[0], published, rtol=1.5e-4, atol=1e-6)


def test_vanadium_width_in_closed_form() -> None:
    """(dk/k)^2 = cot^2 (a0^2 a1^2 + a0^2 m^2 + a1^2 m^2) / (a0^2 + a1^2 + 4 m^2), on either side of the sample."""
    setting = spectrometer(fixed="ki")
    angles = spectrometer_angles(setting, [2.0], [0.0])
    a0, a1, a2, a3 = np.asarray(setting.horizontal_fwhm) * SIGMA
    variance = 0.0
    for near, far, crystal, theta in (
        (a1, a0, setting.monochromator, angles.monochromator[0]),
        (a2, a3, setting.analyser, angles.analyser[0]),
    ):
        m = crystal.mosaic_fwhm * SIGMA
        kappa2 = (
            (far**2 * near**2 + far**2 * m**2 + near**2 * m**2) / (far**2 + near**2 + 4 * m**2) / np.tan(theta) ** 2
        )
        variance += (2 * 14.7) ** 2 * kappa2
    assert vanadium_width(cooper_nathans(setting, [2.0], [0.0]))[0] == pytest.approx(np.sqrt(variance), rel=1e-12)


def test_bragg_widths_are_those_of_scans_through_a_point() -> None:
    """exp(-x M x / 2) along each axis falls to exp(-1/2) there, and no scan is wider than the projection."""
    covariance = cooper_nathans(spectrometer(), [2.0], [8.0])[0]
    widths, matrix = bragg_widths(covariance), resolution_matrix(covariance)
    for axis, width in enumerate(widths):
        x = np.zeros(4)
        x[axis] = width
        assert np.exp(-0.5 * x @ matrix @ x) == pytest.approx(np.exp(-0.5))
    assert (widths <= np.sqrt(np.diag(covariance)) * (1 + 1e-12)).all()


def test_angles_close_the_triangle() -> None:
    for sense in (1, -1):
        setting = spectrometer(sample_sense=sense)
        found = spectrometer_angles(setting, [1.0, 2.0, 3.0], [3.0, 8.0, -4.0])
        np.testing.assert_allclose(2.0721 * (found.ki**2 - found.kf**2), [3.0, 8.0, -4.0], atol=1e-12)
        q = found.ki * np.exp(0j) - found.kf * np.exp(1j * found.two_theta)
        np.testing.assert_allclose(np.abs(q), [1.0, 2.0, 3.0])
        np.testing.assert_allclose(np.angle(q), found.q_angle, atol=1e-12)
        assert (np.sign(found.two_theta) == sense).all()
        np.testing.assert_allclose(2 * PG002 * np.sin(found.analyser), 2 * np.pi / found.kf)


def test_mirrored_senses_mirror_the_covariance() -> None:
    """All three senses reversed: what is across Q changes sign, nothing else."""
    one = spectrometer()
    other = spectrometer(
        monochromator=replace(one.monochromator, sense=-1), analyser=replace(one.analyser, sense=1), sample_sense=-1
    )
    mirror = np.diag([1.0, -1.0, 1.0, 1.0])
    found = cooper_nathans(other, [2.0], [8.0])[0]
    np.testing.assert_allclose(found, mirror @ cooper_nathans(one, [2.0], [8.0])[0] @ mirror, atol=1e-15)


def test_sample_mosaic_is_that_of_covariance() -> None:
    sharp, broad = spectrometer(), spectrometer(sample_mosaic_fwhm=50 * ARCMINUTE)
    expected = with_mosaic(cooper_nathans(sharp, [2.0], [8.0]), [[2.0, 0.0, 0.0]], mosaic=50 * ARCMINUTE * SIGMA)
    np.testing.assert_allclose(cooper_nathans(broad, [2.0], [8.0]), expected, atol=1e-16)


def test_crystal_axes() -> None:
    """Along Q the covariance is the spectrometer's, whichever way Q lies in the crystal; a turned plane turns with it."""
    lattice = np.array([[4.0, 0.0, 0.0], [-1.0, 5.0, 0.0], [0.3, 0.4, 6.0]])
    q = np.array([[0.6, 0.3, 0.0], [-0.2, 0.5, 0.0]])
    found = scan_covariance(spectrometer(), q, [5.0, 5.0], lattice=lattice, u=(1, 0, 0), v=(0, 1, 0))
    up = np.cross(*(np.eye(3)[:2] @ reciprocal(lattice)))
    up /= np.linalg.norm(up)
    for vector, covariance in zip(q @ reciprocal(lattice), found, strict=True):
        length = np.linalg.norm(vector)
        along = np.append(vector / length, 0.0)
        across = np.append(np.cross(up, vector / length), 0.0)
        own = cooper_nathans(spectrometer(), [length], [5.0])[0]
        assert along @ covariance @ along == pytest.approx(own[0, 0])
        assert along @ covariance @ across == pytest.approx(own[0, 1])
        assert along @ covariance @ [0, 0, 0, 1] == pytest.approx(own[0, 3])
        assert np.append(up, 0.0) @ covariance @ np.append(up, 0.0) == pytest.approx(own[2, 2])


def test_scan_over_a_magnon_is_narrow_on_the_focusing_side() -> None:
    """A ferromagnet's magnon at (1 +- 0.2, 0, 0): widths in E are those of the covariance and the slope, and differ."""
    cell = np.diag([4.0, 4.0, 6.0])
    site = Site((0, 0, 0), 2.0, (0, 0, 1), "Mn2+")
    bonds = [Bond(0, 0, (1, 0, 0), -1.0), Bond(0, 0, (0, 1, 0), -1.0)]
    model = SpinModel(cell, cell, [site], bonds, zeeman=[Zeeman(0, (0, 0, -0.5))])
    setting = spectrometer()
    a_star = 2 * np.pi / 4.0
    widths = []
    for h in (0.8, 1.2):
        centre = float(model.modes([[h, 0, 0]]).energy[0, 0])
        slope = (
            4 * 2.0 * np.sin(2 * np.pi * h) * 2 * np.pi / 2 / a_star
        )  # dE/dQ of 4 S (1 - cos(2 pi h)) / 2 |J|, |J| = 1
        numeric = np.diff(model.modes([[h - 1e-5, 0, 0], [h + 1e-5, 0, 0]]).energy[:, 0])[0] / (2e-5 * a_star)
        assert slope == pytest.approx(numeric, rel=1e-6)
        energy = centre + np.linspace(-4, 4, 61)
        q = np.tile([h, 0.0, 0.0], (61, 1))
        scan = simulated_scan(model, setting, q, energy, u=(1, 0, 0), v=(0, 1, 0), form_factor="none")
        mean = energy @ scan.intensity / scan.intensity.sum()
        widths.append(np.sqrt((energy - mean) ** 2 @ scan.intensity / scan.intensity.sum()))
        covariance = cooper_nathans(setting, [h * a_star], [centre])[0]
        projected = np.array([-slope, 0.0, 0.0, 1.0])  # a* is along Q: the slope across vanishes
        assert widths[-1] == pytest.approx(np.sqrt(projected @ covariance @ projected), rel=0.08)
    assert max(widths) > 1.3 * min(widths)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="the scattering triangle does not close"):
        cooper_nathans(spectrometer(), [9.0], [1.0])
    with pytest.raises(ValueError, match="leaves no neutron at E = 20"):
        cooper_nathans(spectrometer(fixed="ki"), [2.0], [20.0])
    with pytest.raises(ValueError, match="do not reflect"):
        cooper_nathans(spectrometer(fixed_energy=1.0), [0.5], [0.0])
    with pytest.raises(ValueError, match="four positive"):
        spectrometer(horizontal_fwhm=[1.0, 1.0])
    with pytest.raises(ValueError, match="sense must be 1 or -1"):
        MosaicCrystal(PG002, 0.01, 0)  # type: ignore[arg-type]
    lattice = np.diag([4.0, 4.0, 6.0])
    with pytest.raises(ValueError, match="must lie in the plane"):
        scan_covariance(spectrometer(), [[1, 0, 0.1]], [1.0], lattice=lattice, u=(1, 0, 0), v=(0, 1, 0))
    with pytest.raises(ValueError, match="must not be parallel"):
        scan_covariance(spectrometer(), [[1, 0, 0]], [1.0], lattice=lattice, u=(1, 0, 0), v=(2, 0, 0))
