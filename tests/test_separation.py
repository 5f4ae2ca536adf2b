"""Where simulations differ: against known means and variances."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.explain.separation import class_separation


def images(mean: np.ndarray, spread: float, seed: int, n: int = 4000) -> np.ndarray:
    return mean + spread * np.random.default_rng(seed).standard_normal((n, *mean.shape))


def test_effect_of_known_classes() -> None:
    """d^2 / (sigma^2 + mean counts + spread^2), summed over pixels; 0 where the classes are alike."""
    first, second = np.full((2, 3, 3), 10.0), np.full((2, 3, 3), 10.0)
    second[1] = 14.0
    found = class_separation(images(first, 2.0, 0), images(second, 2.0, 1), noise_sigma=[1.0, 3.0])
    variance = 9.0 + 12.0 + 4.0
    assert found[1] == pytest.approx(9 * 16.0 / variance, rel=0.02)
    assert abs(found[0]) < 0.02


def test_few_images_do_not_make_a_difference() -> None:
    """The squared difference of two means of five is 2 / 5 of the variance by chance: that is taken off."""
    same = np.zeros((1, 2, 2))
    found = [
        class_separation(images(same, 1.0, 2 * i, 5), images(same, 1.0, 2 * i + 1, 5), noise_sigma=[1.0])[0]
        for i in range(400)
    ]
    assert abs(np.mean(found)) < 4 * np.std(found) / 20.0


def test_scale_and_mask() -> None:
    first, second = np.zeros((3, 1, 2, 2)), np.ones((3, 1, 2, 2))
    seen = np.array([[[True, False], [False, False]]])
    found = class_separation(first, second, noise_sigma=[2.0], scale=4.0, measured=seen)
    assert found[0] == pytest.approx(16.0 / (4.0 + 2.0))


def test_shapes_are_checked() -> None:
    two = np.zeros((2, 1, 2, 2))
    with pytest.raises(ValueError, match=r"at least 2 images .* got \(1, 1, 2, 2\)"):
        class_separation(two[:1], two, noise_sigma=[1.0])
    with pytest.raises(ValueError, match=r"noise_sigma must have shape \(1,\), got \(2,\)"):
        class_separation(two, two, noise_sigma=[1.0, 1.0])
    with pytest.raises(ValueError, match=r"measured must have shape \(1, 2, 2\)"):
        class_separation(two, two, noise_sigma=[1.0], measured=np.ones((2, 2), bool))
