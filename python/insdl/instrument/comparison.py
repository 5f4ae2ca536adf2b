"""A simulated image beside a measured one: in which scale they are compared, and what is fitted first.

Images are compared as log(1 + counts) by their Pearson correlation over the pixels that were measured. Expected counts can be
put into that scale as they are, or as what their logarithm would be on average once counting noise is drawn and clipped
(`insdl.instrument.counting.expected_log`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from insdl.instrument.counting import expected_log
from insdl.instrument.frame import ImageFrame
from insdl.instrument.pcsmo import CLIP, NOISE_SIGMA

_Reals = npt.NDArray[np.float64]
_Mask = npt.NDArray[np.bool_]
Noise = Literal["none", "expected"]
Background = Literal["none", "fitted"]


@dataclass(frozen=True, eq=False)
class Comparison:
    """A simulated PCSMO image in the scale of a measurement.

    Attributes
    ----------
    logs : (60, 40, 40) float64. log(1 + counts), expected.
    scale : (6,) float64. Factor on the simulated counts, by incident energy.
    background : (6, 3) float64, counts. Offset, and slopes along Qh and Qk per r.l.u., by incident energy.
    """

    logs: _Reals
    scale: _Reals
    background: _Reals


def compared(
    counts: _Reals,
    measured_logs: _Reals,
    used: _Mask,
    frame: ImageFrame,
    *,
    background: Background,
    noise: Noise,
) -> Comparison:
    """Simulated counts in the logarithmic scale of a PCSMO measurement.

    Parameters
    ----------
    counts : (60, 40, 40) float64. Expected counts of the signal.
    measured_logs : (60, 40, 40) float64. log(1 + counts) of the measurement; looked at only for a fitted background.
    used : (60, 40, 40) bool. Pixels to fit.
    frame : ImageFrame. The PCSMO frame, for its blocks and pixels.
    background : "fitted" for a scale and a plane over (Qh, Qk) for each incident energy, by least squares in the scale of the
        comparison; "none" for the counts as they are.
    noise : "expected" for the expected log(1 + counts) after counting noise with the measurement's `NOISE_SIGMA` and upper
        limit, "none" for log(1 + expected counts).

    Raises
    ------
    ValueError
        If an array has not the frame's shape, or a choice is none of these.
    """
    for array, what in ((counts, "counts"), (measured_logs, "measured_logs"), (used, "used")):
        if array.shape != frame.shape:
            raise ValueError(f"{what} must have the frame's shape {frame.shape}, got {array.shape}")
    if background not in ("fitted", "none"):
        raise ValueError(f"background must be 'fitted' or 'none', got {background!r}")
    if noise not in ("expected", "none"):
        raise ValueError(f"noise must be 'expected' or 'none', got {noise!r}")
    n_blocks = len(frame.blocks)
    scale, planes = np.ones(n_blocks), np.zeros((n_blocks, 3))
    logs = np.zeros(frame.shape)
    pixels = np.asarray(frame.pixels)
    h, k = np.meshgrid(pixels, pixels, indexing="ij")
    basis = np.stack([np.ones_like(h), h, k])
    first = 0
    for number, block in enumerate(frame.blocks):
        cells = slice(first, first + len(np.asarray(block.bins)))
        if background == "fitted" and used[cells].any():
            scale[number], planes[number] = _fit(counts[cells], measured_logs[cells], used[cells], basis, first, noise)
        whole = scale[number] * counts[cells] + np.tensordot(planes[number], basis, 1)
        for n, cell in enumerate(whole):
            logs[first + n] = _in_logs(cell, first + n, noise)
        first = cells.stop
    return Comparison(logs, scale, planes)


def _fit(counts: _Reals, logs: _Reals, used: _Mask, basis: _Reals, first: int, noise: Noise) -> tuple[float, _Reals]:
    """Scale and plane of one incident energy, whose first cell is ``first``, by least squares in logs."""
    from scipy.optimize import least_squares

    cells = [(first + n, counts[n][used[n]], basis[:, used[n]], logs[n][used[n]]) for n in range(len(counts))]

    def residual(x: _Reals) -> _Reals:
        apart = [_in_logs(x[0] * signal + x[1:] @ plane, n, noise) - seen for n, signal, plane, seen in cells]
        return np.asarray(np.concatenate(apart))

    found = least_squares(residual, [1.0, 0.01, 0.0, 0.0], bounds=([0.0, -np.inf, -np.inf, -np.inf], np.inf))
    return float(found.x[0]), np.asarray(found.x[1:])


def _in_logs(counts: _Reals, cell: int, noise: Noise) -> _Reals:
    if noise == "none":
        return np.asarray(np.log1p(np.maximum(counts, 0.0)))
    means, table = _expected_logs()
    return np.asarray(np.interp(counts, means, table[cell]))


@cache
def _expected_logs() -> tuple[_Reals, _Reals]:
    """Means, counts, and the expected logs of every cell there: (n,) and (60, n). Dense around zero, wide at the ends."""
    means = 0.5 * np.sinh(np.linspace(-4.8, 7.2, 1201))
    table = expected_log(means, NOISE_SIGMA.reshape(-1, 1), clip=CLIP)
    for array in (means, table):
        array.setflags(write=False)
    return means, table


def noise_ceiling(logs: _Reals, used: _Mask) -> float:
    """The largest correlation with a measurement that any symmetric model can reach, as the measurement's own mirrors tell.

    Model s and measurement s + n with independent noise n correlate by sqrt(rho), where rho is the correlation of two
    measurements s + n and s + n'. A mirror image (along Qh, along Qk, along both) is a second measurement if s has both
    mirrors; rho is the mean of the three.

    Parameters
    ----------
    logs : (n_bins, n_h, n_k) float64. The measurement in the scale of the comparison.
    used : (n_bins, n_h, n_k) bool. Pixels that were measured; a pair counts if both were.
    """
    found = []
    for axes in ((1,), (2,), (1, 2)):
        both = used & np.flip(used, axes)
        found.append(np.corrcoef(logs[both], np.flip(logs, axes)[both])[0, 1])
    return float(np.sqrt(np.mean(found)))
