"""Counting noise of many images at once, in the compiled core: every pixel's random number is a function of its place alone."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
import numpy.typing as npt

from insdl import _core
from insdl.crystal import real_numbers
from insdl.spinwave import thread_count

_Floats = npt.NDArray[np.float32]


def count_images(
    mean: _Floats,
    *,
    seed: int,
    stream: str,
    indices: npt.ArrayLike,
    form: Literal["poisson", "subtracted"] = "poisson",
    scale: npt.ArrayLike = 1.0,
    background: npt.ArrayLike = 0.0,
    sigma: npt.ArrayLike = 0.0,
    lowest: float = 0.0,
    highest: float = float("inf"),
    threads: int | None = None,
    out: _Floats | None = None,
) -> _Floats:
    """Counts that images with these expected counts could have given.

    Parameters
    ----------
    mean : (n, n_bins, n_h, n_k) float32, C-contiguous. Expected images; counts are expected at scale * mean + background.
    seed, stream : of the random numbers; streams are independent of each other.
    indices : (n,) whole numbers, not negative. The number of each image in its stream: its noise depends on nothing else.
    form : "poisson" for counts; "subtracted" for mean + N(0, sigma^2 + max(mean, 0)), what is left after a subtraction.
    scale : (n,) or one number.
    background : (n, n_bins), (n_bins,) or one number, counts. Added to every pixel of a bin.
    sigma : (n, n_bins), (n_bins,) or one number, counts. For "subtracted": the noise where there is no signal.
    lowest, highest : counts. Limits of what the file keeps.
    out : float32 array of the same shape for the result, which may be ``mean`` itself; None for a new one.

    Returns
    -------
    (n, n_bins, n_h, n_k) float32, counts. Bitwise the same for any number of threads and on any processor.

    Raises
    ------
    ValueError
        For arrays of another shape, or expected counts that are not finite (or negative for "poisson").

    Notes
    -----
    Threefry4x32-13 (Salmon et al., SC'11, doi:10.1145/2063384.2063405) and inverse distributions in single precision: normal
    numbers are right to 1e-6 up to 6.2 standard deviations. Poisson numbers are sums of the distribution below 4 expected
    counts, where no probability is off by more than 2e-6; from there on the expansion of their inverse in 1/sqrt(mean)
    (Giles, ACM Trans. Math. Softw. 42, 7 (2016)) with two more terms fitted to the exact inverse, where no probability is off
    by more than 6e-5, the mean by 2e-5 of itself, or the variance by 2.1e-4.
    """
    if form not in ("poisson", "subtracted"):
        raise ValueError(f"form must be 'poisson' or 'subtracted', got {form!r}")
    if not isinstance(mean, np.ndarray) or mean.dtype != np.float32 or mean.ndim != 4 or not mean.flags.c_contiguous:
        what = f"{mean.dtype} {mean.shape}" if isinstance(mean, np.ndarray) else type(mean).__name__
        raise ValueError(f"mean must be a C-contiguous float32 array of shape (n, n_bins, n_h, n_k), got {what}")
    n, n_bins = mean.shape[:2]
    numbers = np.asarray(indices)
    if numbers.shape != (n,) or numbers.dtype.kind not in "iu" or (n and int(numbers.min()) < 0):
        raise ValueError(
            f"indices must be {n} whole numbers that are not negative, got {numbers.dtype} {numbers.shape}"
        )
    counts = np.empty_like(mean) if out is None else out
    if counts.shape != mean.shape or counts.dtype != np.float32 or not counts.flags.c_contiguous:
        raise ValueError(
            f"out must be a C-contiguous float32 array of shape {mean.shape}, got {counts.dtype} {counts.shape}"
        )
    if not lowest <= highest:
        raise ValueError(f"lowest must not be above highest, got {lowest} and {highest}")
    flat = (n, n_bins, mean.shape[2] * mean.shape[3])
    _core.count(
        mean.reshape(flat),
        _spread(scale, (n,), "scale"),
        _spread(background, (n, n_bins), "background"),
        _spread(sigma, (n, n_bins), "sigma") if form == "subtracted" else None,
        lowest,
        highest,
        int.from_bytes(hashlib.sha256(f"{seed}/{stream}".encode()).digest()[:8], "little"),
        np.ascontiguousarray(numbers, dtype=np.uint64),
        counts.reshape(flat),
        thread_count(threads),
    )
    return counts


def _spread(value: npt.ArrayLike, shape: tuple[int, ...], what: str) -> _Floats:
    array = real_numbers(value, what)
    try:
        return np.ascontiguousarray(np.broadcast_to(array, shape), dtype=np.float32)
    except ValueError:
        raise ValueError(f"{what} must have shape {shape} or spread to it, got {array.shape}") from None
