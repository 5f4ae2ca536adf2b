"""Where the samples of a data set come from: sample i is a function of (configuration, seed, i) alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from insdl.dataset.simulated import Family, draw, simulate_indices
from insdl.instrument.frame import ImageFrame
from insdl.instrument.image import ImageSettings

GOOD = 0
"""Status of a sample whose image is there."""
GAVE_UP = 1
"""Status of a sample of which every draw was unstable: its image is zero, its parameters are those of the last draw."""

_SETTING_NAMES = tuple(field.name for field in fields(ImageSettings))
_CHUNK = 16  # images of a call of the kernel: work for every thread, little memory


@dataclass(frozen=True, eq=False)
class Samples:
    """Simulated samples before detection, in the order asked for.

    Attributes
    ----------
    images : (n, n_bins, n_h, n_k) float32. Expected intensity; zero where the status is not `GOOD`.
    labels : (n,) int64. Which class.
    parameters : (n, n_parameters) float64, meV. NaN where a class has no such parameter.
    settings : (n, n_settings) float64. Instrument settings drawn for each image.
    attempts : (n,) int64. Draws that were unstable and replaced.
    status : (n,) int64. `GOOD` or `GAVE_UP`.
    """

    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    parameters: npt.NDArray[np.float64]
    settings: npt.NDArray[np.float64]
    attempts: npt.NDArray[np.int64]
    status: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


class SampleSource(Protocol):
    """Where samples come from; it can be pickled, so that worker processes have it too.

    Attributes
    ----------
    name : str. seed : int. n_samples : int. Samples are numbered 0 to n_samples - 1.
    image_shape : (n_bins, n_h, n_k).
    classes : names, in the order of the labels.
    parameter_names : union over the classes, the columns of `Samples.parameters`, meV.
    setting_names : the columns of `Samples.settings`.
    """

    @property
    def name(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def n_samples(self) -> int: ...
    @property
    def image_shape(self) -> tuple[int, ...]: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def parameter_names(self) -> tuple[str, ...]: ...
    @property
    def setting_names(self) -> tuple[str, ...]: ...

    def describe(self) -> dict[str, Any]:
        """All that makes the samples what they are, as JSON holds it; equal descriptions mean equal samples."""
        ...

    def make(self, indices: Sequence[int], *, threads: int | None = None) -> Samples:
        """The samples of ``indices``; an unstable draw is replaced or gives status `GAVE_UP`, it is never an error."""
        ...


class FamilySource:
    """The samples of one or more `insdl.dataset.simulated.Family`; sample i belongs to family i modulo their number.

    Parameters
    ----------
    families : Family, ... All of one frame, with names of their own.
    n_samples : int. seed : int. stream : str. See `insdl.dataset.randomness.generator`.
    scale : what the simulators' images are multiplied by, such as counts per unit.
    name : of the data set; by default the names of the families.

    Raises
    ------
    ValueError
        If the families do not share a frame's shape, share a name, or there is nothing to make.
    """

    def __init__(
        self,
        families: Sequence[Family],
        n_samples: int,
        seed: int,
        stream: str,
        *,
        scale: float = 1.0,
        name: str | None = None,
    ) -> None:
        shapes = [family.simulator.frame.shape for family in families]
        names = tuple(family.name for family in families)
        if not families or len(set(shapes)) > 1 or len(set(names)) < len(names):
            raise ValueError(
                f"families must have one frame and a name each, got {dict(zip(names, shapes, strict=True))}"
            )
        if n_samples < 1 or seed < 0:
            raise ValueError(f"n_samples must be at least 1 and seed not negative, got {n_samples} and {seed}")
        self.families, self.n_samples, self.seed, self.stream, self.scale = families, n_samples, seed, stream, scale
        self.name = "-".join(names) if name is None else name
        self.classes = names
        self.image_shape: tuple[int, ...] = shapes[0]
        union = dict.fromkeys(parameter for family in families for parameter in family.simulator.model.parameters)
        self.parameter_names = tuple(union)
        self.setting_names = _SETTING_NAMES

    def describe(self) -> dict[str, Any]:
        """Models, frame, seed and stream; priors are code, so the first draw of each family stands for them."""
        firsts = [draw(family, label, seed=self.seed, stream=self.stream) for label, family in enumerate(self.families)]
        return {
            "source": "families",
            "name": self.name,
            "seed": self.seed,
            "stream": self.stream,
            "n_samples": self.n_samples,
            "scale": self.scale,
            "families": [
                {
                    "name": family.name,
                    "model": family.simulator.model.to_dict(),
                    "frame": _frame(family.simulator.frame),
                    "margin": family.simulator.margin,
                    "first_draw": {"parameters": dict(parameters), "settings": _settings(settings)},
                }
                for family, (parameters, settings) in zip(self.families, firsts, strict=True)
            ],
        }

    def make(self, indices: Sequence[int], *, threads: int | None = None) -> Samples:
        """The samples of ``indices``, each from 0 to n_samples - 1, in the order given."""
        numbers = checked_indices(indices, self.n_samples)
        n = len(numbers)
        images = np.zeros((n, *self.image_shape), dtype=np.float32)
        parameters = np.full((n, len(self.parameter_names)), np.nan)
        settings, attempts = np.empty((n, len(_SETTING_NAMES))), np.empty(n, dtype=np.int64)
        status = np.full(n, GOOD, dtype=np.int64)
        column = {name: i for i, name in enumerate(self.parameter_names)}
        for begin in range(0, n, _CHUNK):
            drawn = simulate_indices(
                self.families,
                numbers[begin : begin + _CHUNK],
                out=images[begin : begin + _CHUNK],
                scale=self.scale,
                seed=self.seed,
                stream=self.stream,
                threads=threads,
            )
            for row, one in enumerate(drawn, start=begin):
                for name, value in one.parameters.items():
                    parameters[row, column[name]] = value
                settings[row] = list(_settings(one.settings).values())
                attempts[row] = one.attempts
                status[row] = GOOD if one.stable else GAVE_UP
        labels = np.array(numbers, dtype=np.int64) % len(self.families)
        return Samples(images, labels, parameters, settings, attempts, status)


def checked_indices(indices: Sequence[int], n_samples: int) -> list[int]:
    """The numbers of samples as Python integers, each from 0 to ``n_samples`` - 1."""
    numbers = [int(index) for index in indices]
    outside = [index for index in numbers if not 0 <= index < n_samples]
    if outside:
        raise ValueError(f"samples are numbered 0 to {n_samples - 1}, got {outside[0]}")
    return numbers


def _settings(settings: ImageSettings) -> dict[str, float]:
    return {name: float(getattr(settings, name)) for name in _SETTING_NAMES}


def _frame(frame: ImageFrame) -> dict[str, Any]:
    """A frame as JSON holds it."""
    return {
        "pixels": np.asarray(frame.pixels).tolist(),
        "subpixels": frame.subpixels,
        "blocks": [
            {
                "bins": np.asarray(block.bins).tolist(),
                "incident_energy": float(block.incident_energy),
                "sigma_energy": np.asarray(block.sigma_energy).tolist(),
                "sigma_q": float(block.sigma_q),
                "fixed_l": block.fixed_l,
            }
            for block in frame.blocks
        ],
    }
