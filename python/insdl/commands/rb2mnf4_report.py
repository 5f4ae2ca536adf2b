"""The report of the Rb2MnF4 job."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from insdl import plot
from insdl.dataset.rb2mnf4 import PARAMETERS
from insdl.instrument.frame import ImageFrame
from insdl.instrument.measurement import Measurement
from insdl.learn.train import TrainingResult
from insdl.report import Picture, Section, Table, png, render

if TYPE_CHECKING:
    from insdl.commands.rb2mnf4 import HeldOut


def estimate_sentence(result: dict[str, Any]) -> str:
    """The estimate in one sentence."""
    parts = [
        f"{name} = {result['estimate'][name]:.4f} ± {result['error'][name]:.4f} meV ({result['constraint'][name]})"
        for name in PARAMETERS
    ]
    return ", ".join(parts) + "."


def write_report(
    work: Path,
    result: dict[str, Any],
    measurement: Measurement,
    frame: ImageFrame,
    held_out: HeldOut,
    training: TrainingResult,
    maps: Mapping[str, npt.NDArray[np.floating]],
) -> None:
    """report.html with its pictures, which are also left as PNG files."""
    figures = {
        "measured": plot.cell_sheet(
            frame,
            np.sqrt(measurement.image),
            title="Measured",
            label="square root of counts",
            measured=measurement.measured,
        ),
        "held-out": plot.estimates(
            held_out.truth[:300],
            held_out.estimate[:300],
            held_out.sigma[:300],
            PARAMETERS,
            title="Held-out simulated maps",
        ),
        "training": plot.histories(
            {"network": ([e.train_loss for e in training.history], [e.validation_loss for e in training.history])},
            title="Training",
        ),
    }
    for name, values in maps.items():
        bound = float(np.abs(values).max()) or 1.0
        figures[f"grad-cam-{name}"] = plot.single_map(
            frame,
            values,
            title=f"Grad-CAM of {name} (first block, all windows together)",
            label="evidence for a larger value",
            limits=(-bound, bound),
            measured=np.asarray(measurement.measured.any(axis=0)),
        )
    images = {name: png(figure) for name, figure in figures.items()}
    for name, image in images.items():
        (work / f"{name}.png").write_bytes(image)
    (work / "report.html").write_text(
        render("Rb2MnF4: exchange constants from a map", estimate_sentence(result), _sections(result, images)), "utf-8"
    )


def _sections(result: dict[str, Any], images: dict[str, bytes]) -> list[Section]:
    truth = result["truth"]
    template = result["template"]["parameters"]
    estimates = Table(
        ["", "network (meV)", "error (meV)", "worth", "template (meV)", "literature (meV)", "truth of this map (meV)"],
        [
            [
                name,
                f"{result['estimate'][name]:.4f}",
                f"{result['error'][name]:.4f}",
                result["constraint"][name],
                f"{template[name]:.4f}",
                "{:.3f} ± {:.3f}".format(*result["literature"][name]),
                f"{truth[name]:.4f}" if truth else "unknown",
            ]
            for name in PARAMETERS
        ],
    )
    tested = result["held_out"]
    test = Table(
        ["", "rmse (meV)", "rms z-score before calibration", "factor on the error", "share within one error"],
        [
            [
                name,
                f"{tested['rmse'][name]:.5f}",
                f"{tested['z_rms_before_calibration'][name]:.2f}",
                f"{tested['calibration_factor'][name]:.2f}",
                f"{100 * tested['share_within_one_error'][name]:.0f} %",
            ]
            for name in PARAMETERS
        ],
    )
    return [
        Section("The measurement", [f"Source: {result['measurement']['source']}.", Picture(images["measured"], "Counts.")]),
        Section(
            "The estimate",
            [
                estimates,
                "Worth: the error against the prior's width; under 0.3 measured, 0.3 to 0.7 weak, above it is the prior. "
                "Template: the simulated map that correlates best with the counts, each window with a free flat background "
                f"(r = {result['template']['correlation']:.4f}).",
                "Agreement with the literature is no evidence where the prior is as narrow as the claim; the held-out test is.",
            ],
        ),
        Section("How sure", [test, Picture(images["held-out"], "Maps that nothing was chosen on."), Picture(
            images["training"], "Negative log-likelihood.")]),
        Section("What a map cannot tell", [result["cannot_tell"]]),
        Section("Because of what", [Picture(images[f"grad-cam-{name}"], f"Where the network looks for {name}: red raises "
                "the estimate, blue lowers it.") for name in PARAMETERS]),
        Section(
            "What made this",
            [
                Table(["setting", "value"], [[k, str(v)] for k, v in result["configuration"].items()]),
                Table(["version of", ""], [[k, v] for k, v in result["versions"].items()]),
            ],
        ),
    ]  # fmt: skip
