"""Where a detector looks: a simple bank of detectors around the beam."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from insdl.crystal import reciprocal
from insdl.instrument.frame import ImageFrame
from insdl.units import NEUTRON_E_PER_K2


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
    pixels = np.asarray(frame.pixels)
    axes = reciprocal(lattice)
    h, k = np.meshgrid(pixels, pixels, indexing="ij")
    q = h[..., None] * axes[0] + k[..., None] * axes[1]
    masks = []
    for block in frame.blocks:
        for low, high in np.asarray(block.bins):
            kf2 = (block.incident_energy - 0.5 * (low + high)) / NEUTRON_E_PER_K2
            along2 = kf2 - np.sum(q**2, axis=-1)
            along = np.sqrt(np.maximum(along2, 1e-12))
            angles = np.abs(np.arctan2(q[..., :2], along[..., None]))
            seen = (along2 > 0) & (angles.max(axis=-1) > beam_stop) & (angles.max(axis=-1) < outer_edge)
            for gap in gaps:
                seen &= (np.abs(angles - gap) > gap_width / 2).all(axis=-1)
            masks.append(seen)
    return np.array(masks)
