"""How speed depends on sites, momentum transfers, threads, precision and instruction set: the figure and side tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import click
import numpy as np
import peers
from checks import check_modes
from flops import full_flops, split_flops
from image_rows import pcsmo_job, rb2mnf4_job, time_images
from magnets_bench import PYROCHLORE, pyrochlore, supercell
from rows import random_q
from timing import interleave

from insdl.instruction_set import choose_instruction_set, instruction_set, instruction_sets
from insdl.materials import goodenough, rb2mnf4
from insdl.materials.pcsmo import LITERATURE as PCSMO
from insdl.materials.rb2mnf4 import LITERATURE as RB2MNF4

Run = Callable[[int], object]
MAGNETS = {
    "PCSMO, N = 16": (goodenough(), PCSMO["goodenough"]),
    "Rb₂MnF₄, N = 2": (rb2mnf4(), RB2MNF4),
    "pyrochlore, full form, N = 16": (pyrochlore(), PYROCHLORE),
}
PEERS = ("LAPACK", "pySpinW")
FEWEST = 64
"""q of one call of insdl, so that every lane has work."""
LONGEST = 4.0
"""s; a point of a series whose smallest call takes longer is left out."""


@dataclass(frozen=True)
class Point:
    """``rate`` modes (or images) per second at ``x``, on ``threads``; ``gflops`` of useful arithmetic where it is known."""

    series: str
    x: float
    rate: float
    threads: int = 1
    gflops: float | None = None


def _count_for(run: Run, *, least: int, most: int, seconds: float) -> int | None:
    """So many q that a call takes about ``seconds``; None if ``least`` of them already take far too long."""
    run(1)  # warm
    count = least
    while True:
        spent = interleave({"": lambda n=count: run(n)}, turns=1, least_seconds=0.0)[""].seconds
        if count == least and spent > LONGEST:
            return None
        if spent > 0.3 * seconds or count >= most:
            return int(np.clip(count * seconds / spent, least, most))
        count = min(most, 4 * count)


def _rates(runs: dict[str, Run], *, quick: bool, most: int) -> dict[str, float]:
    """q per second of each, in turn."""
    seconds = 0.05 if quick else 0.25
    counts = {
        name: _count_for(run, least=2 if name in PEERS else FEWEST, most=most, seconds=seconds)
        for name, run in runs.items()
    }
    sides = {name: partial(runs[name], count) for name, count in counts.items() if count is not None}
    times = interleave(sides, turns=3, least_seconds=0.5 * seconds)
    return {name: (counts[name] or 0) / time.seconds for name, time in times.items()}


def by_size(quick: bool) -> list[Point]:
    """Modes per second of one thread against the number of sites, each form and each peer."""
    points = []
    for n in (1, 2, 4, 8, 16, 32) if quick else (1, 2, 4, 8, 16, 32, 64, 128):
        click.echo(f"  {n} sites", err=True)
        most = max(4 * FEWEST, 200_000 // n**2)
        q = random_q(most)
        with_inversion, without = supercell(n), supercell(n, inversion=False)
        lapack = peers.Lapack(with_inversion, {})
        few = q[: max(4, 64 // n)]
        found = with_inversion.modes(few, threads=1)
        check_modes(with_inversion.modes(few, threads=1, form="full"), found, f"{n} sites, full form")
        check_modes(lapack.run(few), found, f"{n} sites, LAPACK")
        check_modes(peers.lapack_modes(without, few), without.modes(few, threads=1), f"{n} sites, complex")
        runs: dict[str, Run] = {
            "real": lambda k, q=q, model=with_inversion: model.modes(q[:k], threads=1),
            "full": lambda k, q=q, model=with_inversion: model.modes(q[:k], threads=1, form="full"),
            "LAPACK": lambda k, q=q, peer=lapack: peer.run(q[:k]),
        }
        if not without.core.is_real:
            runs["complex"] = lambda k, q=q, model=without: model.modes(q[:k], threads=1)
        if peers.has_pyspinw():
            rust = peers.PySpinW(with_inversion, {})
            check_modes(rust.modes(rust.run(few)), found, f"{n} sites, pySpinW")
            runs["pySpinW"] = lambda k, q=q, peer=rust: peer.run(q[:k])
        work = {
            "real": split_flops(n, is_complex=False),
            "complex": split_flops(n, is_complex=True),
            "full": full_flops(n, rows=2),
        }
        rates = _rates(runs, quick=quick, most=most)
        points += [
            Point(name, n, n * rate, gflops=1e-9 * rate * work[name] if name in work and n > 2 else None)
            for name, rate in rates.items()
        ]
    return points


def by_count(threads: int, quick: bool) -> list[Point]:
    """Modes per second against the number of q in a call, in a process whose rayon has ``threads``."""
    points = []
    for name, (model, values) in list(MAGNETS.items())[:2]:
        n = len(model.sites)
        rust = peers.PySpinW(model, values) if peers.has_pyspinw() else None
        for n_q in np.logspace(2, 4 if quick else 6, 3 if quick else 5, dtype=int).tolist():
            click.echo(f"  {name}, {n_q} q, threads = {threads}", err=True)
            q = random_q(n_q)
            sides: dict[str, Callable[[], object]] = {
                name: lambda q=q, model=model, values=values: model.modes(q, threads=threads, **values)
            }
            if rust is not None and n_q * n**2 <= (400_000 if quick else 3_000_000):
                sides[f"{name}, pySpinW"] = lambda q=q, rust=rust: rust.run(q)
            for run in sides.values():
                run()
            times = interleave(sides, turns=3, least_seconds=0.02 if quick else 0.1)
            points += [Point(side, n_q, n * n_q / time.seconds, threads) for side, time in times.items()]
    return points


@contextmanager
def _instruction_set(name: str) -> Iterator[None]:
    before = instruction_set()
    choose_instruction_set(name)
    try:
        yield
    finally:
        choose_instruction_set(before)


def by_variant(quick: bool) -> list[dict[str, object]]:
    """q per second of one thread: each magnet, instruction set and precision, with single precision's largest errors."""
    rows: list[dict[str, object]] = []
    for name, (model, values) in MAGNETS.items():
        click.echo(f"  {name}: instruction sets and precisions", err=True)
        q = random_q((4_000 if quick else 20_000) * (10 if len(model.sites) == 2 else 1))
        exact = model.modes(q, **values)

        def modes(which: str, precision: str, q=q, model=model, values=values) -> object:
            with _instruction_set(which):
                return model.modes(q, threads=1, precision=precision, **values)

        sides = {
            (which, precision): partial(modes, which, precision)
            for which in instruction_sets()
            for precision in ("double", "single")
        }
        for (which, precision), run in sides.items():
            found = run()
            loose = {"tolerance": 2e-3} if precision == "single" else {}
            check_modes(exact, found, f"{name}, {which}, {precision}", **loose)
        single = model.modes(q, precision="single", **values)
        times = interleave(sides, turns=3, least_seconds=0.02)
        rows += [
            {
                "magnet": name,
                "instruction_set": which,
                "precision": precision,
                "ns_per_q": 1e9 * time.seconds / len(q),
            }
            for (which, precision), time in times.items()
        ]
        rows[-1]["energy_error"] = float(np.abs(single.energy - exact.energy).max() / exact.energy.max())
        rows[-1]["intensity_error"] = float(
            np.abs(single.intensity.sum(1) - exact.intensity.sum(1)).max() / exact.intensity.max()
        )
    return rows


def images(thread_counts: tuple[int, ...], quick: bool) -> list[Point]:
    """Images per second against subpixels per pixel and axis, both materials."""
    points = []
    for name, job, choices in (("PCSMO", pcsmo_job, (1, 2, 4)), ("Rb₂MnF₄", rb2mnf4_job, (1, 2))):
        for subpixels in choices:
            click.echo(f"  {name} images, {subpixels} subpixels", err=True)
            made = job(subpixels, 8) if quick and name == "PCSMO" else job(subpixels)
            for threads in thread_counts:
                time = time_images(made, threads, turns=3)
                points.append(Point(name, subpixels, len(made.settings) / time.seconds, threads))
    return points
