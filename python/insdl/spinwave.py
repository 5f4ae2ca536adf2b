"""Spin-wave energies and structure factors: the door to the compiled kernel."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from insdl import _core
from insdl.crystal import real_numbers, reciprocal
from insdl.errors import NotEquilibriumWarning, UnstableModelError
from insdl.folding import fold
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
        does not. At a q with a mode of zero energy it is that of the form regularised by 1e-10 of the largest diagonal
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
    """``q_rlu`` as a contiguous (nq, 3) float64 array (itself, where it is one), or one clear sentence.

    Whether its numbers are finite and near enough is looked at by the kernel; see `check_reach`.
    """
    ready = isinstance(q_rlu, np.ndarray) and q_rlu.dtype == np.float64 and q_rlu.flags.c_contiguous
    q = q_rlu if isinstance(q_rlu, np.ndarray) and ready else real_numbers(q_rlu, "q_rlu")
    if q.ndim != 2 or q.shape[1] != 3:
        raise ValueError(f"q_rlu must have shape (nq, 3), got {q.shape}")
    return q


def check_reach(q_rlu: _Reals) -> None:
    """Fails where a row of (nq, 3) is not finite, or so far away that phases lose their digits."""
    bad = np.flatnonzero(~(np.abs(q_rlu) <= _core.FARTHEST_Q).all(axis=1))
    if bad.size:
        row = q_rlu[bad[0]]
        limit = f" and within {_core.FARTHEST_Q:g}, where phases keep their digits" if np.isfinite(row).all() else ""
        raise ValueError(f"q_rlu must be finite{limit}; row {bad[0]} is {row.tolist()}")


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
    precision : "double", or "single", which is about twice as fast. Single precision keeps energies to 2e-5 of the
        bandwidth, and intensities summed over modes closer than 3e-3 of it to 1e-3 of the strongest mode's (how close modes
        share their intensity is not kept); q where it cannot are solved in double.
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
    factors, workers = _factors(model, q, form_factor), thread_count(threads)
    try:
        energy, intensity, amplitude, lowest, at_q = model.core.solve(
            q, sets, factors, form == "full", precision == "single", output == "amplitude", workers
        )
    except ValueError:
        check_reach(q)
        raise
    if parameters is not None:
        return Modes(energy, intensity, np.isnan(lowest), amplitude)
    _check_one_set(model, sets[0], float(lowest[0]), q[at_q[0]].copy() if at_q[0] >= 0 else None)
    return Modes(energy[0], intensity[0], True, None if amplitude is None else amplitude[0])


def _check_one_set(model: SpinModel, values: _Reals, lowest: float, unstable_q: _Reals | None) -> None:
    """Raises where one set of parameters is unstable, warns where its moments are not in equilibrium."""
    torque = float(np.linalg.norm(model.core.torque(values), axis=1).max())
    if unstable_q is not None:
        raise UnstableModelError(unstable_q, lowest, torque)
    if torque > _TORQUE_WARNING:
        warnings.warn(
            f"the moments are not in equilibrium: the largest torque is {torque:.3g} meV (see insdl.relax)",
            NotEquilibriumWarning,
            stacklevel=4,
        )


class SpinWavePlan:
    """A model at a list of momentum transfers, compiled once for any number of parameter sets.

    Momentum transfers that differ by a reciprocal vector of the magnetic cell, or by a sign, have the same energies: each
    group of them is solved once and only its intensities are worked out again. On a commensurate grid over several Brillouin
    zones that is most of the work.

    Parameters
    ----------
    model : SpinModel.
    q_rlu : (nq, 3) float64, r.l.u. of the chemical cell. Different from each other where they are to be folded.
    folding : "auto" folds where the model is in split form and the list has equivalent points, "none" never does.

    Attributes
    ----------
    n_solved : int. Momentum transfers at which the Hamiltonian is diagonalised.
    """

    def __init__(self, model: SpinModel, q_rlu: npt.ArrayLike, *, folding: Literal["auto", "none"] = "auto") -> None:
        if folding not in ("auto", "none"):
            raise ValueError(f"folding must be 'auto' or 'none', got {folding!r}")
        self.model, self.q_rlu = model, checked_q(q_rlu)
        check_reach(self.q_rlu)
        self.n_solved = len(self.q_rlu)
        self._folding: _core.Folding | None = None
        if folding == "none" or not model.core.is_split or not len(self.q_rlu):
            return
        unique, back = np.unique(self.q_rlu, axis=0, return_inverse=True)
        self._back = None if len(unique) == len(self.q_rlu) else back.ravel()
        points = self.q_rlu if self._back is None else unique
        folded = fold(points, model.q_to_magnetic)
        if len(folded.solve_q) == len(self.q_rlu):
            return
        self.n_solved, self._solve_q = len(folded.solve_q), folded.solve_q
        self._folding = _core.Folding(model.core, folded.solve_q, folded.shift, folded.plus, folded.minus, len(points))

    def modes(self, *, parameters: npt.ArrayLike | None = None, threads: int | None = None, **values: float) -> Modes:
        """Energies and intensities, as `SpinModel.modes` gives them: for parameters by name, or for (n_sets, n) of them."""
        model = self.model
        if self._folding is None:
            return spin_waves(model, self.q_rlu, threads=threads, parameters=parameters, values=values)
        if parameters is not None and values:
            raise TypeError(f"give parameters as an array or as keywords, not both; got both and {sorted(values)}")
        sets = model.values(values)[None] if parameters is None else checked_sets(model, parameters)
        energy, intensity, lowest, at_q = self._folding.evaluate(sets, thread_count(threads))
        stable = np.isnan(lowest)
        energy[~stable], intensity[~stable] = np.nan, np.nan
        if self._back is not None:
            energy, intensity = energy[:, self._back], intensity[:, self._back]
        if parameters is not None:
            return Modes(energy, intensity, stable)
        _check_one_set(model, sets[0], float(lowest[0]), self._solve_q[at_q[0]].copy() if at_q[0] >= 0 else None)
        return Modes(energy[0], intensity[0], True)


def _factors(model: SpinModel, q_rlu: _Reals, form_factor: str) -> _Reals | None:
    if form_factor == "none":
        return None
    if form_factor != "ion":
        raise ValueError(f"form_factor must be 'none' or 'ion', got {form_factor!r}")
    check_reach(q_rlu)
    lengths = np.linalg.norm(q_rlu @ reciprocal(model.lattice), axis=1)
    columns = []
    for number, site in enumerate(model.sites):
        if site.ion is None:
            raise ValueError(f"form_factor='ion' needs the ion of every site; site {number} has none")
        columns.append(ion_form_factor(site.ion, lengths))
    return np.ascontiguousarray(np.stack(columns, axis=1))
