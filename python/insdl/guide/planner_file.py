"""A planner in a file: what took minutes to simulate and train is made once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from insdl.dataset.configuration import Configuration, configuration
from insdl.dataset.prior import Range
from insdl.guide.compression import Compression, pooled_frame
from insdl.guide.none_class import NoneOfThem
from insdl.guide.planner import Planner, PlannerSettings, prepare
from insdl.guide.surrogate import Surrogate, network_of
from insdl.learn.torch_file import read_torch_file, write_torch_file
from insdl.learn.unknowns import unknowns_of

FORMAT = "insdl planner 1"


def write_planner(path: Path | str, planner: Planner) -> None:
    """Writes a planner; `read_planner` reads it."""
    squeezed = planner.compression
    tensor = torch.as_tensor
    write_torch_file(
        path,
        {
            "format": FORMAT,
            "configuration": planner.configuration.model_dump(mode="json"),
            "measured": tensor(planner.measured),
            "pool": squeezed.pool,
            "pixels": tensor(squeezed.pixels),
            "weight": tensor(squeezed.weight),
            "bases": [tensor(basis.astype(np.float32)) for basis in squeezed.bases],
            "surrogates": {
                name: {
                    "state": dict(one.network.state_dict()),
                    "mean": tensor(one.mean),
                    "size": one.size,
                    "error": tensor(one.error),
                }
                for name, one in planner.surrogates.items()
            },
            "kinds": list(planner.none.kinds),
            "none_means": tensor(planner.none.means),
            "none_covariances": tensor(planner.none.covariances.astype(np.float32)),
            "scale": asdict(planner.scale),
            "background_mean": tensor(planner.background_mean),
            "background": tensor(planner.background),
        },
    )


def read_planner(path: Path | str) -> Planner:
    """The planner in a file.

    Raises
    ------
    ValueError
        If the file is damaged or holds something else.
    """
    content = read_torch_file(path, formats=(FORMAT,), kind="planner")
    given = configuration(content["configuration"], what=f"the configuration in {path}")
    frame = given.frame.image_frame()

    def array(value: Any) -> Any:
        return value.numpy().astype(np.float64)

    lengths = [len(np.asarray(block.bins)) for block in frame.blocks]
    squeezed = Compression(
        frame=pooled_frame(frame, content["pool"]),
        pool=content["pool"],
        pixels=array(content["pixels"]),
        weight=array(content["weight"]),
        blocks=np.repeat(np.arange(len(lengths)), lengths),
        bases=tuple(array(basis) for basis in content["bases"]),
    )
    return Planner(
        configuration=given,
        measured=content["measured"].numpy().astype(bool),
        incident_energies=np.array([block.incident_energy for block in frame.blocks]),
        compression=squeezed,
        unknowns={name: unknowns_of(given, name) for name in content["surrogates"]},
        surrogates={
            name: Surrogate(_network(one["state"]), array(one["mean"]), one["size"], array(one["error"]))
            for name, one in content["surrogates"].items()
        },
        none=NoneOfThem(tuple(content["kinds"]), array(content["none_means"]), array(content["none_covariances"])),
        scale=Range(**content["scale"]),
        background_mean=array(content["background_mean"]),
        background=array(content["background"]),
    )


def open_planner(
    path: Path,
    given: Configuration,
    *,
    models: Sequence[str] | None = None,
    settings: PlannerSettings | None = None,
    threads: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Planner:
    """The planner in a file, made and written first where there is no such file.

    Raises
    ------
    ValueError
        If the file's planner is of another configuration or other models.
    """
    if not path.exists():
        planner = prepare(given, models=models, settings=settings, threads=threads, progress=progress)
        write_planner(path, planner)
        return planner
    found = read_planner(path)
    names = tuple(rival.name for rival in given.classes) if models is None else tuple(models)
    if found.models != names or found.configuration != given:
        raise ValueError(
            f"{path} holds a planner of {', '.join(found.models)} and the configuration {found.configuration.name!r}, expected "
            f"{', '.join(names)} and the same configuration as given, {given.name!r}: name another file"
        )
    return found


def _network(state: dict[str, torch.Tensor]) -> nn.Sequential:
    inputs, width = state["0.weight"].shape[1], state["0.weight"].shape[0]
    network = network_of(inputs, width, state["4.weight"].shape[0])
    network.load_state_dict(state)
    return network
