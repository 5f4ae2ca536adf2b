"""What planning needs to know about a configuration, worked out once: numbers of images, surrogates of models, backgrounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from insdl.dataset.configuration import Configuration, SubtractedCounting
from insdl.dataset.configured import ConfiguredSource
from insdl.dataset.prior import Range
from insdl.dataset.randomness import generator
from insdl.guide.compression import Compression, compression, pooled_frame, pooled_sum
from insdl.guide.none_class import STRANGERS, NoneOfThem, foreign_images, none_of_them
from insdl.guide.surrogate import Surrogate, SurrogateSettings, train_surrogate
from insdl.instrument.image import ImageSimulator
from insdl.learn.background_prior import Background, background_of
from insdl.learn.unknowns import Unknowns, unknowns_of

_Reals = npt.NDArray[np.float64]
_FIRST = 300  # images of a model from which the basis is worked out
_BATCH = 64


@dataclass(frozen=True)
class PlannerSettings:
    """How a `Planner` is made.

    Attributes
    ----------
    images : simulated images of each model that its surrogate learns from. held : that its error is worked out from.
    foreign : images of each kind for "none of these". pool : see `Compression`.
    components : principal components of the models' images, and of foreign ones, for each block.
    background : principal components of the background, see `background_of`.
    surrogate : of the training. seed : of everything.
    """

    images: int = 12000
    held: int = 300
    foreign: int = 100
    pool: int = 2
    components: tuple[int, int] = (16, 6)
    background: int = 12
    surrogate: SurrogateSettings = field(default_factory=SurrogateSettings)
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Planner:
    """Everything that a `Belief` about measurements of a configuration stands on.

    Attributes
    ----------
    configuration : Configuration. measured : (n_bins, n_h, n_k) bool, in pixels of the measurement.
    incident_energies : (n_blocks,) float64, meV. Of the blocks, each of which can be measured on its own.
    compression : Compression.
    unknowns : by model. The last two of each, scale and noise, are no coordinates of a surrogate.
    surrogates : by model. none : NoneOfThem.
    scale : Range of the mean signal, counts.
    background_mean : (n_values,) float64. background : (n_coefficients, n_values) float64, with standard normal coefficients.
    """

    configuration: Configuration
    measured: npt.NDArray[np.bool_]
    incident_energies: _Reals
    compression: Compression
    unknowns: Mapping[str, Unknowns]
    surrogates: Mapping[str, Surrogate]
    none: NoneOfThem
    scale: Range
    background_mean: _Reals
    background: _Reals

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the rivals."""
        return tuple(self.surrogates)


