"""insdl guide: what to measure next, from what was measured so far."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np

from insdl.commands.guard import guarded

_FILE = click.Path(dir_okay=False, path_type=Path)
_TARGETS = {"J1": 0.001, "J2": 0.0006}
_STARTS = 300


@click.command()
@click.argument("measurement", type=_FILE)
@click.option("--magnet", type=click.Choice(["pcsmo", "rb2mnf4"]), default="pcsmo", show_default=True,
              help="Which model of PCSMO, or the exchanges of Rb2MnF4.")  # fmt: skip
@click.option("--more", type=click.FloatRange(0.0, min_open=True), help="Counting time to plan, in units of the time of one "
              "incident energy so far (PCSMO, default 0.1) or of one window (Rb2MnF4, default 1).")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--picture", type=_FILE, help="PCSMO: a picture of where evidence is expected (.png, .pdf or .svg).")
@click.option("--planner", type=_FILE, default=Path("insdl-planner.pt"), show_default=True,
              help="PCSMO: file of what was simulated and trained beforehand; made, in minutes, if not there.")  # fmt: skip
@click.option("--model", "models", multiple=True, help="PCSMO: a rival, twice or more. Default: goodenough and dimer.")
@click.option("--mask", type=_FILE, help="PCSMO: detector mask, 240 x 400 (.mat or .npy).")
@click.option("--time", type=click.FloatRange(0.0, min_open=True), default=1.0, show_default=True,
              help="PCSMO: counting time so far at each incident energy; 1 is that of the published measurement.")  # fmt: skip
@click.option("--window", "windows", type=(float, float), multiple=True,
              help="Rb2MnF4: a window of the map (meV). Default: the eight of the preset rb2mnf4-eight-windows.")  # fmt: skip
@click.option("--target", "targets", type=(str, float), multiple=True,
              help="Rb2MnF4: a parameter and its wanted error bar (meV). Default: J1 0.001 and J2 0.0006.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of everything random.")
@click.option("--threads", type=click.IntRange(1), help="Threads; all processors by default.")
@click.option("--quiet", is_flag=True, help="No progress on the error stream.")
def guide(
    measurement: Path,
    magnet: str,
    more: float | None,
    as_json: bool,
    picture: Path | None,
    planner: Path,
    models: tuple[str, ...],
    mask: Path | None,
    time: float,
    windows: tuple[tuple[float, float], ...],
    targets: tuple[tuple[str, float], ...],
    seed: int,
    threads: int | None,
    quiet: bool,
) -> None:
    """What to measure next: the gain in the verdict, or in error bars, per counting time."""

    def job() -> tuple[dict[str, Any], str]:
        if magnet == "rb2mnf4":
            if picture is not None or models or mask is not None:
                raise ValueError("--picture, --model and --mask are for --magnet pcsmo")
            return window_advice(measurement, windows=windows, targets=dict(targets) or _TARGETS, more=more or 1.0,
                                 seed=seed, threads=threads)  # fmt: skip
        if windows or targets:
            raise ValueError("--window and --target are for --magnet rb2mnf4")
        return model_advice(measurement, planner=planner, models=models or ("goodenough", "dimer"), mask=mask, time=time,
                            more=more or 0.1, picture=picture, seed=seed, threads=threads,
                            progress="silent" if quiet else "lines")  # fmt: skip

    found, text = guarded(job)
    click.echo(json.dumps(found, indent=2, allow_nan=False) if as_json else text)


def model_advice(
    measurement: Path,
    *,
    planner: Path,
    models: Sequence[str],
    mask: Path | None = None,
    time: float = 1.0,
    more: float = 0.1,
    picture: Path | None = None,
    seed: int = 0,
    threads: int | None = None,
    progress: Literal["lines", "silent"] = "silent",
) -> tuple[dict[str, Any], str]:
    """Advice about PCSMO as JSON, and in words. Times are in units of the published measurement's.

    Raises
    ------
    FileNotFoundError, ValueError
        For a missing file or another layout, or a planner of something else.
    """
    from insdl.dataset.configuration import load_configuration
    from insdl.guide.advice import advice_text, advise
    from insdl.guide.from_image import belief_of
    from insdl.guide.planner_file import open_planner
    from insdl.instrument.measurement import read_pcsmo

    if len(models) < 2:
        raise ValueError(f"--model must be given twice or more, got {list(models)}")
    if picture is not None and picture.suffix not in (".png", ".pdf", ".svg"):
        raise ValueError(f"--picture must end with .png, .pdf or .svg, got {picture.name}")
    image = read_pcsmo(measurement, mask=mask)
    told = _told if progress == "lines" else None
    known = open_planner(planner, load_configuration("pcsmo"), models=models, threads=threads, progress=told)
    belief = belief_of(known, image.image, image.measured, time=time, seed=seed)
    advice = advise(known, belief, time=more * time, seed=seed)
    if picture is not None:
        from insdl.plot_guide import advice_figure

        frame = known.configuration.frame.image_frame()
        advice_figure(advice, frame, image.image, image.measured).savefig(picture, dpi=110)
    found = {
        "measurement": image.source,
        "probabilities": dict(advice.probabilities),
        "pair": list(advice.pair),
        "time": advice.time,
        "next": [{**asdict(one), "information_per_time": one.rate} for one in advice.gains],
        "places": [asdict(one) for one in advice.places],
        "evidence_by_cell": advice.cells.tolist(),
        "errors_now": dict(advice.errors_now),
        "errors_after": {f"{energy:g}": dict(errors) for energy, errors in advice.errors.items()},
        "effective_particles": dict(advice.effective),
        "surrogate_share": dict(advice.surrogate),
    }
    return found, f"Measurement: {image.source}.\n{advice_text(advice)}"


def window_advice(
    measurement: Path,
    *,
    windows: Sequence[tuple[float, float]],
    targets: dict[str, float],
    more: float = 1.0,
    seed: int = 0,
    threads: int | None = None,
) -> tuple[dict[str, Any], str]:
    """Advice about Rb2MnF4 as JSON, and in words. Times are in units of each window's so far.

    Raises
    ------
    FileNotFoundError, ValueError
        For a missing file, another layout, or targets that are none of the model's parameters.
    """
    from insdl.dataset.configuration import configuration, load_configuration
    from insdl.dataset.counted_maps import MapNuisances, with_windows
    from insdl.dataset.randomness import generator
    from insdl.guide.allocation import best_allocation, ranked_windows, time_needed
    from insdl.guide.window_loop import refined
    from insdl.instrument.measurement import load_array
    from insdl.learn.counting_likelihood import CountingProblem
    from insdl.learn.map_inference import forward_model, free_prior

    counts = load_array(measurement)
    if counts.ndim != 3 or counts.shape[1] != counts.shape[2] or np.nanmin(counts, initial=0.0) < 0:
        raise ValueError(f"{measurement} must hold counts (n_windows, n, n), not negative, got shape {counts.shape}")
    given = load_configuration("rb2mnf4-eight-windows")
    given = with_windows(given, windows) if windows else given
    edge = 1.0 - 1.0 / counts.shape[1]
    content = given.model_dump()
    content["frame"]["pixels"] = {"first": -edge, "last": edge, "count": counts.shape[1]}
    given = configuration(content)
    bins = given.frame.blocks[0].bins
    if len(counts) != len(bins):
        raise ValueError(
            f"{measurement} must hold {len(bins)} windows, one for each of {list(bins)}, got {len(counts)}"
        )
    prior = free_prior(given, MapNuisances())
    expected = forward_model(given, prior, threads=threads)
    measured = np.isfinite(counts) & _looked(given)
    rng = generator(seed, "guide/starts", 0)
    points = prior.low + (prior.high - prior.low) * rng.random((_STARTS, len(prior.names)))
    images = expected(points)
    stable = np.isfinite(images).all(axis=(1, 2, 3))
    ones = np.ones(len(bins))
    problem = CountingProblem(np.where(measured, counts, 0.0), measured)
    fit, known = refined(problem, expected, prior=prior, time=ones, starts=(points[stable], images[stable]))
    errors = known.errors(ones)
    best = best_allocation(known, targets=targets, time=more, spent=ones)
    even = np.full(len(bins), 1.0 / len(bins))
    ranked = ranked_windows(known, targets=targets, time=more, spent=ones)
    needed = {
        "guided": time_needed(known, targets=targets, shares=best, spent=ones),
        "even": time_needed(known, targets=targets, shares=even, spent=ones),
    }
    found = {
        "estimate": dict(fit.values),
        "errors_now": {name: errors[name] for name in targets},
        "targets": targets,
        "time": more,
        "next": [{"window": list(bins[window]), "errors_after": after} for window, after in ranked],
        "shares": (best / more).tolist(),
        "time_to_targets": {name: value if np.isfinite(value) else None for name, value in needed.items()},
    }
    lines = [
        "So far: " + ", ".join(f"{name} = {fit.values[name]:.5g} +- {errors[name]:.2g} meV" for name in targets) + ".",
        f"Error bars (meV) after {more:g} more of one window's time, all in one window:",
        f"{'window (meV)':>16}" + "".join(f"{name:>11}" for name in targets) + f"{'best share':>12}",
    ]
    for window, after in ranked:
        low, high = bins[window]
        lines.append(
            f"{f'{low:g} to {high:g}':>16}" + "".join(f"{after[name]:11.3g}" for name in targets)
            + f"{best[window] / more:12.2f}"
        )  # fmt: skip
    wanted = ", ".join(f"{name} {value:g}" for name, value in targets.items())
    lines.append(
        f"To error bars of {wanted} meV: {needed['guided']:.3g} more in the best shares, {needed['even']:.3g} evenly."
    )
    return found, "\n".join(lines)


def _looked(given: Any) -> Any:
    from insdl.dataset.configured import ConfiguredSource

    return ConfiguredSource(given).detector.measured


def _told(what: str, done: int, total: int) -> None:
    if done in (0, total):
        click.echo(f"{what}: {done} of {total}", err=True)
