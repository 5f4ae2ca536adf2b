"""The Bayes limit of PCSMO: how often the profiled likelihood, which knows physics and priors, names the right model.

    python bench/bayes_limit.py run --images 40 --output limit.jsonl
    python bench/bayes_limit.py run --images 40 --near --output near.jsonl
    python bench/bayes_limit.py run --images 40 --noise 8 --output noisy.jsonl
    python bench/bayes_limit.py report limit.jsonl near.jsonl
    python bench/bayes_limit.py measured FOLDER

`run` simulates images of the preset with all nuisances, labels balanced, fits both models and appends one line an image;
it goes on where the file ends. With --near, quantities in which the models differ are drawn near the values at which they
coincide; the fit is not told. With --noise, so many standard deviations of noise are added; the fit is told. The jury of insdl
is asked about the same images. `report` prints accuracies with binomial errors. `measured` judges the public measurement.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
import numpy.typing as npt

from insdl.dataset.configuration import Configuration, configuration, load_configuration
from insdl.dataset.configured import ConfiguredSource
from insdl.dataset.randomness import generator
from insdl.instrument.measurement import grown, read_pcsmo
from insdl.instrument.pcsmo import CLIP
from insdl.learn.evidence import compare_hypotheses, expected_log_ratio, used_blocks
from insdl.learn.hypothesis import hypotheses
from insdl.learn.jury import Jury, load_jury, member_probabilities

_PRETRAINED = Path(__file__).parents[1] / "python" / "insdl" / "pretrained" / "pcsmo.pt"

STREAM = "bayes limit"
NEAR = {
    "goodenough": {
        "JF2": {"kind": "uniform", "low": -0.5, "high": 0.0},
        "JF3": {"kind": "uniform", "low": 0.0, "high": 0.5},
    },
    "dimer": {"difference": {"kind": "uniform", "low": 0.5, "high": 1.5}},
}
"""Where the models nearly coincide, meV."""


def pair() -> Configuration:
    """The preset with Goodenough and dimer alone: Zener polarons are told from both without an effort."""
    content = load_configuration("pcsmo").model_dump()
    return configuration({**content, "classes": content["classes"][:2]})


def near(given: Configuration) -> Configuration:
    """The configuration with the models' differences drawn small."""
    content = given.model_dump()
    for rival in content["classes"]:
        rival["own"] = NEAR[rival["name"]]
    return configuration(content)


@click.group()
def main() -> None:
    """The Bayes limit of PCSMO."""


@main.command()
@click.option("--images", default=40)
@click.option("--near", "is_near", is_flag=True)
@click.option("--noise", default=0.0, help="Add noise of so many times the standard deviation of an empty pixel.")
@click.option("--output", type=click.Path(path_type=Path), required=True)
@click.option("--threads", default=1)
def run(images: int, is_near: bool, noise: float, output: Path, threads: int) -> None:
    """Fit simulated images, as many as IMAGES in this run."""
    preset = pair()
    drawn = near(preset) if is_near else preset
    stream = STREAM + " near" * is_near
    source = ConfiguredSource(drawn.model_copy(update={"stream": stream, "n_samples": 1_000_000}))
    rivals, jury = hypotheses(preset, detector=source.detector), load_jury(_PRETRAINED)
    first = len(output.read_text("utf-8").splitlines()) if output.exists() else 0
    for number in range(first, first + images):
        row = judged(source, rivals, jury, number, stream, noise, threads)
        with output.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def judged(
    source: ConfiguredSource, rivals: Any, jury: Jury, number: int, stream: str, noise: float, threads: int
) -> dict[str, Any]:
    """Truth and fits of one simulated image."""
    samples = source.make([number], threads=threads)
    counts = source.detect(samples.images[0], generator(source.seed, f"{stream}/detection", number))
    extra, seen = noise * rivals[0].sigma, source.detector.measured
    if noise > 0:
        rng = generator(source.seed, f"{stream}/noise", number)
        counts = np.maximum(counts + extra[:, None, None] * rng.standard_normal(counts.shape), 0.0) * seen
    begin = time.perf_counter()
    found = compare_hypotheses(rivals, counts, seen, extra_sigma=extra, threads=threads)
    seconds = time.perf_counter() - begin
    truth = source.classes[int(samples.labels[0])]
    (rival,) = (name for name in found.fits if name != truth)
    heard = member_probabilities(jury, counts[None].astype(np.float32), seen[None])[:, 0]
    sides = heard[:, [jury.classes.index(truth), jury.classes.index(rival)]]
    true_values = dict(zip(source.parameter_names, samples.parameters[0].tolist(), strict=True))
    true_settings = dict(zip(source.setting_names, samples.settings[0].tolist(), strict=True))
    best = found.fits[truth]
    pulls = {
        name: (best.parameters[name] - true_values[name]) / best.parameter_errors[name] for name in best.parameters
    }
    pulls |= {
        name: (best.values[name] - true_settings[name]) / best.errors[name]
        for name in ("width_factor", "broadening", "twin_fraction")
    }
    return {
        "number": number,
        "truth": truth,
        "parameters": {name: value for name, value in true_values.items() if np.isfinite(value)},
        "by_evidence": found.log_ratio(truth, rival),
        "by_likelihood": found.log_ratio(truth, rival, by="likelihood"),
        "by_jury": float(np.diff(np.log(sides.mean(axis=0)))[0]) * -1.0,
        "by_networks": (np.log(sides[:, 0]) - np.log(sides[:, 1])).tolist(),
        "expected": expected_log_ratio(found.fits[truth], found.fits[rival]),
        "pulls": pulls,
        "at_border": list(best.at_border),
        "iterations": [fit.iterations for fit in found.fits.values()],
        "seconds": round(seconds, 2),
    }


