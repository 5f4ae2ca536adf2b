"""A training that takes milliseconds a batch, as a script that tests start, kill and start again.

With an argument "kill BATCH PHASE" it ends itself by SIGKILL; a test may as well kill it from outside.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from insdl.dataset.order import EpochOrder
from insdl.dataset.reader import SourceReader
from insdl.learn import torch_file
from insdl.learn.networks import CellClassifier, CellClassifierConfig
from insdl.learn.parallel import process_group
from insdl.learn.registry import register_network
from insdl.learn.stream import ImageStream, Rank
from insdl.learn.train import TrainingSettings, train
from small_source import SmallSource

CELLS, PIXELS = 3, 8
HELD_OUT = 10**6  # training indices stay far below


class Dropping(CellClassifier):
    """A network whose training draws random numbers, so that resuming has to restore them."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(torch.nn.functional.dropout(images, 0.2, training=self.training))


def _built(options: dict[str, Any]) -> torch.nn.Module:
    return Dropping(classes=options.pop("outputs"), **options)


register_network(Dropping, CellClassifierConfig, objective="cross-entropy", build=_built)


class Squares(SmallSource):
    """Images of 3 x 8 x 8 random numbers, brighter in class 1; every 17th sample has none."""

    image_shape = (CELLS, PIXELS, PIXELS)

    def make(self, indices: Any, *, threads: int | None = None) -> Any:
        made = super().make(indices)
        made.images[made.labels == 1] += 20
        return made


def noise(image: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    return (image / 100 + 0.1 * rng.standard_normal(image.shape)).astype(np.float32)


def sample(index: int) -> tuple[npt.NDArray[np.float32], int]:
    """Noise, with a bright row in cell 1 for class 1."""
    image = np.random.default_rng((3, index)).random((CELLS, PIXELS, PIXELS), dtype=np.float32)
    image[1, 4] += index % 2
    return image, index % 2


def held_out(count: int = 20) -> tuple[npt.NDArray[np.float32], list[int]]:
    images, targets = zip(*(sample(HELD_OUT + i) for i in range(count)), strict=True)
    return np.stack(images), list(targets)


def stream(*, n: int = 120, batch_size: int = 8, rank: Rank | None = None) -> ImageStream:
    reader = SourceReader(Squares(n))
    return ImageStream(reader, EpochOrder(0, n, 8, seed=1), batch_size=batch_size, detect=noise, rank=rank)


def settings(**options: Any) -> TrainingSettings:
    return TrainingSettings(
        **{"epochs": 3, "samples_per_epoch": 96, "batch_size": 8, "learning_rate": 1e-2, "threads": 1, **options}
    )


def network(kind: type[CellClassifier] = Dropping) -> CellClassifier:
    return kind(cells=CELLS, classes=("a", "b"), pixels=PIXELS, widths=(8, 8, 8))


def resumable(folder: Path, feed: str, *, die: tuple[int, str] | None = None, pause: float = 0.0) -> None:
    """Trains with a state file every 5 batches, and writes the weights to a file of its own."""
    steps = 0

    def after_step(_: torch.nn.Module, batch: Any) -> None:
        nonlocal steps
        steps += 1
        time.sleep(pause)
        if die == (steps, "after a step"):
            os.kill(os.getpid(), signal.SIGKILL)

    if die is not None and die[1] != "after a step":
        _die_while_writing(*die)
    trained = network()
    data: dict[str, Any] = {"sample": sample} if feed == "sample" else {"stream": stream()}
    result = train(
        trained,
        validation=held_out(),
        settings=settings(),
        state=folder / "state",
        state_every=5,
        after_step=after_step,
        progress="silent",
        **data,
    )
    (folder / "done.json").write_text(
        json.dumps({"weights": torch_file.digest(trained.state_dict()), "history": [vars(e) for e in result.history]})
    )


def _die_while_writing(number: int, phase: str) -> None:
    """Ends the process in or right after the writing of a state."""
    fsync, replace, writings = os.fsync, os.replace, 0

    def deadly_fsync(handle: int) -> None:
        nonlocal writings
        writings += stat.S_ISREG(os.fstat(handle).st_mode)  # and not the folder's
        if writings == number and phase == "inside the write" and stat.S_ISREG(os.fstat(handle).st_mode):
            os.ftruncate(handle, 1000)
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(handle)

    def deadly_replace(old: Any, new: Any) -> None:
        replace(old, new)
        if writings == number and phase == "after the rename":
            os.kill(os.getpid(), signal.SIGKILL)

    os.fsync, os.replace = deadly_fsync, deadly_replace


def together(folder: Path, feed: str, *, batch_size: int) -> None:
    """One of the processes of a training, or all of it."""
    with process_group() as rank:
        trained = network(CellClassifier)
        if rank.rank:
            with torch.no_grad():
                trained.head[2].bias += 1.0  # rank 0's weights count
        data: dict[str, Any] = {"sample": sample}
        if feed == "stream":
            data = {"stream": stream(batch_size=batch_size, rank=rank)}
        result = train(
            trained,
            validation=held_out(),
            settings=settings(batch_size=batch_size),
            checkpoint=folder / "network.pt",
            state=folder / "state",
            state_every=7,
            **data,
        )
        (folder / f"rank-{rank.rank}.json").write_text(
            json.dumps(
                {"weights": torch_file.digest(trained.state_dict()), "history": [vars(e) for e in result.history]}
            )
        )


if __name__ == "__main__":
    where, job, kind, *more = sys.argv[1:]
    if job == "together":
        together(Path(where), kind, batch_size=int(more[0]))
    elif more and more[0] == "kill":
        resumable(Path(where), kind, die=(int(more[1]), more[2]))
    else:
        resumable(Path(where), kind, pause=float(more[0]) if more else 0.0)
