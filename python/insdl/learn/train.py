"""Training of a network, from a function that makes sample number i or from a stream.

Samples are made in a background thread while the network learns from the batch before, so nothing but a few batches
is ever in memory. The same settings on the same number of threads of the same machine give the same weights, bit for
bit, whether or not the training was killed and started again.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt
import torch
from torch import Tensor, nn
from tqdm import tqdm

from insdl.learn import parallel
from insdl.learn.checkpoint import Checkpoint, Epoch, load_checkpoint, read_checkpoint, save_checkpoint
from insdl.learn.feed import Sample, SampleFeed, SampleStream, StreamFeed, Target
from insdl.learn.networks import evaluation_mode
from insdl.learn.objective import ObjectiveName
from insdl.learn.prediction import device_of, predict
from insdl.learn.registry import configuration, kind_of
from insdl.learn.resume import Progress, StateFile
from insdl.learn.settings import TrainingSettings, relative_rate
from insdl.learn.stream import Batch, ImageStream, Rank, name_of
from insdl.learn.task import LossFunction, Task, Validation, find_task
from insdl.learn.torch_file import digest, plain

__all__ = [
    "Checkpoint",
    "Epoch",
    "Loss",
    "LossFunction",
    "Sample",
    "SampleStream",
    "TrainingResult",
    "TrainingSettings",
    "load_checkpoint",
    "predict",
    "read_checkpoint",
    "save_checkpoint",
    "train",
]

Loss = ObjectiveName
"""Name of a loss."""


@dataclass(frozen=True)
class TrainingResult:
    """What a training reports; the trained weights are in the network itself.

    `best_epoch` is the index into `history` of the epoch whose weights were kept, `seconds` the wall time since the
    training was started, or started again.
    """

    history: tuple[Epoch, ...]
    best_epoch: int
    stopped_early: bool
    seconds: float


def train(
    network: nn.Module,
    *,
    sample: Sample | None = None,
    stream: ImageStream | None = None,
    target: Target | None = None,
    validation: tuple[npt.ArrayLike, npt.ArrayLike] | Sequence[Batch],
    loss: Loss | LossFunction | None = None,
    score: LossFunction | None = None,
    after_step: Callable[[nn.Module, Any], None] | None = None,
    settings: TrainingSettings | None = None,
    checkpoint: Path | str | None = None,
    state: Path | str | None = None,
    state_every: int = 200,
    description: Mapping[str, Any] | None = None,
    progress: Literal["bar", "silent"] = "bar",
) -> TrainingResult:
    """Trains a network in place, leaves in it the weights of the best epoch, and returns the history.

    AdamW (Loshchilov and Hutter, arXiv:1711.05101) with the learning rate that the settings say. The best epoch is that
    of the lowest validation loss. torch's random state, its number of threads and the network's device and mode are as
    before afterwards. Under torchrun (`insdl.learn.parallel.process_group`) the processes train together, and rank 0
    writes the files and shows progress.

    Parameters
    ----------
    network : anything with a `config`, see `insdl.learn.registry`.
    sample : returns sample number i, (image, target), as a pure function of i = 0, 1, 2, ...; it is called in
        increasing order from one background thread. image : float32 of `network.config.image_shape`; target : class
        index, or (p,) parameter values in standardised units, or what a loss function wants.
    stream : instead of `sample`; epoch e of the training is its epoch e, from 0 on.
    target : of a stream's batch, (n, ...); its labels where None, unless a loss function gets whole batches.
    validation : (images, targets), or a list of batches, of models that the training never gives. It chooses the epoch,
        so its score is not the one to report: that is of a test set, which is none of the business of this function.
    loss : a name, or (network, batch) -> mean loss of the batch. None takes the one that fits the network. batch :
        `insdl.learn.objective.Examples`, or the stream's own `Batch` where no `target` is given.
    score : (network, batch) -> mean of a number for people, for a loss function; its loss where None.
    after_step : called as (network, batch) after each step, in training mode and without gradients.
    settings : see `TrainingSettings`.
    checkpoint : file to write when the training has ended well. Until then an older file stays as it is.
    state : file to keep the state in, so that the same call goes on after a kill. It stays when the training has ended.
    state_every : batches between two writings of the state.
    description : values for the checkpoint's reader, whatever JSON can hold.
    progress : "bar" on the error stream, or "silent".

    Raises
    ------
    ValueError, TypeError
        If something does not fit; before any training where it can be known then. If `state` is of another training.
    RuntimeError
        If the loss is not finite any more.

    Examples
    --------
    >>> import numpy as np
    >>> from insdl.learn.networks import CellClassifier
    >>> def sample(index):
    ...     image = np.random.default_rng((1, index)).random((60, 40, 40), dtype=np.float32)
    ...     image[7, 20, 20] += 9 * (index % 2)
    ...     return image, index % 2
    >>> held_out = [sample(index) for index in range(10**9, 10**9 + 64)]
    >>> validation = (np.stack([image for image, _ in held_out]), [target for _, target in held_out])
    >>> result = train(CellClassifier(), sample=sample, validation=validation)  # doctest: +SKIP
    """
    settings = TrainingSettings() if settings is None else settings
    rank = parallel.current_rank()
    image_shape = tuple(configuration(network).image_shape)
    task = find_task(network, loss, score, whole_batches=stream is not None and target is None)
    feed = _feed(sample, stream, target, task, image_shape, settings, rank)
    _check_files(network, checkpoint, state, state_every, description)
    held_out = task.validation(validation, image_shape, target)
    device = _device(network, settings)

    started = time.perf_counter()
    with _surroundings(network, settings, device, rank):
        if rank.world_size > 1:
            parallel.share_weights(network)
        optimizer = torch.optim.AdamW(network.parameters(), weight_decay=settings.weight_decay)
        scaler = torch.amp.GradScaler("cuda", enabled=settings.precision == "float16")
        file = None
        if state is not None:
            identity = _identity(network, settings, task, feed, held_out, rank)
            file = StateFile(Path(state), state_every, identity, rank)
        at = Progress() if file is None else file.read(network, optimizer, scaler, device)
        steps = feed.steps
        bar = tqdm(
            total=settings.epochs * steps,
            initial=at.epoch * steps + at.batches,
            unit="batch",
            disable=progress == "silent" or rank.rank > 0,
        )
        with bar, closing(feed.batches(at.epoch, at.batches)) as batches:
            while not _ended(at, settings):
                while at.batches < steps:
                    rate = settings.learning_rate * relative_rate(
                        settings.schedule, at.epoch * steps + at.batches, settings.epochs * steps
                    )
                    for group in optimizer.param_groups:
                        group["lr"] = rate
                    network.train()
                    batch = _moved(next(batches), device)
                    mean_loss, count = _step(network, batch, task, optimizer, scaler, settings, device, rank)
                    if after_step is not None and count:
                        with torch.no_grad():
                            after_step(network, batch)
                    at.total, at.count = at.total + mean_loss * count, at.count + count
                    at.batches += 1
                    bar.update()
                    if file is not None and at.batches % file.every == 0 and at.batches < steps:
                        file.write(at, network, optimizer, scaler, device)
                _end_epoch(at, network, task, held_out, settings, rank, rate)
                bar.set_postfix(
                    validation_loss=f"{at.history[-1].validation_loss:.4f}",
                    score=f"{at.history[-1].validation_score:.4f}",
                )
                if file is not None:
                    file.write(at, network, optimizer, scaler, device)
        network.load_state_dict(at.best_state)
    if checkpoint is not None and rank.rank == 0:
        save_checkpoint(checkpoint, network, description=description, history=at.history, data=feed.manifest())
    if rank.world_size > 1:
        parallel.counts(0)  # nobody goes on before the files are written
    stopped_early = len(at.history) < settings.epochs
    return TrainingResult(tuple(at.history), at.best_epoch, stopped_early, time.perf_counter() - started)


def _feed(
    sample: Sample | None,
    stream: ImageStream | None,
    target: Target | None,
    task: Task,
    image_shape: tuple[int, ...],
    settings: TrainingSettings,
    rank: Rank,
) -> SampleFeed | StreamFeed:
    if (sample is None) == (stream is None):
        raise ValueError("give either a sample function or a stream, and not both")
    if stream is not None:
        if not len(stream):
            raise ValueError("the stream has no batches for this rank")
        return StreamFeed(stream, image_shape, target, None if task.whole_batches else task.checked, rank)
    if target is not None:
        raise ValueError("target is for a stream; a sample function gives its own")
    assert sample is not None
    if settings.samples_per_epoch < rank.world_size:
        raise ValueError(f"samples_per_epoch must be at least {rank.world_size}, one for each rank")
    return SampleFeed(
        sample, image_shape, task.checked, settings.batch_size, settings.samples_per_epoch, settings.epochs, rank
    )


def _check_files(
    network: nn.Module,
    checkpoint: Path | str | None,
    state: Path | str | None,
    state_every: int,
    description: Mapping[str, Any] | None,
) -> None:
    """What would go wrong after the training is an error before it."""
    for name, path in (("checkpoint", checkpoint), ("state", state)):
        if path is not None and not Path(path).parent.is_dir():
            raise ValueError(f"the folder of {name} {path} does not exist")
    if state_every < 1:
        raise ValueError(f"state_every must be at least 1, got {state_every}")
    plain(description, name="description")
    if checkpoint is not None and kind_of(network) is None:
        raise TypeError(f"a {type(network).__name__} cannot be built again from a file: register_network it first")


def _device(network: nn.Module, settings: TrainingSettings) -> torch.device:
    """Where to train."""
    found = device_of(network)
    if settings.device == "cpu" or (settings.device == "automatic" and not torch.cuda.is_available()):
        found = torch.device("cpu")
    elif settings.device != "as given" and found.type != "cuda":
        if not torch.cuda.is_available():
            raise ValueError("device 'cuda' was asked for, but torch finds no GPU here")
        found = torch.device("cuda", torch.cuda.current_device())
    if settings.precision == "float16" and found.type != "cuda":
        raise ValueError(f"precision 'float16' needs a GPU, got device {found.type!r}; 'bfloat16' works there")
    return found


@contextmanager
def _surroundings(network: nn.Module, settings: TrainingSettings, device: torch.device, rank: Rank) -> Iterator[None]:
    """Seeds torch, sets its threads and moves the network; puts all back, and the network's mode, whatever happens."""
    threads, before = torch.get_num_threads(), device_of(network)
    with ExitStack() as stack:
        stack.enter_context(evaluation_mode(network))
        stack.enter_context(torch.random.fork_rng(devices=[device] if device.type == "cuda" else []))
        stack.enter_context(torch.enable_grad())
        if rank.world_size > 1:
            stack.enter_context(parallel.synchronised_batch_norm(network))
        torch.manual_seed(settings.seed + (rank.rank << 32))  # another dropout on every rank
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        try:
            network.to(device)
            yield
        finally:
            network.to(before)
            torch.set_num_threads(threads)


