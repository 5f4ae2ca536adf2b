"""What must not change a spectrum: the cell, the names and order of sites and bonds, the frame, the threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import insdl
import magnets
import oracle
from magnets import UP, heisenberg, magnet

NAMES = sorted(path.name.split("_")[0] for path in magnets.REFERENCE.glob("*.json"))
GAPLESS_BAND = "A14"  # kagome: a flat band of zero modes, whose diverging weight leaks rounding into the others
SAME = {"energy_tolerance": 1e-9, "weight_tolerance": 1e-7}  # rounding at some meV; weights lose a little more


@pytest.fixture(params=["auto", "full"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def modes(case: dict[str, Any], q: npt.ArrayLike, form: str = "auto", threads: int | None = None) -> Any:
    return insdl.SpinModel.from_dict(case).modes(np.asarray(q, float), output="amplitude", form=form, threads=threads)


def points(n: int = 12, seed: int = 5) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(-1.5, 1.5, (n, 3))


def same_modes(name: str, actual: Any, expected: Any) -> None:
    tolerance = {"energy_tolerance": 1e-6, "weight_tolerance": 1e-5} if name == GAPLESS_BAND else SAME
    oracle.assert_same_modes(actual, expected, floor=1e-3, **tolerance)


def moments(result: Any) -> npt.NDArray[np.complex128]:
    """(3, nq, 3, 3) sums over modes of E^n S^ab, n = 0, 1, 2: what a spectrum is, whatever its modes are called."""
    return np.array([np.einsum("qm,qmab->qab", result.energy**n, result.sab) for n in range(3)])


def test_doubled_ferromagnetic_chain_has_no_ghost(form: str) -> None:
    q = points()
    chain: dict[str, Any] = {"spins": [1.5], "bonds": [(0, 0, (1, 0, 0), heisenberg(-1.0))], "directions": [UP]}
    doubled = modes(magnet(**chain, cell=np.diag([2, 1, 1])), q, form)
    single = modes(magnet(**chain), q, form).energy[:, 0]
    weight = np.einsum("qmaa->qm", doubled.sab).real
    ghost = np.abs(doubled.energy - single[:, None]).argmax(axis=1)
    every = np.arange(len(q))
    np.testing.assert_allclose(doubled.energy[every, 1 - ghost], single, rtol=0, atol=1e-9)
    np.testing.assert_allclose(weight[every, 1 - ghost], 1.5, rtol=0, atol=1e-10)
    assert weight[every, ghost].max() < 1e-10


@pytest.mark.parametrize("cell", [((2, 0, 0), (0, 1, 0), (0, 0, 1)), ((1, 1, 0), (-1, 1, 0), (0, 0, 1)), 2 * np.eye(3)])
def test_larger_cell(form: str, cell: npt.ArrayLike) -> None:
    """The same magnet in 1, 2 or 8 cells: a ferromagnetic honeycomb, whose S^ab has phases inside the cell."""
    q = points()
    honeycomb: dict[str, Any] = {
        "lattice": magnets.HEXAGONAL,
        "positions": ((1 / 3, 2 / 3, 0.0), (2 / 3, 1 / 3, 0.0)),
        "spins": [1.5, 1.0],
        "bonds": [(0, 1, step, np.diag([-1.0, -0.8, -1.2])) for step in ((-1, 0, 0), (0, 0, 0), (0, 1, 0))]
        + [(0, 0, (1, 0, 0), magnets.dzyaloshinskii_moriya((0, 0, 0.1))), (1, 1, (0, 0, 1), heisenberg(-0.3))],
        "directions": [UP, UP],
        "field": (0.0, 0.0, -0.5),
    }
    small, large = magnet(**honeycomb), magnet(**honeycomb, cell=cell)
    np.testing.assert_allclose(moments(modes(large, q, form)), moments(modes(small, q, form)), rtol=0, atol=1e-9)
    energy = [insdl.SpinModel.from_dict(case).classical_energy() / case["n_chem_cells"] for case in (small, large)]
    assert energy[1] == pytest.approx(energy[0], abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_reciprocal_lattice_vector(form: str, name: str) -> None:
    """Energies repeat with the magnetic cell; S^ab too, with the chemical cell, where there is one site in it."""
    case = magnets.reference(name)
    q, whole = points(), np.random.default_rng(2).integers(-3, 4, (12, 3))
    magnetic, chemical = np.array(case["lattice_magcell"]), np.array(case["lattice_for_q"])
    first = modes(case, q, form)
    again = modes(case, q + whole @ np.linalg.inv(magnetic).T @ chemical.T, form)
    tolerance = 1e-6 if name == GAPLESS_BAND else 1e-9
    np.testing.assert_allclose(again.energy, first.energy, rtol=0, atol=tolerance)
    place = np.array(case["positions"]) @ magnetic @ np.linalg.inv(chemical)
    if np.allclose(place, np.round(place), rtol=0, atol=1e-9):
        same_modes(name, modes(case, q + whole, form), first)


@pytest.mark.parametrize("name", NAMES)
def test_global_rotation_of_the_spins(form: str, name: str) -> None:
    case = magnets.reference(name)
    q, r = points(), magnets.random_rotation(np.random.default_rng(4))
    first = modes(case, q, form)
    rotated = modes(magnets.turned(case, [r] * len(case["S"])), q, form)
    wanted = oracle.Modes(first.energy, r @ first.sab @ r.T)
    same_modes(name, rotated, wanted)


@pytest.mark.parametrize("name", NAMES)
def test_bond_reversal(form: str, name: str) -> None:
    case = magnets.reference(name)
    reversed_bonds = [[j, i, [-x for x in d], np.array(m).T.tolist()] for i, j, d, m in case["bonds"]]
    same_modes(name, modes({**case, "bonds": reversed_bonds}, points(), form), modes(case, points(), form))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("A01", "A07", "A08")])
def test_site_relabelling(form: str, name: str) -> None:
    case = magnets.reference(name)
    order = np.random.default_rng(9).permutation(len(case["S"]))
    label = np.argsort(order).tolist()
    swapped = {**case, "bonds": [[label[i], label[j], d, m] for i, j, d, m in reversed(case["bonds"])]}
    for key in ("positions", "S", "directions", "aniso", "zeeman_b"):
        if case[key] is not None:
            swapped[key] = [case[key][i] for i in order]
    same_modes(name, modes(swapped, points(), form), modes(case, points(), form))


@pytest.mark.parametrize("name", NAMES)
def test_site_of_another_cell(form: str, name: str) -> None:
    """A site named by its copy in another cell: position + t, and offsets of its bonds to match."""
    case = magnets.reference(name)
    t = np.random.default_rng(8).integers(-2, 3, (len(case["S"]), 3))
    moved = {
        **case,
        "positions": (np.array(case["positions"]) + t).tolist(),
        "bonds": [[i, j, (np.array(d) + t[i] - t[j]).tolist(), m] for i, j, d, m in case["bonds"]],
    }
    same_modes(name, modes(moved, points(), form), modes(case, points(), form))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("A12", "A19")])
def test_minus_q(form: str, name: str) -> None:
    """E(q) = E(-q) for every reference magnet without a Dzyaloshinskii-Moriya term."""
    case = magnets.reference(name)
    tolerance = 1e-6 if name == GAPLESS_BAND else 1e-9
    first, again = modes(case, points(), form), modes(case, -points(), form)
    np.testing.assert_allclose(again.energy, first.energy, rtol=0, atol=tolerance)


def about_x(angle: float) -> npt.NDArray[np.float64]:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


@settings(derandomize=True, deadline=None, database=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), sites=st.integers(1, 6), bonds=st.integers(0, 12), real=st.booleans())
def test_random_magnets_agree_with_oracle(seed: int, sites: int, bonds: int, real: bool) -> None:
    """Energies to 1e-9 relative and S^ab to 1e-7, in both forms.

    The spins are turned together, to up or down, within a plane, or each by a rotation of its own: the energies stay.
    Where `real` holds, the first three must be found to split.
    """
    rng = np.random.default_rng(seed)
    aligned = magnets.random_magnet(rng, sites=sites, bonds=bonds, real=real)
    whole = magnets.random_rotation(rng)
    rotations = {
        "ferromagnet": [whole] * sites,
        "antiferromagnet": [whole @ about_x(np.pi * up) for up in rng.integers(0, 2, sites)],
        "coplanar": [whole @ about_x(angle) for angle in rng.uniform(0, 2 * np.pi, sites)],
        "noncoplanar": [magnets.random_rotation(rng) for _ in range(sites)],
    }
    q = rng.uniform(-2, 2, (5, 3))
    spectra = []
    for kind, rotation in rotations.items():
        case = magnets.turned(aligned, rotation)
        model, wanted = insdl.SpinModel.from_dict(case), oracle.modes(case, q)
        assert model.core.is_split or not real or kind == "noncoplanar"
        assert model.classical_energy() == pytest.approx(oracle.classical_energy(case), abs=1e-11)
        assert np.abs(model.torque()).max() < 1e-11
        for choice in ("auto", "full"):
            result = model.modes(q, output="amplitude", form=choice)
            np.testing.assert_allclose(result.energy, wanted.energy, rtol=1e-9, atol=0)
            oracle.assert_same_modes(result, wanted, **SAME)
            np.testing.assert_allclose(
                result.intensity.sum(1), oracle.intensity(case, q, wanted.sab).sum(1), rtol=1e-7, atol=1e-7
            )
            spectra.append(result.energy)
    for energy in spectra[1:]:
        np.testing.assert_allclose(energy, spectra[0], rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", ["A01", "A10", "A14", "A19", "A24", "random"])
def test_threads_and_blocks_give_the_same_bits(form: str, name: str) -> None:
    rng = np.random.default_rng(6)
    case = magnets.random_magnet(rng, sites=7, bonds=20) if name == "random" else magnets.reference(name)
    q = points(203)
    first = modes(case, q, form, threads=1)
    for threads in (2, 3, None):
        again = modes(case, q, form, threads=threads)
        np.testing.assert_array_equal(again.energy, first.energy)
        np.testing.assert_array_equal(again.sab, first.sab)
        np.testing.assert_array_equal(again.intensity, first.intensity)
    order = rng.permutation(len(q))[:77]
    part = modes(case, q[order], form, threads=2)
    np.testing.assert_array_equal(part.energy, first.energy[order])
    np.testing.assert_array_equal(part.sab, first.sab[order])


FORK = """
import os, signal, sys, time
import magnets, numpy as np
import insdl

