"""What a spectrometer with a Gaussian resolution over (Q, E) counts at single points, for any spin model.

    I(Q0, E0) = sum over modes of the integral over Q of  R(Q - Q0, E_mode(Q) - E0)  S_perp(Q)        [1/meV, per chemical cell]

with R a normalised Gaussian of any covariance. The part over E is worked out exactly: where Q is known, E is a Gaussian with a
shifted mean and a reduced variance (`insdl.instrument.covariance.Conditional`). The part over Q is a sum over lattices
(`insdl.instrument.quadrature`) that are refined until they agree. `ImageSimulator` is the fast path for whole images with
covariances that are diagonal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from insdl.crystal import real_numbers, reciprocal
from insdl.instrument.covariance import Conditional, checked_covariance, conditional
from insdl.instrument.kinematics import kinematic_l
from insdl.instrument.line import Line, Width
from insdl.instrument.quadrature import gaussian_lattices, n_nodes, steps_for
from insdl.model import SpinModel
from insdl.spinwave import spin_waves

_Reals = npt.NDArray[np.float64]
# Points (n, d) in r.l.u. of one domain to energies and weights of the modes there, (n, n_modes).
_Spectrum = Callable[[_Reals], tuple[_Reals, _Reals]]
_CHUNK = 2_000_000  # numbers that a spectrum returns at once: memory


@dataclass(frozen=True, eq=False)
class Convolved:
    """Intensities seen through a resolution.

    Attributes
    ----------
    intensity : (n,) float64, 1/meV per chemical cell.
    error : (n,) float64, the same unit. Estimate of what the sum over Q lacks: half the difference of two lattices.
    n_nodes : int. Momentum transfers at which the model was evaluated.
    """

    intensity: _Reals
    error: _Reals
    n_nodes: int


@dataclass(frozen=True, eq=False)
class Twin:
    """A domain of the sample.

    Attributes
    ----------
    fraction : float. Its share of the sample.
    matrix : (3, 3) float64. matrix @ q_rlu is q_rlu in the domain's own axes; [[0, 1, 0], [1, 0, 0], [0, 0, 1]] exchanges Qh
        and Qk.
    """

    fraction: float
    matrix: npt.ArrayLike

    def __post_init__(self) -> None:
        matrix = real_numbers(self.matrix, "matrix")
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-9:
            raise ValueError(f"a twin's matrix must be (3, 3) and invertible, got {matrix.tolist()}")
        if not 0.0 <= self.fraction <= 1.0:
            raise ValueError(f"a twin's fraction must lie in [0, 1], got {self.fraction}")
        object.__setattr__(self, "matrix", matrix)


def turned_twin(fraction: float, rotation: npt.ArrayLike, lattice: npt.ArrayLike) -> Twin:
    """The domain whose lattice is that of ``lattice`` turned by a Cartesian rotation (3, 3): q = B^-1 R^T B q_rlu."""
    frame = reciprocal(lattice).T
    turn = np.asarray(rotation, dtype=np.float64)
    if turn.shape != (3, 3) or np.abs(turn @ turn.T - np.eye(3)).max() > 1e-6:
        raise ValueError(f"rotation must be a (3, 3) rotation matrix, got {turn.tolist()}")
    return Twin(fraction, np.linalg.inv(frame) @ turn.T @ frame)


ONE_DOMAIN = (Twin(1.0, np.eye(3)),)


def convolve(
    model: SpinModel,
    q_rlu: npt.ArrayLike,
    energy: npt.ArrayLike,
    covariance: npt.ArrayLike,
    *,
    values: Mapping[str, float] | None = None,
    bin_width: npt.ArrayLike = 0.0,
    twins: Sequence[Twin] = ONE_DOMAIN,
    intrinsic_sigma: Width = 0.0,
    temperature: float | None = None,
    incident_energy: npt.ArrayLike | None = None,
    form_factor: Literal["none", "ion"] = "ion",
    tolerance: float = 1e-3,
    max_nodes: int = 100_000,
    threads: int | None = None,
) -> Convolved:
    """The intensity at points (Q, E), seen with a full covariance.

    Parameters
    ----------
    model : SpinModel.
    q_rlu : (n, 3) float64, r.l.u. of the chemical cell. Nominal momentum transfers.
    energy : (n,) float64, meV. Nominal energy transfers.
    covariance : (n, 4, 4) or (4, 4) float64, (1/angstrom)^2, meV/angstrom and meV^2. Over (Qx, Qy, Qz, E) in the Cartesian
        axes of the model's lattice; for r.l.u. see `insdl.instrument.covariance.covariance_from_rlu`, for a mosaic
        `with_mosaic` there. A direction without width may be zero.
    values : the model's parameters by name.
    bin_width : float or (n,), meV. Mean over a bin of energy transfer around ``energy``; 0 for the value at ``energy``.
        Bins need SciPy.
    twins : Twin, ... Domains and their shares.
    intrinsic_sigma : float or function of the modes' energy (any shape, meV), meV. Standard deviation that the modes
        themselves have, in quadrature.
    temperature : float, kelvin, or None. The Bose factor n + 1 for E > 0, and modes at E < 0 with n; None is T = 0.
    incident_energy : float or (n,), meV, or None. Multiplies a mode by kf/ki = sqrt((Ei - E) / Ei); None leaves that out.
    form_factor : "ion" multiplies each site's amplitude by <j0>(Q) of its ion, "none" does not.
    tolerance : float. Sums over Q are refined until the estimated error is below this share of the largest intensity.
    max_nodes : int. Points in Q, for one point and domain, at which refining ends; `Convolved.error` says what is left.
    threads : int or None. For the spin waves.

    Returns
    -------
    Convolved.

    Raises
    ------
    ValueError
        For arrays of the wrong shape, a covariance that is none, or a resolution without any width in energy.
    UnstableModelError
        Where the model is unstable.

    Notes
    -----
    A mode whose weight diverges at a point of the sum (an antiferromagnet's Goldstone point) is left out there. A twin sees the
    covariance of the spectrometer, turned into its own axes.
    """
    frame = reciprocal(model.lattice)
    q = real_numbers(q_rlu, "q_rlu")
    if q.ndim != 2 or q.shape[1] != 3:
        raise ValueError(f"q_rlu must have shape (n, 3), got {q.shape}")
    parts = conditional(checked_covariance(covariance, n=len(q), size=4))
    spread = np.linalg.inv(frame).T @ parts.spread  # r.l.u. per standard deviation
    parts = Conditional(spread, parts.drift, parts.variance)

    def spectrum(points: _Reals) -> tuple[_Reals, _Reals]:
        modes = spin_waves(model, points, form_factor=form_factor, threads=threads, values=values)
        return modes.energy, modes.intensity

    domains = [(twin.fraction, np.asarray(twin.matrix)) for twin in twins]
    line = Line(len(q), energy, bin_width, intrinsic_sigma, temperature, incident_energy)
    return _convolve(spectrum, q, parts, line, domains, len(model.sites), tolerance, max_nodes)


def convolve_layered(
    model: SpinModel,
    q_hk: npt.ArrayLike,
    energy: npt.ArrayLike,
    covariance: npt.ArrayLike,
    *,
    incident_energy: float,
    values: Mapping[str, float] | None = None,
    bin_width: npt.ArrayLike = 0.0,
    twins: Sequence[Twin] = ONE_DOMAIN,
    intrinsic_sigma: Width = 0.0,
    temperature: float | None = None,
    flux: Literal["none", "kf/ki"] = "none",
    form_factor: Literal["none", "ion"] = "ion",
    tolerance: float = 1e-3,
    max_nodes: int = 20_000,
    threads: int | None = None,
) -> Convolved:
    """The intensity at points (Qh, Qk, E) of a layered magnet with the beam along c*: time of flight with full covariance.

    Ql is no coordinate of its own: every mode is taken at the Ql where the spectrometer sees its energy
    (`insdl.instrument.kinematics.kinematic_l`), as in `ImageSimulator`, and what kf does not reach is not seen.

    Parameters
    ----------
    model : SpinModel. Layered (no bond leaves the layer along c), c perpendicular to a and b.
    q_hk : (n, 2) float64, r.l.u. Nominal Qh and Qk.
    covariance : (n, 3, 3) or (3, 3) float64, r.l.u. and meV. Over (Qh, Qk, E), as `ResolutionTable.at` gives it.
    incident_energy : float, meV.
    twins : Twin, ... Matrices must leave Ql alone.
    flux : "kf/ki" multiplies a mode by that.
    The others as in `convolve`.

    Returns
    -------
    Convolved. 1/meV per chemical cell.
    """
    if not model.core.is_layered:
        raise ValueError("convolve_layered needs a layered model, but a bond couples magnetic cells along c")
    q = real_numbers(q_hk, "q_hk")
    if q.ndim != 2 or q.shape[1] != 2:
        raise ValueError(f"q_hk must have shape (n, 2), got {q.shape}")
    parts = conditional(checked_covariance(covariance, n=len(q), size=3))
    if flux not in ("none", "kf/ki"):
        raise ValueError(f"flux must be 'none' or 'kf/ki', got {flux!r}")

    def spectrum(points: _Reals) -> tuple[_Reals, _Reals]:
        flat = np.column_stack([points, np.zeros(len(points))])
        found = spin_waves(model, flat, threads=threads, values=values).energy
        heights = kinematic_l(
            points[:, :1], points[:, 1:], found, incident_energy=incident_energy, lattice=model.lattice
        )
        seen = np.isfinite(heights)
        node, mode = np.nonzero(seen)
        places = np.column_stack([points[node], heights[seen]])
        there = spin_waves(model, places, form_factor=form_factor, threads=threads, values=values)
        weight = np.zeros(found.shape)
        weight[node, mode] = there.intensity[np.arange(len(node)), mode]
        return found, weight

    domains = []
    for twin in twins:
        matrix = np.asarray(twin.matrix)
        if np.abs(matrix[2, :2]).max() > 1e-9 or np.abs(matrix[:2, 2]).max() > 1e-9 or abs(matrix[2, 2] - 1) > 1e-9:
            raise ValueError(f"a twin of a layered model must leave Ql alone, got the matrix {matrix.tolist()}")
        domains.append((twin.fraction, matrix[:2, :2]))
    ratio = incident_energy if flux == "kf/ki" else None
    line = Line(len(q), energy, bin_width, intrinsic_sigma, temperature, ratio)
    return _convolve(spectrum, q, parts, line, domains, len(model.sites) ** 2, tolerance, max_nodes)


def _convolve(
    spectrum: _Spectrum,
    q: _Reals,
    parts: Conditional,
    line: Line,
    domains: Sequence[tuple[float, _Reals]],
    numbers: int,
    tolerance: float,
    max_nodes: int,
) -> Convolved:
    """Sums over lattices for every point and domain, refined where they differ; ``numbers`` that a spectrum needs a node."""
    if not np.isfinite(q).all():
        raise ValueError("momentum transfers must be finite")
    if not domains or sum(fraction for fraction, _ in domains) > 1.0 + 1e-9:
        raise ValueError(f"fractions of the twins must sum to at most 1, got {[fraction for fraction, _ in domains]}")
    total, error, nodes = np.zeros(len(q)), np.zeros(len(q)), 0
    for fraction, matrix in domains:
        if not len(q) or fraction == 0.0:
            continue
        job = _Domain(spectrum, q @ matrix.T, matrix @ parts.spread, parts, line, numbers)
        intensity, lacking, used = job.integrate(tolerance, max_nodes)
        total += fraction * intensity
        error += fraction * lacking
        nodes += used
    return Convolved(total, error, nodes)


class _Domain:
    """The sums of one domain: points in its own axes."""

    def __init__(
        self, spectrum: _Spectrum, q: _Reals, spread: _Reals, parts: Conditional, line: Line, numbers: int
    ) -> None:
        self.spectrum, self.q, self.parts, self.line, self.numbers = spectrum, q, parts, line, numbers
        rotation, slopes = self._slopes(spread)
        self.spread = spread @ rotation
        self.drift = np.einsum("ni,nij->nj", parts.drift, rotation)
        self.steps = [steps_for(row) for row in slopes]

    def _slopes(self, spread: _Reals) -> tuple[_Reals, _Reals]:
        """Axes in u along which the lines move most, (n, d, d), and how many of their widths they move, (n, d)."""
        n, d = self.q.shape
        sides = np.concatenate([np.eye(d), -np.eye(d)])
        around = self.q[:, None] + np.einsum("nij,sj->nsi", spread, np.concatenate([np.zeros((1, d)), sides]))
        energy, _ = self.spectrum(around.reshape(-1, d))
        energy = energy.reshape(n, 2 * d + 1, -1)
        gradient = energy[:, 1:] - energy[:, :1]
        gradient = np.stack([gradient[:, :d], -gradient[:, d:]], axis=1) - self.parts.drift[:, None, :, None]
        sigma = np.sqrt(self.parts.variance[:, None] + self.line.width2(energy[:, 0]))
        with np.errstate(divide="ignore"):
            gradient = gradient / np.maximum(sigma, 1e-9)[:, None, None, :]
        # Axes that have no width stay as they are, and are not mixed with the others.
        wide = np.abs(spread).max(axis=1) > 0
        gradient = np.where(wide[:, None, :, None], gradient, 0.0)
        _, axes = np.linalg.eigh(np.einsum("nsim,nsjm->nij", gradient, gradient))
        moved = np.abs(np.einsum("nij,nsim->njsm", axes, gradient)).max(axis=(2, 3))
        empty = (
            np.abs(np.einsum("nik,nkj->nij", spread, axes)).max(axis=1)
            <= 1e-12 * np.abs(spread).max(axis=(1, 2))[:, None]
        )
        return axes, np.where(empty | ~wide.any(axis=1)[:, None], np.nan, moved)

    def integrate(self, tolerance: float, max_nodes: int) -> tuple[_Reals, _Reals, int]:
        intensity, error, nodes = np.zeros(len(self.q)), np.zeros(len(self.q)), 0
        steps = [_coarser(row, max_nodes) for row in self.steps]
        left = np.arange(len(self.q))
        while len(left):
            intensity[left], error[left], used = self._sums(left, [steps[i] for i in left])
            nodes += used
            finer = {i: tuple(step / 2.0 for step in steps[i]) for i in left.tolist()}
            allowed = np.array([n_nodes(finer[i]) <= max_nodes for i in left.tolist()])
            missed = error[left] > tolerance * np.abs(intensity).max()
            left = left[allowed & missed]
            for i in left.tolist():
                steps[i] = finer[i]
        return intensity, error, nodes

    def _sums(self, points: npt.NDArray[np.int64], steps: Sequence[tuple[float, ...]]) -> tuple[_Reals, _Reals, int]:
        """Means of both lattices, half their difference, and the number of nodes."""
        lattices = [gaussian_lattices(row) for row in steps]
        sums = np.zeros((2, len(points)))
        nodes = 0
        for which in (0, 1):
            sizes = np.array([len(pair[which][1]) for pair in lattices])
            nodes += int(sizes.sum())
            per_chunk = max(1, _CHUNK // self.numbers)
            first = 0
            while first < len(points):
                last = max(first + 1, int(np.searchsorted(np.cumsum(sizes[first:]), per_chunk, side="right")) + first)
                of = np.repeat(np.arange(first, last), sizes[first:last])
                u = np.concatenate([lattices[i][which][0] for i in range(first, last)])
                weights = np.concatenate([lattices[i][which][1] for i in range(first, last)])
                point = points[of]
                energy, weight = self.spectrum(self.q[point] + np.einsum("nij,nj->ni", self.spread[point], u))
                drift = np.sum(self.drift[point] * u, axis=1)
                seen = self.line.seen(point, drift, self.parts.variance[point], energy, weight)
                sums[which] += np.bincount(of, weights * seen, minlength=len(points))
                first = last
        return sums.mean(axis=0), 0.5 * np.abs(sums[0] - sums[1]), nodes


def _coarser(steps: tuple[float, ...], max_nodes: int) -> tuple[float, ...]:
    """The steps, doubled until their lattices have at most ``max_nodes`` points."""
    while n_nodes(steps) > max_nodes and min(steps) < 1.0:
        steps = tuple(min(1.0, 2.0 * step) if np.isfinite(step) else step for step in steps)
    return steps
