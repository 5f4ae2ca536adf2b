"""The denoising networks: what they may see, what they start from, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from insdl.learn.denoising_networks import CANDIDATES, Denoiser, DenoiserConfig, candidates, denoiser_input, despiked
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


def test_candidates_are_means_of_what_was_measured() -> None:
    """Pixel, 3 x 3, 3 x 3 twice, mirror images, 3 x 3 of these: against loops over pixels, zeros beyond the edge."""
    rng = np.random.default_rng(0)
    values, mask = rng.normal(size=(8, 8)), (rng.random((8, 8)) < 0.4).astype(float)
    mask[4:7, 4:7] = 0.0

    def pooled(image: Any) -> Any:
        padded = np.pad(image, 1)
        return np.array([[padded[i : i + 3, j : j + 3].sum() / 9 for j in range(8)] for i in range(8)])

    def mirrored(image: Any) -> Any:
        return np.array([[image[7 - i, j] + image[i, 7 - j] + image[7 - i, 7 - j] for j in range(8)] for i in range(8)])

    found, valid = candidates(*(torch.from_numpy(a)[None, None] for a in (values, mask)))
    assert found.shape == valid.shape == (1, 1, CANDIDATES, 8, 8)
    ways: list[Callable[[Any], Any]] = [
        lambda image: image,
        pooled,
        lambda image: pooled(pooled(image)),
        mirrored,
        lambda image: pooled(mirrored(image)),
    ]
    for number, way in enumerate(ways):
        total, weight = way(values * mask), way(mask)
        expected = np.where(weight > 0, total / np.where(weight > 0, weight, 1), 0)
        np.testing.assert_allclose(found[0, 0, number].numpy(), expected, atol=1e-12)
        np.testing.assert_array_equal(valid[0, 0, number].numpy(), weight > 0)


def test_spikes_are_cut_and_ridges_are_not() -> None:
    """A lone hot pixel keeps its largest neighbour's value and two more; against loops for random values."""
    rng = np.random.default_rng(0)
    values, mask = 5.0 * rng.normal(size=(8, 8)), rng.random((8, 8)) < 0.7
    mask[:3, 4] = False

    def limited(i: int, j: int) -> float:
        near = [(i + a, j + b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)]
        near = [(a, b) for a, b in near if 0 <= a < 8 and 0 <= b < 8] + [(7 - i, j), (i, 7 - j), (7 - i, 7 - j)]
        known = [values[place] for place in near if mask[place]]
        return float(min(values[i, j], max(known) + 2.0)) if known else float(values[i, j])

    found = despiked(*(torch.from_numpy(np.asarray(a, dtype=float))[None, None] for a in (values, mask)))[0, 0].numpy()
    expected = np.array([[limited(i, j) for j in range(8)] for i in range(8)])
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert (found < values).any()
    ridge = torch.zeros(1, 1, 8, 8)
    ridge[..., 3] = 20.0
    assert torch.equal(despiked(ridge, torch.ones_like(ridge)), ridge)


@pytest.mark.parametrize("kind", KINDS)
def test_an_untrained_network_gives_the_mean_of_the_candidates(kind: str) -> None:
    """Of those that were measured; one that was not has no weight."""
    network, batch = small(kind).eval(), inputs()
    with torch.no_grad():
        estimate = network(batch)
    assert estimate.mean.shape == estimate.log_variance.shape == (2, 3, 8, 8)
    proposed, valid = candidates(despiked(batch[:, :3], batch[:, 3:6]), batch[:, 3:6])
    assert not valid.all()
    torch.testing.assert_close(estimate.mean, (proposed * valid).sum(dim=2) / valid.sum(dim=2).clamp_min(1))
    assert (estimate.divergence > 0).all() if kind == "variational" else not estimate.divergence.any()


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
    ],
)
def test_networks_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DenoiserConfig(**options)


def test_images_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"inputs must have shape \(n, 9, 8, 8\), got \(1, 9, 8, 12\)"):
        small("autoencoder")(torch.zeros(1, 9, 8, 12))
