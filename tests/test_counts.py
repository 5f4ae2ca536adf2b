"""Counting noise of the core: the generator against its definition, distributions against SciPy, and bits that never change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scipy import stats

from insdl import _core
from insdl.instrument.counts import count_images


@pytest.fixture(params=_core.instruction_sets())
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _core.instruction_set()
    _core.choose_instruction_set(request.param)
    yield request.param
    _core.choose_instruction_set(before)


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x32-10 word by word, as its authors define it."""
    mask = 0xFFFFFFFF
    for _ in range(10):
        first, second = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [
            (second >> 32) ^ counter[1] ^ key[0],
            second & mask,
            (first >> 32) ^ counter[3] ^ key[1],
            first & mask,
        ]
        key = [(key[0] + 0x9E3779B9) & mask, (key[1] + 0xBB67AE85) & mask]
    return counter


def test_the_slow_generator_gives_the_published_words() -> None:
    """The known answers of Random123's test suite."""
    ones, pi = 0xFFFFFFFF, [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]
    assert philox([0, 0, 0, 0], [0, 0]) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert philox([ones] * 4, [ones] * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    assert philox(pi, [0xA4093822, 0x299F31D0]) == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]


def test_words_of_the_core(instruction_set: str) -> None:
    key, index, number = 0x0123456789ABCDEF, 5 + (7 << 32), 300
    expected = []
    for pixel in range(number):
        group, place = divmod(pixel, 64)
        word, lane = divmod(place, 16)
        expected.append(philox([16 * group + lane, 0, 5, 7], [key & 0xFFFFFFFF, key >> 32])[word])
    assert _core.random_words(key, index, number).tolist() == expected


def counted(mean: float, n: int = 2_000_000, **options: Any) -> np.ndarray:
    return count_images(
        np.full((1, 1, 1, n), mean, dtype=np.float32), seed=4, stream="test", indices=[9], **options
    ).ravel()


@pytest.mark.parametrize("mean", [0.01, 0.3, 1.0, 3.7, 5.0, 7.999, 8.0, 12.0, 60.0, 2500.0])
def test_poisson_counts(mean: float) -> None:
    counts = counted(mean)
    assert np.array_equal(counts, np.rint(counts))
    n, root = len(counts), np.sqrt(mean)
    assert abs(counts.mean() - mean) < 5 * root / np.sqrt(n)
    # The variance of the sample variance of a Poisson number is mean (1 + 2 mean) / n; the expansion adds 5e-4.
    assert abs(counts.var() - mean) < 5 * np.sqrt(mean * (1 + 2 * mean) / n) + 5e-4 * mean
    edges = np.unique(stats.poisson.ppf(np.linspace(0.001, 0.999, 25), mean))
    seen = np.histogram(counts, bins=np.concatenate([[-1], edges, [np.inf]]) + 0.5)[0]
    share = np.diff(np.concatenate([[0.0], stats.poisson.cdf(edges, mean), [1.0]]))
    # Chance, and what the expansion may be off by.
    assert np.all(np.abs(seen / n - share) < 4.5 * np.sqrt(share / n) + (7e-5 if mean >= 8 else 1e-7))


def test_no_counts_where_none_are_expected() -> None:
    assert not counted(0.0).any()


def test_subtracted_counts_are_normal() -> None:
    values = counted(40.0, form="subtracted", sigma=3.0, lowest=-np.inf)
    z = (values.astype(np.float64) - 40.0) / 7.0
    assert stats.kstest(z, "norm").pvalue > 1e-3
    assert 4.9 < np.abs(z).max() < 6.3
    clipped = counted(0.0, form="subtracted", sigma=2.0, highest=5.0)
    assert clipped.min() == 0.0
    assert clipped.max() == 5.0
    assert abs((clipped == 0).mean() - 0.5) < 2e-3


