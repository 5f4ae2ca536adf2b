"""Random stable magnets of every kind: they agree with the oracle, and obey the symmetries that any spectrum has."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import insdl
import magnets
import oracle

Real = npt.NDArray[np.float64]
Case = dict[str, Any]
SPINS = (0.5, 1.0, 1.5, 2.0, 2.5)
CENTRES = ("none", "plain", "signed", "frustrated")
STRUCTURES = ("ferromagnet", "antiferromagnet", "coplanar", "noncoplanar")

# Of the bandwidth, and of the largest S^ab (or of 1): rounding of a few hundred operations, amplified by the inverse gap
# for weights. Single precision: documented as 1e-4 and 1e-3; of 1500 such magnets the worst had 2e-6 and 6e-6.
ENERGY, WEIGHT = 1e-9, 1e-7
SINGLE_ENERGY, SINGLE_WEIGHT = 1e-5, 1e-4
GAP = 1e-5  # of the bandwidth: S^ab of closer modes is a choice of basis

properties = settings(derandomize=True, deadline=None, database=None, max_examples=50)


@dataclass(frozen=True)
class Sample:
    """A magnet, momentum transfers (nq, 3) in general position, and what is random besides."""

    case: Case
    q: Real
    rng: np.random.Generator


def centred(case: Case, kind: str, rng: np.random.Generator, *, at_centre: bool) -> Case:
    """With an inversion centre: a plain one; or one that turns some spins by pi besides, so that what couples their
    parts across the spins changes its sign; or frustrated, with random signs and mostly no symmetry any more.
    """
    sign = rng.choice((-1.0, 1.0), len(case["S"]))
    turns = {
        "plain": [1.0 for _ in case["bonds"]],
        "signed": [float(sign[i] * sign[j]) for i, j, _, _ in case["bonds"]],
        "frustrated": rng.choice((-1.0, 1.0), len(case["bonds"])).tolist(),
    }
    return magnets.centred(case, at_centre=at_centre, turns=turns[kind])


def across(case: Case, rng: np.random.Generator) -> Case:
    """Dzyaloshinskii-Moriya vectors in any direction on a third of the bonds that join a site with its own copies.

    D.(S x S) of parallel spins exerts no torque in sum, and its part across the spins moves no energy.
    """
    bonds = []
    for i, j, d, matrix in case["bonds"]:
        twist = magnets.dzyaloshinskii_moriya((*rng.normal(size=2), 0.0)) * (i == j) * (rng.random() < 1 / 3)
        bonds.append([i, j, d, (np.array(matrix) + twist).tolist()])
    return {**case, "bonds": bonds}


def about_x(angle: float) -> Real:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def sample(seed: int, structure: str, *, centre: str, diagonal: bool, largest: int = 6, nq: int = 5) -> Sample:
    """A magnet of 1 to `largest` sites: ferromagnetic along c first, then every spin turned with all that acts on it.

    `diagonal`: exchange is diagonal in axes along and across the spins; else it is any matrix, with
    Dzyaloshinskii-Moriya terms. `centre`: see `centred`; an odd number of sites has one of them there.
    """
    rng = np.random.default_rng(seed)
    sites = int(rng.integers(1, largest + 1))
    drawn = sites if centre == "none" else (sites + 1) // 2
    case = magnets.random_magnet(rng, sites=drawn, bonds=int(rng.integers(0, 3 * drawn + 1)), real=diagonal)
    case["S"] = rng.choice(SPINS, drawn).tolist()
    if not diagonal:
        case = across(case, rng)
    if centre != "none":
        case = centred(case, centre, rng, at_centre=sites % 2 == 1)
    whole = magnets.random_rotation(rng)
    turns = {
        "ferromagnet": lambda: [whole] * sites,
        "antiferromagnet": lambda: [whole @ about_x(np.pi * up) for up in rng.integers(0, 2, sites)],
        "coplanar": lambda: [whole @ about_x(angle) for angle in rng.uniform(0, 2 * np.pi, sites)],
        "noncoplanar": lambda: [magnets.random_rotation(rng) for _ in range(sites)],
    }
    return Sample(magnets.turned(case, turns[structure]()), rng.uniform(-2, 2, (nq, 3)), rng)


def random_samples(**fixed: Any) -> Any:
    """Samples of every kind, drawn by hypothesis."""
    return st.builds(
        lambda seed, structure, centre, diagonal: sample(seed, structure, centre=centre, diagonal=diagonal, **fixed),
        st.integers(0, 2**32 - 1),
        st.sampled_from(STRUCTURES),
        st.sampled_from(CENTRES),
        st.booleans(),
    )


def solve(case: Case, q: npt.ArrayLike, form: Any = "auto", precision: Any = "double") -> Any:
    modes = insdl.SpinModel.from_dict(case).modes(
        np.asarray(q, float), output="amplitude", form=form, precision=precision
    )
    assert modes.stable
    return modes


def assert_same(actual: Any, wanted: Any) -> None:
    """Energies to 1e-9 of the bandwidth mode by mode, S^ab to 1e-7 summed over modes of equal energy."""
    bandwidth = wanted.energy.max()
    np.testing.assert_allclose(actual.energy, wanted.energy, rtol=0, atol=ENERGY * bandwidth)
    scale = max(1.0, float(np.abs(wanted.sab).max()))
    for k, energy in enumerate(wanted.energy):
        for group in oracle.groups(energy, GAP * bandwidth):
            one, other = actual.sab[k, group].sum(0), wanted.sab[k, group].sum(0)
            np.testing.assert_allclose(one, other, rtol=0, atol=WEIGHT * scale)


def moments(modes: Any) -> npt.NDArray[np.complex128]:
    """(3, nq, 3, 3) sums over modes of E^n S^ab, E in units of the bandwidth: a spectrum without names of modes."""
    energy = modes.energy / modes.energy.max()
    return np.array([np.einsum("qm,qmab->qab", energy**n, modes.sab) for n in range(3)])


def test_random_magnets_agree_with_oracle() -> None:
    """Both forms and both precisions; the run meets real, complex and full matrices, of every structure and size."""
    met: Counter[Any] = Counter()

    @properties
    @given(drawn=random_samples())
    def check(drawn: Sample) -> None:
        case, q = drawn.case, drawn.q
        model, wanted = insdl.SpinModel.from_dict(case), oracle.modes(case, q)
        met.update([("split", model.core.is_split), ("real", model.core.is_real), ("sites", len(case["S"]))])
        assert model.core.is_split or not model.core.is_real
        assert model.classical_energy() == pytest.approx(oracle.classical_energy(case), rel=1e-12, abs=1e-11)
        assert np.abs(model.torque()).max() < 1e-10  # rounding of sums of some 10 meV
        intensity = oracle.intensity(case, q, wanted.sab).sum(1)
        for form in ("auto", "full"):
            double, single = (solve(case, q, form, precision) for precision in ("double", "single"))
            assert_same(double, wanted)
            np.testing.assert_allclose(double.intensity.sum(1), intensity, rtol=WEIGHT, atol=WEIGHT)
            np.testing.assert_allclose(single.energy, wanted.energy, rtol=0, atol=SINGLE_ENERGY * wanted.energy.max())
            np.testing.assert_allclose(single.intensity.sum(1), intensity, rtol=SINGLE_WEIGHT, atol=SINGLE_WEIGHT)

    check()
    kinds = [("split", True), ("split", False), ("real", True), ("real", False)]
    assert all(met[kind] >= 5 for kind in kinds), met
    assert all(met["sites", n] for n in range(1, 7)), met


@pytest.mark.parametrize("centre", CENTRES)
@pytest.mark.parametrize("structure", STRUCTURES[:3])
def test_real_and_complex_matrices(structure: str, centre: str) -> None:
    """An inversion centre is found and makes the matrices real; without it they are complex. The full form agrees.

    Diagonal exchange and spins in one plane: the split form holds. One site alone, or two with a bond at most, have a
    centre whatever is drawn.
    """
    kinds: Counter[bool] = Counter()
    for seed in range(16):
        drawn = sample(seed, structure, centre=centre, diagonal=True)
        model = insdl.SpinModel.from_dict(drawn.case)
        assert model.core.is_split
        assert model.core.is_real or centre in ("none", "frustrated")
        kinds[model.core.is_real] += 1
        assert_same(solve(drawn.case, drawn.q), solve(drawn.case, drawn.q, "full"))
    assert kinds[False] >= 5 or centre in ("plain", "signed")


@properties
@given(drawn=random_samples())
def test_global_rotation(drawn: Sample) -> None:
    """Spins, exchange, anisotropy and field turned together: equal energies, S^ab turned too."""
    r = magnets.random_rotation(drawn.rng)
    first = solve(drawn.case, drawn.q)
    rotated = solve(magnets.turned(drawn.case, [r] * len(drawn.case["S"])), drawn.q)
    assert_same(rotated, oracle.Modes(first.energy, r @ first.sab @ r.T))


@properties
@given(drawn=random_samples())
def test_rotation_of_every_site_alone(drawn: Sample) -> None:
    """Another magnet, perhaps no longer split or real, with the same energies."""
    rotations = [magnets.random_rotation(drawn.rng) for _ in drawn.case["S"]]
    first, other = solve(drawn.case, drawn.q), solve(magnets.turned(drawn.case, rotations), drawn.q)
    np.testing.assert_allclose(other.energy, first.energy, rtol=0, atol=ENERGY * first.energy.max())


def doubled(case: Case, axis: int) -> Case:
    """The same magnet in a cell twice as long along one axis."""
    n, step = len(case["S"]), np.eye(3, dtype=int)[axis]
    half = 1.0 - 0.5 * step
    rows = []
    for copy in (0, 1):
        for i, j, offset, matrix in case["bonds"]:
            cell, rest = divmod(int(offset[axis]) + copy, 2)
            whole = np.where(step, cell, offset)
            rows.append([copy * n + i, rest * n + j, whole.tolist(), matrix])
    out = {
        **case,
        "lattice_magcell": ((1 + step)[:, None] * np.array(case["lattice_magcell"])).tolist(),
        "n_chem_cells": 2 * case["n_chem_cells"],
        "positions": [((np.array(p) + copy * step) * half).tolist() for copy in (0, 1) for p in case["positions"]],
        "bonds": rows,
    }
    for key in ("S", "directions", "aniso", "zeeman_b"):
        out[key] = case[key] * 2
    return out


@properties
@given(drawn=random_samples(largest=4), axis=st.integers(0, 2))
def test_doubled_cell(drawn: Sample, axis: int) -> None:
    """A larger cell brings the modes of q + G/2 besides, without weight; the classical energy per chemical cell stays."""
    large = doubled(drawn.case, axis)
    small_modes, large_modes = solve(drawn.case, drawn.q), solve(large, drawn.q)
    bandwidth = large_modes.energy.max()
    for k, energy in enumerate(small_modes.energy):
        nearest = np.abs(large_modes.energy[k][:, None] - energy).min(axis=0)
        assert nearest.max() < ENERGY * bandwidth
    scale = np.where(np.arange(3) > 0, bandwidth / small_modes.energy.max(), 1.0) ** np.arange(3)
    wanted = moments(small_modes)
    actual = moments(large_modes) * scale[:, None, None, None]
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=WEIGHT * max(1.0, np.abs(wanted).max()))
    np.testing.assert_allclose(large_modes.intensity.sum(1), small_modes.intensity.sum(1), rtol=WEIGHT, atol=WEIGHT)
    classical = [insdl.SpinModel.from_dict(c).classical_energy() / c["n_chem_cells"] for c in (drawn.case, large)]
    assert classical[1] == pytest.approx(classical[0], rel=1e-12, abs=1e-11)


@properties
@given(drawn=random_samples(), whole=st.lists(st.integers(-9, 9), min_size=3, max_size=3))
def test_reciprocal_lattice_vector(drawn: Sample, whole: list[int]) -> None:
    """Energies at q + G repeat, G of the magnetic cell; S^ab there is the oracle's."""
    case = drawn.case
    g = np.array(whole) @ np.linalg.inv(np.array(case["lattice_magcell"])).T @ np.array(case["lattice_for_q"]).T
    first, again = solve(case, drawn.q), solve(case, drawn.q + g)
    np.testing.assert_allclose(again.energy, first.energy, rtol=0, atol=ENERGY * first.energy.max())
    assert_same(again, oracle.modes(case, drawn.q + g))


