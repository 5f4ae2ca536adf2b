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

from insdl.crystal import real_numbers, reciprocal, shown
from insdl.instrument.covariance import Conditional, checked_covariance, conditional
from insdl.instrument.kinematics import kinematic_l
from insdl.instrument.line import Line, Width, bose
from insdl.instrument.quadrature import gaussian_lattices, n_nodes, steps_for
from insdl.model import SpinModel
from insdl.spinwave import spin_waves

_Reals = npt.NDArray[np.float64]
Spectrum = Callable[[_Reals], tuple[_Reals, _Reals]]
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
    temperature : float, kelvin, or None. The Bose factor n + 1 for E > 0, and the modes of -Q with n at E < 0; None is T = 0.
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
    line = Line(energy, bin_width, intrinsic_sigma, incident_energy)
    to_rlu = np.linalg.inv(frame)

    def domain(matrix: _Reals) -> Convolved:
        def spectrum(points: _Reals) -> tuple[_Reals, _Reals]:
            places = points @ to_rlu @ matrix.T
            modes = spin_waves(model, places, form_factor=form_factor, threads=threads, values=values)
            return modes.energy, _without_divergence(modes.energy, modes.intensity, model)

        def thermal(points: _Reals) -> tuple[_Reals, _Reals]:
            return _thermal(spectrum(points), spectrum(-points), temperature)

        return convolve_spectrum(
            spectrum if temperature is None else thermal,
            q @ frame,
            covariance,
            line,
            tolerance=tolerance,
            max_nodes=max_nodes,
            numbers=len(model.sites),
        )

    return _over_twins(domain, twins)


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
    if flux not in ("none", "kf/ki"):
        raise ValueError(f"flux must be 'none' or 'kf/ki', got {flux!r}")
    for twin in twins:
        matrix = np.asarray(twin.matrix)
        if np.abs(np.r_[matrix[2, :2], matrix[:2, 2], matrix[2, 2] - 1.0]).max() > 1e-9:
            raise ValueError(f"a twin of a layered model must leave Ql alone, got the matrix {matrix.tolist()}")
    line = Line(energy, bin_width, intrinsic_sigma, incident_energy if flux == "kf/ki" else None)

    def domain(matrix: _Reals) -> Convolved:
        def modes(points: _Reals, sign: float) -> tuple[_Reals, _Reals]:
            """Magnons that are made (sign 1), or taken up at -Q by a neutron that gains their energy (sign -1)."""
            places = np.column_stack([points @ matrix[:2, :2].T, np.zeros(len(points))])
            found = spin_waves(model, sign * places, threads=threads, values=values).energy
            heights = kinematic_l(
                places[:, :1], places[:, 1:2], sign * found, incident_energy=incident_energy, lattice=model.lattice
            )
            node, mode = np.nonzero(np.isfinite(heights))
            seen = sign * np.column_stack([places[node, :2], heights[node, mode]])
            there = spin_waves(model, seen, form_factor=form_factor, threads=threads, values=values)
            weight = np.zeros(found.shape)
            weight[node, mode] = there.intensity[np.arange(len(node)), mode]
            return found, _without_divergence(found, weight, model)

        def spectrum(points: _Reals) -> tuple[_Reals, _Reals]:
            made = modes(points, 1.0)
            return made if temperature is None else _thermal(made, modes(points, -1.0), temperature)

        return convolve_spectrum(
            spectrum, q, covariance, line, tolerance=tolerance, max_nodes=max_nodes, numbers=len(model.sites) ** 2
        )

    return _over_twins(domain, twins)


def _without_divergence(energy: _Reals, weight: _Reals, model: SpinModel) -> _Reals:
    """Weights with zero for modes at zero energy whose weight diverges: far more than all spins have together."""
    most = 100.0 * sum(site.spin for site in model.sites) / (model.n_chemical_cells or 1)
    diverges = (energy <= 1e-5 * energy.max(axis=1, keepdims=True)) & ~(weight <= most)
    return np.where(diverges, 0.0, weight)


