"""Samples by number, from a store or simulated when asked for: the same ones, bit for bit."""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from insdl.dataset.randomness import generator
from insdl.dataset.shard import ShardFile, singles, stored
from insdl.dataset.source import GOOD, Samples, SampleSource, checked_indices
from insdl.dataset.store import open_store

_FEW = 4  # samples that stay in a processor's cache until they are detected

Detect = Callable[[npt.NDArray[np.float32], np.random.Generator], npt.NDArray[np.float32]]
"""What the detection makes of an expected image, of any shape; random numbers from the generator given alone."""


@runtime_checkable
class WritingDetect(Protocol):
    """A `Detect` that can write what it makes to where it is wanted."""

    def __call__(self, image: npt.NDArray[np.float32], rng: np.random.Generator, /) -> npt.NDArray[np.float32]: ...

    def output_shape(self, image_shape: tuple[int, ...], /) -> tuple[int, ...]:
        """The shape of what is made of an image of ``image_shape``."""
        ...

    def into(self, image: npt.NDArray[np.float32], rng: np.random.Generator, out: npt.NDArray[np.float32], /) -> None:
        """Writes what calling it gives to ``out``, C-contiguous."""
        ...


class ImageReader(Protocol):
    """Samples by number, before detection; images are float32 numbers that float16 holds."""

    @property
    def n_samples(self) -> int: ...
    @property
    def shard_size(self) -> int: ...
    @property
    def at_once(self) -> int:
        """Samples worth reading in one call; 0 for as many as are wanted."""
        ...

    def read(self, indices: Sequence[int]) -> Samples:
        """The samples of ``indices`` in that order."""
        ...


