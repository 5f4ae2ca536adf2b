"""What a report of insdl predict says, section by section."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from insdl.commands.predict_words import fit_in_words, sentence, values_in_words, with_error
from insdl.report import Picture, Section, Table

if TYPE_CHECKING:
    from insdl.commands.predict_calibration import Belief
    from insdl.learn.exchange import ExchangeInference
    from insdl.learn.jury import Jury
    from insdl.learn.measurement_fit import MeasurementFit

_Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Found:
    """Everything that a report is made of.

    Attributes
    ----------
    counts, seen : (n_bins, n_h, n_k). The measurement. sigma : (n_bins,) float64, counts. Noise of empty pixels.
    entry : what insdl predict --fit --json says of it.
    fitted : the rivals' fits. jackknife : errors of the best one's parameters, meV; None where there was one incident energy.
    without : log-evidence ratio of the best two without an incident energy, meV.
    situations : of `insdl.commands.predict_situations`. belief : of `insdl.commands.predict_calibration`, if there is one.
    jury, inference : the networks that were asked.
    """

    counts: _Reals
    seen: npt.NDArray[np.bool_]
    entry: dict[str, Any]
    fitted: MeasurementFit
    jackknife: Mapping[str, float] | None
    without: Mapping[float, float]
    situations: list[dict[str, Any]]
    belief: Belief | None
    jury: Jury
    inference: ExchangeInference
    sigma: _Reals


def written(
    found: Found, measurement: Path, mask: str, images: Mapping[str, bytes], required: float
) -> tuple[str, str, list[Section]]:
    """Title, verdict and sections."""
    entry, fit = found.entry, found.entry["fit"]
    agree = (
        "agrees" if fit["best"] == entry["verdict"] else "does not agree" if entry["verdict"] in fit["models"] else None
    )
    beside = (
        f" The likelihood, without any network, puts {fit['best']} first"
        + ("" if agree is None else f" and {agree}")
        + "."
    )
    sections = [
        Section(
            "The measurement",
            [
                f"File: {measurement.name}. Mask: {Path(mask).name}. {100 * entry['measured_share']:.0f} % of the pixels were "
                f"measured; {fit['pixels']} of them, one pixel away from every detector edge, are used in fits.",
                Picture(images["measured"], "Every small map is one cell: an incident energy Ei (row, meV) and a range of the "
                        "energy transfer (column, meV), over Qk and Qh in r.l.u. Grey: no detector. Red frames: the cells "
                        "that tell the two best models apart most."),
            ],
        ),
        _how_sure(found, images, required),
        _parameters(found, images),
        _drives(found, images),
        _changes(found, images),
        Section("What to doubt", _doubts(found)),
        _made(found),
    ]  # fmt: skip
    verdict = sentence(entry).split(": ", 1)[1]
    return "PCSMO: which magnetic model?", f"Verdict: {verdict}{beside}", sections


def _how_sure(found: Found, images: Mapping[str, bytes], required: float) -> Section:
    from insdl.commands.predict_calibration import belief_entry

    entry, classes = found.entry, found.jury.classes
    rows = [["all together, calibrated", *(f"{entry['probability'][name]:.4f}" for name in classes), ""]]
    rows += [
        [f"network {number + 1}, by itself", *(f"{one[name]:.4f}" for name in classes), ""]
        for number, one in enumerate(entry["members"])
    ]
    parts: list[Any] = [
        f"The most probable answer must have a probability of {required:g}; else the answer would be 'cannot tell'. Of "
        f"simulated measurements of the models, {100 * entry['p_value']:.2g} % are at least as strange as this one, so that it "
        f"is {'' if entry['in_distribution'] else 'not '}taken for one of them.",
    ]
    if found.belief is not None:
        known = belief_entry(found.belief, classes)
        rows[0][-1] = f"{known['accuracy']:.3f}"
        for name, one in known["baselines"].items():
            rows.append([name, *(f"{one['probability'][c]:.4f}" for c in classes), f"{one['accuracy']:.3f}"])
    shares = found.entry["fit"]["models"]
    rows.append(
        [
            "likelihood (one of the models is true)",
            *(f"{shares[c]['probability']:.4f}" if c in shares else "" for c in classes),
            "",
        ]
    )
    parts.append(Table(["", *[f"P({name})" for name in classes], "right, of simulated"], rows))
    if found.belief is not None:
        belief = found.belief
        parts += [
            f"{belief.asked} new simulated measurements, of all classes alike and with every disturbance drawn anew, were put "
            f"to the networks and to two simple methods that learned from {belief.learned} others. The networks gave an "
            f"answer to {100 * belief.sure:.0f} % of them, and a wrong answer to {100 * belief.wrong:.1f} %. Their "
            f"probabilities miss the frequencies by {belief.error.value:.3f} on average; chance alone makes "
            f"{belief.error.floor:.3f} of it.",
            Picture(images["reliability"], "How often the most probable answer was right, by its probability. "
                    "On the line: right as often as said; above: the networks are too modest."),
        ]  # fmt: skip
    return Section("How sure, and how far to believe it", parts)


def _parameters(found: Found, images: Mapping[str, bytes]) -> Section:
    fit, network = found.entry["fit"], found.entry["parameters"]
    own = fit["models"][fit["best"]]
    quick = network["values"] if network is not None and network["model"] == fit["best"] else {}
    rows = []
    for name, one in own["values"].items():
        given = quick.get(name)
        rows.append(
            [
                name,
                "" if given is None else f"{with_error(given['value'], given['error'])}, {given['word']}",
                with_error(one["value"], one["error"]),
                "" if found.jackknife is None else f"± {found.jackknife[name]:.2g}",
                one.get("word", ""),
            ]
        )
    head = [f"{fit['best']} (meV)", "network", "likelihood", "scatter between incident energies", "worth"]
    parts: list[Any] = [
        "Negative exchanges are ferromagnetic. 'Measured' means that the error is below 0.3 of the width of the prior, 'weak' "
        "below 0.7; above, the number is what was put in. Errors of the likelihood are those of counting under a model that is "
        "taken to be true. How much the fit moves when one incident energy is left out (jackknife) also holds what the "
        "model does not explain: believe the larger one. The direction known worst is a change of several "
        "parameters at once that the measurement hardly sees; r is the width of the posterior over that of the prior along it.",
        Table(head, rows),
    ]
    if network is not None:
        parts.append(f"By the network: {network['known_worst']}")
    parts += [
        f"By the likelihood: {own['known_worst']}",
        Picture(images["parameters"], "Values with one standard deviation; grey is the range of the prior."),
        "Instrument and sample, fitted with it: "
        + ", ".join(
            f"{name.replace('_', ' ')} {with_error(one['value'], one['error'])}{_UNITS.get(name, '')}"
            for name, one in own["instrument"].items()
        )
        + ".",
    ]
    others = [name for name in fit["models"] if name != fit["best"]]
    parts += [f"The best {name}: {values_in_words(fit['models'][name]['values'])}." for name in others]
    return Section("Parameters", parts)


_UNITS = {
    "extra_sigma_q": " r.l.u.", "shift_h": " r.l.u.", "shift_k": " r.l.u.", "intrinsic_sigma": " meV",
    "temperature": " K", "mosaic": " rad", "scale": " counts a pixel", "noise": " of the nominal noise",
}  # fmt: skip


def _drives(found: Found, images: Mapping[str, bytes]) -> Section:
    first, second = found.fitted.ranked[:2]
    comparison, frame = found.fitted.comparison, found.fitted.frame
    apart = comparison.fits[first].by_bin - comparison.fits[second].by_bin
    rows = []
    for cell in np.argsort(-np.abs(apart))[:8]:
        incident, low, high = frame.bin_at(int(cell))
        rows.append([f"{incident:g}", f"{low:.3g} to {high:.3g}", f"{apart[cell]:+.0f}"])
    return Section(
        "What drives it",
        [
            " ".join(fit_in_words(found.entry["fit"])[:1]),
            f"Each cell's share in the log-likelihood ratio of the best {first} and the best {second}: they add up to "
            f"{apart.sum():.0f}. A ratio of 10 in one cell alone would be strong evidence, were the models perfect; as they "
            "are not, look whether many cells agree. Vuong's number is the ratio over the scatter between the cells: above 3, "
            "one model is nearer to the truth beyond doubt, even if neither is the whole truth.",
            Picture(images["evidence"], f"Red: the cell speaks for {first}; blue: for {second}. In each cell the middle of its "
                    "energy transfer and the log-likelihood ratio."),
            Table(["incident energy (meV)", "energy transfer (meV)", f"log-likelihood ratio, + for {first}"], rows),
            Picture(images["telling-cells"], "log(1 + counts), measured and as expected on average from the best fit of each "
                    "model with background and clipped noise, in one colour scale a column; below, where in the zone the two "
                    "models differ."),
        ],
    )  # fmt: skip


def _changes(found: Found, images: Mapping[str, bytes]) -> Section:
    first, second = found.fitted.ranked[:2]
    verdict = found.entry["verdict"]
    turned = [one["situation"] for one in found.situations if one["verdict"] not in (verdict, "cannot tell")]
    silent = [one["situation"] for one in found.situations if one["verdict"] == "cannot tell" != verdict]
    words = (
        f"Another answer: {', '.join(turned)}."
        if turned
        else "None of these gives another answer than the whole measurement."
    )
    if silent:
        words += f" Not enough to tell: {', '.join(silent)}."
    rows = [
        [one["situation"], one["verdict"], *(f"{value:.3f}" for value in one["probability"].values())]
        for one in found.situations
    ]
    head = ["what the networks are shown", "answer", *[f"P({name})" for name in found.situations[0]["probability"]]]
    parts: list[Any] = [
        words + " Noise of n standard deviations is what 1 / (1 + n²) of the counting time would give.",
        Picture(images["situations"], "Probabilities by what the networks are shown."),
        Table(head, rows),
    ]
    if found.without:
        parts += [
            f"The same for the likelihood: log-evidence of {first} minus {second}, fitted again without one incident energy.",
            Table(
                ["without Ei (meV)", f"log-evidence ratio, + for {first}"],
                [[f"{energy:g}", f"{ratio:+.0f}"] for energy, ratio in found.without.items()],
            ),
        ]
    return Section("What would change it", parts)


def _doubts(found: Found) -> list[str]:
    fit = found.entry["fit"]
    own = fit["models"][fit["best"]]
    doubts = [
        "Every probability is one among these models and 'none'. A model that nobody put in cannot win.",
        "The ranges of widths, scale and noise in the simulations were chosen with the published measurement of PCSMO in view; "
        "for that one the calibration is therefore no blind test.",
        "The evidence ratio of the likelihood takes the best model to be the whole truth. It ranks the models; it is no "
        "probability to quote.",
        "More noise is one draw of it; another draw gives another number.",
    ]
    if own["at_border"]:
        doubts.append(
            f"The fit of {fit['best']} ended at the end of the range of {', '.join(own['at_border'])}: it may not describe "
            "the image."
        )
    network = found.entry["parameters"]
    if network is not None and network["model"] == fit["best"]:
        far = [
            name
            for name, one in network["values"].items()
            if abs(one["value"] - own["values"][name]["value"])
            > 3 * np.hypot(one["error"], own["values"][name]["error"])
        ]
        if far:
            doubts.append(
                f"Network and likelihood differ by more than three errors in {', '.join(far)}: what the models do not explain "
                "pulls on them in different ways."
            )
    return doubts


def _made(found: Found) -> Section:
    from insdl.provenance import versions

    tests = found.inference.tests
    parts: list[Any] = [Table(["version of", ""], [[k, str(v)] for k, v in versions().items()])]
    if tests:
        parts = [
            f"The network for the parameters of {found.inference.name}, on {tests['simulations']} simulated measurements that "
            "it has not learned from (root mean square errors; ranks of the truth are uniform if the errors are right):",
            Table(
                ["parameter", "error (meV)", "error it gives (meV)", "principal components and a polynomial (meV)",
                 "prior width (meV)", "ranks uniform with p ="],
                [
                    [n, f"{rmse:.3f}", f"{tests['error'][n]:.3f}", f"{tests['pca_rmse'][n]:.3f}",
                     f"{tests['prior_width'][n]:.3f}", f"{tests['p_value'][n]:.2g}"]
                    for n, rmse in tests["rmse"].items()
                ],
            ),
            *parts,
        ]  # fmt: skip
    return Section("What made this", parts)
