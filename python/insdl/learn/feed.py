"""Where the batches of a training come from: a function that makes sample number i, or a stream."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import IterableDataset, get_worker_info

from insdl.learn.objective import Examples
from insdl.learn.stream import Batch, ImageStream, Rank, name_of

Sample = Callable[[int], tuple[npt.NDArray[np.float32], npt.ArrayLike]]
Target = Callable[[Batch], npt.ArrayLike | torch.Tensor]
Checked = Callable[[npt.ArrayLike, str], npt.NDArray[Any]]
"""(target of one sample, who gave it) -> the target as an array; raises ValueError."""


class Feed(Protocol):
    """The batches of one rank, by their numbers."""

    @property
    def steps(self) -> int:
        """Batches of an epoch, the same for every rank."""
        ...

    def manifest(self) -> dict[str, Any]:
        """What the batches are made of, as plain values; the same for every rank."""
        ...

    def batches(self, epoch: int, done: int) -> Generator[Any, None, None]:
        """All batches after the first ``done`` of an epoch, epoch after epoch without end; None for one without samples."""
        ...


@dataclass(frozen=True)
class SampleFeed:
    """Batches of a sample function, each made in a background thread while the network learns from the one before.

    Parameters
    ----------
    sample : see `insdl.learn.train.train`.
    image_shape : of one image.
    checked : what is done with each target.
    batch_size : of each rank. A batch of all ranks together is dealt out to them one by one.
    samples_per_epoch : of all ranks together; what does not go round is left out.
    epochs : how many there are: no samples are made ahead beyond the last.
    rank : which part of each batch is made here.
    """

    sample: Sample
    image_shape: tuple[int, ...]
    checked: Checked
    batch_size: int
    samples_per_epoch: int
    epochs: int
    rank: Rank

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return math.ceil(self._usable / (self.batch_size * self.rank.world_size))

    @property
    def _usable(self) -> int:
        return self.samples_per_epoch - self.samples_per_epoch % self.rank.world_size

    def manifest(self) -> dict[str, Any]:
        """The sample function's own manifest, or its name."""
        own = getattr(self.sample, "manifest", None)
        return {"samples": own() if callable(own) else name_of(self.sample)}

    def batches(self, epoch: int, done: int) -> Generator[Examples, None, None]:
        """The batches in order, one of them ahead."""
        size, world = self.batch_size * self.rank.world_size, self.rank.world_size
        wanted = (
            range(number * self.samples_per_epoch, number * self.samples_per_epoch + self._usable)[start : start + size]
            for number in range(epoch, self.epochs)
            for start in range(done * size if number == epoch else 0, self._usable, size)
        )
        pending: Future[Examples] | None = None
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="insdl-samples") as pool:
            for indices in wanted:
                following = pool.submit(self._draw, indices[self.rank.rank :: world])
                if pending is not None:
                    yield pending.result()
                pending = following
            if pending is not None:
                yield pending.result()

    def first(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
        """Sample number 0, by which a training is told from another."""
        images = np.empty((1, *self.image_shape), np.float32)
        target = self._drawn(0, out=images[0])
        return images, target

    def _draw(self, indices: range) -> Examples:
        images = np.empty((len(indices), *self.image_shape), np.float32)
        targets = [self._drawn(index, out=images[i]) for i, index in enumerate(indices)]
        return Examples(torch.from_numpy(images), torch.from_numpy(np.stack(targets)))

    def _drawn(self, index: int, *, out: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """Sample number `index`: its image written to `out`, its target returned."""
        image, target = self.sample(index)
        if np.shape(image) != out.shape:
            raise ValueError(f"sample({index}) must give an image of shape {out.shape}, got {np.shape(image)}")
        out[...] = image
        if not np.isfinite(out).all():
            where = tuple(int(i) for i in np.argwhere(~np.isfinite(out))[0])
            raise ValueError(f"sample({index}) must give a finite image, got {out[where]} at pixel {where}")
        return self.checked(target, f"sample({index})")


@dataclass(frozen=True)
class StreamFeed:
    """Batches of an `ImageStream`, whose position is set here: epoch e of the training is epoch e of the stream.

    Parameters
    ----------
    stream : of this rank.
    image_shape : of one image.
    target : batch -> targets, (n, ...); None gives a loss function the whole `Batch`, and anything else its labels.
    checked : what is done with each target; None for a loss function's whole batches.
    rank : which the stream must be for; with several, `tail` must be "drop".
    """

    stream: ImageStream
    image_shape: tuple[int, ...]
    target: Target | None
    checked: Checked | None
    rank: Rank

    def __post_init__(self) -> None:
        own = self.stream.rank
        if (own.rank, own.world_size) != (self.rank.rank, self.rank.world_size):
            raise ValueError(
                f"the stream is for rank {own.rank} of {own.world_size}, but this is rank {self.rank.rank} of "
                f"{self.rank.world_size}"
            )
        if own.world_size > 1 and own.tail != "drop":
            raise ValueError(f"ranks that train together need streams with tail 'drop', got {own.tail!r}")

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return len(self.stream)

    def manifest(self) -> dict[str, Any]:
        """The stream's own."""
        return {"stream": self.stream.manifest()}

    def batches(self, epoch: int, done: int) -> Generator[Batch | Examples | None, None, None]:
        """The batches in order, made ahead by the stream."""
        while True:
            self.stream.load_state_dict({**self.stream.state_dict(), "epoch": epoch, "batches_done": done})
            with closing(cast(Generator[Batch, None, None], iter(self.stream))) as given:
                for batch in given:
                    number = self.stream.state_dict()["batches_done"] or self.steps
                    for _ in range(done, number - 1):  # batches without a sample, which a stream leaves out
                        yield None
                    done = number
                    yield examples(batch, self.image_shape, self.target, self.checked)
            for _ in range(done, self.steps):
                yield None
            epoch, done = epoch + 1, 0


def examples(
    batch: Batch, image_shape: tuple[int, ...], target: Target | None, checked: Checked | None
) -> Batch | Examples:
    """A stream's batch as images and checked targets; as it is where neither a target nor a check is wanted."""
    shape = tuple(batch.images.shape[1:])
    if shape != image_shape:
        raise ValueError(f"the stream must give images of shape {image_shape}, got {shape}")
    if not torch.isfinite(batch.images).all():
        row = int((~torch.isfinite(batch.images.flatten(1))).any(dim=1).nonzero()[0])
        raise ValueError(f"the stream must give finite images, got others in sample {int(batch.indices[row])}")
    if target is None and checked is None:
        return batch
    given = batch.labels if target is None else target(batch)
    rows = np.asarray(given)
    if rows.ndim == 0 or len(rows) != len(batch.images):
        raise ValueError(f"target must give {len(batch.images)} values for as many images, got shape {rows.shape}")
    check = any_target if checked is None else checked
    named = zip(rows, batch.indices.tolist(), strict=True)
    return Examples(
        batch.images, torch.from_numpy(np.stack([check(row, f"the stream's sample {i}") for row, i in named]))
    )


def any_target(target: npt.ArrayLike, giver: str) -> npt.NDArray[Any]:
    """A loss function's own target: int64 or float32, of any shape."""
    value = np.asarray(target)
    if value.dtype.kind not in "biuf":
        raise ValueError(f"{giver} must give numbers for a target, got {target!r}")
    return value.astype(np.float32 if value.dtype.kind == "f" else np.int64)


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
