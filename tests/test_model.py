"""The spin model and the door to the kernel: what they refuse, and with which sentence."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import numpy as np
import pytest

import insdl
from insdl import Bond, SingleIon, Site, SpinModel, Zeeman
from insdl.units import MU_B

CELL = np.diag([3.0, 8.0, 8.0])
ORIGIN = np.zeros((1, 3))


def chain(**changes: Any) -> SpinModel:
    """A ferromagnetic chain of spin 1 with one named exchange."""
    terms: dict[str, Any] = {
        "lattice": CELL,
        "magnetic_lattice": CELL,
        "sites": [Site((0, 0, 0), 1.0, (0, 0, 1), "Mn2+")],
        "bonds": [Bond(0, 0, (1, 0, 0), parameter="J")],
        "parameters": ["J"],
    }
    return SpinModel(**{**terms, **changes})


def site(**changes: Any) -> Site:
    return Site(**{"position": (0, 0, 0), "spin": 1.0, "direction": (0, 0, 1), **changes})


def one_bond(*row: Any, **more: Any) -> dict[str, Any]:
    return {"bonds": [Bond(*row, **more)]}


BAD_MODELS: dict[str, tuple[dict[str, Any], str]] = {
    "singular lattice": ({"lattice": np.diag([3.0, 8.0, 0.0])}, "lattice must have three independent rows"),
    "lattice of three numbers": ({"lattice": [3, 8, 8]}, r"lattice must have shape (3, 3), got (3,)"),
    "ragged lattice": ({"magnetic_lattice": [[3, 0, 0], [0, 8], [0, 0, 8]]}, "magnetic_lattice must be an array"),
    "lattice of None": ({"lattice": None}, "lattice must be real numbers, got None"),
    "no site": ({"sites": []}, "at least one site"),
    "sites None": ({"sites": None}, "sites must be a list of Site, got None"),
    "site as a tuple": ({"sites": [(0, 0, 0)]}, "sites must be a list of Site, but entry 0 is (0, 0, 0)"),
    "short position": ({"sites": [site(position=(0, 0))]}, "position of site 0 must have shape (3,), got (2,)"),
    "nan position": ({"sites": [site(position=(0, 0, np.nan))]}, "position of site 0 must be finite"),
    "zero direction": ({"sites": [site(direction=(0, 0, 0))]}, "direction of site 0 must not be zero"),
    "complex direction": ({"sites": [site(direction=(0, 1j, 0))]}, "direction of site 0 must be real numbers"),
    "zero spin": ({"sites": [site(spin=0.0)]}, "spin of site 0 must be a positive number, got 0.0"),
    "infinite spin": ({"sites": [site(spin=np.inf)]}, "spin of site 0 must be finite"),
    "spin as text": ({"sites": [site(spin="5/2")]}, "spin of site 0 must be real numbers, got '5/2'"),
    "spin True": ({"sites": [site(spin=True)]}, "spin of site 0 must be real numbers, got True"),
    "ion number": ({"sites": [site(ion=25)]}, "ion of site 0 must be a name like 'Mn3+' or None, got 25"),
    "g of two numbers": ({"sites": [site(g=(2, 2))]}, "g tensor of site 0 must have shape (3, 3), got (2,)"),
    "bonds None": ({"bonds": None}, "bonds must be a list of Bond, got None"),
    "bonds as text": ({"bonds": "J"}, "bonds must be a list of Bond, got 'J'"),
    "bond as a tuple": ({"bonds": [(0, 0, (1, 0, 0))]}, "bonds must be a list of Bond, but entry 0 is"),
    "bond to a missing site": (one_bond(0, 1, (1, 0, 0)), "refers to site 1, but the model has sites 0 to 0"),
    "bond to a negative site": (one_bond(-1, 0, (1, 0, 0)), "refers to site -1"),
    "bond to site False": (one_bond(False, 0, (1, 0, 0)), "refers to site False"),
    "bond to site 0.0": (one_bond(0.0, 0, (1, 0, 0)), "refers to site 0.0"),
    "bond with itself": (one_bond(0, 0, (0, 0, 0)), "joins a site with itself: use single_ion"),
    "whole number as an offset": (one_bond(0, 0, 1), "offset of bond 0 (0, 0, 1) must have shape (3,), got ()"),
    "short offset": (one_bond(0, 0, (1, 0)), "must have shape (3,), got (2,)"),
    "long offset": (one_bond(0, 0, (1, 0, 0, 0)), "must have shape (3,), got (4,)"),
    "broken offset": (one_bond(0, 0, (0.5, 0, 0)), "must be whole numbers of cells"),
    "absurd offset": (one_bond(0, 0, (10**6 + 1, 0, 0)), "at most 1000000"),
    "offset None": (one_bond(0, 0, None), "offset of bond 0 (0, 0, None) must be real numbers"),
    "ragged exchange": (one_bond(0, 0, (1, 0, 0), [[1, 0, 0], [0, 1], [0]]), "exchange of bond 0 (0, 0, (1, 0, 0))"),
    "exchange as text": (one_bond(0, 0, (1, 0, 0), "J"), "must be real numbers, got 'J'"),
    "exchange of three": (one_bond(0, 0, (1, 0, 0), (1, 1, 1)), "must have shape (3, 3), got (3,)"),
    "nan exchange": (one_bond(0, 0, (1, 0, 0), np.nan), "must be finite"),
    "unknown parameter of a bond": (one_bond(0, 0, (1, 0, 0), 1.0, "K"), "refers to parameter 'K', but the model has"),
    "parameter that is no name": (one_bond(0, 0, (1, 0, 0), 1.0, ["J"]), "refers to parameter ['J']"),
    "single-ion matrix not symmetric": (
        {"single_ion": [SingleIon(0, [[0, 1, 0], [0, 0, 0], [0, 0, 0]])]},
        "matrix of single-ion term 0 (site 0) must be symmetric",
    ),
    "single-ion vector": ({"single_ion": [SingleIon(0, (0, 0, 1))]}, "must have shape (3, 3), got (3,)"),
    "single-ion of a missing site": ({"single_ion": [SingleIon(3, np.eye(3))]}, "refers to site 3"),
    "single-ion of an unknown parameter": ({"single_ion": [SingleIon(0, 1.0, "D")]}, "refers to parameter 'D'"),
    "single-ion as a list": ({"single_ion": [[0, np.eye(3)]]}, "single_ion must be a list of SingleIon"),
    "field of two": ({"zeeman": [Zeeman(0, (0, 1))]}, "vector of Zeeman term 0 must have shape (3,), got (2,)"),
    "field of a missing site": ({"zeeman": [Zeeman(1, (0, 0, 1))]}, "Zeeman term 0 refers to site 1"),
    "field of a site named True": ({"zeeman": [Zeeman(True, (0, 0, 1))]}, "Zeeman term 0 refers to site True"),
    "parameters as text": ({"parameters": "J"}, "parameters must be a list of str, got 'J'"),
    "parameter 1": ({"parameters": ["J", 1]}, "parameters must be a list of str, but entry 1 is 1"),
    "parameter with a space": ({"parameters": ["J", "J 2"]}, "must be usable as a keyword"),
    "parameter lambda": ({"parameters": ["J", "lambda"]}, "must be usable as a keyword"),
    "parameter threads": ({"parameters": ["J", "threads"]}, "must be usable as a keyword"),
    "parameter twice": ({"parameters": ["J", "J"]}, "parameters must have different names"),
    "half a cell": ({"n_chemical_cells": 1.5}, "n_chemical_cells must be a whole number, got 1.5"),
    "True cells": ({"n_chemical_cells": True}, "n_chemical_cells must be a whole number, got True"),
    "wrong number of cells": ({"n_chemical_cells": 2}, "holds 1 chemical cells by volume, but n_chemical_cells is 2"),
    "volume and a half": ({"magnetic_lattice": np.diag([4.5, 8, 8])}, "holds 1.5 chemical cells by volume"),
    "moments of one site too many": ({"moments": np.ones((2, 3, 3))}, "moments must have shape (1, 3, 3)"),
}


@pytest.mark.parametrize("name", BAD_MODELS)
def test_bad_models_are_refused(name: str) -> None:
    changes, sentence = BAD_MODELS[name]
    with pytest.raises((ValueError, TypeError), match=re.escape(sentence)) as caught:
        chain(**changes)
    assert "\n" not in str(caught.value)


BAD_Q: dict[str, tuple[Any, str]] = {
    "one vector": ([0, 0, 0], "q_rlu must have shape (nq, 3), got (3,)"),
    "two columns": ([[0, 0]], "q_rlu must have shape (nq, 3), got (1, 2)"),
    "ragged": ([[0, 0, 0], [0, 0]], "q_rlu must be an array of numbers, got [[0, 0, 0], [0, 0]]"),
    "text": ("gamma", "q_rlu must be real numbers, got 'gamma'"),
    "numbers as text": ([["0", "0", "0"]], "q_rlu must be real numbers"),
    "complex": ([[0, 0, 1j]], "q_rlu must be real numbers"),
    "None": (None, "q_rlu must be real numbers, got None"),
    "nan": ([[0, 0, 0], [0, np.nan, 0]], "q_rlu must be finite; row 1 is [0.0, nan, 0.0]"),
    "infinite": ([[np.inf, 0, 0]], "q_rlu must be finite; row 0"),
}


@pytest.mark.parametrize("name", BAD_Q)
def test_bad_q_is_refused(name: str) -> None:
    q, sentence = BAD_Q[name]
    with pytest.raises(ValueError, match=re.escape(sentence)):
        chain().modes(q, output="amplitude", J=-1.0)


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2", 1025, 10**12])
def test_bad_threads_are_refused(threads: Any) -> None:
    with pytest.raises(ValueError, match="threads must be a whole number from 1 to 1024, or None, got"):
        chain().modes(ORIGIN, output="amplitude", threads=threads, J=-1.0)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, r"the model's parameters are \['J'\]; missing: \['J'\]"),
        ({"J": -1.0, "K": 0.0}, r"unknown: \['K'\]"),
        ({"j": -1.0}, r"unknown: \['j'\]"),
    ],
)
def test_wrong_parameter_names_are_type_errors(values: dict[str, float], sentence: str) -> None:
    model = chain()
    for call in (lambda: model.modes(ORIGIN, output="amplitude", **values), lambda: model.classical_energy(**values)):
        with pytest.raises(TypeError, match=sentence):
            call()
    with pytest.raises(TypeError, match=sentence):
        model.torque(**values)


@pytest.mark.parametrize("value", ["-1", [-1.0], np.nan, np.inf, 1j, None, True])
def test_wrong_parameter_values_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="parameter J must"):
        chain().modes(ORIGIN, output="amplitude", J=value)


@pytest.mark.parametrize(
    ("sets", "sentence"),
    [
        ([-1.0], r"parameters must have shape \(n_sets, 1\) in the order \['J'\], got \(1,\)"),
        ([[-1.0, 0.0]], r"got \(1, 2\)"),
        ([[-1.0], [np.nan]], r"parameters must be finite; set 1 is \[nan\]"),
        ([["-1"]], "parameters must be real numbers"),
        ([[-1.0], []], "parameters must be an array of numbers"),
        ([[1j]], "parameters must be real numbers"),
    ],
)
def test_wrong_arrays_of_parameters_are_refused(sets: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        chain().modes(ORIGIN, output="amplitude", parameters=sets)


def test_choices_are_checked() -> None:
    model = chain()
    with pytest.raises(ValueError, match="form must be 'auto' or 'full', got 'half'"):
        model.modes(ORIGIN, output="amplitude", form="half", J=-1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="form_factor must be 'none' or 'ion', got 'Mn'"):
        model.modes(ORIGIN, output="amplitude", form_factor="Mn", J=-1.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not both"):
        model.modes(ORIGIN, output="amplitude", parameters=[[-1.0]], J=-1.0)
    with pytest.raises(ValueError, match="needs the ion of every site; site 0 has none"):
        chain(sites=[site()]).modes(ORIGIN, output="amplitude", form_factor="ion", J=-1.0)
    with pytest.raises(ValueError, match="must have shape"):
        model.with_field((0, 1))
    with pytest.raises(ValueError, match=r"directions must have shape \(1, 3\)"):
        model.with_directions([[0, 0, 1], [0, 0, 1]])


@pytest.mark.parametrize("number", [np.int64(2), np.int32(2), np.float32(2.0), np.array(2.0), 2, 2.0])
def test_numbers_of_numpy_are_numbers(number: Any) -> None:
    """Spins, sites, offsets, exchanges and g of any real type of number."""
    model = chain(
        sites=[site(spin=number, g=number)],
        bonds=[Bond(np.int64(0), np.int32(0), np.array([1, 0, 0]), number / 2, "J")],  # type: ignore[arg-type]
        n_chemical_cells=np.int64(1),
    )
    assert model.sites[0].spin == 2.0
    assert model.modes([[0.5, 0, 0]], output="amplitude", J=np.int64(-1)).energy[0, 0] == pytest.approx(8.0, abs=1e-12)


def test_inputs_may_be_large_but_not_absurd() -> None:
    far = chain(bonds=[Bond(0, 0, (10**6, 0, 0), parameter="J")])
    assert far.modes([[0.5e-6, 0, 0]], output="amplitude", J=-1.0).energy[0, 0] == pytest.approx(4.0, abs=1e-6)


def test_no_momentum_and_no_sets() -> None:
    """Nothing in, nothing out, in the right shapes."""
    model = chain()
    assert model.modes(np.empty((0, 3)), output="amplitude", J=-1.0).sab.shape == (0, 1, 3, 3)
    none = model.modes(np.zeros((4, 3)), output="amplitude", parameters=np.empty((0, 1)))
    assert none.energy.shape == (0, 4, 1)
    assert np.shape(none.stable) == (0,)


def test_model_does_not_change_with_its_inputs() -> None:
    """Arrays are copied, and those kept cannot be written."""
    lattice, direction, exchange = CELL.copy(), np.array([0.0, 0.0, 2.0]), -np.eye(3)
    model = SpinModel(lattice, lattice, [site(direction=direction)], [Bond(0, 0, (1, 0, 0), exchange)])
    before = model.modes([[0.3, 0, 0]], output="amplitude").energy
    lattice[:], direction[:], exchange[:] = 0.0, 0.0, 0.0
    np.testing.assert_array_equal(model.modes([[0.3, 0, 0]], output="amplitude").energy, before)
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(model.lattice)[0, 0] = 1.0
    with pytest.raises(AttributeError):
        model.name = "other"  # type: ignore[misc]


def test_pickle_and_copy() -> None:
    model = chain(name="chain", zeeman=[Zeeman(0, (0, 0, -0.3))])
    want = model.modes([[0.2, 0, 0]], output="amplitude", J=-1.0).energy
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert again.name == "chain"
        np.testing.assert_array_equal(again.modes([[0.2, 0, 0]], output="amplitude", J=-1.0).energy, want)


def test_field_aligns_spins() -> None:
    """A field along the spins opens a gap g mu_B B; against them it is unstable."""
    gap = 2.0 * MU_B * 5.0
    assert chain().with_field((0, 0, 5.0)).modes(ORIGIN, output="amplitude", J=-1.0).energy[0, 0] == pytest.approx(
        gap, abs=1e-12
    )
    with pytest.raises(insdl.UnstableModelError):
        chain().with_field((0, 0, -5.0)).modes(ORIGIN, output="amplitude", J=-1.0)


def test_relax_finds_the_field() -> None:
    """Spins at an angle to a field turn into it; where time is too short, it says so."""
    start = chain(zeeman=[Zeeman(0, (0, 0.3, 0.4))], bonds=[], parameters=[])
    assert np.abs(start.torque()).max() > 0.1
    np.testing.assert_allclose(insdl.relax(start).sites[0].direction, (0, -0.6, -0.8), rtol=0, atol=1e-9)
    with pytest.raises(RuntimeError, match="did not come to rest in 2 steps"):
        insdl.relax(start, max_steps=2)
