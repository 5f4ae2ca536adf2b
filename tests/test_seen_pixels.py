"""Where was measured, told from zeros: against a slow look at every block of pixels, and by known masks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from insdl.instrument.seen_pixels import seen_pixels

BLOCKS = np.repeat([0, 1], 4)


def slow(image: np.ndarray) -> np.ndarray:
    """Every 3 x 3 pixels at two neighbouring energies, one after the other."""
    seen = np.zeros(image.shape, dtype=bool)
    n = image.shape[1]
    for block in (0, 1):
        lit = image[block == BLOCKS] > 0
        ok = np.ones(lit.shape, dtype=bool)
        for e, h, k in itertools.product(range(len(lit) - 1), range(-2, n), range(-2, n)):
            window = np.s_[e : e + 2, max(h, 0) : h + 3, max(k, 0) : k + 3]
            if not lit[window].any():
                ok[window] = False
        seen[block == BLOCKS] = ok & lit.any(axis=0) & lit.any(axis=(1, 2), keepdims=True)
    return seen


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_it_is_the_slow_rule(share: float) -> None:
    image = (np.random.default_rng(0).random((8, 9, 9)) < share) * 1.0
    np.testing.assert_array_equal(seen_pixels(image, BLOCKS), slow(image))


def test_known_masks_are_found() -> None:
    """A dark corner and a dead incident energy; half of the noise clipped to zero, as in a subtracted image."""
    rng = np.random.default_rng(1)
    measured = np.ones((8, 30, 30), dtype=bool)
    measured[:, :8, :8] = False
    measured[4:] = False
    image = np.where(measured, np.maximum(rng.standard_normal(measured.shape), 0.0), 0.0)
    found = seen_pixels(image, BLOCKS)
    assert not found[4:].any()
    assert not found[:, :7, :7].any()  # a pixel at the rim has lit neighbours
    assert found[measured].mean() > 0.9


def test_a_checkerboard_and_nans() -> None:
    rng = np.random.default_rng(2)
    image = np.maximum(rng.standard_normal((8, 20, 20)) + 0.5, 0.0)
    h, k = np.indices((20, 20))
    image[:, (h + k) % 2 == 0] = 0.0
    image[:, 3, 4] = np.nan
    found = seen_pixels(image, BLOCKS)
    assert not found[:, (h + k) % 2 == 0].any()
    assert not found[:, 3, 4].any()
    assert found[:, (h + k) % 2 == 1].mean() > 0.9


def test_a_missing_cell_was_not_measured() -> None:
    image = np.ones((8, 6, 6))
    image[2] = 0.0
    np.testing.assert_array_equal(seen_pixels(image, BLOCKS).any(axis=(1, 2)), np.arange(8) != 2)


def test_a_known_mask_is_believed_but_for_the_dead() -> None:
    rng = np.random.default_rng(3)
    measured = rng.random((8, 12, 12)) < 0.8
    image = np.where(measured, rng.standard_normal(measured.shape), 0.0)
    image[:4, 3:6, 3:6] = 0.0  # dead at the first incident energy
    image[6] = 0.0
    image[7, 0:3, 0:3] = 0.0  # dark, and yet measured
    found = seen_pixels(image, BLOCKS, mask=measured)
    expected = measured.copy()
    expected[:4, 3:6, 3:6] = False
    expected[6] = False
    lit = (image != 0).reshape(2, 4, 12, 12).any(axis=1).repeat(4, axis=0)
    np.testing.assert_array_equal(found, expected & lit)
    assert found[7, 0:3, 0:3].any()
    with pytest.raises(ValueError, match="mask must have the shape"):
        seen_pixels(image, BLOCKS, mask=measured[:4])


def test_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"image must have shape \(8, n_h, n_k\), got \(7, 5, 5\)"):
        seen_pixels(np.ones((7, 5, 5)), BLOCKS)
