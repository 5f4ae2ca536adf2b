"""Planted features: methods must find the cell and the place that alone decide."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.explain.attribution import guided_gradients, integrated_gradients
from insdl.explain.cam import cell_importance, grad_cam, grad_cam_plus_plus, hires_cam, layer_grid, to_pixels
from insdl.explain.planted import PlantedTask, localise
from insdl.explain.stability import randomised, spearman
from insdl.learn.networks import CellClassifier
from insdl.learn.train import TrainingSettings, predict, train

TASK = PlantedTask((8, 16, 16), cell=5, place=(10.5, 5.0))


@pytest.fixture(scope="module")
def trained() -> CellClassifier:
    network = CellClassifier(cells=8, pixels=16, widths=(16, 16, 16))
    held_out = [TASK.sample(10**6 + index) for index in range(40)]
    validation = np.stack([image for image, _ in held_out]), [label for _, label in held_out]
    settings = TrainingSettings(epochs=3, samples_per_epoch=640, batch_size=16, learning_rate=1e-2, threads=1)
    train(network, sample=TASK.sample, validation=validation, settings=settings, progress="silent")
    return network


@pytest.fixture(scope="module")
def planted(trained: CellClassifier) -> tuple[np.ndarray, np.ndarray]:
    """A hundred new images of class 1 that the network gets right, and where their spots are."""
    indices = range(2 * 10**6 + 1, 2 * 10**6 + 201, 2)
    images = np.stack([TASK.sample(index)[0] for index in indices])
    assert (predict(trained, images).argmax(axis=1) == 1).mean() >= 0.99
    return images, np.array([TASK.centre(index) for index in indices])


@pytest.mark.parametrize("method", [grad_cam, grad_cam_plus_plus, hires_cam])
def test_class_activation_maps_find_it(
    method: object, trained: CellClassifier, planted: tuple[np.ndarray, np.ndarray]
) -> None:
    """In at least 95 % of the images in the right cell, and place, to a pixel."""
    images, places = planted
    maps = method(trained, images, target=(1, 0), layer="cells", cells=8)  # type: ignore[operator]
    grid = layer_grid(trained, layer="cells", image_shape=TASK.image_shape)
    found = localise(to_pixels(maps, grid), cell=5, places=places)
    assert found.cell_share >= 0.95
    assert (found.distance <= 1.0).mean() >= 0.95


@pytest.mark.parametrize("method", ["integrated", "guided"])
def test_pixel_methods_find_it(method: str, trained: CellClassifier, planted: tuple[np.ndarray, np.ndarray]) -> None:
    images, places = planted
    if method == "integrated":
        maps = integrated_gradients(trained, images, target=(1, 0), baseline=0.0, steps=16, batch_size=100).maps
    else:
        maps = guided_gradients(trained, images, target=(1, 0)) * np.maximum(images, 0)
    found = localise(np.maximum(maps, 0.0), cell=5, places=places)
    assert found.cell_share >= 0.95
    assert found.distance.max() <= 1.0


def test_grad_cam_is_of_the_weights(trained: CellClassifier, planted: tuple[np.ndarray, np.ndarray]) -> None:
    """Once no weight is left of those learned, the signed ranking of the cells is not the trained network's.

    Eight cells, of which one stands out: a correlation of one random network is within 1 / sqrt(7), of the mean of ten
    within a third of it; three of those.
    """
    images = planted[0][:4]

    def explain(network: CellClassifier) -> np.ndarray:
        maps = grad_cam(network, images, target=(1, 0), layer="cells", cells=8, sign="signed")
        return cell_importance(maps).mean(axis=0)

    fresh = [explain(randomised(trained, seed=seed)) for seed in range(10)]
    assert abs(np.mean([spearman(explain(trained), one) for one in fresh])) < 3 / np.sqrt(7 * 10)


def test_task_is_a_function_of_the_index() -> None:
    image, label = TASK.sample(3)
    again, _ = TASK.sample(3)
    np.testing.assert_array_equal(image, again)
    assert label == 1
    assert TASK.sample(4)[1] == 0
    rows, columns = TASK.centre(3)
    assert abs(rows - 10.5) <= 1
    assert abs(columns - 5) <= 1


def test_localisation_by_hand() -> None:
    """A spot at a known place; a map in another cell; a map without any evidence."""
    rows, columns = np.mgrid[:16, :16]
    maps = np.zeros((3, 2, 16, 16))
    maps[0, 1] = np.exp(-((rows - 9.3) ** 2 + (columns - 4.6) ** 2) / 8)
    maps[1, 0, 3, 3], maps[1, 1, 12, 12] = 5.0, 1.0
    maps[2] = -1.0
    found = localise(maps, cell=1, places=[(9.3, 4.6), (12, 12), (0, 0)])
    assert found.cell.tolist() == [1, 0, 0]
    assert found.cell_share == pytest.approx(1 / 3)
    assert found.distance[0] < 0.1
    assert found.distance[1] == 0.0
    assert found.place[2].tolist() == [7.5, 7.5]


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(ValueError, match="must lie in images of shape"):
        PlantedTask((8, 16, 16), cell=8, place=(0, 0))
    with pytest.raises(ValueError, match=r"places must have shape \(2, 2\)"):
        localise(np.zeros((2, 3, 4, 4)), cell=0, places=[(0, 0)])
    with pytest.raises(ValueError, match="with a cell 3"):
        localise(np.zeros((2, 3, 4, 4)), cell=3, places=[(0, 0)] * 2)
