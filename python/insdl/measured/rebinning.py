"""Histograms on other grids: rebinned, cut, symmetrised, brought into the frame of an image.

Every new value is a linear form of the old ones, x' = A x, with the weights of A from how far the bins overlap. So its
variance is exactly the sum of A^2 sigma^2. What is not given is that two new bins that share an old one are correlated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from insdl.crystal import real_numbers
from insdl.instrument.frame import ImageFrame
from insdl.instrument.measurement import Measurement
from insdl.measured.histogram import Axis, Histogram

_Reals = npt.NDArray[np.float64]
Quantity = Literal["density", "counts"]
Weights = Literal["inverse variance", "equal"]

# Edges that agree to this share of the narrowest bin are the same edge, written with other rounding.
_SAME_EDGE = 1e-9


def rebinned(
    histogram: Histogram, axis: str | int, edges: npt.ArrayLike, *, quantity: Quantity, coverage: float = 0.0
) -> Histogram:
    """The histogram with other bins along one axis.

    Parameters
    ----------
    histogram : Histogram.
    axis : str or int. Name or position of the axis.
    edges : (m + 1,) float64, unit of the axis. The new edges, ascending. They may reach beyond the old ones.
    quantity : "density" for intensities per unit of the axis, "counts" for numbers of neutrons.
    coverage : float, 0 to 1. A new bin whose measured share is smaller, or zero, is not measured.

    Returns
    -------
    Histogram. With w_ji the overlap of new bin j with old bin i, over measured i:

        density:  x'_j = sum_i w_ji x_i / sum_i w_ji       counts:  x'_j = sum_i (w_ji / width_i) x_i

    So the integral sum x' width (density) or the sum of x' (counts) is conserved where the new grid covers the old one and
    all of it was measured; counts are conserved with gaps too. Errors in quadrature.

    Raises
    ------
    ValueError
        For an unknown axis or quantity, edges that do not ascend, or a coverage outside [0, 1].
    """
    number = histogram.number(axis)
    return _rebinned(histogram, {number: real_numbers(edges, "edges")}, quantity=quantity, coverage=coverage)


def cut(histogram: Histogram, axis: str | int, low: float, high: float, *, quantity: Quantity) -> Histogram:
    """The histogram without one axis: the mean (density) or the sum (counts) from ``low`` to ``high``.

    Partly covered bins count with their share. The range is added to the notes. Raises ValueError as `rebinned` does.
    """
    number = histogram.number(axis)
    known = histogram.axes[number]
    result = rebinned(histogram, number, [low, high], quantity=quantity)
    note = f"{'mean' if quantity == 'density' else 'sum'} over {known.name} from {low:g} to {high:g} {known.unit}"
    return _without(result, number, note)


def section(histogram: Histogram, axis: str | int, low: float, high: float) -> Histogram:
    """The bins of one axis that lie wholly between ``low`` and ``high``; nothing is averaged.

    Raises
    ------
    ValueError
        If no bin does.
    """
    number = histogram.number(axis)
    known = histogram.axes[number]
    edges = np.asarray(known.edges)
    slack = _SAME_EDGE * known.widths.min()
    inside = np.flatnonzero((edges[:-1] >= low - slack) & (edges[1:] <= high + slack))
    if not len(inside):
        raise ValueError(
            f"no bin of axis {known.name}, which runs from {edges[0]:g} to {edges[-1]:g} {known.unit}, "
            f"lies between {low:g} and {high:g}"
        )
    kept = slice(int(inside[0]), int(inside[-1]) + 1)
    where = tuple(kept if n == number else slice(None) for n in range(len(histogram.axes)))
    axes = list(histogram.axes)
    axes[number] = replace(known, edges=edges[kept.start : kept.stop + 1])
    error = None if histogram.error is None else histogram.error[where]
    return replace(histogram, signal=histogram.signal[where], error=error, axes=tuple(axes))


def symmetrised(
    histogram: Histogram, *, mirrors: Sequence[str | tuple[str, str]], weights: Weights = "inverse variance"
) -> Histogram:
    """The mean of the histogram and its mirror images, where at least one of them was measured.

    Parameters
    ----------
    histogram : Histogram.
    mirrors : names of axes (x to -x) and pairs of names (the two axes exchanged). All their products count.
    weights : "inverse variance" (1 / sigma^2; needs errors above zero) or "equal". Where sigma comes from the very counts,
        sqrt(N), inverse variances favour pixels that fluctuated low: use "equal" for low counts.

    Returns
    -------
    Histogram. A pixel that is its own mirror image counts once.

    Raises
    ------
    ValueError
        If an axis is not symmetric about zero, two exchanged axes differ, or errors are missing or zero where they weigh.
    """
    if weights not in ("inverse variance", "equal"):
        raise ValueError(f"weights must be 'inverse variance' or 'equal', got {weights!r}")
    if not len(mirrors):
        raise ValueError("mirrors must name at least one axis")
    orbit = _orbit(histogram, mirrors)
    signal = histogram.signal.ravel()[orbit]
    # A pixel on a mirror appears several times among its own images: all but the first are left out.
    ranked = np.sort(orbit, axis=0)
    repeated = np.zeros(orbit.shape, dtype=bool)
    repeated[1:] = ranked[1:] == ranked[:-1]
    order = np.argsort(orbit, axis=0, kind="stable")
    first = np.empty_like(repeated)
    np.put_along_axis(first, order, ~repeated, axis=0)
    use = first & ~np.isnan(signal)
    if weights == "equal":
        weight = use.astype(np.float64)
    else:
        if histogram.error is None:
            raise ValueError("weights='inverse variance' needs errors and the histogram has none; use weights='equal'")
        sigma = histogram.error.ravel()[orbit]
        if (sigma[use] == 0).any():
            raise ValueError("weights='inverse variance' needs errors above zero; use weights='equal'")
        weight = np.where(use, 1.0 / np.where(use, sigma, 1.0) ** 2, 0.0)
    total = weight.sum(axis=0)
    seen = total > 0
    share = weight / np.where(seen, total, 1.0)
    mean = np.where(seen, (share * np.where(use, signal, 0.0)).sum(axis=0), np.nan).reshape(histogram.shape)
    error = None
    if histogram.error is not None:
        variance = (share**2 * np.where(use, histogram.error.ravel()[orbit], 0.0) ** 2).sum(axis=0)
        error = np.where(seen, np.sqrt(variance), np.nan).reshape(histogram.shape)
    words = " and ".join(mirror if isinstance(mirror, str) else f"{mirror[0]} <-> {mirror[1]}" for mirror in mirrors)
    notes = (*histogram.notes, f"symmetrised in {words} with {weights} weights")
    return replace(histogram, signal=mean, error=error, notes=notes)


def to_frame(
    histograms: Histogram | Sequence[Histogram], frame: ImageFrame, *, quantity: Quantity, coverage: float = 0.5
) -> Measurement:
    """A measurement in the frame of an image, from one histogram for each of the frame's incident energies.

    Parameters
    ----------
    histograms : Histogram, or a sequence with one for each block of ``frame``. Besides axes of a single bin each has an axis
        in meV, one along (h, 0, 0) and one along (0, k, 0), in any order.
    frame : ImageFrame.
    quantity : "density" or "counts", as in `rebinned`.
    coverage : float. The share of a frame's pixel that must have been measured.

    Returns
    -------
    Measurement. Its image is bitwise that of the histogram where bins and pixels are the same.

    Raises
    ------
    ValueError
        For another number of histograms, other axes, or where nothing of the frame was measured.
    """
    given = (histograms,) if isinstance(histograms, Histogram) else tuple(histograms)
    if len(given) != len(frame.blocks):
        raise ValueError(f"the frame has {len(frame.blocks)} incident energies, got {len(given)} histograms")
    pixels = frame.pixel_edges
    cells = []
    for block, histogram in zip(frame.blocks, given, strict=True):
        upright = _in_frame_order(histogram)
        for low, high in np.asarray(block.bins):
            grid = {0: np.array([low, high]), 1: pixels, 2: pixels}
            cells.append(_rebinned(upright, grid, quantity=quantity, coverage=coverage).signal[0])
    image = np.array(cells)
    measured = ~np.isnan(image)
    if not measured.any():
        raise ValueError(f"nothing of the frame was measured in {given[0].source}")
    sources = "; ".join(dict.fromkeys(histogram.source for histogram in given))
    digests = " ".join(dict.fromkeys(histogram.sha256 for histogram in given))
    return Measurement(np.where(measured, image, 0.0), measured, sources, digests)


def _overlaps(old: _Reals, new: _Reals) -> _Reals:
    """(n_new, n_old): the length that each new bin shares with each old one."""
    low = np.maximum(new[:-1, None], old[None, :-1])
    high = np.minimum(new[1:, None], old[None, 1:])
    return np.asarray(np.maximum(high - low, 0.0))


def _snapped(new: _Reals, old: _Reals) -> _Reals:
    """``new`` with every edge that is an old one but for rounding replaced by it."""
    nearest = old[np.abs(new[:, None] - old[None, :]).argmin(axis=1)]
    return np.where(np.abs(new - nearest) <= _SAME_EDGE * np.diff(old).min(), nearest, new)


def _rebinned(histogram: Histogram, grid: Mapping[int, _Reals], *, quantity: Quantity, coverage: float) -> Histogram:
    if quantity not in ("density", "counts"):
        raise ValueError(f"quantity must be 'density' or 'counts', got {quantity!r}")
    if not 0.0 <= coverage <= 1.0:
        raise ValueError(f"coverage must lie between 0 and 1, got {coverage}")
    axes = list(histogram.axes)
    measured = histogram.measured
    value = np.where(measured, histogram.signal, 0.0)
    variance = None if histogram.error is None else np.where(measured, histogram.error, 0.0) ** 2
    seen = measured.astype(np.float64)
    for number, edges in grid.items():
        old = np.asarray(axes[number].edges)
        axes[number] = replace(axes[number], edges=edges)
        new = _snapped(np.asarray(axes[number].edges), old)
        inside = np.flatnonzero(old == new[0])
        if len(inside) and np.array_equal(old[inside[0] : inside[0] + len(new)], new):  # whole old bins: only taken out
            kept = slice(int(inside[0]), int(inside[0]) + len(new) - 1)
            where = tuple(kept if n == number else slice(None) for n in range(len(axes)))
            value, seen = value[where], seen[where]
            variance = None if variance is None else variance[where]
            continue
        overlap = _overlaps(old, new)
        part = overlap / np.diff(new)[:, None]  # share of the new bin
        matrix = part if quantity == "density" else overlap / np.diff(old)[None, :]
        value = _applied(matrix, value, number)
        seen = _applied(part, seen, number)
        variance = None if variance is None else _applied(matrix**2, variance, number)
    known = (seen > 1e-12) & (seen >= coverage - 1e-9)
    scale = np.where(known, seen, 1.0) if quantity == "density" else np.ones_like(seen)
    signal = np.where(known, value / scale, np.nan)
    error = None if variance is None else np.where(known, np.sqrt(variance) / scale, np.nan)
    return replace(histogram, signal=signal, error=error, axes=tuple(axes))


def _applied(matrix: _Reals, values: _Reals, number: int) -> _Reals:
    return np.ascontiguousarray(np.moveaxis(np.tensordot(matrix, values, axes=(1, number)), 0, number))


def _without(histogram: Histogram, number: int, note: str) -> Histogram:
    axes = histogram.axes[:number] + histogram.axes[number + 1 :]
    signal = np.asarray(np.take(histogram.signal, 0, axis=number))
    error = None if histogram.error is None else np.asarray(np.take(histogram.error, 0, axis=number))
    return replace(histogram, signal=signal, error=error, axes=axes, notes=(*histogram.notes, note))


def _orbit(histogram: Histogram, mirrors: Sequence[str | tuple[str, str]]) -> npt.NDArray[np.int64]:
    """(n_images, n_pixels): the flat numbers of the images of each pixel under all products of the mirrors."""
    numbers = np.arange(histogram.signal.size, dtype=np.int64).reshape(histogram.shape)
    generators = []
    for mirror in mirrors:
        if isinstance(mirror, str):
            n = histogram.number(mirror)
            axis = histogram.axes[n]
            if not np.allclose(
                np.asarray(axis.edges), axis.turned().edges, rtol=0, atol=_SAME_EDGE * axis.widths.min()
            ):
                raise ValueError(f"axis {mirror} must be symmetric about zero to be mirrored; rebin it first")
            generators.append(np.flip(numbers, n).ravel())
        else:
            first, second = (histogram.number(name) for name in mirror)
            a, b = histogram.axes[first], histogram.axes[second]
            if len(a) != len(b) or not np.allclose(
                np.asarray(a.edges), np.asarray(b.edges), rtol=0, atol=_SAME_EDGE * a.widths.min()
            ):
                raise ValueError(f"axes {mirror[0]} and {mirror[1]} must have the same edges to be exchanged")
            generators.append(np.swapaxes(numbers, first, second).ravel())
    images = {numbers.tobytes(): numbers.ravel()}
    fresh = list(images.values())
    while fresh:
        found = []
        for image in fresh:
            for generator in generators:
                product = image[generator]
                if product.tobytes() not in images:
                    images[product.tobytes()] = product
                    found.append(product)
        fresh = found
    return np.stack(list(images.values()))


def _in_frame_order(histogram: Histogram) -> Histogram:
    """Axes E, Qh, Qk, each ascending in meV or r.l.u.; other axes of one bin are left out."""
    wanted: dict[str, int] = {}
    for number, axis in enumerate(histogram.axes):
        if axis.projection is None:
            role = "E" if axis.unit == "meV" else ""
        else:
            h, k, ell = np.asarray(axis.projection)
            role = "Qh" if h and not k and not ell else "Qk" if k and not h and not ell else ""
        if role and role not in wanted:
            wanted[role] = number
        elif len(axis) > 1:
            raise ValueError(
                f"axis {axis.name} of {len(axis)} bins has no place in a frame of E, Qh and Qk; cut it first"
            )
    if set(wanted) != {"E", "Qh", "Qk"}:
        names = [axis.name for axis in histogram.axes]
        raise ValueError(f"a frame needs axes in meV and along (h, 0, 0) and (0, k, 0), got {names}")
    order = [wanted["E"], wanted["Qh"], wanted["Qk"]]
    rest = [n for n in range(len(histogram.axes)) if n not in order]

    def arranged(values: _Reals) -> _Reals:
        return values.transpose(order + rest).reshape([len(histogram.axes[n]) for n in order])

    signal = arranged(histogram.signal)
    error = None if histogram.error is None else arranged(histogram.error)
    axes = [replace(histogram.axes[order[0]], name="E")]
    for place, role in ((1, "Qh"), (2, "Qk")):
        axis = histogram.axes[order[place]]
        factor = float(np.asarray(axis.projection)[place - 1])
        edges = np.asarray(axis.edges) * factor
        if factor < 0:
            edges, signal = edges[::-1], np.flip(signal, place)
            error = None if error is None else np.flip(error, place)
        axes.append(Axis(role, "r.l.u.", edges, np.eye(3)[place - 1]))
    return replace(histogram, signal=signal, error=error, axes=tuple(axes))