@properties
@given(drawn=random_samples())
def test_minus_q(drawn: Sample) -> None:
    """E(-q) = E(q) with an inversion centre. Without it, S^ab(-q) still keeps [S^a, S^b] = i e_abc S^c.

    At any q, the sum over modes of S^ab(q) - S^ba(-q) is i e_abc times the moment of a chemical cell.
    """
    case = drawn.case
    first, again = solve(case, drawn.q), solve(case, -drawn.q)
    if insdl.SpinModel.from_dict(case).core.is_real:
        np.testing.assert_allclose(again.energy, first.energy, rtol=0, atol=ENERGY * first.energy.max())
    difference = first.sab.sum(1) - again.sab.sum(1).transpose(0, 2, 1)
    moment = np.array(case["S"]) @ np.array(case["directions"]) / case["n_chem_cells"]
    wanted = 1j * np.cross(np.eye(3)[:, None], np.eye(3)[None, :]) @ moment
    scale = max(1.0, float(np.abs(first.sab).max()))
    np.testing.assert_allclose(difference, np.broadcast_to(wanted, difference.shape), rtol=0, atol=ENERGY * scale)


@properties
@given(drawn=random_samples())
def test_bond_reversal(drawn: Sample) -> None:
    """A bond named from its other end: offset negated, matrix transposed; a random half of the bonds."""
    bonds = []
    for i, j, offset, matrix in drawn.case["bonds"]:
        turn = drawn.rng.random() < 0.5
        bonds.append([j, i, [-x for x in offset], np.array(matrix).T.tolist()] if turn else [i, j, offset, matrix])
    assert_same(solve({**drawn.case, "bonds": bonds}, drawn.q), solve(drawn.case, drawn.q))


