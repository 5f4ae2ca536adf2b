"""J1 and J2 of Rb2MnF4 from counted maps, with error bars, and what such a map cannot tell."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from insdl.commands.progress import Stopwatch, torch_threads
from insdl.commands.rb2mnf4_held_out import HeldOut, held_out
from insdl.commands.rb2mnf4_result import summarise
from insdl.dataset.configuration import Configuration, load_configuration
from insdl.dataset.configured import ConfiguredSource
from insdl.dataset.counted_maps import MapNuisances, with_counts, with_windows
from insdl.explain.cam import grad_cam, layer_grid, to_pixels
from insdl.instrument.counts import count_images
from insdl.instrument.frame import ImageFrame
from insdl.instrument.measurement import Measurement, file_sha256, load_array
from insdl.instrument.rb2mnf4 import INCIDENT_ENERGY, WINDOWS
from insdl.learn.map_inference import MapInference, MapInferenceSettings, forward_model, free_prior, train_map_inference
from insdl.learn.train import TrainingSettings
from insdl.materials.rb2mnf4 import LITERATURE
from insdl.provenance import complete_folder, write_json

_Array = npt.NDArray[np.float64]
_WHOLE = (1.0, 8.0)
"""meV. Counts are those of a map of this window: the same time of measuring, whatever the windows."""


@dataclass(frozen=True)
class Rb2mnf4Settings:
    """What a run does; all of it is written into its result.

    Attributes
    ----------
    windows : energy windows of the map, meV.
    seed : of everything random.
    training_images : maps of an epoch; every map of the training is a new one.
    validation_images : on which the best epoch is chosen.
    posterior_images : of which the posterior and the baseline learn, and by which the network's errors are calibrated.
    training : of the network besides.
    test_images : held-out maps. refined_images : how many of them are refined through the simulator too.
    own_counts : signal counts that a measurement made here would have in one window of 1 to 8 meV.
    energy_zero_sigma : meV, how well the zero of energy is known; 0 for exactly.
    importance_samples : simulated maps for the final posterior of the measurement.
    threads : of everything; None for all processors.
    """

    windows: tuple[tuple[float, float], ...] = WINDOWS
    seed: int = 0
    training_images: int = 5000
    validation_images: int = 1000
    posterior_images: int = 8000
    training: TrainingSettings = TrainingSettings(epochs=64, batch_size=64, learning_rate=3e-3)
    test_images: int = 1000
    refined_images: int = 100
    own_counts: float = 1e6
    energy_zero_sigma: float = 0.0
    importance_samples: int = 1000
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in (
            "training_images",
            "validation_images",
            "posterior_images",
            "test_images",
            "refined_images",
            "importance_samples",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.own_counts > 0 or not self.energy_zero_sigma >= 0:
            raise ValueError(
                f"own_counts must be positive and energy_zero_sigma not negative, got {self.own_counts} and "
                f"{self.energy_zero_sigma}"
            )
        if not self.windows or not all(0 <= low < high < INCIDENT_ENERGY for low, high in self.windows):
            raise ValueError(
                f"windows must be pairs low < high between 0 and Ei = {INCIDENT_ENERGY} meV, got {self.windows}"
            )

    @property
    def configuration(self) -> Configuration:
        """The preset "rb2mnf4" in these windows."""
        given = load_configuration("rb2mnf4").model_copy(update={"seed": self.seed})
        return with_windows(given, self.windows)

    @property
    def nuisances(self) -> MapNuisances:
        """What is drawn for a map besides the preset's nuisances."""
        return MapNuisances(energy_zero_sigma=self.energy_zero_sigma)


def read_map(path: Path, frame: ImageFrame, measured: npt.NDArray[np.bool_]) -> Measurement:
    """A map of counts (n_windows, 64, 64), Qh and Qk ascending over [-1, 1] r.l.u.; NaN where not measured.

    ``measured`` is False where Bragg peaks are left out.
    """
    counts = load_array(path)
    if counts.shape != frame.shape:
        raise ValueError(
            f"a map of these {frame.shape[0]} energy windows must have shape {frame.shape} (windows, Qh, Qk), "
            f"got {counts.shape} in {path.name}"
        )
    if (counts < 0).any() or np.isinf(counts).any():
        raise ValueError(f"counts must be finite and not negative (NaN: not measured), got {np.nanmin(counts)}")
    seen = np.isfinite(counts) & measured
    if not np.sum(counts, where=seen) > 0:
        raise ValueError(f"the map in {path.name} holds no counts where it was measured")
    return Measurement(np.where(seen, counts, 0.0), seen, path.name, file_sha256(path))


def literature_images(configuration: Configuration, *, threads: int | None = None) -> _Array:
    """(n_windows, 64, 64) float64. Expected map at the literature values and nominal widths, integrated over each window."""
    prior = free_prior(configuration, MapNuisances())
    values = [LITERATURE[name] if name in LITERATURE else {"width_factor": 1.0}.get(name, 0.0) for name in prior.names]
    image: _Array = forward_model(configuration, prior, threads=threads)(np.array([values]))[0]
    return image


