"""Counting noise of the core: the generator against its definition, distributions against SciPy, and bits that never change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scipy import stats

from insdl import _core
from insdl.instrument import ImageSettings, ImageSimulator
from insdl.instrument.counts import count_images
from insdl.instrument.rb2mnf4 import rb2mnf4_frame
from insdl.materials import rb2mnf4


@pytest.fixture(params=_core.instruction_sets())
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _core.instruction_set()
    _core.choose_instruction_set(request.param)
    yield request.param
    _core.choose_instruction_set(before)


TURNS = ((10, 26), (11, 21), (13, 27), (23, 5), (6, 20), (17, 11), (25, 10), (18, 20))


def threefry(counter: list[int], key: list[int], rounds: int) -> list[int]:
    """Threefry4x32 word by word, as its authors define it."""
    mask = 0xFFFFFFFF
    keys = [*key, 0x1BD11BDA ^ key[0] ^ key[1] ^ key[2] ^ key[3]]
    x = [(c + k) & mask for c, k in zip(counter, key, strict=True)]
    for number in range(rounds):
        pairs = ((0, 1), (2, 3)) if number % 2 == 0 else ((0, 3), (2, 1))
        for (a, b), turn in zip(pairs, TURNS[number % 8], strict=True):
            x[a] = (x[a] + x[b]) & mask
            x[b] = ((x[b] << turn | x[b] >> (32 - turn)) & mask) ^ x[a]
        if number % 4 == 3:
            done = number // 4 + 1
            x = [(x[w] + keys[(done + w) % 5] + (done if w == 3 else 0)) & mask for w in range(4)]
    return x


@pytest.mark.parametrize(
    ("rounds", "zeros", "ones", "pi"),
    [
        (
            13,
            [0x531C7E4F, 0x39491EE5, 0x2C855A92, 0x3D6ABF9A],
            [0xC4189358, 0x1C9CC83A, 0xD5881C67, 0x6A0A89E0],
            [0x4AA71D8F, 0x734738C2, 0x431FC6A8, 0xAE6DEBF1],
        ),
        (
            20,
            [0x9C6CA96A, 0xE17EAE66, 0xFC10ECD4, 0x5256A7D8],
            [0x2A881696, 0x57012287, 0xF6C7446E, 0xA16A6732],
            [0x59CD1DBB, 0xB8879579, 0x86B5D00C, 0xAC8B6D84],
        ),
    ],
)
def test_the_slow_generator_gives_the_published_words(
    rounds: int, zeros: list[int], ones: list[int], pi: list[int]
) -> None:
    """The known answers of Random123's test suite."""
    full = [0xFFFFFFFF] * 4
    assert threefry([0] * 4, [0] * 4, rounds) == zeros
    assert threefry(full, full, rounds) == ones
    counter, key = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0, 0x082EFA98, 0xEC4E6C89]
    assert threefry(counter, key, rounds) == pi


def test_words_of_the_core(instruction_set: str) -> None:
    key, index, number = 0x0123456789ABCDEF, 5 + (7 << 32), 300
    for bin_number in (0, 3):
        expected = []
        for pixel in range(number):
            group, place = divmod(pixel, 64)
            word, lane = divmod(place, 16)
            counter = [16 * group + lane, bin_number, 5, 7]
            expected.append(threefry(counter, [key & 0xFFFFFFFF, key >> 32, 0, 0], 13)[word])
        assert _core.random_words(key, index, bin_number, number).tolist() == expected
    assert _core.random_words(0, 0, 0, 1).tolist() == [0x531C7E4F]  # the first of the published words


def counted(mean: float, n: int = 2_000_000, **options: Any) -> np.ndarray:
    return count_images(
        np.full((1, 1, 1, n), mean, dtype=np.float32), seed=4, stream="test", indices=[9], **options
    ).ravel()