@properties
@given(drawn=random_samples())
def test_site_permutation(drawn: Sample) -> None:
    """Sites in another order, bonds too, some of them split into two halves."""
    case = drawn.case
    order = drawn.rng.permutation(len(case["S"]))
    label = np.argsort(order).tolist()
    bonds = [[label[i], label[j], d, (0.5 * np.array(m)).tolist()] for i, j, d, m in case["bonds"] for _ in range(2)]
    swapped = {**case, "bonds": [bonds[k] for k in drawn.rng.permutation(len(bonds))]}
    for key in ("positions", "S", "directions", "aniso", "zeeman_b"):
        swapped[key] = [case[key][i] for i in order]
    first, again = solve(case, drawn.q), solve(swapped, drawn.q)
    assert_same(again, first)
    np.testing.assert_allclose(again.intensity.sum(1), first.intensity.sum(1), rtol=WEIGHT, atol=WEIGHT)


@properties
@given(drawn=random_samples(), shift=st.lists(st.floats(-3, 3), min_size=3, max_size=3))
def test_origin_of_the_cell(drawn: Sample, shift: list[float]) -> None:
    """All sites moved together: an inversion centre anywhere is found again, and S^ab, a product of v and v*, stays."""
    moved = {**drawn.case, "positions": (np.array(drawn.case["positions"]) + shift).tolist()}
    core, other = (insdl.SpinModel.from_dict(case).core for case in (drawn.case, moved))
    assert core.is_real == other.is_real
    assert_same(solve(moved, drawn.q), solve(drawn.case, drawn.q))


