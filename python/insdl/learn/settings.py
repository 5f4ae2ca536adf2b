"""How a network is trained: plain numbers and words, which are part of the record of a training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

Precision = Literal["float32", "bfloat16", "float16"]
Schedule = Literal["one-cycle", "cosine", "constant"]
Device = Literal["as given", "automatic", "cpu", "cuda"]


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained; the record of a training together with its data.

    Parameters
    ----------
    epochs : passes of `samples_per_epoch` samples, or of a stream's epochs. No sample of a sample function is seen twice.
    samples_per_epoch : samples between two looks at the validation set; of all ranks together. A stream has its own.
    batch_size : samples per step of each rank. A stream has its own.
    learning_rate : the peak of the schedule.
    weight_decay : of AdamW.
    gradient_clip : largest norm of the gradient of a step.
    patience : stop after so many epochs without a better validation loss; None never stops early.
    seed : of what is random in training; samples carry their own seed.
    threads : torch threads; None leaves torch's setting. A sample function that costs as much as a step needs a
        core of its own: on two cores, one thread then trains faster than two.
    schedule : of the learning rate. "one-cycle" rises along a cosine for a quarter of the steps and falls along another to
        almost 0 (as Smith and Topin, arXiv:1708.07120, with AdamW's momentum left alone), "cosine" falls only,
        "constant" stays.
    precision : of the arithmetic in the network. "bfloat16" and "float16" let torch.autocast choose what is computed in
        16 bits; weights, their gradients and the optimizer stay float32. "float16" scales the loss so that gradients do not
        underflow, and needs a GPU.
    device : where to train. "as given" leaves the network where it is; "automatic" takes a GPU where there is one.
        Afterwards the network is where it was.
    """

    epochs: int = 10
    samples_per_epoch: int = 3000
    batch_size: int = 32
    learning_rate: float = 5e-3
    weight_decay: float = 1e-4
    gradient_clip: float = 1.0
    patience: int | None = None
    seed: int = 0
    threads: int | None = None
    schedule: Schedule = "one-cycle"
    precision: Precision = "float32"
    device: Device = "as given"

    def __post_init__(self) -> None:
        for name in ("epochs", "samples_per_epoch", "batch_size", "patience", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for name in ("learning_rate", "gradient_clip"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be positive and finite, got {value}")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError(f"weight_decay must not be negative, got {self.weight_decay}")
        for name, choices in (("schedule", Schedule), ("precision", Precision), ("device", Device)):
            if getattr(self, name) not in get_args(choices):
                raise ValueError(f"{name} must be one of {list(get_args(choices))}, got {getattr(self, name)!r}")


def relative_rate(schedule: Schedule, step: int, steps: int) -> float:
    """Learning rate of step 0 <= step < steps over the peak of its schedule."""
    if schedule == "constant":
        return 1.0
    rise = max(1, steps // 4) if schedule == "one-cycle" else 0
    if step < rise:
        return 0.5 - 0.48 * math.cos(math.pi * step / rise)
    return 0.5 + 0.5 * math.cos(math.pi * (step - rise) / (steps - rise))
