"""Goodenough or dimer? From simulated images to a verdict on a measured one, and its reasons."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from insdl.commands.progress import Stopwatch, torch_threads
from insdl.dataset.pcsmo import CLASSES, SCALE, DetectedSamples, DetectionPrior, detect, families, network_input
from insdl.dataset.prior import Range
from insdl.dataset.randomness import generator
from insdl.dataset.simulated import Family, SimulatedSet, simulate_set
from insdl.explain.cam import cell_importance, grad_cam, layer_grid, to_pixels
from insdl.instrument.coverage import detector_coverage
from insdl.instrument.image import ImageSettings, ImageSimulator
from insdl.instrument.measurement import Measurement, grown
from insdl.instrument.pcsmo import SETTINGS, pcsmo_frame
from insdl.learn.networks import CellClassifier
from insdl.learn.templates import TemplateFit, best_template, cell_evidence, correlation
from insdl.learn.train import TrainingResult, TrainingSettings, predict, train
from insdl.materials.pcsmo import LITERATURE, dimer, goodenough
from insdl.provenance import complete_folder, versions, write_json

_Image = npt.NDArray[np.float64]
_Samples = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


@dataclass(frozen=True)
class PcsmoSettings:
    """What a run does; all of it is written into its result.

    Attributes
    ----------
    seeds : number of networks, each with its own initial weights and its own detection noise.
    seed : of everything random.
    training_images, validation_images, test_images : simulated images before detection; the three sets share no model.
    training : of every network; its seed and threads are set by the run.
    template_evaluations : budget of the template fit for each model.
    threads : of simulation and training; None uses every processor.
    truth : which model the measurement of one's own is made with, where none is given.
    """

    seeds: int = 5
    seed: int = 0
    training_images: int = 2000
    validation_images: int = 300
    test_images: int = 400
    training: TrainingSettings = TrainingSettings(epochs=8, samples_per_epoch=2400, patience=4)
    template_evaluations: int = 150
    threads: int | None = None
    truth: Literal["goodenough", "dimer"] = "goodenough"

    def __post_init__(self) -> None:
        for name in ("seeds", "training_images", "validation_images", "test_images", "template_evaluations"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.truth not in CLASSES:
            raise ValueError(f"truth must be one of {list(CLASSES)}, got {self.truth!r}")


@dataclass(frozen=True, eq=False)
class SeedAnswer:
    """One network: its probabilities for the measurement (as given, and mirrored along Qk), its test and its maps."""

    probability: npt.NDArray[np.float64]
    probability_mirrored: npt.NDArray[np.float64]
    held_out_accuracy: float
    training: TrainingResult
    maps: dict[str, _Image]


def own_measurement(settings: PcsmoSettings) -> Measurement:
    """A measurement made here: literature parameters, counting noise, background, a simple detector bank, its own seed."""
    model = {"goodenough": goodenough, "dimer": dimer}[settings.truth]()
    simulator = ImageSimulator(model, pcsmo_frame())
    shifted = replace(SETTINGS, shift_h=-0.008, shift_k=0.009)
    image = SCALE * simulator.simulate(shifted, threads=settings.threads, **LITERATURE[settings.truth])
    measured = detector_coverage(simulator.frame, np.asarray(model.lattice))
    rng = generator(settings.seed, "own measurement", 0)
    prior = DetectionPrior(scale=Range(1.0, 1.0), noise=Range(1.0, 1.0))
    counts = detect(image, measured, rng, prior).astype(np.float64)
    source = f"made by insdl: {settings.truth} at the literature parameters, with counting noise and background"
    return Measurement(counts, measured, source, "none")


def answer(network: CellClassifier, training: TrainingResult, test: _Samples, measurement: Measurement) -> SeedAnswer:
    """What one trained network says about the held-out set and about the measurement."""
    images, labels = test
    accuracy = float((predict(network, images).argmax(axis=1) == labels).mean())
    view = network_input(measurement.image, measurement.measured)[None]
    grid = layer_grid(network, layer="cells", image_shape=network.config.image_shape)
    maps = {}
    targets: dict[str, int | tuple[int, int]] = {name: number for number, name in enumerate(CLASSES)}
    targets["goodenough - dimer"] = (0, 1)
    for name, target in targets.items():
        coarse = grad_cam(network, view, target=target, layer="cells", cells=len(view[0]), sign="signed")
        maps[name] = np.where(measurement.measured, to_pixels(coarse, grid)[0], 0.0)
    mirrored = np.ascontiguousarray(view[..., ::-1])
    return SeedAnswer(predict(network, view)[0], predict(network, mirrored)[0], accuracy, training, maps)


def run(
    measurement: Measurement | None, folder: Path, settings: PcsmoSettings, *, progress: bool = True
) -> dict[str, Any]:
    """Simulate, train, test, answer and explain; writes result.json, report.html, pictures and networks into ``folder``.

    Parameters
    ----------
    measurement : Measurement in the PCSMO frame, or None to make one.
    folder : where the files go; nothing is written unless the run ends well.

    Returns
    -------
    dict. The content of result.json.
    """
    from insdl.commands.pcsmo_report import write_report

    watch = Stopwatch(progress)
    with complete_folder(folder) as work:
        with watch("measurement"):
            measurement = measurement or own_measurement(settings)
        rivals = families()

        def simulated(n: int, stream: str) -> SimulatedSet:
            return simulate_set(
                rivals,
                n,
                seed=settings.seed,
                stream=stream,
                dtype=np.float16,
                scale=SCALE,
                threads=settings.threads,
                progress=progress,
            )

        with watch("simulation"):
            sets = {
                name: simulated(getattr(settings, f"{name}_images"), name)
                for name in ("training", "validation", "test")
            }
        held_out = {
            name: DetectedSamples(sets[name], measurement.measured, settings.seed, name, order="once").arrays()
            for name in ("validation", "test")
        }
        answers = []
        for seed in range(settings.seeds):
            with watch(f"network {seed + 1} of {settings.seeds}"):
                answers.append(_one_network(seed, sets["training"], held_out, measurement, work, settings, progress))
        with watch("templates"):
            fits = {f.name: _fit(f, sets["training"], measurement, settings) for f in rivals}
            templates = {f.name: template_image(f, fits[f.name]) for f in rivals}
        evidence = cell_evidence(measurement.image, _used(measurement), templates["goodenough"], templates["dimer"])
        result = summarise(measurement, answers, fits, evidence, sets, settings, watch)
        with watch("report"):
            write_report(work, result, measurement, answers, evidence, templates)
        result["timings_seconds"] = watch.seconds
        write_json(work / "result.json", result)
    return result


def _one_network(
    seed: int,
    simulated: SimulatedSet,
    held_out: dict[str, _Samples],
    measurement: Measurement,
    work: Path,
    settings: PcsmoSettings,
    progress: bool,
) -> SeedAnswer:
    base = settings.seed * 1_000_003 + seed
    samples = DetectedSamples(simulated, measurement.measured, base, "training")
    network = CellClassifier(cells=len(measurement.image), classes=CLASSES, seed=base)
    training = train(
        network,
        sample=samples.sample,
        validation=held_out["validation"],
        settings=replace(settings.training, seed=base, threads=torch_threads(settings.threads)),
        checkpoint=work / f"network-{seed}.pt",
        description={"job": "pcsmo", "settings": asdict(settings), "measurement": measurement.source},
        progress="bar" if progress else "silent",
    )
    return answer(network, training, held_out["test"], measurement)


def _fit(family: Family, training: SimulatedSet, measurement: Measurement, settings: PcsmoSettings) -> TemplateFit:
    return best_template(
        measurement.image,
        _used(measurement),
        family,
        training,
        unit=SCALE,
        evaluations=settings.template_evaluations,
        threads=settings.threads,
    )


def _used(measurement: Measurement) -> npt.NDArray[np.bool_]:
    """Pixels for template comparisons: one pixel away from every edge of a detector."""
    return ~grown(~measurement.measured)


def template_image(family: Family, fit: TemplateFit) -> _Image:
    """The best template of a family, counts."""
    parameters: dict[str, Any] = dict(fit.parameters)
    return fit.scale * SCALE * family.simulator.simulate(ImageSettings(**fit.settings), **parameters)


def summarise(
    measurement: Measurement,
    answers: list[SeedAnswer],
    fits: dict[str, TemplateFit],
    evidence: _Image,
    sets: dict[str, SimulatedSet],
    settings: PcsmoSettings,
    watch: Stopwatch,
) -> dict[str, Any]:
    """The content of result.json (timings are added at the end)."""
    table = np.array([a.probability for a in answers])
    mean = table.mean(axis=0)
    best = int(mean.argmax())
    templates = {name: fit.correlation for name, fit in fits.items()}
    preferred = max(templates, key=lambda name: templates[name])
    return {
        "job": "pcsmo",
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "measurement": {"source": measurement.source, "sha256": measurement.sha256},
        "classes": list(CLASSES),
        "verdict": CLASSES[best],
        "mean_probability": dict(zip(CLASSES, mean.tolist(), strict=True)),
        "seeds_for_verdict": int((table.argmax(axis=1) == best).sum()),
        "probability": {
            str(seed): dict(zip(CLASSES, a.probability.tolist(), strict=True)) for seed, a in enumerate(answers)
        },
        "probability_mirrored": {
            str(seed): dict(zip(CLASSES, a.probability_mirrored.tolist(), strict=True))
            for seed, a in enumerate(answers)
        },
        "held_out_accuracy": float(np.mean([a.held_out_accuracy for a in answers])),
        "held_out_accuracy_per_seed": [a.held_out_accuracy for a in answers],
        "template_correlation": templates,
        "template_verdict": preferred,
        "templates": {name: asdict(fit) for name, fit in fits.items()},
        "explanation": _explanation(answers),
        "template_evidence": _template_evidence(evidence),
        "replaced_draws": {name: s.replaced for name, s in sets.items()},
        "training": [
            {"best_epoch": a.training.best_epoch + 1, "epochs": len(a.training.history), "seconds": a.training.seconds}
            for a in answers
        ],
        "configuration": asdict(settings),
        "versions": versions(),
        "timings_seconds": watch.seconds,
        "caveats": [
            "The probabilities are the networks' own and are not calibrated; a third explanation is not among the classes.",
            "The energy widths, scale and noise ranges of the simulations were chosen with the published measurement in view.",
        ],
    }


def importance(answers: list[SeedAnswer], name: str = "goodenough - dimer") -> tuple[_Image, _Image]:
    """Share (per cent) of each cell in the explanation's absolute weight, signed: mean and spread over the networks."""
    rows = share(cell_importance(np.array([a.maps[name] for a in answers])))
    return rows.mean(axis=0), rows.std(axis=0)


