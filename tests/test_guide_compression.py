"""Numbers of images: what they keep, and their noise."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.guide.compression import compression, pooled_frame, pooled_sum
from small_hypothesis import small
from small_planner import small_planner


def test_pooled_pixels_lie_in_the_middle_and_hold_sums() -> None:
    frame = small().frame.image_frame()
    coarse = pooled_frame(frame, 2)
    np.testing.assert_allclose(np.asarray(coarse.pixels)[0], np.mean(np.asarray(frame.pixels)[:2]))
    image = np.arange(2 * 4 * 4, dtype=float).reshape(2, 4, 4)
    assert pooled_sum(image, 2)[0, 0, 0] == 0 + 1 + 4 + 5
    np.testing.assert_allclose(pooled_sum(image, 2).sum(), image.sum())


def test_a_pool_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match=r"pool must divide the 16 pixels of an axis, got 3"):
        pooled_frame(small().frame.image_frame(), 3)


def test_pooled_means_are_over_measured_pixels_alone() -> None:
    planner = small_planner()
    image = np.where(planner.measured, 3.0, 1e9)
    pooled = planner.compression.pooled(image, planner.measured)
    np.testing.assert_allclose(pooled[planner.compression.pixels > 0], 3.0)
    assert (pooled[planner.compression.pixels == 0] == 0).all()


def test_numbers_are_orthonormal_and_keep_backgrounds() -> None:
    squeezed = small_planner().compression
    for basis in squeezed.bases:
        np.testing.assert_allclose(basis @ basis.T, np.eye(len(basis)), atol=1e-10)
    flat = (squeezed.pixels > 0).astype(float)[None]  # an offset of each incident energy is a background
    values = squeezed.values(flat)
    for block, own in enumerate(squeezed.slices):
        back = squeezed.whitened_pixels(values[0, own], block)
        root = np.sqrt(squeezed.weight[squeezed.blocks == block])
        np.testing.assert_allclose(back, root * flat[0][squeezed.blocks == block], atol=1e-9)


def test_numbers_have_unit_noise_where_the_variance_is_as_expected() -> None:
    squeezed = small_planner().compression
    variance = np.where(squeezed.weight > 0, 1.0 / np.maximum(squeezed.weight, 1e-300), 0.0)
    for covariance in squeezed.covariance(variance):
        np.testing.assert_allclose(covariance, np.eye(len(covariance)), atol=1e-10)


def test_numbers_hold_the_whole_likelihood_ratio_of_images_of_the_span() -> None:
    """log p(x | f) - log p(x | g) over pixels equals that over numbers, where f - g lies in the basis."""
    rng = np.random.default_rng(0)
    frame = small().frame.image_frame()
    shape = (frame.shape[0], 8, 8)
    images = rng.normal(size=(6, *shape)) + 2.0
    squeezed = compression(
        frame, pool=2, measured=np.ones(frame.shape, bool), variance=np.full(shape, 2.0),
        exact=images[:2], typical=[images[2:]], components=[4],
    )  # fmt: skip
    one, other, data = images[0], images[3], rng.normal(size=shape)
    w = squeezed.weight
    pixels = -0.5 * np.sum(w * (data - one) ** 2) + 0.5 * np.sum(w * (data - other) ** 2)
    x, f, g = squeezed.values(np.stack([data, one, other]))
    np.testing.assert_allclose(-0.5 * np.sum((x - f) ** 2) + 0.5 * np.sum((x - g) ** 2), pixels, rtol=1e-9)