model = insdl.SpinModel.from_dict(magnets.reference("A24"))
q = np.random.default_rng(0).uniform(-1, 1, (400, 3))
before = model.modes(q, output="amplitude", threads=2)
child = os.fork()
if child == 0:
    after = model.modes(q, output="amplitude", threads=2)
    os._exit(0 if np.array_equal(after.energy, before.energy) and np.array_equal(after.sab, before.sab) else 3)
for _ in range(300):
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        model.modes(q, threads=2)
        sys.exit(os.waitstatus_to_exitcode(status))
    time.sleep(0.1)
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
sys.exit(4)
"""

POOL = """
import multiprocessing, sys
import magnets, numpy as np
import insdl

q = np.random.default_rng(0).uniform(-1, 1, (400, 3))

def total(name):
    return insdl.SpinModel.from_dict(magnets.reference(name)).modes(q, threads=2).energy.sum()

if __name__ == "__main__":
    before = [total(name) for name in ("A24", "A06", "A24")]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        after = pool.map_async(total, ("A24", "A06", "A24")).get(timeout=30)
    sys.exit(0 if before == after else 3)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("script", [FORK, POOL], ids=["fork", "pool"])
def test_forked_child_computes(script: str) -> None:
    """After a threaded call in the parent, a child asks for two threads and finishes with the same bits."""
    paths = [str(Path(__file__).parent), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"exit status {done.returncode} (4: the child hung)\n{done.stderr}"
