"""The report of the Rb2MnF4 job."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from insdl import plot
from insdl.commands.rb2mnf4_result import NAMED
from insdl.instrument.frame import ImageFrame
from insdl.instrument.measurement import Measurement
from insdl.learn.train import TrainingResult
from insdl.report import Picture, Section, Table, png, render

if TYPE_CHECKING:
    from insdl.commands.rb2mnf4_held_out import HeldOut


def estimate_sentence(result: dict[str, Any]) -> str:
    """The estimate in one sentence."""
    parts = [
        f"{name} = {result['estimate'][name]:.4f} ± {result['error'][name]:.4f} meV ({result['constraint'][name]})"
        for name in NAMED
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
            held_out.truth[:300, : len(NAMED)],
            held_out.estimate[:300, : len(NAMED)],
            held_out.sigma[:300, : len(NAMED)],
            NAMED,
            title="Held-out simulated maps, network",
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
    truth, tested, statement = result["truth"], result["held_out"], result["identifiability"]
    estimates = Table(
        ["meV", "refined", "error", "worth", "network", "error", "components", "literature", "truth of this map"],
        [
            [
                name,
                f"{result['estimate'][name]:.4f}",
                f"{result['error'][name]:.4f}",
                result["constraint"][name],
                f"{result['network']['estimate'][name]:.4f}",
                f"{result['network']['error'][name]:.4f}",
                f"{result['baseline'][name]:.4f}",
                "{:.3f} ± {:.3f}".format(*result["literature"][name]) if name in result["literature"] else "",
                f"{truth[name]:.4f}" if truth else "unknown",
            ]
            for name in result["network"]["estimate"]
        ],
    )
    test = Table(
        ["", *tested["rmse"]],
        [
            [label, *(f"{value:{form}}" for value in tested[key].values())]
            for label, key, form in (
                ("rms error of the network (meV)", "rmse", ".5f"),
                ("rms error of principal components with a cubic regression (meV)", "baseline_rmse", ".5f"),
                ("rms error after refinement (meV)", "refined_rmse", ".5f"),
                ("rms error of the posterior's mean (meV)", "posterior_rmse", ".5f"),
                ("Cramér-Rao bound and prior, rms (meV)", "reference_rms", ".5f"),
                ("rms z-score of the network", "z_rms", ".2f"),
                ("rms z-score after refinement", "refined_z_rms", ".2f"),
                ("share within one error of the network", "share_within_one_error", ".2f"),
            )
        ],
    )
    fit = result["refinement"]
    moved = statement["shift_by_0.05_meV_of_energy_zero"]
    best = statement["other_windows"][0]
    return [
        Section("The measurement", [f"Source: {result['measurement']['source']}.", Picture(images["measured"], "Counts.")]),
        Section(
            "The estimate",
            [
                estimates,
                "Refined: the most probable values by the likelihood of the counts, through the simulator, from the network's "
                f"answer on (chi-squared {fit['chi_squared_per_degree_of_freedom']:.3f} per degree of freedom, "
                f"{fit['steps']} steps{'' if fit['converged'] else ', not converged'}). Components: the baseline, principal "
                "components of the map and a cubic polynomial in them.",
                "Agreement with the literature is no evidence where the prior is as narrow as the claim; the held-out test is.",
            ],
        ),
        Section(
            "What this map can tell",
            [
                "r is the error over the prior's width: under 0.3 measured, 0.3 to 0.7 weak, above it is the prior.",
                *(f"{sentence.rstrip('.')}." for sentence in statement["sentences"]),
                "A zero of energy that is wrong by 0.05 meV would move "
                + ", ".join(f"{name} by {moved[name]:+.4f} meV" for name in NAMED)
                + ".",
                "Of the windows tried for the same time of measuring, "
                + ", ".join(f"{low:g} to {high:g}" for low, high in best["windows"])
                + f" meV tell J1 best: ± {best['error']:.4f} meV (r = {best['ratio']:.2g}).",
            ],
        ),
        Section("How sure", [test, Picture(images["held-out"], "Maps that nothing was chosen on."), Picture(
            images["training"], "Negative log-likelihood.")]),
        Section("What no map can tell", [result["cannot_tell"]]),
        Section("Because of what", [Picture(images[f"grad-cam-{name}"], f"Where the network looks for {name}: red raises "
                "the estimate, blue lowers it.") for name in NAMED]),
        Section(
            "What made this",
            [
                Table(["setting", "value"], [[k, str(v)] for k, v in result["configuration"].items()]),
                Table(["version of", ""], [[k, v] for k, v in result["versions"].items()]),
            ],
        ),
    ]  # fmt: skip
