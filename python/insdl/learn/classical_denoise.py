"""What a denoiser without training has to be measured against: smoothing filters, and principal components.

All work on the scale of unit noise (`insdl.learn.stabilisation`), cell by cell where they smooth, and leave out what was not
measured. Their parameters are tuned, and a straight line in each cell from their output to the truth is fitted, on pairs of
noisy and true images: more than they are usually given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from insdl.learn.denoising_samples import Pair
from insdl.learn.stabilisation import stabilised

_Singles = npt.NDArray[np.float32]
_Mask = npt.NDArray[np.bool_]
Filter = Callable[..., _Singles]


def gaussian_filter(
    values: _Singles, measured: _Mask, *, sigma: float, sigma_bin: float = 0.0, bins_per_energy: int = 10
) -> _Singles:
    """Gaussian mean over the measured pixels around each pixel.

    Parameters
    ----------
    values : (n_bins, n_h, n_k), units of the noise. measured : (n_bins, n_h, n_k) bool.
    sigma : pixels, along Qh and Qk. sigma_bin : bins, along the energy.
    bins_per_energy : bins of each incident energy; bins of different ones are not mixed.
    """
    from scipy import ndimage

    if len(values) % bins_per_energy:
        raise ValueError(f"{len(values)} bins are no whole number of incident energies of {bins_per_energy} bins")

    def smooth(image: _Singles) -> _Singles:
        found: _Singles = ndimage.gaussian_filter(image, (0.0, sigma, sigma), mode="constant")
        if sigma_bin > 0:
            blocks = found.reshape(-1, bins_per_energy, *found.shape[1:])
            found = ndimage.gaussian_filter1d(blocks, sigma_bin, axis=1, mode="constant").reshape(found.shape)
        return found

    weight = measured.astype(np.float32)
    return _normalised(smooth(np.where(measured, values, np.float32(0.0))), smooth(weight))


def median_filter(values: _Singles, measured: _Mask, *, size: int) -> _Singles:
    """Median of the measured pixels in a square of ``size`` pixels; zero where there is none."""
    stack = np.stack([np.where(m, v, np.float32(np.nan)) for v, m in _shifted(values, measured, size // 2)])
    stack.sort(axis=0)  # NaN last
    n = np.isfinite(stack).sum(axis=0)
    low, high = (np.take_along_axis(stack, np.maximum(i, 0)[None], axis=0)[0] for i in ((n - 1) // 2, n // 2))
    return np.where(n > 0, 0.5 * (low + np.where(n > 0, high, 0.0)), 0.0).astype(np.float32)


def wiener_filter(values: _Singles, measured: _Mask, *, size: int, noise: float) -> _Singles:
    """Local mean plus the share of the deviation that the local variance says is not noise (Lee, 1980).

    m + max(0, v - noise) / max(v, noise) (x - m), with mean m and variance v of the measured pixels in a square (Lee, IEEE
    Trans. Pattern Anal. Mach. Intell. 2, 165 (1980)). ``noise`` is a variance in units of the noise, less than 1 where clipped.
    """
    from scipy import ndimage

    def pooled(image: _Singles) -> _Singles:
        found: _Singles = ndimage.uniform_filter(image, (0, size, size), mode="constant")
        return found

    kept, weight = np.where(measured, values, np.float32(0.0)), pooled(measured.astype(np.float32))
    mean = _normalised(pooled(kept), weight)
    variance = np.maximum(_normalised(pooled(kept * kept), weight) - mean * mean, 0.0)
    gain = np.maximum(variance - noise, 0.0) / np.maximum(variance, noise)
    return np.where(measured, mean + gain * (values - mean), mean).astype(np.float32)


def non_local_means(values: _Singles, measured: _Mask, *, reach: int, patch: int, strength: float) -> _Singles:
    """Mean over pixels of the same cell whose surroundings look alike (Buades, Coll, Morel, CVPR 2005).

    Weights are exp(-max(d - 2, 0) / strength^2), d the mean squared difference of two patches over pixels measured in both,
    of which noise alone makes 2.

    Parameters
    ----------
    reach : pixels, half the width of the square that is searched. patch : pixels, half the width of a patch.
    strength : units of the noise.
    """
    from scipy import ndimage

    width = 2 * patch + 1
    total, norm = np.zeros_like(values), np.zeros_like(values)
    for other, seen in _shifted(values, measured, reach):
        both = (measured & seen).astype(np.float32)
        compared = ndimage.uniform_filter(both, (0, width, width), mode="constant")
        square = ndimage.uniform_filter(both * np.square(values - other), (0, width, width), mode="constant")
        distance = square / np.maximum(compared, 1e-6)
        weight = np.where(seen & (compared > 1e-6), np.exp(-np.maximum(distance - 2.0, 0.0) / strength**2), 0.0)
        total += weight * other
        norm += weight
    return _normalised(total, norm)


FILTERS: Mapping[str, tuple[Filter, Mapping[str, Sequence[Any]]]] = {
    "gaussian": (gaussian_filter, {"sigma": (0.7, 1.0, 1.4, 2.0), "sigma_bin": (0.0, 0.4, 0.6)}),
    "median": (median_filter, {"size": (3, 5)}),
    "wiener": (wiener_filter, {"size": (3, 5, 7), "noise": (0.5, 0.75, 1.0)}),
    "non-local means": (non_local_means, {"reach": (4,), "patch": (1, 2), "strength": (0.5, 1.0)}),
}
"""Each filter with the values that are tried for its parameters."""


@dataclass(frozen=True)
class PrincipalComponents:
    """A truncated basis of true images, on the scale of unit noise.

    Attributes
    ----------
    mean : (n_pixels,) float32. components : (rank, n_pixels) float32, orthonormal.
    """

    mean: _Singles
    components: _Singles

    def project(self, values: _Singles, measured: _Mask, *, rank: int) -> _Singles:
        """The image of ``rank`` components that fits the measured pixels best (least squares, slightly damped)."""
        basis, seen = self.components[:rank], measured.reshape(-1)
        part = basis[:, seen].astype(np.float64)
        normal = part @ part.T + 1e-3 * np.eye(len(part))
        weights = np.linalg.solve(normal, part @ (values.reshape(-1) - self.mean)[seen])
        return np.asarray(self.mean + weights @ basis, dtype=np.float32).reshape(values.shape)


def principal_components(truths: Iterable[_Singles], *, rank: int) -> PrincipalComponents:
    """The leading principal components of true images (n, n_bins, n_h, n_k), on the scale of unit noise."""
    rows = np.stack([image.reshape(-1) for image in truths]).astype(np.float32)
    if not 1 <= rank < len(rows):
        raise ValueError(f"rank must be at least 1 and below the number of images, {len(rows)}, got {rank}")
    mean = rows.mean(axis=0)
    rows -= mean
    values, vectors = np.linalg.eigh((rows @ rows.T).astype(np.float64))
    leading = np.argsort(values)[::-1][:rank]
    scale = np.sqrt(np.maximum(values[leading], 1e-12))
    return PrincipalComponents(mean, np.asarray((vectors[:, leading] / scale).T @ rows, dtype=np.float32))


@dataclass(frozen=True, eq=False)
class TunedFilter:
    """A classical method with its parameters and, for each cell, the straight line from its output to the truth.

    Attributes
    ----------
    method : name. options : its parameters. slope, offset : (n_bins,) float64.
    error : mean squared error on the pairs it was tuned with, units of the noise squared.
    """

    method: str
    options: Mapping[str, Any]
    slope: npt.NDArray[np.float64]
    offset: npt.NDArray[np.float64]
    error: float
    components: PrincipalComponents | None = field(default=None, repr=False)

    def __call__(self, counts: _Singles, measured: _Mask, sigma: npt.NDArray[np.floating[Any]]) -> _Singles:
        """(n_bins, n_h, n_k) float32, units of the noise: the denoised image where measured, elsewhere zero."""
        values = stabilised(np.where(measured, counts, np.float32(0.0)), np.asarray(sigma)[:, None, None])
        line = self.slope[:, None, None] * _applied(self, values, measured) + self.offset[:, None, None]
        return np.where(measured, line, 0.0).astype(np.float32)


def tuned(method: str, pairs: Sequence[Pair], *, components: PrincipalComponents | None = None) -> TunedFilter:
    """A method with the parameters of the smallest squared error on pairs.

    Parameters
    ----------
    method : one of `FILTERS`, or "principal components" (then ``components`` is needed; its rank is tuned).
    pairs : noisy and true images of one noise level.
    """
    if not pairs:
        raise ValueError("pairs must hold at least one pair, got none")
    if method == "principal components":
        if components is None:
            raise ValueError("principal components need components, got None")
        full = len(components.components)
        grid: Mapping[str, Sequence[Any]] = {"rank": sorted({full, *(n for n in (5, 10, 20, 40, 80, 160) if n < full)})}
    elif method in FILTERS:
        grid = FILTERS[method][1]
    else:
        raise ValueError(f"method must be one of {[*FILTERS, 'principal components']}, got {method!r}")
    tried = (
        _with_lines(method, dict(zip(grid, values, strict=True)), pairs, components)
        for values in product(*grid.values())
    )
    return min(tried, key=lambda one: one.error)


def best_filter(pairs: Sequence[Pair]) -> TunedFilter:
    """The best of all smoothing filters for pairs of one noise level."""
    return min((tuned(method, pairs) for method in FILTERS), key=lambda one: one.error)


def _with_lines(
    method: str, options: dict[str, Any], pairs: Sequence[Pair], components: PrincipalComponents | None
) -> TunedFilter:
    """The method with these options, its lines fitted by least squares over the measured pixels of all pairs."""
    n_bins = len(pairs[0].counts)
    bare = TunedFilter(method, options, np.ones(n_bins), np.zeros(n_bins), np.nan, components)
    sums = np.zeros((6, n_bins))
    for pair in pairs:
        noise = pair.sigma[:, None, None]
        x = _applied(bare, stabilised(pair.counts, noise), pair.measured)
        y, seen = stabilised(pair.expected, noise), pair.measured
        for row, term in enumerate((seen, x, y, x * x, x * y, y * y)):
            sums[row] += np.sum(term, axis=(1, 2), where=seen, dtype=np.float64)
    n, sx, sy, sxx, sxy, syy = sums
    n = np.maximum(n, 1.0)
    spread = sxx - sx * sx / n
    slope = np.where(spread > 1e-9 * n, (sxy - sx * sy / n) / np.maximum(spread, 1e-9), 1.0)
    offset = (sy - slope * sx) / n
    squares = syy - 2 * slope * sxy - 2 * offset * sy + slope**2 * sxx + 2 * slope * offset * sx + n * offset**2
    return TunedFilter(method, options, slope, offset, float(squares.sum() / sums[0].sum()), components)


def _applied(tuned: TunedFilter, values: _Singles, measured: _Mask) -> _Singles:
    if tuned.components is not None:
        return tuned.components.project(values, measured, **tuned.options)
    return FILTERS[tuned.method][0](values, measured, **tuned.options)


def _normalised(total: _Singles, weight: _Singles) -> _Singles:
    tiny = np.float32(1e-6)
    return np.where(weight > tiny, total / np.maximum(weight, tiny), np.float32(0.0)).astype(np.float32)


def _shifted(values: _Singles, measured: _Mask, reach: int) -> Iterable[tuple[_Singles, _Mask]]:
    """The image and its mask moved by up to ``reach`` pixels along Qh and Qk; nothing is measured beyond the edge."""
    pad = ((0, 0), (reach, reach), (reach, reach))
    image, mask = np.pad(values, pad), np.pad(measured, pad)
    n_h, n_k = values.shape[1:]
    for i in range(2 * reach + 1):
        for j in range(2 * reach + 1):
            yield image[:, i : i + n_h, j : j + n_k], mask[:, i : i + n_h, j : j + n_k]
