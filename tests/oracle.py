"""Slow linear spin waves in NumPy, to test the compiled kernel against.

Written for the eye, not for speed: one q at a time, the full 2N x 2N problem in the basis (a, a-dagger) of Holstein and
Primakoff, with the complex vectors of Toth and Lake, J. Phys.: Condens. Matter 27, 166002 (2015), solved by Colpa's
method. It shares no code and no formula beyond the conventions with the kernel, which works with real quadratures.

A magnet is a dictionary in the form that `tests/reference/README.md` describes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Real = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]
Case = dict[str, Any]


@dataclass(frozen=True)
class Modes:
    """Energies (nq, nmodes) in meV, descending, and S^ab (nq, nmodes, 3, 3) per chemical cell."""

    energy: Real
    sab: Complex


@dataclass(frozen=True)
class Terms:
    """The Hamiltonian with numbers in it: bonds (i, j, offset, J), a matrix A and a field b at every site."""

    bonds: tuple[tuple[int, int, Real, Real], ...]
    single_ion: Real
    field: Real


def terms(case: Case, **parameters: float) -> Terms:
    """The terms of H = sum S_i J S_j + sum S_i A_i S_i + sum b_i S_i, every parameter multiplied in."""

    def factor(row: list[Any], position: int) -> float:
        name = row[position] if len(row) > position else None
        return 1.0 if name is None else parameters[name]

    bonds = tuple(
        (row[0], row[1], np.asarray(row[2], float), factor(row, 4) * np.asarray(row[3], float)) for row in case["bonds"]
    )
    n = len(case["S"])
    single_ion, field = np.zeros((n, 3, 3)), np.zeros((n, 3))
    if case.get("aniso") is not None:
        single_ion += np.asarray(case["aniso"], float)
    if case.get("zeeman_b") is not None:
        field += np.asarray(case["zeeman_b"], float)
    for row in case.get("single_ion") or ():
        single_ion[row[0]] += factor(row, 2) * np.asarray(row[1], float)
    for row in case.get("zeeman") or ():
        field[row[0]] += factor(row, 2) * np.asarray(row[1], float)
    # Only the symmetric part of A acts on a classical spin.
    return Terms(bonds, 0.5 * (single_ion + single_ion.transpose(0, 2, 1)), field)


def spins(case: Case) -> tuple[Real, Real]:
    """Spin lengths (N,) and unit directions (N, 3)."""
    n = np.asarray(case["directions"], float)
    return np.asarray(case["S"], float), n / np.linalg.norm(n, axis=1, keepdims=True)


def q_over_two_pi(case: Case, q_rlu: npt.ArrayLike) -> Real:
    """Momentum transfers (nq, 3) in cycles per angstrom: Cartesian, without the factor 2 pi."""
    return np.asarray(q_rlu, float) @ np.linalg.inv(np.asarray(case["lattice_for_q"], float)).T


def transverse(n: Real) -> Complex:
    """The vectors u = e1 + i e2 (N, 3) with e1 x e2 = n."""
    helper = np.eye(3)[np.argmin(np.abs(n), axis=1)]
    e1 = np.cross(helper, n)
    e1 /= np.linalg.norm(e1, axis=1, keepdims=True)
    return e1 + 1j * np.cross(n, e1)


def quadratic_form(case: Case, q_rlu: npt.ArrayLike, **parameters: float) -> Complex:
    """The matrices h (nq, 2N, 2N) of H = sum_q x^dagger h x / 2 with x = (a(q), a^dagger(-q)).

    Phases are those of the cell: a(q) = sum_R exp(-i q R) a(R), so a bond to the cell R brings exp(i q R).
    """
    length, n = spins(case)
    u = transverse(n)
    hamiltonian = terms(case, **parameters)
    cells = np.asarray(case["lattice_magcell"], float)
    q = q_over_two_pi(case, q_rlu)
    sites = len(length)
    h = np.zeros((len(q), 2 * sites, 2 * sites), complex)

    def add(i: int, j: int, offset: Real, exchange: Real) -> None:
        phase = np.exp(2j * np.pi * (q @ (offset @ cells)))
        size = 0.5 * np.sqrt(length[i] * length[j])
        h[:, i, j] += size * (u[i] @ exchange @ u[j].conj()) * phase
        h[:, i, sites + j] += size * (u[i] @ exchange @ u[j]) * phase
        h[:, sites + i, j] += size * (u[i].conj() @ exchange @ u[j].conj()) * phase
        h[:, sites + i, sites + j] += size * (u[i].conj() @ exchange @ u[j]) * phase
        along = length[j] * (n[i] @ exchange @ n[j])
        h[:, i, i] -= along
        h[:, sites + i, sites + i] -= along

    for i, j, offset, exchange in hamiltonian.bonds:
        add(i, j, offset, exchange)
        add(j, i, -offset, exchange.T)
    for i in range(sites):
        a, b = hamiltonian.single_ion[i], hamiltonian.field[i]
        normal = length[i] * (u[i] @ a @ u[i].conj() - 2 * n[i] @ a @ n[i]) - b @ n[i]
        anomalous = length[i] * (u[i] @ a @ u[i])
        h[:, i, i] += normal
        h[:, sites + i, sites + i] += normal
        h[:, i, sites + i] += anomalous
        h[:, sites + i, i] += anomalous.conj()
    return h


def modes(case: Case, q_rlu: npt.ArrayLike, *, shift: float = 0.0, **parameters: float) -> Modes:
    """Energies and structure factors at every q; `shift` (meV) is added to h to step around Goldstone modes."""
    length, n = spins(case)
    u, sites = transverse(n), len(length)
    q = q_over_two_pi(case, q_rlu)
    position = np.asarray(case["positions"], float) @ np.asarray(case["lattice_magcell"], float)
    g = np.diag(np.repeat([1.0, -1.0], sites))
    energy, sab = np.empty((len(q), sites)), np.empty((len(q), sites, 3, 3), complex)
    for k, h in enumerate(quadratic_form(case, q_rlu, **parameters)):
        root = np.linalg.cholesky(h + shift * np.eye(2 * sites)).conj().T
        value, vector = np.linalg.eigh(root @ g @ root.conj().T)
        value, vector = value[::-1][:sites], vector[:, ::-1][:, :sites]
        x = np.linalg.solve(root, vector) * np.sqrt(value)
        weight = np.sqrt(0.5 * length) * np.exp(-2j * np.pi * (position @ q[k]))
        v = np.einsum("i,ia,im->ma", weight, u.conj(), x[:sites]) + np.einsum("i,ia,im->ma", weight, u, x[sites:])
        energy[k] = value
        sab[k] = np.einsum("ma,mb->mab", v, v.conj()) / case["n_chem_cells"]
    return Modes(energy, sab)


def intensity(case: Case, q_rlu: npt.ArrayLike, sab: Complex) -> Real:
    """The part of S^ab (nq, nmodes, 3, 3) perpendicular to Q; two thirds of the trace at Q = 0."""
    q = q_over_two_pi(case, q_rlu)
    out = np.empty(sab.shape[:2])
    for k, s in enumerate(sab):
        size = np.linalg.norm(q[k])
        unit = q[k] / size if size > 0 else np.zeros(3)
        projector = np.eye(3) - np.outer(unit, unit) if size > 0 else 2 / 3 * np.eye(3)
        out[k] = np.einsum("ab,mab->m", projector, s).real
    return out


def classical_energy(case: Case, **parameters: float) -> float:
    """Energy in meV of one magnetic cell with every spin a classical vector."""
    length, n = spins(case)
    s = length[:, None] * n
    hamiltonian = terms(case, **parameters)
    bonds = sum(s[i] @ exchange @ s[j] for i, j, _, exchange in hamiltonian.bonds)
    return float(bonds + np.einsum("ia,iab,ib->", s, hamiltonian.single_ion, s) + np.sum(s * hamiltonian.field))


def torque(case: Case, **parameters: float) -> Real:
    """S_i x dH/dS_i (N, 3) in meV."""
    length, n = spins(case)
    s = length[:, None] * n
    hamiltonian = terms(case, **parameters)
    gradient = hamiltonian.field + 2 * np.einsum("iab,ib->ia", hamiltonian.single_ion, s)
    for i, j, _, exchange in hamiltonian.bonds:
        gradient[i] += exchange @ s[j]
        gradient[j] += exchange.T @ s[i]
    return np.cross(s, gradient)


def groups(energy: Iterable[float], gap: float) -> list[slice]:
    """Slices of a descending list of energies, cut wherever neighbours differ by more than `gap`."""
    values = np.asarray(list(energy))
    cuts = np.flatnonzero(-np.diff(values) > gap) + 1
    edges = [0, *cuts.tolist(), len(values)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def assert_same_modes(
    actual: Any,
    expected: Any,
    *,
    energy_tolerance: float,
    weight_tolerance: float,
    floor: float = 0.0,
    gap: float = 1e-5,
) -> None:
    """Compare energies mode by mode, and S^ab summed over modes closer in energy than `gap` (meV).

    A single mode's S^ab inside a degenerate group is a choice of basis. Modes below `floor` (meV) are skipped: their
    weight diverges and depends on how the caller stepped around them. Both tolerances are absolute up to a largest
    value of 1 and relative to it above.
    """
    assert np.shape(actual.energy) == np.shape(expected.energy)
    assert np.shape(actual.sab) == np.shape(expected.sab)
    for k, energy in enumerate(np.asarray(expected.energy)):
        for group in groups(energy, gap):
            if energy[group].min() < floor:
                continue
            scale = energy_tolerance * max(1.0, energy[group].max())
            np.testing.assert_allclose(actual.energy[k, group], energy[group], rtol=0, atol=scale)
            weight = expected.sab[k, group].sum(0)
            scale = weight_tolerance * max(1.0, np.abs(weight).max())
            np.testing.assert_allclose(actual.sab[k, group].sum(0), weight, rtol=0, atol=scale)
