"""Objectives: losses against their definitions, and what outputs say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from insdl.learn.objective import OBJECTIVES, one_hot

OUTPUT = torch.tensor([[2.0, -1.0], [0.3, 0.4], [-3.0, 1.0]], dtype=torch.float64)
CLASSES = torch.tensor([0, 0, 1])


def test_cross_entropy_is_minus_the_logarithm_of_the_probability() -> None:
    objective = OBJECTIVES["cross-entropy"]
    probabilities = np.exp(OUTPUT.numpy()) / np.exp(OUTPUT.numpy()).sum(axis=1, keepdims=True)
    expected = -np.log(probabilities[[0, 1, 2], CLASSES]).mean()
    assert objective.loss(OUTPUT, CLASSES).item() == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(objective.answer(OUTPUT), probabilities, rtol=1e-12)
    assert objective.score(OUTPUT, CLASSES).item() == pytest.approx(2 / 3)


def test_binary_cross_entropy_judges_every_class_by_itself() -> None:
    objective = OBJECTIVES["binary-cross-entropy"]
    sigmoid = 1 / (1 + np.exp(-OUTPUT.numpy()))
    truth = np.array([[1, 0], [1, 0], [0, 1]])
    assert torch.equal(one_hot(CLASSES, OUTPUT), torch.tensor(truth, dtype=torch.float64))
    expected = -(truth * np.log(sigmoid) + (1 - truth) * np.log(1 - sigmoid)).mean()
    assert objective.loss(OUTPUT, CLASSES).item() == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(objective.answer(OUTPUT), sigmoid, rtol=1e-12)


def test_gaussian_is_the_density_without_its_constant() -> None:
    objective = OBJECTIVES["gaussian"]
    targets = torch.tensor([[0.5], [1.5], [-2.0]], dtype=torch.float64)
    mean, sigma = objective.answer(OUTPUT)
    np.testing.assert_allclose(sigma, np.exp(0.5 * OUTPUT.numpy()[:, 1:]), rtol=1e-12)
    expected = -stats.norm.logpdf(targets.numpy(), mean, sigma).mean() - 0.5 * np.log(2 * np.pi)
    assert objective.loss(OUTPUT, targets).item() == pytest.approx(expected, rel=1e-12)
    rmse = np.sqrt(((mean - targets.numpy()) ** 2).mean())
    assert objective.score(OUTPUT, targets).item() == pytest.approx(rmse, rel=1e-12)


def test_a_weighted_gaussian_is_learned_with_each_gradient_times_its_standard_deviation() -> None:
    """Seitzer et al., arXiv:2203.09168, equation 5: the same zeros as the density's gradients, other sizes."""
    objective = OBJECTIVES["weighted-gaussian"]
    targets = torch.tensor([[0.5, 0.1], [1.5, -0.3]], dtype=torch.float64)
    output = torch.tensor([[0.2, 0.1, -4.0, 1.0], [1.0, 0.0, -1.0, 0.5]], dtype=torch.float64, requires_grad=True)
    assert objective.learned is not None
    (plain,) = torch.autograd.grad(objective.loss(output, targets), output)
    (weighted,) = torch.autograd.grad(objective.learned(output, targets), output)
    sigma = output.detach()[:, 2:].mul(0.5).exp()
    torch.testing.assert_close(weighted, plain * torch.cat([sigma, sigma], dim=1))


def test_targets_are_checked() -> None:
    with pytest.raises(ValueError, match="it must give a class index from 0 to 2, got 3"):
        OBJECTIVES["cross-entropy"].checked(3, 3, "it")
    with pytest.raises(ValueError, match="it must give 2 finite parameter values"):
        OBJECTIVES["gaussian"].checked([1.0, np.nan], 2, "it")
    assert OBJECTIVES["gaussian"].checked([1, 2], 2, "it").dtype == np.float32
