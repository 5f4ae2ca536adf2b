"""From a configuration of rival models to a jury: simulate, train the members, calibrate, test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from insdl.dataset.configuration import Configuration
from insdl.dataset.configured import ConfiguredSource
from insdl.dataset.foreign import SourceWithForeign
from insdl.dataset.order import EpochOrder
from insdl.dataset.reader import SourceReader, detected, good
from insdl.dataset.view import ViewedDetection, ViewPrior
from insdl.learn.calibration import ensemble_logits
from insdl.learn.jury import Jury, save_jury, seat_jury
from insdl.learn.networks import CellSetClassifier
from insdl.learn.prediction import outputs
from insdl.learn.rival_baselines import baseline_answers
from insdl.learn.settings import TrainingSettings
from insdl.learn.stream import ImageStream
from insdl.learn.train import TrainingResult, train

_BLOCK = 64
_Set = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


@dataclass(frozen=True)
class RivalSettings:
    """How a jury is trained; all of it is written into its file.

    Attributes
    ----------
    members : number of networks, each with its own initial weights, order and noise.
    seed : of everything random.
    images : simulated images, "none" included. validation, held_out : of two more sets, which share no model with them: one
        chooses each member's epoch, the other calibrates.
    training : of each member; its seed is set for each.
    views : what of a measurement a member is shown in training.
    noisy : whole measurements, some of them with more noise: by these the jury is calibrated and its alarm set, so that little
        counting time alone raises none.
    filters, widths : of the networks. Mirrors are folded where all rivals have them.
    threads : of simulation; None uses every processor.
    """

    members: int = 5
    seed: int = 0
    images: int = 12_000
    validation: int = 600
    held_out: int = 2400
    training: TrainingSettings = TrainingSettings(epochs=14, learning_rate=5e-3, weight_decay=1e-3, threads=1)
    views: ViewPrior = ViewPrior()
    noisy: ViewPrior = ViewPrior(0.0, 0.0, 0.0, 0.0, 0.0)
    filters: int = 8
    widths: tuple[int, int, int] = (96, 96, 128)
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("members", "images", "validation", "held_out"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


def train_jury(
    configuration: Configuration,
    output: Path | str,
    settings: RivalSettings | None = None,
    *,
    physics: Callable[[Configuration], ConfiguredSource] = ConfiguredSource,
    progress: Literal["bar", "silent"] = "bar",
) -> Jury:
    """Trains a jury on the rivals of a configuration and writes it to a file.

    Parameters
    ----------
    configuration : Configuration. Its streams "train", "validation" and "held out" are used; they share no numbers.
    physics : what simulates the images of a configuration; another one than insdl's shows what realism does.
    output : file of the jury. Beside it, while members are trained, lie files from which a killed run goes on.

    Returns
    -------
    Jury. As in the file.
    """
    settings = RivalSettings() if settings is None else settings
    output = Path(output)
    if not output.parent.is_dir():
        raise ValueError(f"the folder of {output} does not exist")
    source = _source(configuration, settings.images, settings.seed, "train", physics)
    reader = SourceReader(source, threads=settings.threads, remembered=source.n_samples)
    blocks = range(0, source.n_samples, _BLOCK)
    for begin in tqdm(blocks, desc="simulation", unit="block", disable=progress == "silent"):
        reader.read(range(begin, min(begin + _BLOCK, source.n_samples)))
    validation = measurements(
        _source(configuration, settings.validation, settings.seed, "validation", physics),
        settings.views,
        settings.threads,
    )
    members, results = [], []
    for number in range(settings.members):
        member, result = _member(number, source, reader, validation, output, settings, progress)
        members.append(member)
        results.append(result)
    few = min(source.n_samples, 200 * len(source.classes))
    samples, numbers = good(reader.read(range(few)), range(few))
    training, noisy_training = (
        (detected(samples.images, numbers, ViewedDetection(source.base, views), seed=settings.seed, stream="densities"),
         samples.labels)
        for views in (None, settings.noisy)
    )  # fmt: skip
    held_out, noisy_held_out = (
        measurements(
            _source(configuration, settings.held_out, settings.seed, "held out", physics), views, settings.threads
        )
        for views in (None, settings.noisy)
    )
    jury = seat_jury(
        members,
        training=noisy_training,
        held_out=noisy_held_out,
        parts=measurements(
            _source(configuration, settings.held_out // 2, settings.seed, "held out parts", physics),
            settings.views,
            settings.threads,
        ),
        description={
            "configuration": configuration.model_dump(mode="json"),
            "settings": asdict(settings),
            "seconds": [round(result.seconds, 1) for result in results],
            "held_out": _compared(members, training, held_out),
        },
    )
    save_jury(output, jury, histories=[result.history for result in results])
    for number in range(settings.members):
        _state(output, number).unlink(missing_ok=True)
    return jury


def measurements(
    source: SourceWithForeign, views: ViewPrior | None, threads: int | None = None, *, n: int | None = None
) -> _Set:
    """Network inputs (n, 2 cells, p, p) and labels (n,) of the samples of a source, each detected once.

    Parameters
    ----------
    views : what is seen of each; None for the whole.
    n : number of samples; all of the source by default.
    """
    inputs, labels = [], []
    total = source.n_samples if n is None else n
    reader = SourceReader(source, threads=threads)
    detector = ViewedDetection(source.base, views)
    stream = source.base.configuration.stream
    for begin in range(0, total, _BLOCK):
        indices = range(begin, min(begin + _BLOCK, total))
        samples, numbers = good(reader.read(indices), indices)
        inputs.append(detected(samples.images, numbers, detector, seed=source.seed, stream=stream))
        labels.append(samples.labels)
    return np.concatenate(inputs), np.concatenate(labels)


def frame_cells(source: SourceWithForeign) -> list[tuple[float, float, float]]:
    """Incident energy and edges of each cell of a source's frame, meV."""
    return [source.frame.bin_at(number) for number in range(source.image_shape[0])]