def signal_counts(settings: Rb2mnf4Settings, counts: float) -> float:
    """Signal counts in these windows where a map of 1 to 8 meV has ``counts``, at the literature values."""
    given = settings.configuration
    parts = []
    for configuration in (given, with_windows(given, [_WHOLE])):
        measured = ConfiguredSource(configuration).detector.measured
        parts.append(float(literature_images(configuration, threads=settings.threads)[measured].sum()))
    return counts * parts[0] / parts[1]


def own_measurement(settings: Rb2mnf4Settings, *, number: int = 0) -> Measurement:
    """A measurement made here: literature parameters, Poisson counts, a fifth of them background, its own seed."""
    configuration = settings.configuration
    measured = ConfiguredSource(configuration).detector.measured
    image = literature_images(configuration, threads=settings.threads)
    total = signal_counts(settings, settings.own_counts)
    mean = image * (total / float(image[measured].sum()))
    mean += 0.25 * mean.mean(axis=(1, 2), keepdims=True)
    counts = count_images(
        mean[None].astype(np.float32), seed=settings.seed, stream="own measurement", indices=np.array([number])
    )[0]
    source = (
        f"made by insdl: J1 = {LITERATURE['J1']}, J2 = {LITERATURE['J2']} meV, {total:.3g} counts of signal, "
        "20 % background"
    )
    return Measurement(np.where(measured, counts, 0.0).astype(np.float64), measured, source, "none")


def run(
    measured_file: Path | None, folder: Path, settings: Rb2mnf4Settings, *, progress: bool = True
) -> dict[str, Any]:
    """Train, test, estimate, refine and explain; writes result.json, report.html, pictures and the network.

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
    configuration = settings.configuration
    frame = configuration.frame.image_frame()
    looked_at = ConfiguredSource(configuration).detector.measured
    measurement = own_measurement(settings) if measured_file is None else read_map(measured_file, frame, looked_at)
    with complete_folder(folder) as work:
        with watch("simulation and network"):
            inference = trained(settings, measurement, work, progress=progress)
        with watch("held-out test"):
            tested = tested_at(inference, settings, settings.own_counts)
        with watch("refinement"):
            expected = inference.forward(threads=settings.threads)
            refinement, problem = inference.refine(
                measurement.image, measurement.measured, expected=expected, seed=settings.seed
            )
            posterior = inference.reweighted(
                problem, refinement, expected=expected, n_samples=settings.importance_samples, seed=settings.seed
            )
        with watch("what it can tell"):
            result = summarise(measurement, inference, refinement, posterior, tested, settings)
        with watch("report"):
            write_report(
                work, result, measurement, frame, tested, inference.training, explained(inference, measurement)
            )
        result["timings_seconds"] = watch.seconds
        write_json(work / "result.json", result)
    return result


def trained(settings: Rb2mnf4Settings, measurement: Measurement, work: Path, *, progress: bool = False) -> MapInference:
    """What is learned for a measurement's windows and mask; the network is written into the folder."""
    training = replace(
        settings.training,
        samples_per_epoch=settings.training_images,
        seed=settings.seed,
        threads=torch_threads(settings.threads),
    )
    return train_map_inference(
        settings.configuration,
        nuisances=settings.nuisances,
        measured=measurement.measured,
        settings=MapInferenceSettings(
            training=training, pairs=settings.posterior_images, validation=settings.validation_images
        ),
        threads=settings.threads,
        checkpoint=work / "network.pt",
        description={"job": "rb2mnf4", "settings": asdict(settings), "measurement": measurement.source},
        progress="bar" if progress else "silent",
    )


def tested_at(inference: MapInference, settings: Rb2mnf4Settings, counts: float) -> HeldOut:
    """The held-out test on maps of a time of measuring that gives ``counts`` between 1 and 8 meV."""
    return held_out(
        inference,
        with_counts(inference.configuration, signal_counts(settings, counts)),
        n_maps=settings.test_images,
        n_refined=settings.refined_images,
        seed=settings.seed,
        threads=settings.threads,
    )


def explained(inference: MapInference, measurement: Measurement) -> dict[str, npt.NDArray[np.floating]]:
    """Grad-CAM of J1 and J2, (64, 64): the network sees one quarter, which stands for all four."""
    network = inference.network
    view = inference.views(measurement.image[None], measurement.measured[None])
    grid = layer_grid(network, layer="block1", image_shape=network.config.image_shape)
    maps = {}
    for name in ("J1", "J2"):
        quarter = to_pixels(grad_cam(network, view, target=name, layer="block1", sign="signed"), grid)[0]
        quarter = 0.5 * (quarter + quarter.T)  # Qh and Qk are one in the view, though not in the network's kernels
        half = np.concatenate([quarter[:, ::-1], quarter], axis=1)
        maps[name] = np.concatenate([half[::-1], half], axis=0)
    return maps
