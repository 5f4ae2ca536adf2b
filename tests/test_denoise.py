"""Training and application of denoisers: they learn, keep what was not measured, and say how sure they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from denoising_set import denoising_set
from insdl.learn.denoise import (
    DenoiserTraining,
    denoise,
    load_denoiser,
    save_denoiser,
    train_denoiser,
)
from insdl.learn.denoising_networks import Denoiser, DenoiserConfig, denoiser_input
from insdl.learn.denoising_samples import Pair
from insdl.learn.networks import CellClassifier
from insdl.learn.stabilisation import counts_of
from insdl.learn.train import save_checkpoint

KINDS = ("autoencoder", "variational")
SIGMA = np.array([0.5, 1.0, 2.0], np.float32)


def small(kind: str = "autoencoder", **options: Any) -> Denoiser:
    return Denoiser(DenoiserConfig(kind=kind, cells=3, pixels=8, width=8, latent=4, **options))  # type: ignore[arg-type]


def pair(index: int) -> Pair:
    """A bright stripe in every cell, at a place of its own."""
    rng = np.random.default_rng((7, index))
    expected = np.full((3, 8, 8), 0.2, np.float32)
    expected[:, int(rng.integers(8))] += 12.0
    measured = rng.random((3, 8, 8)) < 0.9
    spread = np.sqrt(SIGMA[:, None, None] ** 2 + expected)
    counts = np.maximum(expected + spread * rng.standard_normal((3, 8, 8)), 0.0).astype(np.float32)
    return Pair(np.where(measured, counts, 0.0).astype(np.float32), expected, measured, SIGMA, -1)


def trained(network: Denoiser, **options: Any) -> Any:
    settings = DenoiserTraining(**{"pairs": 1600, "threads": 1, **options})
    return train_denoiser(network, pair=pair, validation=[pair(10**6 + i) for i in range(20)], settings=settings)


@pytest.mark.parametrize("kind", KINDS)
def test_training_learns_a_few_pairs_and_knows_how_well(kind: str) -> None:
    """Eight pairs seen again and again: a third of the noise's mean squared error, most errors within the uncertainty."""
    network = small(kind)
    few = [pair(index) for index in range(8)]
    settings = DenoiserTraining(pairs=960, batch_size=8, learning_rate=0.02, threads=1)
    history = train_denoiser(network, pair=lambda index: few[index % 8], validation=few, settings=settings)
    assert len(history.validation) == len(history.training) == 8
    assert min(history.validation) < 0.5 * history.validation[0]
    assert not network.training
    noisy, clean, inside = [], [], []
    for one in few:
        found = denoise(network, one.counts, one.measured, sigma=one.sigma)
        error = (found.image - one.expected)[one.measured]
        noisy.append(np.mean((one.counts - one.expected)[one.measured] ** 2))
        clean.append(np.mean(error**2))
        inside.append(np.mean(np.abs(error) < found.uncertainty[one.measured]))
    assert np.mean(clean) < 0.33 * np.mean(noisy)
    assert 0.5 < np.mean(inside) < 0.995


def test_zeros_are_seen_as_in_training() -> None:
    """Pairs are in single precision and `denoise` works in double: zeros are clipped counts in both."""
    network, one, noise = small(components=2).eval(), pair(4), SIGMA * np.float32(1.1)
    network.fitted.learn(pair(index).expected for index in range(6))
    assert (one.counts[one.measured] == 0).mean() > 0.05
    with torch.no_grad():
        mean = network(torch.from_numpy(denoiser_input(one.counts, one.measured, noise)[None])).mean[0].numpy()
    found = denoise(network, one.counts.astype(np.float64), one.measured, sigma=noise)
    np.testing.assert_allclose(found.filled, counts_of(mean, noise[:, None, None]), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_not_measured_stays_bit_for_bit(kind: str) -> None:
    one = pair(3)
    counts = np.where(one.measured, one.counts, np.nan)
    counts[0, 0, 0] = 7.25
    one.measured[0, 0, 0] = False
    found = denoise(small(kind), counts, one.measured, sigma=one.sigma)
    np.testing.assert_array_equal(found.image[~one.measured], counts[~one.measured])
    assert np.isfinite(found.image[one.measured]).all()
    assert np.isnan(found.uncertainty[~one.measured]).all()
    assert (found.uncertainty[one.measured] > 0).all()
    np.testing.assert_array_equal(found.filled[one.measured], found.image[one.measured])
    assert np.isfinite(found.filled).all()
    again = denoise(small(kind), np.nan_to_num(counts, nan=1e6), one.measured, sigma=one.sigma)
    np.testing.assert_array_equal(found.image[one.measured], again.image[one.measured])


def test_same_seed_same_weights_and_torch_as_before() -> None:
    states, before = [], torch.random.get_rng_state()
    for seed in (4, 4, 5):
        network = small("variational")
        trained(network, pairs=48, validations=2, seed=seed)
        states.append(network.state_dict())
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["head.weight"], states[2]["head.weight"])


