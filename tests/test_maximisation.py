"""Maximisation: finds the known optimum of linear objectives, keeps masks and limits, and is reproducible."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from insdl.explain.maximisation import (
    Answer,
    Direction,
    Filter,
    MaximisationSettings,
    Neuron,
    maximise,
)
from insdl.learn.networks import CellClassifier

CELLS, PIXELS = 4, 16
FREE = np.ones((CELLS, PIXELS, PIXELS), dtype=bool)
FREE[:, 6:9] = False
OBJECTIVES = (Filter("mix3", 2), Neuron("cells", 4, 1, 4), Answer(("class0", "class1")), Direction("mix2", (1.0,) * 8))


def _network(seed: int = 0) -> CellClassifier:
    return CellClassifier(cells=CELLS, pixels=PIXELS, widths=(8, 8, 8), seed=seed)


QUICK = MaximisationSettings(steps=24, step=0.1)


def test_linear_objective_ends_at_the_corner() -> None:
    """A linear neuron within limits is largest where every pixel is at the limit of its weight's sign."""
    network = nn.Sequential(nn.Conv2d(1, 1, 8), nn.Flatten())
    settings = MaximisationSettings(steps=60, step=10.0, jitter=0, total_variation=0.0, limits=(-1.0, 2.0), level=0.0)
    found = maximise(network, [Neuron("0", 0, 0, 0)], free=np.ones((1, 8, 8)), settings=settings)
    weight = network[0].weight.detach().numpy()[0]
    np.testing.assert_allclose(found.images[0], np.where(weight > 0, 2.0, -1.0))
    best = float(np.where(weight > 0, 2 * weight, -weight).sum() + network[0].bias.item())
    assert found.history[0, -1] == pytest.approx(best, rel=1e-5)


def test_objectives_grow_and_are_the_networks_own() -> None:
    network = _network()
    with torch.no_grad():
        network.head[2].weight.mul_(100.0)  # an untrained head hardly moves
    found = maximise(network, OBJECTIVES, free=FREE, settings=replace(QUICK, total_variation=0.0))
    assert (found.history[:, -1] > found.history[:, 0] + 0.01).all()
    network.eval()
    with torch.no_grad():
        for number, image in enumerate(torch.from_numpy(found.images)[:, None]):
            cells = network.cells(image)
            mix2 = network.mix2(network.mix1(cells))
            mix3, logits = network.mix3(mix2), network(image)
            by_hand = [
                mix3[0, 2].mean(),
                cells[0, 4, 1, 4],
                logits[0, 0] - logits[0, 1],
                mix2[0, :, 2, 2].sum() / 8**0.5,
            ]
            assert found.history[number, -1] == pytest.approx(by_hand[number].item(), rel=1e-4, abs=1e-5)


def test_nothing_changes_where_no_detector_looks() -> None:
    found = maximise(_network(), OBJECTIVES, free=FREE, fill=-3.0, settings=QUICK)
    assert (found.images[:, ~FREE] == -3.0).all()
    assert found.images[:, FREE].min() >= 0.0
    assert found.images[:, FREE].max() <= np.float32(4.8)
    assert np.isfinite(found.images).all()
    assert not np.array_equal(found.images[0], found.start[0])


def test_each_image_is_its_own() -> None:
    """A batch of objectives gives the images that each gives alone."""
    settings = MaximisationSettings(steps=8)
    together = maximise(_network(), OBJECTIVES, free=FREE, settings=settings)
    for number, objective in enumerate(OBJECTIVES):
        alone = maximise(_network(), [objective], free=FREE, settings=settings)
        np.testing.assert_allclose(alone.images[0], together.images[number], atol=2e-3)


def test_same_seed_same_image() -> None:
    settings = MaximisationSettings(steps=8)
    first, again = (maximise(_network(), OBJECTIVES, free=FREE, settings=settings).images for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = maximise(_network(), OBJECTIVES, free=FREE, settings=MaximisationSettings(steps=8, seed=1)).images
    assert np.abs(other - first).max() > 0.01


def test_total_variation_smooths() -> None:
    rough, smooth = (
        maximise(_network(), [Answer(1)], free=FREE, settings=replace(QUICK, total_variation=weight)).roughness[0]
        for weight in (0.0, 1.0)
    )
    assert smooth < 0.7 * rough


def test_step_has_the_size_it_says() -> None:
    """Without limits in reach, the first step changes the free pixels by `step`, root mean square."""
    settings = MaximisationSettings(steps=1, step=0.02, jitter=0, total_variation=0.0, limits=(-9.0, 9.0))
    found = maximise(_network(), [Answer(0)], free=FREE, settings=settings)
    change = (found.images - found.start)[0][FREE]
    assert np.sqrt((change.astype(np.float64) ** 2).mean()) == pytest.approx(0.02, rel=1e-4)


def test_a_dead_filter_does_not_move_and_gives_no_nan() -> None:
    network = _network()
    with torch.no_grad():
        network.cells[0].weight[3], network.cells[0].bias[3] = 0.0, -1.0
    settings = MaximisationSettings(steps=4, total_variation=0.0)
    found = maximise(network, [Filter("cells", 3)], free=FREE, settings=settings)
    np.testing.assert_array_equal(found.images, found.start)


def test_network_is_left_as_it_was() -> None:
    network = _network().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    maximise(network, OBJECTIVES, free=FREE, settings=MaximisationSettings(steps=2))
    assert network.training
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize(
    ("objectives", "message"),
    [
        ((), "at least one objective"),
        ((Filter("mix3", 8),), "channel must lie in 0 to 7 for 'mix3', got 8"),
        ((Neuron("mix3", 0, 4, 0),), r"lies within 4 x 4, got \(4, 0\)"),
        ((Direction("mix3", (1.0,)),), "needs 8 numbers, got 1"),
        ((Filter("head", 0),), "must give one tensor"),
        ((Answer("nothing"),), "target must be an output"),
    ],
)
def test_wrong_objectives_are_refused(objectives: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        maximise(_network(), objectives, free=FREE)  # type: ignore[arg-type]


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="limits must ascend"):
        MaximisationSettings(limits=(1.0, 1.0))
    with pytest.raises(ValueError, match="steps must be at least 1"):
        MaximisationSettings(steps=0)
    with pytest.raises(ValueError, match="step must be positive"):
        MaximisationSettings(step=0.0)
    with pytest.raises(ValueError, match="free must have shape"):
        maximise(_network(), [Answer(0)], free=np.zeros((CELLS, PIXELS, PIXELS)))
