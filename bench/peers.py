"""Other ways to the same spin waves, to hold the kernel against: pySpinW and batched LAPACK.

Each peer is prepared once from a model and its parameters (not timed) and then run on a list of q (timed). Everything is
built from `oracle.terms`, which shares no code with the kernel. pySpinW is installed by ``pip install insdl[bench]``.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

from insdl.crystal import reciprocal
from insdl.model import SpinModel

sys.path.append(str(Path(__file__).parents[1] / "tests"))
import oracle

Real = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

_BLAS = ThreadpoolController()  # looking for the libraries takes milliseconds, so once
_CHUNK_BYTES = 1 << 19  # of one batch of matrices: what a core's own cache holds
_PYSPINW_MU_B = 0.057883818066  # meV/T, as in pyspinw.constants
_LARGEST_SPLIT = 1e-10  # of the largest coefficient that must vanish, relative to the largest of all


@dataclass(frozen=True, eq=False)
class PeerModes:
    """Energies (nq, N) in meV, descending, and neutron intensities (nq, N) per chemical cell, as in `insdl.Modes`."""

    energy: Real
    intensity: Real


@dataclass(frozen=True, eq=False)
class _Hamiltonian:
    """Numbers in the place of names: directed bonds with every bond in both directions, terms of one pair added up."""

    spins: Real  # (N,)
    frames: Complex  # (N, 3), u = e1 + i e2
    directions: Real  # (N, 3)
    positions: Real  # (N, 3), fractions of the magnetic cell
    bonds: tuple[tuple[int, int, tuple[int, ...], Real], ...]
    single_ion: Real  # (N, 3, 3)
    field: Real  # (N, 3), H contains + b.S
    cells: int

    @staticmethod
    def of(model: SpinModel, values: Mapping[str, float]) -> _Hamiltonian:
        if model.moments is not None:
            raise ValueError("the peers give the intensity of spins: a model with moments cannot be compared")
        case = model.to_dict()
        spins, directions = oracle.spins(case)
        terms = oracle.terms(case, **values)
        bonds: dict[tuple[int, int, tuple[int, ...]], Real] = {}
        for i, j, offset, exchange in terms.bonds:
            cell = np.rint(offset).astype(int)
            for key, matrix in (
                ((i, j, tuple(cell.tolist())), exchange),
                ((j, i, tuple((-cell).tolist())), exchange.T),
            ):
                bonds[key] = bonds.get(key, np.zeros((3, 3))) + matrix
        return _Hamiltonian(
            spins=spins,
            frames=oracle.transverse(directions),
            directions=directions,
            positions=np.asarray(case["positions"], float),
            bonds=tuple((i, j, offset, matrix) for (i, j, offset), matrix in bonds.items()),
            single_ion=terms.single_ion,
            field=terms.field,
            cells=int(case["n_chem_cells"]),
        )


def _rust() -> ModuleType:
    """pySpinW's compiled module alone: the package itself would load its windows and their libraries."""
    package = importlib.util.find_spec("pyspinw")
    if package is None or not package.submodule_search_locations:
        raise ImportError("pySpinW is not installed: pip install insdl[bench]")
    name = "pyspinw.rust"
    spec = importlib.machinery.PathFinder.find_spec(name, list(package.submodule_search_locations))
    if spec is None or spec.loader is None:
        raise ImportError("this pySpinW has no compiled module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def has_pyspinw() -> bool:
    """Whether pySpinW is installed."""
    return importlib.util.find_spec("pyspinw") is not None


class PySpinW:
    """pySpinW's compiled core (Rust), called as pySpinW itself calls it.

    `run` is what to time: one call of ``pyspinw.rust.spinwave_calculation``, which assembles and solves at every q and
    gives energies and intensities perpendicular to Q, and nothing around it but q times a 3 x 3 matrix. Its conversion
    to sorted arrays in our normalisation is `modes`, not to be timed. S^ab and eigenvectors are not asked for. It runs on
    as many threads as ``RAYON_NUM_THREADS`` said when the process made its first call: see `timing.in_child`.

    Of its conventions: a bond is given in both directions, a single-ion matrix as a bond of a site with itself, doubled;
    fields turn the spins against them, and the prefactor of its Zeeman term is a half of mu_B. At Q = 0 it gives the whole
    trace of S^ab, not two thirds, and next to modes of zero energy its numbers are rough: compare at other q.
    """

    def __init__(self, model: SpinModel, values: Mapping[str, float]) -> None:
        rust = _rust()
        h = _Hamiltonian.of(model, values)
        n = len(h.spins)

        def fortran(array: npt.ArrayLike) -> Complex:
            return np.array(array, dtype=complex, order="F")

        couplings = [rust.Coupling(i, j, fortran(m), np.array(offset, float)) for i, j, offset, m in h.bonds]
        couplings += [
            rust.Coupling(i, i, fortran(2.0 * a), np.zeros(3)) for i, a in enumerate(h.single_ion) if np.any(a)
        ]
        field = None
        if np.any(h.field):
            # B.g_i n_i of its formula becomes 2 b_i.n_i / mu_B with B along x and 2 b_i / mu_B in the first row of g_i.
            tensors = np.zeros((n, 3, 3))
            tensors[:, 0] = 2.0 * h.field / _PYSPINW_MU_B
            field = rust.MagneticField(vector=fortran([1.0, 0.0, 0.0]), g_tensors=fortran(tensors))
        self._arguments: dict[str, Any] = {
            "rotations": fortran(np.stack([h.frames.real, h.frames.imag, h.directions], axis=-1)),
            "magnitudes": h.spins,
            "couplings": couplings,
            "positions": list(h.positions),
            "rlu_to_cart": reciprocal(model.magnetic_lattice),
            "field": field,
        }
        self._calculate: Callable[..., tuple[Any, ...]] = rust.spinwave_calculation
        self._to_magnetic = model.q_to_magnetic.T
        self._scale = n / h.cells

    def run(self, q_rlu: npt.ArrayLike) -> tuple[Any, ...]:
        """pySpinW's own answer: 2N energies, ascending, and 2N intensities for every q, in lists."""
        q = np.ascontiguousarray(np.asarray(q_rlu, float) @ self._to_magnetic)
        return self._calculate(q_vectors=q, **self._arguments)

    def modes(self, answer: tuple[Any, ...]) -> PeerModes:
        """The answer of `run`: energies above zero in descending order, intensities per chemical cell."""
        energy, intensity = np.array(answer[0]).real, np.array(answer[1])
        order = np.argsort(-energy, axis=1, kind="stable")[:, : energy.shape[1] // 2]
        return PeerModes(
            np.take_along_axis(energy, order, axis=1), self._scale * np.take_along_axis(intensity, order, axis=1)
        )


def pyspinw_modes(model: SpinModel, q_rlu: npt.ArrayLike, **values: float) -> PeerModes:
    """Energies and intensities by pySpinW: (nq, 3) r.l.u. to (nq, N)."""
    peer = PySpinW(model, values)
    return peer.modes(peer.run(q_rlu))


class _Batched:
    """What the two LAPACK peers share: chunks of q, small enough for the cache, on a pool of threads."""

    _size: int  # rows of one matrix

    def __init__(self, model: SpinModel, hamiltonian: _Hamiltonian) -> None:
        self._to_magnetic = model.q_to_magnetic.T
        self._to_cartesian = reciprocal(model.lattice)
        self._positions = hamiltonian.positions
        self._cells = hamiltonian.cells

    def run(self, q_rlu: npt.ArrayLike, *, threads: int = 1) -> PeerModes:
        """Energies and intensities at (nq, 3) r.l.u.; ``threads`` work on chunks, BLAS itself on one thread."""
        q = np.asarray(q_rlu, float)
        step = max(1, _CHUNK_BYTES // (16 * self._size**2))
        chunks = [q[k : k + step] for k in range(0, len(q), step)]
        with _BLAS.limit(limits=1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
            parts = list(pool.map(self._solve, chunks) if threads > 1 else map(self._solve, chunks))
        energies, amplitudes = (np.concatenate(part) for part in zip(*parts, strict=True))
        return PeerModes(energies, self._intensity(q, amplitudes))

    def _solve(self, q: Real) -> tuple[Real, Complex]:
        """Energies (nq, N), descending, and amplitudes (nq, 3, N) of one chunk, per magnetic cell."""
        raise NotImplementedError

    def _phases(self, q_magnetic: Real, vectors: Real) -> Complex:
        angles = 2.0 * np.pi * (q_magnetic @ vectors.T)
        phases = np.empty(angles.shape, complex)
        np.cos(angles, out=phases.real)
        np.sin(angles, out=phases.imag)
        return phases

    def _intensity(self, q: Real, amplitudes: Complex) -> Real:
        q_cart = q @ self._to_cartesian
        length = np.linalg.norm(q_cart, axis=1, keepdims=True)
        unit = np.divide(q_cart, length, out=np.zeros_like(q_cart), where=length > 0)
        total = np.sum(amplitudes.real**2 + amplitudes.imag**2, axis=1)
        along = np.matmul(unit[:, None], amplitudes)[:, 0]
        along = np.where(length > 0, along.real**2 + along.imag**2, total / 3.0)
        intensity: Real = (total - along) / self._cells
        return intensity


def _by_offset(blocks: Mapping[tuple[int, ...], npt.NDArray[Any]]) -> tuple[Real, Complex]:
    """Offsets (n, 3) and coefficients (n, size^2) of a matrix that is the sum of phase times block."""
    offsets = np.array(list(blocks), float)
    return offsets, np.array([block.ravel() for block in blocks.values()], complex)


class Lapack(_Batched):
    """Colpa's method on the 2N x 2N forms of all q by NumPy's batched LAPACK (zpotrf, zgemm, zheevd).

    `run` is what to time: assembly of the forms, as one product of phases and coefficients, decompositions, amplitudes
    and intensities. No inverse and no triangular solve is needed: for h = L L^dagger and L^dagger g L U = U E, Colpa's
    transformation L^-dagger U E^(1/2) is g L U E^(-1/2). A form that is not positive definite raises NumPy's
    LinAlgError, so that q of exactly zero energy are not for it.
    """

    def __init__(self, model: SpinModel, values: Mapping[str, float]) -> None:
        h = _Hamiltonian.of(model, values)
        super().__init__(model, h)
        n, u = len(h.spins), h.frames
        self._n, self._size = n, 2 * n
        blocks: dict[tuple[int, ...], Complex] = {(0, 0, 0): np.zeros((2 * n, 2 * n), complex)}
        local = blocks[0, 0, 0]
        both = np.stack([u, u.conj()])
        for i, j, offset, exchange in h.bonds:
            block = blocks.setdefault(offset, np.zeros((2 * n, 2 * n), complex))
            size = 0.5 * np.sqrt(h.spins[i] * h.spins[j])
            block[i::n, j::n] += size * both[:, i] @ exchange @ both[::-1, j].T
            along = h.spins[j] * (h.directions[i] @ exchange @ h.directions[j])
            local[[i, n + i], [i, n + i]] -= along
        for i, (a, b, m) in enumerate(zip(h.single_ion, h.field, h.directions, strict=True)):
            local[i::n, i::n] += h.spins[i] * both[:, i] @ a @ both[::-1, i].T
            local[[i, n + i], [i, n + i]] -= 2.0 * h.spins[i] * (m @ a @ m) + b @ m
        self._offsets, self._coefficients = _by_offset(blocks)
        self._rows = (np.sqrt(0.5 * h.spins)[:, None] * u.conj()).T  # (3, N)

    def _solve(self, q: Real) -> tuple[Real, Complex]:
        n, q_magnetic = self._n, q @ self._to_magnetic
        form = (self._phases(q_magnetic, self._offsets) @ self._coefficients).reshape(-1, 2 * n, 2 * n)
        lower = np.linalg.cholesky(form)
        signed = lower.copy()
        signed[:, n:] *= -1.0
        value, vector = np.linalg.eigh(np.matmul(lower.conj().swapaxes(1, 2), signed))
        value, vector = value[:, : n - 1 : -1], vector[:, :, : n - 1 : -1]
        phases = self._phases(q_magnetic, -self._positions)[:, None]
        rows = np.concatenate([self._rows * phases, self._rows.conj() * phases], axis=2)
        return value, np.matmul(np.matmul(rows, signed), vector) / np.sqrt(value)[:, None]


def lapack_modes(model: SpinModel, q_rlu: npt.ArrayLike, **values: float) -> PeerModes:
    """Energies and intensities by batched LAPACK, 2N x 2N: (nq, 3) r.l.u. to (nq, N)."""
    return Lapack(model, values).run(q_rlu)


class LapackSplit(_Batched):
    """The N x N split form of all q by NumPy's batched LAPACK: a harder yardstick, for models that have one.

    With h = (x^dagger V x + p^dagger T p) / 2 and T = L L^dagger, the squared energies are the eigenvalues of
    L^dagger V L. `run` times what it times in `Lapack`.

    Raises
    ------
    ValueError
        If no common axis (a Cartesian one, or the normal of the moments' plane) decouples the two quadratures.
    """

    def __init__(self, model: SpinModel, values: Mapping[str, float]) -> None:
        h = _Hamiltonian.of(model, values)
        super().__init__(model, h)
        self._n = self._size = len(h.spins)
        normal = np.linalg.svd(h.directions)[2][-1]
        for axis in (normal, *np.eye(3)):
            first = axis - h.directions * (h.directions @ axis)[:, None]
            length = np.linalg.norm(first, axis=1, keepdims=True)
            if length.min() < 0.5:
                continue
            first = first / length
            second = np.cross(h.directions, first)
            v, t, mixed = (
                self._blocks(h, left, right) for left, right in ((first, first), (second, second), (first, second))
            )
            largest = max(np.abs(block).max() for block in (*v.values(), *t.values()))
            if max(np.abs(block).max() for block in mixed.values()) < _LARGEST_SPLIT * largest:
                break
        else:
            raise ValueError(f"the quadratic form of {model.name!r} does not split")
        self._offsets, v_rows = _by_offset(v)
        self._coefficients = np.hstack([v_rows, _by_offset(t)[1]])
        self._first, self._second = ((np.sqrt(h.spins)[:, None] * e).T for e in (first, second))

    @staticmethod
    def _blocks(h: _Hamiltonian, left: Real, right: Real) -> dict[tuple[int, ...], Real]:
        """sqrt(S_i S_j) left_i.J.right_j by offset, with the terms on the diagonal where the frames are the same."""
        n, same = len(h.spins), left is right
        blocks: dict[tuple[int, ...], Real] = {(0, 0, 0): np.zeros((n, n))}
        for i, j, offset, exchange in h.bonds:
            block = blocks.setdefault(offset, np.zeros((n, n)))
            block[i, j] += np.sqrt(h.spins[i] * h.spins[j]) * (left[i] @ exchange @ right[j])
            blocks[0, 0, 0][i, i] -= same * h.spins[j] * (h.directions[i] @ exchange @ h.directions[j])
        for i, (a, b, m) in enumerate(zip(h.single_ion, h.field, h.directions, strict=True)):
            along = 2.0 * h.spins[i] * (m @ a @ m) + b @ m
            blocks[0, 0, 0][i, i] += 2.0 * h.spins[i] * (left[i] @ a @ right[i]) - same * along
        return blocks

    def _solve(self, q: Real) -> tuple[Real, Complex]:
        n, q_magnetic = self._n, q @ self._to_magnetic
        forms = (self._phases(q_magnetic, self._offsets) @ self._coefficients).reshape(-1, 2, n, n)
        lower = np.linalg.cholesky(forms[:, 1])
        potential = np.matmul(forms[:, 0], lower)
        squared, vector = np.linalg.eigh(np.matmul(lower.conj().swapaxes(1, 2), potential))
        if not squared[:, 0].min() > 0.0:
            raise np.linalg.LinAlgError("V is not positive definite")
        squared, vector = squared[:, ::-1], vector[:, :, ::-1]
        energy = np.sqrt(squared)
        phases = self._phases(q_magnetic, -self._positions)[:, None]
        # x = L U / sqrt(2 E) and p = -i V L U / (E sqrt(2 E)).
        x = np.matmul(np.matmul(self._first * phases, lower), vector)
        p = np.matmul(np.matmul(self._second * phases, potential), vector)
        scale = np.sqrt(0.5 / energy)[:, None]
        return energy, scale * (x - 1j * p / energy[:, None])


def lapack_split_modes(model: SpinModel, q_rlu: npt.ArrayLike, **values: float) -> PeerModes:
    """Energies and intensities by batched LAPACK, N x N: (nq, 3) r.l.u. to (nq, N)."""
    return LapackSplit(model, values).run(q_rlu)
