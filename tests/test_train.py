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

import tiny_training
from insdl.learn import feed as feed_module
from insdl.learn.networks import CellClassifier, MapRegressor
from insdl.learn.settings import relative_rate
from insdl.learn.stream import Batch
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


def _stream(**options: Any) -> Any:
    return tiny_training.stream(**options)


def _tiny(network: Any = None, **options: Any) -> tuple[Any, TrainingResult]:
    network = tiny_training.network(CellClassifier) if network is None else network
    settings = tiny_training.settings(**options.pop("settings", {}))
    options.setdefault("validation", tiny_training.held_out())
    return network, train(network, settings=settings, progress="silent", **options)


def test_learns_from_a_stream() -> None:
    """Classes that differ in every pixel, from samples that were not held out; the stream's position does not matter."""
    batches = list(_stream(n=160))
    held_out, given = batches[-4:], _stream(n=120)
    next(iter(given))
    network, result = _tiny(stream=given, validation=held_out, settings={"epochs": 5})
    assert result.history[result.best_epoch].validation_score > 0.95
    same, again = _tiny(stream=_stream(n=120), validation=held_out, settings={"epochs": 5})
    assert again.history == result.history
    assert _same(network.state_dict(), same.state_dict())


def test_a_stream_trains_on_a_target_of_its_batches() -> None:
    """The class is the other way round, so that what is learned shows which target was used."""
    held_out = list(_stream(n=160))[-4:]
    options = {"stream": _stream(), "validation": held_out, "settings": {"epochs": 5}}
    network, result = _tiny(target=lambda batch: 1 - batch.labels, **options)
    assert result.history[result.best_epoch].validation_score > 0.95
    said = np.concatenate([predict(network, batch.images).argmax(axis=1) for batch in held_out])
    labels = np.concatenate([batch.labels for batch in held_out])
    assert (said == 1 - labels).mean() > 0.95


def test_a_named_loss_and_the_same_as_a_function_learn_the_same() -> None:
    def loss(network: torch.nn.Module, batch: Any) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(network(batch.images), batch.targets)

    def whole(network: torch.nn.Module, batch: Batch) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(network(batch.images), batch.labels)

    named, result = _tiny(sample=tiny_training.sample)
    own, other = _tiny(sample=tiny_training.sample, loss=loss)
    assert _same(named.state_dict(), own.state_dict())
    for line, same in zip(result.history, other.history, strict=True):
        assert line.train_loss == same.train_loss
        assert line.validation_loss == pytest.approx(same.validation_loss, rel=1e-6)  # means of means
        assert same.validation_score == same.validation_loss
    held_out = list(_stream(n=160))[-4:]
    named, _ = _tiny(stream=_stream(), validation=held_out)
    own, _ = _tiny(stream=_stream(), validation=held_out, loss=whole)
    assert _same(named.state_dict(), own.state_dict())


def test_a_loss_function_trains_what_is_not_registered() -> None:
    """An image as the target: a network that has to give back its input."""

    class Copy(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = tiny_training.network().config
            self.layer = torch.nn.Conv2d(3, 3, 1)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.layer(images)

    def loss(network: torch.nn.Module, batch: Any) -> torch.Tensor:
        return ((network(batch.images) - batch.targets) ** 2).mean()

    images, _ = tiny_training.held_out()
    options = {
        "sample": lambda i: (tiny_training.sample(i)[0],) * 2,
        "validation": (images, images),
        "settings": {"epochs": 6, "learning_rate": 0.05},
    }
    _, result = _tiny(Copy(), loss=loss, **options)
    assert result.history[-1].validation_loss < 0.04  # the variance of the pixels is 1 / 12
    with pytest.raises(ValueError, match="nothing says what a Copy is trained for"):
        _tiny(Copy(), **options)


def test_after_step_is_called_with_every_batch() -> None:
    seen = []
    _tiny(
        sample=tiny_training.sample,
        after_step=lambda network, batch: seen.append((network.training, len(batch.images))),
    )
    assert seen == [(True, 8)] * 36


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine", "constant"])
def test_the_history_holds_the_rate_of_the_schedule(schedule: str) -> None:
    _, result = _tiny(sample=tiny_training.sample, settings={"schedule": schedule})
    expected = [1e-2 * relative_rate(schedule, step, 36) for step in (11, 23, 35)]
    assert [epoch.learning_rate for epoch in result.history] == expected


def test_bfloat16_learns_and_leaves_float32_weights() -> None:
    options = {"sample": tiny_training.sample, "settings": {"precision": "bfloat16", "epochs": 8}}
    network, result = _tiny(**options)
    full, exact = _tiny(sample=tiny_training.sample, settings={"epochs": 8})
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32, torch.int64}
    assert not _same(network.state_dict(), full.state_dict())  # it was in use
    assert result.history[-1].validation_loss == pytest.approx(exact.history[-1].validation_loss, abs=0.05)


def test_a_gpu_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="precision 'float16' needs a GPU"):
        _tiny(sample=tiny_training.sample, settings={"precision": "float16", "device": "cpu"})
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="torch finds no GPU"):
            _tiny(sample=tiny_training.sample, settings={"device": "cuda"})
        on_cpu, _ = _tiny(sample=tiny_training.sample, settings={"device": "automatic"})
        assert next(on_cpu.parameters()).device.type == "cpu"


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_trains_on_a_gpu(precision: str, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    options = {"sample": tiny_training.sample, "state": tmp_path / "state", "state_every": 5}
    network, result = _tiny(settings={"device": "cuda", "precision": precision, "epochs": 8}, **options)
    _, exact = _tiny(sample=tiny_training.sample, settings={"epochs": 8})
    assert next(network.parameters()).device.type == "cpu"  # where it was
    assert result.history[-1].validation_loss == pytest.approx(exact.history[-1].validation_loss, abs=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either a sample function or a stream"),
        ({"sample": tiny_training.sample, "stream": _stream()}, "either a sample function or a stream"),
        ({"sample": tiny_training.sample, "target": lambda batch: batch.labels}, "target is for a stream"),
        ({"sample": tiny_training.sample, "score": lambda network, batch: 0}, "score goes with a loss function"),
        ({"stream": _stream(), "loss": lambda network, batch: 0}, "needs a list of such batches for validation"),
        ({"stream": _stream(), "target": lambda batch: 5 * batch.labels}, "stream's sample .* class index from 0 to 1"),
        ({"stream": _stream(), "target": lambda batch: batch.labels[:1]}, "target must give [78] values"),
        ({"sample": tiny_training.sample, "validation": []}, "one sample at least"),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _tiny(**options)