@main.command()
@click.argument("files", type=click.Path(exists=True, path_type=Path), nargs=-1, required=True)
def report(files: Iterable[Path]) -> None:
    """Accuracies, binomial errors, pulls."""
    rows = [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]
    click.echo(f"{len(rows)} images, {np.median([row['seconds'] for row in rows]):.1f} s an image (median)")
    for truth in ("goodenough", "dimer"):
        _line(f"truth {truth}", [row for row in rows if row["truth"] == truth])
    _line("all", rows)
    _line("all, by likelihood", rows, key="by_likelihood")
    if all("by_jury" in row for row in rows):
        _line("all, by the jury", rows, key="by_jury")
        networks = (np.array([row["by_networks"] for row in rows]) > 0).mean(axis=0)
        click.echo(f"each network: {np.round(networks, 4).tolist()}")
        both = sum((row["by_evidence"] > 0) and (row["by_jury"] <= 0) for row in rows)
        neither = sum((row["by_evidence"] <= 0) and (row["by_jury"] > 0) for row in rows)
        click.echo(f"right by evidence and wrong by the jury {both}, the other way {neither}")
    edges = [0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 9.01]
    for low, high in itertools.pairwise(edges):
        some = [row for row in rows if row["truth"] == "dimer" and low <= _difference(row) < high]
        _line(f"dimer, JFW - JFS {low:g} to {high:g} meV", some)
    edges = [0.0, 0.1, 0.2, 0.35, 0.5, 1.0, 2.0, 4.01]
    for low, high in itertools.pairwise(edges):
        some = [row for row in rows if row["truth"] == "goodenough" and low <= _further(row) < high]
        _line(f"goodenough, larger of -JF2 and JF3 {low:g} to {high:g} meV", some)
    edges = [0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0, np.inf]
    for low, high in itertools.pairwise(edges):
        _line(f"expected log-ratio {low:g} to {high:g}", [row for row in rows if low <= row["expected"] < high])
    for name in sorted({name for row in rows for name in row["pulls"]}):
        pulls = np.array([row["pulls"][name] for row in rows if name in row["pulls"]])
        inner = np.diff(np.quantile(pulls, [0.1587, 0.8413]))[0] / 2
        click.echo(
            f"pull of {name}: median {np.median(pulls):+.2f}, half of the central 68 % {inner:.2f}, n {len(pulls)}"
        )