def _identity(
    network: nn.Module,
    settings: TrainingSettings,
    task: Task,
    feed: SampleFeed | StreamFeed,
    held_out: Validation,
    rank: Rank,
) -> dict[str, Any]:
    """What makes two trainings the same, as plain values."""
    first = [torch.from_numpy(values) for values in feed.first()] if isinstance(feed, SampleFeed) else []
    return {
        "network": name_of(type(network)),
        "config": plain(asdict(configuration(network)), name="config"),  # type: ignore[call-overload]
        "initial weights": digest({name: value.cpu() for name, value in network.state_dict().items()}),
        "settings": asdict(settings),
        "loss": task.name,
        "data": plain(feed.manifest(), name="manifest"),
        "first sample": digest(first),
        "validation": held_out.digest(),
        "processes": rank.world_size,
    }


def _moved(batch: Any, device: torch.device) -> Any:
    return None if batch is None else type(batch)(*(values.to(device) for values in batch))


def _step(
    network: nn.Module,
    batch: Any,
    task: Task,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    settings: TrainingSettings,
    device: torch.device,
    rank: Rank,
) -> tuple[float, int]:
    """One step; returns the mean loss of the samples of all ranks before it, and how many they were."""
    own = 0 if batch is None else len(batch[0])
    everyone, fewest = parallel.counts(own) if rank.world_size > 1 else (own, own)
    if fewest == 0:  # for one rank without samples all skip: batch norm needs every rank
        return 0.0, 0
    optimizer.zero_grad()
    dtype = torch.float16 if settings.precision == "float16" else torch.bfloat16
    with torch.autocast(device.type, dtype=dtype, enabled=settings.precision != "float32"):
        loss = task.loss(network, batch)
    if rank.world_size > 1:
        loss = loss * (own / everyone)
    scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    if rank.world_size > 1:
        parallel.sum_gradients(network)
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_clip)
    scaler.step(optimizer)
    scaler.update()
    mean = loss.item()
    return (parallel.summed(mean) if rank.world_size > 1 else mean), everyone


