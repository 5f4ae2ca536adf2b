"""Exchange constants of one model from a measurement, by a network: a posterior, ready in milliseconds.

A `CellRegressor` learns means and errors of everything that the class draws (insdl.learn.unknowns) from quarter views. A
`MixturePosterior` on its features is then fitted to simulated measurements that the network has not learned from, so that
what the network knows by heart makes no error bar too small. Its calibration is tested on simulations that neither has seen,
and stands in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from insdl.dataset.configuration import Configuration
from insdl.dataset.parameter_prior import ParameterPrior
from insdl.dataset.quarter_view import quarter_view
from insdl.learn.cell_regressor import CellRegressor
from insdl.learn.checkpoint import packed, unpacked
from insdl.learn.identifiability import Identifiability, identifiability_of
from insdl.learn.networks import evaluation_mode
from insdl.learn.posterior import MixturePosterior
from insdl.learn.torch_file import plain, read_torch_file, write_torch_file
from insdl.learn.unknowns import Unknowns
from insdl.provenance import versions

_FORMAT = "insdl exchange 1"
_WHOLE = 0.9  # share of the cells that must be measured: the network has learned from whole measurements
_BATCH = 128
_Reals = npt.NDArray[np.float64]
_Singles = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ExchangeInference:
    """What was learned about the parameters of one model.

    Attributes
    ----------
    name : the class. parameters : of its model, in the order of all arrays, meV.
    offset, linear : parameters = offset + linear @ quantities; the quantities are what the prior draws.
    cells : (incident energy, lower and upper edge) of each cell, meV. sigma : (n_bins,) float64, counts. Noise of empty pixels.
    network, posterior : the latter is of the quantities, on the network's features.
    tests : what came out on simulations that were not learned from; see `insdl.learn.exchange_training`.
    description : of whoever made it.
    """

    name: str
    parameters: tuple[str, ...]
    offset: _Reals
    linear: _Reals
    cells: tuple[tuple[float, float, float], ...]
    sigma: _Reals
    network: CellRegressor
    posterior: MixturePosterior
    tests: Mapping[str, Any]
    description: Mapping[str, Any]

    @property
    def prior(self) -> ParameterPrior:
        """Of the quantities."""
        return self.posterior.prior

    @property
    def prior_covariance(self) -> _Reals:
        """(n, n) float64, meV^2. Of the parameters."""
        scaled = self.linear * np.asarray(self.prior.width)
        return np.asarray(scaled @ scaled.T)

    def to_parameters(self, quantities: npt.ArrayLike) -> _Reals:
        """(..., n) float64, meV: parameters of quantities (..., k)."""
        return np.asarray(self.offset + np.asarray(quantities, dtype=np.float64) @ self.linear.T)

    def features(self, views: _Singles) -> _Singles:
        """(m, n_features) float32. What the posterior looks at, of quarter views (m, 2 n_bins, p, p)."""
        return regressor_features(self.network, views)


@dataclass(frozen=True, eq=False)
class ExchangeAnswer:
    """The posterior of one measurement.

    Attributes
    ----------
    names : of the parameters. samples : (m, n) float64, meV. quantities : (m, k) float64, the same as the prior draws them.
    statement : what each parameter is worth, and the direction that is known worst.
    """

    names: tuple[str, ...]
    samples: _Reals
    quantities: _Reals
    statement: Identifiability

    @property
    def mean(self) -> _Reals:
        """(n,) float64, meV."""
        return np.asarray(self.samples.mean(axis=0))

    @property
    def error(self) -> _Reals:
        """(n,) float64, meV. Standard deviations."""
        return np.asarray(self.samples.std(axis=0))


def infer_exchange(
    inference: ExchangeInference,
    counts: npt.NDArray[np.floating[Any]],
    seen: npt.NDArray[np.bool_],
    *,
    n_samples: int = 4000,
    seed: int = 0,
) -> ExchangeAnswer:
    """The posterior of the model's parameters for one measurement that the model is taken to have made.

    Parameters
    ----------
    counts : (n_bins, p, p), either way along Qh and Qk. seen : bool of that shape.
    n_samples : of the posterior. seed : of these.

    Raises
    ------
    ValueError
        For another shape, or if less than nine tenths of the cells were measured: parts of a measurement were not learned.
    """
    shape = (len(inference.cells), 2 * inference.network.config.pixels, 2 * inference.network.config.pixels)
    if np.shape(counts) != shape or np.shape(seen) != shape:
        raise ValueError(f"counts and seen must have shape {shape}, got {np.shape(counts)} and {np.shape(seen)}")
    share = float(np.asarray(seen).any(axis=(1, 2)).mean())
    if share < _WHOLE:
        raise ValueError(
            f"the network knows whole measurements: at least {_WHOLE:.0%} of the cells must be measured, got {share:.0%}"
        )
    view = quarter_view(np.where(seen, counts, 0.0), seen, inference.sigma)
    (context,) = inference.features(view[None])
    quantities = inference.posterior.sample(context, n_samples, seed=seed)
    samples = inference.to_parameters(quantities)
    statement = identifiability_of(
        np.atleast_2d(np.cov(samples.T)),
        prior=inference.prior_covariance,
        names=inference.parameters,
        values=samples.mean(axis=0),
    )
    return ExchangeAnswer(inference.parameters, samples, quantities, statement)


def regressor_features(network: CellRegressor, views: _Singles) -> _Singles:
    """(m, hidden + 2 p) float32. The network's features and its answers, of quarter views (m, 2 n_bins, p, p)."""
    found = []
    with evaluation_mode(network), torch.no_grad():
        for begin in range(0, len(views), _BATCH):
            batch = torch.from_numpy(np.ascontiguousarray(views[begin : begin + _BATCH], dtype=np.float32))
            inner = network.features(batch)
            found.append(torch.cat([inner, network.head(inner)], dim=1).numpy())
    return np.concatenate(found)


