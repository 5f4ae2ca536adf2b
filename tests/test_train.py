"""Training: it learns, repeats itself bit for bit, stops in time, and never leaves half a file."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.utils.data import DataLoader

from insdl.learn import feed as feed_module
from insdl.learn.networks import CellClassifier, MapRegressor
from insdl.learn.train import (
    SampleStream,
    TrainingResult,
    TrainingSettings,
    load_checkpoint,
    predict,
    save_checkpoint,
    train,
)

CELLS, PIXELS = 4, 8
HELD_OUT = 10**6  # training indices stay far below


def _network(seed: int = 0) -> CellClassifier:
    return CellClassifier(cells=CELLS, classes=("a", "b"), pixels=PIXELS, widths=(8, 8, 8), seed=seed)


def _sample(index: int) -> tuple[npt.NDArray[np.float32], int]:
    """Noise, with a bright row in cell 1 for class 1."""
    image = np.random.default_rng((3, index)).random((CELLS, PIXELS, PIXELS), dtype=np.float32)
    image[1, 4] += index % 2
    return image, index % 2


def _map(index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """A map whose left and right halves have the two parameters as brightness."""
    rng = np.random.default_rng((5, index))
    target = rng.normal(size=2)
    image = np.repeat(target, 8) + 0.1 * rng.normal(size=(1, 16, 16))
    return image.astype(np.float32), target


def _stacked(sample: Any, count: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
    images, targets = zip(*(sample(HELD_OUT + i) for i in range(count)), strict=True)
    return np.stack(images), np.array(targets)


def _train(network: CellClassifier | MapRegressor, sample: Any = _sample, **options: Any) -> TrainingResult:
    settings = {"epochs": 2, "samples_per_epoch": 40, "batch_size": 16, "threads": 1}
    settings |= {name: options.pop(name) for name in list(options) if name in TrainingSettings.__dataclass_fields__}
    options.setdefault("validation", _stacked(_sample, 20))
    return train(network, sample=sample, settings=TrainingSettings(**settings), progress="silent", **options)


def _weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def _same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


def test_overfits_a_tiny_batch_of_noise() -> None:
    """Eight images with labels that mean nothing: a network that can learn at all gets them by heart."""
    images = np.random.default_rng(0).random((8, CELLS, PIXELS, PIXELS), dtype=np.float32)
    labels = [0, 1, 1, 0, 1, 0, 0, 1]
    result = _train(
        _network(),
        lambda i: (images[i % 8], labels[i % 8]),
        validation=(images, labels),
        epochs=15,
        samples_per_epoch=80,
        batch_size=8,
        learning_rate=2e-2,
    )
    assert result.history[-1].train_loss < 0.1
    assert result.history[result.best_epoch].validation_score == 1.0


def test_learns_classes_it_can_tell_apart() -> None:
    network = _network()
    result = _train(network, epochs=6, samples_per_epoch=160, learning_rate=1e-2)
    images, targets = _stacked(_sample, 50)
    probabilities = predict(network, images)
    assert probabilities.shape == (50, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-12)  # softmax in float64
    assert (probabilities.argmax(axis=1) == targets).mean() > 0.95
    assert result.history[result.best_epoch].validation_loss == min(e.validation_loss for e in result.history)


def test_regressor_learns_parameters_and_its_own_error() -> None:
    network = MapRegressor(1, pixels=16, widths=(8, 8, 8, 8), hidden=16)
    validation = _stacked(_map, 100)
    options = {"epochs": 12, "samples_per_epoch": 960, "batch_size": 32, "learning_rate": 1e-2}
    result = _train(network, _map, validation=validation, loss="gaussian", **options)
    mean, sigma = predict(network, validation[0])
    assert mean.shape == sigma.shape == (100, 2)
    assert result.history[result.best_epoch].validation_score < 0.3  # the prior's width is 1
    assert 0.5 < np.sqrt(np.mean(((mean - validation[1]) / sigma) ** 2)) < 2.0


def test_same_seed_gives_the_same_weights_bit_for_bit() -> None:
    first, second, other = _network(), _network(), _network(seed=1)
    one, two = _train(first), _train(second)
    _train(other)
    assert one.history == two.history
    assert _same(first.state_dict(), second.state_dict())
    assert not _same(first.state_dict(), other.state_dict())


def test_samples_are_drawn_once_each_in_order_in_the_background() -> None:
    seen: list[int] = []
    threads: set[int] = set()

    def sample(index: int) -> tuple[npt.NDArray[np.float32], int]:
        seen.append(index)
        threads.add(threading.get_ident())
        return _sample(index)

    _train(_network(), sample, epochs=2, samples_per_epoch=40, batch_size=16)
    assert seen == list(range(80))
    assert threading.get_ident() not in threads


def test_torch_and_network_are_left_as_they_were() -> None:
    network = _network().train()
    network.mix1.eval()
    threads = torch.get_num_threads()
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    with torch.no_grad():
        _train(network, threads=threads + 1)
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    assert network.training
    assert not network.mix1.training


def test_stops_early_and_keeps_the_best_weights() -> None:
    """Validation labels are the wrong way round, so every epoch of learning makes it worse."""
    images, targets = _stacked(_sample, 40)
    options = {"samples_per_epoch": 160, "learning_rate": 1e-2}
    stopped = _network()
    result = _train(stopped, validation=(images, 1 - targets), epochs=12, patience=2, **options)
    assert result.stopped_early
    assert len(result.history) == result.best_epoch + 3
    losses = [epoch.validation_loss for epoch in result.history]
    assert result.best_epoch == int(np.argmin(losses))
    probabilities = predict(stopped, images)[np.arange(40), 1 - targets]
    assert -np.log(probabilities).mean() == pytest.approx(min(losses), rel=1e-4)  # float32 against float64


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    network = _network()
    result = _train(network, checkpoint=path, description={"widths": (1, 2), "material": "pcsmo"})
    loaded, description = load_checkpoint(path)
    assert isinstance(loaded, CellClassifier)
    assert loaded.config == network.config
    assert description == {"widths": [1, 2], "material": "pcsmo"}
    images, _ = _stacked(_sample, 5)
    np.testing.assert_array_equal(predict(loaded, images), predict(network, images))
    content = torch.load(path, weights_only=True)
    assert [epoch["validation_loss"] for epoch in content["history"]] == [e.validation_loss for e in result.history]
    assert list(tmp_path.iterdir()) == [path]


def test_checkpoint_keeps_the_standardised_pixels(tmp_path: Path) -> None:
    images, _ = _stacked(_map, 30)
    network = MapRegressor(1, parameters=("J1", "J2"), pixels=16)
    network.standardise_pixels(images)
    save_checkpoint(tmp_path / "network.pt", network)
    loaded, _ = load_checkpoint(tmp_path / "network.pt")
    assert isinstance(loaded, MapRegressor)
    assert loaded.config == network.config
    np.testing.assert_array_equal(predict(loaded, images), predict(network, images))


def test_interrupted_training_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    save_checkpoint(path, _network(seed=9))
    before, threads = path.read_bytes(), torch.get_num_threads()

    def sample(index: int) -> tuple[npt.NDArray[np.float32], int]:
        if index == 70:
            raise KeyboardInterrupt
        return _sample(index)

    with pytest.raises(KeyboardInterrupt):
        _train(_network(), sample, checkpoint=path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    assert torch.get_num_threads() == threads
    assert not any(thread.name.startswith("insdl-samples") for thread in threading.enumerate())


def test_interrupted_writing_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "network.pt"
    save_checkpoint(path, _network(seed=9))
    before = path.read_bytes()

    def half_written(_: object, file: Any) -> None:
        file.write(b"half of a file")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", half_written)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, _network())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_files_that_are_no_checkpoint_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    with pytest.raises(FileNotFoundError, match="no checkpoint file"):
        load_checkpoint(path)
    path.write_text("something else")
    with pytest.raises(ValueError, match="not a checkpoint"):
        load_checkpoint(path)
    torch.save({"weights": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match="not a checkpoint"):
        load_checkpoint(path)
    save_checkpoint(path, _network())
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ValueError, match="not a checkpoint"):
        load_checkpoint(path)


def _nan_sample(index: int) -> tuple[npt.NDArray[np.float32], int]:
    image, target = _sample(index)
    if index == 21:
        image[2, 3, 4] = np.nan
    return image, target


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (_nan_sample, r"sample\(21\) must give a finite image, got nan at pixel \(2, 3, 4\)"),
        (lambda i: (np.zeros((8, 8, 4), np.float32), 0), r"sample\(0\) .* shape \(4, 8, 8\), got \(8, 8, 4\)"),
        (lambda i: (_sample(i)[0], 2), r"sample\(0\) must give a class index from 0 to 1, got 2"),
        (lambda i: (_sample(i)[0], 0.5), "class index from 0 to 1, got 0.5"),
    ],
)
def test_wrong_samples_are_named(sample: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _train(_network(), sample)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "gaussian"}, "loss must be 'cross-entropy' for a CellClassifier, got 'gaussian'"),
        ({"validation": (np.zeros((0, 4, 8, 8)), [])}, "one at least"),
        ({"validation": (np.zeros((2, 4, 8, 8)), [0])}, "as many targets as images"),
        ({"validation": (np.zeros((1, 4, 9, 8)), [0])}, r"shape \(n, 4, 8, 8\), got \(1, 4, 9, 8\)"),
        ({"description": {"network": object()}}, "description must hold only what JSON can"),
        ({"checkpoint": "no/such/folder/network.pt"}, "folder of checkpoint"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive"),
        ({"weight_decay": -1.0}, "weight_decay must not be negative"),
    ],
)
def test_wrong_calls_are_refused_before_any_training(options: dict[str, Any], message: str) -> None:
    def sample(index: int) -> tuple[npt.NDArray[np.float32], int]:
        raise AssertionError("training has begun")

    with pytest.raises(ValueError, match=message):
        _train(_network(), sample, **options)


def test_diverging_training_says_so() -> None:
    network = MapRegressor(1, pixels=16, widths=(8, 8, 8, 8), hidden=16)
    with pytest.raises(RuntimeError, match="training diverged in epoch 0"):
        _train(network, lambda i: (_map(i)[0], [1e30, 1e30]), validation=_stacked(_map, 4), epochs=1)


def test_predict_accepts_any_number_of_images() -> None:
    images, _ = _stacked(_sample, 5)
    network = _network()
    assert predict(network, images[:0]).shape == (0, 2)
    whole, parts = predict(network, images), predict(network, images, batch_size=2)
    np.testing.assert_allclose(whole, parts, rtol=1e-5)  # float32 sums in another order


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_stream_gives_every_sample_once_for_any_number_of_workers(
    workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Worker:
        num_workers = workers
        id = 0

    indices: list[int] = []
    for number in range(workers):
        worker = Worker()
        worker.id = number
        monkeypatch.setattr(feed_module, "get_worker_info", lambda worker=worker: worker)
        stream = iter(SampleStream(lambda i: (np.zeros(1, np.float32), i), start=10))
        indices += [int(np.asarray(next(stream)[1])) for _ in range(12 // workers)]
    assert sorted(indices) == list(range(10, 22))


def test_stream_works_in_a_data_loader() -> None:
    images, targets = next(iter(DataLoader(SampleStream(_sample), batch_size=6)))
    assert images.shape == (6, CELLS, PIXELS, PIXELS)
    assert targets.tolist() == [0, 1, 0, 1, 0, 1]
