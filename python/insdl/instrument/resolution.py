"""Resolution from a table of covariances over (Qh, Qk, E).

Layout of a file: lines of twelve numbers, no header: Qh, Qk (r.l.u.), E (meV), and the nine elements of the covariance over
(Qh, Qk, E), row by row (r.l.u. and meV). The points must fill a grid, in any order.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from insdl.crystal import real_numbers
from insdl.instrument.covariance import correlations
from insdl.instrument.frame import EnergyBlock
from insdl.instrument.widths import WidthFit, fit_width

_Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Correlations:
    """How far a table of covariances is from diagonal: |correlation| over all of its points.

    Attributes
    ----------
    mean_qh_energy, mean_qk_energy, mean_qh_qk : float. Means.
    largest_q_energy : float. The largest between Qh or Qk and E. largest_qh_qk : float. The largest between Qh and Qk.
    """

    mean_qh_energy: float
    mean_qk_energy: float
    mean_qh_qk: float
    largest_q_energy: float
    largest_qh_qk: float


@dataclass(frozen=True, eq=False)
class ResolutionTable:
    """Covariances over (Qh, Qk, E) on a grid.

    Attributes
    ----------
    q_h : (nh,) float64, r.l.u. q_k : (nk,) float64, r.l.u. energy : (ne,) float64, meV. Axes of the grid, ascending.
    covariance : (nh, nk, ne, 3, 3) float64, r.l.u. and meV. Symmetric and positive definite.
    """

    q_h: npt.ArrayLike
    q_k: npt.ArrayLike
    energy: npt.ArrayLike
    covariance: npt.ArrayLike

    def __post_init__(self) -> None:
        for name in ("q_h", "q_k", "energy"):
            axis = real_numbers(getattr(self, name), name)
            if axis.ndim != 1 or len(axis) < 2 or not (np.diff(axis) > 0).all() or not np.isfinite(axis).all():
                raise ValueError(f"{name} must be a finite, ascending list of at least two, got {axis.tolist()}")
            object.__setattr__(self, name, axis)
        covariance = real_numbers(self.covariance, "covariance")
        expected = (*(len(axis) for axis in self._axes), 3, 3)
        if covariance.shape != expected:
            raise ValueError(f"covariance must have shape {expected}, got {covariance.shape}")
        flat = covariance.reshape(-1, 3, 3)
        fault = _fault(flat)
        if fault is not None:
            number, what = fault
            raise ValueError(f"the covariance of point {number} is {what}: {flat[number].tolist()}")
        object.__setattr__(self, "covariance", covariance)

    @property
    def _axes(self) -> tuple[_Reals, _Reals, _Reals]:
        return np.asarray(self.q_h), np.asarray(self.q_k), np.asarray(self.energy)

    def at(self, q_h: npt.ArrayLike, q_k: npt.ArrayLike, energy: npt.ArrayLike) -> _Reals:
        """Covariances between the points of the grid.

        Parameters
        ----------
        q_h, q_k : broadcastable, r.l.u. energy : broadcastable, meV.

        Returns
        -------
        (..., 3, 3) float64, r.l.u. and meV. Linear between neighbours along each axis: a mean of covariances is one.

        Raises
        ------
        ValueError
            Outside the grid.
        """
        wanted = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (q_h, q_k, energy)))
        result = np.zeros((*wanted[0].shape, 3, 3))
        corners = []
        for name, axis, value in zip(("Qh", "Qk", "E"), self._axes, wanted, strict=True):
            slack = 1e-9 * (axis[-1] - axis[0])
            if not ((value >= axis[0] - slack) & (value <= axis[-1] + slack)).all():
                raise ValueError(
                    f"the table reaches from {name} = {axis[0]:g} to {axis[-1]:g}, got {value.ravel()[:8].tolist()}"
                )
            low = np.clip(np.searchsorted(axis, value, side="right") - 1, 0, len(axis) - 2)
            share = np.clip((value - axis[low]) / (axis[low + 1] - axis[low]), 0.0, 1.0)
            corners.append(((low, 1.0 - share), (low + 1, share)))
        covariance = np.asarray(self.covariance)
        for i, wi in corners[0]:
            for j, wj in corners[1]:
                for k, wk in corners[2]:
                    result += (wi * wj * wk)[..., None, None] * covariance[i, j, k]
        return result

    def correlations(self) -> Correlations:
        """How far the table is from diagonal."""
        found = np.abs(correlations(self.covariance)).reshape(-1, 3, 3)
        return Correlations(
            mean_qh_energy=float(found[:, 0, 2].mean()),
            mean_qk_energy=float(found[:, 1, 2].mean()),
            mean_qh_qk=float(found[:, 0, 1].mean()),
            largest_q_energy=float(found[:, :2, 2].max()),
            largest_qh_qk=float(found[:, 0, 1].max()),
        )

    def sigma_energy(self, energy: npt.ArrayLike) -> _Reals:
        """Standard deviation in E at energy transfers (any shape), meV: of the mean variance over all Qh and Qk."""
        return self._rms(energy, [2])

    def sigma_q(self, energy: npt.ArrayLike) -> _Reals:
        """Standard deviation along Qh and along Qk at energy transfers (any shape), r.l.u.: mean variance of both."""
        return self._rms(energy, [0, 1])

    def _rms(self, energy: npt.ArrayLike, which: list[int]) -> _Reals:
        values, axis = np.asarray(energy, dtype=np.float64), self._axes[2]
        if not ((values >= axis[0]) & (values <= axis[-1])).all():
            raise ValueError(
                f"the table reaches from E = {axis[0]:g} to {axis[-1]:g} meV, got {values.ravel()[:8].tolist()}"
            )
        variance = np.diagonal(np.asarray(self.covariance), axis1=-2, axis2=-1)[..., which].mean(axis=(0, 1, 3))
        return np.asarray(np.interp(values, axis, np.sqrt(variance)))

    def energy_slope(self, low: float, high: float, *, sigma_q: float) -> float:
        """The one number for covariances of E with Q that `EnergyBlock` has: Cov(E, Q) = energy_slope sigma_q^2 Q.

        Parameters
        ----------
        low, high : float, meV. The planes of the table between these energy transfers are taken; at least the nearest one.
        sigma_q : float, r.l.u. The width in Q of the block.

        Returns
        -------
        float, meV per r.l.u.^2. The least-squares fit to Cov(E, Qh) and Cov(E, Qk) of all Qh and Qk.
        """
        h, k, axis = self._axes
        chosen = (axis >= low) & (axis <= high)
        if not chosen.any():
            chosen = np.abs(axis - 0.5 * (low + high)) == np.abs(axis - 0.5 * (low + high)).min()
        found = np.asarray(self.covariance)[:, :, chosen]
        q = np.stack(np.broadcast_arrays(h[:, None, None], k[None, :, None], np.zeros(chosen.sum()))[:2], axis=-1)
        return float(np.sum(found[..., :2, 2] * q) / (np.sum(q**2) * sigma_q**2))

    def energy_block(
        self,
        bins: npt.ArrayLike,
        *,
        incident_energy: float,
        q_energy: float | None = None,
        fixed_l: float | None = None,
        region: Literal["upright", "leaning"] = "upright",
    ) -> tuple[EnergyBlock, WidthFit]:
        """What `ImageSimulator` needs of the table: widths, and where wanted how the region leans along Q.

        Parameters
        ----------
        bins : (n, 2) float64, meV. Edges of the energy bins, within the table.
        incident_energy : float, meV.
        q_energy : float, meV, or None. Where the one width in Q is taken from; None is the middle of the bins' range.
        fixed_l : as in `EnergyBlock`.
        region : "upright" without correlations, which is fast, or "leaning" with `energy_slope`.

        Returns
        -------
        EnergyBlock, with a parabola fitted to `sigma_energy` over the bins, and the fit with its misfit.
        """
        edges = real_numbers(bins, "bins")
        if edges.ndim != 2 or edges.shape[1:] != (2,) or not len(edges):
            raise ValueError(f"bins must have shape (n, 2), got {edges.shape}")
        low, high = float(edges.min()), float(edges.max())
        fit = fit_width(self.sigma_energy, low, high)
        sigma_q = float(self.sigma_q(0.5 * (low + high) if q_energy is None else q_energy))
        if region not in ("upright", "leaning"):
            raise ValueError(f"region must be 'upright' or 'leaning', got {region!r}")
        slope = self.energy_slope(low, high, sigma_q=sigma_q) if region == "leaning" else 0.0
        return EnergyBlock(edges, incident_energy, fit.sigma_energy, sigma_q, fixed_l, slope), fit


def _fault(covariance: _Reals) -> tuple[int, str] | None:
    """The first of (n, 3, 3) that is no covariance, and what is wrong with it."""
    sigma = np.sqrt(np.abs(np.diagonal(covariance, axis1=1, axis2=2)))
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = covariance / (sigma[:, :, None] * sigma[:, None, :])
    finite = np.isfinite(unit).all(axis=(1, 2))
    safe = np.where(finite[:, None, None], unit, np.eye(3))
    skew = np.abs(safe - safe.transpose(0, 2, 1)).max(axis=(1, 2)) > 1e-6
    flat = np.linalg.eigvalsh(0.5 * (safe + safe.transpose(0, 2, 1))).min(axis=1) <= 1e-12
    bad = np.flatnonzero(~finite | skew | flat)
    if not bad.size:
        return None
    first = int(bad[0])
    return first, "not symmetric" if skew[first] else "not positive definite"


def read_resolution_table(path: str | os.PathLike[str]) -> ResolutionTable:
    """A table of covariances from a file; the layout stands at the top of `insdl.instrument.resolution`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        With file and line: not twelve numbers, not finite, not symmetric, not positive definite, a point twice, or points that
        do not fill a grid.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    rows, lines = [], []
    try:
        text = file.read_text("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not a text file") from None
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        try:
            values = [float(word) for word in words]
        except ValueError:
            raise ValueError(f"{file}, line {number}: expected twelve numbers, got {line.strip()[:80]!r}") from None
        if len(values) != 12:
            raise ValueError(f"{file}, line {number}: expected twelve numbers, got {len(values)}")
        if not np.isfinite(values).all():
            raise ValueError(f"{file}, line {number}: a number is not finite")
        rows.append(values)
        lines.append(number)
    if not rows:
        raise ValueError(f"{file} holds no numbers")
    table = np.array(rows)
    fault = _fault(table[:, 3:].reshape(-1, 3, 3))
    if fault is not None:
        raise ValueError(f"{file}, line {lines[fault[0]]}: the covariance is {fault[1]}")
    axes, places = zip(*(np.unique(table[:, column], return_inverse=True) for column in range(3)), strict=True)
    shape = tuple(len(axis) for axis in axes)
    flat = np.ravel_multi_index(tuple(place.ravel() for place in places), shape)
    order, first = np.unique(flat, return_index=True)
    if len(order) != len(flat):
        twice = int(np.setdiff1d(np.arange(len(flat)), first)[0])
        raise ValueError(
            f"{file}, line {lines[twice]}: the point {table[twice, :3].tolist()} stands there a second time"
        )
    if len(order) != np.prod(shape):
        raise ValueError(
            f"{file}: {len(order)} points do not fill a grid of {' x '.join(map(str, shape))} (Qh x Qk x E)"
        )
    covariance = np.empty((len(flat), 3, 3))
    covariance[flat] = table[:, 3:].reshape(-1, 3, 3)
    try:
        return ResolutionTable(axes[0], axes[1], axes[2], covariance.reshape(*shape, 3, 3))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
