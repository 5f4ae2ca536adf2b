"""Classical filters against SciPy, loops, and images whose answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage, signal

from insdl.learn.classical_denoise import (
    FILTERS,
    best_filter,
    gaussian_filter,
    median_filter,
    non_local_means,
    principal_components,
    tuned,
    wiener_filter,
)
from insdl.learn.denoising_samples import Pair
from insdl.learn.stabilisation import counts_of, stabilised

Singles = npt.NDArray[np.float32]
OPTIONS: dict[str, dict[str, Any]] = {
    "gaussian": {"sigma": 1.2, "sigma_bin": 0.5},
    "median": {"size": 3},
    "wiener": {"size": 5, "noise": 0.8},
    "non-local means": {"reach": 3, "patch": 1, "strength": 1.0},
}


def image(seed: int = 0, shape: tuple[int, int, int] = (10, 12, 12)) -> Singles:
    return np.random.default_rng(seed).normal(3.0, 1.0, shape).astype(np.float32)


def mask(seed: int = 1, shape: tuple[int, int, int] = (10, 12, 12)) -> npt.NDArray[np.bool_]:
    return np.random.default_rng(seed).random(shape) < 0.8


@pytest.mark.parametrize("name", FILTERS)
def test_a_flat_image_stays_flat_under_any_mask(name: str) -> None:
    """And what stands under the mask is not looked at."""
    flat, seen = np.full((10, 12, 12), 4.5, np.float32), mask()
    found = FILTERS[name][0](np.where(seen, flat, np.float32(900.0)), seen, **OPTIONS[name])
    np.testing.assert_allclose(found[seen], 4.5, rtol=1e-4)


def test_gaussian_filter_is_that_of_scipy_inside() -> None:
    given, everywhere = image(), np.ones((10, 12, 12), bool)
    found = gaussian_filter(given, everywhere, sigma=0.7)
    expected = ndimage.gaussian_filter(given, (0, 0.7, 0.7), mode="constant")
    np.testing.assert_allclose(found[:, 4:8, 4:8], expected[:, 4:8, 4:8], rtol=1e-5)
    with pytest.raises(ValueError, match="10 bins are no whole number of incident energies of 4 bins"):
        gaussian_filter(given, everywhere, sigma=0.7, bins_per_energy=4)


def test_slices_of_other_incident_energies_are_not_mixed() -> None:
    given = np.zeros((20, 12, 12), np.float32)
    given[9] = 1.0
    found = gaussian_filter(given, np.ones(given.shape, bool), sigma=0.7, sigma_bin=1.0)
    assert found[8].min() > 0.1
    assert not found[10:].any()


def test_median_is_that_of_the_measured_pixels() -> None:
    given, seen = image(), mask()
    padded = np.pad(np.where(seen, given, np.nan), ((0, 0), (2, 2), (2, 2)), constant_values=np.nan)
    expected = [[[np.nanmedian(padded[b, i : i + 5, j : j + 5]) for j in range(12)] for i in range(12)] for b in (0, 7)]
    np.testing.assert_allclose(median_filter(given, seen, size=5)[[0, 7]], expected, rtol=1e-6)


def test_wiener_filter_is_that_of_scipy_inside() -> None:
    given = image()
    found = wiener_filter(given, np.ones(given.shape, bool), size=3, noise=0.6)
    expected = signal.wiener(given[4].astype(float), mysize=3, noise=0.6)
    np.testing.assert_allclose(found[4, 2:-2, 2:-2], expected[2:-2, 2:-2], rtol=1e-4)


def test_non_local_means_are_those_of_loops() -> None:
    given, seen, reach, patch = image(shape=(1, 7, 7)), mask(shape=(1, 7, 7)), 2, 1
    values, measured = given[0].astype(float), seen[0]

    def difference(a: tuple[int, int], b: tuple[int, int]) -> float:
        squares = []
        for di in range(-patch, patch + 1):
            for dj in range(-patch, patch + 1):
                (i, j), (k, m) = (a[0] + di, a[1] + dj), (b[0] + di, b[1] + dj)
                inside = all(0 <= n < 7 for n in (i, j, k, m))
                if inside and measured[i, j] and measured[k, m]:
                    squares.append((values[i, j] - values[k, m]) ** 2)
        return float(np.mean(squares)) if squares else np.inf

    found = non_local_means(given, seen, reach=reach, patch=patch, strength=0.8)[0]
    for i in range(7):
        for j in range(7):
            total = weight = 0.0
            for k in range(max(0, i - reach), min(7, i + reach + 1)):
                for m in range(max(0, j - reach), min(7, j + reach + 1)):
                    if measured[k, m]:
                        w = np.exp(-max(difference((i, j), (k, m)) - 2.0, 0.0) / 0.8**2)
                        total, weight = total + w * values[k, m], weight + w
            assert found[i, j] == pytest.approx(total / weight if weight else 0.0, rel=1e-3, abs=1e-5)


def test_principal_components_are_those_of_scikit_learn() -> None:
    from sklearn.decomposition import PCA

    images = [image(seed) for seed in range(12)]
    found = principal_components(images, rank=5)
    expected = PCA(5, svd_solver="full").fit(np.array([one.ravel() for one in images], dtype=float))
    overlap = found.components @ expected.components_.T
    np.testing.assert_allclose(np.abs(overlap), np.eye(5), atol=1e-3)
    np.testing.assert_allclose(found.mean, expected.mean_, atol=1e-5)


def test_an_image_of_the_basis_is_found_from_a_part_of_it() -> None:
    found = principal_components([image(seed) for seed in range(12)], rank=4)
    truth = (found.mean + np.array([30.0, -20.0, 10.0, 5.0]) @ found.components).reshape(10, 12, 12).astype(np.float32)
    seen = mask()
    projected = found.project(np.where(seen, truth, np.float32(-50.0)), seen, rank=4)
    np.testing.assert_allclose(projected, truth, atol=0.1)  # the damping takes 0.1 % of 30 off
    assert np.abs(found.project(truth, seen, rank=2) - truth).max() > 0.3
    with pytest.raises(ValueError, match="rank must be at least 1 and below the number of images, 12, got 12"):
        principal_components([image(seed) for seed in range(12)], rank=12)


def pairs(n: int = 3, *, slope: float = 1.0, offset: float = 0.0) -> list[Pair]:
    """Smooth truths with unit noise on the stabilised scale, which is distorted by a straight line."""
    made = []
    sigma = np.full(10, 2.0, np.float32)
    for seed in range(n):
        smooth = ndimage.gaussian_filter(image(seed), (0, 2.0, 2.0), mode="nearest")
        truth = (6.0 + 8.0 * (smooth - smooth.mean()) / smooth.std()).astype(np.float32)
        noisy = truth + image(seed + 50) - 3.0
        counts = counts_of(noisy, sigma[:, None, None])
        expected = counts_of(slope * truth + offset, sigma[:, None, None])
        made.append(Pair(counts, expected, np.ones(truth.shape, bool), sigma, -1))
    return made


def test_tuning_finds_parameters_and_lines() -> None:
    plain, bent = tuned("gaussian", pairs()), tuned("gaussian", pairs(slope=0.5, offset=2.0))
    assert plain.error < 0.7  # unit noise before
    np.testing.assert_allclose(bent.slope, 0.5 * plain.slope, rtol=1e-3)
    np.testing.assert_allclose(bent.offset, 0.5 * plain.offset + 2.0, atol=2e-3)
    assert bent.error == pytest.approx(0.25 * plain.error, rel=1e-2)
    one = pairs()[0]
    error = stabilised(one.expected, np.float32(2.0)) - plain(one.counts, one.measured, one.sigma)
    each = [
        float(np.mean((stabilised(p.expected, np.float32(2.0)) - plain(p.counts, p.measured, p.sigma)) ** 2))
        for p in pairs()
    ]
    assert error.shape == one.counts.shape
    assert np.mean(each) == pytest.approx(plain.error, rel=1e-4)  # the error that it says it has


def test_the_best_filter_is_the_best() -> None:
    best = best_filter(pairs(2))
    assert best.error == min(tuned(name, pairs(2)).error for name in FILTERS)


def test_principal_components_are_tuned_by_rank() -> None:
    basis = principal_components([stabilised(p.expected, np.float32(2.0)) for p in pairs(8)], rank=7)
    found = tuned("principal components", pairs(3), components=basis)
    assert found.options == {"rank": 7}
    assert found.error < 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("total variation", pairs(1)), "method must be one of .*'principal components'.*, got 'total variation'"),
        (("principal components", pairs(1)), "principal components need components, got None"),
        (("median", []), "pairs must hold at least one pair, got none"),
    ],
)
def test_tuning_that_cannot_be(arguments: tuple[str, list[Pair]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tuned(*arguments)
