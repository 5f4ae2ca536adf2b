"""Guidance in a closed loop on simulated experiments, against an even split of the counting time.

    python bench/closed_loop.py pcsmo --experiments 100 --output pcsmo.jsonl
    python bench/closed_loop.py rb2mnf4 --experiments 100 --output rb2mnf4.jsonl
    python bench/closed_loop.py report pcsmo.jsonl rb2mnf4.jsonl

Each writes one line an experiment and strategy and goes on where the file ends; files of parts (--begin) are reported together.
Of ten PCSMO experiments eight are of a rival (Goodenough and dimer in turn), one is of Zener polarons and one of another
magnet: neither the rivals nor "none of these" have seen such images.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from insdl.dataset.configuration import configuration, load_configuration
from insdl.dataset.configured import ConfiguredSource
from insdl.dataset.counted_maps import MapNuisances
from insdl.dataset.foreign import other_magnet
from insdl.dataset.randomness import generator
from insdl.guide.belief import NONE
from insdl.guide.experiment import Experiment, experiment
from insdl.guide.gain import gains
from insdl.guide.loop import LoopSettings, Outcome, closed_loop
from insdl.guide.planner import Planner
from insdl.guide.planner_file import open_planner
from insdl.guide.window_loop import Sample, window_loop
from insdl.learn.map_inference import forward_model, free_prior

STREAM = "closed loop"
RIVALS = ("goodenough", "dimer")
WRONG = ("zener_polaron", "other magnet")
TARGETS = {"J1": 0.001, "J2": 0.0006}
"""meV. Error bars at which an experiment on Rb2MnF4 ends."""
STRATEGIES = ("guided", "even")


@click.group()
def main() -> None:
    """Guidance in a closed loop."""


@main.command()
@click.option("--experiments", default=100, help="How many, of this file.")
@click.option("--begin", default=0, help="Number of the first one: parts can run beside each other.")
@click.option(
    "--planner", type=click.Path(path_type=Path), required=True, help="File of a planner; made if it is not there."
)
@click.option("--output", type=click.Path(path_type=Path), required=True)
@click.option("--particles", default=256)
@click.option("--growth", default=1.3)
def pcsmo(experiments: int, begin: int, planner: Path, output: Path, particles: int, growth: float) -> None:
    """Which model, with 95 % confidence."""
    known = open_planner(planner, load_configuration("pcsmo"), models=RIVALS, threads=1, progress=_told)
    source = ConfiguredSource(load_configuration("pcsmo").model_copy(update={"stream": STREAM, "n_samples": 10**6}))
    settings = LoopSettings(growth=growth, n_particles=particles)
    for number in tqdm(range(begin + _lines(output) // len(STRATEGIES), begin + experiments), unit="experiment"):
        one = _pcsmo_experiment(known, source, number)
        rows = [
            _row(known, number, closed_loop(known, one, strategy=strategy, settings=settings))
            for strategy in STRATEGIES
        ]  # type: ignore[arg-type]
        _append(output, rows)


def truth_of(number: int) -> str:
    """What an experiment is of."""
    if number % 10 >= 8:
        return WRONG[number % 10 - 8]
    return RIVALS[number % 2]


def _pcsmo_experiment(known: Planner, source: ConfiguredSource, number: int) -> Experiment:
    truth = truth_of(number)
    if truth == "other magnet":
        frame = known.configuration.frame.image_frame()
        image = other_magnet(frame, generator(0, STREAM, number), threads=1)
    else:
        index = number * len(source.classes) + source.classes.index(truth)
        image = source.make([index], threads=1).images[0]
    return experiment(known, source, image, truth=truth, number=number, stream=STREAM)


def _row(known: Planner, number: int, found: Outcome) -> dict[str, Any]:
    more = {one.block: one.log_ratio for one in gains(known, found.belief, time=found.total / len(found.time))}
    return {
        "log_ratio_of_more": [more[block] for block in range(len(found.time))],
        "number": number,
        "strategy": found.strategy,
        "truth": found.truth,
        "verdict": found.verdict,
        "probability": found.probability,
        "certain": found.certain,
        "time": found.time.tolist(),
        "probabilities": found.belief.probabilities,
        "effective": {name: one.effective for name, one in found.belief.particles.items()},
        "batches": len(found.totals),
    }


@main.command()
@click.option("--experiments", default=100, help="How many, of this file.")
@click.option("--begin", default=0, help="Number of the first one: parts can run beside each other.")
@click.option("--output", type=click.Path(path_type=Path), required=True)
@click.option("--pixels", default=32)
def rb2mnf4(experiments: int, begin: int, output: Path, pixels: int) -> None:
    """J1 and J2, to given error bars, in eight windows that are measured one by one."""
    content = load_configuration("rb2mnf4-eight-windows").model_dump()
    edge = 1.0 - 1.0 / pixels
    content["frame"]["pixels"] = {"first": -edge, "last": edge, "count": pixels}
    given = configuration({**content, "stream": STREAM, "n_samples": 10**6})
    source, prior = ConfiguredSource(given), free_prior(given, MapNuisances())
    expected = forward_model(given, prior, threads=1)
    measured = source.detector.measured
    rng = generator(0, f"{STREAM}/starts", 0)
    points = prior.low + (prior.high - prior.low) * rng.random((300, len(prior.names)))
    images = expected(points)
    stable = np.isfinite(images).all(axis=(1, 2, 3))
    starts = (points[stable], images[stable])
    for number in tqdm(range(begin + _lines(output) // len(STRATEGIES), begin + experiments), unit="experiment"):
        sample = _rb2mnf4_sample(expected, prior.low, prior.high, measured, number)
        rows = []
        for strategy in STRATEGIES:
            found = window_loop(
                sample, expected, prior=prior, targets=TARGETS, strategy=strategy, starts=starts, first=0.4, growth=1.5  # type: ignore[arg-type]
            )  # fmt: skip
            rows.append(
                {
                    "number": number,
                    "strategy": strategy,
                    "truth": dict(zip(prior.names, sample.values.tolist(), strict=True)),
                    "estimate": dict(found.refinement.values),
                    "error": found.refinement.error,
                    "time": found.time.tolist(),
                    "reached": found.reached,
                    "batches": found.batches,
                    "chi_squared": found.refinement.chi_squared,
                }
            )
        _append(output, rows)


def _rb2mnf4_sample(
    expected: Any, low: npt.NDArray[np.float64], high: npt.NDArray[np.float64], measured: npt.NDArray[np.bool_], number: int
) -> Sample:  # fmt: skip
    """Parameters from the prior, 12 counts of signal a pixel in unit time, 5 to 35 % background in each window."""
    rng = generator(0, f"{STREAM}/rb2mnf4", number)
    while True:
        values = low + (high - low) * rng.random(len(low))
        image = expected(values[None])[0]
        if np.isfinite(image).all():
            break
    signal = image * 12.0 * measured.sum() / image[measured].sum()
    share = rng.uniform(0.05, 0.35, size=len(measured))
    level = np.sum(signal, axis=(1, 2), where=measured) / measured.sum(axis=(1, 2)) * share / (1.0 - share)
    return Sample(values, signal + level[:, None, None], measured, number)


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def report(files: tuple[Path, ...]) -> None:
    """Times and accuracies of both strategies."""
    rows = [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]
    for what, told in (("verdict", _report_verdicts), ("estimate", _report_errors)):
        own = [row for row in rows if what in row]
        if own:
            click.echo(f"{what}: {len(own) // len(STRATEGIES)} experiments")
            told(own)


def _report_verdicts(rows: list[dict[str, Any]]) -> None:
    for what in ("rivals", "wrong models"):
        chosen = [row for row in rows if (row["truth"] in RIVALS) == (what == "rivals")]
        pairs = _paired(chosen)
        if not pairs:
            continue
        click.echo(f"  {what}: {len(pairs)}")
        for place, strategy in enumerate(STRATEGIES):
            own = [pair[place] for pair in pairs]
            right = [row["certain"] and row["verdict"] == (row["truth"] if what == "rivals" else NONE) for row in own]
            wrong = [row["certain"] and not good for row, good in zip(own, right, strict=True)]
            times = np.array([sum(row["time"]) for row in own])
            click.echo(
                f"    {strategy}: right {sum(right)}, wrong {sum(wrong)}, undecided {len(own) - sum(right) - sum(wrong)}; "
                f"mean probability at the end {np.mean([row['probability'] for row in own]):.3f}; total time mean "
                f"{times.mean():.4f}, median {np.median(times):.4f}, 95 % within {np.quantile(times, 0.95):.4f}"
            )
            shares = np.sum([row["time"] for row in own], axis=0) / times.sum()
            click.echo(f"      shares of the time: {', '.join(f'{share:.2f}' for share in shares)}")
        _ratios([(sum(a["time"]), sum(b["time"])) for a, b in pairs])
        more = np.array([b["log_ratio_of_more"] for _, b in pairs])
        click.echo(
            f"    best incident energy over the mean of all, by expected log-ratio at the end of the even split: median "
            f"{np.median(more.max(axis=1) / more.mean(axis=1)):.2f}, largest {np.max(more.max(axis=1) / more.mean(axis=1)):.2f}"
        )
        even = np.array([sum(b["time"]) for _, b in pairs])
        click.echo(
            "    the even split's mean time, were each experiment on its best incident energy alone: "
            f"{np.sum(even * more.mean(axis=1) / more.max(axis=1)) / even.sum():.2f} of it"
        )
        fixed = np.quantile(even, 0.95)
        mean = np.mean([sum(a["time"]) for a, _ in pairs])
        click.echo(f"    guided mean over an even split of fixed time in which 95 % are decided: {mean / fixed:.2f}")


def _report_errors(rows: list[dict[str, Any]]) -> None:
    pairs = _paired(rows)
    for place, strategy in enumerate(STRATEGIES):
        own = [pair[place] for pair in pairs]
        times = np.array([sum(row["time"]) for row in own])
        click.echo(
            f"    {strategy}: reached {sum(row['reached'] for row in own)}; total time mean {times.mean():.2f}, median "
            f"{np.median(times):.2f}; batches {np.mean([row['batches'] for row in own]):.1f}"
        )
        for name, target in TARGETS.items():
            off = np.array([row["estimate"][name] - row["truth"][name] for row in own])
            bars = np.array([row["error"][name] for row in own])
            z = off / bars
            click.echo(
                f"      {name}: rms error {math.sqrt(np.mean(off**2)):.5f} meV (target {target}), mean bar {bars.mean():.5f}, "
                f"rms z {math.sqrt(np.mean(z**2)):.2f}, beyond 2 bars {np.mean(np.abs(z) > 2):.2f}"
            )
        shares = np.sum([row["time"] for row in own], axis=0) / times.sum()
        click.echo(f"      shares of the time: {', '.join(f'{share:.2f}' for share in shares)}")
    _ratios([(sum(a["time"]), sum(b["time"])) for a, b in pairs])


def _ratios(times: list[tuple[float, float]]) -> None:
    """Ratio of the mean times with its bootstrap error, and quartiles of the ratios of single experiments."""
    both = np.array(times)
    rng = generator(0, "bootstrap", 0)
    draws = both[rng.integers(0, len(both), size=(2000, len(both)))].mean(axis=1)
    quartiles = np.quantile(both[:, 0] / both[:, 1], [0.25, 0.5, 0.75])
    click.echo(
        f"    guided over even: ratio of mean times {both[:, 0].mean() / both[:, 1].mean():.3f} +- "
        f"{np.std(draws[:, 0] / draws[:, 1]):.3f}; single experiments, quartiles {', '.join(f'{q:.2f}' for q in quartiles)}"
    )


def _paired(rows: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    numbers = sorted({row["number"] for row in rows})
    found = {(row["number"], row["strategy"]): row for row in rows}
    return [(found[n, STRATEGIES[0]], found[n, STRATEGIES[1]]) for n in numbers]


def _lines(file: Path) -> int:
    return len(file.read_text("utf-8").splitlines()) if file.exists() else 0


def _append(file: Path, rows: list[dict[str, Any]]) -> None:
    with file.open("a", encoding="utf-8") as out:
        out.write("".join(json.dumps(row) + "\n" for row in rows))


def _told(what: str, done: int, total: int) -> None:
    if done in (0, total):
        click.echo(f"{what}: {done} of {total}", err=True)


if __name__ == "__main__":
    main()
