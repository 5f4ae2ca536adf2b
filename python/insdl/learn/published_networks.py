"""The networks that were published for Pr(Ca0.9Sr0.1)2Mn2O7, for reproduction; not what insdl answers with.

Butler, Le, Thiyagalingam and Perring, J. Phys.: Condens. Matter 33, 194006 (2021), doi:10.1088/1361-648X/abea1c. The
layers are those of the code that its authors published, https://github.com/keeeto/interpretable-ml-neutron-spectroscopy
(`cnn_dense` of section 4.1, `cnn_global` of section 4.3, `CNN_DUQ` of section 4.2), and the sizes and numbers of
parameters those that its notebooks print. The pictures go in as one channel of 240 x 400: 6 incident energies below
each other, 10 energy transfers beside each other, so that convolutions straddle cells that have nothing to do with
each other. Written anew here.

Where the frameworks differ (two of the three were written in Keras), numbers follow the original: batch norm with
eps 1e-3 that keeps 0.99 of its running values at each step, and Glorot's uniform initial weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from insdl.instrument.pcsmo import SHEET_SHAPE
from insdl.learn.objective import Examples, Objective, accuracy, checked_class, one_hot
from insdl.learn.registry import register_network

ROWS, COLUMNS = SHEET_SHAPE
CLIP = 120.0
"""Largest intensity that the published networks were shown."""
CLASSES = ("dimer", "goodenough")
"""In the published order: class 1 is Goodenough."""


@dataclass(frozen=True)
class PublishedClassifierConfig:
    """What a `PublishedClassifier` is made of."""

    head: Literal["dense", "global"]
    outputs: tuple[str, ...]
    rows: int
    columns: int
    seed: int

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one image: (1, rows, columns)."""
        return (1, self.rows, self.columns)


@dataclass(frozen=True)
class PublishedDuqConfig:
    """What a `PublishedDuq` is made of."""

    outputs: tuple[str, ...]
    rows: int
    columns: int
    embedding: int
    length_scale: float
    momentum: float
    seed: int

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one image: (1, rows, columns)."""
        return (1, self.rows, self.columns)


def published_input(images: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Images as the published networks were shown them: clipped to 0 to 120, then each scaled to 0 to 1.

    Parameters
    ----------
    images : (n, 240, 400), sheets as `insdl.instrument.pcsmo.to_sheet` makes them. Intensities in the unit of the published
        data; NaN, where nothing was measured, counts as 0.

    Returns
    -------
    (n, 1, 240, 400) float32. An image that is the same everywhere becomes 0.
    """
    array = np.nan_to_num(np.asarray(images, dtype=np.float64), nan=0.0)
    if array.ndim != 3 or array.shape[1:] != SHEET_SHAPE:
        raise ValueError(f"images must have shape (n, 240, 400), got {array.shape}")
    array = np.clip(array, 0.0, CLIP)
    low = array.min(axis=(1, 2), keepdims=True)
    span = array.max(axis=(1, 2), keepdims=True) - low
    return np.asarray(((array - low) / np.where(span > 0, span, 1.0))[:, None], dtype=np.float32)


