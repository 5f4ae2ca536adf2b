"""Prediction: the same whatever the batches, in the units of the objective, and the network is left as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from insdl.learn.networks import CellClassifier, MapRegressor
from insdl.learn.prediction import checked_images, outputs, predict

IMAGES = np.random.default_rng(0).random((7, 3, 8, 8), dtype=np.float32)


def test_probabilities_are_the_softmax_of_the_outputs() -> None:
    network = CellClassifier(cells=3, pixels=8).train()
    logits = outputs(network, IMAGES, batch_size=3).double()
    np.testing.assert_allclose(predict(network, IMAGES), torch.softmax(logits, dim=1).numpy(), rtol=1e-5)
    assert network.training


def test_error_bars_come_from_log_variances() -> None:
    network = MapRegressor(1, pixels=16)
    images = IMAGES[:, :1].repeat(2, axis=2).repeat(2, axis=3)
    mean, sigma = predict(network, images)
    with torch.no_grad():
        raw = network.eval()(torch.from_numpy(images)).double().numpy()
    np.testing.assert_allclose(mean, raw[:, :2], rtol=1e-5)
    np.testing.assert_allclose(sigma, np.exp(0.5 * raw[:, 2:]), rtol=1e-5)


def test_images_are_checked() -> None:
    with pytest.raises(ValueError, match=r"shape \(n, 3, 8, 8\), got \(3, 8, 8\)"):
        checked_images(IMAGES[0], (3, 8, 8))
    broken = IMAGES.copy()
    broken[2, 1, 4, 5] = np.inf
    with pytest.raises(ValueError, match=r"got inf in image 2 at pixel \(1, 4, 5\)"):
        checked_images(broken, (3, 8, 8))
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        predict(CellClassifier(cells=3, pixels=8), IMAGES, batch_size=0)
