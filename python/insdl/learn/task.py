"""The task of a training: one of the named objectives, or a loss function of the network and a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from insdl.learn import torch_file
from insdl.learn.feed import Target, any_target, examples
from insdl.learn.networks import evaluation_mode
from insdl.learn.objective import Examples, Objective
from insdl.learn.prediction import checked_images, device_of, outputs
from insdl.learn.registry import configuration, kind_of
from insdl.learn.stream import Batch, name_of

LossFunction = Callable[[nn.Module, Any], Tensor]
"""(network, batch) -> mean over the batch, a tensor of one number."""

_ROWS = 64  # images of a validation batch


@dataclass(frozen=True)
class Task:
    """What a network is trained for in one training.

    Parameters
    ----------
    name : of the loss.
    loss : (network, batch) -> mean loss.
    score : (network, batch) -> mean of a number for people; None for the loss, or what `objective` says.
    objective : the named objective, whose loss and score need only the output; None for a loss function.
    number : of the network's outputs.
    whole_batches : whether a loss function gets a stream's `Batch`, and not `Examples`.
    """

    name: str
    loss: LossFunction
    score: LossFunction | None
    objective: Objective | None
    number: int
    whole_batches: bool

    def checked(self, target: npt.ArrayLike, giver: str) -> npt.NDArray[Any]:
        """The target of one sample as an array; ValueError if it is none for this task."""
        if self.objective is None:
            return any_target(target, giver)
        return self.objective.checked(target, self.number, giver)

    def validation(
        self,
        given: tuple[npt.ArrayLike, npt.ArrayLike] | Sequence[Batch],
        image_shape: tuple[int, ...],
        target: Target | None,
    ) -> Validation:
        """The validation set, checked."""
        if isinstance(given, list):
            check = None if self.whole_batches else self.checked
            batches: list[Any] = [examples(batch, image_shape, target, check) for batch in given if len(batch.images)]
            if not batches:
                raise ValueError("validation must hold one sample at least, got batches without any")
            return Validation(tuple(batches))
        if self.whole_batches:
            raise ValueError("a loss function of a stream's batches needs a list of such batches for validation")
        images, targets = given
        checked = checked_images(images, image_shape)
        rows = np.asarray(targets)
        if len(checked) == 0 or rows.ndim == 0 or len(rows) != len(checked):
            raise ValueError(
                f"validation must hold as many targets as images, and one at least, got {rows.shape} "
                f"targets for {len(checked)} images"
            )
        wanted = torch.from_numpy(np.stack([self.checked(row, f"validation[{i}]") for i, row in enumerate(rows)]))
        whole = Examples(torch.from_numpy(checked), wanted)
        return Validation(
            tuple(
                Examples(whole.images[start : start + _ROWS], whole.targets[start : start + _ROWS])
                for start in range(0, len(checked), _ROWS)
            )
        )


@dataclass(frozen=True)
class Validation:
    """Samples that choose the epoch, in batches."""

    batches: tuple[Any, ...]

    def digest(self) -> str:
        """Of everything in it."""
        return torch_file.digest(self.batches)

    def evaluate(self, network: nn.Module, task: Task) -> tuple[float, float]:
        """Mean loss and score, in evaluation mode and float32."""
        if task.objective is not None:
            output = torch.cat([outputs(network, batch.images.numpy(), batch_size=_ROWS) for batch in self.batches])
            targets = torch.cat([batch.targets for batch in self.batches])
            return task.objective.loss(output, targets).item(), task.objective.score(output, targets).item()
        device, loss, score, count = device_of(network), 0.0, 0.0, 0
        with evaluation_mode(network), torch.no_grad():
            for batch in self.batches:
                moved, n = type(batch)(*(values.to(device) for values in batch)), len(batch[0])
                found = task.loss(network, moved).item()
                loss, count = loss + n * found, count + n
                score += n * (found if task.score is None else task.score(network, moved).item())
        return loss / count, score / count


def find_task(
    network: nn.Module, loss: str | LossFunction | None, score: LossFunction | None, *, whole_batches: bool
) -> Task:
    """The task that a call of `insdl.learn.train.train` asks for; ValueError if the loss does not fit the network."""
    number, kind = len(configuration(network).outputs), kind_of(network)
    if loss is not None and not isinstance(loss, str):
        return Task(name_of(loss), loss, score, None, number, whole_batches)
    if kind is None:
        raise ValueError(f"nothing says what a {type(network).__name__} is trained for: give a loss function")
    objective = kind.objective
    if loss is not None and loss != objective.name:
        raise ValueError(f"loss must be {objective.name!r} for a {type(network).__name__}, got {loss!r}")
    if score is not None:
        raise ValueError(f"score goes with a loss function; {objective.name!r} has its own")

    learned = objective.learned or objective.loss

    def of_batch(network: nn.Module, batch: Examples) -> Tensor:
        return learned(network(batch.images), batch.targets)

    return Task(objective.name, of_batch, None, objective, number, False)
