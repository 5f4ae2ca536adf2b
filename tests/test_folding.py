"""Momentum transfers that share their energies: which are solved, and that every point keeps its place."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from insdl.folding import Folding, fold


def grid(step: float, offset: float = 0.0) -> npt.NDArray[np.float64]:
    """A square grid over [-1, 1), (n, 2)."""
    axis = np.arange(-1.0 + offset, 1.0 - 1e-9, step)
    h, k = np.meshgrid(axis, axis, indexing="ij")
    return np.stack([h.ravel(), k.ravel()], axis=1)


def check_places(folded: Folding, points: npt.NDArray[np.float64]) -> None:
    """Every point stands once, at +-(solve_q + G)."""
    seen = []
    for table, sign in ((folded.plus, 1.0), (folded.minus, -1.0)):
        for g, solve in zip(*np.nonzero(table >= 0), strict=True):
            seen.append(table[g, solve])
            np.testing.assert_allclose(
                sign * (folded.solve_q[solve] + folded.shift[g]), points[seen[-1]], rtol=0, atol=1e-9
            )
    assert sorted(seen) == list(range(len(points)))


@pytest.mark.parametrize(
    ("step", "offset", "to_magnetic", "n_solve"),
    [
        (0.25, 0.0, np.diag([2.0, 2.0]), 4),  # zones of 0.5: (0, 0), (0, 1/4), (1/4, 0), (1/4, 1/4)
        (0.25, 0.125, np.diag([2.0, 2.0]), 2),  # +-(1/8, 1/8) and +-(1/8, -1/8)
        (0.125, 0.0625, np.diag([2.0, 2.0]), 8),  # 16 points a zone, in pairs
        (0.25, 0.0, np.array([[1.0, 1.0], [1.0, -1.0]]), 6),  # 8 points a zone: 4 are their own opposite, 4 in 2 pairs
        (0.3, 0.013, np.eye(2), 49),  # nothing fits
    ],
)
def test_grids(step: float, offset: float, to_magnetic: npt.NDArray[np.float64], n_solve: int) -> None:
    """The number of distinct q on a commensurate grid is known; the solved ones come from the list itself."""
    points = grid(step, offset)
    folded = fold(points, to_magnetic)
    check_places(folded, points)
    assert len(folded.solve_q) == n_solve
    assert all((np.abs(points - q).max(axis=1) == 0).any() for q in folded.solve_q)
    magnetic = folded.shift @ to_magnetic.T
    np.testing.assert_allclose(magnetic, np.rint(magnetic), rtol=0, atol=1e-9)


def test_three_dimensions() -> None:
    """A random list with partners in other zones and of the other sign."""
    rng = np.random.default_rng(3)
    q = rng.uniform(-0.5, 0.5, (20, 3))
    cell = np.array([[2.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    whole = rng.integers(-3, 4, (20, 3)) @ np.linalg.inv(cell).T
    points = np.concatenate([q, q + whole + np.linalg.inv(cell).T[0], -q])[rng.permutation(60)]
    folded = fold(points, cell)
    check_places(folded, points)
    assert len(folded.solve_q) == 20


def test_a_point_twice_is_refused() -> None:
    """Two equal points would share one place."""
    with pytest.raises(ValueError, match="different from each other"):
        fold(np.array([[0.1, 0.2], [0.3, 0.1], [0.1, 0.2]]), np.eye(2))
