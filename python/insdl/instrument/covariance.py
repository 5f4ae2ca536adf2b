"""Covariances of a Gaussian resolution over (Q, E): frames, mosaic, and the energy's share conditional on Q.

A covariance belongs to the deviation of the true (Q, E) of a scattering event from the nominal one. Its last axis is E (meV);
the axes before it are Cartesian (1/angstrom, those of `insdl.crystal.reciprocal`) or r.l.u., as the name of a function says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from insdl.crystal import real_numbers, reciprocal

_Reals = npt.NDArray[np.float64]


def checked_covariance(value: npt.ArrayLike, *, n: int, size: int) -> _Reals:
    """``value`` as (n, size, size) float64, symmetric and positive semidefinite; one matrix stands for all; or one sentence."""
    array = real_numbers(value, "covariance")
    if array.shape == (size, size):
        array = np.broadcast_to(array, (n, size, size))
    if array.shape != (n, size, size):
        raise ValueError(f"covariance must have shape ({n}, {size}, {size}) or ({size}, {size}), got {array.shape}")
    scale = np.sqrt(np.abs(np.diagonal(array, axis1=1, axis2=2)))
    unit = np.where(scale > 0, scale, 1.0)
    normalised = array / (unit[:, :, None] * unit[:, None, :])
    bad = ~np.isfinite(normalised).all(axis=(1, 2))
    if not bad.any():
        bad = np.abs(normalised - normalised.transpose(0, 2, 1)).max(axis=(1, 2), initial=0.0) > 1e-8
        bad |= np.linalg.eigvalsh(0.5 * (normalised + normalised.transpose(0, 2, 1))).min(axis=1, initial=1.0) < -1e-8
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"covariance must be finite, symmetric and positive semidefinite; number {first} is {array[first].tolist()}"
        )
    return np.array(0.5 * (array + array.transpose(0, 2, 1)))


def covariance_from_rlu(covariance: npt.ArrayLike, lattice: npt.ArrayLike) -> _Reals:
    """(..., 4, 4) over (Qx, Qy, Qz, E), 1/angstrom and meV, of one over (Qh, Qk, Ql, E), r.l.u. of ``lattice`` and meV."""
    frame = np.eye(4)
    frame[:3, :3] = reciprocal(lattice).T
    return np.asarray(frame @ np.asarray(covariance, dtype=np.float64) @ frame.T)


def covariance_to_rlu(covariance: npt.ArrayLike, lattice: npt.ArrayLike) -> _Reals:
    """(..., 4, 4) over (Qh, Qk, Ql, E): the inverse of `covariance_from_rlu`."""
    frame = np.eye(4)
    frame[:3, :3] = np.linalg.inv(reciprocal(lattice).T)
    return np.asarray(frame @ np.asarray(covariance, dtype=np.float64) @ frame.T)


def with_mosaic(covariance: npt.ArrayLike, q_cart: npt.ArrayLike, *, mosaic: float) -> _Reals:
    """The covariance with the sample's mosaic spread added.

    Parameters
    ----------
    covariance : (n, 4, 4) or (4, 4) float64, Cartesian; one stands for all.
    q_cart : (n, 3) or (3,) float64, 1/angstrom. Nominal momentum transfers.
    mosaic : float, radian. Standard deviation of the blocks' rotation around every axis.

    Returns
    -------
    (n, 4, 4), or (4, 4) for one Q, float64. A small rotation w moves Q by w x Q, of covariance mosaic^2 (|Q|^2 - Q Q^T):
    nothing along Q, mosaic |Q| across (Werner & Pynn, J. Appl. Phys. 42, 4736 (1971), for the triple-axis spectrometer).
    """
    q = np.asarray(q_cart, dtype=np.float64)
    given = np.asarray(covariance, dtype=np.float64)
    if not (np.isfinite(mosaic) and mosaic >= 0):
        raise ValueError(f"mosaic must be finite and not negative (radian), got {mosaic}")
    across = np.sum(q * q, axis=-1)[..., None, None] * np.eye(3) - q[..., :, None] * q[..., None, :]
    result = np.array(np.broadcast_to(given, (*np.broadcast_shapes(given.shape[:-2], q.shape[:-1]), 4, 4)))
    result[..., :3, :3] += mosaic**2 * across
    return result


def correlations(covariance: npt.ArrayLike) -> _Reals:
    """(..., d, d) float64: covariances over the product of the standard deviations, 1 on the diagonal."""
    matrix = np.asarray(covariance, dtype=np.float64)
    sigma = np.sqrt(np.diagonal(matrix, axis1=-2, axis2=-1))
    return np.asarray(matrix / (sigma[..., :, None] * sigma[..., None, :]))


@dataclass(frozen=True, eq=False)
class Conditional:
    """A Gaussian over (Q, E) as one over Q, and one over E where Q is known.

    Q - Q0 = ``spread`` u with u of d independent standard deviations of 1; E - E0 is then a Gaussian around ``drift`` . u.

    Attributes
    ----------
    spread : (n, d, d) float64. spread spread^T is the covariance over Q; columns are zero where Q has no width.
    drift : (n, d) float64, meV. ``spread`` drift is the covariance of Q with E.
    variance : (n,) float64, meV^2. Of E at given Q: Var(E) - drift . drift.
    """

    spread: _Reals
    drift: _Reals
    variance: _Reals


def conditional(covariance: _Reals) -> Conditional:
    """Splits (n, d + 1, d + 1) covariances, checked, into Q and E given Q (Schur complement)."""
    sigma = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))[:, :-1]
    unit = np.where(sigma > 0, sigma, 1.0)
    values, vectors = np.linalg.eigh(covariance[:, :-1, :-1] / (unit[:, :, None] * unit[:, None, :]))
    wide = values > 1e-12
    width = np.sqrt(np.where(wide, values, 0.0))
    spread = unit[:, :, None] * vectors * width[:, None, :]
    along = np.einsum("nij,ni->nj", vectors, covariance[:, :-1, -1] / unit)
    drift = np.where(wide, along / np.where(wide, width, 1.0), 0.0)
    variance = np.maximum(covariance[:, -1, -1] - np.sum(drift**2, axis=1), 0.0)
    return Conditional(spread, drift, variance)
