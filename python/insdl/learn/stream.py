"""Batches for training, from a store or simulated while the network learns: the same ones for any number of workers.

Every rank, worker and restart works out from (seed, epoch, position) which samples come next, so that nothing has to be passed
on: no sample is lost or comes twice, and a training that was cut off goes on with the batch it would have had.
"""

from __future__ import annotations

import atexit
import json
import os
import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.context import SpawnContext
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from insdl.dataset.order import EpochOrder, rank_positions
from insdl.dataset.reader import Detect, ImageReader, StoreReader, detected, good
from insdl.dataset.source import Samples


class Batch(NamedTuple):
    """A batch for training.

    images : (n, ...) float32. What `detect` makes of the expected images, or these themselves.
    labels : (n,) int64. parameters : (n, n_parameters) float64, meV. settings : (n, n_settings) float64.
    indices : (n,) int64. Which samples these are.
    """

    images: Tensor
    labels: Tensor
    parameters: Tensor
    settings: Tensor
    indices: Tensor


@dataclass(frozen=True)
class Rank:
    """Which of several trainings side by side, as torchrun numbers them; what to do with samples that do not go round."""

    rank: int = 0
    world_size: int = 1
    tail: Literal["keep", "drop"] = "keep"

    def positions(self, n: int) -> range:
        """The positions of an epoch of ``n`` that are this rank's."""
        return rank_positions(n, rank=self.rank, world_size=self.world_size, tail=self.tail)


class ImageStream:
    """Batches of a reader's samples, epoch by epoch; iterating gives what is left of the current epoch.

    Parameters
    ----------
    reader : a `StoreReader`, or a `SourceReader` to simulate while training.
    order : `EpochOrder`. Which samples, in which order.
    batch_size : samples of a batch; the last of an epoch may have fewer, and samples without an image are left out.
    detect : (image, rng) -> network input, drawn anew in every epoch; None for the expected images.
    rank : `Rank`. Batches of one rank; all ranks together have every sample once.
    workers : 0 makes batches in a thread of this process, n in n processes of a DataLoader. The batches are the same.
    ahead : batches made ahead, in all with 0 workers and for each worker otherwise.

    Examples
    --------
    >>> from insdl.dataset.configuration import load_source
    >>> from insdl.dataset.reader import SourceReader
    >>> reader = SourceReader(load_source("rb2mnf4", n_samples=6))
    >>> stream = ImageStream(reader, EpochOrder(0, 6, shard_size=6, seed=0), batch_size=4)
    >>> [len(batch.labels) for batch in stream]
    [4, 2]
    """

    def __init__(
        self,
        reader: ImageReader,
        order: EpochOrder,
        *,
        batch_size: int,
        detect: Detect | None = None,
        rank: Rank | None = None,
        workers: int = 0,
        ahead: int = 4,
    ) -> None:
        if order.end > reader.n_samples:
            raise ValueError(f"the order goes up to sample {order.end - 1}, but the reader has {reader.n_samples}")
        if batch_size < 1 or workers < 0 or ahead < 1:
            raise ValueError(
                f"batch_size and ahead must be at least 1, workers not negative, got {batch_size}, {ahead}, {workers}"
            )
        rank = Rank() if rank is None else rank
        self._batches = _Batches(reader, order, batch_size, detect, rank)
        self._workers, self._ahead = workers, ahead
        self._epoch, self._done = 0, 0
        self._loader: DataLoader[Batch] | None = None

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return self._batches.a_epoch

    @property
    def epoch(self) -> int:
        """The epoch that iterating goes on with."""
        return self._epoch

    @property
    def rank(self) -> Rank:
        """The rank whose batches these are."""
        return self._batches.rank

    def manifest(self) -> dict[str, Any]:
        """What the batches of all ranks are made of, as plain values: a record for whatever is trained on them."""
        return self._batches.manifest()

    def __iter__(self) -> Iterator[Batch]:
        epoch, done = self._epoch, self._done
        wanted = [(epoch, batch) for batch in range(done, len(self))]
        made = self._in_processes(wanted) if self._workers else _in_thread(self._batches, wanted, self._ahead)
        with closing(made):
            for number, batch in enumerate(made, start=done + 1):
                # Counted before it is handed out: a state saved while the batch is in use goes on with the next one.
                self._epoch, self._done = (epoch, number) if number < len(self) else (epoch + 1, 0)
                if len(batch.labels):
                    yield batch

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, and what it must be for that to mean the same."""
        return {"epoch": self._epoch, "batches_done": self._done, **self._batches.identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on after the batch that was handed out last when ``state`` was taken.

        Raises
        ------
        ValueError
            If the state is that of a stream with other samples, order, batches or ranks.
        """
        own = self._batches.identity()
        for name, value in own.items():
            if state.get(name) != value:
                raise ValueError(f"the state is of a stream with {name} {state.get(name)!r}, this one has {value!r}")
        epoch, done = state["epoch"], state["batches_done"]
        if epoch < 0 or not 0 <= done < max(1, len(self)):
            raise ValueError(f"the state stands at batch {done} of epoch {epoch}, but an epoch has {len(self)}")
        self._epoch, self._done = epoch, done

    def _in_processes(self, wanted: list[tuple[int, int]]) -> Generator[Batch, None, None]:
        """The batches in order, from workers that stay from one epoch to the next: starting them takes seconds."""
        if self._loader is None:
            self._keys = _Keys()
            self._loader = DataLoader(
                self._batches,
                batch_size=None,
                sampler=self._keys,
                num_workers=self._workers,
                prefetch_factor=self._ahead,
                persistent_workers=True,
                multiprocessing_context=_Workers(),
                worker_init_fn=_leave_at_once,
            )
        self._keys.wanted = wanted
        yield from self._loader


