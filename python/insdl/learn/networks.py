"""Networks that read neutron images: a classifier over (Ei, energy) cells and a regressor over energy windows.

Both are plain convolutional networks, small enough to train on two processor cores. A network carries its
configuration, a frozen dataclass of plain values, from which a checkpoint rebuilds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from insdl.learn.mirror_fold import appearance, folded_cells

_LOG_VARIANCE_FLOOR = -14.0  # sigma of 1e-3 of the prior width: no finite training set resolves less


@dataclass(frozen=True)
class CellClassifierConfig:
    """What a `CellClassifier` is made of; `outputs` are the class names in the order of the logits."""

    cells: int
    outputs: tuple[str, ...]
    pixels: int
    filters: int
    widths: tuple[int, int, int]
    seed: int

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one image: (cells, pixels, pixels)."""
        return (self.cells, self.pixels, self.pixels)


@dataclass(frozen=True)
class MapRegressorConfig:
    """What a `MapRegressor` is made of; `outputs` are the parameter names in the order of the means."""

    windows: int
    outputs: tuple[str, ...]
    pixels: int
    widths: tuple[int, int, int, int]
    hidden: int
    seed: int

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one image: (windows, pixels, pixels)."""
        return (self.windows, self.pixels, self.pixels)


@dataclass(frozen=True)
class CellSetClassifierConfig:
    """What a `CellSetClassifier` is made of; `cells` are (incident energy, lower and upper edge of the bin) in meV."""

    cells: tuple[tuple[float, float, float], ...]
    outputs: tuple[str, ...]
    pixels: int
    filters: int
    widths: tuple[int, int, int]
    head: Literal["pool", "dense"]
    mirrors: Literal["folded", "apart"]
    seed: int

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one input: (2 cells, pixels, pixels), values of every cell and then their masks."""
        return (2 * len(self.cells), self.pixels, self.pixels)


