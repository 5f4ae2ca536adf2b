"""Structures that are no minimum of their energy must be refused, and the refusal must say where and how much."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import insdl
import magnets
import oracle
from magnets import UP, heisenberg, magnet

SLOPE = np.sqrt(0.75)
TRIANGLE = ((1.0, 0.0, 0.0), (-0.5, SLOPE, 0.0), (-0.5, -SLOPE, 0.0))  # turns with the ring of magnets.kagome
CHAIN = magnet(spins=[1.5], bonds=[(0, 0, (1, 0, 0), heisenberg(1.0))], directions=[UP])
SQUARE = magnet(
    lattice=magnets.SQUARE,
    bonds=[(0, 0, (1, 0, 0), heisenberg(1.0)), (0, 0, (0, 1, 0), heisenberg(1.0))],
    directions=[(0.6, 0.0, 0.8)],
)
KAGOME = magnets.kagome(spin=1.0, exchange=heisenberg(1.0), directions=TRIANGLE, dm=0.1)
HELIX = magnets.helix(turns=1, cells=8, j1=-1.0, j2=0.5)  # the minimum is at k = 1/6
HARD_AXIS = magnet(bonds=[(0, 0, (1, 0, 0), heisenberg(-1.0))], directions=[UP], anisotropy=np.diag([0.0, 0.0, 0.5]))
OVERTURNED = magnets.antiferromagnetic_chain(d=-0.1, b=2.0)  # beyond the spin flop, 2 S sqrt(d (d - 2 j)) = 0.92
MUST_RAISE = {
    "ferromagnetic alignment of an antiferromagnetic chain": CHAIN,
    "ferromagnetic alignment of an antiferromagnetic square": SQUARE,
    "kagome q = 0 with the wrong sign of DM": KAGOME,
    "helix at the wrong k": HELIX,
    "spins along a hard axis": HARD_AXIS,
    "field beyond the spin flop": OVERTURNED,
}


@pytest.fixture(params=["auto", "full"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def lowest(case: dict[str, Any], q: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The lowest eigenvalue of the quadratic form at every q, from the oracle."""
    return np.linalg.eigvalsh(oracle.quadratic_form(case, q))[:, 0]


def failure(case: dict[str, Any], q: npt.ArrayLike, form: str, threads: int | None = None) -> insdl.UnstableModelError:
    with pytest.raises(insdl.UnstableModelError) as caught:
        insdl.SpinModel.from_dict(case).modes(np.asarray(q, float), output="amplitude", form=form, threads=threads)
    return caught.value


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", MUST_RAISE)
def test_unstable_structures_raise(form: str, name: str, threads: int) -> None:
    """On a scan of the zone: the q that is named is the worst of those given, with the eigenvalue there."""
    case = MUST_RAISE[name]
    q = np.random.default_rng(1).uniform(-0.5, 0.5, (300, 3))
    every = lowest(case, q)
    assert every.min() < -1e-3
    error = failure(case, q, form, threads)
    assert isinstance(error, ValueError)
    where = np.asarray(error.q_rlu)
    assert where.shape == (3,)
    assert np.all(np.isclose(q, where, rtol=0, atol=1e-12), axis=1).any()
    # Both to rounding: the worst q may have an equal, by symmetry.
    assert lowest(case, where[None])[0] == pytest.approx(every.min(), rel=1e-9)
    assert error.lowest_eigenvalue == pytest.approx(every.min(), rel=1e-9)
    assert error.largest_torque == pytest.approx(np.linalg.norm(oracle.torque(case), axis=1).max(), abs=1e-12)


def test_the_only_unstable_q_is_named(form: str) -> None:
    """J1-J2 chain, ferromagnetic order, J2 = 0.3 > 1/4: unstable at small q only, stable at the zone boundary."""
    bonds = [(0, 0, (1, 0, 0), heisenberg(-1.0)), (0, 0, (2, 0, 0), heisenberg(0.3))]
    case = magnet(bonds=bonds, directions=[UP])
    q = np.tile([0.5, 0.0, 0.0], (41, 1))
    q[:, 2] = np.linspace(0, 1, 41)
    stable = insdl.SpinModel.from_dict(case).modes(q, output="amplitude", form=form)
    np.testing.assert_allclose(stable.energy, 4.0, rtol=0, atol=1e-9)
    q[29] = [0.08, 0.2, -0.1]
    error = failure(case, q, form)
    np.testing.assert_allclose(error.q_rlu, q[29], rtol=0, atol=1e-12)
    x = 2 * np.pi * 0.08
    energy = -2 * (np.cos(x) - 1) + 0.6 * (np.cos(2 * x) - 1)
    assert energy < 0
    assert error.lowest_eigenvalue == pytest.approx(energy, abs=1e-9)
    assert error.largest_torque == pytest.approx(0.0, abs=1e-12)
    assert "0.08" in str(error)