def quantities_prior(unknowns: Unknowns) -> ParameterPrior:
    """The prior of a class' quantities; ValueError if one is not uniform."""
    spans = {name: unknowns.ranges[name] for name in unknowns.names[: unknowns.n_quantities]}
    curved = [name for name, span in spans.items() if span.scale == "log"]
    if curved or not spans:
        raise ValueError(
            f"quantities must be one at least, all with a uniform prior, got {list(spans)}, not so {curved}"
        )
    low, high = (np.array([getattr(span, end) for span in spans.values()]) for end in ("low", "high"))
    return ParameterPrior(tuple(spans), low, high)


def to_quantities(unknowns: Unknowns, parameters: npt.ArrayLike) -> _Reals:
    """(m, k) float64: the quantities that gave model parameters (m, n); the inverse of `Unknowns.model_values`."""
    given = np.asarray(parameters, dtype=np.float64) - unknowns.offset
    found, _, rank, _ = np.linalg.lstsq(unknowns.linear, given.T, rcond=None)
    if rank < unknowns.n_quantities:
        raise ValueError(f"the quantities of {unknowns.name} cannot be told from its parameters")
    return np.asarray(found.T)


def cell_table(configuration: Configuration) -> tuple[tuple[float, float, float], ...]:
    """(incident energy, lower and upper edge) of each cell of a configuration's frame, meV."""
    frame = configuration.frame.image_frame()
    return tuple(frame.bin_at(number) for number in range(frame.shape[0]))


def save_exchange(path: Path | str, inference: ExchangeInference) -> None:
    """Writes all of it to one file of tensors, numbers and text: complete, or as it was before."""
    posterior, prior = inference.posterior, inference.prior
    content = {
        "format": _FORMAT,
        "name": inference.name,
        "parameters": list(inference.parameters),
        "offset": inference.offset.tolist(),
        "linear": inference.linear.tolist(),
        "cells": [list(cell) for cell in inference.cells],
        "sigma": inference.sigma.tolist(),
        "network": packed(inference.network, None, (), None),
        "prior": {"names": list(prior.names), "low": prior.low.tolist(), "high": prior.high.tolist()},
        "posterior": {
            "features": posterior.features,
            "components": posterior.components,
            "hidden": posterior.hidden,
            "state": {name: value.detach().cpu().clone() for name, value in posterior.state_dict().items()},
        },
        "tests": plain(inference.tests, name="tests"),
        "description": plain(inference.description, name="description"),
        "versions": versions(),
    }
    write_torch_file(path, content)


def load_exchange(path: Path | str) -> ExchangeInference:
    """What `save_exchange` wrote.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, it is damaged, or something else.
    """
    content = read_torch_file(path, formats=(_FORMAT,), kind="a file of insdl train exchange")
    try:
        network = unpacked(content["network"], path).network
        if not isinstance(network, CellRegressor):
            raise TypeError(f"the network is a {type(network).__name__}")
        low, high = (np.array(content["prior"][end]) for end in ("low", "high"))
        prior, shape = ParameterPrior(tuple(content["prior"]["names"]), low, high), content["posterior"]
        posterior = MixturePosterior(
            shape["features"], prior=prior, components=shape["components"], hidden=shape["hidden"]
        )
        posterior.load_state_dict(shape["state"])
        return ExchangeInference(
            content["name"],
            tuple(content["parameters"]),
            np.array(content["offset"], dtype=np.float64),
            np.array(content["linear"], dtype=np.float64),
            tuple((float(a), float(b), float(c)) for a, b, c in content["cells"]),
            np.array(content["sigma"], dtype=np.float64),
            network,
            posterior.eval(),
            content["tests"],
            content["description"],
        )
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{path} is not a file of insdl train exchange: {error}") from error
