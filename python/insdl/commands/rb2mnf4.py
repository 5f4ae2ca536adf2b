"""J1 and J2 of Rb2MnF4 from counted maps, with error bars, and what such a map cannot tell."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from insdl.commands.progress import Stopwatch, torch_threads
from insdl.dataset.prior import Range
from insdl.dataset.randomness import generator
from insdl.dataset.rb2mnf4 import (
    PARAMETERS,
    PRIOR,
    CountedSamples,
    CountingPrior,
    away_from_bragg,
    count,
    family,
    network_input,
    prior_centre_and_spread,
)
from insdl.dataset.simulated import Family, SimulatedSet, simulate_set
from insdl.explain.cam import grad_cam, layer_grid, to_pixels
from insdl.instrument.frame import EnergyBlock, ImageFrame
from insdl.instrument.image import ImageSettings, ImageSimulator
from insdl.instrument.measurement import Measurement, file_sha256, load_array
from insdl.instrument.rb2mnf4 import INCIDENT_ENERGY, PIXELS, SIGMA_ENERGY, SIGMA_Q, WINDOWS, rb2mnf4_frame
from insdl.learn.networks import MapRegressor
from insdl.learn.templates import TemplateFit, best_template
from insdl.learn.train import TrainingResult, TrainingSettings, predict, train
from insdl.materials.rb2mnf4 import LITERATURE
from insdl.materials.rb2mnf4 import rb2mnf4 as rb2mnf4_model
from insdl.provenance import complete_folder, versions, write_json

_Array = npt.NDArray[np.float64]
_Samples = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Rb2mnf4Settings:
    """What a run does; all of it is written into its result. See `insdl.commands.pcsmo.PcsmoSettings` for the names.

    ``windows`` are the energy windows of the map, meV; ``own_counts`` the signal counts of a measurement made here.
    """

    windows: tuple[tuple[float, float], ...] = WINDOWS
    seed: int = 0
    training_images: int = 6000
    validation_images: int = 600
    test_images: int = 1000
    training: TrainingSettings = TrainingSettings(
        epochs=12, samples_per_epoch=4000, batch_size=64, learning_rate=2e-3, patience=6
    )
    template_evaluations: int = 400
    own_counts: float = 1e6
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("training_images", "validation_images", "test_images", "template_evaluations"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.windows or not all(0 <= low < high < INCIDENT_ENERGY for low, high in self.windows):
            raise ValueError(
                f"windows must be pairs low < high between 0 and Ei = {INCIDENT_ENERGY} meV, got {self.windows}"
            )


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The network on the held-out set: truth, estimate and calibrated error bar, (n, 2), meV; z-scores before calibration."""

    truth: _Array
    estimate: _Array
    sigma: _Array
    rmse: _Array
    z_rms: _Array
    coverage: _Array


def read_map(path: Path, frame: ImageFrame) -> Measurement:
    """A map of counts (n_windows, 64, 64), Qh and Qk ascending over [-1, 1] r.l.u.; NaN where not measured."""
    counts = load_array(path)
    if counts.shape != frame.shape:
        raise ValueError(
            f"a map of these {frame.shape[0]} energy windows must have shape {frame.shape} (windows, Qh, Qk), "
            f"got {counts.shape} in {path.name}"
        )
    if (counts < 0).any() or np.isinf(counts).any():
        raise ValueError(f"counts must be finite and not negative (NaN: not measured), got {np.nanmin(counts)}")
    measured = np.isfinite(counts) & away_from_bragg(frame)
    return Measurement(np.where(measured, counts, 0.0), measured, path.name, file_sha256(path))


def own_measurement(simulator: ImageSimulator, settings: Rb2mnf4Settings) -> Measurement:
    """A measurement made here: literature parameters, Poisson counts, background, its own seed."""
    measured = away_from_bragg(simulator.frame)
    prior = CountingPrior(counts=Range(settings.own_counts, settings.own_counts), background=Range(0.2, 0.2))
    literature: dict[str, Any] = dict(LITERATURE)
    image = simulator.simulate(ImageSettings(), threads=settings.threads, **literature)
    counts = count(image, measured, generator(settings.seed, "own measurement", 0), prior)
    source = (
        f"made by insdl: J1 = {LITERATURE['J1']}, J2 = {LITERATURE['J2']} meV, {settings.own_counts:.0f} counts "
        "of signal, 20 % background"
    )
    return Measurement(counts.astype(np.float64), measured, source, "none")


