"""Training of a network from a function that makes sample number i, and the files that keep trained networks.

Samples are made in a background thread while the network learns from the batch before, so nothing but the current
two batches is ever in memory. The same settings on the same number of threads give the same weights, bit for bit.
"""

from __future__ import annotations

import copy
import json
import math
import os
import time
import zipfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import IterableDataset, get_worker_info
from tqdm import tqdm

from insdl.learn.networks import CellClassifier, MapRegressor, Network, check_images, evaluation_mode

Sample = Callable[[int], tuple[npt.NDArray[np.float32], npt.ArrayLike]]
Loss = Literal["cross-entropy", "gaussian"]

_FORMAT = "insdl network 1"


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained; the record of a training together with the sample function.

    Parameters
    ----------
    epochs : passes of `samples_per_epoch` samples. No sample is seen twice.
    samples_per_epoch : samples between two looks at the validation set.
    batch_size : samples per step.
    learning_rate : the peak of the one-cycle schedule, reached after a quarter of the steps.
    weight_decay : of AdamW.
    gradient_clip : largest norm of the gradient of a step.
    patience : stop after so many epochs without a better validation loss; None never stops early.
    seed : of what is random in training; samples carry their own seed.
    threads : torch threads; None leaves torch's setting. A sample function that costs as much as a step needs a
        core of its own: on two cores, one thread then trains faster than two.
    """

    epochs: int = 10
    samples_per_epoch: int = 3000
    batch_size: int = 32
    learning_rate: float = 5e-3
    weight_decay: float = 1e-4
    gradient_clip: float = 1.0
    patience: int | None = None
    seed: int = 0
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "samples_per_epoch", "batch_size", "patience", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for name in ("learning_rate", "gradient_clip"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be positive and finite, got {value}")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError(f"weight_decay must not be negative, got {self.weight_decay}")


@dataclass(frozen=True)
class Epoch:
    """One line of a training's history. `validation_score` is the accuracy, or the rmse in standardised units."""

    train_loss: float
    validation_loss: float
    validation_score: float
    learning_rate: float


@dataclass(frozen=True)
class TrainingResult:
    """What a training reports; the trained weights are in the network itself.

    `best_epoch` is the index into `history` of the epoch whose weights were kept, `seconds` the wall time.
    """

    history: tuple[Epoch, ...]
    best_epoch: int
    stopped_early: bool
    seconds: float


class SampleStream(IterableDataset[tuple[npt.NDArray[np.float32], npt.ArrayLike]]):
    """The endless stream sample(0), sample(1), ... for a torch DataLoader; worker w of n takes w, w + n, ...

    Any number of workers therefore gives every sample exactly once.
    """

    def __init__(self, sample: Sample, *, start: int = 0) -> None:
        self.sample = sample
        self.start = start

    def __iter__(self) -> Iterator[tuple[npt.NDArray[np.float32], npt.ArrayLike]]:
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        index = self.start + first
        while True:
            yield self.sample(index)
            index += step