def _end_epoch(
    at: Progress,
    network: nn.Module,
    task: Task,
    held_out: Validation,
    settings: TrainingSettings,
    rank: Rank,
    rate: float,
) -> None:
    """Looks at the validation set, keeps the weights if they are the best so far, and turns to the next epoch."""
    if not at.count:
        raise ValueError(f"no batch of epoch {at.epoch} has a sample")
    train_loss = at.total / at.count
    validation_loss, score = held_out.evaluate(network, task) if rank.rank == 0 else (0.0, 0.0)
    if rank.world_size > 1:
        validation_loss, score = parallel.from_rank_0([validation_loss, score])
    if not (math.isfinite(train_loss) and math.isfinite(validation_loss)):
        raise RuntimeError(
            f"training diverged in epoch {at.epoch}: training loss {train_loss}, validation loss "
            f"{validation_loss}; try a learning_rate below {settings.learning_rate}"
        )
    at.history.append(Epoch(train_loss, validation_loss, score, learning_rate=rate))
    if at.epoch == 0 or validation_loss < at.history[at.best_epoch].validation_loss:
        state: dict[str, Tensor] = {name: value.cpu() for name, value in network.state_dict().items()}
        at.best_epoch, at.best_state = at.epoch, copy.deepcopy(state)
    at.epoch, at.batches, at.total, at.count = at.epoch + 1, 0, 0.0, 0


def _ended(at: Progress, settings: TrainingSettings) -> bool:
    """Whether all epochs are over, or too many without a better one."""
    patient = settings.patience is None or at.epoch - 1 - at.best_epoch < settings.patience
    return at.epoch >= settings.epochs or (at.epoch > 0 and not patient)
