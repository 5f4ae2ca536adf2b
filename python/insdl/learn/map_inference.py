"""From counted maps to parameters: a network, its posterior, a baseline, and the refinement that starts from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from insdl.dataset.configuration import Configuration
from insdl.dataset.counted_maps import CountedMaps, MapNuisances, map_view
from insdl.dataset.distribution import Normal, Uniform
from insdl.dataset.parameter_prior import ParameterPrior, prior_of
from insdl.dataset.randomness import generator
from insdl.instrument.forward_model import ENERGY_ZERO, ForwardModel
from insdl.instrument.image import ImageSettings
from insdl.learn.counting_likelihood import CountingProblem, bin_backgrounds, fit_scale
from insdl.learn.error_scale import ErrorScale, fit_error_scale
from insdl.learn.importance import Reweighted, proposal_density, refinement_proposal, reweighted
from insdl.learn.networks import MapRegressor, evaluation_mode
from insdl.learn.pca_regression import PcaRegression, fit_pca_regression
from insdl.learn.posterior import MixturePosterior, fit_posterior
from insdl.learn.refinement import Refinement, refine
from insdl.learn.train import TrainingResult, TrainingSettings, predict, train

_Reals = npt.NDArray[np.float64]
_Singles = npt.NDArray[np.float32]
_BLOCK = 64  # maps simulated together
_STARTS = 24  # samples of the posterior among which the start of a refinement is chosen


@dataclass(frozen=True)
class MapInferenceSettings:
    """How a `MapInference` is made.

    Attributes
    ----------
    training : of the network. examples : maps that standardise pixels.
    pairs : maps for the posterior, the baseline and the calibration of the network's errors; the network has seen none.
    validation : maps on which the best epoch is chosen.
    components : principal components of the baseline; fewer are taken where there are few pairs.
    """

    training: TrainingSettings = TrainingSettings(epochs=64, samples_per_epoch=5000, batch_size=64, learning_rate=3e-3)
    examples: int = 400
    pairs: int = 8000
    validation: int = 1000
    components: int = 24

    def __post_init__(self) -> None:
        for name, least in (("examples", 1), ("pairs", 30), ("validation", 1), ("components", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class MapInference:
    """What was learned about maps of one configuration.

    Attributes
    ----------
    configuration, nuisances : what it was learned from.
    prior : of all that is fitted: model parameters, then image settings that are drawn, then the zero of energy.
    measured : (n_windows, n_h, n_k) bool.
    network : means and variances of the model parameters in units of the prior.
    calibration : by which the network's errors are multiplied, from z-scores on maps that it has not seen.
    posterior : of all of the prior, on the network's features. baseline : of the model parameters.
    training : history of the network's training.
    """

    configuration: Configuration
    nuisances: MapNuisances
    prior: ParameterPrior
    measured: npt.NDArray[np.bool_]
    network: MapRegressor
    calibration: ErrorScale
    posterior: MixturePosterior
    baseline: PcaRegression
    training: TrainingResult

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the model parameters."""
        return self.network.config.outputs

    @property
    def instrument(self) -> tuple[str, ...]:
        """Names of what is fitted besides: the instrument's nuisances."""
        return tuple(self.prior.names[len(self.parameters) :])

    def maps(
        self, stream: str, *, configuration: Configuration | None = None, threads: int | None = None
    ) -> CountedMaps:
        """Maps like those of the training from another stream, or another configuration of the same frame."""
        return CountedMaps(
            self.configuration if configuration is None else configuration,
            self.prior.names,
            stream=stream,
            nuisances=self.nuisances,
            measured=self.measured,
            threads=threads,
        )

    def views(self, counts: npt.NDArray[np.floating], measured: npt.NDArray[np.bool_]) -> _Singles:
        """(n, n_windows + 1, n_h / 2, n_k / 2) float32. What the network sees of maps (n, n_windows, n_h, n_k)."""
        return map_view(counts, measured, typical=self.network.pixel_mean.numpy())

    def estimate(
        self, views: _Singles, *, errors: Literal["calibrated", "raw"] = "calibrated"
    ) -> tuple[_Reals, _Reals]:
        """Means and errors (n, n_parameters) of the model parameters, units of the prior."""
        mean, sigma = predict(self.network, views)
        own = self.prior.of(self.parameters)
        factor = self.calibration.factor(_log_counts(views)) if errors == "calibrated" else 1.0
        return mean * own.width + own.centre, sigma * own.width * factor

    def features(self, views: _Singles) -> _Singles:
        """(n, n_features) float32. What the posterior is conditioned on."""
        return network_features(self.network, views)

    def forward(self, *, threads: int | None = None) -> ForwardModel:
        """Expected images as a function of all of the prior."""
        return forward_model(self.configuration, self.prior, threads=threads)

    def refine(
        self,
        counts: npt.NDArray[np.floating],
        measured: npt.NDArray[np.bool_],
        *,
        expected: ForwardModel,
        backgrounds: Literal["flat", "radial"] = "radial",
        seed: int = 0,
    ) -> tuple[Refinement, CountingProblem]:
        """The most probable parameters of one map, from the best of some samples of the posterior on.

        Parameters
        ----------
        counts, measured : (n_windows, n_h, n_k).
        expected : of `forward`.
        backgrounds : "flat" for one level a window, "radial" for a slope in |Q| besides.
        seed : of the samples.
        """
        problem = counting_problem(counts, measured, self.configuration, backgrounds=backgrounds)
        (context,) = self.features(self.views(counts[None], measured[None]))
        samples = self.posterior.sample(context, 200, seed=seed)
        starts = np.concatenate([samples.mean(axis=0)[None], samples[:_STARTS]])
        images = expected(starts)
        stable = [bool(np.isfinite(image).all()) for image in images]
        likely: list[float] = [
            fit_scale(problem, image).log_likelihood if good else -np.inf
            for image, good in zip(images, stable, strict=True)
        ]
        return refine(problem, expected, prior=self.prior, start=starts[int(np.argmax(likely))]), problem

    def reweighted(
        self,
        problem: CountingProblem,
        refinement: Refinement,
        *,
        expected: ForwardModel,
        n_samples: int = 300,
        seed: int = 0,
    ) -> Reweighted:
        """The posterior of one map by importance sampling: right where errors are not normal.

        Half of the samples come from the neural posterior, half from around the refinement, and all are weighted against the
        mean of both densities: what one of them misses the other covers.
        """
        half = max(1, n_samples // 2)
        (context,) = self.features(self.views(problem.counts[None], problem.measured[None]))
        around, _ = refinement_proposal(refinement, half, generator(seed, "importance", 0))
        samples = np.concatenate([self.posterior.sample(context, half, seed=seed), around])
        samples = samples[self.prior.contains(samples)]
        density = np.logaddexp(self.posterior.log_prob(samples, context), proposal_density(refinement, samples))
        return reweighted(problem, expected, samples, density, prior=self.prior)


def free_prior(configuration: Configuration, nuisances: MapNuisances) -> ParameterPrior:
    """The prior of everything that a configuration of one class draws about the model and the instrument."""
    own = configuration.classes[0].own
    drawn = {name: getattr(configuration.settings, name) for name in type(configuration.settings).model_fields}
    names = [*own, *(name for name, value in drawn.items() if isinstance(value, Uniform | Normal))]
    prior = prior_of(configuration, names)
    sigma = nuisances.energy_zero_sigma
    return prior if sigma == 0 else prior.also(ENERGY_ZERO, low=-3 * sigma, high=3 * sigma, mean=0.0, sigma=sigma)


def forward_model(configuration: Configuration, prior: ParameterPrior, *, threads: int | None = None) -> ForwardModel:
    """Expected images of a configuration of one class, integrated over each window, as a function of all of the prior."""
    fixed = {
        name: float(value)
        for name in type(configuration.settings).model_fields
        if isinstance(value := getattr(configuration.settings, name), int | float)
    }
    simulator = CountedMaps(configuration, (), stream="forward", threads=threads).forward.simulator
    return ForwardModel(simulator, prior.names, settings=ImageSettings(**fixed), intensity="bin", threads=threads)


def counting_problem(
    counts: npt.NDArray[np.floating],
    measured: npt.NDArray[np.bool_],
    configuration: Configuration,
    *,
    backgrounds: Literal["flat", "radial"] = "radial",
) -> CountingProblem:
    """A map of counts with a background of its own for each window."""
    if backgrounds not in ("flat", "radial"):
        raise ValueError(f"backgrounds must be 'flat' or 'radial', got {backgrounds!r}")
    radial = radius(configuration) if backgrounds == "radial" else None
    return CountingProblem(counts, measured, bin_backgrounds(measured, radial=radial))


def radius(configuration: Configuration) -> _Reals:
    """(n_h, n_k) float64, r.l.u. |Q| in the plane of the pixels."""
    pixels = np.asarray(configuration.frame.image_frame().pixels)
    return np.asarray(np.hypot(pixels[:, None], pixels[None, :]))


def network_features(network: MapRegressor, views: _Singles) -> _Singles:
    """(n, n_features) float32: the hidden layer of the network, its outputs, and the number of counts."""
    found: list[_Singles] = []

    def keep(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        found.append(inputs[0].detach().cpu().numpy())

    last = network.head[-1]
    handle = last.register_forward_pre_hook(keep)
    try:
        with evaluation_mode(network):
            mean, sigma = predict(network, views)
    finally:
        handle.remove()
    level = _log_counts(views)[:, None]
    return np.concatenate([np.concatenate(found), mean, np.log(sigma), level], axis=1).astype(np.float32)


def train_map_inference(
    configuration: Configuration,
    *,
    nuisances: MapNuisances | None = None,
    measured: npt.NDArray[np.bool_] | None = None,
    settings: MapInferenceSettings | None = None,
    threads: int | None = None,
    checkpoint: Path | None = None,
    description: Mapping[str, Any] | None = None,
    progress: Literal["bar", "silent"] = "silent",
) -> MapInference:
    """Everything that is learned about maps of a configuration: simulated, counted and folded while the network learns.

    Parameters
    ----------
    configuration : of one class, with square maps of a multiple of 32 pixels and Poisson counting.
    nuisances : see `MapNuisances`.
    measured : (n_windows, n_h, n_k) bool or None. Where the measurement looks.
    settings : see `MapInferenceSettings`.
    threads : of the simulation.
    checkpoint, description, progress : see `insdl.learn.train.train`.
    """
    settings = settings or MapInferenceSettings()
    nuisances = nuisances or MapNuisances()
    prior = free_prior(configuration, nuisances)
    names = tuple(configuration.classes[0].own)
    own = prior.of(names)

    def maps(stream: str) -> CountedMaps:
        return CountedMaps(
            configuration, prior.names, stream=stream, nuisances=nuisances, measured=measured, threads=threads
        )

    training, examples = maps("training"), maps("examples").batch(range(settings.examples))
    windows, n = training.forward.image_shape[:2]
    network = MapRegressor(windows + 1, parameters=names, pixels=n // 2, seed=settings.training.seed)
    first = map_view(examples.counts, examples.measured)
    network.standardise_pixels(map_view(examples.counts, examples.measured, typical=first.mean(axis=0)))
    typical = network.pixel_mean.numpy()

    def viewed(stream: CountedMaps, indices: Sequence[int]) -> tuple[_Singles, _Reals]:
        found = stream.batch(indices)
        return map_view(found.counts, found.measured, typical=typical), found.values

    block = _Block()

    def sample(index: int) -> tuple[_Singles, npt.ArrayLike]:
        if block.number != index // _BLOCK:
            begin = index // _BLOCK * _BLOCK
            views, values = viewed(training, range(begin, begin + _BLOCK))
            block.number, block.views = index // _BLOCK, views
            block.targets = ((values[:, : len(names)] - own.centre) / own.width).astype(np.float32)
        return block.views[index % _BLOCK], block.targets[index % _BLOCK]

    def held(stream: str, count: int) -> tuple[_Singles, _Reals]:
        source = maps(stream)
        parts = [viewed(source, range(i, min(count, i + _BLOCK))) for i in range(0, count, _BLOCK)]
        return np.concatenate([p for p, _ in parts]), np.concatenate([v for _, v in parts])

    views, values = held("validation", settings.validation)
    targets = ((values[:, : len(names)] - own.centre) / own.width).astype(np.float32)
    history = train(
        network,
        sample=sample,
        validation=(views, targets),
        settings=settings.training,
        checkpoint=checkpoint,
        description=description,
        progress=progress,
    )
    views, values = held("pairs", settings.pairs)
    mean, sigma = predict(network, views)
    truths = (values[:, : len(names)] - own.centre) / own.width
    calibration = fit_error_scale((mean - truths) / sigma, _log_counts(views))
    posterior = fit_posterior(network_features(network, views), values, prior=prior)
    components = min(settings.components, max(1, round((0.2 * len(views)) ** (1.0 / 3.0))))
    baseline = fit_pca_regression(
        views, values[:, : len(names)], components=settings.components if len(views) >= 4000 else components
    )
    return MapInference(
        configuration,
        nuisances,
        prior,
        training.measured,
        network,
        calibration,
        posterior,
        baseline,
        history,
    )


def _log_counts(views: _Singles) -> _Reals:
    """(n,) float64. log10 of the counts over a million, the last channel of a view."""
    return np.asarray(views[:, -1].mean(axis=(1, 2)), dtype=np.float64)


class _Block:
    """The maps that were simulated last, and what they were made with."""

    number = -1
    views: _Singles
    targets: _Singles
