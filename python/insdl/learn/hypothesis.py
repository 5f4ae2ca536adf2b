"""One class of a configuration as something that can be fitted: simulator, unknowns, background, counting, starting points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from insdl.dataset.configuration import Configuration, SubtractedCounting
from insdl.dataset.distribution import bounds
from insdl.dataset.randomness import generator
from insdl.instrument.frame import ImageFrame
from insdl.instrument.image import ImageSimulator
from insdl.learn.background_prior import Background, background_of
from insdl.learn.unknowns import Unknowns, unknowns_of

_Reals = npt.NDArray[np.float64]
_Mask = npt.NDArray[np.bool_]
_CENTRED = ("shift_h", "shift_k")


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A class that may have made an image.

    Attributes
    ----------
    unknowns : Unknowns. simulator : ImageSimulator. background : Background, the same for all rivals.
    intensity : float. Counts per S_perp of the configuration.
    sigma : (n_bins,) float64, counts. Noise where there is no signal.
    largest : float, counts. Upper limit of the file.
    hot_height : float, counts. Mean excess of a hot pixel.
    n_templates : int. Simulated images among which starting points are looked for. seed : int. Of these.
    """

    unknowns: Unknowns
    simulator: ImageSimulator
    background: Background
    intensity: float
    sigma: _Reals
    largest: float
    hot_height: float
    n_templates: int = 400
    seed: int = 0

    @property
    def name(self) -> str:
        """The class."""
        return self.unknowns.name

    def images(
        self, points: _Reals, measured: _Mask, *, simulator: ImageSimulator | None = None, threads: int | None = None
    ) -> tuple[_Reals, _Mask]:
        """Images at points (n, n_unknowns) of the unit cube, for a scale of one; and which are stable.

        Where the configuration sets the mean signal, each image has mean one over ``measured``. For another simulator (a
        coarser frame) ``measured`` has that one's shape.
        """
        if not len(points):
            return np.zeros((0, *measured.shape)), np.zeros(0, dtype=bool)
        settings = [self.unknowns.image_settings(point) for point in points]
        images, stable = (simulator or self.simulator).simulate_sets(
            self.unknowns.model_values(points), settings, threads=threads
        )
        if self.unknowns.scale_kind == "mean":
            means = np.einsum("nbhk,bhk->n", images, measured) / max(int(measured.sum()), 1)
            images /= np.where(stable & (means > 0), means, 1.0)[:, None, None, None]
        else:
            images *= self.intensity
        return images, stable

    @cached_property
    def templates(self) -> tuple[_Reals, npt.NDArray[np.float32], ImageFrame]:
        """Points drawn from the prior, their images on pixels of double size, and the frame of these.

        Points (n, n_unknowns), shifts in the middle; images (n, n_bins, n_h, n_k) float32, not normalised. Made when first
        asked for. Unstable draws are left out.
        """
        frame = self.simulator.frame
        pixels = np.asarray(frame.pixels)
        if len(pixels) % 2 == 0:
            frame = replace(frame, pixels=pixels.reshape(-1, 2).mean(axis=1))
        coarse = ImageSimulator(self.simulator.model, frame, margin=self.simulator.margin)
        points = generator(self.seed, f"templates/{self.name}", 0).random((self.n_templates, len(self.unknowns.names)))
        for name in _CENTRED:
            if name in self.unknowns.names:
                points[:, self.unknowns.names.index(name)] = 0.5
        settings = [self.unknowns.image_settings(point) for point in points]
        images = np.empty((len(points), *frame.shape), dtype=np.float32)
        _, stable = coarse.simulate_sets(self.unknowns.model_values(points), settings, out=images)
        return points[stable], images[stable], frame

    def starting_points(self, counts: _Reals, used: _Mask, *, n: int, noise: _Reals | None = None) -> list[_Reals]:
        """Points of the cube from which to fit, the best match of the templates first.

        Templates are compared by weighted least squares on pixels of double size, each with a scale, and a free offset for
        each energy bin, so that neither the background nor the clipping at zero decides. Starting points differ from each
        other by at least 0.3 in some quantity of the model.

        Parameters
        ----------
        counts : (n_bins, n_h, n_k) float64. used : bool, the same shape.
        n : int. How many points at most.
        noise : (n_bins,) float64, counts; None for the hypothesis' sigma.
        """
        points, images, frame = self.templates
        pool = counts.shape[1] // frame.shape[1]
        share = _pooled(used.astype(np.float64), pool)
        limit = np.array([np.quantile(c[u], 0.99) if u.any() else 0.0 for c, u in zip(counts, used, strict=True)])
        seen = _pooled(np.where(used, np.minimum(counts, limit[:, None, None]), 0.0), pool) / np.maximum(share, 1e-9)
        floor = self.sigma if noise is None else noise
        mean = np.sum(seen * share, axis=(1, 2)) / np.maximum(share.sum(axis=(1, 2)), 1e-9)
        weight = share / (floor**2 + np.maximum(mean, 0.0))[:, None, None]
        per_bin = np.maximum(weight.sum(axis=(1, 2)), 1e-12)
        apart = (weight * (seen - (np.sum(weight * seen, axis=(1, 2)) / per_bin)[:, None, None])).astype(np.float32)
        along = np.tensordot(images, apart, 3).astype(np.float64)
        offsets = np.einsum("nbhk,bhk->nb", images, weight.astype(np.float32))
        power = np.einsum("nbhk,nbhk,bhk->n", images, images, weight.astype(np.float32), optimize=True)
        power = power.astype(np.float64) - np.sum(offsets.astype(np.float64) ** 2 / per_bin, axis=1)
        score = np.where((along > 0) & (power > 0), along**2 / np.maximum(power, 1e-12), 0.0)
        chosen: list[int] = []
        for candidate in np.argsort(score)[::-1]:
            gaps = [
                np.abs(points[candidate, : self.unknowns.n_quantities] - points[c, : self.unknowns.n_quantities]).max()
                for c in chosen
            ]
            if not gaps or min(gaps) > 0.3:
                chosen.append(int(candidate))
            if len(chosen) == n:
                break
        found = []
        for number in chosen:
            factor = float(along[number] / power[number]) if score[number] > 0 else 1.0
            mean_signal = factor * float(np.sum(images[number] * share) / max(share.sum(), 1e-9))
            value = mean_signal if self.unknowns.scale_kind == "mean" else factor / self.intensity
            u = points[number].copy()
            span = self.unknowns.ranges["scale"]
            if span.scale == "log":
                u[-2] = np.log(max(value, 1e-9) / span.low) / np.log(span.high / span.low)
            else:
                u[-2] = (value - span.low) / (span.high - span.low)
            u[-2:] = np.clip([u[-2], 0.5], 0.02, 0.98)
            found.append(u)
        return found