def test_torque_is_reported(form: str) -> None:
    """A spin 120 degrees from its field: unstable, and pulled with S b sin 120."""
    case = magnet(spins=[1.5], bonds=[], directions=[(SLOPE, 0.0, -0.5)], field=(0.0, 0.0, -0.4))
    error = failure(case, np.zeros((1, 3)), form)
    assert error.largest_torque == pytest.approx(1.5 * 0.4 * SLOPE, abs=1e-12)
    assert error.lowest_eigenvalue == pytest.approx(-0.2, abs=1e-12)


def test_right_neighbours_are_accepted(form: str) -> None:
    """The same magnets in their ground states: refusing must not be the easy way out."""
    good = [
        magnets.antiferromagnetic_chain(),
        magnets.square_antiferromagnet(spin=1.0),
        magnets.kagome(spin=1.0, exchange=heisenberg(1.0), directions=TRIANGLE, dm=-0.1),
        magnets.helix(turns=1, cells=6, j1=-1.0, j2=0.5),
        magnets.antiferromagnetic_chain(d=-0.1, b=0.9),
    ]
    q = np.random.default_rng(1).uniform(-0.5, 0.5, (100, 3))
    for case in good:
        result = insdl.SpinModel.from_dict(case).modes(q, output="amplitude", form=form)
        assert result.stable
        expected = oracle.modes(case, q, shift=0.0)
        np.testing.assert_allclose(result.energy, expected.energy, rtol=0, atol=1e-7)


def test_model_survives_its_failure(form: str) -> None:
    """A J1-J2 chain fails at small q and answers at the zone boundary, before and after."""
    bonds = [(0, 0, (1, 0, 0), heisenberg(-1.0)), (0, 0, (2, 0, 0), heisenberg(0.3))]
    model = insdl.SpinModel.from_dict(magnet(bonds=bonds, directions=[UP]))
    edge = np.array([[0.5, 0.0, 0.0]])
    before = model.modes(edge, output="amplitude", form=form).energy
    for _ in range(3):
        with pytest.raises(insdl.UnstableModelError):
            model.modes(np.array([[0.08, 0.0, 0.0]]), output="amplitude", form=form)
    np.testing.assert_array_equal(model.modes(edge, output="amplitude", form=form).energy, before)


def test_one_bad_set_of_parameters_kills_no_other(form: str) -> None:
    """Many sets: a flag for each instead of an error, NaN for the unstable, and the others as if they were alone."""
    unit = np.eye(3).tolist()
    case = magnet(bonds=[(0, 0, (1, 0, 0), np.eye(3)), (0, 0, (2, 0, 0), np.eye(3))], directions=[UP])
    names = {"parameters": ["J1", "J2"], "bonds": [[0, 0, [1, 0, 0], unit, "J1"], [0, 0, [2, 0, 0], unit, "J2"]]}
    model = insdl.SpinModel.from_dict({**case, **names})
    q = np.random.default_rng(2).uniform(-0.5, 0.5, (50, 3))
    sets = np.array([[-1.0, 0.0], [-1.0, 0.4], [-1.0, 0.2], [1.0, 0.0], [-3.0, -1.0]])
    for threads in (1, 3):
        result = model.modes(q, output="amplitude", form=form, threads=threads, parameters=sets)
        assert np.asarray(result.stable).tolist() == [True, False, True, False, True]
        for k, (j1, j2) in enumerate(sets):
            if result.stable[k]:
                alone = model.modes(q, output="amplitude", form=form, J1=j1, J2=j2)
                np.testing.assert_array_equal(result.energy[k], alone.energy)
                np.testing.assert_array_equal(result.sab[k], alone.sab)
            else:
                assert np.isnan(result.energy[k]).any()
                with pytest.raises(insdl.UnstableModelError):
                    model.modes(q, output="amplitude", form=form, J1=j1, J2=j2)


def test_stable_but_out_of_equilibrium_warns(form: str) -> None:
    """A spin 60 degrees from its field has a positive quadratic form and a torque: worth a warning."""
    case = magnet(spins=[1.5], bonds=[], directions=[(SLOPE, 0.0, 0.5)], field=(0.0, 0.0, -0.4))
    with pytest.warns(insdl.NotEquilibriumWarning):
        insdl.SpinModel.from_dict(case).modes(np.zeros((1, 3)), output="amplitude", form=form)