def _line(what: str, rows: list[dict[str, Any]], *, key: str = "by_evidence") -> None:
    if not rows:
        return
    ratios = np.array([row[key] for row in rows])
    n, right = len(ratios), int((ratios > 0).sum())
    accuracy = right / n
    # Wilson's interval at one standard deviation: never empty at 0 or 1.
    middle, half = (
        (accuracy + 0.5 / n) / (1 + 1 / n),
        np.sqrt(accuracy * (1 - accuracy) / n + 0.25 / n**2) / (1 + 1 / n),
    )
    wrong = np.mean(1.0 / (1.0 + np.exp(np.clip(np.abs(ratios), 0, 700))))
    click.echo(
        f"{what}: {right} of {n} right, {accuracy:.4f} ({middle - half:.4f} to {middle + half:.4f}); error that the "
        f"evidence expects {wrong:.4f}; log ratio, smallest {ratios.min():.1f}, median {np.median(ratios):.1f}"
    )


def _difference(row: dict[str, Any]) -> float:
    return float(row["parameters"]["JFW"] - row["parameters"]["JFS"])


def _further(row: dict[str, Any]) -> float:
    return float(max(-row["parameters"]["JF2"], row["parameters"]["JF3"]))


@main.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--only", multiple=True, type=float, help="Incident energies to fit alone, one after the other, meV.")
@click.option("--without", multiple=True, type=float, help="Incident energies to leave out, one after the other, meV.")
@click.option("--noise", default=0.0, help="Add noise of so many times the measured standard deviation.")
@click.option("--zener-polaron", type=click.Choice(["included", "left out"]), default="included")
@click.option("--threads", default=1)
def measured(
    folder: Path,
    only: tuple[float, ...],
    without: tuple[float, ...],
    noise: float,
    zener_polaron: Literal["included", "left out"],
    threads: int,
) -> None:
    """Judge the public measurement, measured.npy in FOLDER with its mask."""
    rivals = hypotheses(load_configuration("pcsmo") if zener_polaron == "included" else pair())
    image = read_pcsmo(folder / "measured.npy")
    frame = rivals[0].simulator.frame
    mask: npt.NDArray[np.bool_] = ~grown(~image.measured)
    counts, extra = np.clip(image.image, 0.0, CLIP), noise * rivals[0].sigma
    if noise > 0:
        rng = generator(0, "noise added to the measurement", 0)
        counts = np.maximum(counts + extra[:, None, None] * rng.standard_normal(counts.shape), 0.0)
    kinds = [("all", mask)]
    kinds += [(f"only {e:g} meV", used_blocks(mask, frame, [e])) for e in only]
    kinds += [(f"without {e:g} meV", used_blocks(mask, frame, [e], mode="without")) for e in without]
    for what, used in kinds[1:] or kinds:
        begin = time.perf_counter()
        found = compare_hypotheses(rivals, counts, mask, used=used, extra_sigma=extra, threads=threads)
        click.echo(f"{what}: {int(used.sum())} pixels, {time.perf_counter() - begin:.1f} s")
        for name, fit in found.fits.items():
            values = {k: f"{v:.3f}+-{fit.parameter_errors[k]:.3f}" for k, v in fit.parameters.items()}
            others = {k: f"{v:.4g}+-{fit.errors[k]:.2g}" for k, v in list(fit.values.items())[-8:]}
            click.echo(
                f"  {name}: log L {fit.log_likelihood:.1f}, log evidence {fit.log_evidence:.1f}, "
                f"P {found.probabilities[name]:.6f}, "
                f"{values} {others} at border {fit.at_border}, hot {fit.faulty.hot:.4f}, dead {fit.faulty.dead:.4f}"
            )
        for other in list(found.fits)[1:]:
            parts = {e: round(v, 1) for e, v in found.by_block("goodenough", other, frame).items()}
            gap = expected_log_ratio(found.fits["goodenough"], found.fits[other])
            ratio, evidence = (found.log_ratio("goodenough", other, by=by) for by in ("likelihood", "evidence"))
            click.echo(
                f"  goodenough - {other}: log L {ratio:.1f}, evidence {evidence:.1f}, expected {gap:.1f}, Vuong "
                f"{found.vuong('goodenough', other):.1f}, by incident energy {parts}"
            )


if __name__ == "__main__":
    main()
