"""Feature densities: closed forms for Gaussians, slow forms, scikit-learn; and that they fail closed."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist, mahalanobis
from sklearn.covariance import ledoit_wolf as sklearn_ledoit_wolf

from insdl.learn.density import (
    fit_density,
    has_contrast,
    image_strangeness,
    layer_features,
    ledoit_wolf,
    strangeness,
)
from insdl.learn.networks import CellClassifier
from insdl.learn.scores import auroc

METHODS = ("mahalanobis", "relative-mahalanobis", "nearest-neighbours")


def _two_classes(n: int = 400, p: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(p, p))
    labels = rng.integers(2, size=n)
    return rng.normal(size=(n, p)) @ mixing + 3 * labels[:, None] * np.arange(p), labels


@pytest.mark.parametrize("distance", [0.5, 1.5, 3.0])
def test_auroc_of_mahalanobis_is_the_closed_form(distance: float) -> None:
    """Known N(0, S) against strange N(m, S) in two dimensions, with d^2 = m S^-1 m.

    The scores follow chi-squared of 2 and noncentral chi-squared of (2, d^2), and exp(-score / 2) is the survival
    function of the first, so AUROC = 1 - E exp(-y / 2) = 1 - exp(-d^2 / 4) / 2 by the second's moment generating
    function.
    """
    rng = np.random.default_rng(1)
    root = np.array([[3.0, 0.0], [1.0, 0.2]])
    density = fit_density(rng.normal(size=(100_000, 2)) @ root.T, np.zeros(100_000, int))
    known = strangeness(density, rng.normal(size=(20_000, 2)) @ root.T)
    away = distance * np.array([0.6, -0.8])
    strange = strangeness(density, (rng.normal(size=(20_000, 2)) + away) @ root.T)
    found = auroc(known, strange)
    assert abs(found.value - (1 - 0.5 * math.exp(-(distance**2) / 4))) < 4 * found.error


@pytest.mark.parametrize("shrinkage", [0.0, 0.3, None])
def test_mahalanobis_agrees_with_a_loop(shrinkage: float | None) -> None:
    rows, labels = _two_classes()
    density = fit_density(rows, labels, shrinkage=shrinkage)
    means = np.stack([rows[labels == k].mean(axis=0) for k in (0, 1)])
    inside = rows - means[labels]
    scale = inside.std(axis=0)
    alpha = density.shrinkage[0]
    assert alpha == (shrinkage if shrinkage is not None else pytest.approx(ledoit_wolf(inside / scale)))
    covariance = np.cov((inside / scale).T, bias=True)
    precision = np.linalg.inv((1 - alpha) * covariance + alpha * np.eye(6))  # the scaled trace is the dimension
    new = np.random.default_rng(2).normal(0, 20, size=(9, 6))
    expected = [min(mahalanobis(x / scale, mean / scale, precision) ** 2 for mean in means) for x in new]
    np.testing.assert_allclose(strangeness(density, new), expected, rtol=1e-9)


def test_relative_mahalanobis_is_the_difference_of_two() -> None:
    rows, labels = _two_classes()
    new = np.random.default_rng(3).normal(0, 20, size=(9, 6))
    by_class = strangeness(fit_density(rows, labels, shrinkage=0.0), new)
    together = strangeness(fit_density(rows, np.zeros(len(rows), int), shrinkage=0.0), new)
    relative = strangeness(fit_density(rows, labels, method="relative-mahalanobis", shrinkage=0.0), new)
    np.testing.assert_allclose(relative, by_class - together, rtol=1e-8)


def test_relative_mahalanobis_is_blind_where_classes_do_not_differ() -> None:
    """What it is made for, and why it must not stand alone: far off in such a direction, it says nothing."""
    rng = np.random.default_rng(4)
    labels = rng.integers(2, size=5000)
    rows = rng.normal(size=(5000, 2)) + 6 * labels[:, None] * [1, 0]
    far = np.array([[0.0, 30.0]])
    plain, relative = (
        strangeness(fit_density(rows, labels, method=m), np.concatenate([rows, far]))
        for m in ("mahalanobis", "relative-mahalanobis")
    )
    assert plain[-1] > 10 * plain[:-1].max()
    assert relative[-1] < np.quantile(relative[:-1], 0.9)


@pytest.mark.parametrize("neighbours", [1, 7])
def test_neighbours_agree_with_all_distances(neighbours: int) -> None:
    rows, labels = _two_classes(n=700)
    density = fit_density(rows, labels, method="nearest-neighbours", neighbours=neighbours)
    new = np.random.default_rng(5).normal(0, 5, size=(300, 6))
    distances = np.sort(cdist(new / density.scale, rows / density.scale), axis=1)
    np.testing.assert_allclose(strangeness(density, new), distances[:, neighbours - 1], rtol=1e-5)  # kept as float32


def test_ledoit_wolf_equals_scikit_learn() -> None:
    for n, p in ((20, 40), (300, 5), (50, 50)):
        rows = np.random.default_rng(n).normal(size=(n, p)) * np.linspace(0.5, 2, p)
        rows -= rows.mean(axis=0)
        assert ledoit_wolf(rows) == pytest.approx(sklearn_ledoit_wolf(rows, assume_centered=True)[1], rel=1e-10)


@pytest.mark.parametrize("method", ["mahalanobis", "nearest-neighbours"])
def test_units_of_the_features_do_not_matter(method: str) -> None:
    rows, labels = _two_classes()
    new = np.random.default_rng(6).normal(0, 5, size=(20, 6))
    unit = np.logspace(-3, 3, 6)
    one = strangeness(fit_density(rows, labels, method=method), new)
    other = strangeness(fit_density(rows * unit, labels, method=method), new * unit)
    np.testing.assert_allclose(one, other, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_features_that_are_not_numbers_or_overflow_are_strange(method: str) -> None:
    rows, labels = _two_classes()
    density = fit_density(rows, labels, method=method)
    new = np.stack([np.full(6, math.nan), np.full(6, math.inf), rows[0], np.full(6, 1e300)])
    new[0, 1:] = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score = strangeness(density, new)
    assert np.isinf(score).tolist() == [True, True, False, True]
    assert strangeness(density, np.empty((0, 6))).shape == (0,)


def test_a_feature_that_was_silent_in_training_is_an_alarm_when_it_speaks() -> None:
    rows, labels = _two_classes()
    silent = np.concatenate([rows, np.zeros((len(rows), 1))], axis=1)
    for method in ("mahalanobis", "nearest-neighbours"):
        density = fit_density(silent, labels, method=method)
        speaking = silent[:1] + 0.5 * np.median(rows.std(axis=0)) * np.eye(7)[6]
        assert strangeness(density, speaking)[0] > 10 * strangeness(density, silent).max()


def test_layer_features_are_what_the_layers_give() -> None:
    network = CellClassifier(cells=3, pixels=8, widths=(4, 5, 6)).train()
    images = np.random.default_rng(0).random((5, 3, 8, 8), dtype=np.float32)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = layer_features(network, images, layers=["cells", "head.1"], batch_size=2)
    assert found.shape == (5, 6 + 6)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not network.cells._forward_hooks
    with torch.no_grad():
        network.eval()
        maps = network.cells(torch.from_numpy(images))
        pooled = network.head[1](network.head[0](network.mix3(network.mix2(network.mix1(maps)))))
    np.testing.assert_allclose(found[:, :6], maps.mean(dim=(2, 3)).numpy(), rtol=1e-5)
    np.testing.assert_allclose(found[:, 6:], pooled.numpy(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_nan_constant_and_empty_images_are_strange(method: str) -> None:
    network = CellClassifier(cells=3, pixels=8, widths=(4, 5, 6))
    rng = np.random.default_rng(0)
    images = rng.random((60, 3, 8, 8), dtype=np.float32)
    layers = ["cells", "head.1"]
    features = layer_features(network, images, layers=layers)
    density = fit_density(features, rng.integers(2, size=60), method=method, neighbours=5)
    bad = images[:6].copy()
    bad[0, 1, 2, 3] = math.nan
    bad[1] = 0.0
    bad[2] = 0.7
    bad[3, 0] = math.inf
    bad[4] = 0.7 + 1e-7 * rng.random((3, 8, 8))
    used = np.ones((3, 8, 8), np.bool_)
    score = image_strangeness(density, network, bad, layers=layers)
    assert np.isinf(score).tolist() == [True] * 5 + [False]
    nothing = image_strangeness(density, network, images[:2], layers=layers, used=np.zeros_like(used))
    assert np.isinf(nothing).all()
    assert image_strangeness(density, network, images[:0], layers=layers).shape == (0,)


def test_contrast_is_looked_for_where_there_are_detectors() -> None:
    images = np.ones((2, 1, 2, 2))
    images[:, 0, 0, 0] = 5.0
    used = np.ones((2, 1, 2, 2), np.bool_)
    used[1, 0, 0, 0] = False
    assert has_contrast(images).tolist() == [True, True]
    assert has_contrast(images, used=used).tolist() == [True, False]
    assert has_contrast(np.empty((2, 0, 0, 0))).tolist() == [False, False]


def test_bad_input_is_refused_in_words() -> None:
    rows, labels = _two_classes(n=30)
    with pytest.raises(ValueError, match="class 1 of 3 is missing"):
        fit_density(rows, 2 * labels)
    with pytest.raises(ValueError, match="features must vary within a class"):
        fit_density(np.ones((4, 2)), [0, 0, 1, 1])
    with pytest.raises(ValueError, match="features must be finite"):
        fit_density(np.full((4, 2), math.nan), [0, 0, 1, 1])
    with pytest.raises(ValueError, match="unknown method 'knn'"):
        fit_density(rows, labels, method="knn")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="shrinkage must lie between 0 and 1, got 2"):
        fit_density(rows, labels, shrinkage=2.0)
    with pytest.raises(ValueError, match="neighbours must lie between 1 and the number of images, 30, got 31"):
        fit_density(rows, labels, method="nearest-neighbours", neighbours=31)
    with pytest.raises(ValueError, match=r"features must have shape \(n, 6\), got \(2, 5\)"):
        strangeness(fit_density(rows, labels), rows[:2, :5])
    network = CellClassifier(cells=3, pixels=8)
    with pytest.raises(ValueError, match="the network has no layer 'mix9', but cells, "):
        layer_features(network, np.ones((1, 3, 8, 8)), layers=["mix9"])
    with pytest.raises(ValueError, match="layers must be a list of names of layers, got 'cells'"):
        layer_features(network, np.ones((1, 3, 8, 8)), layers="cells")
    with pytest.raises(ValueError, match=r"used must have the shape of images, \(1, 3, 8, 8\), got \(5,\)"):
        has_contrast(np.ones((1, 3, 8, 8)), used=np.ones(5, np.bool_))