@pytest.mark.parametrize("mean", [0.01, 0.3, 1.0, 2.5, 3.999, 4.0, 4.6, 5.3, 8.0, 12.0, 60.0, 2500.0])
def test_poisson_counts(mean: float) -> None:
    counts = counted(mean)
    assert np.array_equal(counts, np.rint(counts))
    n, root = len(counts), np.sqrt(mean)
    assert abs(counts.mean() - mean) < 5 * root / np.sqrt(n)
    # The variance of the sample variance of a Poisson number is mean (1 + 2 mean) / n; the expansion adds 2.1e-4.
    assert abs(counts.var() - mean) < 5 * np.sqrt(mean * (1 + 2 * mean) / n) + 2.1e-4 * mean
    edges = np.unique(stats.poisson.ppf(np.linspace(0.001, 0.999, 25), mean))
    seen = np.histogram(counts, bins=np.concatenate([[-1], edges, [np.inf]]) + 0.5)[0]
    share = np.diff(np.concatenate([[0.0], stats.poisson.cdf(edges, mean), [1.0]]))
    # Chance, and what the expansion may be off by.
    assert np.all(np.abs(seen / n - share) < 4.5 * np.sqrt(share / n) + (6e-5 if mean >= 4 else 2e-6))


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
    words = _core.random_words(77, 0, 0, 100_000)
    mean = np.zeros((1, 1, 100_000), dtype=np.float32)
    one, counts = np.ones((1, 1), dtype=np.float32), np.empty_like(mean)
    index = np.zeros(1, dtype=np.uint64)
    _core.count(mean, _core.Counting(77, index, False, one[0], 0 * one, one, -np.inf, np.inf), counts, 1)
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


def inverse(mean: float, words: np.ndarray) -> np.ndarray:
    """Counts by SciPy's Poisson distribution, from the uniform numbers that the core makes of words."""
    tail = ((words & 0x7FFFFFFF) + 0.5) / 2**32
    u = ((words >> 8) + 0.5) / 2**24 if mean < 4 else np.where(words >> 31, tail, 1.0 - tail)
    return np.searchsorted(stats.poisson.cdf(np.arange(mean + 8 * np.sqrt(mean) + 30), mean), u)


@pytest.mark.parametrize("mean", [0.05, 0.9, 2.0, 3.9, 4.0, 4.1, 6.5, 9.0, 30.0, 400.0, 1e4])
def test_poisson_counts_are_inverses_of_their_words(mean: float) -> None:
    """Pixel by pixel: a count differs where a word lies within the error of a step between two counts, and by one."""
    n = 400_000
    words = _core.random_words(31, 4, 0, n)
    means, counts = np.full((1, 1, n), mean, dtype=np.float32), np.empty((1, 1, n), dtype=np.float32)
    one = np.ones(1, dtype=np.float32)
    index = np.array([4], dtype=np.uint64)
    background = np.zeros((1, 1), dtype=np.float32)
    _core.count(means, _core.Counting(31, index, False, one, background, None, 0.0, np.inf), counts, 1)
    step = np.abs(counts.ravel() - inverse(float(np.float32(mean)), words))
    assert step.max() <= 1
    # The error of each step in probability times the number of steps that are often taken.
    share = 4e-5 * 6 * np.sqrt(mean) if mean >= 4 else 1e-5
    assert (step > 0).mean() < share + 4.5 * np.sqrt(share / n)


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


