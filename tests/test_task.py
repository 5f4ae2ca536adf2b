"""Tasks: what is evaluated on a validation set does not depend on its batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import tiny_training
from insdl.learn.networks import CellClassifier
from insdl.learn.task import find_task

IMAGES, TARGETS = tiny_training.held_out(150)  # more than two validation batches


def loss(network: torch.nn.Module, batch: Any) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(network(batch.images), batch.targets)


def score(network: torch.nn.Module, batch: Any) -> torch.Tensor:
    return (network(batch.images).argmax(dim=1) == batch.targets).double().mean()


def test_a_function_is_averaged_over_samples() -> None:
    """As the named loss, which sees all of them at once; the last batch is smaller."""
    network = tiny_training.network(CellClassifier).train()
    named = find_task(network, None, None, whole_batches=False)
    own = find_task(network, loss, score, whole_batches=False)
    expected = named.validation((IMAGES, TARGETS), (3, 8, 8), None).evaluate(network, named)
    found = own.validation((IMAGES, TARGETS), (3, 8, 8), None)
    assert [len(batch.images) for batch in found.batches] == [64, 64, 22]
    assert found.evaluate(network, own) == pytest.approx(expected, rel=1e-6)
    assert network.training


def test_validation_sets_are_told_apart() -> None:
    task = find_task(tiny_training.network(), None, None, whole_batches=False)
    whole = task.validation((IMAGES, TARGETS), (3, 8, 8), None)
    assert whole.digest() == task.validation((IMAGES.copy(), TARGETS), (3, 8, 8), None).digest()
    assert whole.digest() != task.validation((IMAGES, np.roll(TARGETS, 1)), (3, 8, 8), None).digest()
    assert whole.digest() != task.validation((IMAGES[:-1], TARGETS[:-1]), (3, 8, 8), None).digest()


def test_what_cannot_be_a_task_is_refused() -> None:
    network = tiny_training.network()
    with pytest.raises(ValueError, match="loss must be 'cross-entropy' for a Dropping, got 'gaussian'"):
        find_task(network, "gaussian", None, whole_batches=False)
    task = find_task(network, None, None, whole_batches=False)
    with pytest.raises(ValueError, match=r"validation\[0\] must give a class index from 0 to 1, got 2"):
        task.validation((IMAGES[:1], [2]), (3, 8, 8), None)
