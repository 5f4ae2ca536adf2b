"""The prior of the background: that of what a configuration draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from insdl.dataset.configuration import configuration
from insdl.dataset.detection import Detector
from insdl.dataset.randomness import generator
from insdl.learn.background_prior import Background, background_of
from small_hypothesis import small, small_background, small_content


def only(name: str, prior: dict[str, Any]) -> Any:
    """The small configuration with one nuisance."""
    content = small_content()
    nuisances = {one: {"probability": 0.0} for one in content["detection"]["nuisances"]}
    content["detection"]["nuisances"] = nuisances | {name: prior}
    return configuration(content)


def test_planes_and_pedestals_have_the_width_that_is_drawn() -> None:
    """A standard deviation uniform from 0 to w in a share p of the images is w sqrt(p / 3); the detector too."""
    given = only("planes", {"probability": 0.6, "sigma": {"kind": "uniform", "low": 0.0, "high": 2.0}})
    found = background_of(given, n_draws=4, n_modes=0)
    assert found.plane_sigma == pytest.approx(2.0 * np.sqrt(0.6 / 3), rel=0.03)
    assert found.pedestal_sigma == 0.0
    detector = Detector(given)
    nothing = np.zeros(detector.frame.shape, np.float32)
    centre = [detector.expected(nothing, generator(5, "test", i))[[0, 3]].mean(axis=(1, 2)) for i in range(400)]
    assert np.std(centre) == pytest.approx(found.plane_sigma, rel=0.12)  # 800 numbers, heavy tails
    given = only("pedestals", {"probability": 1.0, "sigma": 0.7})
    assert background_of(given, n_draws=4, n_modes=0).pedestal_sigma == pytest.approx(0.7)


def test_planes_are_those_of_the_detector() -> None:
    """What `Detector` adds with known coefficients is what `image` gives with the same, in units of the prior's width."""
    from insdl.instrument.nuisance import planes

    blocks = np.array([0, 0, 1])
    background = Background(np.zeros((3, 8, 8), np.float32), np.zeros((0, 3, 8, 8), np.float32), blocks, 0.5, 0.25, 1.0)
    coefficients = np.arange(1.0, 7.0)
    known = planes(coefficients.reshape(2, 3).T * 0.5, blocks, 8).astype(np.float64)
    known += 0.25 * np.array([-1.0, 2.0, 3.0])[:, None, None]
    np.testing.assert_allclose(background.image([*coefficients, -1.0, 2.0, 3.0]), known, atol=1e-6)


def test_components_hold_the_smooth_backgrounds() -> None:
    """A flat level for each of two incident energies has two components, which hold everything."""
    level = {"kind": "uniform", "low": 0.0, "high": 1.0}
    given = only("smooth", {"probability": 1.0, "level": level, "variation": 0.0})
    found = background_of(given, n_draws=80, n_modes=5)
    assert len(found.modes) == 2
    assert found.explained == pytest.approx(1.0, abs=1e-6)
    seen = Detector(given).measured
    assert found.mean[seen].mean() == pytest.approx(0.5, abs=0.1)  # 80 draws of a width of 0.29
    # The coefficients' unit is one standard deviation: components squared add up to the variance of the draws, 1/12.
    variance = np.sum(found.modes.astype(np.float64) ** 2, axis=0)[seen]
    assert variance.mean() == pytest.approx(1 / 12, rel=0.2)
    assert np.ptp(variance[: seen[:3].sum()]) < 1e-5


def test_components_are_orthogonal_and_ordered() -> None:
    modes = small_background().modes.reshape(len(small_background().modes), -1).astype(np.float64)
    gram = modes @ modes.T
    assert (np.diff(np.diag(gram)) <= 0).all()
    np.testing.assert_allclose(gram / np.sqrt(np.outer(np.diag(gram), np.diag(gram))), np.eye(len(modes)), atol=1e-3)


def test_a_detector_that_is_there_is_used_and_not_changed() -> None:
    detector = Detector(small())
    prior = detector.prior
    again = background_of(small(), n_modes=6, n_draws=60, detector=detector)
    np.testing.assert_array_equal(again.modes, small_background().modes)
    assert detector.prior is prior


def test_wrong_input() -> None:
    with pytest.raises(ValueError, match="a share of the signal is not linear"):
        background_of(only("window", {"probability": 0.5}))
    with pytest.raises(ValueError, match="n_modes must lie from 0 to below n_draws, got 8 and 8"):
        background_of(small(), n_modes=8, n_draws=8)
    with pytest.raises(ValueError, match=r"coefficients must have shape \(\d+,\), got \(3,\)"):
        small_background().image([0.0, 1.0, 2.0])
    mean = np.zeros((2, 4, 4), np.float32)
    with pytest.raises(ValueError, match="blocks must ascend"):
        Background(mean, mean[None], np.array([1, 0]), 1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="modes one axis more"):
        Background(mean, mean, np.array([0, 1]), 1.0, 1.0, 1.0)
