"""A model's numbers as a smooth function of its unknowns: a small network that stands for the simulator, with its error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

_Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SurrogateSettings:
    """How a `Surrogate` is trained.

    Attributes
    ----------
    width : of both hidden layers. epochs : through the training images. batch_size, learning_rate : of Adam; the rate falls
        to zero along a cosine. seed : of weights and order.
    """

    width: int = 320
    epochs: int = 120
    batch_size: int = 64
    learning_rate: float = 2e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.width, self.epochs, self.batch_size) < 1 or not self.learning_rate > 0:
            raise ValueError(f"width, epochs, batch_size and learning_rate must be positive, got {self}")


@dataclass(frozen=True, eq=False)
class Surrogate:
    """Numbers of a model's images, of mean one over the measured pixels.

    Attributes
    ----------
    network : points of the unit cube, as 2 u - 1, to numbers in units of ``size`` about ``mean``.
    mean : (n_values,) float64. size : float.
    error : (n_values, n_values) float64. Mean square error and its correlations, from images that it was not trained on.
    """

    network: nn.Sequential
    mean: _Reals
    size: float
    error: _Reals

    def __call__(self, points: npt.ArrayLike) -> _Reals:
        """(n, n_values) float64 at points (n, n_unknowns) of the unit cube."""
        given = torch.as_tensor(2.0 * np.asarray(points) - 1.0, dtype=torch.float32)
        with torch.no_grad():
            found: Tensor = self.network(given)
        return np.asarray(found.numpy().astype(np.float64) * self.size + self.mean)


def network_of(inputs: int, width: int, outputs: int) -> nn.Sequential:
    """Two hidden layers."""
    return nn.Sequential(
        nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, outputs)
    )


def train_surrogate(
    points: _Reals,
    values: _Reals,
    *,
    held_points: _Reals,
    held_values: _Reals,
    settings: SurrogateSettings | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> Surrogate:
    """A network fitted by least squares: whitened numbers have unit noise, so that all of them count the same.

    Parameters
    ----------
    points : (n, n_unknowns) float64, unit cube. values : (n, n_values) float64, of `Compression.values`.
    held_points, held_values : of images that only the error is worked out from.
    progress : called with the epoch and its root-mean-square training error.

    Raises
    ------
    ValueError
        If the arrays do not fit.
    """
    if len(points) != len(values) or len(held_points) != len(held_values) or not len(held_points):
        raise ValueError(
            f"points and values must be as many, got {len(points)} and {len(values)}, held out {len(held_points)} and "
            f"{len(held_values)}"
        )
    chosen = settings or SurrogateSettings()
    mean = values.mean(axis=0)
    size = float(np.sqrt(np.mean((values - mean) ** 2))) or 1.0
    with torch.random.fork_rng():
        torch.manual_seed(chosen.seed)
        network = network_of(points.shape[1], chosen.width, values.shape[1])
        inputs = torch.as_tensor(2.0 * points - 1.0, dtype=torch.float32)
        targets = torch.as_tensor((values - mean) / size, dtype=torch.float32)
        optimiser = torch.optim.Adam(network.parameters(), lr=chosen.learning_rate)
        size_of_batch = min(chosen.batch_size, len(points))
        per_epoch = len(points) // size_of_batch
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, chosen.epochs * per_epoch)
        for epoch in range(chosen.epochs):
            order, total = torch.randperm(len(points)), 0.0
            for part in order[: per_epoch * size_of_batch].reshape(per_epoch, -1):
                loss = torch.mean((network(inputs[part]) - targets[part]) ** 2)
                optimiser.zero_grad()
                torch.autograd.backward([loss])
                optimiser.step()
                schedule.step()
                total += float(loss.detach())
            if progress is not None:
                progress(epoch, size * (total / per_epoch) ** 0.5)
    found = Surrogate(network, mean, size, np.eye(values.shape[1]))
    off = found(held_points) - held_values
    return Surrogate(network, mean, size, off.T @ off / len(off))
