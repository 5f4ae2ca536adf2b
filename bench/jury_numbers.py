"""The numbers of docs/pcsmo.md on the jury: the public measurement, simulated measurements, and what is no PCSMO.

    python bench/jury_numbers.py measured measured.npy [--mask detector_mask.mat] [--network member.pt ...] [--denoised FILE]
    python bench/jury_numbers.py simulated
    python bench/jury_numbers.py noise --factor 8
    python bench/jury_numbers.py foreign --measured measured.npy

Each with the jury of insdl, or that of --jury. Networks given besides are single ones of `insdl train rivals`, as checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
from foreign_magnets import foreign_magnet

from insdl.commands.predict_situations import situations
from insdl.dataset.configuration import load_configuration
from insdl.dataset.configured import ConfiguredSource
from insdl.dataset.foreign import SourceWithForeign, shuffled_cells
from insdl.dataset.randomness import generator
from insdl.dataset.view import ViewPrior, with_more_noise
from insdl.instrument.measurement import read_pcsmo
from insdl.instrument.pcsmo import INCIDENT_ENERGIES, NOISE_SIGMA, SLICES
from insdl.learn.calibration import calibrated, ensemble_logits, fit_temperature
from insdl.learn.checkpoint import load_checkpoint
from insdl.learn.jury import Jury, hear, load_jury, member_probabilities
from insdl.learn.reliability import calibration_error
from insdl.learn.rivals import RivalSettings, measurements
from insdl.learn.scores import auroc
from insdl.learn.verdict import Verdict

_PRETRAINED = Path(__file__).parents[1] / "python" / "insdl" / "pretrained" / "pcsmo.pt"
_Inputs = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


@click.group()
@click.option("--jury", type=click.Path(exists=True, path_type=Path), default=_PRETRAINED)
@click.pass_context
def main(context: click.Context, jury: Path) -> None:
    """Numbers on the jury."""
    context.obj = load_jury(jury)


@main.command()
@click.argument("image", type=click.Path(exists=True, path_type=Path))
@click.option("--mask", type=click.Path(exists=True, path_type=Path))
@click.option("--network", "networks", multiple=True, type=click.Path(exists=True, path_type=Path))
@click.option("--denoised", type=click.Path(exists=True, path_type=Path), help="The same image, by insdl denoise.")
@click.option("--draws", default=20, show_default=True, help="Of noise of eight standard deviations, and of one.")
@click.option("--threads", type=int)
@click.pass_obj
def measured(
    jury: Jury, image: Path, mask: Path | None, networks: Sequence[Path], denoised: Path | None, draws: int,
    threads: int | None,
) -> None:  # fmt: skip
    """The public measurement, whole, in part, and with more noise: P of Goodenough."""
    given = read_pcsmo(image, mask=mask)
    more = tuple(load_checkpoint(path)[0] for path in networks)
    everyone = replace(jury, members=(*jury.members, *more))
    groups = {size: groups_of(everyone, size, threads) for size in {1, len(jury.members)}}
    click.echo(
        f"temperatures: the jury's {jury.temperature:.3f}, of each network {np.round(groups[1].temperatures, 3).tolist()}"
    )
    counts = given.image.astype(np.float32)
    cases = {
        name: (values[None].astype(np.float32), seen[None])
        for name, values, seen in situations(counts.astype(np.float64), given.measured)
    }
    everywhere = np.broadcast_to(given.measured, (draws, *counts.shape))
    cases[f"{draws} draws of 8 sigma"] = _noisy(counts, everywhere, 8.0), everywhere
    if denoised is not None:
        clean = read_pcsmo(denoised, mask=mask).image.astype(np.float32)
        cases["denoised"] = clean[None], given.measured[None]
        cases[f"denoised, {draws} draws of fresh noise"] = _noisy(clean, everywhere, 1.0), everywhere
    for name, (values, seen) in cases.items():
        verdicts = hear(jury, values, seen)
        own = np.sort([verdict.probability["goodenough"] for verdict in verdicts])
        click.echo(
            f"{name}: jury lowest {own[0]:.5f}, median {np.median(own):.5f}, at 0.99 {(own >= 0.99).sum()}, at 0.95 "
            f"{(own >= 0.95).sum()} of {len(own)}, alarms {sum(not one.in_distribution for one in verdicts)}"
        )
        plain = member_probabilities(everyone, values, seen)
        for size, group in groups.items():
            click.echo(f"  juries of {size}: {_group_line(group.answers(plain)[..., 0])}")


def _noisy(counts: npt.NDArray[np.float32], seen: npt.NDArray[np.bool_], factor: float) -> npt.NDArray[np.float32]:
    """As many draws as ``seen`` has, of noise of ``factor`` standard deviations added; every other one clipped."""
    rng = np.random.default_rng(5)
    drawn = [
        with_more_noise(counts, NOISE_SIGMA.ravel(), factor, rng, clipped=bool(number % 2))
        for number in range(len(seen))
    ]
    return np.where(seen, np.stack(drawn), np.float32(0.0))


@dataclass(frozen=True)
class Groups:
    """Every jury of some size out of many networks: members (juries, size), and the temperature of each."""

    members: npt.NDArray[np.int64]
    temperatures: npt.NDArray[np.float64]

    def answers(self, plain: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
        """(juries, n, classes). Calibrated probabilities, before any alarm, from the (networks, n, classes) of the networks."""
        return np.stack(
            [
                calibrated(np.log(plain[list(who)].mean(axis=0)), temperature=temperature)
                for who, temperature in zip(self.members, self.temperatures, strict=True)
            ]
        )


def groups_of(everyone: Jury, size: int, threads: int | None) -> Groups:
    """All juries of ``size`` members, each with the temperature that `insdl train rivals` would give it."""
    plain = RivalSettings()
    inputs, labels = measurements(_source("held out", plain.held_out), plain.noisy, threads)
    logits = np.log(member_probabilities(everyone, *_counts(inputs)))
    members = np.array(list(combinations(range(len(logits)), size)))
    fits = [fit_temperature(ensemble_logits(logits[who]), labels, targets="hard").temperature for who in members]
    return Groups(members, np.array(fits))


def _group_line(answers: npt.NDArray[np.float64]) -> str:
    """How sure (juries, draws) are: the lowest, and how many juries have 0.99 and 0.95 in every draw."""
    lowest, shares = answers.min(axis=1), (answers >= 0.99).mean(axis=1)
    line = (
        f"lowest {lowest.min():.4f}, at 0.99 in every draw {(lowest >= 0.99).sum()}, at 0.95 {(lowest >= 0.95).sum()} "
    )
    line += f"of {len(lowest)}; of draws at 0.99 {shares.min():.2f} to {shares.mean():.4f}"
    if len(lowest) <= 30:
        line += f"; lowest of each {np.round(lowest, 4).tolist()}"
    return line


@main.command()
@click.option("--images", default=2000, show_default=True)
@click.option("--threads", type=int)
@click.pass_obj
def simulated(jury: Jury, images: int, threads: int | None) -> None:
    """Simulated measurements of all kinds, whole, and as the members were trained with them."""
    whole = measurements(_source("test", images), None, threads)
    simulated_lines(jury, "whole", whole)
    simulated_lines(jury, "views", measurements(_source("test views", images), ViewPrior(), threads))


@main.command()
@click.option("--factor", default=8.0, show_default=True, help="Noise added, in units of the measurement's own.")
@click.option("--images", default=1200, show_default=True)
@click.option("--threads", type=int)
@click.pass_obj
def noise(jury: Jury, factor: float, images: int, threads: int | None) -> None:
    """Simulated measurements with noise added."""
    views = ViewPrior(0.0, 0.0, 0.0, 0.0, 0.0, more_noise=1.0, noise=(factor, factor))
    simulated_lines(jury, f"noise of {factor:g}", measurements(_source("test noise", images), views, threads))


def simulated_lines(jury: Jury, name: str, given: _Inputs) -> None:
    """How often members and jury are right about simulated measurements, how sure, and how often an alarm is raised."""
    inputs, labels = given
    counts, seen = _counts(inputs)
    single = member_probabilities(jury, counts, seen)
    right = [one.argmax(axis=1) == labels for one in single]
    # Not those of the verdicts, which an alarm moves to "none": it has a line of its own.
    answers = calibrated(np.log(single.mean(axis=0)), temperature=jury.temperature)
    best, rivals, pair = answers.argmax(axis=1), labels < len(jury.classes) - 1, labels < 2
    click.echo(f"{name}, {len(labels)} images; members {[round(float(one.mean()), 4) for one in right]}")
    click.echo(f"  of Goodenough and dimer {[round(float(one[pair].mean()), 4) for one in right]}")
    click.echo(
        f"  jury {(best == labels).mean():.4f}, Goodenough and dimer {(best == labels)[pair].mean():.4f}; surely wrong "
        f"{int(((best != labels) & (answers.max(axis=1) >= 0.95) & rivals).sum())} of {rivals.sum()}, no class at 0.95 "
        f"{(answers.max(axis=1) < 0.95)[rivals].mean():.4f}"
    )
    click.echo(f"  calibration {calibration_error(answers, labels)}")
    alarms = np.array([not one.in_distribution for one in _heard(jury, inputs[rivals])])
    click.echo(f"  alarms on the rivals {alarms.mean():.4f} +- {alarms.std() / np.sqrt(len(alarms)):.4f}")


def _heard(jury: Jury, inputs: npt.NDArray[np.float32]) -> list[Verdict]:
    """Verdicts on network inputs, a hundred at a time."""
    return [one for begin in range(0, len(inputs), 100) for one in hear(jury, *_counts(inputs[begin : begin + 100]))]


def _counts(inputs: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Counts and what is seen of them, of inputs as `network_view` makes them."""
    cells = inputs.shape[1] // 2
    return np.sinh(inputs[:, :cells]), inputs[:, cells:] > 0


