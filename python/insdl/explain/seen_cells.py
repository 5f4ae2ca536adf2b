"""A network of cells and masks as one of cells alone, for one detector: what the other methods of this room can explain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from insdl.explain.grid import Entrance
from insdl.learn.networks import CellSetClassifier, CellSetClassifierConfig


class SeenCells(nn.Module):
    """A `CellSetClassifier` behind a fixed detector mask: reads (n, cells, p, p), values as in `network_view`, no masks.

    Layers have the names that they have in the classifier.

    Parameters
    ----------
    network : shares its weights with this.
    measured : (cells, p, p) bool. Where a detector looks; values elsewhere are not looked at.

    Examples
    --------
    >>> network = CellSetClassifier([(35.0, 5.0, 10.0), (70.0, 10.0, 20.0)], classes=("goodenough", "dimer"))
    >>> SeenCells(network, np.ones((2, 40, 40), bool))(torch.zeros(3, 2, 40, 40)).shape
    torch.Size([3, 2])
    """

    mask: Tensor

    def __init__(self, network: CellSetClassifier, measured: npt.ArrayLike) -> None:
        super().__init__()
        seen = np.asarray(measured, dtype=bool)
        shape = (len(network.config.cells), *network.config.image_shape[1:])
        if seen.shape != shape:
            raise ValueError(f"measured must have shape {shape}, got {seen.shape}")
        self._whole = [network]  # not registered: its modules are, under their own names
        for name, module in network.named_children():
            self.add_module(name, module)
        self.register_buffer("mask", torch.from_numpy(seen.astype(np.float32)), persistent=False)
        self.config = SeenCellsConfig(network.config)
        folded = network.config.mirrors == "folded"
        middle = shape[1] / 2 if folded else 0.0
        self.entrance = Entrance("cells", ("weights", "place"), middle + 0.5, 2.0, 4.0, network.config.mirrors)

    @property
    def network(self) -> CellSetClassifier:
        """The classifier itself."""
        return self._whole[0]

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (n, classes), of images, (n, cells, p, p)."""
        logits: Tensor = self.network(torch.cat([images, self.mask.expand(len(images), -1, -1, -1)], dim=1))
        return logits


class SeenCellsConfig:
    """`config` of a `SeenCells`: the classifier's, with the shape of images without masks."""

    def __init__(self, classifier: CellSetClassifierConfig) -> None:
        self.classifier = replace(classifier)
        self.outputs = classifier.outputs

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one image: (cells, p, p)."""
        return (len(self.classifier.cells), *self.classifier.image_shape[1:])
