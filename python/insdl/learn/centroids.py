"""Deterministic uncertainty: a network that measures the distance to the centroid of each class.

Van Amersfoort, Smith, Teh and Gal, ICML 2020 (arXiv:2003.02037), "DUQ". Features f(x) are mapped by one matrix a class
to embeddings W_c f(x); the answer for class c is the kernel

    K_c = exp(-mean_d (W_c f(x) - e_c)_d^2 / (2 length_scale^2)),

and an image far from all centroids e_c has low kernel values everywhere. The loss is a binary cross-entropy for each
class, with no gradient to the centroids: they are exponential averages of the embeddings of their class,

    N_c <- decay N_c + (1 - decay) n_c,   m_c <- decay m_c + (1 - decay) sum W_c f(x),   e_c = m_c / N_c,

updated after each step. A two-sided penalty (|grad_x sum_c K_c| / slope - 1)^2 keeps the features from mapping
different images to the same place; the published one has slope 1.

Changes to the published recipe, for short trainings. The first batch puts each centroid on the mean of its class,
instead of moving it there slowly from a random place near 0. The length scale is set relative to the spread of the
embeddings around these means: where it is larger than the embeddings themselves, everything is near everything. The
averages are taken in training mode, as the loss is, because the running averages of batch norm lag behind. And the
cross-entropy is computed from the squared distance, not from the kernel, which underflows and has no gradient far from
the centroids.

Where centroids start at N(0, 0.05^2) under a length scale of 0.1, as published, and never move, the training pulls the
embeddings of all classes to 0. An image without features, an empty one for example, has embeddings of exactly 0 and
then a kernel value of about exp(-0.05^2 / (2 0.1^2)) = 0.88 for *every* class: it passes as known. On easy data the
embeddings come to the centroids faster than the centroids move, and moving them does not mend it; the start does.
The kernel is trained where there are images, and no more than that: what it says of strange ones has to be measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from insdl.learn.networks import evaluation_mode

_SMALLEST = 1e-6  # squared distance, in units of the kernel, below which an embedding is its centroid


@dataclass(frozen=True)
class CentroidSettings:
    """How a centroid network is trained.

    Parameters
    ----------
    decay : of the exponential averages, 0 <= decay < 1; an average remembers about 1 / (1 - decay) batches. With 1, the
        centroids would never move.
    penalty : weight of the gradient penalty; 0 leaves it out.
    slope : what the gradient's length is drawn to, in 1 / (distance between images, the root of the summed squares of
        pixel differences). The published 1 belongs to images that differ by about 1; kernel values should change
        between images that matter and not between two noises, so 1 / (distance between images of two classes) is a
        better start for counted images.
    learning_rate, momentum, weight_decay : of stochastic gradient descent.
    gradient_clip : largest norm of the gradient of a step.
    """

    decay: float = 0.99
    penalty: float = 0.1
    slope: float = 1.0
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-4
    gradient_clip: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.decay < 1.0:
            raise ValueError(f"decay must be at least 0 and below 1, or centroids would not move, got {self.decay}")
        for name in ("penalty", "weight_decay", "momentum"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("slope", "learning_rate", "gradient_clip"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}")


class CentroidClassifier(nn.Module):
    """Kernel values, (n, classes) between 0 and 1, of images: how near each class's centroid they are.

    Parameters
    ----------
    body : maps images (n, ...) to features (n, features).
    features : number of features.
    classes : number of classes.
    embedding : length of an embedding W_c f.
    length_scale : of the kernel, in units of the root-mean-square deviation of an embedding's components from the mean of
        its class before training.
    seed : of the initial W.

    Notes
    -----
    `total` (classes, embedding) and `count` (classes,) are m and N, `scale` () is the length scale in units of the
    embedding; all are part of the weights that are stored. A class that was never seen has no centroid, and the kernel
    value 0.
    """

    total: Tensor
    count: Tensor
    scale: Tensor

    def __init__(
        self,
        body: nn.Module,
        *,
        features: int,
        classes: int,
        embedding: int = 32,
        length_scale: float = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value in (("features", features), ("classes", classes), ("embedding", embedding)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not (math.isfinite(length_scale) and length_scale > 0):
            raise ValueError(f"length_scale must be positive and finite, got {length_scale}")
        self.body = body
        self.length_scale = length_scale
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.weight = nn.Parameter(torch.randn(classes, embedding, features) * math.sqrt(2.0 / features))
        self.register_buffer("total", torch.zeros(classes, embedding))
        self.register_buffer("count", torch.zeros(classes))
        self.register_buffer("scale", torch.ones(()))

    @property
    def centroids(self) -> Tensor:
        """(classes, embedding), e_c = m_c / N_c; NaN for a class that was never seen."""
        return self.total / self.count[:, None]

    def embeddings(self, images: Tensor) -> Tensor:
        """W_c f(x), (n, classes, embedding)."""
        features = self.body(images)
        if features.ndim != 2 or features.shape[1] != self.weight.shape[2]:
            raise ValueError(f"body must give shape (n, {self.weight.shape[2]}), got {tuple(features.shape)}")
        return torch.einsum("cef,nf->nce", self.weight, features)

    def squared_distances(self, images: Tensor) -> Tensor:
        """-ln of the kernel values, (n, classes); infinite for a class without a centroid."""
        mean_square = (self.embeddings(images) - self.centroids).pow(2).mean(dim=2)
        distances = mean_square / (2 * self.scale**2)
        return torch.where(self.count > 0, distances, torch.full_like(distances, math.inf))

    def forward(self, images: Tensor) -> Tensor:
        """Kernel values, (n, classes), 0 to 1."""
        return torch.exp(-self.squared_distances(images))

    @torch.no_grad()
    def start_centroids(self, images: Tensor, labels: Tensor) -> None:
        """Puts the centroids on the class means of a batch and sets the length scale by its spread around them.

        Parameters
        ----------
        images : (n, ...). labels : (n,) class indices; every class must occur.
        """
        seen = set(labels.tolist())
        if seen != set(range(len(self.count))):
            raise ValueError(
                f"the first batch must hold every class from 0 to {len(self.count) - 1}, got {sorted(seen)}"
            )
        self.update_centroids(images, labels, decay=0.0)
        own = self.embeddings(images)[torch.arange(len(labels)), labels]
        spread = (own - self.centroids[labels]).pow(2).mean().sqrt()
        if not (math.isfinite(spread.item()) and spread > 0):
            raise ValueError(f"the images of a class must differ, got a spread of {spread.item()} around their mean")
        self.scale.copy_(self.length_scale * spread)

    @torch.no_grad()
    def update_centroids(self, images: Tensor, labels: Tensor, *, decay: float) -> None:
        """Moves the centroids towards the embeddings of a batch, in the mode in which the network is.

        Parameters
        ----------
        images : (n, ...). labels : (n,) class indices. decay : see `CentroidSettings`.
        """
        found = self.embeddings(images)
        own = nn.functional.one_hot(labels, len(self.count)).to(found.dtype)
        self.count.mul_(decay).add_(own.sum(dim=0), alpha=1 - decay)
        self.total.mul_(decay).add_(torch.einsum("nc,nce->ce", own, found), alpha=1 - decay)


def centroid_loss(network: CentroidClassifier, images: Tensor, labels: Tensor, *, settings: CentroidSettings) -> Tensor:
    """Mean over images of the summed binary cross-entropies, plus the gradient penalty.

    -ln K_c = d_c for the class of the image and -ln(1 - K_c) = -ln(1 - exp(-d_c)) for every other.

    Parameters
    ----------
    images : (n, ...). labels : (n,) class indices. All classes must have a centroid.
    """
    penalised = settings.penalty > 0
    seen = images.detach().requires_grad_(penalised)
    distances = network.squared_distances(seen)
    own = nn.functional.one_hot(labels, distances.shape[1]).bool()
    others = -torch.log(-torch.expm1(-distances.clamp_min(_SMALLEST)))
    loss = torch.where(own, distances, others).sum(dim=1).mean()
    if penalised:
        total = torch.exp(-distances).sum()  # images are independent of each other but for batch norm
        (gradient,) = torch.autograd.grad(total, seen, create_graph=True)
        length = gradient.flatten(start_dim=1).norm(dim=1)
        loss = loss + settings.penalty * ((length / settings.slope - 1) ** 2).mean()
    return loss


def train_centroids(
    network: CentroidClassifier,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    settings: CentroidSettings | None = None,
) -> tuple[float, ...]:
    """Trains in place, a step a batch, and returns the loss of each step; the network's mode is kept.

    Parameters
    ----------
    batches : of images (n, ...) and labels (n,). The first one must hold every class; it starts the centroids.
    settings : see `CentroidSettings`.

    Raises
    ------
    ValueError
        if a class is missing in the first batch.
    RuntimeError
        if the loss is not finite.
    """
    settings = CentroidSettings() if settings is None else settings
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    losses: list[float] = []
    with evaluation_mode(network), torch.enable_grad():
        for images, labels in batches:
            network.train()
            if not bool((network.count > 0).any()):
                network.start_centroids(images, labels)
            optimizer.zero_grad()
            loss = centroid_loss(network, images, labels, settings=settings)
            if not math.isfinite(loss.item()):
                raise RuntimeError(f"training diverged in step {len(losses)}: loss {loss.item()}")
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_clip)
            optimizer.step()
            network.update_centroids(images, labels, decay=settings.decay)
            losses.append(loss.item())
    return tuple(losses)