def _thermal(
    made: tuple[_Reals, _Reals], taken: tuple[_Reals, _Reals], temperature: float | None
) -> tuple[_Reals, _Reals]:
    """Modes with their Bose factors: n + 1 for those made at Q, n for those taken up at -Q, at minus their energy."""
    if temperature is None or not 0 < temperature < np.inf:
        raise ValueError(f"temperature must be positive (kelvin), or None for T = 0, got {temperature}")
    energy = np.concatenate([made[0], -taken[0]], axis=1)
    with np.errstate(invalid="ignore"):  # a mode at zero energy without weight; it stays without
        weight = [made[1] * (bose(made[0], temperature) + 1.0), taken[1] * bose(taken[0], temperature)]
    return energy, np.concatenate(weight, axis=1)


def _over_twins(convolved: Callable[[_Reals], Convolved], twins: Sequence[Twin]) -> Convolved:
    """The sum over domains of what ``convolved`` makes of each domain's matrix, by their fractions."""
    shares = [twin.fraction for twin in twins]
    if not shares or sum(shares) > 1.0 + 1e-9:
        raise ValueError(f"fractions of the twins must sum to at most 1, got {shares}")
    parts = [(twin.fraction, convolved(np.asarray(twin.matrix))) for twin in twins]
    return Convolved(
        np.sum([share * part.intensity for share, part in parts], axis=0),
        np.sum([share * part.error for share, part in parts], axis=0),
        sum(part.n_nodes for _, part in parts),
    )


def convolve_spectrum(
    spectrum: Spectrum,
    q: npt.ArrayLike,
    covariance: npt.ArrayLike,
    line: Line,
    *,
    tolerance: float = 1e-3,
    max_nodes: int = 100_000,
    numbers: int = 16,
) -> Convolved:
    """Any spectrum of sharp modes seen with a full covariance.

    Parameters
    ----------
    spectrum : function of points (m, d), in the coordinates of ``q``, to energies and weights (m, n_modes) of the modes there;
        meV, negative where the neutron gains energy.
    q : (n, d) float64, d at most 3. Nominal points in any linear coordinates.
    covariance : (n, d + 1, d + 1) or (d + 1, d + 1) float64. Over these coordinates and E (meV).
    line : Line. Nominal energies and the shape of a mode.
    tolerance, max_nodes : as in `convolve`.
    numbers : int. About how many numbers ``spectrum`` makes for a point: bounds the memory.

    Returns
    -------
    Convolved. In the unit of the weights, per meV.
    """
    places = real_numbers(q, "q")
    if places.ndim != 2 or not 1 <= places.shape[1] <= 3 or not np.isfinite(places).all():
        raise ValueError(f"q must be finite and of shape (n, d), d at most 3, got {shown(places.tolist())}")
    if len(places) != len(np.asarray(line.energy)):
        raise ValueError(
            f"energy must have shape ({len(places)},) like the momentum transfers, got {np.shape(line.energy)}"
        )
    parts = conditional(checked_covariance(covariance, n=len(places), size=places.shape[1] + 1))
    if not len(places):
        return Convolved(np.zeros(0), np.zeros(0), 0)
    return _Sum(spectrum, places, parts, line, numbers).integrate(tolerance, max_nodes)


class _Sum:
    """The sums over lattices of all points."""

    def __init__(self, spectrum: Spectrum, q: _Reals, parts: Conditional, line: Line, numbers: int) -> None:
        self.spectrum, self.q, self.parts, self.line, self.numbers = spectrum, q, parts, line, numbers
        rotation, slopes = self._slopes(parts.spread)
        self.spread = parts.spread @ rotation
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

    def integrate(self, tolerance: float, max_nodes: int) -> Convolved:
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
        return Convolved(intensity, error, nodes)

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
