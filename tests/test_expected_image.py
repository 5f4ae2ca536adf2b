"""What detection does to every pixel in the core: against NumPy, and the same bits whatever the instruction set."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pytest

from insdl import _core
from insdl.dataset.configuration import load_configuration
from insdl.dataset.reader import WritingDetect, detected
from insdl.dataset.shard import singles
from insdl.dataset.view import network_view, with_more_noise
from insdl.instrument.expected_image import expected_image, weighted_sum
from insdl.instrument.nuisance import (
    block_energies,
    pixel_terms,
    plane_coefficients,
    planes,
    smooth_background,
    smooth_coefficients,
    smooth_shapes,
)

FRAME = load_configuration("pcsmo").frame.image_frame()
BLOCKS = np.repeat(np.arange(6), 10)


@pytest.fixture(params=_core.instruction_sets())
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _core.instruction_set()
    _core.choose_instruction_set(request.param)
    yield request.param
    _core.choose_instruction_set(before)


def everywhere(value: Callable[[], npt.ArrayLike]) -> npt.NDArray[np.float64]:
    """The value, which must have the same bits with every instruction set."""
    before, found = _core.instruction_set(), []
    for name in _core.instruction_sets():
        _core.choose_instruction_set(name)
        found.append(np.asarray(value()))
    _core.choose_instruction_set(before)
    for one in found[1:]:
        assert one.tobytes() == found[0].tobytes()
    return np.asarray(found[0], dtype=np.float64)


@pytest.mark.parametrize("mirrored", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("size", [(3, 5, 7), (2, 16, 40)])
def test_the_sum_is_that_of_numpy(mirrored: tuple[bool, bool], size: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(1)
    image, first, second = rng.normal(size=(3, *size)).astype(np.float32)
    terms = rng.normal(size=(4, *size[1:])).astype(np.float32)
    coefficients = rng.normal(size=(size[0], 4)).astype(np.float32)
    coefficients[:, 2] = 0.0
    found = everywhere(
        lambda: expected_image(
            image, mirrored=mirrored, scale=1.7, terms=terms, coefficients=coefficients,
            shapes=[first, second], levels=[0.3, -2.0],
        )
    )  # fmt: skip
    turned = image[:, :: -1 if mirrored[0] else 1, :: -1 if mirrored[1] else 1].astype(np.float64)
    wanted = 1.7 * turned + np.einsum("bt,thk->bhk", coefficients, terms, dtype=np.float64) + 0.3 * first - 2.0 * second
    np.testing.assert_allclose(found, wanted, atol=3e-6)


def test_arrays_of_another_shape_are_refused() -> None:
    image, terms = np.zeros((2, 3, 3), dtype=np.float32), np.zeros((1, 3, 3), dtype=np.float32)
    with pytest.raises(ValueError, match=r"coefficients must have shape \(2, 1\), got \(2, 2\)"):
        expected_image(image, terms=terms, coefficients=np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"shape must have shape \(2, 3, 3\), got \(1, 3, 3\)"):
        expected_image(image, terms=terms, coefficients=np.zeros((2, 1)), shapes=[image[:1]], levels=[1.0])
    with pytest.raises(ValueError, match="every shape needs a level, got 1 and 0"):
        expected_image(image, terms=terms, coefficients=np.zeros((2, 1)), shapes=[image])
    with pytest.raises(ValueError, match="same size, got 18 and 9"):
        weighted_sum(image, terms)


def test_weighted_sums_keep_single_precision_at_any_length() -> None:
    rng = np.random.default_rng(2)
    for n in (0, 1, 63, 64, 65, 5000, 96001):
        image, weight = rng.random(n).astype(np.float32), (rng.random(n) < 0.6).astype(np.float32)
        found = everywhere(lambda image=image, weight=weight: weighted_sum(image, weight))
        assert found == pytest.approx(float(np.sum(image * weight, dtype=np.float64)), rel=3e-7)


def test_backgrounds_as_sums_of_pixel_terms() -> None:
    """The public images of smooth backgrounds and planes, which are made in another way, from the same random numbers."""
    terms = pixel_terms(FRAME).astype(np.float64)
    for seed in range(4):
        level = np.random.default_rng(seed).random(6)
        given = (BLOCKS, level, 0.8, np.random.default_rng(seed))
        wanted = smooth_background(smooth_shapes(FRAME), *given)
        given = (BLOCKS, level, 0.8, np.random.default_rng(seed))
        found = smooth_coefficients(block_energies(FRAME).astype(np.float32), *given)
        np.testing.assert_allclose(np.einsum("bt,thk->bhk", found, terms), wanted, atol=1e-6)
        plane = np.random.default_rng(seed).normal(size=(3, 6))
        found = plane_coefficients(plane, BLOCKS)
        np.testing.assert_allclose(np.einsum("bt,thk->bhk", found, terms), planes(plane, BLOCKS, 40), atol=1e-6)
    assert np.abs(terms[-1]).max() <= 1.0  # so that a window whose slope is 1 or -1 is not negative anywhere


def test_arsinh_of_what_is_seen() -> None:
    rng = np.random.default_rng(3)
    sizes = np.concatenate(
        [10.0 ** rng.uniform(-38, 38, 4000), rng.uniform(0, 3, 4000), [0.0, 1e-45, 1.6e38, 1e6, 999999.0]]
    )
    counts = (sizes * rng.choice([-1.0, 1.0], len(sizes))).astype(np.float32)
    seen = rng.random(len(sizes)) < 0.7
    seen[-5:] = True
    counts[:20][~seen[:20]] = np.nan
    out = everywhere(lambda: network_view(counts.reshape(1, 1, -1), seen.reshape(1, 1, -1)))
    values, mask = out[:, 0]
    np.testing.assert_array_equal(mask, seen)
    np.testing.assert_array_equal(values[~seen], 0.0)
    np.testing.assert_allclose(values[seen], np.arcsinh(counts[seen].astype(np.float64)), rtol=4e-7, atol=1e-44)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 31, 100, 104])
def test_what_is_seen_must_be_finite(bad: float, place: int, instruction_set: str) -> None:
    counts, seen = np.ones((2, 3, 5, 7), dtype=np.float32), np.ones((2, 3, 5, 7), dtype=bool)
    counts[1].flat[place] = bad
    where = np.unravel_index(place, (3, 5, 7))
    with pytest.raises(ValueError, match=rf"got {bad} in bin {where[0]}, \({where[1]}, {where[2]}\)"):
        network_view(counts, seen)
    seen[1].flat[place] = False
    assert np.isfinite(network_view(counts, seen)).all()


def test_all_numbers_in_half_precision(instruction_set: str) -> None:
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    np.testing.assert_array_equal(singles(halves), halves.astype(np.float32))
    assert np.signbit(singles(np.array([-0.0], dtype=np.float16)))[0]
    np.testing.assert_array_equal(singles(halves.reshape(2, -1)[:, ::2])[:, 5:], halves.reshape(2, -1)[:, ::2][:, 5:])


def test_more_noise_has_the_size_that_is_asked_for() -> None:
    rng = np.random.default_rng(4)
    counts = np.repeat(np.array([0.0, 2.0, 50.0], dtype=np.float32), 40000).reshape(3, 200, 200)
    sigma = np.array([0.5, 1.0, 2.0])
    for factor in (0.5, 8.0):
        noisy = with_more_noise(counts, sigma, factor, rng, clipped=False) - counts
        np.testing.assert_allclose(noisy.std(axis=(1, 2)), factor * np.sqrt(sigma**2 + [0.0, 2.0, 50.0]), rtol=0.015)
        np.testing.assert_allclose(noisy.mean(axis=(1, 2)), 0.0, atol=0.02 * factor * 7.0)
    assert with_more_noise(counts, sigma, 8.0, rng).min() == 0.0
    counts[1, 3, 4] = np.nan
    assert np.argwhere(np.isnan(with_more_noise(counts, sigma, 2.0, rng))).tolist() == [[1, 3, 4]]


class Doubling:
    """Detects by doubling, and can write where it is wanted."""

    def __call__(self, image: npt.NDArray[np.float32], rng: np.random.Generator, /) -> npt.NDArray[np.float32]:
        out = np.empty(self.output_shape(image.shape), dtype=np.float32)
        self.into(image, rng, out)
        return out

    def output_shape(self, image_shape: tuple[int, ...], /) -> tuple[int, ...]:
        return (2, *image_shape)

    def into(self, image: npt.NDArray[np.float32], rng: np.random.Generator, out: npt.NDArray[np.float32], /) -> None:
        out[0], out[1] = image, 2.0 * image + rng.random(dtype=np.float32)


def test_what_is_written_at_once_is_what_would_be_given() -> None:
    images = np.random.default_rng(5).random((4, 3, 2)).astype(np.float32)
    one = Doubling()
    assert isinstance(one, WritingDetect)
    result = np.zeros((6, 2, 3, 2), dtype=np.float32)
    made = detected(images, range(4), one, seed=1, stream="x", place=lambda shape: result[1 : 1 + shape[0]])
    plain = detected(images, range(4), lambda image, rng: one(image, rng), seed=1, stream="x")
    np.testing.assert_array_equal(made, plain)
    np.testing.assert_array_equal(result[1:5], plain)
    assert not result[[0, 5]].any()
    placed = np.zeros_like(result)
    detected(images, range(4), one.__call__, seed=1, stream="x", place=lambda shape: placed[: shape[0]])
    np.testing.assert_array_equal(placed[:4], plain)
