"""Samples of a configuration: drawn, simulated in batches, drawn again where unstable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from insdl.dataset.configuration import Configuration, Rival, Settings
from insdl.dataset.detection import Detector
from insdl.dataset.distribution import draw
from insdl.dataset.mask_file import mask_digest
from insdl.dataset.randomness import generator
from insdl.dataset.source import Samples
from insdl.instrument.image import ImageSettings, ImageSimulator

MAX_ATTEMPTS = 50
_BATCH = 16  # images simulated in one call: enough for the threads, little memory
_SETTINGS = tuple(Settings.model_fields)


@dataclass(frozen=True)
class _Drawn:
    """One draw of a sample."""

    parameters: dict[str, float]
    settings: ImageSettings


class ConfiguredSource:
    """What makes the samples of a configuration; a `SampleSource`.

    Sample i belongs to class i modulo the number of classes and depends on the configuration, its seed and i alone: not on the
    number of samples, on what is made together, on threads, or on processes. Images are simulated ones in counts at the nominal
    scale; `detect` makes a measurement of one.
    """

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.name, self.seed, self.n_samples = configuration.name, configuration.seed, configuration.n_samples
        frame = configuration.frame.image_frame()
        self.image_shape: tuple[int, ...] = frame.shape
        self.classes = tuple(rival.name for rival in configuration.classes)
        self._simulators = [
            ImageSimulator(rival.spin_model(), frame, margin=configuration.frame.margin)
            for rival in configuration.classes
        ]
        names = [name for simulator in self._simulators for name in simulator.model.parameters]
        self.parameter_names = tuple(dict.fromkeys(names))
        self.setting_names: tuple[str, ...] = _SETTINGS

    def describe(self) -> dict[str, Any]:
        """The whole configuration, and the models and the mask that it names; equal descriptions mean equal samples."""
        frame = self.configuration.frame.image_frame()
        mask = self.configuration.detection.coverage.frame_mask(frame)
        return {
            "source": "configuration",
            "configuration": self.configuration.model_dump(mode="json"),
            "models": {name: one.model.to_dict() for name, one in zip(self.classes, self._simulators, strict=True)},
            **({} if mask is None else {"mask": mask_digest(mask)}),
        }

    def __reduce__(self) -> tuple[type[ConfiguredSource], tuple[Configuration]]:
        """Worker processes build it again from the configuration."""
        return ConfiguredSource, (self.configuration,)

    def make(self, indices: Sequence[int], *, threads: int | None = None) -> Samples:
        """The samples of these indices, in this order.

        A sample whose model is unstable is drawn again, up to 50 times; after that its status is 1, its image zero, and its
        parameters are those of the last draw. ``attempts`` counts the draws that were unstable.

        Raises
        ------
        ValueError
            If an index is not within 0 to n_samples - 1.
        """
        wanted = np.asarray(indices, dtype=np.int64).reshape(-1)
        wrong = wanted[(wanted < 0) | (wanted >= self.n_samples)]
        if len(wrong):
            raise ValueError(f"indices must lie in 0 to {self.n_samples - 1}, got {int(wrong[0])}")
        n = len(wanted)
        samples = Samples(
            images=np.zeros((n, *self.image_shape), dtype=np.float32),
            labels=wanted % len(self.classes),
            parameters=np.full((n, len(self.parameter_names)), np.nan),
            settings=np.full((n, len(self.setting_names)), np.nan),
            attempts=np.zeros(n, dtype=np.int64),
            status=np.ones(n, dtype=np.int64),
        )
        for label in range(len(self.classes)):
            rows = np.flatnonzero(samples.labels == label)
            for begin in range(0, len(rows), _BATCH):
                self._fill(samples, label, rows[begin : begin + _BATCH], wanted, threads)
        return samples

    def drawn(self, index: int, *, attempt: int = 0) -> tuple[dict[str, float], ImageSettings]:
        """Model parameters by name (meV) and image settings of one draw of a sample, simulated or not."""
        found = self._draw(index, attempt)
        return found.parameters, found.settings

    @property
    def mirrors(self) -> Literal["folded", "apart"]:
        """ "folded" where the images of all classes have mirrors in Qh and Qk, up to what the instrument does to them."""
        return "apart" if any(one.mirrors == "none" for one in self._simulators) else "folded"

    @cached_property
    def detector(self) -> Detector:
        """The detection of the configuration."""
        return Detector(self.configuration)

    def detect(self, image: npt.NDArray[np.floating[Any]], rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """A measurement of an image of this source: see `insdl.dataset.detection.Detector.detect`."""
        return self.detector.detect(image, rng)

    def _fill(
        self,
        samples: Samples,
        label: int,
        rows: npt.NDArray[np.int64],
        indices: npt.NDArray[np.int64],
        threads: int | None,
    ) -> None:
        """Draws and simulates the given rows, all of one class, until each is stable or has been drawn often enough."""
        simulator = self._simulators[label]
        columns = np.array([self.parameter_names.index(name) for name in simulator.model.parameters])
        for attempt in range(MAX_ATTEMPTS):
            found = [self._draw(int(indices[row]), attempt) for row in rows]
            sets = np.array([simulator.model.values(one.parameters) for one in found])
            images, stable = simulator.simulate_sets(sets, [one.settings for one in found], threads=threads)
            samples.parameters[rows[:, None], columns] = sets
            samples.settings[rows] = [[getattr(one.settings, name) for name in _SETTINGS] for one in found]
            good = rows[stable]
            samples.attempts[rows[~stable]] += 1
            samples.images[good] = self.configuration.intensity * images[stable]
            samples.status[good] = 0
            rows = rows[~stable]
            if not len(rows):
                return

    def _draw(self, index: int, attempt: int) -> _Drawn:
        """What all classes share comes first, so that rivals with one index share these numbers."""
        given = self.configuration
        rival = given.classes[index % len(given.classes)]
        rng = generator(given.seed, f"{given.stream}/parameters", index, attempt=attempt)
        quantities = {name: draw(distribution, rng) for name, distribution in given.shared.items()}
        quantities |= {name: draw(distribution, rng) for name, distribution in rival.own.items()}
        settings = ImageSettings(**{name: draw(getattr(given.settings, name), rng) for name in _SETTINGS})
        return _Drawn(self._parameters(rival, index, quantities), settings)

    def _parameters(self, rival: Rival, index: int, quantities: dict[str, float]) -> dict[str, float]:
        model = self._simulators[index % len(self.classes)].model
        return {
            name: sum(factor * quantities[term] for term, factor in rival.derived[name].items())
            if name in rival.derived
            else quantities[name]
            for name in model.parameters
        }