def _cell(number: int) -> dict[str, Any]:
    incident_energy, low, high = pcsmo_frame().bin_at(number)
    return {"incident_energy": incident_energy, "energy": [low, high]}


def share(values: _Image) -> _Image:
    """Values as signed per cent of the sum of their sizes (along the last axis)."""
    shares: _Image = 100.0 * values / np.maximum(np.abs(values).sum(axis=-1, keepdims=True), 1e-30)
    return shares


def _template_evidence(evidence: _Image) -> dict[str, Any]:
    shares = share(evidence)
    order = np.argsort(-np.abs(shares))[:12]
    return {
        "method": "difference of squared residuals of log(1 + counts) between the best dimer and the best Goodenough template",
        "strongest_cells": [{**_cell(int(n)), "share_percent": float(shares[n])} for n in order],
    }


def _explanation(answers: list[SeedAnswer]) -> dict[str, Any]:
    mean, spread = importance(answers)
    pairs = [
        correlation(a.maps["goodenough - dimer"].ravel(), b.maps["goodenough - dimer"].ravel())
        for i, a in enumerate(answers)
        for b in answers[:i]
    ]
    return {
        "method": "Grad-CAM on logits, first layer, contrast goodenough - dimer",
        "strongest_cells": [
            {**_cell(int(n)), "share_percent": float(mean[n]), "spread_percent": float(spread[n])}
            for n in np.argsort(-np.abs(mean))[:12]
        ],
        "agreement_between_networks": float(np.mean(pairs)) if pairs else None,
    }
