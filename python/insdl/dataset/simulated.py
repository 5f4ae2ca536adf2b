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
    drawn: list[Draw] = []
    step = _CHUNK * len(families)
    with tqdm(total=n, desc=f"simulate {stream}", unit="image", disable=not progress, leave=False) as bar:
        for begin in range(0, n, step):
            end = min(n, begin + step)
            drawn += simulate_indices(
                families,
                range(begin, end),
                out=images[begin:end],
                scale=scale,
                seed=seed,
                stream=stream,
                threads=threads,
            )
            for index, draw in enumerate(drawn[begin:], start=begin):
                if not draw.stable:
                    raise ValueError(
                        f"{families[index % len(families)].name}: sample {index} of {stream!r} is unstable after "
                        f"{MAX_ATTEMPTS} draws, the last at {draw.parameters}"
                    )
            bar.update(end - begin)
    labels = np.arange(n, dtype=np.int64) % len(families)
    names = tuple(family.name for family in families)
    parameters, settings = tuple(draw.parameters for draw in drawn), tuple(draw.settings for draw in drawn)
    replaced = sum(draw.attempts for draw in drawn)
    return SimulatedSet(images, labels, names, parameters, settings, replaced, stream, seed)


@dataclass(frozen=True, eq=False)
class Draw:
    """What one image was made with.

    Attributes
    ----------
    parameters : by name, meV; of the last draw where no draw was stable. settings : `ImageSettings`.
    attempts : int. Unstable draws that were replaced. stable : bool. False where all 50 draws were unstable.
    """

    parameters: Mapping[str, float]
    settings: ImageSettings
    attempts: int
    stable: bool


def draw(
    family: Family, index: int, *, seed: int, stream: str, attempt: int = 0
) -> tuple[Mapping[str, float], ImageSettings]:
    """Parameters (meV) and image settings of sample ``index``: a function of (family, seed, stream, index, attempt) alone."""
    rng = generator(seed, f"{stream}/parameters", index, attempt=attempt)
    return dict(family.draw_parameters(rng)), family.draw_settings(rng)


def simulate_indices(
    families: Sequence[Family],
    indices: Sequence[int],
    *,
    out: npt.NDArray[np.floating],
    scale: float = 1.0,
    seed: int,
    stream: str,
    threads: int | None = None,
) -> list[Draw]:
    """Draws and simulates the images of ``indices``, in any order, replacing unstable draws up to 50 times.

    Parameters
    ----------
    families, scale, seed, stream, threads : as in `simulate_set`.
    indices : numbers of the samples; sample i belongs to family i modulo their number.
    out : (n, n_bins, n_h, n_k) floating. Where the images go, multiplied by ``scale``; zero where no draw was stable.

    Raises
    ------
    ValueError
        If an image does not fit the dtype of ``out``: the family and its draw are named.
    """
    drawn: dict[int, Draw] = {}
    for label, family in enumerate(families):
        rows = [row for row, index in enumerate(indices) if index % len(families) == label]
        for attempt in range(MAX_ATTEMPTS):
            if not rows:
                break
            pairs = [draw(family, indices[row], seed=seed, stream=stream, attempt=attempt) for row in rows]
            values = np.array([family.simulator.model.values(parameters) for parameters, _ in pairs])
            images, stable = family.simulator.simulate_sets(values, [own for _, own in pairs], threads=threads)
            for row, image, (parameters, settings), good in zip(rows, images, pairs, stable, strict=True):
                with np.errstate(over="ignore"):
                    out[row] = scale * image  # zero where unstable
                if not np.isfinite(out[row]).all():
                    raise ValueError(
                        f"{family.name}: image {indices[row]} of {stream!r} does not fit {out.dtype} at {parameters}"
                    )
                drawn[row] = Draw(parameters, settings, attempt + (not good), bool(good))
            rows = [row for row, good in zip(rows, stable, strict=True) if not good]
    return [drawn[row] for row in range(len(indices))]