def test_normal_numbers_are_inverses_of_their_words() -> None:
    words = _core.random_words(77, 0, 100_000)
    mean = np.zeros((1, 1, 100_000), dtype=np.float32)
    one, counts = np.ones((1, 1), dtype=np.float32), np.empty_like(mean)
    _core.count(mean, one[0], 0 * one, one, -np.inf, np.inf, 77, np.zeros(1, dtype=np.uint64), counts, 1)
    tail = ((words & 0x7FFFFFFF) + 0.5) / 2**32
    expected = -stats.norm.ppf(tail) * np.where(words >> 31, -1.0, 1.0)
    np.testing.assert_allclose(counts.ravel(), expected, rtol=3e-6, atol=1e-6)


def test_scale_and_background_by_bin() -> None:
    mean = np.zeros((2, 3, 40, 50), dtype=np.float32)
    mean[:, 1] = 2.0
    counts = count_images(mean, seed=0, stream="s", indices=[0, 1], scale=[10.0, 20.0], background=[1.0, 0.0, 50.0])
    levels = counts.mean(axis=(2, 3))
    expected = np.array([[1.0, 20.0, 50.0], [1.0, 40.0, 50.0]])
    assert np.all(np.abs(levels - expected) < 5 * np.sqrt(expected / 2000))


def test_bits_are_the_same_however_the_work_is_split() -> None:
    rng = np.random.default_rng(0)
    mean = rng.gamma(0.7, 30.0, (6, 3, 13, 17)).astype(np.float32)  # 663 pixels: not a whole number of groups

    def bits(rows: slice, threads: int = 1, **options: Any) -> np.ndarray:
        return count_images(mean[rows], seed=3, stream="a", indices=np.arange(6)[rows], threads=threads, **options)

    for options in ({}, {"form": "subtracted", "sigma": 1.5, "highest": 120.0}):
        whole = bits(slice(0, 6), **options)
        assert np.array_equal(whole, bits(slice(0, 6), threads=3, **options))
        assert np.array_equal(whole[2:5], bits(slice(2, 5), **options))
        before = _core.instruction_set()
        for name in _core.instruction_sets():
            _core.choose_instruction_set(name)
            assert np.array_equal(whole, bits(slice(0, 6), **options)), name
        _core.choose_instruction_set(before)
    assert not np.array_equal(bits(slice(0, 1)), count_images(mean[:1], seed=3, stream="b", indices=[0]))
    assert not np.array_equal(bits(slice(0, 1)), count_images(mean[:1], seed=3, stream="a", indices=[6]))
    place = mean.copy()
    count_images(place, seed=3, stream="a", indices=np.arange(6), out=place)
    assert np.array_equal(place, bits(slice(0, 6)))


GOOD = np.ones((2, 3, 4, 4), dtype=np.float32)


def damaged(value: float) -> np.ndarray:
    mean = GOOD.copy()
    mean[1, 2, 0, 3] = value
    return mean


@pytest.mark.parametrize(
    ("mean", "options", "message"),
    [
        (GOOD.astype(np.float64), {}, "mean must be a C-contiguous float32 array"),
        (GOOD[0], {}, r"got float32 \(3, 4, 4\)"),
        (GOOD, {"indices": [0]}, "indices must be 2 whole numbers"),
        (GOOD, {"indices": [0, -1]}, "indices must be 2 whole numbers"),
        (GOOD, {"form": "binomial"}, "form must be 'poisson' or 'subtracted', got 'binomial'"),
        (GOOD, {"background": [1.0, 2.0]}, r"background must have shape \(2, 3\) or spread to it, got \(2,\)"),
        (GOOD, {"lowest": 2.0, "highest": 1.0}, "lowest must not be above highest"),
        (GOOD, {"out": np.empty(3, dtype=np.float32)}, "out must be a C-contiguous float32 array"),
        (damaged(np.nan), {}, "mean counts must be finite and not negative; image 1, bin 2, pixel 3 is not"),
        (damaged(-1.0), {}, "mean counts must be finite and not negative; image 1, bin 2, pixel 3 is not"),
        (damaged(np.inf), {"form": "subtracted"}, "mean counts must be finite; image 1, bin 2, pixel 3 is not"),
    ],
)
def test_bad_input_is_named(mean: np.ndarray, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        count_images(mean, **{"seed": 0, "stream": "s", "indices": [0, 1], **options})
