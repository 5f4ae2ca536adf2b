"""The registry of networks, as a module that adds one uses it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from insdl.learn import registry
from insdl.learn.networks import CellClassifier, CellClassifierConfig, MapRegressor
from insdl.learn.registry import configuration, kind_of, rebuilt, register_network
from insdl.learn.train import load_checkpoint, predict, save_checkpoint


@dataclass(frozen=True)
class LineConfig:
    outputs: tuple[str, ...]
    length: int

    @property
    def image_shape(self) -> tuple[int]:
        return (self.length,)


class Line(nn.Module):
    """Images need not have three axes."""

    def __init__(self, *, outputs: tuple[str, ...], length: int) -> None:
        super().__init__()
        self.config = LineConfig(tuple(outputs), length)
        self.layer = nn.Linear(length, len(outputs))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images)


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_KINDS", dict(registry._KINDS))


def test_a_registered_network_predicts_and_comes_back_from_a_file(tmp_path: Path) -> None:
    network, images = Line(outputs=("a", "b", "c"), length=5), np.ones((2, 5), np.float32)
    with pytest.raises(TypeError, match="nothing says what a Line predicts"):
        predict(network, images)
    register_network(Line, LineConfig, objective="cross-entropy")
    np.testing.assert_allclose(predict(network, images).sum(axis=1), 1)
    save_checkpoint(tmp_path / "line.pt", network)
    loaded, _ = load_checkpoint(tmp_path / "line.pt")
    assert loaded.config == network.config
    np.testing.assert_array_equal(predict(loaded, images), predict(network, images))
    with pytest.raises(ValueError, match=r"shape \(n, 5\), got \(2, 4\)"):
        predict(network, images[:, :4])


def test_every_kind_knows_its_objective() -> None:
    assert kind_of(CellClassifier()).objective.name == "cross-entropy"
    assert kind_of(MapRegressor(1)).objective.name == "gaussian"
    assert kind_of(nn.Linear(1, 1)) is None


def test_networks_of_insdl_are_found_without_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a checkpoint names them; another package's module is not imported for a file's sake."""
    options = {"head": "global", "outputs": ["a", "b"], "rows": 12, "columns": 40, "seed": 0}
    registry._KINDS.pop("PublishedClassifier", None)
    monkeypatch.delitem(sys.modules, "insdl.learn.published_networks", raising=False)
    network = rebuilt("PublishedClassifier", "insdl.learn.published_networks", options)
    assert configuration(network).image_shape == (1, 12, 40)
    monkeypatch.delitem(sys.modules, "this", raising=False)
    with pytest.raises(ValueError, match="unknown network 'Zen'; if it is your own, import this first"):
        rebuilt("Zen", "this", {})
    assert "this" not in sys.modules


def test_wrong_registrations_are_refused() -> None:
    Other = type("CellClassifier", (nn.Module,), {})
    with pytest.raises(ValueError, match="another network named 'CellClassifier'"):
        register_network(Other, CellClassifierConfig, objective="cross-entropy")
    with pytest.raises(ValueError, match="objective must be one of"):
        register_network(Line, LineConfig, objective="mean")
    with pytest.raises(TypeError, match="config must be a dataclass"):
        register_network(Line, int, objective="gaussian")
    with pytest.raises(TypeError, match="a network needs a dataclass `config`"):
        configuration(nn.Linear(1, 1))
