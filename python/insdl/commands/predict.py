"""insdl predict: which model a measurement of PCSMO supports, how sure, with which parameters, and because of what."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
import numpy.typing as npt

from insdl.commands.guard import guarded

_FILE = click.Path(dir_okay=False, path_type=Path)
_BATCH = 32


@dataclass(frozen=True, eq=False)
class Given:
    """Measurements as the networks are given them.

    Attributes
    ----------
    counts : (n, 60, 40, 40) float64, Qh and Qk ascending; zero where not seen. seen : bool, the same shape.
    mask : where the mask came from, in words.
    """

    counts: npt.NDArray[np.float64]
    seen: npt.NDArray[np.bool_]
    mask: str


@click.command()
@click.argument("measurement", type=_FILE)
@click.option("--model", type=_FILE, help="File of insdl train rivals. Default: the one that comes with insdl.")
@click.option("--exchange", type=_FILE, help="File of insdl train exchange, for the parameters. Default: the one that comes "
              "with insdl.")  # fmt: skip
@click.option("--mask", type=_FILE, help="Detector mask, 240 x 400 (.mat or .npy), 1 where no detector looked. Default: "
              "detector_mask.mat beside the measurement, else its zeros.")  # fmt: skip
@click.option("--orientation", type=click.Choice(["measured", "published"]), default="measured", show_default=True,
              help="Which way Qk runs in the file: as in the published measurement or simulations.")  # fmt: skip
@click.option("--required", type=click.FloatRange(0.5, 1.0, min_open=True), default=0.95, show_default=True,
              help="Probability that an answer needs; below it: cannot tell.")  # fmt: skip
@click.option("--fit", is_flag=True, help="Also fit every rival to each image by its likelihood (some 20 s an image).")
@click.option("--report", type=click.Path(path_type=Path), help="Also write a report of one image, with fits and pictures: a "
              "folder, or a file that ends in .html (some two minutes).")  # fmt: skip
@click.option("--threads", type=click.IntRange(1), help="Of the simulation; all processors by default.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one entry for each image.")
def predict(
    measurement: Path,
    model: Path | None,
    exchange: Path | None,
    mask: Path | None,
    orientation: str,
    required: float,
    fit: bool,
    report: Path | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Judge one image of PCSMO, 240 x 400, or a stack of them (n, 240, 400)."""
    kind: Literal["measured", "published"] = "measured" if orientation == "measured" else "published"

    def say(step: str) -> None:
        click.echo(f"{step} ...", err=True)

    def job() -> dict[str, Any]:
        if report is not None:
            from insdl.commands.predict_report import write_report

            return write_report(
                measurement, report, model=model, exchange=exchange, mask=mask, orientation=kind, required=required,
                threads=threads, say=say,
            )  # fmt: skip
        return answers(
            measurement, model=model, exchange=exchange, mask=mask, orientation=kind, required=required,
            fit="likelihood" if fit else "none", threads=threads,
        )  # fmt: skip

    found = guarded(job)
    if as_json:
        click.echo(json.dumps(found, indent=2, allow_nan=False))
        return
    from insdl.commands.predict_words import lines

    for entry in found["images"]:
        click.echo("\n".join(lines(entry)))
    if report is not None:
        click.echo(f"Report: {found['report']}")


def answers(
    measurement: Path,
    *,
    model: Path | None = None,
    exchange: Path | None = None,
    mask: Path | None = None,
    orientation: Literal["measured", "published"] = "measured",
    required: float = 0.95,
    fit: Literal["none", "likelihood"] = "none",
    threads: int | None = None,
) -> dict[str, Any]:
    """What `insdl predict --json` prints.

    Raises
    ------
    FileNotFoundError, ValueError
        For a missing file, another layout, or a file that holds no networks of this kind.
    """
    from insdl.commands.predict_parameters import fit_entry, network_parameters

    given = read_images(measurement, mask=mask, orientation=orientation)
    entries = verdicts(given, jury=pretrained(model), required=required)
    constants, rivals = pretrained_exchange(exchange), pcsmo_rivals() if fit == "likelihood" else ()
    for entry, counts, seen in zip(entries, given.counts, given.seen, strict=True):
        start = network_parameters(constants, counts, seen, entry=entry)
        if rivals:
            entry["fit"] = fit_entry(rivals, counts, seen, start=start, threads=threads)[0] if seen.any() else None
    return {
        "measurement": str(measurement),
        "model": "the one that comes with insdl" if model is None else str(model),
        "exchange": "the one that comes with insdl" if exchange is None else str(exchange),
        "mask": given.mask,
        "required": required,
        "images": entries,
    }