class CellClassifier(nn.Module):
    """Class logits of an image whose channels are (incident energy, energy transfer) cells.

    ======== ============================== =====================================================================
    block    output, default configuration  what it is
    ======== ============================== =====================================================================
    `cells`  (120, 20, 20)                  4 x 4 convolution of stride 2, one group per cell: channel c has seen
                                            nothing but cell c // filters; ReLU
    `mix1`   (64, 20, 20)                   1 x 1: all cells meet at each wave vector; batch norm, ReLU
    `mix2`   (64, 10, 10)                   4 x 4, stride 2; batch norm, ReLU
    `mix3`   (96, 10, 10)                   3 x 3; batch norm, ReLU
    `head`   (2,)                           mean over pixels, linear layer
    ======== ============================== =====================================================================

    Strided kernels of even width do the pooling: one of 4 x 4 holds every 3 x 3 kernel followed by a 2 x 2 mean,
    costs a quarter of the two, and keeps the coarser grid centred on the image.

    Parameters
    ----------
    cells : number of input channels.
    classes : number of classes, or their names in the order of the logits.
    pixels : width and height of a cell; divisible by 4.
    filters : first-layer filters of each cell.
    widths : channels of `mix1`, `mix2`, `mix3`.
    seed : of the initial weights.

    Examples
    --------
    >>> network = CellClassifier(cells=60, classes=("goodenough", "dimer"))
    >>> network(torch.zeros(3, 60, 40, 40)).shape
    torch.Size([3, 2])
    """

    config: CellClassifierConfig

    def __init__(
        self,
        *,
        cells: int = 60,
        classes: int | Sequence[str] = 2,
        pixels: int = 40,
        filters: int = 2,
        widths: Sequence[int] = (64, 64, 96),
        seed: int = 0,
    ) -> None:
        super().__init__()
        names = _names(classes, prefix="class", argument="classes")
        if len(names) < 2:
            raise ValueError(f"classes must hold at least 2 classes, got {classes!r}")
        _check_positive(cells=cells, filters=filters)
        _check_pixels(pixels, divisor=4)
        first, second, third = _widths(widths, count=3)
        self.config = CellClassifierConfig(cells, names, pixels, filters, (first, second, third), seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.cells = _block(cells, cells * filters, kernel=4, stride=2, groups=cells)
            self.mix1 = _block(cells * filters, first, kernel=1, norm="batch")
            self.mix2 = _block(first, second, kernel=4, stride=2, norm="batch")
            self.mix3 = _block(second, third, kernel=3, norm="batch")
            self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(third, len(names)))

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (n, classes), of images, (n, cells, pixels, pixels)."""
        _check_batch(images, self.config.image_shape)
        features = images.contiguous(memory_format=torch.channels_last)  # grouped convolutions are slow without
        features = self.mix3(self.mix2(self.mix1(self.cells(features))))
        logits: Tensor = self.head(features)
        return logits


class CellEncoder(nn.Module):
    """The same filters for every cell, tuned by what the cell is: (n, 2 cells, p, p) to (n, cells filters, p/2, p/2).

    Cells do not meet here: channel c has seen nothing but cell c // filters. With folded mirrors the four quarters of a
    cell are averaged first, each pixel over where it was measured, and the result is (n, cells filters, p/4, p/4); then the
    values are arsinh(counts).
    """

    coordinates: Tensor

    def __init__(self, coordinates: Tensor, filters: int, mirrors: Literal["folded", "apart"] = "apart") -> None:
        super().__init__()
        self.filters = filters
        self.mirrors = mirrors
        self.register_buffer("coordinates", coordinates, persistent=False)
        beyond: Literal["replicate", "zeros"] = "replicate" if mirrors == "folded" else "zeros"  # as beyond a mirror
        self.convolution = nn.Conv2d(2, filters, 4, 2, 1, bias=False, padding_mode=beyond)
        hidden, looks = 32, 4 if mirrors == "folded" else 3
        self.tuning = nn.Sequential(
            nn.Linear(coordinates.shape[1] + looks, hidden), nn.ReLU(), nn.Linear(hidden, 2 * filters)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Features, zero for a cell that is not measured at all."""
        n, cells = len(images), images.shape[1] // 2
        if self.mirrors == "folded":
            values, mask, what = folded_cells(images)
        else:
            mask = images[:, cells:]
            values = images[:, :cells] * mask
            what = appearance(values, mask)
        height, width = values.shape[2:]
        pairs = torch.stack([values, mask], dim=4).reshape(n * cells, height, width, 2).permute(0, 3, 1, 2)
        found = self.convolution(pairs).permute(0, 2, 3, 1)
        wide, high = found.shape[1:3]
        # (n, h, k, cells filters): the last axis is what the next layer sums over, and what the tuning belongs to.
        found = found.reshape(n, cells, wide, high, self.filters).permute(0, 2, 3, 1, 4)
        found = found.reshape(n, wide, high, cells * self.filters)
        seen = (what[:, :, :1] > 0).repeat(1, 1, self.filters).reshape(n, 1, 1, cells * self.filters)
        cell = torch.cat([self.coordinates.expand(n, -1, -1), what], dim=2)
        gain, offset = self.tuning(cell).chunk(2, dim=2)
        gain, offset = (part.reshape(n, 1, 1, cells * self.filters) * seen for part in (1.0 + gain, offset))
        return functional.relu(torch.addcmul(offset, found, gain)).permute(0, 3, 1, 2)


