"""Parts of a measurement, and what a network sees of them."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.dataset.configuration import load_source
from insdl.dataset.configured import ConfiguredSource
from insdl.dataset.randomness import generator
from insdl.dataset.view import ViewedDetection, ViewPrior, halves, network_view, partial_view, with_more_noise

SHAPE = (12, 20, 20)
BLOCKS = np.repeat(np.arange(3), 4)
SIGMA = np.linspace(0.5, 2.0, 12)
NOTHING = ViewPrior(
    some_energies=0.0, one_energy=0.0, some_cells=0.0, some_pixels=0.0, mask_from_zeros=0.0, more_noise=0.0
)


def image() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    measured = rng.random(SHAPE) < 0.8
    return np.where(measured, rng.poisson(4.0, SHAPE), 0).astype(np.float32), measured


def test_the_whole_is_a_view() -> None:
    counts, measured = image()
    seen_counts, seen = partial_view(counts, measured, BLOCKS, SIGMA, generator(0, "view", 0), NOTHING)
    np.testing.assert_array_equal(seen_counts, counts)
    np.testing.assert_array_equal(seen, measured)


def test_one_incident_energy_is_what_is_left_of_three() -> None:
    counts, measured = image()
    prior = ViewPrior(
        some_energies=0.0, one_energy=1.0, some_cells=0.0, some_pixels=0.0, mask_from_zeros=0.0, more_noise=0.0
    )
    left = set()
    for index in range(30):
        _, seen = partial_view(counts, measured, BLOCKS, SIGMA, generator(0, "view", index), prior)
        blocks = np.unique(BLOCKS[seen.any(axis=(1, 2))])
        assert len(blocks) == 1
        np.testing.assert_array_equal(seen[blocks[0] == BLOCKS], measured[blocks[0] == BLOCKS])
        left.add(int(blocks[0]))
    assert left == {0, 1, 2}


def test_nothing_that_is_not_measured_is_ever_seen_and_something_always_is() -> None:
    counts, measured = image()
    prior = ViewPrior(some_energies=0.5, one_energy=0.5, some_cells=1.0, some_pixels=1.0)
    for index in range(60):
        _, seen = partial_view(counts, measured, BLOCKS, SIGMA, generator(1, "view", index), prior)
        assert seen.any()
        assert not (seen & ~measured).any()


def test_the_added_noise_has_the_stated_width() -> None:
    """Empty pixels: factor * sigma of the cell; bright ones: factor * sqrt(sigma^2 + counts)."""
    rng = np.random.default_rng(1)
    for level in (0.0, 25.0):
        noisy = with_more_noise(np.full((2, 300, 300), level), np.array([1.0, 3.0]), 8.0, rng, clipped=False)
        expected = 8.0 * np.sqrt(np.array([1.0, 9.0]) + level)
        np.testing.assert_allclose(noisy.std(axis=(1, 2)), expected, rtol=5 / np.sqrt(2 * 9e4))
    clipped = with_more_noise(np.zeros((1, 300, 300)), np.array([1.0]), 2.0, rng)
    assert clipped.min() == 0.0
    assert clipped.mean() == pytest.approx(2.0 / np.sqrt(2 * np.pi), rel=0.02)


def test_the_input_is_arsinh_where_seen_and_blind_elsewhere() -> None:
    counts, measured = image()
    counts[~measured] = np.nan
    given = network_view(counts, measured)
    assert given.shape == (24, 20, 20)
    np.testing.assert_allclose(np.sinh(given[:12][measured]), counts[measured], rtol=1e-5)
    assert not given[:12][~measured].any()
    np.testing.assert_array_equal(given[12:], measured)
    np.testing.assert_array_equal(network_view(np.stack([counts, counts]), measured)[1], given)
    counts[measured] = np.inf
    with pytest.raises(ValueError, match="counts must be finite wherever they are seen"):
        network_view(counts, measured)


def test_halves_share_no_pixel_and_leave_none_out() -> None:
    _, measured = image()
    first, second = halves(measured)
    assert not (first & second).any()
    np.testing.assert_array_equal(first | second, measured)
    assert abs(int(first.sum()) - int(second.sum())) < 0.05 * measured.sum()


def test_priors_refuse_what_is_no_share() -> None:
    with pytest.raises(ValueError, match=r"some_cells must be a share from 0 to 1, got 1\.5"):
        ViewPrior(some_cells=1.5)
    with pytest.raises(ValueError, match="noise must be a positive range"):
        ViewPrior(noise=(2.0, 1.0))


def test_a_viewed_detection_is_detection_then_view() -> None:
    source = load_source("pcsmo", n_samples=2)
    assert isinstance(source, ConfiguredSource)
    image = np.ones((60, 40, 40), np.float32)
    whole = ViewedDetection(source)(image, generator(0, "view", 0))
    counts = source.detect(image, generator(0, "view", 0))
    np.testing.assert_array_equal(whole, network_view(counts, source.detector.measured))
    one = ViewedDetection(source, ViewPrior(one_energy=1.0))(image, generator(0, "view", 0))
    assert len(np.unique(source.detector.blocks[one[60:].any(axis=(1, 2))])) == 1
