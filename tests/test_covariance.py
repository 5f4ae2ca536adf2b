"""Covariances: frames, mosaic, conditional Gaussians."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.instrument.covariance import (
    checked_covariance,
    conditional,
    correlations,
    covariance_from_rlu,
    covariance_to_rlu,
    with_mosaic,
)

LATTICE = np.array([[4.0, 0.3, 0.0], [-1.0, 5.0, 0.2], [0.5, 0.1, 7.0]])


def random_covariance(rng: np.random.Generator, size: int = 4) -> np.ndarray:
    root = rng.normal(size=(size, size))
    return np.asarray(root @ root.T)


def test_frames_are_those_of_drawn_deviations() -> None:
    """Deviations drawn in r.l.u. and brought to Cartesian axes one by one have the transformed covariance."""
    rng = np.random.default_rng(0)
    rlu = random_covariance(rng)
    drawn = rng.multivariate_normal(np.zeros(4), rlu, 100_000)
    moved = drawn.copy()
    moved[:, :3] = drawn[:, :3] @ (2 * np.pi * np.linalg.inv(LATTICE).T)
    cartesian = covariance_from_rlu(rlu, LATTICE)
    np.testing.assert_allclose(cartesian, np.cov(moved.T), atol=0.02 * np.abs(cartesian).max())
    np.testing.assert_allclose(covariance_to_rlu(cartesian, LATTICE), rlu, atol=1e-12)


def test_mosaic_is_that_of_small_rotations() -> None:
    rng = np.random.default_rng(1)
    q, mosaic = np.array([1.0, -2.0, 0.7]), 0.01
    drawn = np.cross(rng.normal(scale=mosaic, size=(200_000, 3)), q)
    added = with_mosaic(np.zeros((4, 4)), q, mosaic=mosaic)
    np.testing.assert_allclose(added[:3, :3], np.cov(drawn.T), atol=0.01 * np.abs(added).max())
    np.testing.assert_allclose(added[:3, :3] @ q, 0.0, atol=1e-16)
    both = with_mosaic(np.zeros((4, 4)), [q, 2 * q], mosaic=mosaic)
    np.testing.assert_allclose(both, [added, 4 * added])
    across = np.cross(q, [0, 0, 1.0])
    assert across @ added[:3, :3] @ across / (across @ across) == pytest.approx((mosaic * np.linalg.norm(q)) ** 2)
    assert not added[3].any()


@pytest.mark.parametrize("flat", [False, True])
def test_conditional_parts_make_the_whole(flat: bool) -> None:
    """Q = spread u, E = drift . u + sqrt(variance) v has the covariance it was made from, singular ones too."""
    covariance = random_covariance(np.random.default_rng(2))
    if flat:
        covariance[1] = covariance[:, 1] = 0.0
    parts = conditional(covariance[None])
    whole = np.zeros((4, 5))
    whole[:3, :3], whole[3, :3], whole[3, 4] = parts.spread[0], parts.drift[0], np.sqrt(parts.variance[0])
    np.testing.assert_allclose(whole @ whole.T, covariance, atol=1e-12)
    kept = [0, 2] if flat else [0, 1, 2]
    block = covariance[np.ix_(kept, kept)]
    schur = covariance[3, 3] - covariance[3, kept] @ np.linalg.solve(block, covariance[kept, 3])
    assert parts.variance[0] == pytest.approx(schur)


def test_correlations() -> None:
    found = correlations([[4.0, 1.0], [1.0, 9.0]])
    np.testing.assert_allclose(found, [[1.0, 1 / 6], [1 / 6, 1.0]])


def test_what_is_no_covariance_is_refused() -> None:
    good = np.eye(4)
    assert checked_covariance(good, n=3, size=4).shape == (3, 4, 4)
    with pytest.raises(ValueError, match=r"covariance must have shape \(3, 4, 4\)"):
        checked_covariance(np.eye(3), n=3, size=4)
    for bad in (np.diag([1.0, 1, 1, -1]), np.eye(4) + 2.0 * np.eye(4)[::-1], np.triu(np.ones((4, 4))), good * np.nan):
        with pytest.raises(ValueError, match="number 1 is"):
            checked_covariance([good, bad, good], n=3, size=4)
    with pytest.raises(ValueError, match="mosaic must be finite"):
        with_mosaic(good, [1.0, 0, 0], mosaic=-1.0)