class CellSetClassifier(nn.Module):
    """Class logits of a measurement taken as a set of cells, each with its incident energy, its energies and its mask.

    ======== ============================= =======================================================================
    block    output, default configuration what it is
    ======== ============================= =======================================================================
    `cells`  (360, 10, 10)                 the mean of the four mirror images; 4 x 4 convolution of stride 2 over
                                           values and mask, the same filters for each cell, scaled and shifted by a
                                           function of the cell's coordinates, level, roughness, measured share and
                                           noise; ReLU; zero where nothing is measured
    `mix1`   (64, 10, 10)                  all measured cells meet at each wave vector, with weights that are a
                                           function of their coordinates; the place in the Brillouin zone is added
    `mix2`   (64, 5, 5)                    4 x 4, stride 2; batch norm, ReLU
    `mix3`   (96, 5, 5)                    3 x 3; batch norm, ReLU
    `head`   (classes,)                    "pool": mean over pixels, linear layer; "dense": a perceptron on all pixels
    ======== ============================= =======================================================================

    The input has 2 c channels: the values of the c cells, then their masks (1 measured, 0 not). Incident energies, slices or
    pixels may be missing: their masks are zero, and what stands in the values there is not looked at.

    Where the physics is the same at (Qh, Qk), (-Qh, Qk), (Qh, -Qk) and (-Qh, -Qk), folding them says so: four times less to
    compute, and noise that is halved before the first nonlinearity. How different the four are tells the noise of the cell,
    which sets the scale of the nonlinearity. The values must be arsinh(counts) then.

    Parameters
    ----------
    cells : (incident energy, lower edge, upper edge) of each cell, meV.
    classes : number of classes, or their names in the order of the logits.
    pixels : width and height of a cell; divisible by 8, or by 4 with mirrors apart.
    filters : of each cell. widths : channels of `mix1`, `mix2`, `mix3`.
    head : "pool" shows where (class activation maps are exact for it), "dense" may use the place.
    mirrors : "folded" takes mirrors in Qh and Qk, which must lie in the middle of the image, as symmetries of what is measured;
        "apart" knows of none.
    seed : of the initial weights.

    Examples
    --------
    >>> network = CellSetClassifier([(35.0, 5.0, 10.0), (70.0, 10.0, 20.0)], classes=("goodenough", "dimer"))
    >>> network(torch.zeros(3, 4, 40, 40)).shape
    torch.Size([3, 2])
    """

    config: CellSetClassifierConfig
    places: Tensor

    def __init__(
        self,
        cells: Sequence[Sequence[float]],
        *,
        classes: int | Sequence[str] = 2,
        pixels: int = 40,
        filters: int = 6,
        widths: Sequence[int] = (64, 64, 96),
        head: Literal["pool", "dense"] = "pool",
        mirrors: Literal["folded", "apart"] = "folded",
        seed: int = 0,
    ) -> None:
        super().__init__()
        names = _names(classes, prefix="class", argument="classes")
        if len(names) < 2:
            raise ValueError(f"classes must hold at least 2 classes, got {classes!r}")
        if head not in ("pool", "dense"):
            raise ValueError(f"head must be 'pool' or 'dense', got {head!r}")
        if mirrors not in ("folded", "apart"):
            raise ValueError(f"mirrors must be 'folded' or 'apart', got {mirrors!r}")
        _check_positive(filters=filters)
        _check_pixels(pixels, divisor=8 if mirrors == "folded" else 4)
        table = _cells(cells)
        first, second, third = _widths(widths, count=3)
        self.config = CellSetClassifierConfig(
            table, names, pixels, filters, (first, second, third), head, mirrors, seed
        )
        coordinates = _coordinates(table)
        places, half = _places(pixels // 2), pixels // 4
        if mirrors == "folded":
            places = places[:, half:, half:].contiguous()
        self.register_buffer("places", places, persistent=False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.cells = CellEncoder(coordinates, filters, mirrors)
            self.weights = nn.Sequential(nn.Linear(coordinates.shape[1], 64), nn.ReLU(), nn.Linear(64, filters * first))
            self.place = nn.Conv2d(len(self.places), first, 1, bias=False)
            self.mix1 = nn.Sequential(nn.BatchNorm2d(first), nn.ReLU(inplace=True))
            self.mix2 = _block(first, second, kernel=4, stride=2, norm="batch")
            self.mix3 = _block(second, third, kernel=3, norm="batch")
            if head == "pool":
                self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(third, len(names)))
            else:
                flat = 16 * (pixels // (8 if mirrors == "folded" else 4)) ** 2
                self.head = nn.Sequential(
                    _block(third, 16, kernel=1, norm="batch"), nn.Flatten(), nn.Linear(flat, 64), nn.ReLU(),
                    nn.Linear(64, len(names)),
                )  # fmt: skip

    def features(self, images: Tensor) -> Tensor:
        """What the head looks at, (n, channels, pixels / 8, pixels / 8); pixels / 4 with mirrors apart."""
        _check_batch(images, self.config.image_shape)
        cells = self.cells(images)
        first = self.config.widths[0]
        table = self.weights(self.cells.coordinates)  # (cells, filters * first)
        kernel = table.reshape(-1, first).t()[:, :, None, None] / len(self.config.cells) ** 0.5
        mixed = functional.conv2d(cells, kernel) + self.place(self.places[None])
        found: Tensor = self.mix3(self.mix2(self.mix1(mixed)))
        return found

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (n, classes), of inputs, (n, 2 cells, pixels, pixels)."""
        logits: Tensor = self.head(self.features(images))
        return logits


class MapRegressor(nn.Module):
    """Means and log-variances of model parameters, in standardised units, from maps of energy windows.

    Four 4 x 4 convolutions of stride 2, each with layer norm and ReLU, `block1` to `block4`, and a perceptron of two
    layers, `head`. (Batch norm learns as fast, but its noise in training makes the error bars too wide.) The output
    is (n, 2 p): p means, then p log-variances. Standardised units are the caller's: (value - prior mean) / prior
    width is the usual choice, and the numbers belong into the checkpoint's description.

    Parameters
    ----------
    windows : number of input channels. A quantity that is one number per image, such as log10(counts), is given as
        one more channel of constant value.
    parameters : number of parameters, or their names.
    pixels : width and height of a map; divisible by 16.
    widths : channels of the four blocks.
    hidden : width of the hidden layer of the perceptron.
    seed : of the initial weights.

    Examples
    --------
    >>> network = MapRegressor(4, parameters=("J1", "J2"))
    >>> network(torch.zeros(3, 4, 64, 64)).shape
    torch.Size([3, 4])
    """

    config: MapRegressorConfig
    pixel_mean: Tensor
    pixel_scale: Tensor

    def __init__(
        self,
        windows: int,
        *,
        parameters: int | Sequence[str] = 2,
        pixels: int = 64,
        widths: Sequence[int] = (32, 32, 64, 64),
        hidden: int = 128,
        seed: int = 0,
    ) -> None:
        super().__init__()
        names = _names(parameters, prefix="parameter", argument="parameters")
        _check_positive(windows=windows, hidden=hidden)
        _check_pixels(pixels, divisor=16)
        first, second, third, fourth = _widths(widths, count=4)
        self.config = MapRegressorConfig(windows, names, pixels, (first, second, third, fourth), hidden, seed)
        self.register_buffer("pixel_mean", torch.zeros(self.config.image_shape))
        self.register_buffer("pixel_scale", torch.ones(self.config.image_shape))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.block1 = _block(windows, first, kernel=4, stride=2, norm="layer")
            self.block2 = _block(first, second, kernel=4, stride=2, norm="layer")
            self.block3 = _block(second, third, kernel=4, stride=2, norm="layer")
            self.block4 = _block(third, fourth, kernel=4, stride=2, norm="layer")
            flat = fourth * (pixels // 16) ** 2
            self.head = nn.Sequential(
                nn.Flatten(), nn.Linear(flat, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, 2 * len(names))
            )

    def standardise_pixels(self, images: npt.NDArray[np.float32]) -> None:
        """Fix the mean and spread of each pixel, by which every later image is standardised, from example images.

        The two maps are part of the weights that a checkpoint stores. A pixel that never varies, as under a mask, is
        only centred.

        Parameters
        ----------
        images : (n, windows, pixels, pixels) float32. A few hundred training images.
        """
        images = check_images(images, self.config.image_shape)
        spread = images.std(axis=0, dtype=np.float64)
        constant = spread <= 1e-6 * max(float(spread.max()), 1e-30)
        self.pixel_mean.copy_(torch.from_numpy(images.mean(axis=0, dtype=np.float64)))
        self.pixel_scale.copy_(torch.from_numpy(np.where(constant, 1.0, spread)))

    def forward(self, images: Tensor) -> Tensor:
        """Means and log-variances, (n, 2 p), of images, (n, windows, pixels, pixels)."""
        _check_batch(images, self.config.image_shape)
        standard = (images - self.pixel_mean) / self.pixel_scale
        features = standard.contiguous(memory_format=torch.channels_last)
        features = self.block4(self.block3(self.block2(self.block1(features))))
        mean, raw = self.head(features).chunk(2, dim=1)
        floor = _LOG_VARIANCE_FLOOR  # a soft floor: the gradient never vanishes as it does behind a clamp
        return torch.cat([mean, floor + nn.functional.softplus(raw - floor)], dim=1)


Network = CellClassifier | CellSetClassifier | MapRegressor


def check_images(images: npt.ArrayLike, image_shape: tuple[int, ...] | None = None) -> npt.NDArray[np.float32]:
    """A batch of images as float32, refused when its shape is wrong or a pixel is not finite.

    Parameters
    ----------
    images : (n, channels, height, width).
    image_shape : expected (channels, height, width); any when None.
    """
    array = np.asarray(images, dtype=np.float32, order="C")  # torch takes no mirrored views
    if array.ndim != 4 or (image_shape is not None and array.shape[1:] != image_shape):
        expected = "(n, channels, height, width)" if image_shape is None else f"(n, {_comma(image_shape)})"
        raise ValueError(f"images must have shape {expected}, got {array.shape}")
    for index, image in enumerate(array):
        if not np.isfinite(image).all():
            where = tuple(int(i) for i in np.argwhere(~np.isfinite(image))[0])
            raise ValueError(f"images must be finite, got {image[where]} in image {index} at pixel {where}")
    return array


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; afterwards every module is in the mode it was in."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _block(
    inputs: int,
    outputs: int,
    *,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    norm: Literal["none", "batch", "layer"] = "none",
) -> nn.Sequential:
    """Convolution, normalisation, ReLU; the output grid is centred on the input for the kernels in use."""
    padding, bias = (kernel - 1) // 2, norm == "none"
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=bias)]
    if norm == "batch":
        layers.append(nn.BatchNorm2d(outputs))
    elif norm == "layer":
        layers.append(nn.GroupNorm(1, outputs))  # one group: more would void channels of one pixel
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


def _cells(cells: Sequence[Sequence[float]]) -> tuple[tuple[float, float, float], ...]:
    table = tuple(tuple(float(value) for value in cell) for cell in cells)
    for number, cell in enumerate(table):
        if len(cell) != 3 or not cell[1] < cell[2] or not cell[0] > 0.0:
            raise ValueError(
                f"cells must be (incident energy, lower edge, upper edge) in meV, got {cell} for cell {number}"
            )
    if not table:
        raise ValueError("cells must hold one cell at least, got none")
    return table  # type: ignore[return-value]  # three each, checked above


def _coordinates(table: tuple[tuple[float, float, float], ...]) -> Tensor:
    """(cells, features): incident energy, middle and width of the bin, and waves of them that tell neighbours apart."""
    incident, low, high = torch.tensor(table, dtype=torch.float64).unbind(1)
    ki = torch.log(incident / 50.0)
    share = 0.5 * (low + high) / incident
    energy = torch.log1p(0.5 * (low + high) / 10.0)
    plain = [ki, share, energy, (high - low) / incident]
    waves = [
        wave(torch.pi * m * x) for x in (ki, 2.0 * share, energy) for m in (1, 2, 3) for wave in (torch.sin, torch.cos)
    ]
    return torch.stack([*plain, *waves], dim=1).float()


def _places(pixels: int) -> Tensor:
    """(channels, pixels, pixels): even functions of the place on an axis from -1 to 1 r.l.u., along both axes."""
    axis = (torch.arange(pixels, dtype=torch.float64) + 0.5) / pixels * 2.0 - 1.0
    one = [torch.cos(2.0 * torch.pi * m * axis) for m in (1, 2)]
    waves = [a[:, None] * b[None, :] for a in (torch.ones_like(axis), *one) for b in (torch.ones_like(axis), *one)][1:]
    squares = axis[:, None] ** 2 + axis[None, :] ** 2
    return torch.stack([*waves, squares, squares**2]).float()


def _names(given: int | Sequence[str], *, prefix: str, argument: str) -> tuple[str, ...]:
    if isinstance(given, int):
        _check_positive(**{argument: given})
        return tuple(f"{prefix}{i}" for i in range(given))
    names = tuple(given)
    if isinstance(given, str) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{argument} must be a number or a sequence of names, got {given!r}")
    if len(set(names)) != len(names):
        raise ValueError(f"{argument} must have different names, got {given!r}")
    return names


def _widths(widths: Sequence[int], *, count: int) -> tuple[int, ...]:
    if len(widths) != count:
        raise ValueError(f"widths must hold {count} numbers of channels, got {tuple(widths)}")
    for width in widths:
        _check_positive(widths=width)
    return tuple(widths)


def _check_positive(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")


def _check_pixels(pixels: int, *, divisor: int) -> None:
    if pixels < divisor or pixels % divisor:
        raise ValueError(f"pixels must be a positive multiple of {divisor}, got {pixels}")


def _check_batch(images: Tensor, image_shape: tuple[int, int, int]) -> None:
    if images.ndim != 4 or tuple(images.shape[1:]) != image_shape:
        raise ValueError(f"images must have shape (n, {_comma(image_shape)}), got {tuple(images.shape)}")


def _comma(shape: tuple[int, ...]) -> str:
    return ", ".join(str(extent) for extent in shape)