def train(
    network: Network,
    *,
    sample: Sample,
    validation: tuple[npt.ArrayLike, npt.ArrayLike],
    loss: Loss | None = None,
    settings: TrainingSettings | None = None,
    checkpoint: Path | str | None = None,
    description: Mapping[str, Any] | None = None,
    progress: Literal["bar", "silent"] = "bar",
) -> TrainingResult:
    """Trains a network in place, leaves in it the weights of the best epoch, and returns the history.

    AdamW with a one-cycle learning rate. The best epoch is that of the lowest validation loss. torch's random state,
    its number of threads and the network's training or evaluation mode are as before afterwards.

    Parameters
    ----------
    network : trained where it is (move it to a GPU first to train there).
    sample : returns sample number i, (image, target), as a pure function of i = 0, 1, 2, ...; it is called in
        increasing order from one background thread. image : float32 of `network.config.image_shape`; target : class
        index, or (p,) parameter values in standardised units.
    validation : (images, targets) of samples, and models, that `sample` never returns.
    loss : "cross-entropy" for a classifier or "gaussian", the negative log-likelihood of a normal distribution
        without its constant, for a regressor; None takes the one that fits the network.
    settings : see `TrainingSettings`.
    checkpoint : file to write when the training has ended well. Until then an older file stays as it is.
    description : values for the checkpoint's reader, whatever JSON can hold.
    progress : "bar" on the error stream, or "silent".

    Examples
    --------
    >>> def sample(index):
    ...     image = np.random.default_rng((1, index)).random((60, 40, 40), dtype=np.float32)
    ...     image[7, 20, 20] += 9 * (index % 2)
    ...     return image, index % 2
    >>> held_out = [sample(index) for index in range(10**9, 10**9 + 64)]
    >>> validation = (np.stack([image for image, _ in held_out]), [target for _, target in held_out])
    >>> result = train(CellClassifier(), sample=sample, validation=validation)  # doctest: +SKIP
    """
    settings = TrainingSettings() if settings is None else settings
    _check_loss(network, loss)
    if checkpoint is not None and not Path(checkpoint).parent.is_dir():
        raise ValueError(f"the folder of checkpoint {checkpoint} does not exist")
    _plain(description)  # a description that cannot be stored is an error now, not after the training
    images = check_images(validation[0], network.config.image_shape)
    targets = _validation_targets(network, validation[1], count=len(images))

    history: list[Epoch] = []
    best_epoch, best_state = 0, network.state_dict()
    steps = math.ceil(settings.samples_per_epoch / settings.batch_size)
    started = time.perf_counter()
    with _torch_state_restored(network, settings):
        optimizer = torch.optim.AdamW(network.parameters(), weight_decay=settings.weight_decay)
        bar = tqdm(total=settings.epochs * steps, unit="batch", disable=progress == "silent")
        with bar, closing(_batches(network, sample, settings)) as batches:
            for epoch in range(settings.epochs):
                rates = [
                    settings.learning_rate * _one_cycle(step, settings.epochs * steps)
                    for step in range(epoch * steps, (epoch + 1) * steps)
                ]
                train_loss = _learn(network, optimizer, batches, rates, clip=settings.gradient_clip, bar=bar)
                validation_loss, score = _evaluate(network, images, targets)
                if not (math.isfinite(train_loss) and math.isfinite(validation_loss)):
                    raise RuntimeError(
                        f"training diverged in epoch {epoch}: training loss {train_loss}, validation loss "
                        f"{validation_loss}; try a learning_rate below {settings.learning_rate}"
                    )
                history.append(Epoch(train_loss, validation_loss, score, learning_rate=rates[-1]))
                bar.set_postfix(validation_loss=f"{validation_loss:.4f}", score=f"{score:.4f}")
                if epoch == 0 or validation_loss < history[best_epoch].validation_loss:
                    best_epoch, best_state = epoch, copy.deepcopy(network.state_dict())
                elif settings.patience is not None and epoch - best_epoch >= settings.patience:
                    break
        network.load_state_dict(best_state)
    if checkpoint is not None:
        save_checkpoint(checkpoint, network, description=description, history=history)
    stopped_early = len(history) < settings.epochs
    return TrainingResult(tuple(history), best_epoch, stopped_early, time.perf_counter() - started)


@overload
def predict(network: CellClassifier, images: npt.ArrayLike, *, batch_size: int = 64) -> npt.NDArray[np.float64]: ...
@overload
def predict(
    network: MapRegressor, images: npt.ArrayLike, *, batch_size: int = 64
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]: ...
def predict(
    network: Network, images: npt.ArrayLike, *, batch_size: int = 64
) -> npt.NDArray[np.float64] | tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Class probabilities, or the means and standard deviations of parameters, for a batch of images.

    Parameters
    ----------
    images : (n,) + network.config.image_shape.
    batch_size : images in one pass; it changes memory and time, not the result beyond rounding.

    Returns
    -------
    For a classifier (n, classes) float64, rows of sum 1. For a regressor (mean, sigma), each (n, p) float64, in
    standardised units. Neither is calibrated.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    checked = check_images(images, network.config.image_shape)
    output = _outputs(network, checked, batch_size=batch_size).double()
    if isinstance(network, CellClassifier):
        probabilities: npt.NDArray[np.float64] = torch.softmax(output, dim=1).numpy()
        return probabilities
    mean, log_variance = output.chunk(2, dim=1)
    return mean.numpy().copy(), torch.exp(0.5 * log_variance).numpy()


