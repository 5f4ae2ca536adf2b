"""Spin-wave energies and structure factors: the door to the compiled kernel."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from insdl.crystal import real_numbers, reciprocal
from insdl.errors import NotEquilibriumWarning, UnstableModelError
from insdl.form_factor import form_factor as ion_form_factor
from insdl.model import SpinModel

_Reals = npt.NDArray[np.float64]
_MOST_THREADS = 1024
_TORQUE_WARNING = 1e-4  # meV; rounding of input directions stays far below


@dataclass(frozen=True, eq=False)
class Modes:
    """Magnons at a list of momentum transfers. With several parameter sets every array has a leading axis n_sets.

    Attributes
    ----------
    energy : (nq, nmodes) float64, meV. Descending; NaN where the model is unstable.
    intensity : (nq, nmodes) float64, per chemical cell. sum_ab (delta_ab - Q_a Q_b / Q^2) S^ab; 2/3 trace at Q = 0.
    stable : bool, or (n_sets,) bool. Whether the quadratic Hamiltonian is positive semidefinite at every q.
    amplitude : (nq, nmodes, 3) complex128, or None unless asked for. <0| S(q) |mode>, Cartesian, per square root of a
        chemical cell.
    """

    energy: _Reals
    intensity: _Reals
    stable: npt.NDArray[np.bool_] | bool
    amplitude: npt.NDArray[np.complex128] | None = None

    @property
    def sab(self) -> npt.NDArray[np.complex128]:
        """(nq, nmodes, 3, 3) complex128, per chemical cell. S^ab = v_a conj(v_b) at T = 0, creation side (energy loss).

        A single mode's S^ab inside a group of equal energies depends on the choice of basis; its sum over the group
        does not. At a mode of exactly zero energy it is that of the form regularised by 1e-10 of the largest diagonal
        element: exact for a ferromagnet, large but finite where the true weight diverges.
        """
        if self.amplitude is None:
            raise ValueError("S^ab needs amplitudes: ask for them with output='amplitude'")
        return self.amplitude[..., :, None] * self.amplitude[..., None, :].conj()


def thread_count(threads: int | None) -> int:
    """The number of threads to use: every processor that this process may run on for None."""
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    whole = isinstance(threads, int | np.integer) and not isinstance(threads, bool)
    if not whole or not 1 <= threads <= _MOST_THREADS:
        raise ValueError(f"threads must be a whole number from 1 to {_MOST_THREADS}, or None, got {threads!r}")
    return int(threads)


def checked_q(q_rlu: npt.ArrayLike) -> _Reals:
    """``q_rlu`` as a contiguous (nq, 3) float64 array (itself, where it is one), or one clear sentence."""
    ready = isinstance(q_rlu, np.ndarray) and q_rlu.dtype == np.float64 and q_rlu.flags.c_contiguous
    q = q_rlu if isinstance(q_rlu, np.ndarray) and ready else real_numbers(q_rlu, "q_rlu")
    if q.ndim != 2 or q.shape[1] != 3:
        raise ValueError(f"q_rlu must have shape (nq, 3), got {q.shape}")
    with np.errstate(invalid="ignore", over="ignore"):
        total = q.sum()
    if not np.isfinite(total):  # a sum is quick; only where it is not finite is there something to look for
        bad = np.flatnonzero(~np.isfinite(q).all(axis=1))
        if bad.size:
            raise ValueError(f"q_rlu must be finite; row {bad[0]} is {q[bad[0]].tolist()}")
    return q


def checked_sets(model: SpinModel, parameters: npt.ArrayLike) -> _Reals:
    """``parameters`` as an (n_sets, n_parameters) float64 array, or one clear sentence."""
    sets = real_numbers(parameters, "parameters")
    if sets.ndim != 2 or sets.shape[1] != len(model.parameters):
        raise ValueError(
            f"parameters must have shape (n_sets, {len(model.parameters)}) in the order {list(model.parameters)}, "
            f"got {sets.shape}"
        )
    bad = np.flatnonzero(~np.isfinite(sets).all(axis=1))
    if bad.size:
        raise ValueError(f"parameters must be finite; set {bad[0]} is {sets[bad[0]].tolist()}")
    return sets


def spin_waves(
    model: SpinModel,
    q_rlu: npt.ArrayLike,
    *,
    threads: int | None = None,
    form: Literal["auto", "full"] = "auto",
    form_factor: Literal["none", "ion"] = "none",
    output: Literal["intensity", "amplitude"] = "intensity",
    precision: Literal["double", "single"] = "double",
    parameters: npt.ArrayLike | None = None,
    values: Mapping[str, float] | None = None,
) -> Modes:
    """Energies and neutron intensities of a model's magnons.

    Parameters
    ----------
    model : SpinModel.
    q_rlu : (nq, 3) float64, r.l.u. of the chemical cell. Momentum transfers.
    threads : int or None. Threads over q; the result is bitwise the same for any number.
    form : "auto" uses the N x N split form where it holds (detected from the model), "full" always the 2N x 2N one.
    output : "intensity", or "amplitude" for `Modes.amplitude` and `Modes.sab` besides.
    precision : "double", or "single", which is about twice as fast. Single precision keeps energies to 1e-4 of the
        bandwidth and intensities to 1e-3 of the strongest mode's (docs/speed.md); q where it cannot are solved in double.
    form_factor : "none" or "ion", which multiplies each site's amplitude by <j0>(Q) of its ion.
    parameters : (n_sets, n_parameters) float64, meV, or None. Many sets at once; then nothing is raised for an unstable
        set, its energies are NaN and its `Modes.stable` is False.
    values : parameters by name, for one set.

    Returns
    -------
    Modes.

    Raises
    ------
    UnstableModelError
        For one set of parameters, where the quadratic Hamiltonian is not positive semidefinite.
    ValueError, TypeError
        For arrays of the wrong shape, numbers that are not finite, unknown or missing parameters.

    Notes
    -----
    Linear spin-wave theory in the split form (docs/spin-wave-theory.md) or after Colpa, Physica A 93, 327 (1978);
    S^ab after Toth & Lake, J. Phys.: Condens. Matter 27, 166002 (2015), with the Hamiltonian of `insdl.model`.
    """
    q = checked_q(q_rlu)
    for name, given, known in (
        ("form", form, ("auto", "full")),
        ("output", output, ("intensity", "amplitude")),
        ("precision", precision, ("double", "single")),
    ):
        if given not in known:
            raise ValueError(f"{name} must be {known[0]!r} or {known[1]!r}, got {given!r}")
    if parameters is not None and values:
        raise TypeError(f"give parameters as an array or as keywords, not both; got both and {sorted(values)}")
    sets = model.values(values or {})[None] if parameters is None else checked_sets(model, parameters)
    energy, intensity, amplitude, lowest, at_q = model.core.solve(
        q,
        sets,
        _factors(model, q, form_factor),
        form == "full",
        precision == "single",
        output == "amplitude",
        thread_count(threads),
    )
    if parameters is not None:
        return Modes(energy, intensity, np.isnan(lowest), amplitude)
    torque = float(np.linalg.norm(model.core.torque(sets[0]), axis=1).max())
    if at_q[0] >= 0:
        raise UnstableModelError(q[at_q[0]].copy(), float(lowest[0]), torque)
    if torque > _TORQUE_WARNING:
        warnings.warn(
            f"the moments are not in equilibrium: the largest torque is {torque:.3g} meV (see insdl.relax)",
            NotEquilibriumWarning,
            stacklevel=3,
        )
    return Modes(energy[0], intensity[0], True, None if amplitude is None else amplitude[0])


def _factors(model: SpinModel, q_rlu: _Reals, form_factor: str) -> _Reals | None:
    if form_factor == "none":
        return None
    if form_factor != "ion":
        raise ValueError(f"form_factor must be 'none' or 'ion', got {form_factor!r}")
    lengths = np.linalg.norm(q_rlu @ reciprocal(model.lattice), axis=1)
    columns = []
    for number, site in enumerate(model.sites):
        if site.ion is None:
            raise ValueError(f"form_factor='ion' needs the ion of every site; site {number} has none")
        columns.append(ion_form_factor(site.ion, lengths))
    return np.ascontiguousarray(np.stack(columns, axis=1))