class PublishedClassifier(nn.Module):
    """Six convolutions without padding, ReLU after each, and one of two heads.

    =========== =============== ====================================================================
    layer       output          what it is
    =========== =============== ====================================================================
    `conv1`     (16, 236, 396)  5 x 5
    `conv2`     (16, 234, 394)  3 x 3, then the largest of 1 x 2, then batch norm with the dense head
    `conv3`     (16, 234, 195)  1 x 3
    `conv4`     (32, 234, 193)  1 x 3, then the largest of 2 x 2, then batch norm with the dense head
    `conv5`     (32, 117, 94)   1 x 3
    `conv6`     (32, 117, 92)   1 x 3, then batch norm
    "dense"     (2,)            flattened, 344 448 -> 64, ReLU, 64 -> 2; 22 056 322 weights in all
    "global"    (2,)            mean over pixels, 32 -> 2; 11 426 weights in all
    =========== =============== ====================================================================

    Each of the two outputs was a sigmoid of its own, trained with the binary cross-entropy to be 1 for its class; here they
    are logits, and `insdl.learn.prediction.predict` gives the sigmoids, which need not add up to 1. Published training:
    Adam, learning rate 1e-3, batches of 128, 6000 images, until the validation accuracy had not risen for 20 epochs.

    Parameters
    ----------
    head : "dense", which judged the measurement, or "global", for class activation maps.
    classes : names in the order of the outputs.
    rows, columns : of an image.
    seed : of the initial weights.
    """

    config: PublishedClassifierConfig

    def __init__(
        self,
        head: Literal["dense", "global"] = "dense",
        *,
        classes: Sequence[str] = CLASSES,
        rows: int = ROWS,
        columns: int = COLUMNS,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if head not in ("dense", "global"):
            raise ValueError(f"head must be 'dense' or 'global', got {head!r}")
        self.config = PublishedClassifierConfig(head, tuple(classes), rows, columns, seed)
        height, width = _grid(rows, columns)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv1 = nn.Conv2d(1, 16, 5)
            self.conv2 = nn.Conv2d(16, 16, 3)
            self.norm1: nn.Module = _keras_norm(16) if head == "dense" else nn.Identity()
            self.conv3 = nn.Conv2d(16, 16, (1, 3))
            self.conv4 = nn.Conv2d(16, 32, (1, 3))
            self.norm2: nn.Module = _keras_norm(32) if head == "dense" else nn.Identity()
            self.conv5 = nn.Conv2d(32, 32, (1, 3))
            self.conv6 = nn.Conv2d(32, 32, (1, 3))
            self.norm3 = _keras_norm(32)
            if head == "dense":
                layers = [nn.Flatten(), nn.Linear(32 * height * width, 64), nn.ReLU(), nn.Linear(64, len(classes))]
            else:
                layers = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, len(classes))]
            self.head = nn.Sequential(*layers)
            for module in self.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    nn.init.xavier_uniform_(module.weight)
                    nn.init.zeros_(cast(Tensor, module.bias))

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (n, classes), of images, (n, 1, rows, columns)."""
        _check_shape(images, self.config.image_shape)
        features = functional.relu(self.conv2(functional.relu(self.conv1(images))))
        features = self.norm1(functional.max_pool2d(features, (1, 2)))
        features = functional.relu(self.conv4(functional.relu(self.conv3(features))))
        features = self.norm2(functional.max_pool2d(features, (2, 2)))
        features = self.norm3(functional.relu(self.conv6(functional.relu(self.conv5(features)))))
        logits: Tensor = self.head(features)
        return logits


class PublishedDuq(nn.Module):
    """The published deterministic uncertainty quantification: a kernel value for each class, 1 at the class's centroid.

    The same convolutions, with three peculiarities of the published code: `conv5` is applied twice and stands for both of
    the last ones, so does `norm2`, and batch norm comes after the pooling and at the end. Then 344 448 -> 64 with ReLU, and
    for each class c a matrix W_c of 64 x 64, and exp(-mean_k (W_c f - e_c)_k^2 / (2 l^2)) with length scale l = 1
    (van Amersfoort et al., arXiv:2003.02037, equation 1).

    The centroids e_c = m_c / N_c are to follow the features: m and N keep `momentum` of their values at each step and take
    the rest from the batch, see `follow`. The published training had a momentum of 1: its centroids stayed the random
    numbers, of variance 1, that they began as. Published training: `duq_loss`, SGD with learning rate 0.01, momentum 0.9
    and weight decay 1e-4, batches of 32, 3500 images, 100 epochs.

    Parameters
    ----------
    classes, rows, columns, seed : as in `PublishedClassifier`.
    embedding : numbers in which features and centroids are compared.
    length_scale : l.
    momentum : of the centroids; 1 as published, where they never move. Below 1 they follow.
    """

    config: PublishedDuqConfig
    centroid_sum: Tensor
    centroid_count: Tensor

    def __init__(
        self,
        *,
        classes: Sequence[str] = CLASSES,
        rows: int = ROWS,
        columns: int = COLUMNS,
        embedding: int = 64,
        length_scale: float = 1.0,
        momentum: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 <= momentum <= 1 or length_scale <= 0 or embedding < 1:
            raise ValueError(
                f"DUQ needs 0 <= momentum <= 1, length_scale > 0 and embedding >= 1, got {momentum}, {length_scale}, "
                f"{embedding}"
            )
        self.config = PublishedDuqConfig(tuple(classes), rows, columns, embedding, length_scale, momentum, seed)
        height, width = _grid(rows, columns)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv1 = nn.Conv2d(1, 16, 5)
            self.conv2 = nn.Conv2d(16, 16, 3)
            self.norm1 = nn.BatchNorm2d(16)
            self.conv3 = nn.Conv2d(16, 16, (1, 3))
            self.conv4 = nn.Conv2d(16, 32, (1, 3))
            self.norm2 = nn.BatchNorm2d(32)
            self.conv5 = nn.Conv2d(32, 32, (1, 3))
            self.dense = nn.Linear(32 * height * width, 64)
            self.kernels = nn.Parameter(0.05 * torch.randn(embedding, len(classes), 64))
            self.register_buffer("centroid_count", torch.full((len(classes),), 12.0))
            self.register_buffer("centroid_sum", 12.0 * torch.randn(embedding, len(classes)))

    def embedded(self, images: Tensor) -> Tensor:
        """W_c f of every class, (n, embedding, classes), of images, (n, 1, rows, columns)."""
        _check_shape(images, self.config.image_shape)
        features = functional.relu(self.conv2(functional.relu(self.conv1(images))))
        features = self.norm1(functional.max_pool2d(features, (1, 2)))
        features = functional.relu(self.conv4(functional.relu(self.conv3(features))))
        features = self.norm2(functional.max_pool2d(features, (2, 2)))
        features = self.norm2(functional.relu(self.conv5(functional.relu(self.conv5(features)))))
        features = functional.relu(self.dense(features.flatten(1)))
        return torch.einsum("nf,ecf->nec", features, self.kernels)

    def forward(self, images: Tensor) -> Tensor:
        """Kernel values, (n, classes), each above 0 and at most 1, of images, (n, 1, rows, columns)."""
        distance = self.embedded(images) - self.centroid_sum / self.centroid_count
        return torch.exp(-(distance**2).mean(dim=1) / (2 * self.config.length_scale**2))

    @torch.no_grad()
    def follow(self, batch: Examples) -> None:
        """Moves the centroids towards the features of a batch: `after_step` of `insdl.learn.train.train`."""
        member = functional.one_hot(batch.targets, len(self.config.outputs)).to(batch.images.dtype)
        keep = self.config.momentum
        embedded = self.embedded(batch.images)
        self.centroid_count.mul_(keep).add_((1 - keep) * member.sum(dim=0))
        self.centroid_sum.mul_(keep).add_((1 - keep) * torch.einsum("nec,nc->ec", embedded, member))


def duq_loss(network: nn.Module, batch: Examples) -> Tensor:
    """Binary cross-entropy of the kernel values plus the two-sided gradient penalty, of weight 1, as published.

    The penalty is the mean over the batch of (|d sum_c K_c / d image| - 1)^2.
    """
    with torch.enable_grad():  # the penalty needs a gradient also where none is wanted
        images = batch.images.detach().requires_grad_(True)
        values: Tensor = network(images)
        (slope,) = torch.autograd.grad(values.sum(), images, create_graph=True)
        penalty = ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
        total: Tensor = _kernel_cross_entropy(values, batch.targets) + penalty
        return total


def _kernel_cross_entropy(values: Tensor, targets: Tensor) -> Tensor:
    return functional.binary_cross_entropy(values, one_hot(targets, values))


def _kernel_values(values: Tensor) -> npt.NDArray[np.float64]:
    return np.array(values.numpy())


def _grid(rows: int, columns: int) -> tuple[int, int]:
    """Height and width after the last convolution."""
    height, width = (rows - 6) // 2, (((columns - 6) // 2 - 4) // 2) - 4
    if height < 1 or width < 1:
        raise ValueError(f"images of {rows} x {columns} pixels are too small: 8 x 34 at least")
    return height, width


def _keras_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _check_shape(images: Tensor, image_shape: tuple[int, int, int]) -> None:
    if images.ndim != 4 or tuple(images.shape[1:]) != image_shape:
        expected = ", ".join(map(str, image_shape))
        raise ValueError(f"images must have shape (n, {expected}), got {tuple(images.shape)}")


def _classifier(options: dict[str, Any]) -> nn.Module:
    return PublishedClassifier(classes=options.pop("outputs"), **options)


def _duq(options: dict[str, Any]) -> nn.Module:
    return PublishedDuq(classes=options.pop("outputs"), **options)


register_network(PublishedClassifier, PublishedClassifierConfig, objective="binary-cross-entropy", build=_classifier)
register_network(
    PublishedDuq,
    PublishedDuqConfig,
    objective=Objective("kernel cross-entropy", _kernel_cross_entropy, accuracy, checked_class, _kernel_values),
    build=_duq,
)