class _Workers(SpawnContext):
    """Starts workers anew: threads of the kernel and open files do not survive a fork.

    torch tells the threads that send wanted batches to its workers to end without being waited for. One that ends together
    with the interpreter may lose the message that its semaphores are gone, and Python warns of leaked ones. What they send
    is a few bytes, so that waiting for them takes no time.
    """

    def Queue(self, maxsize: int = 0) -> Any:
        """A queue whose thread is waited for when the process ends."""
        made: Any = super().Queue(maxsize)
        made.cancel_join_thread = _wait_for_it
        return made


def _wait_for_it() -> None:
    """In place of not waiting."""


def _leave_at_once(_: int) -> None:
    """Lets a worker end without taking its interpreter down.

    A batch that nobody wants any more may still be on its way in a thread of torch, which an interpreter that is going down
    ends in the middle of C++ code: the process then aborts, and torch reports a worker that was killed.
    """
    atexit.register(os._exit, 0)


class _Keys(Sampler[tuple[int, int]]):
    """The batches that the DataLoader is to make next."""

    wanted: Sequence[tuple[int, int]] = ()

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self.wanted)


class _Batches(Dataset[Batch]):
    """Batch number b of epoch e, made from nothing but its number; pickled to the workers."""

    def __init__(
        self, reader: ImageReader, order: EpochOrder, batch_size: int, detect: Detect | None, rank: Rank
    ) -> None:
        self.reader, self.order, self.batch_size, self.detect, self.rank = reader, order, batch_size, detect, rank
        self.positions = rank.positions(len(order))
        self.a_epoch = -(-len(self.positions) // batch_size)

    def identity(self) -> dict[str, Any]:
        """What the numbering of batches depends on, as plain values."""
        return {
            **{name: getattr(self.order, name) for name in self.order.__dataclass_fields__},
            **{name: getattr(self.rank, name) for name in self.rank.__dataclass_fields__},
            "batch_size": self.batch_size,
        }

    def manifest(self) -> dict[str, Any]:
        """`identity` without the rank, and what the reader and the detection are."""
        identity = {name: value for name, value in self.identity().items() if name != "rank"}
        detect = None if self.detect is None else name_of(self.detect)
        return {**identity, "n_samples": self.reader.n_samples, "data": described(self.reader), "detect": detect}

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        epoch, number = key
        positions = self.positions[number * self.batch_size : (number + 1) * self.batch_size]
        indices = self.order.indices(epoch, positions)
        images: npt.NDArray[np.float32] | None = None
        found: list[Samples] = []
        numbers: list[int] = []

        def place(shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
            """Where the images of the next samples go in those of the batch."""
            nonlocal images
            if images is None:
                images = np.empty((len(indices), *shape[1:]), dtype=np.float32)
            return images[len(numbers) : len(numbers) + shape[0]]

        step = self.reader.at_once or max(1, len(indices))
        for begin in range(0, max(1, len(indices)), step):  # few enough to stay in the cache until they are detected
            wanted = indices[begin : begin + step].tolist()
            samples, kept = good(self.reader.read(wanted), wanted)
            if self.detect is not None and kept:
                seed, stream = self.order.seed, self.order.stream
                detected(samples.images, kept, self.detect, seed=seed, stream=stream, epoch=epoch, place=place)
            elif kept:
                place(samples.images.shape)[:] = samples.images
            found.append(samples)
            numbers += kept
        if images is None:
            images = found[0].images
        columns = ([getattr(one, name) for one in found] for name in ("labels", "parameters", "settings"))
        arrays = (images[: len(numbers)], *map(np.concatenate, columns), np.array(numbers, dtype=np.int64))
        return Batch(*(torch.from_numpy(np.ascontiguousarray(values)) for values in arrays))


def _in_thread(batches: _Batches, wanted: list[tuple[int, int]], ahead: int) -> Generator[Batch, None, None]:
    """The batches in order, made by a background thread that is at most ``ahead`` of them before the reader."""
    made: queue.Queue[Batch | BaseException | None] = queue.Queue(ahead)
    stop = threading.Event()

    def put(item: Batch | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                made.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for key in wanted:
                if not put(batches[key]):
                    return
            put(None)
        except BaseException as error:  # raised where the batch is asked for
            put(error)

    thread = threading.Thread(target=work, name="insdl-stream", daemon=True)
    thread.start()
    try:
        while (item := made.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()


class TrainingSamples:
    """Sample number i of an endless training, for `insdl.learn.train.train`: epoch after epoch of an order.

    Parameters
    ----------
    reader, order, detect : as in `ImageStream`.
    target : (batch, row) -> what the network is to say; by default the label.
    block : samples that are read in one call, so that a simulation has work for every thread.

    Notes
    -----
    Numbers are asked for in ascending order. A sample without an image is replaced by another of its block.
    """

    def __init__(
        self,
        reader: ImageReader,
        order: EpochOrder,
        *,
        detect: Detect | None = None,
        target: Callable[[Batch, int], npt.ArrayLike] | None = None,
        block: int = 32,
    ) -> None:
        if block < 1:
            raise ValueError(f"block must be at least 1, got {block}")
        self._batches = _Batches(reader, order, block, detect, Rank())
        self._target = _label if target is None else target
        self._held: tuple[int, Batch] | None = None

    def manifest(self) -> dict[str, Any]:
        """What the samples are made of, as plain values."""
        return {**self._batches.manifest(), "target": name_of(self._target)}

    def __call__(self, index: int) -> tuple[npt.NDArray[np.float32], npt.ArrayLike]:
        """The image and the target of sample number ``index`` of the training."""
        n, size = len(self._batches.order), self._batches.batch_size
        epoch, position = divmod(index, n)
        number = epoch * self._batches.a_epoch + position // size
        if self._held is None or self._held[0] != number:
            self._held = number, self._batches[epoch, position // size]
        batch = self._held[1]
        if not len(batch.labels):
            raise ValueError(f"none of the samples around number {index} of the training is stable")
        row = position % size % len(batch.labels)
        return batch.images[row].numpy(), self._target(batch, row)


def described(reader: ImageReader) -> dict[str, Any]:
    """What made a reader's samples, as plain values: the same for a simulation and a store of it."""
    if isinstance(reader, StoreReader):
        return dict(reader.store.configuration["source"])
    source = getattr(reader, "source", None)
    describe = getattr(source, "describe", None)
    return dict(json.loads(json.dumps(describe()))) if callable(describe) else {"reader": name_of(reader)}


def name_of(given: Any) -> str:
    """Module and name of a function or method, or of an object's class."""
    function = getattr(given, "__func__", given)
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def _label(batch: Batch, row: int) -> npt.ArrayLike:
    return int(batch.labels[row])
