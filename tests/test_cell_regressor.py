"""The regressor of quarter views: shapes, masks, a tiny batch learned by heart, checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from insdl.learn.cell_regressor import CellRegressor
from insdl.learn.checkpoint import load_checkpoint, save_checkpoint
from insdl.learn.settings import TrainingSettings
from insdl.learn.train import predict, train


def network(seed: int = 0) -> CellRegressor:
    return CellRegressor(3, parameters=("a", "b"), pixels=8, widths=(8, 8), hidden=16, seed=seed)


def views(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    share = rng.integers(0, 5, (n, 3, 8, 8)) / 4
    return np.concatenate([rng.normal(2.0, 3.0, share.shape) * (share > 0), share], axis=1).astype(np.float32)


def test_shapes_seeds_and_features() -> None:
    given = torch.from_numpy(views(4))
    one, other = network(), network(1)
    assert one(given).shape == (4, 4)
    assert one.features(given).shape == (4, 16)
    assert torch.equal(one(given), network()(given))
    assert not torch.equal(one(given), other(given))
    with pytest.raises(ValueError, match="views must have shape"):
        one(given[:, :5])


def test_pixels_are_standardised_where_measured_and_zero_elsewhere() -> None:
    given, one = views(500), network()
    one.standardise_pixels(given)
    values, share = given[:, :3], given[:, 3:]
    seen = share > 0
    np.testing.assert_allclose(one.pixel_mean.numpy(), values.mean(axis=0, where=seen), atol=1e-5)
    np.testing.assert_allclose(one.pixel_scale.numpy(), values.std(axis=0, where=seen), rtol=1e-5)
    changed = given.copy()
    changed[:, :3][~seen] = 1e6  # where nothing was measured nothing is looked at
    with torch.no_grad():
        assert torch.equal(one(torch.from_numpy(given)), one(torch.from_numpy(changed)))


def test_pixels_that_no_example_measured_are_not_looked_at() -> None:
    """A detector may look farther out than any that was learned from."""
    given, one = views(50), network()
    given[:, :, 0, 0] = 0.0
    one.standardise_pixels(given)
    farther = given.copy()
    farther[:, :3, 0, 0], farther[:, 3:, 0, 0] = 7.0, 1.0
    with torch.no_grad():
        assert torch.equal(one(torch.from_numpy(farther)), one(torch.from_numpy(given)))


def test_a_tiny_batch_is_learned_by_heart() -> None:
    given, one = views(16), network()
    wanted = np.random.default_rng(5).normal(size=(16, 2)).astype(np.float32)
    one.standardise_pixels(given)

    def sample(index: int) -> tuple[np.ndarray, np.ndarray]:
        return given[index % 16], wanted[index % 16]

    settings = TrainingSettings(epochs=60, samples_per_epoch=16, batch_size=16, learning_rate=1e-2, threads=1)
    train(one, sample=sample, validation=(given, wanted), settings=settings, progress="silent")
    mean, sigma = predict(one, given)
    assert np.sqrt(np.mean((mean - wanted) ** 2)) < 0.1
    assert (sigma < 0.5).all()


def test_a_checkpoint_holds_all_of_it(tmp_path: Path) -> None:
    given, one = views(8), network(3)
    one.standardise_pixels(given)
    save_checkpoint(tmp_path / "one.pt", one)
    loaded, _ = load_checkpoint(tmp_path / "one.pt")
    np.testing.assert_array_equal(predict(loaded, given)[0], predict(one, given)[0])


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="pixels must be a positive multiple of 4"):
        CellRegressor(3, parameters=("a",), pixels=10)
    with pytest.raises(ValueError, match="different names"):
        CellRegressor(3, parameters=("a", "a"))
    with pytest.raises(ValueError, match="views must have shape"):
        network().standardise_pixels(np.zeros((2, 6, 4, 4), np.float32))
