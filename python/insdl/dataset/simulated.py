"""Sets of simulated images without detection noise, made from priors; unstable draws are replaced deterministically."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from insdl.dataset.randomness import generator
from insdl.instrument.image import ImageSettings, ImageSimulator

MAX_ATTEMPTS = 50
Order = Literal["shuffled", "once"]
_CHUNK = 8  # images of a family simulated in one call: one a thread, little memory


@dataclass(frozen=True, eq=False)
class Family:
    """One rival: a simulator, and how its parameters and the image settings are drawn.

    ``draw_parameters`` and ``draw_settings`` take a generator and return parameters by name (meV) and `ImageSettings`.
    """

    name: str
    simulator: ImageSimulator
    draw_parameters: Callable[[np.random.Generator], Mapping[str, float]]
    draw_settings: Callable[[np.random.Generator], ImageSettings]


@dataclass(frozen=True, eq=False)
class SimulatedSet:
    """Simulated images before detection.

    Attributes
    ----------
    images : (n, n_bins, n_h, n_k) float16 or float32, multiplied by the ``scale`` of `simulate_set`.
    labels : (n,) int64. Which family.
    families : names, in the order of the labels.
    parameters : n dictionaries, meV. What each image was made with.
    settings : n `ImageSettings`.
    replaced : int. Draws that were unstable and drawn again.
    stream, seed : what made it.
    """

    images: npt.NDArray[np.floating]
    labels: npt.NDArray[np.int64]
    families: tuple[str, ...]
    parameters: tuple[Mapping[str, float], ...]
    settings: tuple[ImageSettings, ...]
    replaced: int
    stream: str
    seed: int

    def __len__(self) -> int:
        return len(self.labels)

    def choose(self, index: int, order: Order, rng: np.random.Generator) -> int:
        """The image for sample ``index``: one at random, or the set once through and again."""
        if order not in ("shuffled", "once"):
            raise ValueError(f"order must be 'shuffled' or 'once', got {order!r}")
        return int(rng.integers(len(self))) if order == "shuffled" else index % len(self)


def simulate_set(
    families: Sequence[Family],
    n: int,
    *,
    seed: int,
    stream: str,
    dtype: npt.DTypeLike = np.float32,
    scale: float = 1.0,
    threads: int | None = None,
    progress: bool = False,
) -> SimulatedSet:
    """``n`` images, families taking turns; image i depends on (families, seed, stream, i) alone.

    Parameters
    ----------
    families : Family, ... All of one frame.
    n : int. Number of images; image i belongs to family i modulo their number.
    seed, stream : the random numbers, see `insdl.dataset.randomness.generator`.
    dtype : of the images kept.
    scale : counts per unit of the simulators' images; the images are stored multiplied by it.
    threads : threads of the kernel.
    progress : show a bar.

    Raises
    ------
    ValueError
        If one sample stays unstable after 50 draws, or an image does not fit the dtype: the family and its draw are named.
    """
    if not families:
        raise ValueError("at least one family is needed")
    shape = families[0].simulator.frame.shape
    if any(family.simulator.frame.shape != shape for family in families):
        raise ValueError(f"all families need one frame, got shapes {[f.simulator.frame.shape for f in families]}")
    images = np.empty((n, *shape), dtype=dtype)
    drawn: list[tuple[Mapping[str, float], ImageSettings]] = []
    replaced = 0
    step = _CHUNK * len(families)
    with tqdm(total=n, desc=f"simulate {stream}", unit="image", disable=not progress, leave=False) as bar:
        for begin in range(0, n, step):
            indices = range(begin, min(n, begin + step))
            chunk: dict[int, tuple[Mapping[str, float], ImageSettings]] = {}
            for label, family in enumerate(families):
                own = [index for index in indices if index % len(families) == label]
                replaced += _fill(family, own, images, chunk, scale=scale, seed=seed, stream=stream, threads=threads)
                bar.update(len(own))
            drawn += [chunk[index] for index in indices]
    labels = np.arange(n, dtype=np.int64) % len(families)
    names = tuple(family.name for family in families)
    return SimulatedSet(
        images, labels, names, tuple(p for p, _ in drawn), tuple(s for _, s in drawn), replaced, stream, seed
    )


def _fill(
    family: Family,
    indices: list[int],
    images: npt.NDArray[np.floating],
    drawn: dict[int, tuple[Mapping[str, float], ImageSettings]],
    *,
    scale: float,
    seed: int,
    stream: str,
    threads: int | None,
) -> int:
    """Draws and simulates one family's images into ``images`` until all are stable; returns the draws replaced."""
    if not indices:
        return 0
    replaced = 0
    for attempt in range(MAX_ATTEMPTS):
        for index in indices:
            rng = generator(seed, f"{stream}/parameters", index, attempt=attempt)
            drawn[index] = (dict(family.draw_parameters(rng)), family.draw_settings(rng))
        rows = np.array([family.simulator.model.values(drawn[index][0]) for index in indices])
        settings = [drawn[index][1] for index in indices]
        new, stable = family.simulator.simulate_sets(rows, settings, threads=threads)
        for index, image in zip(indices, new, strict=True):
            with np.errstate(over="ignore"):
                images[index] = scale * image
            if not np.isfinite(images[index]).all():
                raise ValueError(
                    f"{family.name}: image {index} of {stream!r} does not fit {images.dtype} at {drawn[index][0]}"
                )
        indices = [index for index, good in zip(indices, stable, strict=True) if not good]
        replaced += len(indices)
        if not indices:
            return replaced
    raise ValueError(
        f"{family.name}: sample {indices[0]} of {stream!r} is unstable after {MAX_ATTEMPTS} draws, the last at "
        f"{drawn[indices[0]][0]}"
    )
