"""What `insdl explain` is given: networks, simulated images, and the image whose answer is asked about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from insdl.dataset.pcsmo import network_input
from insdl.dataset.randomness import generator
from insdl.dataset.source import GOOD
from insdl.dataset.view import network_view
from insdl.explain.layers import Target
from insdl.explain.seen_cells import SeenCells
from insdl.instrument.frame import ImageFrame
from insdl.instrument.measurement import Measurement
from insdl.learn.jury import load_jury
from insdl.learn.networks import CellClassifier, CellSetClassifier, Network
from insdl.learn.train import load_checkpoint

_Array = npt.NDArray[Any]
Explainable = Network | SeenCells


@dataclass(frozen=True, eq=False)
class Given:
    """What is explained: networks, simulated images, and the image whose answer is asked about.

    Attributes
    ----------
    networks : the first is explained; the others differ from it in their seed alone.
    frame : ImageFrame of the images.
    images : (n, n_bins, n_h, n_k) float32. Simulated network inputs: log(1 + counts), or arsinh(counts) of a jury's.
    labels : (n,) int64. Their classes. names : of the classes.
    image : (n_bins, n_h, n_k) float32. The network input that is explained, and what it is: `what`.
    measured : (n_bins, n_h, n_k) bool. Where a detector looks.
    target : what is asked.
    """

    networks: tuple[Explainable, ...]
    frame: ImageFrame
    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    names: tuple[str, ...]
    image: npt.NDArray[np.float32]
    what: str
    measured: npt.NDArray[np.bool_]
    target: Target

    @property
    def network(self) -> Explainable:
        """The network that is explained."""
        return self.networks[0]

    @property
    def asked(self) -> str:
        """The target in words."""
        return " - ".join(str(part) for part in self.target) if isinstance(self.target, tuple) else str(self.target)


def gather(
    checkpoints: Sequence[Path],
    *,
    preset: str,
    samples: int,
    seed: int,
    target: str | None,
    measurement: Measurement | None,
    threads: int | None = None,
) -> Given:
    """Networks from their files, simulated images of a configuration or preset, and a measurement if there is one.

    Without a measurement, the first simulated image is explained. The classes and the frame are the configuration's.
    """
    from insdl.dataset.configuration import configuration, load_source
    from insdl.dataset.configured import ConfiguredSource

    source = load_source(preset, n_samples=samples, seed=seed)
    assert isinstance(source, ConfiguredSource)
    if measurement is not None:  # the simulated images get its detectors, and no gaps of their own
        content = source.configuration.model_dump()
        content["detection"]["coverage"] = {"bank": "none"}
        source = ConfiguredSource(configuration(content))
    frame = source.configuration.frame.image_frame()
    measured = source.detector.measured if measurement is None else measurement.measured
    networks = _networks(checkpoints, frame=frame, measured=measured, what=preset)
    transform = _transform(networks[0])
    made = source.make(range(samples), threads=threads)
    stable = np.flatnonzero(made.status == GOOD)
    counts = [source.detect(made.images[i], generator(seed, "explain/detection", int(i))) for i in stable]
    images = np.stack([transform(one, measured) for one in counts])
    image = images[0] if measurement is None else transform(measurement.image.astype(np.float32), measured)
    what = (
        f"simulated: {source.classes[made.labels[stable[0]]]}"
        if measurement is None
        else measurement.source.split(" (")[0]
    )
    asked = _target(networks[0], target)
    return Given(networks, frame, images, made.labels[stable], source.classes, image, what, measured, asked)


def _networks(
    files: Sequence[Path], *, frame: ImageFrame, measured: npt.NDArray[np.bool_], what: str
) -> tuple[Explainable, ...]:
    """Networks of checkpoints, and all members of juries, checked to read images of a frame and to answer alike."""
    found: list[Explainable] = []
    for path in files:
        for network in _read(path):
            shape = network.config.image_shape
            if isinstance(network, CellSetClassifier):
                shape = (shape[0] // 2, *shape[1:])
            if shape != frame.shape:
                raise ValueError(f"{path} reads images of shape {shape}, those of {what} have {frame.shape}")
            if found and network.config.outputs != found[0].config.outputs:
                raise ValueError(f"{path} answers {network.config.outputs}, the first {found[0].config.outputs}")
            found.append(SeenCells(network, measured) if isinstance(network, CellSetClassifier) else network)
    if len({type(network) for network in found}) > 1:
        raise ValueError("networks that are explained together must be of one kind")
    return tuple(found)


def _read(path: Path) -> tuple[Network, ...]:
    try:
        return load_jury(path).members
    except FileNotFoundError:
        raise
    except ValueError:
        return (load_checkpoint(path)[0],)


def _transform(network: Explainable) -> Callable[[_Array, _Array], npt.NDArray[np.float32]]:
    """Counts and where they were measured -> what a network reads of them."""
    if not isinstance(network, SeenCells):
        return network_input
    return lambda counts, measured: network_view(counts, measured)[: len(measured)]


def _target(network: Explainable, text: str | None) -> Target:
    """One output's name, or two with a comma between; by default the contrast of the first two classes, or the first."""
    names = network.config.outputs
    if text is None:
        return (names[0], names[1]) if isinstance(network, CellClassifier | SeenCells) else names[0]
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if part not in names:
            raise ValueError(f"target must be one of {', '.join(names)}, or two of them with a comma, got {text!r}")
    if len(parts) > 2:
        raise ValueError(f"target must be one output, or two with a comma, got {text!r}")
    return parts[0] if len(parts) == 1 else (parts[0], parts[1])
