"""Batches for training, from a store or simulated while the network learns: the same ones for any number of workers.

Every rank, worker and restart works out from (seed, epoch, position) which samples come next, so that nothing has to be passed
on: no sample is lost or comes twice, and a training that was cut off goes on with the batch it would have had.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from insdl.dataset.order import EpochOrder, rank_positions
from insdl.dataset.reader import Detect, ImageReader, detected
from insdl.dataset.source import GOOD


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

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return self._batches.a_epoch

    @property
    def epoch(self) -> int:
        """The epoch that iterating goes on with."""
        return self._epoch

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

    def _in_processes(self, wanted: list[tuple[int, int]]) -> Iterator[Batch]:
        loader: DataLoader[Batch] = DataLoader(
            self._batches,
            batch_size=None,
            sampler=wanted,  # type: ignore[arg-type]  # any sequence of keys
            num_workers=self._workers,
            prefetch_factor=self._ahead,
            multiprocessing_context="spawn",  # threads of the kernel and open files do not survive a fork
        )
        yield from loader


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

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        epoch, number = key
        positions = self.positions[number * self.batch_size : (number + 1) * self.batch_size]
        indices = self.order.indices(epoch, positions)
        samples = self.reader.read(indices.tolist())
        if self.detect is not None:
            seed, stream = self.order.seed, self.order.stream
            samples = detected(samples, indices.tolist(), self.detect, seed=seed, stream=stream, epoch=epoch)
        good = samples.status == GOOD
        arrays = (samples.images, samples.labels, samples.parameters, samples.settings, indices)
        return Batch(*(torch.from_numpy(np.ascontiguousarray(values[good])) for values in arrays))


def _in_thread(batches: _Batches, wanted: list[tuple[int, int]], ahead: int) -> Iterator[Batch]:
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
        for item in iter(made.get, None):
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()


def endless(stream: ImageStream) -> Iterator[Batch]:
    """Epoch after epoch, for a training that counts steps."""
    return itertools.chain.from_iterable(iter(stream) for _ in itertools.count())