def _source(
    configuration: Configuration,
    images: int,
    seed: int,
    stream: str,
    physics: Callable[[Configuration], ConfiguredSource] = ConfiguredSource,
) -> SourceWithForeign:
    rivals = len(configuration.classes)
    n = max(rivals, images * rivals // (rivals + 1))
    return SourceWithForeign(physics(configuration.model_copy(update={"stream": stream, "seed": seed, "n_samples": n})))


def _member(
    number: int,
    source: SourceWithForeign,
    reader: SourceReader,
    validation: _Set,
    output: Path,
    settings: RivalSettings,
    progress: Literal["bar", "silent"],
) -> tuple[CellSetClassifier, TrainingResult]:
    seed = settings.seed * 1_000_003 + number
    network = CellSetClassifier(
        frame_cells(source),
        classes=source.classes,
        pixels=source.image_shape[-1],
        filters=settings.filters,
        widths=settings.widths,
        mirrors=source.base.mirrors if source.image_shape[-1] % 8 == 0 else "apart",
        seed=seed,
    )
    stream = ImageStream(
        reader,
        EpochOrder(0, source.n_samples, shard_size=reader.shard_size, seed=seed, stream="jury"),
        batch_size=settings.training.batch_size,
        detect=ViewedDetection(source.base, settings.views),
    )
    result = train(
        network,
        stream=stream,
        target=lambda batch: batch.labels,
        validation=validation,
        settings=replace(settings.training, seed=seed),
        state=_state(output, number),
        progress=progress,
    )
    return network, result


def _compared(members: Sequence[CellSetClassifier], training: _Set, held_out: _Set) -> dict[str, Any]:
    """Shares of held-out measurements that networks and simple methods get right; the simple ones learn from ``training``."""
    images, labels = held_out
    logits = np.stack([outputs(member, images, batch_size=_BLOCK).double().numpy() for member in members])
    simple = baseline_answers(training, held_out, classes=logits.shape[-1])
    return {
        "measurements": len(labels),
        "all networks": float((ensemble_logits(logits).argmax(axis=1) == labels).mean()),
        "each network": [float((one.argmax(axis=1) == labels).mean()) for one in logits],
        "simple methods": {"measurements": len(training[1]), **{one.name: one.accuracy for one in simple}},
    }


def _state(output: Path, number: int) -> Path:
    return output.with_name(f".{output.name}.member-{number}.state")
