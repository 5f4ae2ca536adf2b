"""Triple-axis spectrometer: its angles, and its resolution after Cooper and Nathans.

M. J. Cooper & R. Nathans, Acta Cryst. 23, 357 (1967): every collimator passes a Gaussian of angles, every crystal is a Gaussian
mosaic, and to first order a deviation of k depends linearly on the angles. With kappa = dk / k, gamma the angle of the beam in
the plane (positive counter-clockwise from above), e = +-1 the sense of reflection and t = tan(theta):

    before the sample:  gamma0 = gamma1 + 2 e t kappa,  turn of the mosaic block = gamma1 + e t kappa
    after the sample:   gamma3 = gamma2 - 2 e t kappa,  turn of the mosaic block = gamma2 - e t kappa

(reflection by a turned block, and Bragg's law kappa = -e (gamma_out - gamma_in) / 2 t). The covariance of (Q, E) follows from
those of ki and kf, as Q = ki - kf and E = 2.0721 (ki^2 - kf^2) are linear in the deviations; the sample's mosaic is added after
Werner & Pynn, J. Appl. Phys. 42, 4736 (1971).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from insdl.crystal import real_numbers, reciprocal
from insdl.instrument.convolution import Convolved, convolve
from insdl.instrument.kinematics import wave_number
from insdl.instrument.widths import FWHM_PER_SIGMA
from insdl.model import SpinModel
from insdl.units import NEUTRON_E_PER_K2

_Reals = npt.NDArray[np.float64]

ARCMINUTE = float(np.pi / 180.0 / 60.0)
"""Radian."""
PG002 = 3.354
"""Spacing of pyrolytic graphite (002), angstrom."""


@dataclass(frozen=True)
class MosaicCrystal:
    """Monochromator or analyser.

    Attributes
    ----------
    spacing : float, angstrom. Of the reflecting planes.
    mosaic_fwhm : float, radian. Full width at half maximum of the mosaic, in the scattering plane.
    sense : 1 where the beam is turned counter-clockwise seen from above, -1 for clockwise.
    vertical_mosaic_fwhm : float, radian, or None for the same as in the plane.
    """

    spacing: float
    mosaic_fwhm: float
    sense: Literal[1, -1]
    vertical_mosaic_fwhm: float | None = None

    def __post_init__(self) -> None:
        vertical = self.mosaic_fwhm if self.vertical_mosaic_fwhm is None else self.vertical_mosaic_fwhm
        if not (0 < self.spacing < np.inf and 0 < self.mosaic_fwhm < np.inf and 0 < vertical < np.inf):
            raise ValueError(f"spacing and mosaic of a crystal must be positive and finite, got {self}")
        if self.sense not in (1, -1):
            raise ValueError(f"sense must be 1 or -1, got {self.sense}")

    @property
    def sigmas(self) -> tuple[float, float]:
        """Standard deviations of the mosaic in the plane and vertically, radian."""
        vertical = self.mosaic_fwhm if self.vertical_mosaic_fwhm is None else self.vertical_mosaic_fwhm
        return self.mosaic_fwhm / FWHM_PER_SIGMA, vertical / FWHM_PER_SIGMA

    def bragg_angle(self, k: _Reals) -> _Reals:
        """theta with k sin(theta) = pi / spacing, radian, for wave numbers in 1/angstrom."""
        ratio = np.pi / (self.spacing * np.asarray(k))
        if not (ratio < 1.0).all():
            raise ValueError(f"planes {self.spacing:g} angstrom apart do not reflect k = {np.min(k):.4g} 1/angstrom")
        return np.asarray(np.arcsin(ratio))


@dataclass(frozen=True)
class TripleAxis:
    """A triple-axis spectrometer.

    Attributes
    ----------
    monochromator, analyser : MosaicCrystal.
    sample_sense : 1 where the sample scatters counter-clockwise seen from above, -1 for clockwise.
    fixed : "ki" or "kf". Which wave number stays; fixed_energy : float, meV, its energy.
    horizontal_fwhm, vertical_fwhm : four floats, radian. Full widths at half maximum of the collimations before and after the
        monochromator, before and after the analyser.
    sample_mosaic_fwhm : float, radian. Of the sample, in the plane and vertically.
    """

    monochromator: MosaicCrystal
    analyser: MosaicCrystal
    sample_sense: Literal[1, -1]
    fixed: Literal["ki", "kf"]
    fixed_energy: float
    horizontal_fwhm: Sequence[float]
    vertical_fwhm: Sequence[float]
    sample_mosaic_fwhm: float = 0.0

    def __post_init__(self) -> None:
        if self.sample_sense not in (1, -1):
            raise ValueError(f"sample_sense must be 1 or -1, got {self.sample_sense}")
        if self.fixed not in ("ki", "kf"):
            raise ValueError(f"fixed must be 'ki' or 'kf', got {self.fixed!r}")
        if not 0 < self.fixed_energy < np.inf:
            raise ValueError(f"fixed_energy must be positive and finite (meV), got {self.fixed_energy}")
        for name in ("horizontal_fwhm", "vertical_fwhm"):
            widths = real_numbers(getattr(self, name), name)
            if widths.shape != (4,) or not (np.isfinite(widths) & (widths > 0)).all():
                raise ValueError(f"{name} must be four positive, finite numbers (radian), got {widths.tolist()}")
            object.__setattr__(self, name, tuple(widths.tolist()))
        if not 0 <= self.sample_mosaic_fwhm < np.inf:
            raise ValueError(f"sample_mosaic_fwhm must be finite and not negative, got {self.sample_mosaic_fwhm}")

    def wave_numbers(self, energy_transfer: npt.ArrayLike) -> tuple[_Reals, _Reals]:
        """ki and kf at energy transfers (meV), 1/angstrom."""
        energy = np.asarray(energy_transfer, dtype=np.float64)
        fixed = np.full(energy.shape, self.fixed_energy)
        incident = fixed if self.fixed == "ki" else fixed + energy
        final = incident - energy
        if not ((incident > 0) & (final > 0)).all():
            raise ValueError(
                f"{self.fixed} is fixed at {self.fixed_energy:g} meV, which leaves no neutron at E = "
                f"{energy[~((incident > 0) & (final > 0))].ravel()[0]:g} meV"
            )
        return wave_number(incident), wave_number(final)


@dataclass(frozen=True, eq=False)
class TripleAxisAngles:
    """Where the arms of the spectrometer stand; angles of rotation are positive counter-clockwise from above.

    Attributes
    ----------
    ki, kf : (n,) float64, 1/angstrom.
    monochromator, analyser : (n,) float64, radian. Bragg angles theta, positive.
    two_theta : (n,) float64, radian. Turn of the beam at the sample, with its sense.
    q_angle : (n,) float64, radian. Turn from ki to Q = ki - kf.
    """

    ki: _Reals
    kf: _Reals
    monochromator: _Reals
    analyser: _Reals
    two_theta: _Reals
    q_angle: _Reals


def spectrometer_angles(spectrometer: TripleAxis, q: npt.ArrayLike, energy_transfer: npt.ArrayLike) -> TripleAxisAngles:
    """Angles of the spectrometer for |Q| (n,), 1/angstrom, and energy transfers (n,), meV.

    Raises
    ------
    ValueError
        Where the scattering triangle does not close, or a crystal cannot reflect.
    """
    length, energy = np.broadcast_arrays(np.atleast_1d(q).astype(np.float64), np.atleast_1d(energy_transfer))
    ki, kf = spectrometer.wave_numbers(energy)
    cosine = (ki**2 + kf**2 - length**2) / (2.0 * ki * kf)
    bad = np.flatnonzero(~(np.abs(cosine) <= 1.0) | (length <= 0))
    if bad.size:
        raise ValueError(
            f"the scattering triangle does not close at |Q| = {length[bad[0]]:.5g} 1/angstrom, E = {energy[bad[0]]:.5g} meV "
            f"(ki = {ki[bad[0]]:.5g}, kf = {kf[bad[0]]:.5g} 1/angstrom)"
        )
    two_theta = spectrometer.sample_sense * np.arccos(cosine)
    q_angle = np.arctan2(-kf * np.sin(two_theta), ki - kf * np.cos(two_theta))
    angles = spectrometer.monochromator.bragg_angle(ki), spectrometer.analyser.bragg_angle(kf)
    return TripleAxisAngles(ki, kf, *angles, two_theta, q_angle)


def _beam_covariance(
    k: _Reals,
    theta: _Reals,
    crystal: MosaicCrystal,
    side: Literal[1, -1],
    near: tuple[float, float],
    far: tuple[float, float],
) -> _Reals:
    """(n, 3, 3) covariance of k along, across (counter-clockwise) and up, 1/angstrom^2.

    side 1 for the monochromator, -1 for the analyser; near and far: horizontal and vertical standard deviations (radian) of the
    collimators between crystal and sample, and on the crystal's other side.
    """
    mosaic, vertical_mosaic = crystal.sigmas
    turn = side * crystal.sense * np.tan(theta)
    precision = np.zeros((len(k), 2, 2))  # over kappa, gamma
    for slope, sigma in ((0.0 * turn, near[0]), (2.0 * turn, far[0]), (turn, mosaic)):
        row = np.stack([slope, np.ones_like(slope)], axis=-1) / sigma
        precision += row[:, :, None] * row[:, None, :]
    # A block tilted by chi turns the beam up by 2 sin(theta) chi.
    up = 1.0 / (1.0 / near[1] ** 2 + 1.0 / (far[1] ** 2 + (2.0 * np.sin(theta) * vertical_mosaic) ** 2))
    result = np.zeros((len(k), 3, 3))
    result[:, :2, :2] = np.linalg.inv(precision)
    result[:, 2, 2] = up
    return np.asarray(result * (k * k)[:, None, None])


def cooper_nathans(spectrometer: TripleAxis, q: npt.ArrayLike, energy_transfer: npt.ArrayLike) -> _Reals:
    """Covariance of (Q, E) of the spectrometer set to |Q| and E.

    Parameters
    ----------
    q : (n,) float64, 1/angstrom. Lengths of Q. energy_transfer : (n,) float64, meV.

    Returns
    -------
    (n, 4, 4) float64, (1/angstrom)^2, meV/angstrom, meV^2. Over Q along Q, across Q (z x Q: counter-clockwise in the plane),
    up (z), and E. The resolution matrix of the literature is its inverse.
    """
    angles = spectrometer_angles(spectrometer, q, energy_transfer)
    flat = np.asarray(spectrometer.horizontal_fwhm) / FWHM_PER_SIGMA
    high = np.asarray(spectrometer.vertical_fwhm) / FWHM_PER_SIGMA
    collimators = list(zip(flat.tolist(), high.tolist(), strict=True))
    before = _beam_covariance(
        angles.ki, angles.monochromator, spectrometer.monochromator, 1, collimators[1], collimators[0]
    )
    after = _beam_covariance(angles.kf, angles.analyser, spectrometer.analyser, -1, collimators[2], collimators[3])
    result = np.zeros((len(angles.ki), 4, 4))
    for covariance, k, turn in (
        (before, angles.ki, -angles.q_angle),
        (after, angles.kf, angles.two_theta - angles.q_angle),  # the sign of kf in Q and E leaves its covariance alone
    ):
        frame = np.zeros((len(k), 4, 3))  # deviations along, across and up of the beam -> (Q, E)
        frame[:, 0, 0], frame[:, 0, 1] = np.cos(turn), -np.sin(turn)
        frame[:, 1, 0], frame[:, 1, 1] = np.sin(turn), np.cos(turn)
        frame[:, 2, 2] = 1.0
        frame[:, 3, 0] = 2.0 * NEUTRON_E_PER_K2 * k
        result += np.einsum("nij,njk,nlk->nil", frame, covariance, frame)
    mosaic = np.atleast_1d(q) * spectrometer.sample_mosaic_fwhm / FWHM_PER_SIGMA
    result[:, 1, 1] += mosaic**2
    result[:, 2, 2] += mosaic**2
    return result


def resolution_matrix(covariance: npt.ArrayLike) -> _Reals:
    """(..., 4, 4) float64: the inverse of a covariance, M of exp(-x M x / 2)."""
    return np.ascontiguousarray(np.linalg.inv(np.asarray(covariance, dtype=np.float64)))


def bragg_widths(covariance: npt.ArrayLike) -> _Reals:
    """(..., 4) float64: standard deviations of scans through a sharp point, along each axis: 1 / sqrt(M_ii)."""
    return np.asarray(1.0 / np.sqrt(np.diagonal(resolution_matrix(covariance), axis1=-2, axis2=-1)))


def vanadium_width(covariance: npt.ArrayLike) -> _Reals:
    """(...) float64, meV: standard deviation of a scan in E through elastic incoherent scattering: sqrt(Var(E))."""
    return np.asarray(np.sqrt(np.asarray(covariance, dtype=np.float64)[..., 3, 3]))


def scan_covariance(
    spectrometer: TripleAxis,
    q_rlu: npt.ArrayLike,
    energy_transfer: npt.ArrayLike,
    *,
    lattice: npt.ArrayLike,
    u: Sequence[float],
    v: Sequence[float],
) -> _Reals:
    """Covariances in the Cartesian axes of a crystal, for `insdl.instrument.convolution.convolve`.

    Parameters
    ----------
    q_rlu : (n, 3) float64, r.l.u., in the scattering plane. energy_transfer : (n,) float64, meV.
    lattice : (3, 3) float64, angstrom. Rows a, b, c.
    u, v : three numbers each, r.l.u. Two vectors of the scattering plane; u x v points up.

    Returns
    -------
    (n, 4, 4) float64. Over (Qx, Qy, Qz, E), 1/angstrom and meV.

    Raises
    ------
    ValueError
        For a Q out of the plane, or one that the spectrometer does not reach.
    """
    frame = reciprocal(lattice)
    q = real_numbers(q_rlu, "q_rlu")
    if q.ndim != 2 or q.shape[1] != 3:
        raise ValueError(f"q_rlu must have shape (n, 3), got {q.shape}")
    q_cart = q @ frame
    length = np.linalg.norm(q_cart, axis=1)
    normal = np.cross(np.asarray(u, dtype=np.float64) @ frame, np.asarray(v, dtype=np.float64) @ frame)
    if np.linalg.norm(normal) < 1e-9:
        raise ValueError(f"u and v must not be parallel, got {list(u)} and {list(v)}")
    up = normal / np.linalg.norm(normal)
    out = np.flatnonzero(np.abs(q_cart @ up) > 1e-6 * np.maximum(length, 1.0))
    if out.size:
        raise ValueError(
            f"q_rlu must lie in the plane of u = {list(u)} and v = {list(v)}, but row {out[0]} is {q[out[0]].tolist()}"
        )
    covariance = cooper_nathans(spectrometer, length, energy_transfer)
    axes = np.zeros((len(q), 4, 4))
    axes[:, :3, 0] = q_cart / length[:, None]
    axes[:, :3, 1] = np.cross(up, axes[:, :3, 0])
    axes[:, :3, 2] = up
    axes[:, 3, 3] = 1.0
    return np.asarray(np.einsum("nij,njk,nlk->nil", axes, covariance, axes))


def simulated_scan(
    model: SpinModel,
    spectrometer: TripleAxis,
    q_rlu: npt.ArrayLike,
    energy_transfer: npt.ArrayLike,
    *,
    u: Sequence[float],
    v: Sequence[float],
    values: Mapping[str, float] | None = None,
    **options: Any,
) -> Convolved:
    """A scan as the spectrometer counts it: the model seen with the resolution of every point.

    Parameters
    ----------
    q_rlu : (n, 3) float64, r.l.u., in the scattering plane. energy_transfer : (n,) float64, meV.
    u, v : as in `scan_covariance`.
    values : the model's parameters by name.
    options : of `insdl.instrument.convolution.convolve`, such as ``temperature``.

    Returns
    -------
    Convolved. S(Q, E) seen with a normalised resolution, 1/meV per chemical cell: for a fixed kf in proportion to the counts
    per count of a monitor before the sample whose efficiency goes as 1/ki. For a fixed ki the counts grow besides with the
    volume of kf that the analyser accepts, which is left out.
    """
    covariance = scan_covariance(spectrometer, q_rlu, energy_transfer, lattice=model.lattice, u=u, v=v)
    return convolve(model, q_rlu, energy_transfer, covariance, values=values, **options)
