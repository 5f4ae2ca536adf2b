"""Phonons of the sample from force constants, by Euphonic (optional: pip install 'insdl[phonons]').

Euphonic is licensed under the GPL; it is called through its public interface alone and is not part of insdl.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from insdl.instrument.frame import ImageFrame
from insdl.instrument.nuisance.geometry import pixel_geometry
from insdl.instrument.nuisance.phonons import bose, energy_widths

_Reals = npt.NDArray[np.float64]


def force_constants_image(
    force_constants: Any,
    scattering_lengths: Any,
    frame: ImageFrame,
    lattice: npt.ArrayLike,
    *,
    to_phonon_cell: npt.ArrayLike | None = None,
    temperature: float = 5.0,
    debye_waller: Any = None,
    width_factor: float = 1.0,
    samples: int = 1,
) -> _Reals:
    """One-phonon intensity of every pixel from force constants.

    Parameters
    ----------
    force_constants : euphonic.ForceConstants. Or anything that has its ``calculate_qpoint_phonon_modes``.
    scattering_lengths : as Euphonic takes them: lengths by element such as {"Mn": -3.73 * euphonic.ureg("fm")}, or its table.
    frame : ImageFrame. lattice : (3, 3) float64, angstrom, the cell of the frame's r.l.u.; beam along c*.
    to_phonon_cell : (3, 3) float64. q in r.l.u. of the force constants' cell = to_phonon_cell @ q in the frame's; None
        where both cells are the same.
    temperature : float, kelvin. Of the phonons.
    debye_waller : euphonic.DebyeWaller or None for none.
    width_factor : float. Multiplies the energy resolution of the frame.
    samples : int. Slices of each energy bin at whose centre Q is taken.

    Returns
    -------
    (n_bins, n_h, n_k) float64, 1e-28 m^2 (barn) per meV and atom. Mean over the bin, at the
    centre of the pixel.

    Raises
    ------
    ModuleNotFoundError
        If Euphonic is not installed.

    Notes
    -----
    Euphonic's S(Q, s) = |sum of b (Q.e) exp(iQ.r - W) / sqrt(M)|^2 hbar^2 / (2 E N) times n + 1 (loss) or n (gain): a crystal
    of one atom gives `insdl.instrument.nuisance.phonon_image` times b^2. Atoms count N.
    """
    import euphonic  # noqa: F401, a clear error where it is not installed
    from scipy.special import ndtr

    turn = np.eye(3) if to_phonon_cell is None else np.asarray(to_phonon_cell, dtype=np.float64)
    if turn.shape != (3, 3):
        raise ValueError(f"to_phonon_cell must have shape (3, 3), got {turn.shape}")
    bins, cell = frame.bins, np.asarray(lattice, dtype=np.float64)
    image = np.zeros(frame.shape)
    for number in range(samples):
        low = bins[:, 0] + np.diff(bins)[:, 0] * number / samples
        high = bins[:, 0] + np.diff(bins)[:, 0] * (number + 1) / samples
        geometry = pixel_geometry(frame, lattice, energy=0.5 * (low + high))
        q_rlu = geometry.q_cart @ cell.T / (2.0 * np.pi) @ turn.T
        with warnings.catch_warnings():  # one thread is what is asked for, whatever else is loaded
            warnings.filterwarnings("ignore", message="\\s*More than one OpenMP library")
            modes = force_constants.calculate_qpoint_phonon_modes(q_rlu.reshape(-1, 3), asr="reciprocal", n_threads=1)
        factors = modes.calculate_structure_factor(scattering_lengths=scattering_lengths, dw=debye_waller)
        energies = factors.frequencies.to("meV").magnitude.reshape(*frame.shape, -1)
        strengths = factors.structure_factors.to("angstrom**2").magnitude.reshape(energies.shape) * 1e8
        sigma = width_factor * energy_widths(frame, geometry.energy)[:, None, None, None]
        seen = energies > 1e-3  # imaginary modes come as negative energies, sound at a Bragg point as zero
        filled = bose(np.where(seen, energies, 1.0), temperature)
        bottom, top = low[:, None, None, None], high[:, None, None, None]
        weight = np.zeros_like(energies)
        for sign, occupation in ((1.0, filled + 1.0), (-1.0, filled)):
            share = ndtr((top - sign * energies) / sigma) - ndtr((bottom - sign * energies) / sigma)
            weight += np.where(seen, strengths * occupation * share, 0.0)
        image += np.where(geometry.reachable, weight.sum(axis=-1), 0.0)
    return np.asarray(image / np.diff(bins)[:, :, None])
