"""Counted maps of a configuration in batches, with all that a network for maps must not be misled by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from insdl.dataset.configuration import Configuration, PoissonCounting
from insdl.dataset.configured import MAX_ATTEMPTS, ConfiguredSource
from insdl.dataset.distribution import times
from insdl.dataset.randomness import generator
from insdl.dataset.square_fold import fold_square
from insdl.instrument.counts import count_images
from insdl.instrument.forward_model import ENERGY_ZERO, ForwardModel
from insdl.instrument.image import ImageSettings, ImageSimulator

_Singles = npt.NDArray[np.float32]
_ZERO_STEPS = 4  # zeros of energy are drawn in steps of sigma over this: each needs a simulator of its own


@dataclass(frozen=True)
class MapNuisances:
    """What is drawn for a map besides the configuration's nuisances.

    Attributes
    ----------
    energy_zero_sigma : float, meV. Standard deviation of the error of the zero of energy; 0 for a known zero.
    gap_probability : float, 0 to 1. Share of maps with strips of pixels that were not measured.
    gap_width : int. Pixels; the widest strip.
    gap_count : int. The largest number of strips.
    """

    energy_zero_sigma: float = 0.0
    gap_probability: float = 0.3
    gap_width: int = 3
    gap_count: int = 4

    def __post_init__(self) -> None:
        if not self.energy_zero_sigma >= 0 or not 0 <= self.gap_probability <= 1:
            raise ValueError(f"energy_zero_sigma must not be negative and gap_probability lie in 0 to 1, got {self}")
        if min(self.gap_width, self.gap_count) < 1:
            raise ValueError(f"gap_width and gap_count must be at least 1, got {self.gap_width} and {self.gap_count}")


@dataclass(frozen=True, eq=False)
class MapBatch:
    """Maps as measured.

    Attributes
    ----------
    counts : (n, n_windows, n_h, n_k) float32; zero where not measured. measured : bool, same shape.
    values : (n, n_names) float64. What each was made with, in the order of the names asked for.
    """

    counts: _Singles
    measured: npt.NDArray[np.bool_]
    values: npt.NDArray[np.float64]


class CountedMaps:
    """Sample i of a configuration as a counted map: a function of (configuration, seed, stream, i) alone.

    Parameters
    ----------
    configuration : of one class, with Poisson counting.
    names : of the numbers to give with each map: model parameters, image settings, "energy_zero".
    stream : of the random numbers: other streams share no parameters and no noise.
    nuisances : `MapNuisances`.
    measured : (n_windows, n_h, n_k) bool or None. Where the measurement looks, within what the configuration
        looks at.
    threads : of the kernels.

    Raises
    ------
    ValueError
        If the configuration has several classes or no Poisson counting, or the mask has another shape.
    """

    def __init__(
        self,
        configuration: Configuration,
        names: Sequence[str],
        *,
        stream: str,
        nuisances: MapNuisances | None = None,
        measured: npt.NDArray[np.bool_] | None = None,
        threads: int | None = None,
    ) -> None:
        if len(configuration.classes) != 1 or not isinstance(configuration.detection.counting, PoissonCounting):
            raise ValueError(
                f"counted maps need one class and Poisson counting, got {len(configuration.classes)} classes and "
                f"{configuration.detection.counting.kind!r}"
            )
        self.configuration = configuration.model_copy(update={"stream": stream})
        self.names, self.stream, self.threads = tuple(names), stream, threads
        self.nuisances = MapNuisances() if nuisances is None else nuisances
        self.source = ConfiguredSource(self.configuration)
        simulator = ImageSimulator(
            configuration.classes[0].spin_model(),
            configuration.frame.image_frame(),
            margin=configuration.frame.margin,
        )
        self._settings = self.source.setting_names
        self.forward = ForwardModel(
            simulator,
            (*simulator.model.parameters, *self._settings, ENERGY_ZERO),
            settings=ImageSettings(),
            intensity="bin",
            threads=threads,
        )
        wrong = [name for name in self.names if name not in self.forward.names]
        if wrong:
            raise ValueError(f"names must be some of {list(self.forward.names)}, got {wrong}")
        whole = self.source.detector.measured
        if measured is not None and measured.shape != whole.shape:
            raise ValueError(f"measured must have the shape {whole.shape} of the frame, got {measured.shape}")
        self.measured = whole if measured is None else whole & measured

    def batch(self, indices: Sequence[int]) -> MapBatch:
        """The maps of these indices, in this order.

        Raises
        ------
        ValueError
            If every draw of a sample is unstable.
        """
        rows, images = self._images(indices)
        expected = np.empty(images.shape, dtype=np.float32)
        seen = np.broadcast_to(self.measured, images.shape).copy()
        for row, index in enumerate(indices):
            expected[row] = self.source.detector.expected(
                images[row], generator(self.configuration.seed, f"{self.stream}/detection", index)
            )
            seen[row] &= ~self._gaps(index)
        counts = count_images(
            expected,
            seed=self.configuration.seed,
            stream=f"{self.stream}/counts",
            indices=np.asarray(indices, dtype=np.int64),
            threads=self.threads,
            out=expected,
        )
        counts[~seen] = 0.0
        columns = [self.forward.names.index(name) for name in self.names]
        return MapBatch(counts, seen, rows[:, columns])

    def _images(self, indices: Sequence[int]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Drawn numbers (n, columns of the forward model) and images; unstable draws are drawn again."""
        rows = np.empty((len(indices), len(self.forward.names)))
        images = np.empty((len(indices), *self.forward.image_shape))
        open_ = list(range(len(indices)))
        for attempt in range(MAX_ATTEMPTS):
            for row in open_:
                parameters, settings = self.source.drawn(indices[row], attempt=attempt)
                own = {**parameters, **{name: getattr(settings, name) for name in self._settings}}
                rows[row] = [*own.values(), self._energy_zero(indices[row])]
            images[open_] = self.forward(rows[open_])
            open_ = [row for row in open_ if not np.isfinite(images[row]).all()]
            if not open_:
                return rows, images
        raise ValueError(f"sample {indices[open_[0]]} of {self.stream!r} is unstable in {MAX_ATTEMPTS} draws")

    def _energy_zero(self, index: int) -> float:
        sigma = self.nuisances.energy_zero_sigma
        if sigma == 0:
            return 0.0
        normal = float(generator(self.configuration.seed, f"{self.stream}/energy zero", index).standard_normal())
        return float(np.clip(np.rint(normal * _ZERO_STEPS), -3 * _ZERO_STEPS, 3 * _ZERO_STEPS)) * sigma / _ZERO_STEPS

    def _gaps(self, index: int) -> npt.NDArray[np.bool_]:
        """(n_h, n_k) bool. Strips of constant Qh or Qk, in all windows, as where detectors meet or are missing."""
        given, shape = self.nuisances, self.measured.shape[1:]
        rng = generator(self.configuration.seed, f"{self.stream}/gaps", index)
        gaps = np.zeros(shape, dtype=bool)
        if rng.random() < given.gap_probability:
            for _ in range(int(rng.integers(1, given.gap_count + 1))):
                axis, width = int(rng.integers(2)), int(rng.integers(1, given.gap_width + 1))
                begin = int(rng.integers(0, shape[axis] - width + 1))
                gaps[
                    (slice(begin, begin + width), slice(None))
                    if axis == 0
                    else (slice(None), slice(begin, begin + width))
                ] = True
        return gaps


