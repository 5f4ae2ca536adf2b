"""The numbers of docs/rb2mnf4.md: training from nothing, held-out errors, shifts, refinement, repeated measurements.

    python bench/rb2mnf4_numbers.py train four.pickle --windows four
    python bench/rb2mnf4_numbers.py test four.pickle > four.json

The pickle is for the second command alone: it is no format to keep.
"""

from __future__ import annotations

import argparse
import json
import pickle
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from insdl.commands.rb2mnf4 import Rb2mnf4Settings, own_measurement, signal_counts, tested_at, trained
from insdl.dataset.configuration import Configuration
from insdl.dataset.counted_maps import CountedMaps, MapNuisances, with_counts
from insdl.learn.map_inference import MapInference
from insdl.materials.rb2mnf4 import LITERATURE

WINDOWS = {
    "whole": ((1.0, 8.0),),
    "edge": ((1.0, 6.0),),
    "four": ((1.0, 2.75), (2.75, 4.5), (4.5, 6.25), (6.25, 8.0)),
}


class KnownInstrument(Rb2mnf4Settings):
    """The job where nothing of the instrument has to be learned: widths known, backgrounds flat, a fifth of the counts."""

    @property
    def configuration(self) -> Configuration:
        """As `Rb2mnf4Settings.configuration`."""
        return clean(super().configuration)


def settings_of(windows: str, instrument: str, epochs: int, maps: int) -> Rb2mnf4Settings:
    """The default job in these windows."""
    kind = KnownInstrument if instrument == "known" else Rb2mnf4Settings
    given = kind(windows=WINDOWS[windows], threads=1, training_images=maps)
    return replace(given, training=replace(given.training, epochs=epochs))


