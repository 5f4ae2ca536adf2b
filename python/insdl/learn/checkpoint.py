"""Files that keep trained networks: weights, what the network is, what it was trained on, and how that went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from insdl.learn.registry import configuration, kind_of, rebuilt
from insdl.learn.torch_file import plain, read_torch_file, write_torch_file
from insdl.provenance import versions

_FORMATS = ("insdl network 2", "insdl network 1")


@dataclass(frozen=True)
class Epoch:
    """One line of a training's history.

    `validation_score` is the accuracy, or the rmse in standardised units, or what the training was told to score.
    """

    train_loss: float
    validation_loss: float
    validation_score: float
    learning_rate: float


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Parameters
    ----------
    network : on the CPU, in evaluation mode.
    description : values of whoever wrote it.
    data : what the network was trained on: the manifest of the stream, with the source's own description.
    history : of the training, epoch by epoch.
    versions : of insdl and the libraries that wrote it.
    """

    network: nn.Module
    description: dict[str, Any]
    data: dict[str, Any]
    history: tuple[Epoch, ...]
    versions: dict[str, str]


def save_checkpoint(
    path: Path | str,
    network: nn.Module,
    *,
    description: Mapping[str, Any] | None = None,
    history: Sequence[Epoch] = (),
    data: Mapping[str, Any] | None = None,
) -> None:
    """Writes a network to a file that is either complete or, after any interruption, as it was before.

    The file holds only tensors, numbers and text, so reading it runs no code.

    Parameters
    ----------
    network : of a class that is registered (`insdl.learn.registry.register_network`).
    description, data : whatever JSON can hold; see `Checkpoint`.
    """
    write_torch_file(
        path, {"format": _FORMATS[0], **packed(network, description, history, data), "versions": versions()}
    )


def load_checkpoint(path: Path | str) -> tuple[Any, dict[str, Any]]:
    """The network of a checkpoint file, of the class that was saved, on the CPU and in evaluation mode; its description.

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_checkpoint`.
    """
    found = read_checkpoint(path)
    return found.network, found.description


def read_checkpoint(path: Path | str) -> Checkpoint:
    """All that a checkpoint file holds.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a checkpoint, damaged, or of a network that is not known here.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no checkpoint file {path}")
    content = read_torch_file(path, formats=_FORMATS, kind="a checkpoint of insdl")
    return unpacked(content, path)


def packed(
    network: nn.Module,
    description: Mapping[str, Any] | None,
    history: Sequence[Epoch],
    data: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """A network as plain values and tensors."""
    if kind_of(network) is None:
        raise TypeError(f"a {type(network).__name__} cannot be built again from a file: register_network it first")
    return {
        "network": type(network).__name__,
        "module": type(network).__module__,
        "config": plain(asdict(configuration(network)), name="config"),  # type: ignore[call-overload]
        "state": cpu_state(network),
        "description": plain(description, name="description"),
        "data": plain(data, name="data"),
        "history": [asdict(epoch) for epoch in history],
    }


def unpacked(content: Mapping[str, Any], path: Path | str) -> Checkpoint:
    """The inverse of `packed`; ValueError, naming the file, if the values do not fit together."""
    try:
        network = rebuilt(content["network"], content.get("module", ""), content["config"])
        network.load_state_dict(content["state"])
        return Checkpoint(
            network.eval(),
            dict(content["description"]),
            dict(content.get("data", {})),
            tuple(Epoch(**epoch) for epoch in content.get("history", ())),
            dict(content.get("versions", {})),
        )
    except (ValueError, TypeError, KeyError, RuntimeError, ImportError) as error:
        raise ValueError(f"{path} is not a checkpoint of insdl: {error}") from error


def cpu_state(network: nn.Module) -> dict[str, Tensor]:
    """The weights and buffers of a network, copied to the CPU."""
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