def map_view(
    counts: npt.NDArray[np.floating],
    measured: npt.NDArray[np.bool_],
    *,
    typical: npt.NDArray[np.floating] | None = None,
) -> _Singles:
    """What a network sees of maps: square roots of the folded counts over their mean, and log10 of all counts.

    Parameters
    ----------
    counts : (n, n_windows, m, m). measured : bool, same shape.
    typical : (n_windows + 1, m / 2, m / 2) or None. What to put where none of the equivalent pixels was measured: the mean
        view, which tells nothing. None for zero.

    Returns
    -------
    (n, n_windows + 1, m / 2, m / 2) float32.

    Raises
    ------
    ValueError
        If a map holds no counts.
    """
    folded = fold_square(counts, measured)
    total = (
        np.sum(folded.rate * folded.number, axis=(1, 2, 3), dtype=np.float64) / 2.0
    )  # each pixel is in two triangles
    if not (total > 0).all():
        raise ValueError(f"map {int(np.flatnonzero(total <= 0)[0])} holds no counts")
    present = folded.number > 0
    mean = 2.0 * total / np.sum(folded.number, axis=(1, 2, 3))
    view = np.empty((len(counts), counts.shape[1] + 1, *folded.rate.shape[2:]), dtype=np.float32)
    view[:, :-1] = np.sqrt(folded.rate / mean[:, None, None, None])
    if typical is not None:
        view[:, :-1] = np.where(present, view[:, :-1], typical[:-1])
    view[:, -1] = (np.log10(total) - 6.0)[:, None, None]
    return view


def with_counts(configuration: Configuration, counts: float) -> Configuration:
    """The configuration with a fixed number of signal counts in all measured pixels of a map."""
    measured = int(ConfiguredSource(configuration).detector.measured.sum())
    detection = configuration.detection
    scale = detection.scale.model_copy(update={"kind": "mean", "value": counts / measured})
    return configuration.model_copy(update={"detection": detection.model_copy(update={"scale": scale})})


def with_windows(configuration: Configuration, windows: Sequence[tuple[float, float]]) -> Configuration:
    """The configuration with other energy windows (meV) at its one incident energy; a map has as many counts as before."""
    blocks = configuration.frame.blocks
    if len(blocks) != 1:
        raise ValueError(f"windows can be changed where there is one incident energy, got {len(blocks)}")
    block = blocks[0].model_copy(update={"bins": [(float(low), float(high)) for low, high in windows]})
    frame = configuration.frame.model_copy(update={"blocks": [block]})
    scale, factor = configuration.detection.scale, len(blocks[0].bins) / len(windows)
    if scale.kind == "mean":  # of a pixel, of which there are now more or fewer
        scale = scale.model_copy(update={"value": times(scale.value, factor)})
    detection = configuration.detection.model_copy(update={"scale": scale})
    return configuration.model_copy(update={"frame": frame, "detection": detection})
