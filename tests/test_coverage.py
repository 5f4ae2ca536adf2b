"""Detector banks on a frame."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.instrument import EnergyBlock, ImageFrame
from insdl.instrument.coverage import DetectorBank, bank_coverage
from insdl.instrument.kinematics import kinematic_l, momentum_transfer

LATTICE = np.diag([5.4, 5.5, 19.0])


def frame() -> ImageFrame:
    block = EnergyBlock([(4.0, 6.0), (15.0, 17.0)], 30.0, (0.3, 0, 0), 0.01)
    return ImageFrame([block], np.linspace(-2.9, 2.9, 30), 1)


def test_bank_knows_its_edges_and_gaps() -> None:
    bank = DetectorBank((0.1, 1.0), (-0.2, 0.3), gaps=[((0.4, 0.5), (-np.pi, np.pi)), ((0.1, 1.0), (0.1, 0.12))])
    assert bank.sees([0.2, 0.05, 1.1, 0.45, 0.6], 0.0).tolist() == [True, False, False, False, True]
    assert bank.sees(0.2, [0.29, 0.31, -0.19, -0.21, 0.11, 2 * np.pi]).tolist() == [
        True,
        False,
        True,
        False,
        False,
        True,
    ]
    assert not bank.sees(np.nan, 0.0)
    assert DetectorBank((0.1, 1.0)).sees(0.2, np.linspace(-4, 4, 9)).all()


def test_across_the_cut_of_the_azimuth() -> None:
    """A bank from 170 to 190 degrees sees both sides of pi."""
    bank = DetectorBank((0.0, 1.0), (np.radians(170), np.radians(190)))
    assert bank.sees(0.5, np.radians([171, 179, -179, -171, 160, -160])).tolist() == [True] * 4 + [False] * 2


def test_coverage_is_what_rays_hit() -> None:
    """Rays to detectors of the bank land in covered pixels, and rays beside it do not."""
    bank = DetectorBank((0.15, 0.9), (2.0, 3.9), gaps=[((0.5, 0.6), (2.0, 3.9))])
    image, covered = frame(), bank_coverage(frame(), LATTICE, [bank])
    assert covered.shape == image.shape
    assert 0.05 < covered.mean() < 0.5
    pixels = np.asarray(image.pixels)
    rng = np.random.default_rng(0)
    step = pixels[1] - pixels[0]
    hits = {True: 0, False: 0}
    for number, energy in enumerate((5.0, 16.0)):
        # Directions are searched by brute force, from the forward formula alone.
        angle, around = np.meshgrid(np.linspace(0, np.pi / 2, 300), np.linspace(0, 2 * np.pi, 400), indexing="ij")
        seen = momentum_transfer(angle, around, energy, incident_energy=30.0)
        for h, k in rng.choice(pixels, (60, 2)):
            height = kinematic_l(h, k, energy, incident_energy=30.0, lattice=LATTICE)
            i, j = (round((x - pixels[0]) / step) for x in (h, k))
            q = 2 * np.pi * np.array([h / 5.4, k / 5.5, height / 19.0])
            if np.isnan(height):
                assert not covered[number, i, j]
                continue
            nearest = np.unravel_index(np.argmin(np.sum((seen - q) ** 2, axis=-1)), angle.shape)
            two_theta, azimuth = angle[nearest], around[nearest]
            edges = np.array([0.15, 0.5, 0.6, 0.9])
            if np.abs(two_theta - edges).min() < 0.01 or min(abs(azimuth - 2.0), abs(azimuth - 3.9)) < 0.02:
                continue  # nearer to an edge than the search is fine
            expected = (0.15 < two_theta < 0.5 or 0.6 < two_theta < 0.9) and 2.0 < azimuth < 3.9
            assert covered[number, i, j] == expected
            hits[expected] += 1
    assert min(hits.values()) > 8


def test_bad_banks_are_refused() -> None:
    with pytest.raises(ValueError, match="two_theta must ascend"):
        DetectorBank((0.5, 0.2))
    with pytest.raises(ValueError, match="azimuth must ascend"):
        DetectorBank((0.1, 0.2), (0.0, 7.0))
    with pytest.raises(ValueError, match="gap's two_theta"):
        DetectorBank((0.1, 0.2), gaps=[((0.2, 0.1), (0.0, 1.0))])
