"""Deletion and insertion curves: exact for a linear network; the best order beats every other, and random ones."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from insdl.explain.faithfulness import deletion_curve, faithfulness
from insdl.explain.occlusion import cell_regions, occlude
from insdl.instrument.frame import EnergyBlock, ImageFrame

PIXELS = 4
FRAME = ImageFrame(
    [EnergyBlock([[1, 2], [2, 4], [4, 5], [5, 6], [6, 7]], 10.0, (0.1, 0, 0), 0.01)], np.linspace(-0.75, 0.75, PIXELS)
)
REGIONS = cell_regions(FRAME)


def _problem() -> tuple[nn.Sequential, npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """A linear network, an image, and what each cell is worth against a blank image."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(5 * PIXELS**2, 2))
    image = np.random.default_rng(0).random((5, PIXELS, PIXELS), dtype=np.float32)
    worth = occlude(network, image[None], regions=REGIONS, target=0, replacement=0.0, replacement_name="blank").drop[0]
    return network, image, worth


def test_curve_is_the_running_sum() -> None:
    network, image, worth = _problem()
    curve = deletion_curve(network, image, scores=worth, regions=REGIONS, target=0, replacement=0.0)
    order = np.argsort(-worth)
    whole = curve.answer[0]
    np.testing.assert_allclose(curve.answer, whole - np.concatenate([[0], np.cumsum(worth[order])]), atol=1e-5)
    np.testing.assert_allclose(curve.share, np.arange(6) / 5)
    assert curve.area == pytest.approx(np.trapezoid(curve.answer, curve.share), rel=1e-12)


def test_insertion_is_deletion_of_the_other_image() -> None:
    """For a linear network, insertion with the worth of cells mirrors deletion in the reversed order."""
    network, image, worth = _problem()
    options = {"regions": REGIONS, "target": 0, "replacement": 0.0}
    inserted = deletion_curve(network, image, scores=worth, mode="insertion", **options)
    deleted = deletion_curve(network, image, scores=-worth, **options)
    np.testing.assert_allclose(inserted.answer, deleted.answer[::-1], atol=1e-6)


@pytest.mark.parametrize("mode", ["deletion", "insertion"])
def test_worth_is_the_best_of_all_orders(mode: str) -> None:
    network, image, worth = _problem()
    options = {"regions": REGIONS, "target": 0, "replacement": 0.0, "mode": mode}
    found = faithfulness(network, image, scores=worth, other_scores={"reversed": -worth}, random_orders=30, **options)
    every = [deletion_curve(network, image, scores=order, **options).area for order in permutations(range(5))]
    best, worst = (min(every), max(every)) if mode == "deletion" else (max(every), min(every))
    assert found.curve.area == pytest.approx(best, abs=1e-6)
    assert found.others["reversed"].area == pytest.approx(worst, abs=1e-6)
    areas = np.array([curve.area for curve in found.random])
    assert found.better_than_random == np.mean(areas > best if mode == "deletion" else areas < best)
    assert found.better_than_random > 0.9
    assert found.gain == pytest.approx(abs(areas.mean() - best), abs=1e-6)


def test_what_was_not_measured_does_not_change() -> None:
    network, image, _ = _problem()
    measured = np.ones(FRAME.shape, dtype=bool)
    measured[2] = False
    curve = deletion_curve(
        network, image, scores=[0, 0, 9, 0, 0], regions=REGIONS, target=0, replacement=0.0, measured=measured
    )
    assert curve.share[1] == 0.0
    assert curve.answer[1] == curve.answer[0]


def test_random_orders_come_from_the_seed() -> None:
    network, image, worth = _problem()
    options = {"regions": REGIONS, "target": 0, "replacement": 0.0, "random_orders": 5}
    one, again, other = (
        [curve.area for curve in faithfulness(network, image, scores=worth, seed=seed, **options).random]
        for seed in (0, 0, 1)
    )
    assert one == again != other


def test_wrong_calls_are_refused() -> None:
    network, image, worth = _problem()
    with pytest.raises(ValueError, match="scores must be 5 finite numbers"):
        deletion_curve(network, image, scores=worth[:3], regions=REGIONS, target=0, replacement=0.0)
    with pytest.raises(ValueError, match="mode must be 'deletion' or 'insertion', got 'both'"):
        deletion_curve(network, image, scores=worth, regions=REGIONS, target=0, replacement=0.0, mode="both")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="random_orders must be at least 1"):
        faithfulness(network, image, scores=worth, regions=REGIONS, target=0, replacement=0.0, random_orders=0)
