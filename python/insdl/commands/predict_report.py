"""The report of insdl predict: verdict, how sure, parameters, what drives it and what would change it, in one HTML file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from insdl.commands.predict_sections import Found, written
from insdl.report import png, render

_TELLING = 5  # cells whose images are shown
_Reals = npt.NDArray[np.float64]


def write_report(
    measurement: Path,
    report: Path,
    *,
    model: Path | None = None,
    exchange: Path | None = None,
    mask: Path | None = None,
    orientation: Literal["measured", "published"] = "measured",
    required: float = 0.95,
    threads: int | None = None,
    say: Callable[[str], None] = lambda step: None,
) -> dict[str, Any]:
    """Judges one measurement, fits the rivals to it, and writes what was found.

    Parameters
    ----------
    measurement : file with one image; model, exchange, mask, orientation, required : see `insdl.commands.predict.answers`.
    report : a file that ends in .html, or a folder for report.html and its pictures.
    say : is told each step.

    Returns
    -------
    dict. As `insdl predict --fit --json`, with "situations", "calibration", and the file written as "report".

    Raises
    ------
    ValueError
        If there is more than one image, nothing of it was measured, or the folder of the file does not exist.
    """
    from insdl.commands.predict import pcsmo_rivals, pretrained, pretrained_exchange, read_images, verdicts
    from insdl.commands.predict_calibration import belief_entry, jury_belief
    from insdl.commands.predict_parameters import fit_entry, network_parameters
    from insdl.commands.predict_situations import situation_entries
    from insdl.learn.measurement_fit import jackknife_errors, left_out

    file = report if report.suffix == ".html" else report / "report.html"
    if not (file.parent if report.suffix == ".html" else report.parent).is_dir():
        raise ValueError(f"the folder of {report} does not exist")
    given = read_images(measurement, mask=mask, orientation=orientation)
    if len(given.counts) != 1 or not given.seen.any():
        raise ValueError(f"a report is of one image, measured somewhere, got {len(given.counts)} in {measurement}")
    counts, seen = given.counts[0], given.seen[0]
    jury, inference = pretrained(model), pretrained_exchange(exchange)
    say("judging")
    (entry,) = verdicts(given, jury=jury, required=required)
    start = network_parameters(inference, counts, seen, entry=entry)
    changed = situation_entries(jury, counts, seen, required=required)
    say("fitting the rivals")
    rivals = pcsmo_rivals()
    entry["fit"], fitted = fit_entry(rivals, counts, seen, start=start, threads=threads)
    say("fitting without each incident energy")
    leading = fitted.ranked[:2]
    parts = left_out(fitted, [rival for rival in rivals if rival.name in leading], threads=threads)
    jackknife = jackknife_errors(parts, leading[0]) if len(parts) > 1 else None
    without = {energy: fits[leading[0]].log_evidence - fits[leading[1]].log_evidence for energy, fits in parts.items()}
    entry["fit"]["error_by_jackknife"] = jackknife
    entry["fit"]["log_evidence_ratio_without"] = {f"{energy:g}": ratio for energy, ratio in without.items()}
    say("asking about simulated measurements")
    belief = None
    if jury.classes[-1] == "none" and "configuration" in jury.description:
        belief = jury_belief(jury, counts, seen, required=required, threads=threads)
    found = Found(
        counts, seen, entry, fitted, jackknife, without, changed, belief, jury, inference, np.asarray(rivals[0].sigma)
    )
    say("drawing")
    images = {name: png(figure) for name, figure in _figures(found, required).items()}
    title, verdict, sections = written(found, measurement, given.mask, images, required)
    file.parent.mkdir(exist_ok=True)
    if report.suffix != ".html":
        for name, image in images.items():
            (report / f"{name}.png").write_bytes(image)
    file.write_text(render(title, verdict, sections), "utf-8")
    return {
        "measurement": str(measurement),
        "mask": given.mask,
        "required": required,
        "images": [entry],
        "situations": changed,
        "calibration": None if belief is None else belief_entry(belief, jury.classes),
        "report": str(file),
    }


def _figures(found: Found, required: float) -> dict[str, Any]:
    """All pictures by name."""
    from insdl import plot, plot_predict
    from insdl.instrument.counting import expected_log

    frame, comparison = found.fitted.frame, found.fitted.comparison
    first, second = found.fitted.ranked[:2]
    seen = np.log1p(np.maximum(found.counts, 0.0))
    best, rival = comparison.fits[first], comparison.fits[second]
    apart = best.by_bin - rival.by_bin
    cells = [int(n) for n in np.argsort(-apart)[:_TELLING]]
    sigma = found.sigma * best.values["noise"]
    models = {
        fit.name: np.asarray(expected_log(fit.mean, (found.sigma * fit.values["noise"])[:, None, None]))
        for fit in (best, rival)
    }
    figures = {
        "measured": plot.cell_sheet(
            frame, seen, title="The measurement", label="log(1 + counts)", measured=found.seen,
            limits=(0.0, float(np.percentile(seen[found.seen], 99.7))), highlight=cells,
        ),
        "situations": plot_predict.situations(
            {one["situation"]: one["probability"] for one in found.situations}, required=required,
            title="What the networks say of parts of the measurement, and with more noise",
        ),
        "evidence": plot.cell_bars(
            frame, apart, None, title=f"Log-likelihood of the best {first} minus the best {second}, cell by cell",
            label=f"log-likelihood ratio, + for {first}",
        ),
        "telling-cells": plot_predict.telling_cells(
            frame, cells,
            {
                "measured": seen,
                "measured, mean\nof 4 mirror images": mirror_mean(seen, found.seen),
                f"best {first}": models[first],
                f"best {second}": models[second],
            },
            (f"{first}\n- {second}", (best.mean - rival.mean) / np.sqrt(sigma[:, None, None] ** 2 + np.maximum(best.mean, 0))),
            measured=found.seen,
            notes=[f"log ratio {apart[cell]:+.0f}" for cell in cells],
            title="The cells that tell the two best models apart most",
            label="log(1 + counts)",
            difference_label="difference of the expected counts, in standard deviations of one pixel's noise",
        ),
    }  # fmt: skip
    figures["parameters"] = _parameter_figure(found)
    if found.belief is not None:
        figures["reliability"] = plot.reliability(
            {"jury": (found.belief.diagram, found.belief.error)},
            title=f"{found.belief.asked} simulated measurements", statement="the most probable answer",
        )  # fmt: skip
    return figures


def mirror_mean(image: _Reals, seen: npt.NDArray[np.bool_]) -> _Reals:
    """Mean over the four mirror images of what was measured in each, (n_bins, p, p); zero where none was."""
    flips = [(slice(None), slice(None, None, h), slice(None, None, k)) for h in (1, -1) for k in (1, -1)]
    number = sum(seen[flip].astype(np.float64) for flip in flips)
    total = sum(np.where(seen, image, 0.0)[flip] for flip in flips)
    return np.asarray(np.divide(total, number, out=np.zeros(image.shape), where=np.asarray(number) > 0))


def _parameter_figure(found: Found) -> Any:
    from insdl import plot_predict

    fit = found.fitted.comparison.fits[found.fitted.ranked[0]]
    estimates: dict[str, dict[str, tuple[float, float]]] = {}
    network = found.entry["parameters"]
    own = network is not None and network["model"] == fit.name
    if own:
        estimates["network"] = {n: (v["value"], v["error"]) for n, v in network["values"].items()}
    estimates["likelihood, errors of counting"] = {
        name: (fit.parameters[name], fit.parameter_errors[name]) for name in fit.parameters
    }
    if found.jackknife is not None:
        estimates["likelihood, scatter between incident energies"] = {
            name: (fit.parameters[name], found.jackknife[name]) for name in fit.parameters
        }
    if fit.name == found.inference.name:
        corner = (
            0.5 * np.abs(found.inference.linear) @ np.asarray(found.inference.prior.high - found.inference.prior.low)
        )
        middle = found.inference.to_parameters(np.asarray(found.inference.prior.centre))
        ranges = {n: (m - c, m + c) for n, m, c in zip(found.inference.parameters, middle, corner, strict=True)}
    else:
        ranges = {n: (v - max(1.0, abs(v)), v + max(1.0, abs(v))) for n, v in fit.parameters.items()}
    return plot_predict.parameter_ranges(
        ranges, estimates, title=f"Parameters of {fit.name}; grey: what was possible beforehand"
    )
