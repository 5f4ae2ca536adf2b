"""How a data set's shards are made: one after the other, by a pool of processes, or by dask; whoever dies is replaced."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from functools import lru_cache, partial
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, cast

from tqdm import tqdm

from insdl.dataset.durable_file import remove_abandoned
from insdl.dataset.shard import Content
from insdl.dataset.source import SampleSource
from insdl.dataset.store import ShardRecord, Store, StoreStatus, open_store, prepare_store

if TYPE_CHECKING:
    from distributed import Client

Engine = Literal["processes", "dask", "serial"]
Result = TypeVar("Result")
DEATHS = 20
"""Of workers in a row, without one shard done in between, after which it is not bad luck."""


def make_data_set(
    source: SampleSource,
    folder: Path | str,
    *,
    engine: Engine = "processes",
    workers: int | None = None,
    client: Client | None = None,
    part: tuple[int, int] = (0, 1),
    shard_size: int | None = None,
    content: Content | None = None,
    compression: int | None = None,
    progress: Literal["bar", "silent"] = "bar",
) -> StoreStatus:
    """Makes what is missing of a data set, and returns what is there afterwards.

    It may be interrupted and run again, with any engine and number of workers, or run several times at once, also on several
    machines that share the folder: the bytes of the shards are the same.

    Parameters
    ----------
    source : what makes the samples; it must be possible to pickle it, but for "serial".
    folder, shard_size, content, compression : see `insdl.dataset.store.prepare_store`.
    engine : "processes" for a pool on this machine, "dask", or "serial" for this process and the kernel's threads.
    workers : processes, each with one thread of the kernel; None for one a processor.
    client : of dask; None starts a cluster on this machine.
    part : (k, n) makes shards k, k + n, ... alone and leaves the manifest to whoever comes last.
    progress : "bar" on the error stream, or "silent".

    Raises
    ------
    ValueError
        If the folder is that of another configuration, or an image does not fit float16.
    OSError
        If the disk is full. What was finished stays, and running again goes on.
    ChildProcessError
        If workers die twenty times in a row without finishing a shard.
    """
    if not 0 <= part[0] < part[1]:
        raise ValueError(f"part must be (k, n) with 0 <= k < n, got {part}")
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    store = prepare_store(folder, source, shard_size=shard_size, content=content, compression=compression)
    remove_abandoned(store.folder)
    missing = _from_a_place_of_its_own(store.missing(part=part))
    results: Generator[tuple[int, ShardRecord], None, None]
    if engine == "serial":
        results = ((shard, store.make_shard(source, shard)) for shard in missing)
    else:
        task = partial(_make_shard, pickle.dumps(source), str(store.folder.resolve()))
        results = run_tasks(task, missing, engine=engine, workers=workers, client=client)
    total = sum(len(store.indices(shard)) for shard in missing)
    try:
        bar = tqdm(total=total, unit="image", unit_scale=True, disable=progress == "silent", leave=False)
        with bar, closing(results):
            for shard, _ in results:
                bar.update(len(store.indices(shard)))
    finally:
        remove_abandoned(store.folder)
    return store.write_manifest() if part[1] == 1 else store.status()


def run_tasks(
    task: Callable[[int], Result],
    numbers: Sequence[int],
    *,
    engine: Engine = "processes",
    workers: int | None = None,
    client: Client | None = None,
) -> Generator[tuple[int, Result], None, None]:
    """(number, task(number)) for every number, in the order in which they are done.

    A task whose worker dies is done again, so that it must not matter how often it is begun.
    """
    if engine == "serial":
        return ((number, task(number)) for number in numbers)
    if engine == "processes":
        return _run_in_processes(task, numbers, workers or processors())
    if engine == "dask":
        from insdl.dataset.dask_engine import run_with_dask

        return run_with_dask(task, numbers, workers=workers or processors(), client=client)
    raise ValueError(f"engine must be 'processes', 'dask' or 'serial', got {engine!r}")


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def died_too_often(deaths: int) -> ChildProcessError:
    """The error after so many deaths in a row."""
    return ChildProcessError(
        f"workers died {deaths} times in a row without finishing a shard: is there memory enough for so many workers?"
    )


def _run_in_processes(
    task: Callable[[int], Result], numbers: Sequence[int], workers: int
) -> Generator[tuple[int, Result], None, None]:
    """A pool; when a worker is killed the whole pool breaks, and a new one takes over what was not done."""
    waiting, deaths = deque(numbers), 0
    while waiting:
        running: dict[Future[Result], int] = {}
        try:
            with closing(_Pool(min(workers, len(waiting)))) as pool:
                while waiting or running:
                    while waiting and len(running) < 2 * workers:
                        future = pool.submit(task, waiting[0])  # may find the pool broken: then the number still waits
                        running[future] = waiting.popleft()
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        result = future.result()
                        deaths = 0
                        yield running.pop(future), result
        except BrokenProcessPool:
            waiting.extendleft(running.values())
            deaths += 1
            if deaths >= DEATHS:
                raise died_too_often(deaths) from None


class _Pool:
    """A `ProcessPoolExecutor` whose workers end at once when it is closed or this process is gone, however it went."""

    def __init__(self, workers: int) -> None:
        context = _context()
        theirs, self._ours = context.Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(workers, context, _start_worker, (theirs,))

    def submit(self, task: Callable[[int], Result], number: int) -> Future[Result]:
        return self._executor.submit(task, number)

    def close(self) -> None:
        self._ours.close()
        self._executor.shutdown(cancel_futures=True)


def _context() -> BaseContext:
    """Workers are forked from a server that has insdl loaded and no threads: quick to replace, and safe beside torch."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["insdl.dataset.engine"])
    return cast(BaseContext, context)


def _start_worker(parent: Connection) -> None:
    """Leaves Ctrl-C to the parent, and ends this process as soon as the parent closes its end of the pipe or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        parent.poll(None)  # until the other end is closed: nothing is ever sent
        os._exit(1)

    threading.Thread(target=watch, name="insdl-watch", daemon=True).start()


def _make_shard(source: bytes, folder: str, shard: int) -> ShardRecord:
    return _store(folder).make_shard(_source(source), shard, threads=1)


@lru_cache(maxsize=2)
def _source(pickled: bytes) -> SampleSource:
    """Built once a process: a source works out its geometry."""
    return cast(SampleSource, pickle.loads(pickled))


@lru_cache(maxsize=2)
def _store(folder: str) -> Store:
    return open_store(folder)


def _from_a_place_of_its_own(shards: list[int]) -> list[int]:
    """The same shards, beginning where hardly another run begins, so that runs into one folder share the work."""
    if not shards:
        return shards
    start = (time.time_ns() // 1000 * 2654435761 + os.getpid() * 40503) % len(shards)
    return shards[start:] + shards[:start]
