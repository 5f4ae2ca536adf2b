"""The four mirror images of a measurement as one: against a loop over pixels, and what it is blind to."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.dataset.configuration import configuration
from insdl.dataset.configured import ConfiguredSource
from insdl.dataset.quarter_view import QuarterDetection, quarter_view
from insdl.dataset.view import ViewPrior
from small_hypothesis import small_content

SIGMA = np.array([0.5, 2.0])


def some(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(3.0, 4.0, (2, 6, 6)), rng.random((2, 6, 6)) < 0.6


def test_each_pixel_is_the_mean_of_its_mirror_images() -> None:
    counts, seen = some()
    found = quarter_view(counts, seen, SIGMA)
    assert found.shape == (4, 3, 3)
    for b in range(2):
        for i in range(3):
            for j in range(3):
                four = [(b, h, k) for h in (3 + i, 2 - i) for k in (3 + j, 2 - j)]
                values = [np.arcsinh(counts[one] / SIGMA[b]) for one in four if seen[one]]
                assert found[b, i, j] == pytest.approx(np.mean(values) if values else 0.0, abs=1e-6)
                assert found[2 + b, i, j] == len(values) / 4


def test_mirrored_measurements_look_alike_and_stacks_are_images_one_by_one() -> None:
    counts, seen = some()
    plain = quarter_view(counts, seen, SIGMA)
    for flip in (np.s_[:, ::-1], np.s_[:, :, ::-1], np.s_[:, ::-1, ::-1]):
        np.testing.assert_allclose(quarter_view(counts[flip], seen[flip], SIGMA), plain, atol=1e-6)
    other, also = some(1)
    both = quarter_view(np.stack([counts, other]), np.stack([seen, also]), SIGMA)
    np.testing.assert_array_equal(both, np.stack([plain, quarter_view(other, also, SIGMA)]))


def test_what_is_not_seen_is_not_looked_at() -> None:
    counts, seen = some()
    hidden = np.where(seen, counts, np.nan)
    np.testing.assert_array_equal(quarter_view(hidden, seen, SIGMA), quarter_view(counts, seen, SIGMA))
    assert not quarter_view(counts, np.zeros_like(seen), SIGMA).any()


def test_a_detection_is_seen_whole_or_in_part() -> None:
    source = ConfiguredSource(configuration(small_content()))
    image = source.make([0], threads=1).images[0]
    detector = source.detector
    counts = detector.detect(image, np.random.default_rng(3))
    whole = QuarterDetection(source)(image, np.random.default_rng(3))
    np.testing.assert_array_equal(whole, quarter_view(counts, detector.measured, detector.noise_sigma))
    half = ViewPrior(0.0, 0.0, 0.0, some_pixels=1.0, mask_from_zeros=0.0, more_noise=0.0)
    part = QuarterDetection(source, half)(image, np.random.default_rng(3))
    cells = len(counts)
    assert part[cells:].sum() < whole[cells:].sum()


def test_wrong_arguments_are_refused() -> None:
    counts, seen = some()
    with pytest.raises(ValueError, match="p even"):
        quarter_view(counts[:, :5, :5], seen[:, :5, :5], SIGMA)
    with pytest.raises(ValueError, match="sigma must be 2 positive numbers"):
        quarter_view(counts, seen, [1.0, 0.0])
    counts[seen] = np.inf
    with pytest.raises(ValueError, match="finite wherever they are seen"):
        quarter_view(counts, seen, SIGMA)
