"""The denoising networks: what they may see, what they start from, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from insdl.learn.denoising_networks import Denoiser, DenoiserConfig, denoiser_input, neighbourhood_mean
from insdl.learn.networks import evaluation_mode

KINDS = ("autoencoder", "variational")


def small(kind: str, **options: Any) -> Denoiser:
    return Denoiser(DenoiserConfig(kind=kind, cells=3, pixels=8, width=8, latent=4, **options))  # type: ignore[arg-type]


def inputs(n: int = 2, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    images = [
        denoiser_input(rng.poisson(3.0, (3, 8, 8)).astype(np.float32), rng.random((3, 8, 8)) < 0.8, np.ones(3))
        for _ in range(n)
    ]
    return torch.from_numpy(np.stack(images))


def test_neighbourhood_mean_is_the_weighted_mean_of_measured_pixels() -> None:
    """Two 3 x 3 means one after the other, zeros beyond the edge: against loops over pixels."""
    rng = np.random.default_rng(0)
    values, mask = rng.normal(size=(8, 8)), (rng.random((8, 8)) < 0.5).astype(float)

    def pooled(image: Any) -> Any:
        padded = np.pad(image, 1)
        return np.array([[padded[i : i + 3, j : j + 3].sum() / 9 for j in range(8)] for i in range(8)])

    total, weight = pooled(pooled(values * mask)), pooled(pooled(mask))
    expected = np.where(weight > 0, total / np.where(weight > 0, weight, 1), 0)
    found = neighbourhood_mean(*(torch.from_numpy(a)[None, None] for a in (values, mask)))
    np.testing.assert_allclose(found[0, 0].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_an_untrained_network_gives_the_neighbourhood_mean(kind: str) -> None:
    network, batch = small(kind).eval(), inputs()
    with torch.no_grad():
        estimate = network(batch)
    assert estimate.mean.shape == estimate.log_variance.shape == (2, 3, 8, 8)
    torch.testing.assert_close(estimate.mean, neighbourhood_mean(batch[:, :3], batch[:, 3:6]))
    assert (estimate.divergence > 0).all() if kind == "variational" else not estimate.divergence.any()


def test_with_components_an_untrained_network_gives_half_of_their_image() -> None:
    network, batch = small("autoencoder", components=2).eval(), inputs()
    rng = np.random.default_rng(5)
    network.fitted.learn(rng.normal(size=(6, 3, 8, 8)).astype(np.float32))
    values, mask = batch[:, :3], batch[:, 3:6]
    with torch.no_grad():
        fitted = network.fitted(values, mask)
        found = network(batch).mean
    torch.testing.assert_close(found, 0.5 * (fitted + neighbourhood_mean(values, mask)))
    copy = small("autoencoder", components=2, seed=9).eval()
    copy.load_state_dict(network.state_dict())
    torch.testing.assert_close(copy(batch).mean, found)


def test_what_was_not_measured_is_not_seen() -> None:
    counts, measured = np.ones((3, 8, 8), np.float32), np.ones((3, 8, 8), bool)
    measured[1, 2:4, 5] = False
    other = counts.copy()
    other[~measured] = np.nan
    first, second = (denoiser_input(image, measured, np.array([1.0, 2.0, 3.0])) for image in (counts, other))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (9, 8, 8)
    np.testing.assert_allclose(first[6:, 0, 0], np.log([1.0, 2.0, 3.0]), rtol=1e-6)
    assert not first[:3][~measured].any()


def test_seeds_and_sampling() -> None:
    states = [small("variational", seed=seed).state_dict() for seed in (1, 1, 2)]
    assert torch.equal(states[0]["stem.0.weight"], states[1]["stem.0.weight"])
    assert not torch.equal(states[0]["stem.0.weight"], states[2]["stem.0.weight"])
    network, batch = small("variational"), inputs()
    torch.nn.init.normal_(network.head.weight)
    with evaluation_mode(network), torch.no_grad():
        means = [network(batch, sample=sample).mean for sample in (None, "mean", "drawn", "drawn")]
    assert torch.equal(means[0], means[1])
    assert not torch.equal(means[2], means[3])


def test_the_divergence_of_a_standard_normal_latent_is_zero() -> None:
    """And that of mean 1, variance 1 is a half for every number (Kingma, Welling, appendix B)."""
    network, batch = small("variational").eval(), inputs()
    for tensor in (network.latent.weight, network.latent.bias):
        torch.nn.init.zeros_(tensor)
    with torch.no_grad():
        # The softly bounded log-variance of a raw 0 is not 0; the raw value that gives 0 is found here.
        raw = -3.0 + 6.0 * np.arctanh(3.0 / 6.0)
        network.latent.bias[4:] = raw
        assert network(batch).divergence.abs().max() < 1e-4
        network.latent.bias[:4] = 1.0
        torch.testing.assert_close(network(batch).divergence, torch.full((2,), 0.5 * 4 * 2 * 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "diffusion"}, "kind must be 'autoencoder' or 'variational', got 'diffusion'"),
        ({"pixels": 10}, "pixels must be a multiple of 4, 8 at least, got 10"),
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"components": -1}, "components must not be negative, got -1"),
    ],
)
def test_networks_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DenoiserConfig(**options)


def test_images_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"inputs must have shape \(n, 9, 8, 8\), got \(1, 9, 8, 12\)"):
        small("autoencoder")(torch.zeros(1, 9, 8, 12))
