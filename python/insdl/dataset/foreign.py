"""Images of none of the rival models: what a verdict must be able to refuse.

A classifier that has only ever seen its classes calls everything one of them. These images are given to it as one class more:
cells of a real model at wrong places, other magnets, patterns and grains that no spectrometer has seen, and nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from insdl.dataset.configured import ConfiguredSource
from insdl.dataset.randomness import generator
from insdl.dataset.source import GOOD, Samples
from insdl.instrument.frame import ImageFrame
from insdl.instrument.image import ImageSettings, ImageSimulator
from insdl.model import Bond, SingleIon, Site, SpinModel

Kind = Literal["shuffled", "magnet", "pattern", "strokes", "grains", "empty"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_Image = npt.NDArray[np.float32]


class SourceWithForeign:
    """The samples of a source, and of one class more, "none": foreign images; a `SampleSource`.

    Sample i belongs to class i modulo the number of classes, "none" the last of them.

    Parameters
    ----------
    base : ConfiguredSource. Gives the images of the rivals; its seed and stream are those of the foreign images too.
    kinds : of foreign images, taking turns.
    """

    def __init__(self, base: ConfiguredSource, *, kinds: Sequence[Kind] = KINDS) -> None:
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown or not kinds:
            raise ValueError(f"kinds must be some of {list(KINDS)}, got {list(kinds)}")
        self.base, self.kinds = base, tuple(kinds)
        self.name, self.seed, self.image_shape = base.name, base.seed, base.image_shape
        self.classes = (*base.classes, "none")
        self.n_samples = base.n_samples * len(self.classes) // len(base.classes)
        self.parameter_names, self.setting_names = base.parameter_names, base.setting_names
        self.frame = base.configuration.frame.image_frame()

    def __reduce__(self) -> tuple[Callable[..., SourceWithForeign], tuple[ConfiguredSource, tuple[Kind, ...]]]:
        return _source, (self.base, self.kinds)

    def describe(self) -> dict[str, Any]:
        """The base's description and the kinds of foreign images."""
        return {"source": "with foreign", "kinds": list(self.kinds), "base": self.base.describe()}

    def make(self, indices: Sequence[int], *, threads: int | None = None) -> Samples:
        """The samples of ``indices``; parameters and settings of a foreign image are NaN."""
        numbers = np.asarray(indices, dtype=np.int64)
        wrong = numbers[(numbers < 0) | (numbers >= self.n_samples)]
        if len(wrong):
            raise ValueError(f"indices must lie in 0 to {self.n_samples - 1}, got {int(wrong[0])}")
        n, rivals = len(numbers), len(self.base.classes)
        turn, label = numbers // (rivals + 1), numbers % (rivals + 1)
        foreign = label == rivals
        made = self.base.make((turn * rivals + label)[~foreign].tolist(), threads=threads)
        samples = Samples(
            images=np.zeros((n, *self.image_shape), dtype=np.float32),
            labels=label,
            parameters=np.full((n, len(self.parameter_names)), np.nan),
            settings=np.full((n, len(self.setting_names)), np.nan),
            attempts=np.zeros(n, dtype=np.int64),
            status=np.full(n, GOOD, dtype=np.int64),
        )
        for name in ("images", "parameters", "settings", "attempts", "status"):
            getattr(samples, name)[~foreign] = getattr(made, name)
        for row in np.flatnonzero(foreign):
            samples.images[row] = self._foreign(int(turn[row]), threads)
        return samples

    def detect(self, image: npt.NDArray[np.floating[Any]], rng: np.random.Generator) -> _Image:
        """A measurement of an image: see `insdl.dataset.detection.Detector.detect`."""
        return self.base.detect(image, rng)

    def _foreign(self, turn: int, threads: int | None) -> _Image:
        kind = self.kinds[turn % len(self.kinds)]
        rng = generator(self.seed, f"{self.base.configuration.stream}/foreign", turn)
        if kind == "shuffled":
            index = int(rng.integers(self.base.n_samples))
            image = self.base.make([index], threads=threads).images[0]
            return shuffled_cells(image, rng, blocks=self.base.detector.blocks)
        if kind == "magnet":
            return self.base.configuration.intensity * other_magnet(self.frame, rng, threads=threads)
        if kind == "pattern":
            return smooth_pattern(self.image_shape, rng)
        if kind == "strokes":
            return stroke_pattern(self.image_shape, rng)
        if kind == "grains":
            return grain_pattern(self.image_shape, rng)
        return np.zeros(self.image_shape, dtype=np.float32)


def shuffled_cells(
    image: npt.NDArray[np.float32], rng: np.random.Generator, *, blocks: npt.NDArray[np.int64] | None = None
) -> _Image:
    """The cells of an image in a random order, or each turned and moved in its own way, or both, or whole blocks exchanged.

    Parameters
    ----------
    image : (n_bins, n_h, n_k). blocks : (n_bins,) incident energy of each bin; None exchanges no blocks.
    """
    cells = image.copy()
    parts = [] if blocks is None else [cells[blocks == name] for name in np.unique(blocks)]
    equal = len(parts) > 1 and len({len(part) for part in parts}) == 1
    how = int(rng.integers(4 if equal else 3))
    if how == 3:
        order = rng.permutation(len(parts))
        while (order == np.arange(len(parts))).all():
            order = rng.permutation(len(parts))
        return np.concatenate([parts[number] for number in order])
    if how != 1:
        cells = cells[rng.permutation(len(cells))]
    if how != 0:
        for number in range(len(cells)):
            moved = np.roll(cells[number], tuple(rng.integers(0, cells.shape[1], size=2)), axis=(0, 1))
            cells[number] = np.rot90(moved, int(rng.integers(4)))
    return cells


