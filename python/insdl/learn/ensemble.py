"""Several networks of one kind that differ in their seeds: trained one after the other, kept in one file, asked together.

The spread of an ensemble is what a single network cannot know of itself (Lakshminarayanan, Pritzel and Blundell,
arXiv:1612.01474): where the data decide, the members agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from insdl.learn.checkpoint import Checkpoint, Epoch, packed, read_checkpoint, unpacked
from insdl.learn.feed import Sample
from insdl.learn.objective import OBJECTIVES
from insdl.learn.prediction import predict
from insdl.learn.registry import configuration, kind_of
from insdl.learn.settings import TrainingSettings
from insdl.learn.stream import ImageStream
from insdl.learn.torch_file import plain, read_torch_file, write_torch_file
from insdl.learn.train import TrainingResult, train
from insdl.provenance import versions

_FORMAT = "insdl ensemble 1"
_Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ensemble:
    """Networks with the same outputs and images.

    Parameters
    ----------
    members : with their histories and data.
    description : of whoever trained them.
    """

    members: tuple[Checkpoint, ...]
    description: dict[str, Any]

    def __post_init__(self) -> None:
        if not self.members:
            raise ValueError("an ensemble needs one member at least")
        first = configuration(self.members[0].network)
        for number, member in enumerate(self.members):
            own = configuration(member.network)
            if type(member.network) is not type(self.members[0].network) or (
                (own.outputs, own.image_shape) != (first.outputs, first.image_shape)
            ):
                raise ValueError(
                    f"the members of an ensemble must have the same class, outputs and images; member {number} is a "
                    f"{type(member.network).__name__} with {own.outputs} and {own.image_shape}, member 0 a "
                    f"{type(self.members[0].network).__name__} with {first.outputs} and {first.image_shape}"
                )

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The members' networks."""
        return tuple(member.network for member in self.members)


@dataclass(frozen=True)
class EnsemblePrediction:
    """What an ensemble says about n images.

    Parameters
    ----------
    mean : (n, outputs) float64. Mean over the members of class probabilities, or of parameters in standardised units.
    members : (m, n, outputs) float64. What each member says.
    sigma : (n, outputs) float64, for parameters. Standard deviation of the members' normal distributions mixed with equal
        weights: its square is the mean of their variances plus the variance of their means. None for classes.
    member_sigma : (m, n, outputs) float64, for parameters. Each member's own. None for classes.
    """

    mean: _Array
    members: _Array
    sigma: _Array | None = None
    member_sigma: _Array | None = None


def train_ensemble(
    build: Callable[[int], nn.Module],
    *,
    seeds: Sequence[int],
    feed: Callable[[int], Sample | ImageStream],
    validation: Any,
    folder: Path | str,
    settings: TrainingSettings | None = None,
    description: Mapping[str, Any] | None = None,
    **options: Any,
) -> tuple[Ensemble, tuple[TrainingResult | None, ...]]:
    """Trains a network for every seed; a killed one goes on where it was, and members that are done are not trained again.

    Parameters
    ----------
    build : seed -> network with initial weights of that seed.
    seeds : of the members, all different; each is also the seed of its training.
    feed : seed -> sample function or stream of that member.
    validation : of all members, see `insdl.learn.train.train`.
    folder : for the members' checkpoints and states, ``member-SEED.pt`` and ``member-SEED.state``. It must belong to this
        ensemble alone, because a member that is there is taken as it is.
    settings, description, options : see `insdl.learn.train.train`.

    Returns
    -------
    The ensemble, and what each training reported; None for a member that was there already.
    """
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(f"seeds must be different numbers, one at least, got {list(seeds)}")
    settings = TrainingSettings() if settings is None else settings
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    members, results = [], []
    for seed in seeds:
        path, state = folder / f"member-{seed}.pt", folder / f"member-{seed}.state"
        record = {**plain(description, name="description"), "seed": seed}
        result = None
        if not path.exists():
            given = feed(seed)
            fed: dict[str, Any] = {"stream": given} if isinstance(given, ImageStream) else {"sample": given}
            result = train(
                build(seed),
                validation=validation,
                settings=replace(settings, seed=seed),
                checkpoint=path,
                state=state,
                description=record,
                **fed,
                **options,
            )
        state.unlink(missing_ok=True)
        member = read_checkpoint(path)
        if member.description != record:
            raise ValueError(f"{path} is of another ensemble: described as {member.description}, not as {record}")
        members.append(member)
        results.append(result)
    return Ensemble(tuple(members), plain(description, name="description")), tuple(results)


def save_ensemble(path: Path | str, ensemble: Ensemble) -> None:
    """Writes all members to one file, which is complete or as it was before; it holds tensors, numbers and text."""
    members = [
        packed(member.network, member.description, member.history, member.data) | {"versions": member.versions}
        for member in ensemble.members
    ]
    content = {"format": _FORMAT, "members": members, "description": plain(ensemble.description, name="description")}
    write_torch_file(path, {**content, "versions": versions()})


def load_ensemble(path: Path | str) -> Ensemble:
    """The ensemble of a file, on the CPU and in evaluation mode.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file; if it is something else, damaged, or of networks that are not known here.
    """
    content = read_torch_file(path, formats=(_FORMAT,), kind="an ensemble of insdl")
    return Ensemble(tuple(unpacked(member, path) for member in content["members"]), dict(content["description"]))


def ensemble_of(
    networks: Sequence[nn.Module],
    *,
    histories: Sequence[Sequence[Epoch]] | None = None,
    description: Mapping[str, Any] | None = None,
) -> Ensemble:
    """An ensemble of networks that were trained elsewhere."""
    histories = [()] * len(networks) if histories is None else histories
    members = [
        Checkpoint(network.eval(), {}, {}, tuple(history), versions())
        for network, history in zip(networks, histories, strict=True)
    ]
    return Ensemble(tuple(members), plain(description, name="description"))


def predict_ensemble(ensemble: Ensemble, images: npt.ArrayLike, *, batch_size: int = 64) -> EnsemblePrediction:
    """What the members say about images, and together.

    Parameters
    ----------
    images : (n,) + image_shape of the networks.
    batch_size : images in one pass.
    """
    kind = kind_of(ensemble.networks[0])
    answers = [predict(network, images, batch_size=batch_size) for network in ensemble.networks]
    if kind is not None and kind.objective.answer is OBJECTIVES["gaussian"].answer:
        means, sigmas = (np.stack(values) for values in zip(*answers, strict=True))
        spread = np.sqrt((sigmas**2).mean(axis=0) + means.var(axis=0))
        return EnsemblePrediction(means.mean(axis=0), means, spread, sigmas)
    if not all(isinstance(answer, np.ndarray) for answer in answers):
        raise TypeError(f"a {type(ensemble.networks[0]).__name__} gives no array that could be averaged")
    members = np.stack(answers)
    return EnsemblePrediction(members.mean(axis=0), members)