@properties
@given(drawn=random_samples(nq=3), share=st.floats(0.1, 5.0))
def test_parameters_are_the_terms_that_they_multiply(drawn: Sample, share: float) -> None:
    """Every other bond, half of the anisotropies and all fields as parameters: the oracle multiplies them in by hand."""
    case = drawn.case
    named = {
        **case,
        "parameters": ["J", "D", "b"],
        "bonds": [
            [i, j, d, (np.array(m) / share).tolist(), "J"] if k % 2 else [i, j, d, m]
            for k, (i, j, d, m) in enumerate(case["bonds"])
        ],
        "aniso": None,
        "zeeman_b": None,
        "single_ion": [
            [k, (0.5 * np.array(a)).tolist(), name] for k, a in enumerate(case["aniso"]) for name in ("D", None)
        ],
        "zeeman": [[k, b, "b"] for k, b in enumerate(case["zeeman_b"])],
    }
    model = insdl.SpinModel.from_dict(named)
    sets = np.array([[share, 1.0, 1.0], [0.7 * share, 0.5, 1.5]])
    modes = model.modes(drawn.q, parameters=sets, output="amplitude")
    assert np.all(modes.stable)
    for k, (j, d, b) in enumerate(sets):
        part = oracle.Modes(modes.energy[k], modes.sab[k])
        assert_same(part, oracle.modes(named, drawn.q, J=j, D=d, b=b))
    assert_same(oracle.Modes(modes.energy[0], modes.sab[0]), solve(case, drawn.q))
