"""Shards made by a dask cluster: this machine's, or any that dask has a Client for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeVar

from insdl.dataset.engine import DEATHS, died_too_often

if TYPE_CHECKING:
    from distributed import Client

Result = TypeVar("Result")


def run_with_dask(
    task: Callable[[int], Result], numbers: Sequence[int], *, workers: int, client: Client | None = None
) -> Generator[tuple[int, Result], None, None]:
    """(number, task(number)) in the order in which they are done.

    The scheduler gives the tasks of a lost worker to others; what it gives up on, or loses itself, is handed in again. No more
    tasks than twice the cluster's threads wait at the scheduler at a time.
    """
    import distributed

    dask: Any = distributed  # partly typed

    with ExitStack() as stack:
        if client is None:
            cluster = dask.LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=":0")
            client = stack.enter_context(dask.Client(stack.enter_context(cluster)))
        waiting, deaths = deque(numbers), 0
        running: dict[Any, int] = {}
        finished = dask.as_completed()
        stack.callback(lambda: client.cancel(list(running)))
        while waiting or running:
            while waiting and len(running) < max(2, 2 * sum(client.nthreads().values())):
                future = client.submit(task, waiting[0], pure=False)
                running[future] = waiting.popleft()
                finished.add(future)
            future = next(finished)
            number = running.pop(future)
            if future.status == "finished":
                deaths = 0
                yield number, future.result()
                continue
            if future.status == "error" and not isinstance(future.exception(), dask.KilledWorker):
                future.result()  # raises what the task raised
            deaths += 1
            if deaths >= DEATHS:
                raise died_too_often(deaths)
            waiting.append(number)
