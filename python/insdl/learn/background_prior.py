"""What may lie under the magnetic signal: additive shapes with Gaussian priors, as the draws of a configuration have them.

Expected counts are linear in all of this, so that it can be fitted in one Newton step after the other: a plane over (Qh, Qk)
for each incident energy, a pedestal for each energy bin, and the principal components of everything else that the
configuration draws (phonons, elastic line, aluminium, smooth backgrounds, halo, streaks, over-subtraction).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from insdl.dataset.configuration import Configuration
from insdl.dataset.distribution import draw
from insdl.dataset.randomness import generator

_Reals = npt.NDArray[np.float64]
_Singles = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Background:
    """Shapes of the background, each scaled so that its coefficient has a standard normal prior.

    Attributes
    ----------
    mean : (n_bins, n_h, n_k) float32, counts. Expected background.
    modes : (n_modes, n_bins, n_h, n_k) float32, counts. Principal components, strongest first.
    blocks : (n_bins,) int64. Which incident energy each bin belongs to.
    plane_sigma : float, counts. Of offset and of rise to the edge along Qh and Qk, for each incident energy.
    pedestal_sigma : float, counts. Of the offset of each energy bin.
    explained : float, 0 to 1. Share of the draws' variance beside planes and pedestals that the components hold.
    """

    mean: _Singles
    modes: _Singles
    blocks: npt.NDArray[np.int64]
    plane_sigma: float
    pedestal_sigma: float
    explained: float

    def __post_init__(self) -> None:
        n_bins = len(self.blocks)
        if self.mean.ndim != 3 or len(self.mean) != n_bins or self.modes.shape[1:] != self.mean.shape:
            raise ValueError(
                f"mean must have shape ({n_bins}, n_h, n_k) and modes one axis more, got {self.mean.shape} and "
                f"{self.modes.shape}"
            )
        if not (np.diff(self.blocks) >= 0).all():
            raise ValueError(f"blocks must ascend, got {self.blocks.tolist()}")

    @property
    def n_coefficients(self) -> int:
        """Of planes, pedestals and components, in this order."""
        return 3 * (int(self.blocks[-1]) + 1) + len(self.blocks) + len(self.modes)

    def image(self, coefficients: npt.ArrayLike) -> _Reals:
        """(n_bins, n_h, n_k) float64, counts: the mean and the shapes times their coefficients, (n_coefficients,)."""
        c = np.asarray(coefficients, dtype=np.float64)
        if c.shape != (self.n_coefficients,):
            raise ValueError(f"coefficients must have shape ({self.n_coefficients},), got {c.shape}")
        n_planes, n_bins = 3 * (int(self.blocks[-1]) + 1), len(self.blocks)
        planes = c[:n_planes].reshape(-1, 3)[self.blocks]
        axis = np.linspace(-1.0, 1.0, self.mean.shape[1])
        flat = planes[:, 0] * self.plane_sigma + c[n_planes : n_planes + n_bins] * self.pedestal_sigma
        sloped = self.plane_sigma * (planes[:, 1, None, None] * axis[:, None] + planes[:, 2, None, None] * axis)
        return np.asarray(
            self.mean
            + flat[:, None, None]
            + sloped
            + np.tensordot(c[n_planes + n_bins :], self.modes.astype(np.float64), 1)
        )


def background_of(
    configuration: Configuration, *, n_modes: int = 24, n_draws: int = 160, detector: Any = None
) -> Background:
    """The background that a configuration's detection draws, without hot and dead pixels.

    Parameters
    ----------
    configuration : Configuration. With a background in counts (a background that is a share of the signal is not linear).
    n_modes : int. Principal components; fewer where the draws have fewer.
    n_draws : int. Draws of the background that they are worked out from, by the configuration's seed.
    detector : insdl.dataset.detection.Detector of the configuration, if there is one: its slow shapes need not be made again.

    Raises
    ------
    ValueError
        If the background depends on the signal (``window``), or n_modes or n_draws is out of range.
    """
    from copy import copy

    from insdl.dataset.detection import Detector

    nuisances = configuration.detection.nuisances
    if nuisances.window.probability > 0:
        raise ValueError(f"a background that is a share of the signal is not linear: window has {nuisances.window}")
    if not 0 <= n_modes < n_draws:
        raise ValueError(f"n_modes must lie from 0 to below n_draws, got {n_modes} and {n_draws}")
    off = {
        name: getattr(nuisances, name).model_copy(update={"probability": 0.0})
        for name in ("planes", "pedestals", "hot_pixels", "dead_pixels")
    }
    rest = copy(detector if detector is not None else Detector(configuration))  # slow shapes are shared, once made
    rest.prior = configuration.detection.model_copy(update={"nuisances": nuisances.model_copy(update=off)})
    nothing = np.zeros(rest.frame.shape, dtype=np.float32)
    draws = np.stack(
        [rest.expected(nothing, generator(configuration.seed, "background modes", i)) for i in range(n_draws)]
    )
    draws *= rest.measured  # what no detector sees decides about no component
    mean = draws.mean(axis=0)
    flat = (draws - mean).reshape(n_draws, -1)
    powers, sides = np.linalg.eigh((flat @ flat.T).astype(np.float64) / n_draws)
    strongest = np.argsort(powers)[::-1][:n_modes]
    strongest = strongest[powers[strongest] > 1e-6 * max(float(powers.max()), 1e-12)]
    # A component times its coefficient's standard deviation: U^T X / sqrt(n), from X = sqrt(n) U S V^T.
    modes = (sides[:, strongest].T.astype(np.float32) @ flat) / np.float32(np.sqrt(n_draws))
    total = float(powers.sum())
    return Background(
        mean=mean,
        modes=np.ascontiguousarray(modes.reshape(-1, *mean.shape), dtype=np.float32),
        blocks=rest.blocks.astype(np.int64),
        plane_sigma=_root_mean_square(nuisances.planes, configuration.seed),
        pedestal_sigma=_root_mean_square(nuisances.pedestals, configuration.seed),
        explained=float(powers[strongest].sum()) / total if total > 0 else 1.0,
    )


def _root_mean_square(prior: Any, seed: int) -> float:
    """Of coefficients that are normal with a standard deviation that is drawn, in the share of images that have them."""
    rng = generator(seed, "background widths", 0)
    drawn = np.array([draw(prior.sigma, rng) for _ in range(4000)])
    return float(np.sqrt(prior.probability * np.mean(drawn**2)))
