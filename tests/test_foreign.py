"""Images of none of the rivals: reproducible, finite, and what they say they are."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from insdl.dataset.configuration import load_configuration
from insdl.dataset.configured import ConfiguredSource
from insdl.dataset.foreign import KINDS, SourceWithForeign, shuffled_cells, square_magnet
from insdl.dataset.source import GOOD


def source() -> SourceWithForeign:
    return SourceWithForeign(ConfiguredSource(load_configuration("pcsmo").model_copy(update={"n_samples": 60})))


def test_the_rivals_are_those_of_the_base_and_every_kind_has_its_turn() -> None:
    given = source()
    assert given.classes == ("goodenough", "dimer", "zener_polaron", "none")
    assert given.n_samples == 80
    made = given.make(range(24))
    np.testing.assert_array_equal(made.labels, np.tile(np.arange(4), 6))
    assert (made.status == GOOD).all()
    own = given.base.make([0, 1, 2, 3])
    np.testing.assert_array_equal(made.images[[0, 1, 2, 4]], own.images)
    foreign = made.images[3::4]
    assert np.isnan(made.parameters[3::4]).all()
    empty = [not image.any() for image in foreign]
    assert empty == [kind == "empty" for kind in KINDS]
    assert np.isfinite(foreign).all()
    assert foreign.min() >= 0.0


def test_a_sample_depends_on_its_number_alone() -> None:
    given = source()
    together = given.make([19, 7, 3, 15])
    copy = pickle.loads(pickle.dumps(given))
    for row, index in enumerate((19, 7, 3, 15)):
        np.testing.assert_array_equal(copy.make([index], threads=1).images[0], together.images[row])


def test_shuffled_cells_keep_every_count() -> None:
    image = np.random.default_rng(0).random((60, 8, 8)).astype(np.float32)
    for index in range(6):
        found = shuffled_cells(image, np.random.default_rng(index))
        np.testing.assert_array_equal(np.sort(found.ravel()), np.sort(image.ravel()))
        assert not np.array_equal(found, image)


@pytest.mark.parametrize("order", ["ferromagnet", "neel", "stripe"])
def test_square_magnets_have_their_closed_forms(order: str) -> None:
    """E = 2 S sqrt(A^2 - B^2) of the square lattice, S = 1, one bond an unordered pair."""
    q = np.random.default_rng(0).uniform(-1, 1, (20, 3))
    x, y = 2 * np.pi * q[:, 0], 2 * np.pi * q[:, 1]
    near_x, near_y, far = np.cos(x), np.cos(y), 2 * np.cos(x) * np.cos(y)
    j1, j2, d = {"ferromagnet": (-2.0, -0.3, 0.1), "neel": (2.0, -0.3, 0.1), "stripe": (0.5, 2.0, 0.1)}[order]
    same = {"ferromagnet": j1 * (near_x + near_y) + j2 * far, "neel": j2 * far, "stripe": j1 * near_y}[order]
    same0 = {"ferromagnet": 2 * j1 + 2 * j2, "neel": 2 * j2, "stripe": j1}[order]
    other = {"ferromagnet": 0.0, "neel": j1 * (near_x + near_y), "stripe": j1 * near_x + j2 * far}[order]
    other0 = {"ferromagnet": 0.0, "neel": 2 * j1, "stripe": j1 + 2 * j2}[order]
    expected = 2.0 * np.sqrt((d + other0 - same0 + same) ** 2 - other**2)
    model = square_magnet(order, lattice_constant=4.0)  # type: ignore[arg-type]
    energy = model.modes(q, J1=j1, J2=j2, D=d).energy
    np.testing.assert_allclose(np.abs(energy - expected[:, None]).min(axis=1), 0.0, atol=1e-9)


def test_exchanged_blocks_stay_whole() -> None:
    image = np.arange(60, dtype=np.float32)[:, None, None] * np.ones((60, 4, 4), np.float32)
    image += np.random.default_rng(0).random((60, 4, 4), dtype=np.float32) / 4
    blocks = np.repeat(np.arange(6), 10)
    exchanged = 0
    for index in range(40):
        found = shuffled_cells(image, np.random.default_rng(index), blocks=blocks)
        assert not np.array_equal(found, image)
        order = np.floor(found.mean(axis=(1, 2))).astype(int).reshape(6, 10)
        if (np.diff(order, axis=1) == 1).all() and (order[:, 0] != 10 * np.arange(6)).any():
            exchanged += 1
            np.testing.assert_array_equal(found, image[order.ravel()])  # nothing inside is touched
    assert 3 <= exchanged <= 20  # a quarter of them


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"kinds must be some of \['shuffled'"):
        SourceWithForeign(source().base, kinds=["cats"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="indices must lie in 0 to 79, got 80"):
        source().make([80])
