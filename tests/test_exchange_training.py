"""From a configuration to exchange constants: on a frame of six small cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from insdl.learn import exchange_training
from insdl.learn.exchange import ExchangeInference, load_exchange
from insdl.learn.exchange_training import ExchangeSettings, checked_exchange, summary, train_exchange
from insdl.learn.posterior import PosteriorSettings
from insdl.learn.settings import TrainingSettings
from small_hypothesis import small

SMALL = ExchangeSettings(
    images=320,
    validation=32,
    pairs=400,
    repeats=2,
    tests=100,
    training=TrainingSettings(epochs=6, batch_size=16, learning_rate=5e-3, threads=1),
    posterior=PosteriorSettings(epochs=15),
    widths=(8, 8),
    hidden=16,
    components=1,
    threads=1,
)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExchangeInference, Path]:
    file = tmp_path_factory.mktemp("exchange") / "small.pt"
    return train_exchange(small(), file, SMALL, progress="silent"), file


def test_all_of_it_is_in_the_file_and_nothing_beside_it(learned: tuple[ExchangeInference, Path]) -> None:
    inference, file = learned
    assert [one.name for one in file.parent.iterdir()] == ["small.pt"]
    loaded = load_exchange(file)
    assert loaded.parameters == ("JF1", "JA", "JF2", "JF3", "Jperp", "D")
    assert loaded.prior.names == inference.prior.names
    assert set(loaded.network.config.outputs) > set(loaded.prior.names)
    assert "shift_h" not in loaded.network.config.outputs
    assert loaded.tests["simulations"] == 100
    for key in ("rmse", "error", "prior_width", "pca_rmse", "within_1_sigma"):
        assert set(loaded.tests[key]) == set(loaded.parameters)
    assert set(loaded.tests["p_value"]) == {*loaded.parameters, "JF"}
    assert loaded.description["settings"]["images"] == 320
    lines = summary(loaded.tests)
    assert len(lines) == 6
    assert lines[0].startswith("JF1: error ")


def test_something_was_learned_even_here(learned: tuple[ExchangeInference, Path]) -> None:
    """The chain's mean exchange sets the band's width: the easiest of all."""
    tests = learned[0].tests
    assert tests["rmse"]["JF1"] < 0.9 * tests["prior_width"]["JF1"]
    assert all(tests["within_1_sigma"][name] > 0.3 for name in learned[0].parameters)


def test_a_posterior_that_is_too_narrow_is_found_out(
    learned: tuple[ExchangeInference, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The prior as the posterior is calibrated; a tenth as wide around its centre it is not."""
    inference, rng = learned[0], np.random.default_rng(1)
    prior = inference.prior
    truth = inference.to_parameters(rng.uniform(prior.low, prior.high, (200, len(prior.names))))
    views = np.zeros((200, *inference.network.config.image_shape), dtype=np.float32)
    width = [1.0]

    def sample(features: np.ndarray, n_samples: int, *, seed: int) -> np.ndarray:
        drawn = np.random.default_rng(seed).uniform(prior.low, prior.high, (n_samples, len(prior.names)))
        return np.asarray(prior.centre + width[0] * (drawn - prior.centre))

    monkeypatch.setattr(inference.posterior, "sample", sample)
    right = checked_exchange(inference, views, truth)
    assert min(right["p_value"].values()) > 1e-3
    assert right["rmse"]["JA"] == pytest.approx(right["prior_width"]["JA"], rel=0.15)
    assert right["error"]["JA"] == pytest.approx(right["prior_width"]["JA"], rel=0.1)
    width[0] = 0.1
    assert max(checked_exchange(inference, views, truth)["p_value"].values()) < 1e-6


def test_an_interrupted_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = replace(SMALL, images=32, pairs=40, repeats=1, training=replace(SMALL.training, epochs=2))
    whole = train_exchange(small(), tmp_path / "whole.pt", tiny, progress="silent")
    plain = exchange_training.fit_posterior

    def interrupted(*arguments: object, **options: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(exchange_training, "fit_posterior", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_exchange(small(), tmp_path / "cut.pt", tiny, progress="silent")
    assert not (tmp_path / "cut.pt").exists()
    monkeypatch.setattr(exchange_training, "fit_posterior", plain)
    again = train_exchange(small(), tmp_path / "cut.pt", tiny, progress="silent")
    assert again.description["history"] == whole.description["history"]
    for one, other in zip(again.posterior.state_dict().values(), whole.posterior.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tests must be at least 100, got 50"):
        replace(SMALL, tests=50)
    with pytest.raises(ValueError, match=r"the folder of .* does not exist"):
        train_exchange(small(), tmp_path / "no" / "one.pt", SMALL)
    with pytest.raises(ValueError, match="the class must be one of"):
        train_exchange(small(), tmp_path / "one.pt", SMALL, name="heisenberg")
