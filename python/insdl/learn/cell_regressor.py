"""A network that reads model parameters from the (incident energy, energy transfer) cells of a quarter view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from insdl.learn.registry import register_network

_LOG_VARIANCE_FLOOR = -14.0  # sigma of 1e-3 of the prior width: no finite training set resolves less


@dataclass(frozen=True)
class CellRegressorConfig:
    """What a `CellRegressor` is made of; `outputs` are the parameter names in the order of the means."""

    cells: int
    outputs: tuple[str, ...]
    pixels: int
    widths: tuple[int, int]
    hidden: int
    seed: int

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one input: (2 cells, pixels, pixels), values of every cell and then the measured shares."""
        return (2 * self.cells, self.pixels, self.pixels)


class CellRegressor(nn.Module):
    """Means and log-variances of model parameters, in standardised units, from a quarter view (`insdl.dataset.quarter_view`).

    ======== ============================= =======================================================================
    block    output, default configuration what it is
    ======== ============================= =======================================================================
             (60, 20, 20)                  each pixel standardised over examples; zero where nothing was measured
    `mix1`   (72, 10, 10)                  4 x 4 convolution of stride 2 over all cells; layer norm, ReLU
    `mix2`   (64, 5, 5)                    the same again
    `body`   (96,)                         linear layer on all pixels, for a place in the zone matters; ReLU: the features
    `head`   (2 p,)                        linear layer: means, then log-variances
    ======== ============================= =======================================================================

    Parameters
    ----------
    cells : number of (incident energy, energy transfer) cells.
    parameters : their names.
    pixels : width and height of a quarter; divisible by 4.
    widths : channels of `mix1` and `mix2`. hidden : number of features.
    seed : of the initial weights.

    Examples
    --------
    >>> network = CellRegressor(60, parameters=("JA", "D"))
    >>> network(torch.zeros(3, 120, 20, 20)).shape
    torch.Size([3, 4])
    """

    config: CellRegressorConfig
    pixel_mean: Tensor
    pixel_scale: Tensor

    def __init__(
        self,
        cells: int,
        *,
        parameters: Sequence[str],
        pixels: int = 20,
        widths: Sequence[int] = (72, 64),
        hidden: int = 96,
        seed: int = 0,
    ) -> None:
        super().__init__()
        names = tuple(parameters)
        if isinstance(parameters, str) or not names or len(set(names)) < len(names):
            raise ValueError(f"parameters must be one or more different names, got {parameters!r}")
        if len(widths) != 2 or min(cells, hidden, *widths) < 1:
            raise ValueError(
                f"cells, hidden and two widths must be at least 1, got {cells}, {hidden} and {tuple(widths)}"
            )
        if pixels < 4 or pixels % 4:
            raise ValueError(f"pixels must be a positive multiple of 4, got {pixels}")
        first, second = widths
        self.config = CellRegressorConfig(cells, names, pixels, (first, second), hidden, seed)
        self.register_buffer("pixel_mean", torch.zeros(cells, pixels, pixels))
        self.register_buffer("pixel_scale", torch.ones(cells, pixels, pixels))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.mix1 = _block(cells, first)
            self.mix2 = _block(first, second)
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(second * (pixels // 4) ** 2, hidden), nn.ReLU())
            self.head = nn.Linear(hidden, 2 * len(names))

    def standardise_pixels(self, views: npt.NDArray[np.float32]) -> None:
        """Fixes the mean and spread of each pixel from example views (n, 2 cells, pixels, pixels), where measured.

        A pixel that no example has measured, or that never varies, is not looked at from then on.
        """
        shape = self.config.image_shape
        if views.shape[1:] != shape or not len(views):
            raise ValueError(f"views must have shape (n, {', '.join(map(str, shape))}), got {views.shape}")
        cells = self.config.cells
        values, seen = views[:, :cells].astype(np.float64), views[:, cells:] > 0
        number = np.maximum(seen.sum(axis=0), 1)
        mean = np.sum(values, axis=0, where=seen) / number
        spread = np.sqrt(np.sum((values - mean) ** 2, axis=0, where=seen) / number)
        self.pixel_mean.copy_(torch.from_numpy(mean))
        varies = spread > 1e-6 * max(float(spread.max()), 1e-30)
        self.pixel_scale.copy_(torch.from_numpy(np.where(varies, spread, np.inf)))

    def features(self, views: Tensor) -> Tensor:
        """(n, hidden): what the head looks at."""
        if views.ndim != 4 or tuple(views.shape[1:]) != self.config.image_shape:
            raise ValueError(f"views must have shape (n, *{self.config.image_shape}), got {tuple(views.shape)}")
        values, share = views.chunk(2, dim=1)
        standard = torch.where(share > 0, (values - self.pixel_mean) / self.pixel_scale, 0.0)
        found: Tensor = self.body(self.mix2(self.mix1(standard.contiguous(memory_format=torch.channels_last))))
        return found

    def forward(self, views: Tensor) -> Tensor:
        """Means and log-variances, (n, 2 p), of views, (n, 2 cells, pixels, pixels)."""
        mean, raw = self.head(self.features(views)).chunk(2, dim=1)
        floor = _LOG_VARIANCE_FLOOR  # a soft floor: the gradient never vanishes as it does behind a clamp
        return torch.cat([mean, floor + nn.functional.softplus(raw - floor)], dim=1)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False), nn.GroupNorm(1, outputs), nn.ReLU(inplace=True)
    )


def _cell_regressor(options: dict[str, Any]) -> nn.Module:
    return CellRegressor(parameters=options.pop("outputs"), **options)


register_network(CellRegressor, CellRegressorConfig, objective="weighted-gaussian", build=_cell_regressor)