@main.command()
@click.option("--measured", "image", type=click.Path(exists=True, path_type=Path))
@click.option("--images", default=60, show_default=True, help="Of each kind.")
@click.pass_obj
def foreign(jury: Jury, image: Path | None, images: int) -> None:
    """What is none of the models: area under the curve against whole simulated measurements, alarms, answers."""
    source = _source("test", 4 * 500)
    inputs, labels = measurements(source, None)
    rivals = labels < len(jury.classes) - 1
    known = np.array([one.score for one in _heard(jury, inputs[rivals])], dtype=float)
    kinds = _kinds(source, None if image is None else read_pcsmo(image))
    for name, draw in kinds.items():
        drawn = [draw(generator(7, f"foreign/{name}", number)) for number in range(images)]
        verdicts = hear(jury, np.stack([one for one, _ in drawn]), np.stack([seen for _, seen in drawn]))
        scores = np.array([one.score for one in verdicts], dtype=float)
        click.echo(
            f"{name}: area {auroc(known, scores).value:.4f}, alarms {np.mean([not v.in_distribution for v in verdicts]):.3f}, "
            f"called a model {np.mean([v.answer in jury.classes[:-1] for v in verdicts]):.3f}"
        )


def _kinds(source: SourceWithForeign, given: Any) -> dict[str, Callable[[np.random.Generator], Any]]:
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    detector, base = source.base.detector, source.base
    pictures = load_digits().images / 16.0

    def detected(image: Any, rng: np.random.Generator) -> Any:
        return base.detect(np.asarray(image, dtype=np.float32), rng), detector.measured

    def simulated_image(rng: np.random.Generator) -> Any:
        return base.make([int(rng.integers(base.n_samples))]).images[0]

    def digits(rng: np.random.Generator) -> Any:
        return np.stack([3 * np.kron(pictures[rng.integers(len(pictures))], np.ones((5, 5))) for _ in range(60)])

    def permuted(rng: np.random.Generator) -> Any:
        image = simulated_image(rng)
        return image.reshape(60, -1)[:, rng.permutation(image[0].size)].reshape(image.shape)

    kinds: dict[str, Callable[[np.random.Generator], Any]] = {
        "other magnets": lambda rng: detected(foreign_magnet(source.frame, rng), rng),
        "handwritten digits": lambda rng: detected(digits(rng), rng),
        "shuffled cells": lambda rng: detected(shuffled_cells(simulated_image(rng), rng), rng),
        "permuted pixels": lambda rng: detected(permuted(rng), rng),
        "uncorrelated noise": lambda rng: (
            np.abs(rng.normal(size=(60, 40, 40)) * rng.uniform(0.5, 5)).astype(np.float32), detector.measured
        ),
    }  # fmt: skip
    if given is None:
        return kinds
    counts = given.image.astype(np.float32)

    def exchanged(rng: np.random.Generator) -> Any:
        order = rng.permutation(len(INCIDENT_ENERGIES))
        while (order == np.arange(len(order))).any():
            order = rng.permutation(len(order))
        cells = (order[:, None] * SLICES + np.arange(SLICES)).ravel()
        return counts[cells], given.measured[cells]

    return kinds | {
        "measured, cells shuffled": lambda rng: (counts[rng.permutation(60)], given.measured),
        "measured, incident energies exchanged": exchanged,
    }


def _source(stream: str, images: int) -> SourceWithForeign:
    content = load_configuration("pcsmo")
    rivals = len(content.classes)
    return SourceWithForeign(
        ConfiguredSource(content.model_copy(update={"stream": stream, "n_samples": images * rivals // (rivals + 1)}))
    )


if __name__ == "__main__":
    main()
