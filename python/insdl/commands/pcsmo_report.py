"""The report of the PCSMO job."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from insdl import plot
from insdl.dataset.pcsmo import CLASSES
from insdl.instrument.measurement import Measurement
from insdl.instrument.pcsmo import pcsmo_frame
from insdl.report import Picture, Section, Table, png, render

if TYPE_CHECKING:
    from insdl.commands.pcsmo import SeedAnswer


ACCURACY_TO_BELIEVE = 0.95
"""Held-out accuracy below which a verdict is given with a warning."""


def verdict_sentence(result: dict[str, Any]) -> str:
    """The answer in one sentence, with what limits it."""
    name = result["verdict"]
    lowest = min(row[name] for row in result["probability"].values())
    agree = "agrees" if result["template_verdict"] == name else f"DISAGREES (it prefers {result['template_verdict']})"
    doubt = (
        f" The networks are right on too few held-out images (below {ACCURACY_TO_BELIEVE}) for this to be believed."
        if result["held_out_accuracy"] < ACCURACY_TO_BELIEVE
        else ""
    )
    return (
        f"{name.capitalize()}: mean probability {result['mean_probability'][name]:.4f} over {len(result['probability'])} "
        f"networks (lowest {lowest:.4f}; {result['seeds_for_verdict']} of {len(result['probability'])} networks), "
        f"held-out accuracy {result['held_out_accuracy']:.3f}. The template baseline {agree}.{doubt}"
    )


def agreement_sentence(result: dict[str, Any]) -> str:
    """How far the explanations of the networks agree, and what that is worth."""
    agreement = result["explanation"]["agreement_between_networks"]
    if agreement is None:
        return "One network only: no statement on how stable its Grad-CAM map is."
    worth = "read physics into them with care" if agreement >= 0.6 else "do not read physics into them"
    return f"The networks' Grad-CAM maps correlate by {agreement:.2f} on average (1: full agreement); {worth}."


def write_report(
    work: Path,
    result: dict[str, Any],
    measurement: Measurement,
    answers: list[SeedAnswer],
    evidence: npt.NDArray[np.float64],
    templates: Mapping[str, npt.NDArray[np.float64]],
) -> None:
    """report.html with its pictures, which are also left as PNG files."""
    from insdl.commands.pcsmo import importance, share

    frame = pcsmo_frame()
    seen = np.log1p(measurement.image)
    limits = (0.0, float(np.percentile(seen[measurement.measured], 99.7)))
    figures = {
        "measured": plot.cell_sheet(
            frame, seen, title="Measured", label="log(1 + counts)", measured=measurement.measured, limits=limits
        ),
        "evidence": plot.cell_bars(
            frame,
            share(evidence),
            None,
            title="Which cells resemble Goodenough (+) or dimer (-) more",
            label="per cent",
        ),
    }
    for name, template in templates.items():
        figures[f"template-{name}"] = plot.cell_sheet(
            frame,
            np.log1p(template),
            title=f"Best template of {name}: r = {result['template_correlation'][name]:.4f}",
            label="log(1 + counts)",
            measured=measurement.measured,
            limits=limits,
        )
    mean, spread = importance(answers)
    strongest = [int(n) for n in np.argsort(-np.abs(mean))[:12]]
    for name in (*CLASSES, "goodenough - dimer"):
        average = np.mean([a.maps[name] / max(float(np.abs(a.maps[name]).max()), 1e-30) for a in answers], axis=0)
        bound = float(np.percentile(np.abs(average), 99.5)) or 1.0
        figures[f"grad-cam-{name.replace(' - ', '-minus-')}"] = plot.cell_sheet(
            frame,
            average,
            title=f"Grad-CAM on the measurement: {name} (mean of {len(answers)} networks)",
            label="share of each network's largest value",
            measured=measurement.measured,
            colours="RdBu_r",
            limits=(-bound, bound),
            highlight=strongest if "-" in name else (),
        )
    figures["cells"] = plot.cell_bars(
        frame, mean, spread, title="Share of each cell in the contrast goodenough - dimer", label="per cent"
    )
    figures["training"] = plot.histories(
        {
            f"network {n + 1}": (
                [e.train_loss for e in a.training.history],
                [e.validation_loss for e in a.training.history],
            )
            for n, a in enumerate(answers)
        },
        title="Training",
    )
    images = {name: png(figure) for name, figure in figures.items()}
    for name, image in images.items():
        (work / f"{name}.png").write_bytes(image)
    sections = _sections(result, images)
    (work / "report.html").write_text(
        render("PCSMO: which magnetic model?", verdict_sentence(result), sections), "utf-8"
    )


def _sections(result: dict[str, Any], images: dict[str, bytes]) -> list[Section]:
    classes = result["classes"]
    probabilities = Table(
        ["network", *[f"P({c})" for c in classes], *[f"P({c}), mirrored" for c in classes], "held-out accuracy"],
        [
            [
                str(int(seed) + 1),
                *[f"{row[c]:.4f}" for c in classes],
                *[f"{result['probability_mirrored'][seed][c]:.4f}" for c in classes],
                f"{result['held_out_accuracy_per_seed'][int(seed)]:.4f}",
            ]
            for seed, row in result["probability"].items()
        ],
    )
    templates = Table(
        ["model", "correlation", "parameters of the best template (meV)"],
        [
            [
                name,
                f"{fit['correlation']:.4f}",
                ", ".join(f"{p} {v:.3f}" for p, v in fit["parameters"].items()) + f"; scale {fit['scale']:.2f}",
            ]
            for name, fit in result["templates"].items()
        ],
    )
    cells = Table(
        ["incident energy (meV)", "energy transfer (meV)", "share (%), + for goodenough", "spread over networks (%)"],
        [
            [
                f"{c['incident_energy']:g}",
                f"{c['energy'][0]:.3g} to {c['energy'][1]:.3g}",
                f"{c['share_percent']:+.1f}",
                f"{c['spread_percent']:.1f}",
            ]
            for c in result["explanation"]["strongest_cells"]
        ],
    )
    evidence = Table(
        ["incident energy (meV)", "energy transfer (meV)", "share (%), + for goodenough"],
        [
            [f"{c['incident_energy']:g}", "{:.3g} to {:.3g}".format(*c["energy"]), f"{c['share_percent']:+.1f}"]
            for c in result["template_evidence"]["strongest_cells"]
        ],
    )
    return [
        Section(
            "The measurement",
            [
                f"Source: {result['measurement']['source']}.",
                Picture(images["measured"], "Every small map is one cell: an incident energy (row) and an energy slice "
                        "(column), over (Qh, Qk) in r.l.u. Grey: no detector."),
            ],
        ),
        Section(
            "How sure",
            [
                "Each network has its own initial weights, batch order and detection noise. None of them saw the "
                "measurement or the held-out set.",
                probabilities,
                *result["caveats"],
                Picture(images["training"], "Loss on training and validation sets; the best epoch's weights were kept."),
            ],
        ),
        Section(
            "The honest baseline",
            [
                "Pearson correlation of log(1 + counts) with the simulated image that resembles the measurement most, "
                "over parameters, widths, shifts and scale.",
                templates,
                Picture(images["template-goodenough"], "Best Goodenough template."),
                Picture(images["template-dimer"], "Best dimer template."),
            ],
        ),
        Section(
            "Because of what: the image",
            [
                "Where the best Goodenough template is nearer to the measurement than the best dimer template: the "
                "difference of their squared residuals in log(1 + counts), cell by cell. This needs no network.",
                Picture(images["evidence"], "Share of each cell in the evidence: + nearer to Goodenough, - nearer to dimer."),
                evidence,
            ],
        ),
        Section(
            "Because of what: the networks",
            [
                "Grad-CAM at the first layer, whose feature maps still belong to one cell each, on logits. Red speaks for, "
                "blue against, counted from no activation at all, so that a cell may speak against the model that it "
                "decides for. " + agreement_sentence(result),
                Picture(images["grad-cam-goodenough-minus-dimer"], "Contrast goodenough - dimer; the twelve strongest "
                        "cells are framed."),
                Picture(images["cells"], "Signed share of each cell in the contrast, mean and spread over the networks."),
                cells,
                Picture(images["grad-cam-goodenough"], "What speaks for Goodenough."),
                Picture(images["grad-cam-dimer"], "What speaks for dimer."),
            ],
        ),
        Section(
            "What made this",
            [
                Table(["setting", "value"], [[k, str(v)] for k, v in result["configuration"].items()]),
                Table(["version of", ""], [[k, v] for k, v in result["versions"].items()]),
                Table(["step", "seconds"], [[k, f"{v:.1f}"] for k, v in result["timings_seconds"].items()]),
                f"Unstable draws that were replaced: {result['replaced_draws']}.",
            ],
        ),
    ]  # fmt: skip
