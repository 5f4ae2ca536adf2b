"""What has been measured so far, as numbers with a covariance, and how likely a model's numbers make it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from insdl.dataset.prior import Range
from insdl.guide.planner import Planner

_Reals = npt.NDArray[np.float64]
_LOG_2PI = float(np.log(2.0 * np.pi))
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


@dataclass(frozen=True, eq=False)
class Observed:
    """A measurement in progress.

    Attributes
    ----------
    time : (n_blocks,) float64. Spent on each block; 1 is the time after which a pixel has the variance of `covariance`.
    values : (n_values,) float64. Numbers of the mean counts in unit time so far; of no meaning where nothing was measured.
    covariance : of each block's values after unit time, see `Compression.covariance`.
    """

    time: _Reals
    values: _Reals
    covariance: tuple[_Reals, ...]

    def __post_init__(self) -> None:
        n = sum(len(one) for one in self.covariance)
        if len(self.time) != len(self.covariance) or self.values.shape != (n,) or not (self.time >= 0).all():
            raise ValueError(
                f"time must be not negative for {len(self.covariance)} blocks and values {n} numbers, got "
                f"{self.time.tolist()} and {self.values.shape}"
            )

    def added(self, block: int, time: float, values: npt.ArrayLike) -> Observed:
        """With numbers of ``time`` more on a block: the mean of old and new, weighted by their times."""
        ends = np.cumsum([0, *(len(one) for one in self.covariance)])
        own = slice(int(ends[block]), int(ends[block + 1]))
        total, found = self.time.copy(), self.values.copy()
        total[block] += time
        found[own] += (np.asarray(values, dtype=np.float64) - found[own]) * time / total[block]
        return Observed(total, found, self.covariance)


def nothing(planner: Planner, covariance: Sequence[_Reals] | None = None) -> Observed:
    """Before the first neutron. The covariance is what is expected beforehand unless it is given."""
    squeezed = planner.compression
    given = [np.eye(len(basis)) for basis in squeezed.bases] if covariance is None else list(covariance)
    return Observed(np.zeros(len(given)), np.zeros(sum(map(len, given))), tuple(given))


@dataclass(frozen=True, eq=False)
class Likelihood:
    """The likelihood of an `Observed` under numbers f of a model's image of mean one, scale s and background b:

        values = s f + mean + B^T b + error,   b ~ N(0, 1),   error ~ N(0, covariance / time + s0^2 surrogate's error)

    with b integrated out (Woodbury's identity) and s too, over its prior.

    Attributes
    ----------
    used : (n_values,) bool. Of the blocks that were measured.
    root : (n_used, n_used) float64. Inverse Cholesky factor of the error's covariance.
    data : (n,) whitened values less the mean background. background : (n, n_coefficients) whitened B^T.
    factor : Cholesky factor of 1 + B B^T, (n_coefficients, n_coefficients). constant : of the logarithm.
    scale : prior of s. error_scale : s0, counts.
    """

    used: npt.NDArray[np.bool_]
    root: _Reals
    data: _Reals
    background: _Reals
    factor: _Reals
    constant: float
    scale: Range
    error_scale: float

    def white(self, values: npt.ArrayLike) -> _Reals:
        """(n, n_used) float64. Whitened numbers of rows (n, n_values)."""
        rows = np.asarray(values, dtype=np.float64)
        return np.asarray(rows[:, self.used] @ self.root.T)

    def squares(self, values: npt.ArrayLike) -> tuple[_Reals, _Reals, float]:
        """a (n,), b (n,) and c of the log-likelihood -1/2 (a s^2 - 2 b s + c) + constant, background integrated out."""
        from scipy.linalg import solve_triangular

        rows = self.white(values)
        own = solve_triangular(self.factor, self.background.T @ rows.T, lower=True)
        seen = solve_triangular(self.factor, self.background.T @ self.data, lower=True)
        a = np.sum(rows**2, axis=1) - np.sum(own**2, axis=0)
        b = rows @ self.data - own.T @ seen
        return np.maximum(a, 1e-12), b, float(self.data @ self.data - seen @ seen)

    def log(self, values: npt.ArrayLike) -> _Reals:
        """(n,) float64. Of rows of numbers (n, n_values), scale and background integrated out."""
        if not self.used.any():
            return np.zeros(len(np.asarray(values)))
        a, b, c = self.squares(values)
        return log_scale_integral(a, b, self.scale) - 0.5 * c + self.constant

    def scales(self, values: npt.ArrayLike) -> _Reals:
        """(n,) float64. The most probable scale of each row, within its prior; its middle before anything was measured."""
        low, high = self.scale.low, self.scale.high
        if not self.used.any():
            return np.full(len(np.asarray(values)), np.sqrt(low * high))
        a, b, _ = self.squares(values)
        return np.clip(b / a, low, high)

    def residuals(self, values: npt.ArrayLike, scales: npt.ArrayLike) -> tuple[_Reals, _Reals]:
        """Mean of the background's coefficients for each row, (n, n_coefficients), and their covariance."""
        from scipy.linalg import cho_solve

        n = self.background.shape[1]
        rest = self.data - self.white(values) * np.asarray(scales)[:, None]
        pair = (self.factor, True)
        return cho_solve(pair, self.background.T @ rest.T).T, cho_solve(pair, np.eye(n))


def log_scale_integral(a: _Reals, b: _Reals, scale: Range) -> _Reals:
    """(n,) float64. log of the integral of prior(s) exp(-a s^2 / 2 + b s) over s, by Gauss-Legendre around its maximum."""
    centre = np.clip(b / a, scale.low, scale.high)
    # Where the maximum lies outside, the integrand falls from the border like exp(-|b - a s| d).
    steep = np.abs(b - a * centre)
    width = np.minimum(7.0 / np.sqrt(a), np.where(steep > 0, 30.0 / np.maximum(steep, 1e-300), np.inf))
    low, high = np.maximum(scale.low, centre - width), np.minimum(scale.high, centre + width)
    half = 0.5 * (high - low)
    s = (0.5 * (low + high))[:, None] + half[:, None] * _NODES
    if scale.scale == "log":
        prior = 1.0 / (s * np.log(scale.high / scale.low))
    else:
        prior = np.full_like(s, 1.0 / (scale.high - scale.low))
    exponent = -0.5 * a[:, None] * s * s + b[:, None] * s
    top = exponent.max(axis=1)
    total = np.sum(_WEIGHTS * prior * np.exp(exponent - top[:, None]), axis=1)
    return np.asarray(top + np.log(np.maximum(total * half, 1e-300)))


def likelihood(planner: Planner, observed: Observed, *, error: _Reals | None = None, scale: float = 2.0) -> Likelihood:
    """The likelihood of what was observed.

    Parameters
    ----------
    error : (n_values, n_values) float64 or None. Mean square error of a surrogate of images of mean one.
    scale : counts. By which the error is multiplied.
    """
    from scipy.linalg import solve_triangular

    used = np.zeros(len(observed.values), dtype=bool)
    noise = np.zeros((len(used), len(used)))
    for own, time, covariance in zip(planner.compression.slices, observed.time, observed.covariance, strict=True):
        if time > 0:
            used[own] = True
            noise[own, own] = covariance / time
    if error is not None:
        noise += scale**2 * error  # a surrogate that is off at one incident energy is off at the others too
    factor = np.linalg.cholesky(noise[np.ix_(used, used)])
    root = solve_triangular(factor, np.eye(len(factor)), lower=True) if used.any() else np.zeros((0, 0))
    constant = -float(np.log(np.diag(factor)).sum()) - 0.5 * len(factor) * _LOG_2PI
    seen = root @ (observed.values - planner.background_mean)[used]
    design = root @ planner.background[:, used].T
    n = len(planner.background)
    factor = np.asarray(np.linalg.cholesky(np.eye(n) + design.T @ design), dtype=np.float64)
    constant -= float(np.log(np.diag(factor)).sum())
    return Likelihood(used, root, seen, design, factor, constant, planner.scale, scale)


def none_log_likelihood(planner: Planner, observed: Observed, *, nodes: int = 8) -> float:
    """log of the probability of what was observed if the image is none of the rivals', see `NoneOfThem`.

    The scale's prior is summed over ``nodes`` values, evenly in its logarithm.
    """
    from scipy.linalg import solve_triangular

    used = np.concatenate(
        [np.full(own.stop - own.start, t > 0) for own, t in zip(planner.compression.slices, observed.time, strict=True)]
    )
    if not used.any():
        return 0.0
    n = int(used.sum())
    noise, begin = np.zeros((n, n)), 0
    for t, covariance in zip(observed.time, observed.covariance, strict=True):
        if t > 0:
            end = begin + len(covariance)
            noise[begin:end, begin:end] = covariance / t
            begin = end
    shapes = planner.background[:, used]
    noise += shapes.T @ shapes
    factor = np.linalg.cholesky(noise)
    root = solve_triangular(factor, np.eye(n), lower=True)
    constant = -float(np.log(np.diag(factor)).sum()) - 0.5 * n * _LOG_2PI
    data = root @ (observed.values - planner.background_mean)[used]
    edges = np.linspace(np.log(planner.scale.low), np.log(planner.scale.high), nodes + 1)
    logs = []
    for mean, covariance in zip(planner.none.means, planner.none.covariances, strict=True):
        # Along the eigenvectors of the whitened covariance every scale is a sum over independent numbers.
        powers, sides = np.linalg.eigh(root @ covariance[np.ix_(used, used)] @ root.T)
        seen, expected = sides.T @ data, sides.T @ (root @ mean[used])
        for s in np.exp(0.5 * (edges[1:] + edges[:-1])):
            wide = 1.0 + s * s * np.maximum(powers, 0.0)
            logs.append(constant - 0.5 * float(np.sum((seen - s * expected) ** 2 / wide + np.log(wide))))
    found = np.array(logs)
    return float(found.max() + np.log(np.mean(np.exp(found - found.max()))))
