"""What a network is trained for: its loss, its score, the targets it takes, and what its output says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

_Values = npt.NDArray[Any]


class Examples(NamedTuple):
    """A batch of what a network is to say about images.

    images : (n, ...) float32. targets : (n,) int64 class indices, or (n, ...) float32 values.
    """

    images: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Objective:
    """A kind of task; every function is of a batch.

    Parameters
    ----------
    name : for messages and records.
    loss : (output, targets) -> mean over the batch. It chooses the epoch.
    score : (output, targets) -> a number for people, such as the accuracy.
    checked : (target, number of outputs, who gave it) -> the target of one sample as an array; raises ValueError.
    answer : output in float64, on the CPU -> arrays in the words of the science.
    learned : as ``loss``, for the gradients, where another function has the same best answer and is learned better.
    """

    name: str
    loss: Callable[[Tensor, Tensor], Tensor]
    score: Callable[[Tensor, Tensor], Tensor]
    checked: Callable[[npt.ArrayLike, int, str], _Values]
    answer: Callable[[Tensor], Any]
    learned: Callable[[Tensor, Tensor], Tensor] | None = None


def checked_class(target: npt.ArrayLike, outputs: int, giver: str) -> _Values:
    """A class index from 0 to outputs - 1, as int64."""
    value = np.asarray(target)
    if value.ndim != 0 or value.dtype.kind not in "iu" or not 0 <= value < outputs:
        raise ValueError(f"{giver} must give a class index from 0 to {outputs - 1}, got {value.tolist()!r}")
    return value.astype(np.int64)


def checked_parameters(target: npt.ArrayLike, outputs: int, giver: str) -> _Values:
    """Parameter values, (outputs,), as float32."""
    value = np.asarray(target)
    if value.shape != (outputs,) or value.dtype.kind not in "iuf" or not np.isfinite(value).all():
        raise ValueError(f"{giver} must give {outputs} finite parameter values, got {target!r}")
    return value.astype(np.float32)


def accuracy(output: Tensor, targets: Tensor) -> Tensor:
    """Fraction of samples whose largest output is that of their class."""
    return (output.argmax(dim=1) == targets).double().mean()


def _binary_cross_entropy(output: Tensor, targets: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(output, one_hot(targets, output))


def one_hot(targets: Tensor, like: Tensor) -> Tensor:
    """(n, classes): 1 at the class of each sample and 0 elsewhere, in the type of ``like``, which is (n, classes)."""
    return functional.one_hot(targets, like.shape[1]).to(like.dtype)


def _gaussian(output: Tensor, targets: Tensor) -> Tensor:
    """Negative logarithm of a normal density, without its constant, from means and log-variances."""
    mean, log_variance = output.chunk(2, dim=1)
    return 0.5 * _gaussian_terms(mean, log_variance, targets).mean()


def _gaussian_terms(mean: Tensor, log_variance: Tensor, targets: Tensor) -> Tensor:
    return log_variance + (targets - mean) ** 2 * torch.exp(-log_variance)


def _weighted_gaussian(output: Tensor, targets: Tensor) -> Tensor:
    """`_gaussian` with each term times its own standard deviation, which no gradient goes through.

    Seitzer et al., ICLR 2022, arXiv:2203.09168, equation 5 with beta = 1/2. Without the factor gradients of a mean go as one
    over the variance: parameters that are known well leave those that are still to be learned no share in the features.
    """
    mean, log_variance = output.chunk(2, dim=1)
    terms = _gaussian_terms(mean, log_variance, targets)
    return 0.5 * (terms * torch.exp(0.5 * log_variance.detach())).mean()


def _rmse(output: Tensor, targets: Tensor) -> Tensor:
    return ((output.chunk(2, dim=1)[0] - targets) ** 2).double().mean().sqrt()


def _softmax(output: Tensor) -> npt.NDArray[np.float64]:
    return np.asarray(torch.softmax(output, dim=1).numpy())


def _sigmoid(output: Tensor) -> npt.NDArray[np.float64]:
    return np.asarray(torch.sigmoid(output).numpy())


def _mean_and_sigma(output: Tensor) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    mean, log_variance = output.chunk(2, dim=1)
    return mean.numpy().copy(), torch.exp(0.5 * log_variance).numpy()


ObjectiveName = Literal["cross-entropy", "binary-cross-entropy", "gaussian", "weighted-gaussian"]

OBJECTIVES: dict[str, Objective] = {
    "cross-entropy": Objective("cross-entropy", functional.cross_entropy, accuracy, checked_class, _softmax),
    "binary-cross-entropy": Objective("binary-cross-entropy", _binary_cross_entropy, accuracy, checked_class, _sigmoid),
    "gaussian": Objective("gaussian", _gaussian, _rmse, checked_parameters, _mean_and_sigma),
    "weighted-gaussian": Objective(
        "weighted-gaussian", _gaussian, _rmse, checked_parameters, _mean_and_sigma, learned=_weighted_gaussian
    ),
}
"""By name: classes that exclude each other, classes by themselves, parameters with their own error bars, and these again with
every parameter learned at the same pace, however well it is known."""