class SourceReader:
    """Reads by simulating: no disk. What it gives is what a store of the source would hold.

    Parameters
    ----------
    source : what makes the samples. threads : of the kernel; None for all processors.
    remembered : samples kept in memory, as float16, so that later epochs need not simulate them again; 0 for none.
    """

    def __init__(self, source: SampleSource, *, threads: int | None = None, remembered: int = 0) -> None:
        if remembered < 0:
            raise ValueError(f"remembered must not be negative, got {remembered}")
        self.source, self.threads, self.remembered = source, threads, remembered
        self.n_samples = source.n_samples
        self.shard_size = 1024  # no files: as many as are worth shuffling together
        self._memory: OrderedDict[int, tuple[npt.NDArray[Any], ...]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def at_once(self) -> int:
        """Few where all samples are remembered; a simulation has work for every thread."""
        return _FEW if len(self._memory) == self.n_samples else 0

    def __reduce__(self) -> tuple[Any, ...]:  # another process remembers for itself
        return _source_reader, (self.source, self.threads, self.remembered)

    def read(self, indices: Sequence[int]) -> Samples:
        """The samples of ``indices`` in that order."""
        numbers = checked_indices(indices, self.n_samples)
        with self._lock:
            new = [index for index in dict.fromkeys(numbers) if index not in self._memory]
            made = self.source.make(new if self.remembered else numbers, threads=self.threads)
            halves = stored(made.images, new if self.remembered else numbers)
            if not self.remembered:
                return replace(made, images=singles(halves))
            columns = (halves, made.labels, made.parameters, made.settings, made.attempts, made.status)
            for row, index in enumerate(new):
                self._memory[index] = tuple(np.array(column[row]) for column in columns)
            found = [self._memory[index] for index in numbers]
            while len(self._memory) > self.remembered:
                self._memory.popitem(last=False)
        if not found:
            return replace(made, images=singles(halves))
        images, *others = (np.stack(column) for column in zip(*found, strict=True))
        return Samples(singles(images), *others)


class StoreReader:
    """Reads the samples of a data set on disk; a store of parameters alone simulates its images anew.

    Parameters
    ----------
    folder : of the data set.
    source : what made it; needed only where the store holds no images.
    threads : of the kernel, for images that are simulated.
    open_shards : files kept open at a time.

    Raises
    ------
    ValueError
        If the folder holds no data set, or the source is not the one that made it.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        source: SampleSource | None = None,
        threads: int | None = None,
        open_shards: int = 16,
    ) -> None:
        self.store = open_store(folder)
        self.n_samples, self.shard_size = self.store.n_samples, self.store.shard_size
        self.source, self.threads, self.open_shards = source, threads, open_shards
        self.at_once = _FEW if self.store.form.content == "images" else 0
        if self.store.form.content == "parameters":
            if source is None:
                raise ValueError(f"{folder} holds parameters alone: give the source that made them")
            if json.loads(json.dumps(source.describe())) != self.store.configuration["source"]:
                raise ValueError(f"{folder} was made by another source than the one given, {source.name!r}")
        self._opened: OrderedDict[int, tuple[ShardFile, dict[str, npt.NDArray[Any]]]] = OrderedDict()
        self._process, self._lock = os.getpid(), threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:  # files are opened anew in another process
        return _reader, (str(self.store.folder), self.source, self.threads, self.open_shards)

    def read(self, indices: Sequence[int]) -> Samples:
        """The samples of ``indices`` in that order.

        Raises
        ------
        ValueError
            If one is not there yet, or what the source makes anew is not what the store says.
        """
        numbers = checked_indices(indices, self.n_samples)
        form, n = self.store.form, len(numbers)
        halves = np.zeros((n, *form.image_shape), dtype=np.float16)
        rows: list[dict[str, Any]] = []
        with self._lock:
            for row, index in enumerate(numbers):
                file, columns = self._shard(index // self.shard_size)
                rows.append({name: values[index - file.begin] for name, values in columns.items()})
                if form.content == "images":
                    halves[row] = file.image(index)
        columns = {name: np.array([row[name] for row in rows]) for name in rows[0]} if rows else {}
        found = Samples(
            images=singles(halves),
            labels=columns.get("labels", np.zeros(0, dtype=np.int64)),
            parameters=columns.get("parameters", np.zeros((0, form.n_parameters))),
            settings=columns.get("settings", np.zeros((0, form.n_settings))),
            attempts=columns.get("attempts", np.zeros(0, dtype=np.int64)),
            status=columns.get("status", np.zeros(0, dtype=np.int64)),
        )
        return found if form.content == "images" else self._simulated(found, numbers)

    def _simulated(self, found: Samples, numbers: list[int]) -> Samples:
        """The samples with their images, made anew and checked against what is stored beside them."""
        assert self.source is not None
        made = SourceReader(self.source, threads=self.threads).read(numbers)
        for name in ("labels", "parameters", "settings", "attempts", "status"):
            if not np.array_equal(getattr(made, name), getattr(found, name), equal_nan=True):
                raise ValueError(f"{self.store.folder}: the source makes other {name} now than are stored")
        return made

    def _shard(self, shard: int) -> tuple[ShardFile, dict[str, npt.NDArray[Any]]]:
        if self._process != os.getpid():  # forked: files must not be shared with the parent
            self._opened, self._process = OrderedDict(), os.getpid()
        if shard in self._opened:
            self._opened.move_to_end(shard)
            return self._opened[shard]
        if self.store.record(shard) is None:
            samples = self.store.indices(shard)
            raise ValueError(f"{self.store.folder}: samples {samples.start} to {samples.stop - 1} are missing")
        file = ShardFile(self.store.path(shard))
        self._opened[shard] = file, file.columns()
        if len(self._opened) > self.open_shards:
            self._opened.popitem(last=False)[1][0].close()
        return self._opened[shard]

    def close(self) -> None:
        """Closes all files; reading opens them again."""
        with self._lock:
            while self._opened:
                self._opened.popitem()[1][0].close()


def detected(
    images: npt.NDArray[np.float32],
    indices: Sequence[int],
    detect: Detect,
    *,
    seed: int,
    stream: str,
    epoch: int = 0,
    place: Callable[[tuple[int, ...]], npt.NDArray[np.float32]] | None = None,
) -> npt.NDArray[np.float32]:
    """What the detection makes of images: noise is a function of (seed, stream, index, epoch), so that every epoch has its own.

    Parameters
    ----------
    images : (n, ...) expected images of the samples ``indices``. detect : see `Detect`; a `WritingDetect` writes into the
        result at once.
    place : shape -> the array of that shape that takes the result; None for a new one.

    Returns
    -------
    (n, ...) float32, in the shape that ``detect`` gives.
    """
    rngs = [generator(seed, f"{stream}/detection", int(index), attempt=epoch) for index in indices]
    if isinstance(detect, WritingDetect):
        shape = (len(images), *detect.output_shape(images.shape[1:]))
        result = np.empty(shape, dtype=np.float32) if place is None else place(shape)
        for image, rng, out in zip(images, rngs, result, strict=True):
            detect.into(image, rng, out)
        return result
    found = np.array([detect(image, rng) for image, rng in zip(images, rngs, strict=True)], dtype=np.float32)
    if place is None:
        return found
    result = place(found.shape)
    result[:] = found
    return result


def good(samples: Samples, indices: Sequence[int]) -> tuple[Samples, list[int]]:
    """The samples that have an image, and their numbers."""
    rows = samples.status == GOOD
    if rows.all():
        return samples, list(indices)
    kept = {field.name: getattr(samples, field.name)[rows] for field in fields(samples)}
    return Samples(**kept), [index for index, one in zip(indices, rows, strict=True) if one]


def _reader(folder: str, source: SampleSource | None, threads: int | None, open_shards: int) -> StoreReader:
    return StoreReader(folder, source=source, threads=threads, open_shards=open_shards)


def _source_reader(source: SampleSource, threads: int | None, remembered: int) -> SourceReader:
    return SourceReader(source, threads=threads, remembered=remembered)
