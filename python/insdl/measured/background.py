"""A smooth background under a measurement: polynomials fitted robustly where there is no signal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from typing import Literal

import numpy as np
import numpy.typing as npt

from insdl.crystal import real_numbers, reciprocal
from insdl.instrument.frame import ImageFrame
from insdl.instrument.measurement import Measurement
from insdl.units import NEUTRON_E_PER_K2

_Reals = npt.NDArray[np.float64]
_Mask = npt.NDArray[np.bool_]

HUBER = 1.345
"""Residuals beyond this many standard deviations pull with constant force (95 % efficiency for normal errors)."""


@dataclass(frozen=True, eq=False)
class Background:
    """A polynomial in scaled coordinates t = (x - centre) / width, with the covariance of its coefficients.

    Attributes
    ----------
    powers : (n_terms, n_coordinates) int. Exponents of each term.
    coefficients : (n_terms,) float64. Units of the intensity.
    covariance : (n_terms, n_terms) float64.
    centre, width : (n_coordinates,) float64. Units of the coordinates.
    scale : float. Standard deviation of the residuals in units of the errors given (in units of the intensity without).
    used : int. Points of the fit.
    """

    powers: npt.NDArray[np.int64]
    coefficients: npt.NDArray[np.float64]
    covariance: npt.NDArray[np.float64]
    centre: npt.NDArray[np.float64]
    width: npt.NDArray[np.float64]
    scale: float
    used: int

    def at(self, coordinates: npt.ArrayLike) -> tuple[_Reals, _Reals]:
        """The background and its standard deviation at points (n_coordinates, ...), each of the shape of a coordinate."""
        points = _coordinates(coordinates, len(self.centre))
        terms = _terms(points.reshape(len(points), -1), self.centre, self.width, self.powers)
        value = terms @ self.coefficients
        spread = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", terms, self.covariance, terms), 0.0))
        return value.reshape(points.shape[1:]), spread.reshape(points.shape[1:])


def fit_background(
    intensity: npt.ArrayLike,
    coordinates: npt.ArrayLike,
    *,
    degree: int,
    free: npt.ArrayLike,
    error: npt.ArrayLike | None = None,
) -> Background:
    """The polynomial that fits intensities best where they are free of signal.

    Parameters
    ----------
    intensity : (...) float64. Counts or intensities.
    coordinates : (n_coordinates, ...) float64. What the background depends on, such as |Q| and the energy transfer.
    degree : int, 0 to 6. Largest sum of exponents of a term.
    free : (...) bool. True where there is nothing but background and it was measured.
    error : (...) float64 or None. Standard deviations, above zero. Without, all points weigh the same.

    Returns
    -------
    Background. Huber's M-estimate: minimum of sum rho(r / scale), r the residual over its error, rho quadratic up to
    `HUBER` and linear beyond, and scale the median of |r| / 0.6745, iterated. Its covariance is

        scale^2 [sum psi^2 / (n - p)] / [mean psi']^2 (X^T X)^-1

    (Huber, Ann. Math. Stat. 35, 73 (1964); Huber and Ronchetti, Robust Statistics, 2nd ed., eq. 7.81 without its
    correction of order p/n), X the terms over the errors.

    Raises
    ------
    ValueError
        For shapes that do not fit, errors that are not above zero, too few free points, or points that do not tell the terms.
    """
    values = real_numbers(intensity, "intensity")
    points = _coordinates(coordinates, None)
    chosen = np.asarray(free)
    if chosen.dtype != np.bool_ or chosen.shape != values.shape or points.shape[1:] != values.shape:
        raise ValueError(
            f"coordinates must have shape (n, {values.shape}) and free be bool of shape {values.shape}, "
            f"got {points.shape} and {chosen.dtype} {chosen.shape}"
        )
    if isinstance(degree, bool) or not isinstance(degree, int) or not 0 <= degree <= 6:
        raise ValueError(f"degree must be a whole number from 0 to 6, got {degree!r}")
    x, y = points[:, chosen], values[chosen]
    sigma = np.ones(len(y)) if error is None else real_numbers(error, "error")[chosen]
    if not (np.isfinite(y).all() and np.isfinite(x).all()):
        raise ValueError("intensity and coordinates must be finite where free")
    if not (np.isfinite(sigma) & (sigma > 0)).all():
        raise ValueError("error must be finite and above zero where free")
    powers = np.array(
        [
            [choice.count(n) for n in range(len(points))]
            for total in range(degree + 1)
            for choice in combinations_with_replacement(range(len(points)), total)
        ],
        dtype=np.int64,
    )
    n, p = len(y), len(powers)
    if n < 2 * p:
        raise ValueError(f"a background of {p} terms needs at least {2 * p} free points, got {n}")
    centre = x.mean(axis=1)
    width = np.where(np.ptp(x, axis=1) > 0, 0.5 * np.ptp(x, axis=1), 1.0)
    design = _terms(x, centre, width, powers) / sigma[:, None]
    if np.linalg.matrix_rank(design) < p:
        raise ValueError(f"the free points do not tell the {p} terms of degree {degree} apart; use a lower degree")
    target = y / sigma
    coefficients, scale = _huber(design, target)
    residual = (target - design @ coefficients) / scale
    psi = np.clip(residual, -HUBER, HUBER)
    slope = float((np.abs(residual) <= HUBER).mean())
    covariance = scale**2 * (psi @ psi / (n - p)) / slope**2 * np.linalg.inv(design.T @ design)
    return Background(powers, coefficients, covariance, centre, width, float(scale), n)


def q_length(frame: ImageFrame, lattice: npt.ArrayLike) -> _Reals:
    """(n_bins, n_h, n_k) float64, 1/angstrom. |Q| in the middle of each pixel and bin, beam along c*; NaN beyond reach.

    Q_z = ki - sqrt(kf^2 - Qx^2 - Qy^2), or the block's ``fixed_l`` times c*.
    """
    axes = reciprocal(lattice)
    pixels = np.asarray(frame.pixels)
    h, k = np.meshgrid(pixels, pixels, indexing="ij")
    plane = h[..., None] * axes[0] + k[..., None] * axes[1]
    along = axes[2] / np.linalg.norm(axes[2])
    across2 = np.sum(plane**2, axis=-1) - (plane @ along) ** 2
    lengths = []
    for block in frame.blocks:
        ki = np.sqrt(block.incident_energy / NEUTRON_E_PER_K2)
        for low, high in np.asarray(block.bins):
            if block.fixed_l is not None:
                lengths.append(np.linalg.norm(plane + block.fixed_l * axes[2], axis=-1))
                continue
            rest = (block.incident_energy - 0.5 * (low + high)) / NEUTRON_E_PER_K2 - across2
            qz = ki - np.sqrt(np.where(rest >= 0, rest, np.nan))
            lengths.append(np.sqrt(across2 + qz**2))
    return np.array(lengths)


def measurement_background(
    measurement: Measurement,
    frame: ImageFrame,
    lattice: npt.ArrayLike,
    *,
    signal: npt.ArrayLike,
    degree: int = 1,
) -> tuple[_Reals, _Reals]:
    """The background of each pixel of a measurement, fitted for each incident energy as a polynomial in |Q| and E.

    Parameters
    ----------
    measurement : Measurement. frame : ImageFrame that it is in. lattice : (3, 3) float64, angstrom; beam along c*.
    signal : (n_bins, n_h, n_k) bool. True where there may be signal: left out of the fit.
    degree : int. As in `fit_background`.

    Returns
    -------
    background, error : (n_bins, n_h, n_k) float64, counts. NaN beyond the reach of the neutrons.

    Raises
    ------
    ValueError
        If the shapes differ, or for an incident energy with too few free pixels.
    """
    masked = np.asarray(signal)
    if measurement.image.shape != frame.shape or masked.shape != frame.shape or masked.dtype != np.bool_:
        raise ValueError(f"image and signal (bool) must have the frame's shape {frame.shape}, got {masked.shape}")
    lengths = q_length(frame, lattice)
    energy = np.broadcast_to(frame.bins.mean(axis=1)[:, None, None], frame.shape)
    value, error = np.full(frame.shape, np.nan), np.full(frame.shape, np.nan)
    start = 0
    for block in frame.blocks:
        rows = slice(start, start + len(np.asarray(block.bins)))
        start = rows.stop
        reached = np.isfinite(lengths[rows])
        free = measurement.measured[rows] & ~masked[rows] & reached
        coordinates = np.stack([np.where(reached, lengths[rows], 0.0), energy[rows]])
        try:
            fitted = fit_background(measurement.image[rows], coordinates, degree=degree, free=free)
        except ValueError as problem:
            raise ValueError(f"Ei = {block.incident_energy:g} meV: {problem}") from None
        for target, found in zip((value, error), fitted.at(coordinates), strict=True):
            target[rows] = np.where(reached, found, np.nan)
    return value, error


def subtracted(
    measurement: Measurement, background: npt.ArrayLike, *, below_zero: Literal["keep", "clip"]
) -> Measurement:
    """The measurement less a background; what falls below zero is kept or clipped as said, and the source says which.

    Raises
    ------
    ValueError
        If the shapes differ or the background is not finite where measured.
    """
    level = real_numbers(background, "background")
    if level.shape != measurement.image.shape:
        raise ValueError(f"background must have the image's shape {measurement.image.shape}, got {level.shape}")
    if not np.isfinite(level[measurement.measured]).all():
        raise ValueError("background must be finite where the image was measured")
    if below_zero not in ("keep", "clip"):
        raise ValueError(f"below_zero must be 'keep' or 'clip', got {below_zero!r}")
    image = np.where(measurement.measured, measurement.image - np.where(measurement.measured, level, 0.0), 0.0)
    share = float((image[measurement.measured] < 0).mean())
    if below_zero == "clip":
        image = np.maximum(image, 0.0)
    done = f"background subtracted, {share:.1%} of the pixels below zero {'kept' if below_zero == 'keep' else 'set to zero'}"
    return replace(measurement, image=image, source=f"{measurement.source}, {done}")


def _coordinates(coordinates: npt.ArrayLike, expected: int | None) -> _Reals:
    points = real_numbers(coordinates, "coordinates")
    if points.ndim < 2 or (expected is not None and len(points) != expected):
        wanted = "n" if expected is None else str(expected)
        raise ValueError(f"coordinates must have shape ({wanted}, ...), one row a coordinate, got {points.shape}")
    return points


def _terms(points: _Reals, centre: _Reals, width: _Reals, powers: npt.NDArray[np.int64]) -> _Reals:
    """(n_points, n_terms): products of powers of the scaled coordinates."""
    scaled = (points - centre[:, None]) / width[:, None]
    return np.stack([np.prod(scaled ** power[:, None], axis=0) for power in powers], axis=1)


def _huber(design: _Reals, target: _Reals) -> tuple[_Reals, float]:
    """Coefficients and scale by iteratively reweighted least squares, from the least-squares fit."""
    coefficients: _Reals = np.linalg.lstsq(design, target, rcond=None)[0].astype(np.float64)
    scale = 1.0
    for _ in range(200):
        residual = target - design @ coefficients
        scale = max(float(np.median(np.abs(residual))) / 0.6745, 1e-12 * max(float(np.abs(target).max()), 1e-300))
        weight = np.sqrt(np.minimum(1.0, HUBER * scale / np.maximum(np.abs(residual), 1e-300)))
        new: _Reals = np.linalg.lstsq(design * weight[:, None], target * weight, rcond=None)[0].astype(np.float64)
        if np.abs(new - coefficients).max() <= 1e-10 * max(float(np.abs(new).max()), scale):
            return new, scale
        coefficients = new
    return coefficients, scale