def integrated_map_change(factor: float = 1.3) -> float:
    """Largest relative change of the energy-integrated map when J1, J2 and D are all multiplied by ``factor``.

    Integrated over all energies at fixed L the intensity is S sqrt((A - B)/(A + B)) in Q: a function of ratios of the
    parameters only.
    """
    block = EnergyBlock([(-5.0, 24.0)], INCIDENT_ENERGY, (SIGMA_ENERGY, 0.0, 0.0), SIGMA_Q, fixed_l=0.0)
    pixels = np.asarray(rb2mnf4_frame().pixels)
    simulator = ImageSimulator(rb2mnf4_model(), ImageFrame([block], pixels, subpixels=2), margin=0.07)
    literature: dict[str, Any] = dict(LITERATURE)
    first = simulator.simulate(**literature)
    scaled = simulator.simulate(**{name: factor * value for name, value in literature.items()})
    return float(np.abs(scaled - first).max() / first.max())


def run(
    measured_file: Path | None, folder: Path, settings: Rb2mnf4Settings, *, progress: bool = True
) -> dict[str, Any]:
    """Simulate, train, test, estimate and explain; writes result.json, report.html, pictures and the network.

    Parameters
    ----------
    measured_file : map to analyse, see `read_map`, or None to make one.
    folder : where the files go; nothing is written unless the run ends well.

    Returns
    -------
    dict. The content of result.json.
    """
    from insdl.commands.rb2mnf4_report import write_report

    watch = Stopwatch(progress)
    rival = family(rb2mnf4_frame(settings.windows))
    frame = rival.simulator.frame
    measurement = (
        own_measurement(rival.simulator, settings) if measured_file is None else read_map(measured_file, frame)
    )
    with complete_folder(folder) as work:
        with watch("simulation"):
            sets = {name: _simulated(rival, name, settings, progress) for name in ("training", "validation", "test")}
        samples = {
            name: CountedSamples(sets[name], measurement.measured, settings.seed, name, order="once").arrays()
            for name in ("validation", "test")
        }
        with watch("network"):
            network, training = _trained(sets["training"], samples["validation"], measurement, work, settings, progress)
        with watch("held-out test"):
            held_out, factor = _held_out(network, samples)
        centre, spread = prior_centre_and_spread()
        view = network_input(measurement.image, measurement.measured)[None]
        mean, sigma = predict(network, view)
        estimate, error = mean[0] * spread + centre, sigma[0] * spread * factor
        with watch("template"):
            fit = best_template(
                measurement.image,
                measurement.measured,
                rival,
                sets["training"],
                unit=_unit(sets["training"], measurement),
                transform=np.asarray,
                offsets="per-bin",
                scales=(1.0,),
                evaluations=settings.template_evaluations,
                threads=settings.threads,
            )
        grid = layer_grid(network, layer="block1", image_shape=network.config.image_shape)
        maps = {
            name: to_pixels(grad_cam(network, view, target=name, layer="block1", sign="signed"), grid)[0]
            for name in PARAMETERS
        }
        result = summarise(measurement, estimate, error, held_out, factor, fit, training, sets, settings)
        with watch("report"):
            write_report(work, result, measurement, frame, held_out, training, maps)
        result["timings_seconds"] = watch.seconds
        write_json(work / "result.json", result)
    return result


def _unit(training: SimulatedSet, measurement: Measurement) -> float:
    """Counts per unit of the simulated images, so that a template starts at about the measurement's level."""
    typical = float(np.mean(training.images[:100].astype(np.float64)[:, measurement.measured]))
    return float(measurement.image[measurement.measured].mean()) / typical


def _simulated(rival: Family, name: str, settings: Rb2mnf4Settings, progress: bool) -> SimulatedSet:
    n = getattr(settings, f"{name}_images")
    return simulate_set([rival], n, seed=settings.seed, stream=name, threads=settings.threads, progress=progress)


