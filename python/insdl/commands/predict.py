"""insdl predict: which model a measurement of PCSMO supports, how sure, and whether it is like any of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
import numpy.typing as npt

from insdl.commands.guard import guarded

_FILE = click.Path(dir_okay=False, path_type=Path)
_BATCH = 32


@click.command()
@click.argument("measurement", type=_FILE)
@click.option("--model", type=_FILE, help="File of insdl train. Default: the one that comes with insdl.")
@click.option("--mask", type=_FILE, help="Detector mask, 240 x 400 (.mat or .npy), 1 where no detector looked. Default: "
              "detector_mask.mat beside the measurement, else its zeros.")  # fmt: skip
@click.option("--orientation", type=click.Choice(["measured", "published"]), default="measured", show_default=True,
              help="Which way Qk runs in the file: as in the published measurement or simulations.")  # fmt: skip
@click.option("--required", type=click.FloatRange(0.5, 1.0, min_open=True), default=0.95, show_default=True,
              help="Probability that an answer needs; below it: cannot tell.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one entry for each image.")
def predict(
    measurement: Path, model: Path | None, mask: Path | None, orientation: str, required: float, as_json: bool
) -> None:
    """Judge one image of PCSMO, 240 x 400, or a stack of them (n, 240, 400)."""

    def job() -> dict[str, Any]:
        kind: Literal["measured", "published"] = "measured" if orientation == "measured" else "published"
        return answers(measurement, model=model, mask=mask, orientation=kind, required=required)

    found = guarded(job)
    if as_json:
        click.echo(json.dumps(found, indent=2, allow_nan=False))
        return
    for entry in found["images"]:
        click.echo(sentence(entry))


def answers(
    measurement: Path,
    *,
    model: Path | None = None,
    mask: Path | None = None,
    orientation: Literal["measured", "published"] = "measured",
    required: float = 0.95,
) -> dict[str, Any]:
    """What `insdl predict --json` prints.

    Raises
    ------
    FileNotFoundError, ValueError
        For a missing file, another layout, or a file that is no jury.
    """
    from insdl.instrument.measurement import load_array, read_detector_mask
    from insdl.instrument.pcsmo import INCIDENT_ENERGIES, SLICES, from_sheet
    from insdl.instrument.seen_pixels import seen_pixels
    from insdl.learn.jury import hear, member_probabilities

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
    jury = pretrained(model)
    entries: list[dict[str, Any]] = []
    for begin in range(0, len(images), _BATCH):
        rows = slice(begin, begin + _BATCH)
        clean = np.where(seen[rows], images[rows], 0.0)
        verdicts = hear(jury, clean, seen[rows], required=required)
        apart = _finite_members(member_probabilities(jury, np.nan_to_num(clean, posinf=0, neginf=0), seen[rows]))
        for number, verdict in enumerate(verdicts):
            entries.append(
                {
                    "image": begin + number,
                    "verdict": verdict.answer,
                    "probability": {name: float(value) for name, value in verdict.probability.items()},
                    "in_distribution": verdict.in_distribution,
                    "p_value": verdict.p_value,
                    "reason": verdict.reason,
                    "members": [dict(zip(jury.classes, row, strict=True)) for row in apart[:, number].tolist()],
                    "measured_share": float(seen[begin + number].mean()),
                }
            )
    return {
        "measurement": str(measurement),
        "model": "the one that comes with insdl" if model is None else str(model),
        "mask": "from the zeros of each image" if mask_file is None else str(mask_file),
        "required": required,
        "images": entries,
    }


def sentence(entry: dict[str, Any]) -> str:
    """The answer for one image in words."""
    shares = ", ".join(f"{name} {value:.4f}" for name, value in entry["probability"].items())
    return f"Image {entry['image']}: {entry['verdict']} ({shares}). {entry['reason'][:1].upper()}{entry['reason'][1:]}."


def pretrained(model: Path | None) -> Any:
    """The jury in a file, or the one that comes with insdl."""
    from importlib import resources

    from insdl.learn.jury import load_jury

    if model is not None:
        return load_jury(model)
    with resources.as_file(resources.files("insdl") / "pretrained" / "pcsmo.pt") as file:
        if not file.is_file():
            raise FileNotFoundError("this build of insdl carries no trained networks: insdl train rivals makes some")
        return load_jury(file)


def _finite_members(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.nan_to_num(values)
