"""A source that costs nothing, for tests of what surrounds it, and one whose workers die on purpose."""

from __future__ import annotations

import builtins
import errno
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from insdl.dataset import durable_file, generator
from insdl.dataset.source import GAVE_UP, GOOD, Samples

PHASES = (
    "before simulating", "after simulating", "inside the write", "before the flush", "before the rename",
    "before the record", "inside the record", "before the record's rename", "after the record",
)  # fmt: skip


class SmallSource:
    """Images of 2 x 3 x 4 random numbers; every 17th sample has no image."""

    name = "small"
    image_shape = (2, 3, 4)
    classes = ("odd", "even")
    parameter_names = ("J1", "J2")
    setting_names = ("width",)

    def __init__(self, n_samples: int, *, seed: int = 0, pause: float = 0.0) -> None:
        self.n_samples, self.seed, self.pause = n_samples, seed, pause

    def describe(self) -> dict[str, Any]:
        return {"source": "small", "seed": self.seed, "n_samples": self.n_samples}

    def make(self, indices: Sequence[int], *, threads: int | None = None) -> Samples:
        time.sleep(self.pause)
        n = len(indices)
        images, status = np.zeros((n, *self.image_shape), np.float32), np.full(n, GOOD, dtype=np.int64)
        parameters, settings = np.full((n, 2), np.nan), np.zeros((n, 1))
        for row, index in enumerate(indices):
            rng = generator(self.seed, "small", index)
            parameters[row, index % 2], settings[row] = rng.random(), rng.random()
            if index % 17 == 5:
                status[row] = GAVE_UP
            else:
                images[row] = 100 * rng.random(self.image_shape)
        numbers = np.asarray(indices, dtype=np.int64)
        return Samples(images, numbers % 2, parameters, settings, numbers % 3, status)


class DyingSource(SmallSource):
    """Kills its own process once for every file ``shard-phase`` in a folder, when that shard comes to that phase."""

    def __init__(self, n_samples: int, *, shard_size: int, tickets: Path, **more: Any) -> None:
        super().__init__(n_samples, **more)
        self.shard_size, self.tickets = shard_size, tickets

    def plan(self, deaths: Sequence[tuple[int, str]]) -> None:
        """(shard, phase) of each death; or for every try of that shard, if the phase ends with an asterisk."""
        self.tickets.mkdir()
        for shard, phase in deaths:
            (self.tickets / f"{shard}-{phase}").touch()

    def deaths(self) -> int:
        return sum(1 for _ in self.tickets.glob("*.used"))

    def make(self, indices: Sequence[int], *, threads: int | None = None) -> Samples:
        shard = indices[0] // self.shard_size
        self._die_at(shard, "before simulating")
        samples = super().make(indices, threads=threads)
        self._interfere(shard)
        self._die_at(shard, "after simulating")
        return samples

    def _die_at(self, shard: int, phase: str) -> None:
        if (self.tickets / f"{shard}-{phase}*").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        ticket = self.tickets / f"{shard}-{phase}"
        try:
            ticket.rename(ticket.with_name(ticket.name + ".used"))
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    def _interfere(self, shard: int) -> None:
        """Makes the writing of this process's files deadly: only in a worker, which is about to die anyway."""
        source = self

        def is_record(path: Any) -> bool:
            return ".json" in Path(path).name

        def fsync(handle: int) -> None:
            if not is_record(os.readlink(f"/proc/self/fd/{handle}")):
                source._die_at(shard, "before the flush")
            os.fsync(handle)

        def replace(partial: Path, path: Path) -> None:
            source._die_at(shard, "before the record's rename" if is_record(path) else "before the rename")
            os.replace(partial, path)
            source._die_at(shard, "after the record" if is_record(path) else "before the record")

        def open_file(path: Path, mode: str) -> Any:
            file = builtins.open(path, mode)  # noqa: SIM115
            phase = "inside the record" if is_record(path) else "inside the write"

            def write(data: bytes) -> int:
                written = type(file).write(file, data[: len(data) // 2])
                file.flush()
                source._die_at(shard, phase)
                return written + type(file).write(file, data[len(data) // 2 :])

            return SimpleFile(file, write)

        names = {name: getattr(os, name) for name in dir(os)}
        durable_file.os = SimpleNamespace(**{**names, "fsync": fsync, "replace": replace})
        durable_file.open = open_file


class SimpleFile:
    """A file with another write."""

    def __init__(self, file: Any, write: Any) -> None:
        self._file, self.write = file, write

    def __enter__(self) -> SimpleFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a data set but what is in quarantine, by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "quarantine" not in path.parts
    }


def noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Changes the shape, too, as what a network sees may have another one."""
    noisy = image + rng.standard_normal(image.shape, dtype=np.float32)
    return np.concatenate([noisy, noisy[:1]])


def fails_at_two(number: int) -> int:
    """A task that cannot do its third number."""
    if number == 2:
        raise ValueError("samples are numbered 0 to 3")
    return number
