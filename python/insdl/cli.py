"""The command line: insdl pcsmo, rb2mnf4, predict, train, denoise, explain, guide, realism, measured, dataset, fetch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from insdl.commands.dataset import dataset
from insdl.commands.denoise import denoise
from insdl.commands.explain import explain
from insdl.commands.guard import guarded
from insdl.commands.guide import guide
from insdl.commands.measured import measured
from insdl.commands.predict import predict
from insdl.commands.realism import realism
from insdl.commands.train import train

_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="insdl")
def main() -> None:
    """Inelastic neutron scattering, understood with deep learning."""


for command in (dataset, denoise, explain, guide, measured, predict, realism, train):
    main.add_command(command)


def _common(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--quiet", is_flag=True, help="No progress on the error stream."),
        click.option("--threads", type=click.IntRange(1), help="Threads; all processors by default."),
        click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of everything random."),
        click.option("--epochs", type=click.IntRange(1), help="Epochs of training."),
        click.option("--training-images", type=click.IntRange(2), help="Simulated images to train on."),
    ):
        command = option(command)
    return command


def _changed(settings: Any, *, epochs: int | None, **values: Any) -> Any:
    """Settings of a job with the options that were given."""
    if epochs is not None:
        values["training"] = replace(settings.training, epochs=epochs)
    return replace(settings, **{name: value for name, value in values.items() if value is not None})


@main.command()
@click.option("--measured", type=_FILE, help="Measured image, 240 x 400 (.npy). Without it insdl makes its own.")
@click.option("--mask", type=_FILE, help="Detector mask, 240 x 400 (.mat or .npy), 1 where no detector looked. Default: "
              "detector_mask.mat beside the image, else the zeros of the image.")  # fmt: skip
@click.option("--orientation", type=click.Choice(["measured", "published"]), default="measured", show_default=True,
              help="Which way Qk runs in the file: as in the published measurement or simulations.")  # fmt: skip
@click.option("--truth", type=click.Choice(["goodenough", "dimer"]), default="goodenough", show_default=True,
              help="Model of the measurement that insdl makes.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(1), default=5, show_default=True, help="Number of networks.")
@click.option("--output", type=_FOLDER, default=Path("insdl-pcsmo"), show_default=True, help="Folder for the result.")
@_common
def pcsmo(
    measured: Path | None,
    mask: Path | None,
    orientation: str,
    truth: str,
    seeds: int,
    training_images: int | None,
    epochs: int | None,
    output: Path,
    seed: int,
    threads: int | None,
    quiet: bool,
) -> None:
    """Goodenough or dimer? A verdict on a measured image of PCSMO, how sure, and because of what."""

    def job() -> dict[str, Any]:
        from insdl.commands.pcsmo import PcsmoSettings, run
        from insdl.instrument.measurement import read_pcsmo

        if mask is not None and measured is None:
            raise ValueError("--mask needs --measured")
        measurement = (
            None
            if measured is None
            else read_pcsmo(measured, mask=mask, orientation="measured" if orientation == "measured" else "published")
        )
        settings = PcsmoSettings(
            seeds=seeds, seed=seed, threads=threads, truth="goodenough" if truth == "goodenough" else "dimer"
        )
        settings = _changed(settings, training_images=training_images, epochs=epochs)
        return run(measurement, output, settings, progress=not quiet)

    result = guarded(job)
    from insdl.commands.pcsmo_report import agreement_sentence, verdict_sentence

    click.echo(f"Measurement: {result['measurement']['source']}.")
    click.echo(verdict_sentence(result))
    for name, value in result["template_correlation"].items():
        click.echo(f"Best {name} template: r = {value:.4f}.")
    for cell in result["template_evidence"]["strongest_cells"][:3]:
        low, high = cell["energy"]
        click.echo(
            f"In the image: Ei = {cell['incident_energy']:g} meV, {low:.3g} to {high:.3g} meV holds "
            f"{cell['share_percent']:+.1f} % of the templates' evidence (+ for goodenough)."
        )
    click.echo(agreement_sentence(result))
    click.echo(f"Report: {output / 'report.html'}")


@main.command()
@click.option("--measured", type=_FILE, help="Counts (n_windows, 64, 64) over Qh, Qk in [-1, 1] (.npy), NaN where not "
              "measured. Without it insdl makes its own.")  # fmt: skip
@click.option("--window", "windows", type=(float, float), multiple=True, help="An energy window, meV; once for each. "
              "Default: 1 2.75, 2.75 4.5, 4.5 6.25, 6.25 8.")  # fmt: skip
@click.option("--output", type=_FOLDER, default=Path("insdl-rb2mnf4"), show_default=True, help="Folder for the result.")
@_common
def rb2mnf4(
    measured: Path | None,
    windows: tuple[tuple[float, float], ...],
    training_images: int | None,
    epochs: int | None,
    output: Path,
    seed: int,
    threads: int | None,
    quiet: bool,
) -> None:
    """J1 and J2 of Rb2MnF4 from a map, with error bars, and what such a map cannot tell."""

    def job() -> dict[str, Any]:
        from insdl.commands.rb2mnf4 import Rb2mnf4Settings, run

        settings = Rb2mnf4Settings(seed=seed, threads=threads)
        settings = _changed(settings, training_images=training_images, epochs=epochs, windows=windows or None)
        return run(measured, output, settings, progress=not quiet)

    result = guarded(job)
    from insdl.commands.rb2mnf4_report import estimate_sentence

    click.echo(f"Measurement: {result['measurement']['source']}.")
    click.echo(estimate_sentence(result))
    click.echo(result["cannot_tell"])
    click.echo(f"Report: {output / 'report.html'}")


@main.command()
@click.argument("what", type=click.Choice(["pcsmo"]))
def fetch(what: str) -> None:
    """Download the public PCSMO measurement (or find it under INSDL_DATA) and print where it lies."""

    def job() -> Path:
        from insdl.measured_data import fetch_pcsmo

        return fetch_pcsmo()

    folder = guarded(job)
    click.echo(f"{folder / 'measured.npy'}")
