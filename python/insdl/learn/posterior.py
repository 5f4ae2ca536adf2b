"""The posterior of model parameters as a network gives it: a mixture of normal distributions with full covariances.

A mixture density network (Bishop, NCRG/94/004 (1994)) on features of the measurement, trained on simulated pairs by the
negative log-likelihood: neural posterior estimation without rounds (Papamakarios and Murray, NeurIPS 2016). The mixture lives
in x = logit((theta - low) / (high - low)), so that no sample lies outside the bounds of the prior.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from insdl.dataset.parameter_prior import ParameterPrior

_Reals = npt.NDArray[np.float64]
_EDGE = 1e-6  # how near to a bound a parameter can be told from it, in units of the range
_SMALLEST = -7.0  # logarithm of the smallest width of a component, in logits


@dataclass(frozen=True)
class PosteriorSettings:
    """How a `MixturePosterior` is trained; the defaults take seconds for some ten thousand pairs."""

    epochs: int = 40
    batch_size: int = 256
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    held_out: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size) < 1 or not 0 < self.held_out < 1 or not self.learning_rate > 0:
            raise ValueError(
                f"epochs and batch_size must be at least 1, held_out in 0 to 1, learning_rate positive, got {self}"
            )


class MixturePosterior(nn.Module):
    """p(theta | features): a mixture of normal distributions in logits, with weights, means and covariances from a perceptron.

    Parameters
    ----------
    features : number of features of a measurement.
    prior : ParameterPrior. Its bounds are those of the posterior.
    components : of the mixture.
    hidden : width of the two hidden layers.
    seed : of the initial weights.

    Examples
    --------
    >>> prior = ParameterPrior(("J1", "J2"), np.array([0.5, -0.03]), np.array([0.8, 0.05]))
    >>> posterior = MixturePosterior(5, prior=prior)
    >>> posterior.sample(np.zeros(5), 100, seed=0).shape
    (100, 2)
    """

    low: Tensor
    high: Tensor
    feature_mean: Tensor
    feature_scale: Tensor

    def __init__(
        self, features: int, *, prior: ParameterPrior, components: int = 4, hidden: int = 64, seed: int = 0
    ) -> None:
        super().__init__()
        if min(features, components, hidden) < 1:
            raise ValueError(
                f"features, components and hidden must be at least 1, got {features}, {components} and {hidden}"
            )
        self.features, self.components, self.hidden, self.prior = features, components, hidden, prior
        n = self.n = len(prior.names)
        self.register_buffer("low", torch.from_numpy(prior.low.copy()))
        self.register_buffer("high", torch.from_numpy(prior.high.copy()))
        self.register_buffer("feature_mean", torch.zeros(features))
        self.register_buffer("feature_scale", torch.ones(features))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = nn.Sequential(
                nn.Linear(features, hidden),
                nn.ReLU(),
                nn.Linear(hidden, hidden),
                nn.ReLU(),
                nn.Linear(hidden, components * (1 + n + n * (n + 1) // 2)),
            )

    def mixture(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-weights (m, c), means (m, c, n) and Cholesky factors of the precisions (m, c, n, n) in logits."""
        c, n = self.components, self.n
        raw = self.network((features - self.feature_mean) / self.feature_scale)
        weight, mean, rest = raw.split([c, c * n, c * n * (n + 1) // 2], dim=1)
        rest = rest.reshape(-1, c, n * (n + 1) // 2)
        diagonal = torch.exp(-(_SMALLEST + nn.functional.softplus(-rest[..., :n] - _SMALLEST)))
        factor = torch.diag_embed(diagonal)
        row, column = torch.tril_indices(n, n, offset=-1)
        # Off the diagonal in units of it: a strong correlation needs no large number of a network.
        factor[..., row, column] = rest[..., n:] * diagonal[..., row]
        return torch.log_softmax(weight, dim=1), mean.reshape(-1, c, n), factor

    def logits(self, parameters: Tensor) -> Tensor:
        """Parameters (..., n) in units without bounds."""
        unit = ((parameters - self.low) / (self.high - self.low)).clamp(_EDGE, 1.0 - _EDGE)
        return torch.logit(unit)

    def log_density(self, logits: Tensor, features: Tensor) -> Tensor:
        """(m, k) logarithm of the density in logits of (m, k, n) at features (m, n_features)."""
        weight, mean, factor = self.mixture(features)
        offset = logits[:, :, None, :] - mean[:, None]
        white = torch.einsum("mcij,mkcj->mkci", factor, offset)
        normal = -0.5 * (white**2).sum(-1) - 0.5 * self.n * math.log(2.0 * math.pi)
        scale = torch.log(torch.diagonal(factor, dim1=-2, dim2=-1)).sum(-1)
        return torch.logsumexp(normal + (weight + scale)[:, None], dim=2)

    def log_prob(self, parameters: npt.ArrayLike, features: npt.ArrayLike) -> _Reals:
        """Logarithm of the posterior density of parameters, per units of the parameters.

        Parameters
        ----------
        parameters : (k, n) float64 for one measurement.
        features : (n_features,).

        Returns
        -------
        (k,) float64; minus infinity outside the bounds.
        """
        values, context = self._checked(parameters, features)
        with torch.no_grad():
            inside = ((values >= self.low) & (values <= self.high)).all(-1)
            x = self.logits(values)
            unit = torch.sigmoid(x)
            slope = torch.log(unit * (1.0 - unit) * (self.high - self.low)).sum(-1)
            density = self.log_density(x[None].float(), context[None]).double()[0] - slope
            density[~inside] = -math.inf
        return np.asarray(density.numpy(), dtype=np.float64)

    def sample(self, features: npt.ArrayLike, n_samples: int, *, seed: int) -> _Reals:
        """(n_samples, n) float64. Parameters drawn from the posterior of one measurement, all within the bounds.

        Parameters
        ----------
        features : (n_features,).
        seed : of the draws; torch's own random numbers are left as they were.
        """
        if n_samples < 1:
            raise ValueError(f"n_samples must be at least 1, got {n_samples}")
        _, context = self._checked(np.zeros((1, self.n)), features)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            weight, mean, factor = self.mixture(context[None])
            which = torch.multinomial(weight[0].exp(), n_samples, replacement=True)
            white = torch.randn(n_samples, self.n, 1)
            offset = torch.linalg.solve_triangular(factor[0][which], white, upper=False)[..., 0]
            unit = torch.sigmoid((mean[0][which] + offset).double())
            values = self.low + (self.high - self.low) * unit
        return np.asarray(values.numpy(), dtype=np.float64)

    def _checked(self, parameters: npt.ArrayLike, features: npt.ArrayLike) -> tuple[Tensor, Tensor]:
        values, context = np.asarray(parameters, dtype=np.float64), np.asarray(features, dtype=np.float32)
        if values.ndim != 2 or values.shape[1] != self.n:
            raise ValueError(f"parameters must have shape (k, {self.n}), got {values.shape}")
        if context.shape != (self.features,) or not np.isfinite(context).all():
            raise ValueError(f"features must be {self.features} finite numbers of one measurement, got {context.shape}")
        return torch.from_numpy(values), torch.from_numpy(context)


@contextmanager
def _one_thread() -> Iterator[None]:
    """The matrices here are so small that a second thread only waits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def fit_posterior(
    features: npt.ArrayLike,
    parameters: npt.ArrayLike,
    *,
    prior: ParameterPrior,
    components: int = 4,
    hidden: int = 64,
    settings: PosteriorSettings | None = None,
) -> MixturePosterior:
    """A posterior trained on simulated pairs; the weights are those of the epoch that was best on pairs held out.

    Parameters
    ----------
    features : (m, n_features). What is known of each simulated measurement.
    parameters : (m, n) float64. What it was made with, drawn from the prior.
    prior : bounds of the parameters. components, hidden : see `MixturePosterior`.
    settings : see `PosteriorSettings`.

    Raises
    ------
    ValueError
        If the shapes do not fit, a number is not finite or a parameter lies outside the bounds.
    """
    settings = settings or PosteriorSettings()
    x, theta = np.asarray(features, dtype=np.float32), np.asarray(parameters, dtype=np.float64)
    if x.ndim != 2 or len(x) < 20 or theta.shape != (len(x), len(prior.names)):
        raise ValueError(
            f"features and parameters must have shapes (m, k) and (m, {len(prior.names)}), m at least 20, "
            f"got {x.shape} and {theta.shape}"
        )
    if not np.isfinite(x).all() or not prior.contains(theta).all():
        raise ValueError("features must be finite and parameters within the bounds of the prior")
    posterior = MixturePosterior(x.shape[1], prior=prior, components=components, hidden=hidden, seed=settings.seed)
    posterior.feature_mean.copy_(torch.from_numpy(x.mean(axis=0)))
    posterior.feature_scale.copy_(torch.from_numpy(np.where(x.std(axis=0) > 1e-9, x.std(axis=0), 1.0)))
    logits = posterior.logits(torch.from_numpy(theta)).float()[:, None]
    data = torch.from_numpy(x)
    n_held = max(1, round(settings.held_out * len(x)))
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), _one_thread():
        torch.manual_seed(settings.seed)
        order = torch.randperm(len(x))
        held, kept = order[:n_held], order[n_held:]
        optimizer = torch.optim.AdamW(posterior.parameters(), weight_decay=settings.weight_decay)
        steps = settings.epochs * math.ceil(len(kept) / settings.batch_size)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=steps)
        best, state = math.inf, {name: value.clone() for name, value in posterior.state_dict().items()}
        for _ in range(settings.epochs):
            for rows in torch.split(kept[torch.randperm(len(kept))], settings.batch_size):
                optimizer.zero_grad()
                loss = -posterior.log_density(logits[rows], data[rows]).mean()
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(posterior.parameters(), 5.0)
                optimizer.step()
                schedule.step()
            with torch.no_grad():
                now = -posterior.log_density(logits[held], data[held]).mean().item()
            if now < best:
                best, state = now, {name: value.clone() for name, value in posterior.state_dict().items()}
        posterior.load_state_dict(state)
    return posterior.eval()
