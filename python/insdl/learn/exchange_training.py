"""From a configuration to an `ExchangeInference`: simulate, train the network, fit the posterior, test both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from insdl.dataset.configuration import Configuration
from insdl.dataset.configured import ConfiguredSource
from insdl.dataset.order import EpochOrder
from insdl.dataset.quarter_view import QuarterDetection
from insdl.dataset.reader import SourceReader, detected, good
from insdl.dataset.view import ViewPrior
from insdl.learn.cell_regressor import CellRegressor
from insdl.learn.exchange import (
    ExchangeInference,
    cell_table,
    quantities_prior,
    regressor_features,
    save_exchange,
    to_quantities,
)
from insdl.learn.pca_regression import fit_pca_regression
from insdl.learn.posterior import PosteriorSettings, fit_posterior
from insdl.learn.settings import TrainingSettings
from insdl.learn.simulation_calibration import calibration_ranks
from insdl.learn.stream import Batch, ImageStream
from insdl.learn.train import TrainingResult, train
from insdl.learn.unknowns import Unknowns, unknowns_of

_BLOCK = 64
_EXAMPLES = 400  # views that standardise pixels
_RANKED = 99  # posterior samples that the truth of each test is ranked among
_BINS = 20  # of ranks: divides _RANKED + 1
_CENTRED = ("shift_h", "shift_k")  # a quarter view does not know their signs
_Reals = npt.NDArray[np.float64]
_Singles = npt.NDArray[np.float32]
_NO_PARTS = ViewPrior(
    some_energies=0.0, one_energy=0.0, some_cells=0.0, some_pixels=0.2, mask_from_zeros=0.2, more_noise=0.0
)
_POSTERIOR = PosteriorSettings(epochs=30, batch_size=256, learning_rate=2e-3, weight_decay=1e-2)


@dataclass(frozen=True)
class ExchangeSettings:
    """How exchange constants are learned; all of it is written into the file.

    Attributes
    ----------
    seed : of everything random.
    images : simulated images that the network learns from, counted anew in every epoch.
    validation : images of another set, which chooses the epoch.
    pairs : images of another set, for the posterior and the baseline. repeats : how often each of them is counted.
    tests : images of another set, on which errors and calibration are measured; 100 at least.
    training : of the network. posterior : of the mixture; both get the seed.
    views : what of a measurement is shown in training.
    widths, hidden : of the network. components : of the mixture. principal : components of the baseline.
    threads : of the simulation; None uses every processor.
    """

    seed: int = 0
    images: int = 9000
    validation: int = 600
    pairs: int = 5000
    repeats: int = 3
    tests: int = 1000
    training: TrainingSettings = TrainingSettings(
        epochs=24, batch_size=32, learning_rate=2e-3, weight_decay=1e-3, threads=1
    )
    posterior: PosteriorSettings = _POSTERIOR
    views: ViewPrior = _NO_PARTS
    widths: tuple[int, int] = (72, 64)
    hidden: int = 96
    components: int = 4
    principal: int = 16
    threads: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("images", 1), ("validation", 1), ("pairs", 20), ("repeats", 1), ("tests", 5 * _BINS)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")


def train_exchange(
    configuration: Configuration,
    output: Path | str,
    settings: ExchangeSettings | None = None,
    *,
    name: str = "goodenough",
    progress: Literal["bar", "silent"] = "bar",
) -> ExchangeInference:
    """Learns the parameters of one class of a configuration, tests what was learned, and writes it to a file.

    Parameters
    ----------
    configuration : Configuration. Its streams "exchange training", "... validation", "... pairs" and "... tests" are used.
    output : file. Beside it, while the network is trained, lies one from which a killed run goes on.
    name : of the class.

    Returns
    -------
    ExchangeInference. As in the file.

    Raises
    ------
    ValueError
        For a class that the configuration does not have, a prior that is not uniform, or a folder that does not exist.
    """
    settings = ExchangeSettings() if settings is None else settings
    output = Path(output)
    if not output.parent.is_dir():
        raise ValueError(f"the folder of {output} does not exist")
    unknowns = unknowns_of(configuration, name)
    prior = quantities_prior(unknowns)

    def source(stream: str, n: int) -> ConfiguredSource:
        return _source(configuration, name, f"exchange {stream}", settings.seed, n)

    training = source("training", settings.images)
    validation = _joined(_simulated(source("validation", settings.validation), unknowns, settings.views, settings))
    network, result = _network(training, unknowns, (validation[0], validation[1]), settings, _state(output), progress)
    features, truth, views = _pairs(source("pairs", settings.pairs), network, unknowns, settings)
    posterior = fit_posterior(
        features,
        to_quantities(unknowns, truth),
        prior=prior,
        components=settings.components,
        settings=replace(settings.posterior, seed=settings.seed),
    )
    learned = ExchangeInference(
        name,
        unknowns.parameters,
        unknowns.offset,
        unknowns.linear,
        cell_table(configuration),
        np.asarray(training.detector.noise_sigma, dtype=np.float64),
        network,
        posterior,
        tests={},
        description={
            "configuration": configuration.model_dump(mode="json"),
            "settings": asdict(settings),
            "seconds": round(result.seconds, 1),
            "best_epoch": result.best_epoch,
            "history": [asdict(epoch) for epoch in result.history],
        },
    )
    test_views, _, test_truth = _joined(_simulated(source("tests", settings.tests), unknowns, None, settings))
    found = checked_exchange(learned, test_views, test_truth, seed=settings.seed)
    once = truth[:: settings.repeats]
    few = max(1, round(1.2 * len(once) ** (1.0 / 3.0)))  # of few images, few components
    baseline = fit_pca_regression(views, once, components=min(settings.principal, few))
    missed = np.sqrt(np.mean((baseline.predict(_values(test_views)) - test_truth) ** 2, axis=0))
    pca = dict(zip(unknowns.parameters, missed.tolist(), strict=True))
    inference = replace(learned, tests={**found, "pca_rmse": pca})
    save_exchange(output, inference)
    _state(output).unlink(missing_ok=True)
    return inference


def checked_exchange(
    inference: ExchangeInference, views: _Singles, truth: npt.ArrayLike, *, seed: int = 0
) -> dict[str, Any]:
    """How far the posterior is from the truth of simulations, and whether it is as wide as it says.

    Parameters
    ----------
    views : (m, 2 n_bins, p, p) float32. Quarter views of simulations that were not learned from, 100 at least.
    truth : (m, n) float64, meV. Model parameters of each.
    seed : of the posterior's samples.

    Returns
    -------
    dict. "simulations": m; by parameter, meV, "rmse" of the posterior mean, "error" (median posterior width) and
    "prior_width"; "p_value": of uniform ranks of the truth (simulation-based calibration), for parameters and quantities;
    "within_1_sigma" and "within_2_sigma": shares of the truths so near to the mean.
    """
    true = np.asarray(truth, dtype=np.float64)
    contexts = inference.features(views)
    drawn = np.array(
        [inference.posterior.sample(row, _RANKED, seed=seed * 1_000_003 + i) for i, row in enumerate(contexts)]
    )
    samples = inference.to_parameters(drawn)
    names, quantities = inference.parameters, tuple(inference.prior.names)
    ranks = calibration_ranks(samples, true, bins=_BINS)
    own = calibration_ranks(drawn, _quantities(inference, true), bins=_BINS)
    mean, error = samples.mean(axis=1), samples.std(axis=1, ddof=1)
    pull = np.abs(mean - true) / error

    def named(values: npt.ArrayLike) -> dict[str, float]:
        return dict(zip(names, np.asarray(values, dtype=np.float64).tolist(), strict=True))

    return {
        "simulations": len(true),
        "rmse": named(np.sqrt(np.mean((mean - true) ** 2, axis=0))),
        "error": named(np.median(error, axis=0)),
        "prior_width": named(np.sqrt(np.diag(inference.prior_covariance))),
        "p_value": {**dict(zip(quantities, own.p_value.tolist(), strict=True)), **named(ranks.p_value)},
        "within_1_sigma": named((pull < 1).mean(axis=0)),
        "within_2_sigma": named((pull < 2).mean(axis=0)),
    }


def _network(
    source: ConfiguredSource,
    unknowns: Unknowns,
    validation: tuple[_Singles, _Singles],
    settings: ExchangeSettings,
    state: Path,
    progress: Literal["bar", "silent"],
) -> tuple[CellRegressor, TrainingResult]:
    """The network, trained on the images of a source."""
    detect = QuarterDetection(source, settings.views)
    reader = SourceReader(source, threads=settings.threads, remembered=settings.images)
    for begin in tqdm(range(0, settings.images, _BLOCK), desc="simulation", unit="block", disable=progress == "silent"):
        reader.read(range(begin, min(begin + _BLOCK, settings.images)))
    few = range(min(_EXAMPLES, settings.images))
    samples, numbers = good(reader.read(few), few)
    network = CellRegressor(
        source.image_shape[0],
        parameters=_outputs(unknowns),
        pixels=source.image_shape[-1] // 2,
        widths=settings.widths,
        hidden=settings.hidden,
        seed=settings.seed,
    )
    network.standardise_pixels(
        detected(samples.images, numbers, detect, seed=settings.seed, stream="exchange examples")
    )
    stream = ImageStream(
        reader,
        EpochOrder(0, settings.images, shard_size=reader.shard_size, seed=settings.seed, stream="exchange"),
        batch_size=settings.training.batch_size,
        detect=detect,
    )

    def target(batch: Batch) -> npt.ArrayLike:
        return _targets(unknowns, source, batch.parameters.numpy(), batch.settings.numpy())

    result = train(
        network,
        stream=stream,
        target=target,
        validation=validation,
        settings=replace(settings.training, seed=settings.seed),
        state=state,
        progress=progress,
    )
    return network, result


def _pairs(
    source: ConfiguredSource, network: CellRegressor, unknowns: Unknowns, settings: ExchangeSettings
) -> tuple[_Singles, _Reals, _Singles]:
    """Features and parameters of every count of every image, image by image; and the values of one count of each."""
    features, truth, views = [], [], []
    for samples in _simulated(source, unknowns, settings.views, settings, repeats=settings.repeats):
        views.append(_values(samples[0][0]))
        # Repeats of one image stay together: (repeats, images, ...) to (images, repeats, ...).
        found = np.stack([regressor_features(network, seen) for seen in samples[0]], axis=1)
        features.append(found.reshape(-1, found.shape[-1]))
        truth.append(np.repeat(samples[2], settings.repeats, axis=0))
    return np.concatenate(features), np.concatenate(truth), np.concatenate(views)


def _state(output: Path) -> Path:
    return output.with_name(f".{output.name}.state")


def _quantities(inference: ExchangeInference, parameters: _Reals) -> _Reals:
    found, *_ = np.linalg.lstsq(inference.linear, (parameters - inference.offset).T, rcond=None)
    return np.asarray(found.T)


def _source(configuration: Configuration, name: str, stream: str, seed: int, n: int) -> ConfiguredSource:
    own = [rival for rival in configuration.classes if rival.name == name]
    return ConfiguredSource(
        configuration.model_copy(update={"classes": own, "stream": stream, "seed": seed, "n_samples": n})
    )


def _outputs(unknowns: Unknowns) -> tuple[str, ...]:
    """Quantities and settings: what is there to be seen, whether or not it is asked for, makes better features."""
    free = unknowns.names[: unknowns.n_quantities + unknowns.n_settings]
    return tuple(name for name in free if name not in _CENTRED)


def _targets(unknowns: Unknowns, source: ConfiguredSource, parameters: _Reals, settings: _Reals) -> _Singles:
    """(m, n_outputs) float32, in standard deviations of the prior from its centre."""
    values: dict[str, _Reals] = dict(
        zip(unknowns.names[: unknowns.n_quantities], to_quantities(unknowns, parameters).T, strict=True)
    )
    values |= dict(zip(source.setting_names, settings.T, strict=True))
    columns = []
    for name in _outputs(unknowns):
        span, value = unknowns.ranges[name], values[name]
        low, high = span.low, span.high
        if span.scale == "log":
            low, high, value = np.log(low), np.log(high), np.log(value)
        columns.append((value - 0.5 * (low + high)) / (high - low) * np.sqrt(12.0))
    return np.stack(columns, axis=1).astype(np.float32)


def _simulated(
    source: ConfiguredSource,
    unknowns: Unknowns,
    views: ViewPrior | None,
    settings: ExchangeSettings,
    *,
    repeats: int = 1,
) -> Iterator[tuple[list[_Singles], _Singles, _Reals]]:
    """Block by block: views of each of several counts, standardised targets, and parameters (meV) of a source's samples."""
    detect, reader = QuarterDetection(source, views), SourceReader(source, threads=settings.threads)
    for begin in range(0, source.n_samples, _BLOCK):
        indices = range(begin, min(begin + _BLOCK, source.n_samples))
        samples, numbers = good(reader.read(indices), indices)
        stream = source.configuration.stream
        seen = [
            detected(samples.images, numbers, detect, seed=source.seed, stream=stream, epoch=repeat)
            for repeat in range(repeats)
        ]
        yield seen, _targets(unknowns, source, samples.parameters, samples.settings), samples.parameters


def _values(views: _Singles) -> _Singles:
    """The half of views that are not measured shares; 0 where nothing was measured."""
    return views[:, : views.shape[1] // 2]


def _joined(blocks: Iterable[tuple[list[_Singles], _Singles, _Reals]]) -> tuple[_Singles, _Singles, _Reals]:
    """Views, targets and parameters of all blocks, each image counted once."""
    views, targets, parameters = zip(*blocks, strict=True)
    return np.concatenate([one for (one,) in views]), np.concatenate(targets), np.concatenate(parameters)


def summary(tests: Mapping[str, Any]) -> list[str]:
    """What came out of `checked_exchange`, a line a parameter, with the baseline beside it."""
    lines = []
    for name, rmse in tests["rmse"].items():
        line = f"{name}: error {rmse:.3g} meV (said: {tests['error'][name]:.3g}; prior {tests['prior_width'][name]:.3g}"
        if "pca_rmse" in tests:
            line += f"; principal components and a polynomial {tests['pca_rmse'][name]:.3g}"
        lines.append(line + f"), ranks uniform with p = {tests['p_value'][name]:.2g}")
    return lines
