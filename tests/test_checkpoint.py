"""Checkpoints: all that was put in comes out, and nothing else is taken for one."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_training
from insdl.learn.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from insdl.learn.networks import CellClassifier
from insdl.learn.train import train


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a network that was trained on a stream."""
    network = tiny_training.network(CellClassifier)
    train(
        network,
        stream=tiny_training.stream(),
        validation=tiny_training.held_out(),
        settings=tiny_training.settings(epochs=1),
        checkpoint=tmp_path / "network.pt",
        description={"job": "test"},
        progress="silent",
    )
    return tmp_path / "network.pt"


def test_a_checkpoint_says_what_it_was_trained_on(path: Path) -> None:
    found = read_checkpoint(path)
    assert found.description == {"job": "test"}
    assert len(found.history) == 1
    assert not found.network.training
    assert found.versions["torch"] != "not installed"
    made_of = found.data["stream"]
    assert made_of["data"] == {"source": "small", "seed": 0, "n_samples": 120}
    assert (made_of["batch_size"], made_of["seed"], made_of["detect"]) == (8, 1, "tiny_training.noise")


def test_torch_reads_it_without_running_code(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    assert content["network"] == "CellClassifier"
    assert set(content["state"]) == set(tiny_training.network().state_dict())


def test_any_changed_byte_is_noticed_or_does_no_harm(path: Path) -> None:
    """Bits all over the file: either the file is refused in words, or what comes out is what was put in."""
    whole, expected = path.read_bytes(), read_checkpoint(path)
    accepted = 0
    for position in range(0, len(whole), len(whole) // 60):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        with contextlib.suppress(ValueError):
            found = read_checkpoint(path)
            accepted += 1
            assert found.description == expected.description
            for name, value in expected.network.state_dict().items():
                assert torch.equal(found.network.state_dict()[name], value)
    assert accepted < 30  # most of the file matters


def test_older_files_are_read(path: Path) -> None:
    """Without a digest, data, versions and module."""
    content = torch.load(path, weights_only=True)
    for name in ("digest", "data", "versions", "module"):
        del content[name]
    torch.save({**content, "format": "insdl network 1"}, path)
    found = read_checkpoint(path)
    assert found.data == {}
    assert found.description == {"job": "test"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "Unheard"}, "unknown network 'Unheard'"),
        ({"config": {"cells": 3}}, "the configuration of a CellClassifier has"),
        ({"state": {}}, "Missing key"),
        ({"format": "insdl network 9"}, "expected a dictionary of format"),
    ],
)
def test_foreign_files_are_refused(path: Path, change: dict[str, Any], message: str) -> None:
    content = torch.load(path, weights_only=True)
    del content["digest"]
    torch.save({**content, **change}, path)
    with pytest.raises(ValueError, match=f"(?s)is not a checkpoint of insdl: .*{message}"):
        load_checkpoint(path)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    torch.save({"format": "insdl network 2", "state": print}, path)
    with pytest.raises(ValueError, match="is not a checkpoint of insdl: torch cannot read it"):
        load_checkpoint(path)


def test_only_known_networks_are_saved(tmp_path: Path) -> None:
    class Unknown(CellClassifier):
        pass

    with pytest.raises(TypeError, match="a Unknown cannot be built again from a file"):
        save_checkpoint(tmp_path / "network.pt", Unknown(cells=3, pixels=8))
    assert not list(tmp_path.iterdir())