def save_checkpoint(
    path: Path | str,
    network: Network,
    *,
    description: Mapping[str, Any] | None = None,
    history: Sequence[Epoch] = (),
) -> None:
    """Writes a network to a file that is either complete or, after any interruption, as it was before.

    The file holds only tensors, numbers and text, so reading it runs no code.
    """
    path = Path(path)
    content = {
        "format": _FORMAT,
        "network": type(network).__name__,
        "config": _plain(asdict(network.config)),
        "state": {name: value.cpu() for name, value in network.state_dict().items()},
        "description": _plain(description),
        "history": [asdict(epoch) for epoch in history],
    }
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load_checkpoint(path: Path | str) -> tuple[Network, dict[str, Any]]:
    """The network of a checkpoint file, on the CPU and in evaluation mode, and its description."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint file {path}")
    if not zipfile.is_zipfile(path):  # what torch.save writes
        raise ValueError(f"{path} is not a checkpoint of insdl: not a file of torch.save, or cut short")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise ValueError(f"expected a dictionary of format {_FORMAT!r}")
        network = _rebuilt(content["network"], content["config"])
        network.load_state_dict(content["state"])
        description = dict(content["description"])
    except Exception as error:  # torch.load raises what the bytes happen to provoke
        raise ValueError(f"{path} is not a checkpoint of insdl: {error}") from error
    return network.eval(), description


def _rebuilt(name: str, config: Mapping[str, Any]) -> Network:
    options = dict(config)
    outputs = options.pop("outputs")
    if name == "CellClassifier":
        return CellClassifier(classes=outputs, **options)
    if name == "MapRegressor":
        return MapRegressor(parameters=outputs, **options)
    raise ValueError(f"unknown network {name!r}")


def _plain(description: Mapping[str, Any] | None) -> dict[str, Any]:
    """The description as JSON gives it back: dictionaries, lists, text, numbers."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps({} if description is None else dict(description)))
    except (TypeError, ValueError) as error:
        raise ValueError(f"description must hold only what JSON can: {error}") from error
    return plain


@contextmanager
def _torch_state_restored(network: Network, settings: TrainingSettings) -> Iterator[None]:
    """Seeds torch and sets its threads; puts back both, and the network's mode, whatever happens."""
    threads = torch.get_num_threads()
    with evaluation_mode(network), torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(settings.seed)
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _batches(
    network: Network, sample: Sample, settings: TrainingSettings
) -> Generator[tuple[Tensor, Tensor], None, None]:
    """Batches in order, each made in a background thread while the caller works on the one before."""

    def draw(indices: range) -> tuple[Tensor, Tensor]:
        images = np.empty((len(indices), *network.config.image_shape), np.float32)
        targets = [_drawn(network, sample, index, out=images[i]) for i, index in enumerate(indices)]
        return torch.from_numpy(images), torch.from_numpy(np.stack(targets))

    size, total = settings.batch_size, settings.samples_per_epoch
    epochs = (range(epoch * total, (epoch + 1) * total) for epoch in range(settings.epochs))
    pending: Future[tuple[Tensor, Tensor]] | None = None
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="insdl-samples") as pool:
        for indices in (epoch[start : start + size] for epoch in epochs for start in range(0, total, size)):
            following = pool.submit(draw, indices)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()


