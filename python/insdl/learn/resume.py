"""State files: all that a training needs to go on after a kill as if nothing had happened, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from insdl.learn import parallel
from insdl.learn.checkpoint import Epoch, cpu_state
from insdl.learn.stream import Rank
from insdl.learn.torch_file import read_torch_file, write_torch_file

_FORMAT = "insdl training 1"


@dataclass
class Progress:
    """How far a training has come.

    epoch, batches : the epoch under way and its batches that are done. total, count : sum of the losses of their samples,
    and how many samples that were. history : of the epochs that are over. best_epoch, best_state : the epoch of the lowest
    validation loss so far, and the weights at its end.
    """

    epoch: int = 0
    batches: int = 0
    total: float = 0.0
    count: int = 0
    history: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    best_state: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class StateFile:
    """The file that a training keeps its state in.

    Parameters
    ----------
    path : of the file. It stays when the training has ended: started again, such a training returns at once.
    every : batches between two writings; besides, it is written at the end of every epoch.
    identity : what must be the same for a state to be of this training, as plain values.
    rank : rank 0 writes, all read.
    """

    path: Path
    every: int
    identity: Mapping[str, Any]
    rank: Rank

    def write(
        self,
        progress: Progress,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        device: torch.device,
    ) -> None:
        """Puts the state where the last one was, in one step."""
        rng = _random_state(device)
        everywhere = parallel.gathered(rng) if self.rank.world_size > 1 else [rng]
        if self.rank.rank:
            return
        write_torch_file(
            self.path,
            {
                "format": _FORMAT,
                "identity": dict(self.identity),
                "progress": {**vars(progress), "history": [asdict(epoch) for epoch in progress.history]},
                "weights": cpu_state(network),
                "optimizer": optimizer.state_dict(),
                "scaler": scaler.state_dict(),
                "random": everywhere,
            },
        )

    def read(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        device: torch.device,
    ) -> Progress:
        """Puts network, optimizer, scaler and torch's random numbers where they were; the beginning if there is no file.

        Raises
        ------
        ValueError
            If the file is no state file, damaged, or of another training.
        """
        if not self.path.exists():
            return Progress()
        content = read_torch_file(self.path, formats=(_FORMAT,), kind="a state file of a training")
        _check_same(self.path, content["identity"], self.identity)
        network.load_state_dict(content["weights"])
        optimizer.load_state_dict(content["optimizer"])
        scaler.load_state_dict(content["scaler"])
        _restore_random_state(content["random"][self.rank.rank], device)
        found = content["progress"]
        return Progress(**{**found, "history": [Epoch(**epoch) for epoch in found["history"]]})


def _check_same(path: Path, found: Mapping[str, Any], own: Mapping[str, Any], prefix: str = "") -> None:
    """ValueError, naming what differs, unless two records are equal."""
    for name in [*own, *(name for name in found if name not in own)]:
        theirs, ours = found.get(name), own.get(name)
        if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
            _check_same(path, theirs, ours, prefix=f"{prefix}{name}.")
        elif theirs != ours:
            raise ValueError(
                f"{path} is the state of another training: {prefix}{name} is {_short(theirs)} there and {_short(ours)} here"
            )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _random_state(device: torch.device) -> Tensor:
    """torch's random numbers on the CPU, followed by those of a GPU that is in use."""
    state = torch.get_rng_state()
    return torch.cat([state, torch.cuda.get_rng_state(device)]) if device.type == "cuda" else state


def _restore_random_state(state: Tensor, device: torch.device) -> None:
    own = torch.get_rng_state().numel()
    torch.set_rng_state(state[:own].clone())
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[own:].clone(), device)
