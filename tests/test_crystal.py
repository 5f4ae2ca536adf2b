"""Reciprocal lattices and neighbours, against plain enumeration."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from insdl.crystal import neighbours, reciprocal


def random_lattice(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    return np.asarray(4.0 * np.eye(3) + rng.uniform(-1.5, 1.5, (3, 3)))


@pytest.mark.parametrize("seed", range(3))
def test_reciprocal_is_two_pi_times_the_inverse(seed: int) -> None:
    lattice = random_lattice(np.random.default_rng(seed))
    np.testing.assert_allclose(reciprocal(lattice) @ lattice.T, 2 * np.pi * np.eye(3), rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_neighbours_are_all_pairs_once(seed: int) -> None:
    """Skewed cells, positions outside the cell too: as many as plain enumeration finds in a large box."""
    rng = np.random.default_rng(seed)
    lattice, positions = random_lattice(rng), rng.uniform(-1, 2, (3, 3))
    found = neighbours(lattice, positions, max_distance=6.0)
    expected = 0
    for i, j in itertools.product(range(3), repeat=2):
        for offset in itertools.product(range(-8, 9), repeat=3):
            distance = np.linalg.norm((positions[j] + offset - positions[i]) @ lattice)
            expected += 1e-9 < distance <= 6.0
    assert 2 * len(found) == expected
    keys = {(pair.i, pair.j, pair.offset) for pair in found}
    assert len(keys) == len(found)
    assert not keys & {(pair.j, pair.i, tuple(-n for n in pair.offset)) for pair in found}
    for pair in found:
        vector = (positions[pair.j] + pair.offset - positions[pair.i]) @ lattice
        np.testing.assert_allclose(pair.vector, vector, rtol=0, atol=1e-12)
        assert pair.distance == pytest.approx(np.linalg.norm(vector), abs=1e-12)
    distances = [pair.distance for pair in found]
    assert distances == sorted(distances)


def test_face_centred_shells() -> None:
    """12, 6, 24 and 12 neighbours, each pair once."""
    lattice = 2.0 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    shells = [round(pair.distance**2, 9) for pair in neighbours(lattice, [[0, 0, 0]], max_distance=5.7)]
    assert [shells.count(d) for d in (8.0, 16.0, 24.0, 32.0)] == [6, 3, 12, 6]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"lattice": np.zeros((3, 3))}, "lattice must have three independent rows"),
        ({"lattice": [1, 2, 3]}, "lattice must have shape (3, 3), got (3,)"),
        ({"lattice": [[1, 0, 0], [0, 1, 0], [0, 0, np.nan]]}, "lattice must have three independent rows"),
        ({"lattice": [["1", "0", "0"]] * 3}, "lattice must be real numbers"),
        ({"positions": [0, 0, 0]}, "positions must be finite and of shape (n, 3), got [0.0, 0.0, 0.0]"),
        ({"positions": [[0, 0, np.inf]]}, "positions must be finite and of shape (n, 3)"),
        ({"positions": [[0, 0], [0]]}, "positions must be an array of numbers"),
        ({"max_distance": 0.0}, "max_distance must be positive and finite (angstrom), got 0.0"),
        ({"max_distance": np.inf}, "max_distance must be positive and finite"),
    ],
)
def test_bad_input_is_refused(change: dict[str, Any], sentence: str) -> None:
    given: dict[str, Any] = {"lattice": np.eye(3), "positions": [[0, 0, 0]], "max_distance": 1.5, **change}
    with pytest.raises(ValueError, match=re.escape(sentence)):
        neighbours(given["lattice"], given["positions"], max_distance=given["max_distance"])
    if "lattice" in change:
        with pytest.raises(ValueError, match=re.escape(sentence)):
            reciprocal(change["lattice"])