def train(file: Path, settings: Rb2mnf4Settings) -> dict[str, Any]:
    """Everything learned, in a pickle; how long it took."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        inference = trained(settings, own_measurement(settings), Path(folder))
    file.write_bytes(pickle.dumps((settings, inference)))
    return {
        "seconds": time.perf_counter() - start,
        "network_seconds": inference.training.seconds,
        "best_epoch": inference.training.best_epoch + 1,
        "validation_loss": [round(epoch.validation_loss, 4) for epoch in inference.training.history],
    }


def clean(configuration: Configuration, *, width: float = 1.0, slope: float = 0.0) -> Configuration:
    """The configuration with known widths, a given slope of every background, and a fifth background."""
    nuisances = configuration.detection.nuisances
    window = nuisances.window.model_copy(update={"slope": slope, "share": 0.2})
    detection = configuration.detection.model_copy(
        update={"nuisances": nuisances.model_copy(update={"window": window})}
    )
    widths = configuration.settings.model_copy(update={"width_factor": width, "extra_sigma_q": 0.0})
    return configuration.model_copy(update={"settings": widths, "detection": detection})


def shifts(inference: MapInference, settings: Rb2mnf4Settings, *, n: int = 512) -> dict[str, Any]:
    """Mean of (shifted - not shifted) estimates and ratio of their spreads: the same maps and noise, but for the shift."""
    given = with_counts(inference.configuration, signal_counts(settings, 1e6))
    none = MapNuisances(gap_probability=0.0)
    cases: dict[str, tuple[Configuration, MapNuisances]] = {
        "none": (clean(given), none),
        "resolution +20 %": (clean(given, width=1.2), none),
        "background slope +0.3": (clean(given, slope=0.3), none),
        "gaps": (clean(given), MapNuisances(gap_probability=1.0)),
    }
    errors = {}
    for name, (configuration, nuisances) in cases.items():
        maps = CountedMaps(
            configuration,
            inference.parameters,
            stream="shifts",
            nuisances=nuisances,
            measured=inference.measured,
            threads=1,
        )
        found = []
        for begin in range(0, n, 64):
            batch = maps.batch(range(begin, begin + 64))
            estimate, _ = inference.estimate(inference.views(batch.counts, batch.measured))
            found.append(estimate - batch.values)
        errors[name] = np.concatenate(found)
    base = errors["none"]
    return {
        name: {
            "bias": dict(zip(inference.parameters, (error - base).mean(axis=0).round(6).tolist(), strict=True)),
            "rmse": dict(zip(inference.parameters, np.sqrt(np.mean(error**2, axis=0)).round(6).tolist(), strict=True)),
        }
        for name, error in errors.items()
    }


def repeated(inference: MapInference, settings: Rb2mnf4Settings, *, n: int = 100) -> dict[str, Any]:
    """The measurement at the literature values, n times: share of refined J1 and J2 within 0.001 meV."""
    expected = inference.forward(threads=1)
    truth = np.array([LITERATURE[name] for name in inference.parameters])
    errors, sigma = [], []
    for number in range(n):
        measurement = own_measurement(settings, number=number)
        found, _ = inference.refine(measurement.image, measurement.measured, expected=expected, seed=number)
        errors.append(found.estimate[: len(truth)] - truth)
        sigma.append(np.sqrt(np.diag(found.covariance))[: len(truth)])
    error = np.array(errors)
    within = (np.abs(error[:, :2]) <= 1e-3).all(axis=1)
    return {
        "draws": n,
        "within": int(within.sum()),
        "rmse": np.sqrt(np.mean(error**2, axis=0)).tolist(),
        "bias": error.mean(axis=0).tolist(),
        "z": np.sqrt(np.mean((error / np.array(sigma)) ** 2, axis=0)).tolist(),
    }


def test(file: Path, parts: list[str], refined_images: int) -> dict[str, Any]:
    """All numbers of one pickle."""
    settings, inference = pickle.loads(file.read_bytes())
    result: dict[str, Any] = {"windows": settings.windows}
    if "counts" in parts:
        result["network"] = {}
        for counts in (1e5, 1e6, 1e7):
            tested = tested_at(inference, replace(settings, refined_images=1), counts)
            result["network"][f"{counts:.0e}"] = {
                "rmse": tested.rmse.round(6).tolist(),
                "z": tested.z_rms.round(3).tolist(),
                "baseline_rmse": tested.baseline_rmse.round(6).tolist(),
                "rank_p_values": None if tested.rank_p_values is None else tested.rank_p_values.round(4).tolist(),
            }
    if "shifts" in parts:
        result["shifts"] = shifts(inference, settings)
    if "refined" in parts:
        tested = tested_at(inference, replace(settings, test_images=refined_images, refined_images=refined_images), 1e6)
        result["refined"] = {
            "rmse": tested.refined_rmse.round(6).tolist(),
            "posterior_rmse": tested.weighted_rmse.round(6).tolist(),
            "posterior_z": tested.weighted_z_rms.round(3).tolist(),
            "reference": tested.reference_rms.round(6).tolist(),
            "z": tested.refined_z_rms.round(3).tolist(),
            "not_converged": tested.not_converged,
        }
    if "repeated" in parts:
        result["repeated"] = repeated(inference, settings)
    return result


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "test"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--windows", choices=list(WINDOWS), default="four")
    parser.add_argument("--instrument", choices=["unknown", "known"], default="unknown", help="widths and backgrounds")
    parser.add_argument("--epochs", type=int, default=Rb2mnf4Settings().training.epochs)
    parser.add_argument("--maps", type=int, default=Rb2mnf4Settings().training_images, help="maps of an epoch")
    parser.add_argument("--parts", nargs="+", default=["counts", "shifts", "refined", "repeated"])
    parser.add_argument("--refined-images", type=int, default=600, help="maps that are refined, of 1e6 counts")
    given = parser.parse_args()
    if given.what == "train":
        result = train(given.file, settings_of(given.windows, given.instrument, given.epochs, given.maps))
    else:
        result = test(given.file, given.parts, given.refined_images)
    json.dump(result, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
