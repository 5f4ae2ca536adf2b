"""The likelihood of counts given an expected shape, its scale and its backgrounds; scale and backgrounds are eliminated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_Reals = npt.NDArray[np.float64]
_SHARES = tuple(0.5**n for n in range(8))  # of a step
_FLOOR = (
    1e-3  # smallest expected counts over a bin's mean: a background that a fit made negative must not divide by zero
)


def bin_backgrounds(measured: npt.NDArray[np.bool_], *, radial: npt.ArrayLike | None = None) -> _Reals:
    """One flat background for each energy bin, as shapes for a `CountingProblem`.

    Parameters
    ----------
    measured : (n_bins, n_h, n_k) bool.
    radial : (n_h, n_k) or None. A second shape for every bin, such as the distance from the beam: a slope of its own.

    Returns
    -------
    (k, n_bins, n_h, n_k) float64, k = n_bins or 2 n_bins.
    """
    n_bins = len(measured)
    flat = np.zeros((n_bins, *measured.shape))
    flat[np.arange(n_bins), np.arange(n_bins)] = 1.0
    if radial is None:
        return flat
    shape = np.asarray(radial, dtype=np.float64)
    if shape.shape != measured.shape[1:]:
        raise ValueError(f"radial must have the shape {measured.shape[1:]} of a bin, got {shape.shape}")
    seen = measured.any(axis=0)
    return np.concatenate([flat, flat * (shape - shape[seen].mean())])


@dataclass(frozen=True, eq=False)
class CountingProblem:
    """Counts in the pixels that were measured, and what may be added to a signal of free scale.

    Attributes
    ----------
    counts : (n_bins, n_h, n_k). Counts; or signal left after a subtraction, with ``variance``.
    measured : bool, same shape.
    backgrounds : (k, n_bins, n_h, n_k) float64. Shapes whose levels are free; by default one flat background for each bin
        that was measured.
    variance : same shape as counts, counts^2, or None for Poisson counts.
    """

    counts: npt.NDArray[np.floating]
    measured: npt.NDArray[np.bool_]
    backgrounds: npt.NDArray[np.floating] | None = None
    variance: npt.NDArray[np.floating] | None = None

    def __post_init__(self) -> None:
        shape = self.measured.shape
        if self.measured.dtype != bool or self.counts.shape != shape or not self.measured.any():
            raise ValueError(
                f"counts and measured must have one shape and hold measured pixels, got {self.counts.shape} and {shape}"
            )
        data = self.counts[self.measured]
        if not np.isfinite(data).all() or (self.variance is None and (data.min() < 0 or not data.max() > 0)):
            raise ValueError(f"counts must be finite, not negative and not all zero, got {data.min()} to {data.max()}")
        shapes = bin_backgrounds(self.measured) if self.backgrounds is None else np.asarray(self.backgrounds)
        if shapes.shape[1:] != shape:
            raise ValueError(f"backgrounds must have shape (k, {', '.join(map(str, shape))}), got {shapes.shape}")
        noise = None if self.variance is None else np.asarray(self.variance, dtype=np.float64)
        if noise is not None and (noise.shape != shape or not (noise[self.measured] > 0).all()):
            raise ValueError(f"variance must be positive and of shape {shape}, got shape {noise.shape}")
        kept = shapes[:, self.measured].astype(np.float64)
        object.__setattr__(self, "_data", data.astype(np.float64))
        counted, pixels = self._bins()
        object.__setattr__(self, "_floor", _FLOOR * (1.0 + counted) / pixels)
        object.__setattr__(self, "_least_noise", np.maximum(_FLOOR * counted, 1.0) / pixels)
        object.__setattr__(self, "_shapes", kept[np.abs(kept).max(axis=1) > 0])
        object.__setattr__(self, "_noise", None if noise is None else noise[self.measured])

    @property
    def data(self) -> _Reals:
        """(n,) float64. Counts of the measured pixels."""
        return np.asarray(vars(self)["_data"])

    @property
    def shapes(self) -> _Reals:
        """(k, n) float64. Backgrounds in the measured pixels, those that are zero everywhere left out."""
        return np.asarray(vars(self)["_shapes"])

    def noise(self, mean: _Reals) -> _Reals:
        """(..., n) float64, counts^2. The variance of the data where these counts are expected.

        That of Poisson counts is no smaller than if one count were expected in the pixel's bin: where none is, and a level
        below zero cancels the signal, pixels would otherwise seem to tell without end.
        """
        given = vars(self)["_noise"]
        return (
            np.asarray(np.maximum(mean, vars(self)["_least_noise"]))
            if given is None
            else np.broadcast_to(given, mean.shape)
        )

    def chi_squared(self, mean: _Reals) -> tuple[float, int]:
        """Sum of squared residuals over their variance, and how many pixels it holds: those where enough is expected."""
        poisson = vars(self)["_noise"] is None
        alive = mean >= _FLOOR * self.data.mean() if poisson else np.ones(mean.shape, dtype=bool)
        return float(np.sum(((self.data - mean) ** 2 / self.noise(mean))[alive])), int(alive.sum())

    def floored(self, mean: _Reals) -> _Reals:
        """Expected counts no smaller than a thousandth of the mean of their bin, which counts as if it had one count more."""
        return np.asarray(np.maximum(mean, vars(self)["_floor"]))

    def _bins(self) -> tuple[_Reals, _Reals]:
        """For each measured pixel the counts of its bin, and the measured pixels of its bin, (n,) float64 both."""
        seen = self.measured.reshape(len(self.measured), -1)
        total = np.where(self.measured, self.counts, 0.0).reshape(seen.shape).sum(axis=1, dtype=np.float64)
        number = seen.sum(axis=1)
        return np.repeat(total, number), np.repeat(number, number).astype(np.float64)

    def log_likelihood(self, mean: _Reals) -> _Reals:
        """(...,) float64. Logarithm of the likelihood of expected counts (..., n), less that of the data themselves.

        -1/2 the deviance: Poisson sum of n log(mean / n) - mean + n, Gaussian -1/2 sum of (n - mean)^2 / v.
        """
        given = vars(self)["_noise"]
        if given is not None:
            return np.asarray(-0.5 * np.sum((self.data - mean) ** 2 / given, axis=-1))
        safe = self.floored(mean)
        ratio = np.log(safe / np.where(self.data > 0, self.data, 1.0))
        return np.asarray(np.sum(np.where(self.data > 0, self.data * ratio, 0.0) - safe + self.data, axis=-1))


@dataclass(frozen=True, eq=False)
class ScaleFit:
    """Best scale and background levels of a given signal shape.

    Attributes
    ----------
    scale : float, counts per unit of the shape. levels : (k,) float64, units of the backgrounds.
    mean : (n,) float64. Expected counts in the measured pixels.
    log_likelihood : see `CountingProblem.log_likelihood`.
    log_determinant : of the information about scale and levels: -1/2 of it makes the profile an integral over both.
    """

    scale: float
    levels: _Reals
    mean: _Reals
    log_likelihood: float
    log_determinant: float


def fit_scale(problem: CountingProblem, image: npt.NDArray[np.floating], *, steps: int = 15) -> ScaleFit:
    """Scale and levels that make counts most likely: iteratively reweighted least squares, which is Fisher scoring.

    Parameters
    ----------
    image : (n_bins, n_h, n_k). Expected signal, any unit.
    steps : at most so many; it converges quadratically near the end.
    """
    signal: _Reals = np.asarray(image, dtype=np.float64)[problem.measured]
    design: _Reals = np.concatenate([signal[None], problem.shapes])
    size: _Reals = np.sqrt(np.mean(design**2, axis=1))
    size = np.where(size > 0, size, 1.0)
    design = design / size[:, None]
    best, fell = _climbed(problem, design, steps, whole=True)
    if fell:
        best = max(best, _climbed(problem, design, steps, whole=False)[0], key=lambda one: one[0])
    value, coefficients, mean = best
    weight = 1.0 / problem.noise(mean)
    _, determinant = np.linalg.slogdet((design * weight) @ design.T + 1e-12 * np.eye(len(design)))
    found = coefficients / size
    return ScaleFit(float(found[0]), found[1:], mean, value, float(determinant))


def _climbed(
    problem: CountingProblem, design: _Reals, steps: int, *, whole: bool
) -> tuple[tuple[float, _Reals, _Reals], bool]:
    """The highest log-likelihood found, its coefficients and expected counts; and whether a step led down.

    Least squares with the weights of the last fit. Where hardly anything was counted a step may make expected counts negative,
    and the counts less likely: whole steps may come back from there or not; the others are halved until they lead up.
    """
    now = _least_squares(design, 1.0 / problem.noise(np.maximum(problem.data, 1.0)), problem.data)
    mean: _Reals = now @ design
    value = float(problem.log_likelihood(mean))
    best, fell = (value, now, mean), False
    for _ in range(max(1, steps)):
        step = _least_squares(design, 1.0 / problem.noise(mean), problem.data) - now
        for share in _SHARES[:1] if whole else _SHARES:
            mean = (now + share * step) @ design
            gain = float(problem.log_likelihood(mean)) - value
            if gain >= 0.0:
                break
        fell |= gain < -1e-6
        if fell and not whole:
            break
        now, value = now + share * step, value + gain
        best = max(best, (value, now, mean), key=lambda one: one[0])
        if abs(gain) < 1e-7:
            break
    return best, fell


def _least_squares(design: _Reals, weight: _Reals, data: _Reals) -> _Reals:
    """(k,) float64: the coefficients of the rows of ``design`` that come nearest to the data, in units of the weights."""
    weighted = design * weight
    return np.asarray(np.linalg.lstsq(weighted @ design.T, weighted @ data, rcond=1e-12)[0])