def test_the_best_look_is_kept() -> None:
    """A learning rate that ruins the network late: the weights are those of the smallest validation loss."""
    network = small()
    history = trained(network, pairs=320, learning_rate=0.3)
    again = small()
    again.load_state_dict(network.state_dict())
    held_out = [pair(10**6 + i) for i in range(20)]
    from insdl.learn.denoise import _batch, _validated

    assert _validated(again, [_batch(held_out)]) == pytest.approx(min(history.validation), rel=1e-6)


def test_several_networks_make_a_mixture() -> None:
    """Mean of means in units of the noise; variance is the mean of variances and the variance of means."""
    networks = [small(seed=seed) for seed in (1, 2)]
    for number, network in enumerate(networks):
        torch.nn.init.constant_(network.head.bias[:3], -1.0 if number else 1.0)  # type: ignore[index]
    one = pair(5)
    together = denoise(networks, one.counts, one.measured, sigma=one.sigma)
    bare = denoise(small(), one.counts, one.measured, sigma=one.sigma)
    np.testing.assert_allclose(together.image[one.measured], bare.image[one.measured], rtol=1e-5, atol=1e-6)
    slope = np.sqrt(SIGMA[:, None, None] ** 2 + np.maximum(bare.image, 0.0))  # d counts / d t
    t_bare, t_all = (found.uncertainty / slope for found in (bare, together))
    np.testing.assert_allclose((t_all**2 - t_bare**2)[one.measured], 1.0, rtol=1e-5)


def test_an_image_of_pcsmo_goes_through() -> None:
    """The default frame and one step of training."""
    samples = denoising_set()
    network = Denoiser(DenoiserConfig(width=4))
    settings = DenoiserTraining(pairs=4, batch_size=4, validations=1, threads=1)
    train_denoiser(network, pair=samples.pair, validation=[samples.pair(100)], settings=settings)
    one = samples.pair(101)
    found = denoise(network, one.counts, one.measured, sigma=one.sigma)
    assert found.image.shape == (60, 40, 40)


def test_checkpoints(tmp_path: Path) -> None:
    network = small("variational", seed=3)
    torch.nn.init.normal_(network.head.weight)
    save_denoiser(tmp_path / "denoiser.pt", network)
    loaded = load_denoiser(tmp_path / "denoiser.pt")
    assert loaded.config == network.config
    one = pair(1)
    first, second = (denoise(n, one.counts, one.measured, sigma=one.sigma) for n in (network, loaded))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.uncertainty, second.uncertainty)
    with pytest.raises(FileNotFoundError, match="there is no checkpoint file"):
        load_denoiser(tmp_path / "missing.pt")
    (tmp_path / "text.pt").write_text("no network")
    with pytest.raises(ValueError, match=r"text\.pt is not a denoiser of insdl: not a file of torch\.save"):
        load_denoiser(tmp_path / "text.pt")
    save_checkpoint(tmp_path / "classifier.pt", CellClassifier(cells=3, pixels=8))
    with pytest.raises(ValueError, match="expected a dictionary of format 'insdl denoiser 2'"):
        load_denoiser(tmp_path / "classifier.pt")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"counts": np.zeros((3, 8, 9))}, r"must have shape \(3, 8, 8\), got \(3, 8, 9\) and bool \(3, 8, 8\)"),
        ({"measured": np.ones((3, 8, 8))}, r"got \(3, 8, 8\) and float64 \(3, 8, 8\)"),
        ({"counts": np.full((3, 8, 8), np.inf)}, r"counts must be finite where measured, got inf at pixel \(0, 0, 0\)"),
        ({"sigma": [1.0, 2.0]}, r"sigma must be one number or \(3,\)"),
        ({"network": []}, "network must be a denoiser or some of them, got none"),
    ],
)
def test_bad_input_is_one_sentence(changes: dict[str, Any], message: str) -> None:
    given = {"network": small(), "counts": np.zeros((3, 8, 8)), "measured": np.ones((3, 8, 8), bool), "sigma": 1.0}
    given |= changes
    network, sigma = given.pop("network"), given.pop("sigma")
    with pytest.raises(ValueError, match=message):
        denoise(network, given["counts"], given["measured"], sigma=sigma)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"pairs": 0}, "pairs must be at least 1, got 0"), ({"learning_rate": -1.0}, "learning_rate must be positive")],
)
def test_training_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DenoiserTraining(**options)


def test_training_needs_something_to_choose_by() -> None:
    with pytest.raises(ValueError, match="validation must hold at least one pair, got none"):
        train_denoiser(small(), pair=pair, validation=[])


def test_a_training_that_diverges_says_so() -> None:
    def broken(index: int) -> Pair:
        one = pair(index)
        return one._replace(expected=np.full_like(one.expected, np.nan))

    with pytest.raises(RuntimeError, match="training diverged at step 1"):
        train_denoiser(
            small(), pair=broken, validation=[pair(0)], settings=DenoiserTraining(pairs=16, validations=1, threads=1)
        )
