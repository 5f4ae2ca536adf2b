"""Ensembles: trained, kept in one file, and asked together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny_training
from insdl.learn.ensemble import (
    Ensemble,
    ensemble_of,
    load_ensemble,
    predict_ensemble,
    save_ensemble,
    train_ensemble,
)  # fmt: skip
from insdl.learn.networks import CellClassifier, MapRegressor
from insdl.learn.train import predict, train

IMAGES = tiny_training.held_out()[0][:6]


def build(seed: int) -> CellClassifier:
    return CellClassifier(cells=3, classes=("a", "b"), pixels=8, widths=(8, 8, 8), seed=seed)


def trained(folder: Path, **options: Any) -> tuple[Ensemble, Any]:
    options = {"seeds": (3, 5), "feed": lambda seed: tiny_training.sample, "description": {"job": "test"}} | options
    return train_ensemble(
        options.pop("build", build),
        validation=tiny_training.held_out(),
        folder=folder,
        settings=tiny_training.settings(epochs=2),
        progress="silent",
        **options,
    )


def test_members_are_what_trainings_of_their_seeds_give(tmp_path: Path) -> None:
    ensemble, results = trained(tmp_path / "members")
    for member, result, seed in zip(ensemble.members, results, (3, 5), strict=True):
        network = build(seed)
        alone = train(
            network,
            sample=tiny_training.sample,
            validation=tiny_training.held_out(),
            settings=tiny_training.settings(epochs=2, seed=seed),
            progress="silent",
        )
        assert member.history == result.history == alone.history
        assert member.description == {"job": "test", "seed": seed}
        for name, value in network.state_dict().items():
            assert torch.equal(value, member.network.state_dict()[name]), name
    assert sorted(path.name for path in (tmp_path / "members").iterdir()) == ["member-3.pt", "member-5.pt"]


def test_a_killed_ensemble_goes_on(tmp_path: Path) -> None:
    """Stopped in the second member: the first is not trained again, the second goes on from its state."""
    expected, _ = trained(tmp_path / "whole")
    steps = 0

    def stop(_: torch.nn.Module, batch: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == 40:  # 24 steps a member
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "killed", after_step=stop, state_every=5)
    fed = []

    def feed(seed: int) -> Any:
        fed.append(seed)
        return tiny_training.sample

    ensemble, results = trained(tmp_path / "killed", feed=feed, state_every=5)
    assert fed == [5]
    assert results[0] is None
    for member, other in zip(ensemble.members, expected.members, strict=True):
        assert member.history == other.history
        for name, value in other.network.state_dict().items():
            assert torch.equal(value, member.network.state_dict()[name]), name


def test_members_of_another_ensemble_are_refused(tmp_path: Path) -> None:
    trained(tmp_path, seeds=(3,))
    with pytest.raises(ValueError, match="is of another ensemble"):
        trained(tmp_path, seeds=(3,), description={"job": "other"})


def test_one_file_holds_all(tmp_path: Path) -> None:
    ensemble, _ = trained(tmp_path / "members", feed=lambda seed: tiny_training.stream())
    save_ensemble(tmp_path / "ensemble.pt", ensemble)
    loaded = load_ensemble(tmp_path / "ensemble.pt")
    assert loaded.description == {"job": "test"}
    assert [member.history for member in loaded.members] == [member.history for member in ensemble.members]
    assert loaded.members[0].data["stream"]["data"]["source"] == "small"
    np.testing.assert_array_equal(predict_ensemble(loaded, IMAGES).members, predict_ensemble(ensemble, IMAGES).members)


def test_the_mean_is_that_of_the_members() -> None:
    networks = [build(seed) for seed in range(3)]
    said = predict_ensemble(ensemble_of(networks), IMAGES)
    assert said.members.shape == (3, 6, 2)
    np.testing.assert_allclose(said.mean, sum(predict(network, IMAGES) for network in networks) / 3, rtol=1e-12)
    assert said.sigma is None


def test_error_bars_are_those_of_the_mixture() -> None:
    """Against the moments of samples that are drawn from the members' normal distributions."""
    networks = [MapRegressor(1, pixels=16, widths=(8, 8, 8, 8), hidden=8, seed=seed) for seed in range(3)]
    image = np.random.default_rng(0).normal(size=(1, 1, 16, 16)).astype(np.float32)
    said = predict_ensemble(ensemble_of(networks), image)
    rng, draws = np.random.default_rng(1), []
    for network in networks:
        mean, sigma = predict(network, image)
        draws.append(rng.normal(mean[0], sigma[0], size=(200_000, 2)))
    mixture = np.concatenate(draws)
    np.testing.assert_allclose(said.mean[0], mixture.mean(axis=0), atol=0.01)  # 4 standard errors
    np.testing.assert_allclose(said.sigma[0], mixture.std(axis=0), rtol=0.01)
    np.testing.assert_array_equal(said.member_sigma[2], predict(networks[2], image)[1])


def test_what_is_no_ensemble_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one member at least"):
        ensemble_of([])
    other = CellClassifier(cells=3, classes=("b", "a"), pixels=8, widths=(8, 8, 8))
    with pytest.raises(ValueError, match="same class, outputs and images; member 1"):
        ensemble_of([build(0), other])
    with pytest.raises(ValueError, match="seeds must be different"):
        trained(tmp_path, seeds=(1, 1))
    (tmp_path / "file").write_text("something else")
    with pytest.raises(ValueError, match="not an ensemble of insdl"):
        load_ensemble(tmp_path / "file")
