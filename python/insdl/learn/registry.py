"""Which networks there are: what each is trained for, and how a checkpoint builds it again."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Protocol, cast

from torch import nn

from insdl.learn.networks import (
    CellClassifier,
    CellClassifierConfig,
    CellSetClassifier,
    CellSetClassifierConfig,
    MapRegressor,
    MapRegressorConfig,
)
from insdl.learn.objective import OBJECTIVES, Objective, ObjectiveName


class NetworkConfig(Protocol):
    """What every network carries as its attribute `config`: a frozen dataclass of plain values, with at least these."""

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of one image."""
        ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the classes or parameters."""
        ...


@dataclass(frozen=True)
class NetworkKind:
    """A class of networks.

    Parameters
    ----------
    network, config : the class, and the class of its `config`.
    objective : what it is trained for where nothing else is said, and what its output means.
    build : fields of a config -> network.
    """

    network: type[nn.Module]
    config: type[Any]
    objective: Objective
    build: Callable[[dict[str, Any]], nn.Module]


_KINDS: dict[str, NetworkKind] = {}


def register_network(
    network: type[nn.Module],
    config: type[Any],
    *,
    objective: Objective | ObjectiveName,
    build: Callable[[dict[str, Any]], nn.Module] | None = None,
) -> None:
    """Makes a class of networks known to training, prediction and checkpoints, under the name of the class.

        Call it in the module that defines the class, at import.

        Parameters
        ----------
        network, config : the class, and the frozen dataclass of its attribute `config`.
        objective : its own, or the name of one in `OBJECTIVES`.
        build : fields of a config, as JSON keeps them (lists for tuples) -> network; None passes them to the class.

        Examples
        --------
        >>> register_network(CellSetClassifier, CellSetClassifierConfig, objective="cross-entropy", build=_cell_set_classifier)
    register_network(MapRegressor, MapRegressorConfig, objective="gaussian", build=_map_regressor)
    """
    known = _KINDS.get(network.__name__)
    if known is not None and (known.network.__module__, known.network.__qualname__) != (
        network.__module__,
        network.__qualname__,
    ):
        raise ValueError(f"there is another network named {network.__name__!r}, in {known.network.__module__}")
    if not is_dataclass(config):
        raise TypeError(f"config must be a dataclass, got {config!r}")
    if isinstance(objective, str):
        if objective not in OBJECTIVES:
            raise ValueError(f"objective must be one of {list(OBJECTIVES)}, got {objective!r}")
        objective = OBJECTIVES[objective]

    def from_fields(options: dict[str, Any]) -> nn.Module:
        return network(**options)

    _KINDS[network.__name__] = NetworkKind(network, config, objective, from_fields if build is None else build)


def kind_of(network: nn.Module) -> NetworkKind | None:
    """What is registered for the class of a network, or None."""
    kind = _KINDS.get(type(network).__name__)
    return kind if kind is not None and isinstance(network, kind.network) else None


def configuration(network: nn.Module) -> NetworkConfig:
    """The `config` of a network; TypeError if it has none that will do."""
    config = getattr(network, "config", None)
    if not is_dataclass(config) or not all(hasattr(config, name) for name in ("image_shape", "outputs")):
        raise TypeError(
            f"a network needs a dataclass `config` with image_shape and outputs, {type(network).__name__} has {config!r}"
        )
    return cast(NetworkConfig, config)


def rebuilt(name: str, module: str, config: Mapping[str, Any]) -> nn.Module:
    """The network that a checkpoint names, with initial weights.

    A module of insdl that registers it is imported; another has to be imported by the caller, so that no file can
    choose what code is run.

    Raises
    ------
    ValueError
        If the name is not registered, or the values are not those of its config.
    """
    if name not in _KINDS and module.startswith("insdl."):
        importlib.import_module(module)
    kind = _KINDS.get(name)
    if kind is None:
        raise ValueError(f"unknown network {name!r}; if it is your own, import {module or 'its module'} first")
    expected = {field.name for field in fields(kind.config)}
    if set(config) != expected:
        raise ValueError(f"the configuration of a {name} has {sorted(expected)}, got {sorted(config)}")
    return kind.build(dict(config))


def _cell_classifier(options: dict[str, Any]) -> nn.Module:
    return CellClassifier(classes=options.pop("outputs"), **options)


def _cell_set_classifier(options: dict[str, Any]) -> nn.Module:
    return CellSetClassifier(classes=options.pop("outputs"), **options)


def _map_regressor(options: dict[str, Any]) -> nn.Module:
    return MapRegressor(parameters=options.pop("outputs"), **options)


register_network(CellClassifier, CellClassifierConfig, objective="cross-entropy", build=_cell_classifier)
register_network(CellSetClassifier, CellSetClassifierConfig, objective="cross-entropy", build=_cell_set_classifier)
register_network(MapRegressor, MapRegressorConfig, objective="gaussian", build=_map_regressor)