def read_images(
    measurement: Path, *, mask: Path | None = None, orientation: Literal["measured", "published"] = "measured"
) -> Given:
    """An image or a stack of them, and what of each was measured.

    Raises
    ------
    FileNotFoundError, ValueError
        For a missing file or another layout.
    """
    from insdl.instrument.measurement import load_array, read_detector_mask
    from insdl.instrument.pcsmo import INCIDENT_ENERGIES, SLICES, from_sheet
    from insdl.instrument.seen_pixels import seen_pixels

    sheets = load_array(measurement)
    if sheets.ndim == 2:
        sheets = sheets[None]
    if sheets.ndim != 3 or not len(sheets):
        raise ValueError(
            f"{measurement} must hold an image of 240 x 400, or a stack (n, 240, 400), got shape {sheets.shape}"
        )
    images = np.stack([from_sheet(sheet, orientation=orientation) for sheet in sheets])
    beside = measurement.with_name("detector_mask.mat")
    mask_file = mask if mask is not None else beside if beside.is_file() else None
    known = None if mask_file is None else read_detector_mask(mask_file)
    blocks = np.repeat(np.arange(len(INCIDENT_ENERGIES)), SLICES)
    seen = np.stack([seen_pixels(image, blocks, mask=known) for image in images])
    words = "from the zeros of each image" if mask_file is None else str(mask_file)
    return Given(np.where(seen, images, 0.0), seen, words)


def verdicts(given: Given, *, jury: Any, required: float) -> list[dict[str, Any]]:
    """The jury's verdict on each image, as plain values."""
    from insdl.learn.jury import hear, member_probabilities

    entries: list[dict[str, Any]] = []
    for begin in range(0, len(given.counts), _BATCH):
        counts, seen = given.counts[begin : begin + _BATCH], given.seen[begin : begin + _BATCH]
        heard = hear(jury, counts, seen, required=required)
        apart = _finite_members(member_probabilities(jury, np.nan_to_num(counts, posinf=0, neginf=0), seen))
        for number, verdict in enumerate(heard):
            entries.append(
                {
                    "image": begin + number,
                    "verdict": verdict.answer,
                    "probability": {name: float(value) for name, value in verdict.probability.items()},
                    "in_distribution": verdict.in_distribution,
                    "p_value": verdict.p_value,
                    "reason": verdict.reason,
                    "members": [dict(zip(jury.classes, row, strict=True)) for row in apart[:, number].tolist()],
                    "measured_share": float(seen[number].mean()),
                }
            )
    return entries


def pcsmo_rivals() -> Any:
    """The rivals of the preset, ready to be fitted."""
    from insdl.dataset.configuration import load_configuration
    from insdl.learn.hypothesis import hypotheses

    return hypotheses(load_configuration("pcsmo"))


def pretrained(model: Path | None) -> Any:
    """The jury in a file, or the one that comes with insdl."""
    from insdl.learn.jury import load_jury

    return _loaded(model, "pcsmo.pt", load_jury, "insdl train rivals")


def pretrained_exchange(exchange: Path | None) -> Any:
    """What `insdl train exchange` wrote to a file, or what comes with insdl."""
    from insdl.learn.exchange import load_exchange

    return _loaded(exchange, "pcsmo-exchange.pt", load_exchange, "insdl train exchange")


def _loaded(file: Path | None, name: str, load: Callable[[Path], Any], command: str) -> Any:
    from importlib import resources

    if file is not None:
        return load(file)
    with resources.as_file(resources.files("insdl") / "pretrained" / name) as own:
        if not own.is_file():
            raise FileNotFoundError(f"this build of insdl carries no trained networks: {command} makes some")
        return load(own)


def _finite_members(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.nan_to_num(values)
