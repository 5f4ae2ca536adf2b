"""Telling the user what goes on, and how long it took; sharing the processors out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from insdl.spinwave import thread_count


class Stopwatch:
    """Times named steps; with ``loud`` it says on the error stream when each begins and ends."""

    def __init__(self, loud: bool) -> None:
        self.seconds: dict[str, float] = {}
        self._loud = loud

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        start = time.perf_counter()
        if self._loud:
            click.echo(f"{step} ...", err=True)
        yield
        self.seconds[step] = round(time.perf_counter() - start, 2)
        if self._loud:
            click.echo(f"{step}: {self.seconds[step]:.1f} s", err=True)


def torch_threads(threads: int | None) -> int:
    """Threads for torch beside the one that draws samples.

    One fewer than there are: a team as large as the machine waits, spinning, for the thread that shares a processor with
    the sampling (measured on a busy machine of two: 4 ms of processor time a sample instead of 19).
    """
    return max(1, thread_count(threads) - 1)