def _trained(
    simulated: SimulatedSet,
    validation: _Samples,
    measurement: Measurement,
    work: Path,
    settings: Rb2mnf4Settings,
    progress: bool,
) -> tuple[MapRegressor, TrainingResult]:
    samples = CountedSamples(simulated, measurement.measured, settings.seed, "training")
    network = MapRegressor(len(measurement.image) + 1, parameters=PARAMETERS, pixels=PIXELS, seed=settings.seed)
    network.standardise_pixels(samples.arrays(400)[0])
    training = train(
        network,
        sample=samples.sample,
        validation=validation,
        settings=replace(settings.training, seed=settings.seed, threads=torch_threads(settings.threads)),
        checkpoint=work / "network.pt",
        description={"job": "rb2mnf4", "settings": asdict(settings), "measurement": measurement.source},
        progress="bar" if progress else "silent",
    )
    return network, training


def _held_out(network: MapRegressor, samples: dict[str, _Samples]) -> tuple[HeldOut, _Array]:
    """The held-out test; error bars are scaled by the rms z-score of the *validation* set, per parameter."""
    centre, spread = prior_centre_and_spread()

    def look(name: str) -> tuple[_Array, _Array, _Array]:
        images, targets = samples[name]
        mean, sigma = predict(network, images)
        return targets * spread + centre, mean * spread + centre, sigma * spread

    truth, estimate, sigma = look("validation")
    factor = np.sqrt(np.mean(((estimate - truth) / sigma) ** 2, axis=0))
    truth, estimate, sigma = look("test")
    z = (estimate - truth) / sigma
    sigma = sigma * factor
    return (
        HeldOut(
            truth,
            estimate,
            sigma,
            rmse=np.sqrt(np.mean((estimate - truth) ** 2, axis=0)),
            z_rms=np.sqrt(np.mean(z**2, axis=0)),
            coverage=np.mean(np.abs(estimate - truth) < sigma, axis=0),
        ),
        factor,
    )


def constraint(error: float, prior_spread: float) -> str:
    """What an error bar is worth against the prior's: "measured", "weak" or "this is your prior"."""
    ratio = error / prior_spread
    return "measured" if ratio < 0.3 else "weak" if ratio < 0.7 else "this is your prior"


def cannot_tell(change: float) -> str:
    """What an energy-integrated map cannot tell, in plain words."""
    return (
        "A map integrated over all energies cannot give absolute exchange constants: its intensity depends only on ratios of "
        f"J1, J2 and D. Multiplying all of them by 1.3 changes the integrated map by no more than {change:.1e} of its "
        "maximum (computed in this run). What fixes J1 is an edge of an energy window that cuts the band of magnons "
        "(at the literature values it ends at 6.54 meV); an edge above the top of the band tells nothing."
    )


def summarise(
    measurement: Measurement,
    estimate: _Array,
    error: _Array,
    held_out: HeldOut,
    factor: _Array,
    fit: TemplateFit,
    training: TrainingResult,
    sets: dict[str, SimulatedSet],
    settings: Rb2mnf4Settings,
) -> dict[str, Any]:
    """The content of result.json (timings are added at the end)."""
    _, spread = prior_centre_and_spread()

    def named(values: Sequence[float] | _Array) -> dict[str, float]:
        return dict(zip(PARAMETERS, map(float, values), strict=True))

    own = measurement.sha256 == "none"
    return {
        "job": "rb2mnf4",
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "measurement": {"source": measurement.source, "sha256": measurement.sha256},
        "windows": [list(window) for window in settings.windows],
        "estimate": named(estimate),
        "error": named(error),
        "constraint": {name: constraint(e, s) for name, e, s in zip(PARAMETERS, error, spread, strict=True)},
        "truth": {name: LITERATURE[name] for name in PARAMETERS} if own else None,
        "literature": {"J1": [0.657, 0.002], "J2": [0.006, 0.003]},
        "prior": {name: [PRIOR.ranges[name].low, PRIOR.ranges[name].high] for name in PRIOR.ranges},
        "held_out": {
            "rmse": named(held_out.rmse),
            "z_rms_before_calibration": named(held_out.z_rms),
            "calibration_factor": named(factor),
            "share_within_one_error": named(held_out.coverage),
        },
        "template": asdict(fit),
        "cannot_tell": cannot_tell(integrated_map_change()),
        "replaced_draws": {name: s.replaced for name, s in sets.items()},
        "training": {
            "best_epoch": training.best_epoch + 1,
            "epochs": len(training.history),
            "seconds": training.seconds,
        },
        "configuration": asdict(settings),
        "versions": versions(),
    }
