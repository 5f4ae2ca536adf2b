"""Where a detector looks: banks of detectors around the beam, and what of an image's frame they see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from insdl.crystal import reciprocal
from insdl.instrument.frame import ImageFrame
from insdl.instrument.kinematics import detector_angles, q_along_beam
from insdl.units import NEUTRON_E_PER_K2

_Reals = npt.NDArray[np.float64]
_Range = tuple[float, float]


@dataclass(frozen=True)
class DetectorBank:
    """A bank of detectors on a sphere around the sample.

    Attributes
    ----------
    two_theta : (from, to), radian, 0 to pi. Angles to the beam; from the edge of the beam stop outwards.
    azimuth : (from, to), radian. Around the beam, from x (0) to y (pi/2); to - from at most 2 pi. (-pi, pi) is all around.
    gaps : ((two_theta from, to), (azimuth from, to)), ... Parts of the bank without detectors.
    """

    two_theta: _Range
    azimuth: _Range = (-np.pi, np.pi)
    gaps: Sequence[tuple[_Range, _Range]] = ()

    def __post_init__(self) -> None:
        for name, (low, high) in (("two_theta", self.two_theta), *(("gap's two_theta", gap[0]) for gap in self.gaps)):
            if not 0.0 <= low < high <= np.pi + 1e-12:
                raise ValueError(f"{name} must ascend within 0 and pi (radian), got {(low, high)}")
        for name, (low, high) in (("azimuth", self.azimuth), *(("gap's azimuth", gap[1]) for gap in self.gaps)):
            if not 0.0 < high - low <= 2.0 * np.pi + 1e-12:
                raise ValueError(f"{name} must ascend by at most 2 pi (radian), got {(low, high)}")
        object.__setattr__(self, "gaps", tuple(self.gaps))

    def sees(self, two_theta: npt.ArrayLike, azimuth: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """True where a detector stands in the direction (two_theta, azimuth), radian; False for NaN."""
        angle, around = np.asarray(two_theta, dtype=np.float64), np.asarray(azimuth, dtype=np.float64)
        seen = _within(angle, around, self.two_theta, self.azimuth)
        for gap_angle, gap_azimuth in self.gaps:
            seen &= ~_within(angle, around, gap_angle, gap_azimuth)
        return seen


def _within(angle: _Reals, around: _Reals, two_theta: _Range, azimuth: _Range) -> npt.NDArray[np.bool_]:
    turned = np.mod(around - azimuth[0], 2.0 * np.pi)
    all_around = azimuth[1] - azimuth[0] >= 2.0 * np.pi - 1e-12
    inside = np.isfinite(turned) if all_around else turned <= azimuth[1] - azimuth[0]
    return np.asarray((angle >= two_theta[0]) & (angle <= two_theta[1]) & inside)


def bank_coverage(frame: ImageFrame, lattice: npt.ArrayLike, banks: Sequence[DetectorBank]) -> npt.NDArray[np.bool_]:
    """True where any of the banks sees a pixel at the centre of its energy bin, for the beam along c*.

    Parameters
    ----------
    frame : ImageFrame.
    lattice : (3, 3) float64, angstrom, the chemical cell; c perpendicular to a and b. Qh runs along a*, which is x, and
        y is the direction across it in the layer, on the side of b*.
    banks : DetectorBank, ...

    Returns
    -------
    (n_bins, n_h, n_k) bool. Q = ki - kf: a neutron that leaves Qx > 0 flies towards -x (azimuth pi).
    """
    q, masks = _in_plane(frame, lattice), []
    for block in frame.blocks:
        for energy in np.asarray(block.bins).mean(axis=1):
            along = q_along_beam(np.linalg.norm(q, axis=-1), energy, incident_energy=block.incident_energy)
            two_theta, azimuth = detector_angles(
                np.concatenate([q, along[..., None]], axis=-1), energy, incident_energy=block.incident_energy
            )
            masks.append(np.logical_or.reduce([bank.sees(two_theta, azimuth) for bank in banks]))
    return np.array(masks)


def detector_coverage(
    frame: ImageFrame,
    lattice: npt.ArrayLike,
    *,
    beam_stop: float = np.radians(2.8),
    outer_edge: float = np.radians(20.0),
    gaps: tuple[float, ...] = (np.radians(7.5),),
    gap_width: float = np.radians(0.45),
) -> npt.NDArray[np.bool_]:
    """True where a square detector bank around the beam sees a pixel at the centre of its energy bin.

    Parameters
    ----------
    frame : ImageFrame. lattice : (3, 3) float64, angstrom, the chemical cell; beam along c*.
    beam_stop : float, radian. Half-opening of the square beam stop.
    outer_edge : float, radian. Half-opening of the bank.
    gaps : angles (radian) on both sides of the beam at which modules of the bank meet, and gap_width their width.

    Returns
    -------
    (n_bins, n_h, n_k) bool.

    Notes
    -----
    An approximation of a low-angle bank such as that of MAPS: enough to make a measurement of one's own. For a real measurement
    use the mask that came with it.
    """
    q, masks = _in_plane(frame, lattice), []
    for block in frame.blocks:
        for energy in np.asarray(block.bins).mean(axis=1):
            along2 = (block.incident_energy - energy) / NEUTRON_E_PER_K2 - np.sum(q**2, axis=-1)
            angles = np.abs(np.arctan2(q, np.sqrt(np.maximum(along2, 1e-12))[..., None]))
            seen = (along2 > 0) & (angles.max(axis=-1) > beam_stop) & (angles.max(axis=-1) < outer_edge)
            for gap in gaps:
                seen &= (np.abs(angles - gap) > gap_width / 2).all(axis=-1)
            masks.append(seen)
    return np.array(masks)


def _in_plane(frame: ImageFrame, lattice: npt.ArrayLike) -> _Reals:
    """(n_h, n_k, 2) float64, 1/angstrom. Q across the beam of every pixel, x along a*."""
    axes = reciprocal(lattice)
    pixels = np.asarray(frame.pixels)
    h, k = np.meshgrid(pixels, pixels, indexing="ij")
    q = h[..., None] * axes[0] + k[..., None] * axes[1]
    x = axes[0] / np.linalg.norm(axes[0])
    y = np.cross(axes[2] / np.linalg.norm(axes[2]), x)
    return np.stack([q @ x, q @ y], axis=-1)
