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
    level: Literal["absolute", "relative"] = "absolute",
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
    mean : (n, n_bins, n_h, n_k) float32, C-contiguous. Expected images in any unit.
    seed, stream : of the random numbers; streams are independent of each other.
    indices : (n,) whole numbers, not negative. The number of each image in its stream: its noise depends on nothing else.
    form : "poisson" for counts; "subtracted" for mean + N(0, sigma^2 + max(mean, 0)), what is left after a subtraction.
    level : "absolute": counts are expected at scale * mean + background. "relative": ``scale`` is the mean number of signal
        counts in an image's pixels, and ``background`` the share that a flat background has in the counts of each bin.
    scale : (n,) or one number.
    background : (n, n_bins), (n_bins,) or one number. Counts added to every pixel of a bin, or shares from 0 to below 1.
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
    if not isinstance(mean, np.ndarray) or mean.dtype != np.float32 or mean.ndim != 4 or not mean.flags.c_contiguous:
        what = f"{mean.dtype} {mean.shape}" if isinstance(mean, np.ndarray) else type(mean).__name__
        raise ValueError(f"mean must be a C-contiguous float32 array of shape (n, n_bins, n_h, n_k), got {what}")
    counting = compiled_counting(
        mean.shape, seed=seed, stream=stream, indices=indices, form=form, level=level, scale=scale,
        background=background, sigma=sigma, lowest=lowest, highest=highest,
    )  # fmt: skip
    counts = checked_counts(out, mean.shape)
    flat = (*mean.shape[:2], mean.shape[2] * mean.shape[3])
    _core.count(mean.reshape(flat), counting, counts.reshape(flat), thread_count(threads))
    return counts


def checked_counts(out: _Floats | None, shape: tuple[int, ...]) -> _Floats:
    """``out``, or a new array where it is None, for counts of this shape; or one sentence."""
    counts = np.empty(shape, dtype=np.float32) if out is None else out
    if counts.shape != shape or counts.dtype != np.float32 or not counts.flags.c_contiguous:
        raise ValueError(
            f"out must be a C-contiguous float32 array of shape {shape}, got {counts.dtype} {counts.shape}"
        )
    return counts


def compiled_counting(
    shape: tuple[int, ...],
    *,
    seed: int,
    stream: str,
    indices: npt.ArrayLike,
    form: Literal["poisson", "subtracted"],
    level: Literal["absolute", "relative"],
    scale: npt.ArrayLike,
    background: npt.ArrayLike,
    sigma: npt.ArrayLike,
    lowest: float,
    highest: float,
) -> _core.Counting:
    """The arguments of `count_images` for images of shape (n, n_bins, ...), checked and as the core takes them."""
    if form not in ("poisson", "subtracted"):
        raise ValueError(f"form must be 'poisson' or 'subtracted', got {form!r}")
    if level not in ("absolute", "relative"):
        raise ValueError(f"level must be 'absolute' or 'relative', got {level!r}")
    n, n_bins = shape[:2]
    numbers = np.asarray(indices)
    if numbers.shape != (n,) or numbers.dtype.kind not in "iu" or (n and int(numbers.min()) < 0):
        raise ValueError(
            f"indices must be {n} whole numbers that are not negative, got {numbers.dtype} {numbers.shape}"
        )
    if not lowest <= highest:
        raise ValueError(f"lowest must not be above highest, got {lowest} and {highest}")
    backgrounds = _spread(background, (n, n_bins), "background")
    if level == "relative" and not ((backgrounds >= 0) & (backgrounds < 1)).all():
        raise ValueError("background must be shares from 0 to below 1 where level is 'relative'")
    return _core.Counting(
        int.from_bytes(hashlib.sha256(f"{seed}/{stream}".encode()).digest()[:8], "little"),
        np.ascontiguousarray(numbers, dtype=np.uint64),
        level == "relative",
        _spread(scale, (n,), "scale"),
        backgrounds,
        _spread(sigma, (n, n_bins), "sigma") if form == "subtracted" else None,
        lowest,
        highest,
    )


def _spread(value: npt.ArrayLike, shape: tuple[int, ...], what: str) -> _Floats:
    array = real_numbers(value, what)
    try:
        return np.ascontiguousarray(np.broadcast_to(array, shape), dtype=np.float32)
    except ValueError:
        raise ValueError(f"{what} must have shape {shape} or spread to it, got {array.shape}") from None