def prepare(
    configuration: Configuration,
    *,
    models: Sequence[str] | None = None,
    settings: PlannerSettings | None = None,
    threads: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Planner:
    """A planner of a configuration.

    Parameters
    ----------
    configuration : Configuration, with noise of subtracted counts and a background in counts.
    models : the rivals, some of the configuration's classes; None for all.
    progress : called with what goes on, how much of it is done, and how much there is.

    Raises
    ------
    ValueError
        If the configuration's noise or priors are others than `unknowns_of` can use, or a class is unknown.
    """
    chosen = settings or PlannerSettings()
    told = progress or (lambda what, done, total: None)
    names = [rival.name for rival in configuration.classes] if models is None else list(models)
    unknowns = {name: unknowns_of(configuration, name) for name in names}
    counting = configuration.detection.counting
    assert isinstance(counting, SubtractedCounting)  # unknowns_of refuses others
    source = ConfiguredSource(
        configuration.model_copy(update={"seed": chosen.seed, "stream": "guide", "n_samples": 10**7})
    )
    measured, frame = source.detector.measured, configuration.frame.image_frame()
    told("background", 0, 1)
    under = background_of(configuration, n_modes=chosen.background, detector=source.detector)
    shapes = _background_shapes(under, measured, chosen.pool)
    rivals = {rival.name: rival for rival in configuration.classes}
    small = pooled_frame(frame, chosen.pool)
    simulators = {
        name: ImageSimulator(rivals[name].spin_model(), small, margin=configuration.frame.margin) for name in names
    }
    count = pooled_sum(measured, chosen.pool)
    first = {}
    for name in names:
        told(f"images of {name}", 0, chosen.images)
        first[name] = _images(unknowns[name], simulators[name], count, f"{name}/basis", 0, _FIRST, chosen.seed, threads)
    told("foreign images", 0, chosen.foreign)
    foreign = foreign_images(source, chosen.foreign)
    strange = np.stack([_pooled_one(images, measured, count, chosen.pool) for images in foreign])
    low, high = unknowns[names[0]].ranges["scale"].low, unknowns[names[0]].ranges["scale"].high
    typical = np.sqrt(low * high)
    mean = np.mean([images.mean(axis=0) for _, images in first.values()], axis=0) * typical
    sigma = np.broadcast_to(np.array(counting.sigma, dtype=np.float64), (len(mean),))
    squeezed = compression(
        frame,
        pool=chosen.pool,
        measured=measured,
        variance=sigma[:, None, None] ** 2 + np.maximum(mean, 0.0),
        exact=shapes,
        typical=[np.concatenate([images for _, images in first.values()]), strange.reshape(-1, *strange.shape[2:])],
        components=chosen.components,
    )
    surrogates = {}
    for name in names:
        points, values = _simulated(
            unknowns[name], simulators[name], squeezed, name, chosen.images, chosen.seed, threads, told
        )
        held_points, held_values = _held(unknowns[name], rivals[name].spin_model(), configuration, squeezed, measured,
                                         name, chosen, threads)  # fmt: skip
        surrogates[name] = train_surrogate(
            points,
            values,
            held_points=held_points,
            held_values=held_values,
            settings=chosen.surrogate,
            progress=lambda epoch, _, name=name: told(f"surrogate of {name}", epoch + 1, chosen.surrogate.epochs),  # type: ignore[misc]
        )
    none = none_of_them(STRANGERS, np.stack([squeezed.values(images) for images in strange]))
    background = squeezed.values(shapes)
    return Planner(
        configuration=configuration,
        measured=measured,
        incident_energies=np.array([block.incident_energy for block in frame.blocks]),
        compression=squeezed,
        unknowns=unknowns,
        surrogates=surrogates,
        none=none,
        scale=Range(low, high, unknowns[names[0]].ranges["scale"].scale),
        background_mean=background[0],
        background=background[1:],
    )


def _background_shapes(under: Background, measured: npt.NDArray[np.bool_], pool: int) -> _Reals:
    """(1 + n_coefficients, n_bins, n_h, n_k) float64, pooled. The mean, then what one coefficient of each adds to it."""
    count = np.maximum(pooled_sum(measured, pool), 1.0)
    zero = np.zeros(under.n_coefficients)
    mean = under.image(zero)
    rows = [mean]
    for i in range(under.n_coefficients):
        zero[i] = 1.0
        rows.append(under.image(zero) - mean)
        zero[i] = 0.0
    return np.stack([pooled_sum(np.where(measured, row, 0.0), pool) / count for row in rows])


def _pooled_one(images: npt.ArrayLike, measured: npt.NDArray[np.bool_], count: _Reals, pool: int) -> _Reals:
    """Pooled images (n, ...) of mean one over the measured pixels; those without any signal stay zero."""
    total = pooled_sum(np.where(measured, np.asarray(images, dtype=np.float64), 0.0), pool)
    mean = total.sum(axis=(1, 2, 3)) / count.sum()
    return np.asarray(total / np.maximum(count, 1.0) / np.where(mean > 0, mean, 1.0)[:, None, None, None])


def _images(
    unknowns: Unknowns, simulator: ImageSimulator, count: _Reals, stream: str, begin: int, n: int, seed: int,
    threads: int | None,
) -> tuple[_Reals, _Reals]:  # fmt: skip
    """Points of the cube (m, n_unknowns - 2) and pooled images of mean one; unstable ones are left out."""
    points = np.stack(
        [generator(seed, f"guide/{stream}", i).random(len(unknowns.names)) for i in range(begin, begin + n)]
    )
    settings = [unknowns.image_settings(point) for point in points]
    images = np.empty((n, *simulator.frame.shape), dtype=np.float32)
    _, stable = simulator.simulate_sets(unknowns.model_values(points), settings, out=images, threads=threads)
    found = images[stable].astype(np.float64) * (count > 0)
    means = np.einsum("nbhk,bhk->n", found, count) / count.sum()
    return points[stable, :-2], found / means[:, None, None, None]


def _simulated(
    unknowns: Unknowns, simulator: ImageSimulator, squeezed: Compression, name: str, n: int, seed: int,
    threads: int | None, told: Callable[[str, int, int], None],
) -> tuple[_Reals, _Reals]:  # fmt: skip
    points, values = [], []
    for begin in range(0, n, _BATCH):
        own, images = _images(unknowns, simulator, squeezed.pixels, name, begin, min(_BATCH, n - begin), seed, threads)
        points.append(own)
        values.append(squeezed.values(images))
        told(f"images of {name}", min(begin + _BATCH, n), n)
    return np.concatenate(points), np.concatenate(values)


def _held(
    unknowns: Unknowns, model: object, configuration: Configuration, squeezed: Compression,
    measured: npt.NDArray[np.bool_], name: str, chosen: PlannerSettings, threads: int | None,
) -> tuple[_Reals, _Reals]:  # fmt: skip
    """Points and numbers of images in pixels of the measurement: the surrogate's error has that of pooled pixels in it."""
    fine = ImageSimulator(model, configuration.frame.image_frame(), margin=configuration.frame.margin)  # type: ignore[arg-type]
    points, values = [], []
    for begin in range(0, chosen.held, _BATCH):
        own, images = _images(unknowns, fine, measured.astype(np.float64), f"{name}/held", begin,
                              min(_BATCH, chosen.held - begin), chosen.seed, threads)  # fmt: skip
        points.append(own)
        values.append(squeezed.values(_pooled_one(images, measured, squeezed.pixels, squeezed.pool)))
    return np.concatenate(points), np.concatenate(values)