def test_relative_levels() -> None:
    """scale is the mean signal of a pixel, background its share in each bin: the counts of numbers worked out here."""
    rng = np.random.default_rng(1)
    mean = rng.gamma(0.7, 3.0, (3, 4, 16, 24)).astype(np.float32)
    share, wanted = np.array([0.0, 0.2, 0.5, 0.9]), np.array([20.0, 3.0, 500.0])
    counts = count_images(mean, seed=2, stream="s", indices=[4, 5, 6], level="relative", scale=wanted, background=share)
    signal = (
        wanted[:, None]
        * mean.mean(axis=(2, 3), dtype=np.float64)
        / mean.mean(axis=(1, 2, 3), dtype=np.float64)[:, None]
    )
    expected = signal / (1.0 - share)
    assert np.all(np.abs(counts.mean(axis=(2, 3)) - expected) < 5 * np.sqrt(expected / 384))
    scale = (wanted / mean.mean(axis=(1, 2, 3), dtype=np.float64)).astype(np.float32)
    level = (signal * share / (1.0 - share)).astype(np.float32)
    absolute = count_images(mean, seed=2, stream="s", indices=[4, 5, 6], scale=scale, background=level)
    # The last digit of a scale moves one count in a million.
    assert (counts != absolute).mean() < 1e-3
    with pytest.raises(ValueError, match="background must be shares from 0 to below 1"):
        count_images(mean, seed=2, stream="s", indices=[4, 5, 6], level="relative", background=1.0)
    with pytest.raises(ValueError, match="level must be 'absolute' or 'relative', got 'exact'"):
        count_images(mean, seed=2, stream="s", indices=[4, 5, 6], level="exact")  # type: ignore[arg-type]
    empty = np.zeros_like(mean)
    with pytest.raises(ValueError, match="mean counts must be finite and not negative; image 0, bin 0, pixel 0 is not"):
        count_images(empty, seed=2, stream="s", indices=[4, 5, 6], level="relative", background=0.1)


@pytest.mark.parametrize("pixels", [20, 32, 64, 128])
@pytest.mark.parametrize(
    ("level", "form"), [("absolute", "poisson"), ("relative", "poisson"), ("absolute", "subtracted")]
)
def test_simulated_and_counted_at_once(instruction_set: str, level: Any, form: Any, pixels: int) -> None:
    """The counts of the images that `simulate_sets` makes, for any number of threads; zero where unstable.

    Images without a shift have mirrors. Where their rows fill vectors, four pixels of one mean are counted together: to the
    bit as one by one.
    """
    simulator = ImageSimulator(rb2mnf4(), rb2mnf4_frame(pixels=pixels, subpixels=1), margin=0.2)
    sets = np.array([simulator.model.values({"J1": j, "J2": 0.01, "D": -0.005}) for j in (0.6, 0.65, -0.6, 0.7, 0.75)])
    settings = [ImageSettings(1.0, extra_sigma_q=0.001 * k, shift_h=0.01 * (k % 2)) for k in range(5)]
    options: dict[str, Any] = {
        "seed": 3, "stream": "n", "indices": np.arange(5), "level": level, "scale": [30.0, 4.0, 1.0, 9.0, 2.0],
        "background": np.linspace(0, 0.6, 20).reshape(5, 4), "form": form, "sigma": 0.5,
    }  # fmt: skip
    images, stable = simulator.simulate_sets(sets, settings, out=np.empty((5, 4, pixels, pixels), dtype=np.float32))
    assert stable.tolist() == [True, True, False, True, True]
    chosen = {key: value[stable] if key in ("indices", "background") else value for key, value in options.items()}
    chosen["scale"] = np.array(options["scale"])[stable]
    expected = count_images(np.ascontiguousarray(images[stable]), **chosen)
    for threads in (1, 3, 8):
        counts, found = simulator.simulate_counts(sets, settings, threads=threads, **options)
        assert np.array_equal(found, stable)
        assert np.array_equal(counts[stable], expected)
        assert not counts[~stable].any()
    out = np.empty(3, dtype=np.float32)
    with pytest.raises(
        ValueError, match=rf"out must be a C-contiguous float32 array of shape \(5, 4, {pixels}, {pixels}\)"
    ):
        simulator.simulate_counts(sets, settings, **options, out=out)
    for bad in (0, 1):  # with mirrors and without
        scale = np.where(np.arange(5) == bad, np.nan, 1.0)
        with pytest.raises(ValueError, match=f"mean counts must be finite.*; image {bad}, bin 0, pixel 0 is not"):
            simulator.simulate_counts(sets, settings, **{**options, "level": "absolute", "scale": scale})
