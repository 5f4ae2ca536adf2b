"""Images: how many a second, and how much memory many of them need."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature

import click
import numpy as np
import numpy.typing as npt
from rows import Row, known, shown, spaced
from timing import Timing, in_child, interleave, memory

from insdl.dataset.pcsmo import draw_goodenough
from insdl.dataset.pcsmo import draw_settings as draw_pcsmo_settings
from insdl.dataset.rb2mnf4 import draw_parameters as draw_rb2mnf4
from insdl.dataset.rb2mnf4 import draw_settings as draw_rb2mnf4_settings
from insdl.instrument import ImageSettings, ImageSimulator
from insdl.instrument.pcsmo import pcsmo_frame
from insdl.instrument.rb2mnf4 import rb2mnf4_frame
from insdl.materials import goodenough, rb2mnf4

CHUNK = 64
"""Images that are made at once and then dropped."""
WINDOWS = tuple((0.75 * k, 0.75 * (k + 1)) for k in range(1, 9))
"""Eight energy windows of Rb2MnF4 maps, 0.75 to 6.75 meV."""


@dataclass(frozen=True, eq=False)
class Job:
    """A simulator, and parameters and settings as the training sets draw them: no two images are alike.

    ``into`` is the one array that every chunk is written to, as a stream of images would, if insdl can do that.
    """

    simulator: ImageSimulator
    parameters: npt.NDArray[np.float64]
    settings: list[ImageSettings]
    into: dict[str, npt.NDArray[np.float64]]
    counts: npt.NDArray[np.float32]

    def run(self, threads: int | None) -> npt.NDArray[np.float64]:
        """All images, (n, n_bins, n_h, n_k)."""
        images, stable = self.simulator.simulate_sets(self.parameters, self.settings, threads=threads, **self.into)
        if not stable.all():
            raise AssertionError("an unstable set would be timed, and it costs next to nothing")
        return images

    def run_counted(self, threads: int | None) -> npt.NDArray[np.float32]:
        """The same counted, 30 to 100 signal counts a pixel and a fifth of background."""
        n = len(self.settings)
        levels = {"scale": np.linspace(30.0, 100.0, n), "background": 0.2}
        counts, _ = self.simulator.simulate_counts(
            self.parameters, self.settings, seed=0, stream="bench", indices=np.arange(n), level="relative",
            threads=threads, out=self.counts, **levels,
        )  # fmt: skip
        return counts


def _job(
    simulator: ImageSimulator,
    draw: Callable[[np.random.Generator], Mapping[str, float]],
    draw_settings: Callable[[np.random.Generator], ImageSettings],
    n: int,
) -> Job:
    rng = np.random.default_rng(1)
    model = simulator.model
    probe = np.random.default_rng(2).random((200, 3))
    drawn = np.array([model.values(draw(rng)) for _ in range(2 * n + 8)])
    stable = drawn[model.modes(probe, parameters=drawn).stable][:n]
    can = "out" in signature(simulator.simulate_sets).parameters
    into = {"out": np.empty((n, *simulator.frame.shape))} if can else {}
    return Job(
        simulator,
        stable,
        [draw_settings(rng) for _ in range(n)],
        into,
        np.empty((n, *simulator.frame.shape), np.float32),
    )


def pcsmo_job(subpixels: int, n: int = CHUNK) -> Job:
    """240 x 400 images of Goodenough PCSMO: both twins, six incident energies, kinematic Ql."""
    return _job(ImageSimulator(goodenough(), pcsmo_frame(subpixels=subpixels)), draw_goodenough, draw_pcsmo_settings, n)


def rb2mnf4_job(subpixels: int, n: int = CHUNK) -> Job:
    """Maps of 64 x 64 pixels in eight windows."""
    simulator = ImageSimulator(rb2mnf4(), rb2mnf4_frame(WINDOWS, subpixels=subpixels), margin=0.07)
    return _job(simulator, draw_rb2mnf4, draw_rb2mnf4_settings, n)


def time_images(job: Job, threads: int, *, turns: int, counted: bool = False) -> Timing:
    """Chunks of images, every one looked at before: finite and not empty."""
    run = job.run_counted if counted else job.run
    images = run(threads)
    if not (np.isfinite(images).all() and (images.max(axis=(1, 2, 3)) > 0).all()):
        raise AssertionError("an image is empty or not finite")
    del images
    return interleave({"ours": lambda: run(threads)}, turns=turns)["ours"]


def rate_rows(threads: int, *, quick: bool) -> list[Row]:
    """The three rows of images per second."""
    return [
        _rate_row("PCSMO image, 240 × 400, 40 × 40 q, end to end", "images/s", 100, pcsmo_job(1), threads, quick),
        _rate_row("Rb₂MnF₄ map, 64 × 64, 8 energy windows", "maps/s", 20_000, rb2mnf4_job(1), threads, quick),
        _rate_row("the same with counting noise", "maps/s", 20_000, rb2mnf4_job(1), threads, quick, counted=True),
    ]


def _rate_row(
    work: str, unit: str, wanted: float, job: Job, threads: int, quick: bool, *, counted: bool = False
) -> Row:
    click.echo(f"  {work}, threads = {threads}", err=True)
    time = time_images(job, threads, turns=3 if quick else 9, counted=counted)
    count, bins = len(job.settings), len(job.simulator.frame.bins)
    rate = count / time.seconds
    return Row(
        work, "itself", threads, unit, wanted, rate,
        ours=time.seconds / count,
        pairs=tuple(count / turn for turn in time.turns),
        others=known(time.others),
        detail=f"{shown(time.seconds / count)} each, {count} in one call; {spaced(rate * bins)} energy bins a second",
    )  # fmt: skip


def _stream(n_images: int, threads: int) -> tuple[float, float, float]:
    """MB: the peak beyond what was held before the first image, its growth after the first two chunks, one chunk."""
    job = pcsmo_job(1)
    (before, _), warm, chunk = memory(), 0.0, 0.0
    for number in range(-(-n_images // CHUNK)):
        images = job.run(threads)
        chunk = 1e-6 * images.nbytes
        del images  # dropped, as if written to disk
        if number == 1:
            warm = memory()[1]
    peak = memory()[1]
    return peak - before, peak - warm, chunk


def memory_row(threads: int, *, quick: bool) -> Row:
    """Peak memory of many images made in chunks, each dropped before the next, in a process of its own."""
    n_images = 1000 if quick else 10_000
    click.echo(f"  {n_images} PCSMO images streamed, threads = {threads}", err=True)
    peak, growth, chunk = in_child(_stream, n_images, threads, threads=threads)
    return Row(
        f"{spaced(n_images)} PCSMO images streamed, {CHUNK} a chunk", "beyond the output", threads, "MB", 200,
        None if math.isnan(peak) else peak - chunk, at_most=True,
        detail=f"and one chunk of {chunk:.0f} MB; growth after the second chunk {growth:.1f} MB",
    )  # fmt: skip
