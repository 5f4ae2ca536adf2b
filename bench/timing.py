"""Clocks for comparisons: sides in turn, medians, child processes, memory."""

from __future__ import annotations

import gc
import math
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")

_LEAST_SECONDS = 0.2  # of one side in one turn: short calls are repeated
_MOST_CALLS = 200


@dataclass(frozen=True)
class Timing:
    """One side of a comparison.

    Attributes
    ----------
    turns : s; the median call of every turn.
    others : processors that other processes kept busy while both sides ran; NaN where the system does not say.
    """

    turns: tuple[float, ...]
    others: float

    @property
    def seconds(self) -> float:
        """The median turn, s."""
        return statistics.median(self.turns)


def interleave(
    sides: Mapping[str, Callable[[], object]], *, turns: int, least_seconds: float = _LEAST_SECONDS
) -> dict[str, Timing]:
    """Time every side once a turn, one after the other, so that what else the machine does hits all of them alike.

    Results are dropped after the clock has stopped, and Python's collector waits. Warming up is the caller's.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    gc.collect()
    gc.disable()
    began, all_before, own_before = time.perf_counter(), _busy_seconds(), time.process_time()
    try:
        for _ in range(turns):
            for name, run in sides.items():
                spent, calls = 0.0, []
                while not calls or (spent < least_seconds and len(calls) < _MOST_CALLS):
                    start = time.perf_counter()
                    result = run()
                    calls.append(time.perf_counter() - start)
                    spent += calls[-1]
                    del result
                seconds[name].append(statistics.median(calls))
    finally:
        gc.enable()
    others = (_busy_seconds() - all_before) - (time.process_time() - own_before)
    share = max(others, 0.0) / (time.perf_counter() - began)
    return {name: Timing(tuple(values), share) for name, values in seconds.items()}


def _busy_seconds() -> float:
    """Processor seconds that all processes of the machine have had, by Linux's account; NaN elsewhere."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return math.nan
    user, nice, system, _, _, interrupts, softly, stolen = map(int, fields)
    return (user + nice + system + interrupts + softly + stolen) / os.sysconf("SC_CLK_TCK")


def in_child(function: Callable[..., Result], *arguments: Any, threads: int) -> Result:
    """What ``function`` returns in a fresh process, whose rayon has ``threads`` and whose BLAS has one."""
    wanted = {"RAYON_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return pool.submit(function, *arguments).result()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _from_status(field: str) -> float | None:
    """A size in Linux's account of this process, MB. Not from getrusage, whose peak a child inherits from its parent."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((1.024e-3 * float(line.split()[1]) for line in lines if line.startswith(f"{field}:")), None)


def memory() -> tuple[float, float]:
    """What this process holds, and the most that it has ever held, MB; NaN where the system does not say."""
    now, peak = _from_status("VmRSS"), _from_status("VmHWM")
    return (math.nan, math.nan) if now is None or peak is None else (now, peak)