def square_magnet(
    order: Literal["ferromagnet", "neel", "stripe"], *, lattice_constant: float, height: float = 19.266
) -> SpinModel:
    """A single layer of spins 1 on a square lattice: exchanges J1 and J2 to first and second neighbours, easy axis D."""
    cells = {"ferromagnet": (1, 1), "neel": (2, 2), "stripe": (2, 1)}[order]
    places = [(x, y) for x in range(cells[0]) for y in range(cells[1])]
    waves = {"ferromagnet": (0, 0), "neel": (1, 1), "stripe": (1, 0)}[order]

    def sign(x: int, y: int) -> int:
        return 1 - 2 * ((waves[0] * x + waves[1] * y) % 2)

    sites = [Site((x / cells[0], y / cells[1], 0.0), 1.0, (0, 0, sign(x, y)), "Mn3+") for x, y in places]
    bonds = []
    for i, (x, y) in enumerate(places):
        for name, step in (("J1", (1, 0)), ("J1", (0, 1)), ("J2", (1, 1)), ("J2", (1, -1))):
            to = (x + step[0], y + step[1])
            j = places.index((to[0] % cells[0], to[1] % cells[1]))
            bonds.append(Bond(i, j, (to[0] // cells[0], to[1] // cells[1], 0), 1.0, name))
    a, b = lattice_constant * cells[0], lattice_constant * cells[1]
    return SpinModel(
        name=f"square lattice, {order}",
        lattice=np.diag([lattice_constant, lattice_constant, height]),
        magnetic_lattice=np.diag([a, b, height]),
        sites=sites,
        bonds=bonds,
        single_ion=[SingleIon(i, np.diag([0.0, 0.0, -1.0]), "D") for i in range(len(sites))],
        parameters=("J1", "J2", "D"),
    )


def other_magnet(frame: ImageFrame, rng: np.random.Generator, *, threads: int | None = None) -> _Image:
    """S_perp, 1/meV per magnetic cell, of a square-lattice magnet of a random order, lattice and band width."""
    order = ("ferromagnet", "neel", "stripe")[int(rng.integers(3))]
    model = square_magnet(order, lattice_constant=float(rng.uniform(3.0, 8.0)))  # type: ignore[arg-type]
    size = float(np.exp(rng.uniform(np.log(3.0), np.log(25.0))))
    ratio = float(rng.uniform(0.05, 0.4))
    first, second = {"ferromagnet": (-1.0, -ratio), "neel": (1.0, -ratio), "stripe": (ratio, 1.0)}[order]
    values = {"J1": first * size, "J2": second * size, "D": float(rng.uniform(0.005, 0.1)) * size}
    settings = ImageSettings(
        width_factor=float(rng.uniform(0.9, 1.7)), broadening=float(rng.uniform(0.03, 0.13)), twin_fraction=0.5
    )
    simulator = ImageSimulator(model, frame)
    images, _ = simulator.simulate_sets(model.values(values)[None], [settings], threads=threads)
    return np.asarray(images[0], dtype=np.float32)


def smooth_pattern(shape: tuple[int, ...], rng: np.random.Generator) -> _Image:
    """Positive smooth random cells: waves of random lengths and phases, some the same in all cells."""
    cells, height, width = shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    shared = bool(rng.integers(2))
    total = np.zeros(shape, dtype=np.float32)
    for _ in range(int(rng.integers(1, 6))):
        many = 1 if shared else cells
        wave = rng.uniform(0.5, 8.0, size=(2, many, 1, 1)) * rng.choice([-1, 1], size=(2, many, 1, 1))
        phase, size = rng.uniform(0, 2 * np.pi, size=(many, 1, 1)), rng.exponential(size=(cells, 1, 1))
        total += (size * np.cos(np.pi * (wave[0] * x + wave[1] * y) + phase)).astype(np.float32)
    return np.maximum(total, 0.0, out=total)


def stroke_pattern(shape: tuple[int, ...], rng: np.random.Generator) -> _Image:
    """Cells with bent lines and blobs, as handwriting has them; the same in all cells, or in each its own."""
    cells, height, width = shape
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    own = bool(rng.integers(2))
    made = []
    for _ in range(cells if own else 1):
        image = np.zeros((height, width))
        for _ in range(int(rng.integers(1, 4))):
            points = rng.uniform(0.15, 0.85, size=(3, 2)) * (height, width)
            breadth = rng.uniform(0.7, 3.0)
            for t in np.linspace(0.0, 1.0, 12):
                at = (1 - t) ** 2 * points[0] + 2 * t * (1 - t) * points[1] + t**2 * points[2]
                image = np.maximum(image, np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * breadth**2)))
        made.append(image)
    sizes = rng.exponential(size=(cells, 1, 1))
    return np.asarray(sizes * np.array(made), dtype=np.float32)


def grain_pattern(shape: tuple[int, ...], rng: np.random.Generator) -> _Image:
    """Pixels that know nothing of each other: evenly, exponentially or normally distributed, cells of equal or other levels."""
    how = int(rng.integers(3))
    draws = (rng.random, rng.standard_exponential, lambda size: np.abs(rng.standard_normal(size)))
    grains = draws[how](shape)
    levels = rng.exponential(size=(shape[0], 1, 1)) if rng.integers(2) else 1.0
    return np.asarray(grains * levels, dtype=np.float32)


def _source(base: ConfiguredSource, kinds: tuple[Kind, ...]) -> SourceWithForeign:
    return SourceWithForeign(base, kinds=kinds)
