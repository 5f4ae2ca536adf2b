"""Spectra of the detectors of a direct-geometry spectrometer, binned in Q and E. Axes: `insdl.instrument.kinematics`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from insdl.crystal import real_numbers
from insdl.instrument.kinematics import momentum_transfer
from insdl.measured.histogram import Axis, Histogram
from insdl.measured.nxspe import DetectorSpectra

_Reals = npt.NDArray[np.float64]


def detector_q_cart(spectra: DetectorSpectra) -> _Reals:
    """(n_detectors, n_energies, 3) float64, 1/angstrom, laboratory axes. Q of each detector in the middle of each bin."""
    energy = 0.5 * (spectra.energy_edges[1:] + spectra.energy_edges[:-1])
    return momentum_transfer(
        spectra.two_theta[:, None], spectra.azimuth[:, None], energy[None], incident_energy=spectra.incident_energy
    )


def to_histogram(
    spectra: DetectorSpectra | Sequence[DetectorSpectra],
    ub: npt.ArrayLike | Sequence[npt.ArrayLike],
    axes: Sequence[Axis],
) -> Histogram:
    """Spectra of one or more crystal angles binned in Q and E.

    Parameters
    ----------
    spectra : DetectorSpectra, or one for each angle of the crystal.
    ub : (3, 3) float64, 1/angstrom, or one for each: q_lab = ub q_rlu, as from `insdl.instrument.Orientation.ub_matrix`.
    axes : Axis, ... One without projection is the energy transfer (meV). The others have projections (r.l.u.) that are
        linearly independent; q_rlu is the sum of coordinate times projection, and what is left of it in directions that
        none of three projections names is summed over.

    Returns
    -------
    Histogram. In each bin the mean of the intensities (per meV, as in the spectra) of the detector pixels whose centre
    (Q, E) lies in it, each with the same weight; its error in quadrature; NaN where no pixel lies.

    Raises
    ------
    ValueError
        For other numbers of spectra and matrices, or axes without energy or without independent projections.
    """
    runs = [spectra] if isinstance(spectra, DetectorSpectra) else list(spectra)
    if not runs:
        raise ValueError("there must be at least one set of spectra")
    matrices = real_numbers(np.asarray(ub), "ub").reshape(-1, 3, 3)
    if len(matrices) == 1:
        matrices = np.repeat(matrices, len(runs), axis=0)
    if len(matrices) != len(runs):
        raise ValueError(f"there must be one ub for each of {len(runs)} sets of spectra, got {len(matrices)}")
    energy_axes = [n for n, axis in enumerate(axes) if axis.projection is None]
    if len(energy_axes) != 1 or axes[energy_axes[0]].unit != "meV":
        raise ValueError("axes must hold one axis without projection, in meV: the energy transfer")
    momentum_axes = [n for n in range(len(axes)) if n != energy_axes[0]]
    projections = np.array([np.asarray(axes[n].projection) for n in momentum_axes]).reshape(-1, 3)
    if not 1 <= len(projections) <= 3 or np.linalg.matrix_rank(projections) < len(projections):
        raise ValueError(f"axes must hold one to three linearly independent projections, got {projections.tolist()}")
    shape = tuple(len(axis) for axis in axes)
    size = int(np.prod(shape))
    total, variance, count = np.zeros(size), np.zeros(size), np.zeros(size)
    for run, matrix in zip(runs, matrices, strict=True):
        if abs(np.linalg.det(matrix)) < 1e-12:
            raise ValueError("ub must be an invertible matrix")
        bins = _bins(run, matrix, axes, energy_axes[0], momentum_axes, projections)
        inside = bins >= 0
        for target, values in ((total, run.signal), (variance, run.error**2), (count, np.ones(run.signal.shape))):
            target += np.bincount(bins[inside], weights=values[inside], minlength=size)
    filled = count > 0
    number = np.where(filled, count, 1.0)
    signal = np.where(filled, total / number, np.nan).reshape(shape)
    error = np.where(filled, np.sqrt(variance) / number, np.nan).reshape(shape)
    notes = tuple(dict.fromkeys(note for run in runs for note in run.notes))
    incident = ", ".join(f"{energy:g}" for energy in sorted({run.incident_energy for run in runs}))
    source = "; ".join(dict.fromkeys(run.source for run in runs)) + f", Ei = {incident} meV"
    digest = " ".join(dict.fromkeys(run.sha256 for run in runs))
    note = "each bin is the mean of the detector pixels whose centre lies in it"
    return Histogram(signal, error, tuple(axes), source, digest, (*notes, note))


def _bins(
    run: DetectorSpectra, ub: _Reals, axes: Sequence[Axis], energy: int, momenta: list[int], projections: _Reals
) -> npt.NDArray[np.int64]:
    """(n_detectors, n_energies): flat number of the bin of each measured detector pixel, -1 outside."""
    q_rlu = detector_q_cart(run) @ np.linalg.inv(ub).T
    # Missing projections are completed by directions perpendicular to them in 1/angstrom, so that what is summed over is
    # perpendicular to what is kept.
    cart = projections @ ub.T
    basis = np.concatenate([cart, np.linalg.svd(cart)[2][len(cart) :]]) @ np.linalg.inv(ub).T
    coordinates = q_rlu @ np.linalg.inv(basis)
    middle = 0.5 * (run.energy_edges[1:] + run.energy_edges[:-1])
    values = {energy: np.broadcast_to(middle, run.signal.shape)}
    values.update({n: coordinates[..., place] for place, n in enumerate(momenta)})
    flat = np.zeros(run.signal.shape, dtype=np.int64)
    inside = run.measured
    for n, axis in enumerate(axes):
        edges = np.asarray(axis.edges)
        place = np.searchsorted(edges, values[n], side="right") - 1
        inside = inside & (place >= 0) & (place < len(axis))
        flat = flat * len(axis) + np.clip(place, 0, len(axis) - 1)
    return np.where(inside, flat, -1)