def hypotheses(
    configuration: Configuration,
    *,
    names: Sequence[str] | None = None,
    background: Background | None = None,
    detector: Any = None,
    n_templates: int = 400,
) -> tuple[Hypothesis, ...]:
    """The classes of a configuration, ready to be fitted.

    Parameters
    ----------
    configuration : Configuration. Uniform or loguniform priors, counts as after a subtraction, clipped at zero.
    names : of classes, in this order; None for all.
    background : Background; None for `background_of` the configuration.
    detector : passed on to `background_of`.
    n_templates : simulated images for each class among which starting points are looked for.

    Raises
    ------
    ValueError
        For another kind of configuration, or a class that it does not have.
    """
    chosen = [rival.name for rival in configuration.classes] if names is None else list(names)
    unknowns = [unknowns_of(configuration, name) for name in chosen]
    counting, hot = configuration.detection.counting, configuration.detection.nuisances.hot_pixels
    if not isinstance(counting, SubtractedCounting):
        raise ValueError(f"the noise must be that of subtracted counts, got {counting.kind}")
    under = background_of(configuration, detector=detector) if background is None else background
    frame = configuration.frame.image_frame()
    rivals = {rival.name: rival for rival in configuration.classes}
    return tuple(
        Hypothesis(
            unknowns=one,
            simulator=ImageSimulator(rivals[one.name].spin_model(), frame, margin=configuration.frame.margin),
            background=under,
            intensity=configuration.intensity,
            sigma=np.broadcast_to(np.array(counting.sigma, dtype=np.float64), frame.shape[0]),
            largest=np.inf if counting.largest is None else float(counting.largest),
            hot_height=float(np.mean(bounds(hot.height))),
            n_templates=n_templates,
            seed=configuration.seed,
        )
        for one in unknowns
    )


def _pooled(image: _Reals, pool: int) -> _Reals:
    """Means over pool x pool pixels of each bin."""
    bins, n_h, n_k = image.shape
    return np.asarray(image.reshape(bins, n_h // pool, pool, n_k // pool, pool).mean(axis=(2, 4)))
