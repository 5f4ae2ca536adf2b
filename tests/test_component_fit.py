"""The fit of principal components: against the normal equations of all pixels, and what it gives back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_ndtr
from scipy.stats import norm

from insdl.learn.component_fit import ComponentFit, completed, surprise

CELLS, PIXELS, RANK = 2, 8, 6
_Reals = npt.NDArray[np.float64]


def drawn(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """An image of five patterns that are their own mirror images, and one that is odd in Qk; and a little of two more."""
    patterns = np.random.default_rng(7).normal(size=(8, CELLS, PIXELS // 2, PIXELS // 2))
    amounts = rng.normal(size=8) * np.array([8.0, 5.0, 3.0, 2.0, 1.0, 2.0, 0.05, 0.05])
    even, odd = (np.tensordot(amounts[part], patterns[part], axes=1) for part in ([0, 1, 2, 3, 4, 6], [5, 7]))
    right, left = 1.0 + even + odd, (1.0 + even - odd)[:, :, ::-1]
    upper = np.concatenate([left, right], axis=2)
    return np.concatenate([upper[:, ::-1], upper], axis=1).astype(np.float32)


def learned(rounds: int = 0) -> ComponentFit:
    fit = ComponentFit(CELLS, PIXELS, RANK, rounds=rounds)
    fit.learn(drawn(np.random.default_rng(i)) for i in range(200))
    return fit


def tensors(*arrays: npt.ArrayLike) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(np.asarray(array, dtype=np.float32)) for array in arrays)


def extended(flat: torch.Tensor, parity: int = 0) -> _Reals:
    """A whole image of the quarter with positive Qh and Qk: odd in Qh for 1, in Qk for 2, in both for 3."""
    quarter = flat.double().numpy().reshape(CELLS, PIXELS // 2, PIXELS // 2)
    h, k = (-1.0 if parity in odd else 1.0 for odd in ((1, 3), (2, 3)))
    right = np.concatenate([h * quarter[:, ::-1], quarter], axis=1)
    return np.concatenate([k * right[:, :, ::-1], right], axis=2)


def test_fit_is_the_most_probable_image_of_the_components() -> None:
    """Normal equations over every measured pixel of whole images, in double precision, where nothing is told of zeros."""
    fit, rng = learned(), np.random.default_rng(1)
    images = np.stack([drawn(rng) for _ in range(3)])
    noisy, seen = images + rng.normal(size=images.shape), rng.random(images.shape) < 0.6
    seen[1, 0] = False
    found = fit(*tensors(np.where(seen, noisy, 99.0), seen)).double().numpy()
    basis = np.stack([extended(fit.basis[k], int(fit.parity[k])) for k in range(RANK)]).reshape(RANK, -1)
    mean, prior = extended(fit.mean).reshape(-1), fit.variance.double().numpy()
    for image, mask, one in zip(noisy, seen.reshape(3, -1), found, strict=True):
        part = basis[:, mask]
        weights = np.linalg.solve(part @ part.T + np.diag(1 / prior), part @ (image.reshape(-1) - mean)[mask])
        np.testing.assert_allclose(one.reshape(-1), mean + weights @ basis, atol=3e-4)


@pytest.mark.parametrize("parity", [0, 1, 2, 3])
def test_parts_of_every_parity_are_found(parity: int) -> None:
    rng = np.random.default_rng(5)
    pattern = extended(torch.from_numpy(rng.normal(size=CELLS * (PIXELS // 2) ** 2)), parity)
    fit = ComponentFit(CELLS, PIXELS, 1)
    fit.learn((a * pattern).astype(np.float32) for a in (-3.0, -1.0, 1.0, 3.0))
    assert int(fit.parity[0]) == parity
    image = 2.0 * pattern
    (found,) = fit(*tensors(image[None], np.ones_like(image)[None])).numpy()
    np.testing.assert_allclose(found, image, atol=0.02 * np.abs(image).max())


def test_components_are_the_directions_of_largest_variance() -> None:
    fit = learned()
    rows = np.stack([drawn(np.random.default_rng(i)).reshape(-1) for i in range(200)]).astype(np.float64)
    rows = np.concatenate([rows, [np.flip(r.reshape(CELLS, PIXELS, PIXELS), 2).reshape(-1) for r in rows]])
    values = np.linalg.eigvalsh(np.cov(rows.T, bias=True))[::-1][:RANK]
    np.testing.assert_allclose(np.sort(4.0 * fit.variance.numpy())[::-1], values, rtol=1e-3)  # a quarter has a quarter
    assert fit.parity.bincount(minlength=4).tolist() == [5, 0, 1, 0]


def test_hidden_pixels_are_found_from_the_others() -> None:
    """An image of the components, hardly noisy, of which half is not measured; another detector, and the first again."""
    fit, rng = learned(), np.random.default_rng(3)
    image = drawn(rng)
    for seed in (0, 1, 0):
        seen = np.random.default_rng(seed).random(image.shape) < 0.5
        (found,) = fit(*tensors(np.where(seen, image, 0.0)[None], seen[None])).numpy()
        assert np.abs(found - image).max() < 0.4  # the two patterns that it does not have, and the prior


def test_nothing_measured_gives_the_mean() -> None:
    fit = learned()
    (found,) = fit(*tensors(np.full((1, CELLS, PIXELS, PIXELS), 5.0), np.zeros((1, CELLS, PIXELS, PIXELS)))).numpy()
    np.testing.assert_allclose(found, extended(fit.mean), atol=1e-6)


def test_zeros_are_counts_that_were_clipped() -> None:
    """The maximum of the log-density by a general optimiser: zeros are probabilities to be below, hot pixels pull linearly."""
    fit, rng = learned(rounds=300), np.random.default_rng(4)
    image, seen = drawn(rng) - 2.0, rng.random((CELLS, PIXELS, PIXELS)) < 0.8
    counts = np.maximum(image + rng.normal(size=image.shape), 0.0)
    counts[1, 2, 3] += 40.0
    assert 0.2 < (counts[seen] == 0).mean() < 0.8
    (found,) = fit(*tensors(np.where(seen, counts, 0.0)[None], seen[None])).double().numpy()
    basis = np.stack([extended(fit.basis[k], int(fit.parity[k])) for k in range(RANK)]).reshape(RANK, -1)
    mean, prior, x = extended(fit.mean)[seen], fit.variance.double().numpy(), counts[seen]

    def loss(weights: _Reals) -> float:
        mu = mean + weights @ basis[:, seen.reshape(-1)]
        away = x - mu
        counted = np.where(away > 3.0, 4.5 - 3.0 * away, -0.5 * away**2)
        return float(0.5 * np.sum(weights**2 / prior) - np.where(x == 0, log_ndtr(-mu), counted).sum())

    best = minimize(loss, np.zeros(RANK), method="BFGS", options={"gtol": 1e-6})
    np.testing.assert_allclose(found.reshape(-1), extended(fit.mean).reshape(-1) + best.x @ basis, atol=2e-3)


def test_a_few_rounds_take_most_of_the_bias_away() -> None:
    rng, errors = np.random.default_rng(6), {}
    images = np.stack([drawn(rng) - 1.5 for _ in range(40)])
    counts = np.maximum(images + rng.normal(size=images.shape), 0.0)
    for rounds in (0, 4):
        found = learned(rounds)(*tensors(counts, np.ones_like(counts))).numpy()
        errors[rounds] = np.median(((found - images) ** 2).mean(axis=(1, 2, 3)))
    assert errors[4] < 0.3 * errors[0]


@pytest.mark.parametrize("expected", [-6.0, -1.0, 0.0, 0.7, 3.0, 4.99, 5.01, 9.0])
def test_zeros_are_completed_by_what_is_expected_below(expected: float) -> None:
    """Mean and mean square of a normal distribution below zero, by quadrature."""
    x = np.linspace(min(-12.0, expected - 12.0), 0.0, 400_001)
    log_density = norm.logpdf(x - expected) - log_ndtr(-expected)
    mean, square = (np.trapezoid(f * np.exp(log_density), x) for f in (x, (x - expected) ** 2))
    zero, mu = torch.zeros(1), torch.tensor([expected])
    assert completed(zero, mu).item() == pytest.approx(mean, abs=2e-3)
    assert surprise(zero, mu).item() == pytest.approx(square, rel=2e-3, abs=1e-5)


def test_what_was_counted_stays_and_hot_pixels_do_not() -> None:
    values, mu = torch.tensor([1.5, -0.5, 9.0]), torch.tensor([0.5, 0.5, 2.0])
    assert completed(values, mu).tolist() == [1.5, -0.5, 5.0]
    assert surprise(values, mu).tolist() == [1.0, 1.0, 49.0]


def test_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="6 components need more images than that, got 6"):
        ComponentFit(CELLS, PIXELS, RANK).learn(drawn(np.random.default_rng(i)) for i in range(6))