def _learn(
    network: Network,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[tuple[Tensor, Tensor]],
    rates: Sequence[float],
    *,
    clip: float,
    bar: tqdm[Any],
) -> float:
    """One step for each learning rate in `rates`; returns the mean loss over the samples seen."""
    device = next(network.parameters()).device
    network.train()
    total, count = 0.0, 0
    for rate in rates:
        images, targets = next(batches)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss = _loss(network(images.to(device)), targets.to(device))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
        optimizer.step()
        total, count = total + loss.item() * len(images), count + len(images)
        bar.update()
    return total / count


def _drawn(network: Network, sample: Sample, index: int, *, out: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """Sample number `index`: its image written to `out`, its target returned."""
    image, target = sample(index)
    if np.shape(image) != out.shape:
        raise ValueError(f"sample({index}) must give an image of shape {out.shape}, got {np.shape(image)}")
    out[...] = image
    if not np.isfinite(out).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(out))[0])
        raise ValueError(f"sample({index}) must give a finite image, got {out[where]} at pixel {where}")
    return _target(network, target, giver=f"sample({index})")


def _target(network: Network, target: npt.ArrayLike, *, giver: str) -> npt.NDArray[Any]:
    value, outputs = np.asarray(target), len(network.config.outputs)
    if isinstance(network, CellClassifier):
        if value.ndim != 0 or value.dtype.kind not in "iu" or not 0 <= value < outputs:
            raise ValueError(f"{giver} must give a class index from 0 to {outputs - 1}, got {target!r}")
        return value.astype(np.int64)
    if value.shape != (outputs,) or value.dtype.kind not in "iuf" or not np.isfinite(value).all():
        raise ValueError(f"{giver} must give {outputs} finite parameter values, got {target!r}")
    return value.astype(np.float32)


def _validation_targets(network: Network, targets: npt.ArrayLike, *, count: int) -> Tensor:
    rows = np.asarray(targets)
    if count == 0 or rows.ndim == 0 or len(rows) != count:
        raise ValueError(
            f"validation must hold as many targets as images, and one at least, got {rows.shape} "
            f"targets for {count} images"
        )
    return torch.from_numpy(np.stack([_target(network, row, giver=f"validation[{i}]") for i, row in enumerate(rows)]))


def _check_loss(network: Network, loss: Loss | None) -> None:
    fitting = "cross-entropy" if isinstance(network, CellClassifier) else "gaussian"
    if loss is not None and loss != fitting:
        raise ValueError(f"loss must be {fitting!r} for a {type(network).__name__}, got {loss!r}")


def _loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean loss of a batch; integer targets are classes, others are parameter values."""
    if not target.is_floating_point():
        return functional.cross_entropy(output, target)
    mean, log_variance = output.chunk(2, dim=1)
    return 0.5 * (log_variance + (target - mean) ** 2 * torch.exp(-log_variance)).mean()


def _evaluate(network: Network, images: npt.NDArray[np.float32], targets: Tensor) -> tuple[float, float]:
    """Loss, and accuracy or rmse, of a data set."""
    output = _outputs(network, images, batch_size=64)
    if isinstance(network, CellClassifier):
        score = (output.argmax(dim=1) == targets).double().mean()
    else:
        score = ((output.chunk(2, dim=1)[0] - targets) ** 2).double().mean().sqrt()
    return _loss(output, targets).item(), score.item()


def _outputs(network: Network, images: npt.NDArray[np.float32], *, batch_size: int) -> Tensor:
    """What the network makes of images in evaluation mode, on the CPU."""
    device = next(network.parameters()).device
    with evaluation_mode(network), torch.no_grad():
        parts = [
            network(torch.from_numpy(images[start : start + batch_size]).to(device)).cpu()
            for start in range(0, max(1, len(images)), batch_size)
        ]
    return torch.cat(parts)


def _one_cycle(step: int, steps: int) -> float:
    """Learning rate of step 0 <= step < steps over its peak: a cosine up for a quarter, a cosine down to almost 0."""
    rise = max(1, steps // 4)
    if step < rise:
        return 0.5 - 0.48 * math.cos(math.pi * step / rise)
    return 0.5 + 0.5 * math.cos(math.pi * (step - rise) / (steps - rise))
