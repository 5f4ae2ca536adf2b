"""Models as dictionaries: there and back, and what is refused."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import numpy as np
import pytest

import insdl
import magnets
from insdl.materials import dimer, goodenough, rb2mnf4, zener_polaron
from insdl.materials.pcsmo import LITERATURE
from insdl.materials.rb2mnf4 import LITERATURE as RB2MNF4

NAMES = sorted(path.name.split("_")[0] for path in magnets.REFERENCE.glob("*.json"))
EYE = np.eye(3).tolist()
CASE: dict[str, Any] = {
    "lattice_magcell": [[3, 0, 0], [0, 8, 0], [0, 0, 8]],
    "lattice_for_q": [[3, 0, 0], [0, 8, 0], [0, 0, 8]],
    "n_chem_cells": 1,
    "positions": [[0, 0, 0]],
    "S": [1.5],
    "directions": [[0, 0, 1]],
    "parameters": ["J", "D", "b"],
    "bonds": [[0, 0, [1, 0, 0], EYE, "J"], [0, 0, [2, 0, 0], (-0.1 * np.eye(3)).tolist()]],
    "single_ion": [[0, np.diag([0, 0, 1.0]).tolist(), "D"]],
    "zeeman": [[0, [0, 0, 1], "b"], [0, [0, 0, -0.1], None], [0, [0, 0, -0.1]]],
}
VALUES = {"J": -1.0, "D": -0.1, "b": -0.3}


@pytest.mark.parametrize("name", NAMES)
def test_reference_magnets_there_and_back(name: str) -> None:
    case = magnets.reference(name)
    model = insdl.SpinModel.from_dict(case)
    written = json.loads(json.dumps(model.to_dict()))
    again = insdl.SpinModel.from_dict(written)
    assert again.to_dict() == written
    q = np.random.default_rng(3).uniform(-1, 1, (5, 3))
    first, second = model.modes(q, output="amplitude"), again.modes(q, output="amplitude")
    # Directions are normalised again, which may turn their last digit.
    np.testing.assert_allclose(second.energy, first.energy, rtol=0, atol=1e-6 if name == "A14" else 1e-10)
    assert again.classical_energy() == pytest.approx(case["classical_energy_per_magcell"], abs=1e-9)


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (goodenough(), LITERATURE["goodenough"]),
        (dimer(), LITERATURE["dimer"]),
        (rb2mnf4(), RB2MNF4),
        (zener_polaron(), {**LITERATURE["zener_polaron"], "JA": 0.1646}),
    ],
    ids=["goodenough", "dimer", "rb2mnf4", "zener_polaron"],
)
def test_materials_there_and_back(model: insdl.SpinModel, values: dict[str, float]) -> None:
    again = insdl.SpinModel.from_dict(json.loads(json.dumps(model.to_dict())))
    assert again.parameters == model.parameters
    assert [site.ion for site in again.sites] == [site.ion for site in model.sites]
    q = np.random.default_rng(3).uniform(-1, 1, (5, 3))
    first, second = (m.modes(q, output="amplitude", form_factor="ion", **values) for m in (model, again))
    np.testing.assert_allclose(second.energy, first.energy, rtol=0, atol=1e-9)
    np.testing.assert_allclose(second.intensity.sum(1), first.intensity.sum(1), rtol=1e-8)


def test_terms_with_and_without_names() -> None:
    """E at the zone boundary of the chain: 4 S |J| - 2 S D - b + 0.2."""
    model = insdl.SpinModel.from_dict(CASE)
    energy = model.modes([[0.5, 0, 0]], output="amplitude", **VALUES).energy[0, 0]
    assert energy == pytest.approx(6.0 + 0.3 + 0.3 + 0.2, abs=1e-12)


def test_arrays_are_lists_and_other_keys_are_ignored() -> None:
    case = {key: np.array(value) if key in ("positions", "S", "directions") else value for key, value in CASE.items()}
    model = insdl.SpinModel.from_dict({**case, "points": "whatever"})
    assert model.modes([[0.5, 0, 0]], output="amplitude", **VALUES).energy[0, 0] == pytest.approx(6.8, abs=1e-12)


@pytest.mark.parametrize("g", [[2.0], [[[2.0, 0, 0], [0, 2.0, 0], [0, 0, 2.0]]]])
def test_g_multiplies_intensities(g: Any) -> None:
    plain, with_g = (insdl.SpinModel.from_dict(case) for case in (CASE, {**CASE, "g_for_intensity": g}))
    q = [[0.2, 0.1, 0.3]]
    np.testing.assert_allclose(
        with_g.modes(q, output="amplitude", **VALUES).intensity,
        4 * plain.modes(q, output="amplitude", **VALUES).intensity,
        rtol=1e-12,
    )


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "bonds null": ({"bonds": None}, "bonds must be a list, got None"),
    "bonds as text": ({"bonds": "J"}, "bonds must be a list, got 'J'"),
    "bond of three": ({"bonds": [[0, 0, [1, 0, 0]]]}, "row 0 of bonds must be [i, j, [offset], 3 x 3 exchange]"),
    "bond of six": ({"bonds": [[0, 0, [1, 0, 0], EYE, "J", 1]]}, "row 0 of bonds must be"),
    "bond null": ({"bonds": [None]}, "row 0 of bonds must be"),
    "bond as text": ({"bonds": ["0000"]}, "row 0 of bonds must be"),
    "whole number as an offset": ({"bonds": [[0, 0, 1, EYE]]}, "the offset of bond 0 must be a list, got 1"),
    "short offset": ({"bonds": [[0, 0, [1, 0], EYE]]}, "must have shape (3,), got (2,)"),
    "ragged exchange": ({"bonds": [[0, 0, [1, 0, 0], [[1, 0, 0], [0, 1]]]]}, "exchange of bond 0"),
    "true site": ({"bonds": [[0, True, [1, 0, 0], EYE]]}, "refers to site True"),
    "unknown parameter": ({"bonds": [[0, 0, [1, 0, 0], EYE, "K"]]}, "refers to parameter 'K'"),
    "positions null": ({"positions": None}, "positions must be a list, got None"),
    "positions a number": ({"positions": 0}, "positions must be a list, got 0"),
    "position a number": ({"positions": [0]}, "position of site 0 must have shape (3,), got ()"),
    "too few spins": ({"S": []}, "S must have one entry for each of the 1 sites, got []"),
    "one spin for all": ({"S": 1.5}, "S must be a list, got 1.5"),
    "spin null": ({"S": [None]}, "a model needs the keys 'S' and 'directions'"),
    "directions null": ({"directions": None}, "a model needs the keys 'S' and 'directions'"),
    "single ion of one entry": (
        {"single_ion": [[0]]},
        "row 0 of single_ion must be [site, 3 x 3 matrix, name or null]",
    ),
    "single ion a number": ({"single_ion": [0]}, "row 0 of single_ion must be"),
    "single ion no list": ({"single_ion": 1.0}, "single_ion must be a list, got 1.0"),
    "single ion not symmetric": ({"single_ion": [[0, [[0, 1, 0], [0, 0, 0], [0, 0, 0]]]]}, "must be symmetric"),
    "field of four entries": ({"zeeman": [[0, [0, 0, 1], None, 2]]}, "row 0 of zeeman must be [site, vector, name or"),
    "field without site": ({"zeeman": [[0, 0, 1]]}, "vector of Zeeman term 0 must have shape (3,), got ()"),
    "anisotropy of no site": ({"aniso": []}, "aniso must have one entry for each of the 1 sites"),
    "parameters as text": ({"parameters": "J"}, "parameters must be a list of str, got 'J'"),
    "half a cell": ({"n_chem_cells": 0.5}, "n_chemical_cells must be a whole number, got 0.5"),
    "cells as text": ({"n_chem_cells": "1"}, "n_chemical_cells must be a whole number, got '1'"),
    "g ragged": ({"g_for_intensity": [[[2], [2, 2]]]}, "g_for_intensity of site 0 must be an array of numbers"),
    "ion number": ({"ions": [25]}, "ion of site 0 must be a name"),
}


@pytest.mark.parametrize("name", BAD)
def test_malformed_dictionaries_are_refused(name: str) -> None:
    changes, sentence = BAD[name]
    with pytest.raises((ValueError, TypeError), match=re.escape(sentence)) as caught:
        insdl.SpinModel.from_dict({**CASE, **changes})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("key", ["lattice_magcell", "lattice_for_q", "positions", "S", "directions", "bonds"])
def test_missing_keys_are_named(key: str) -> None:
    with pytest.raises(ValueError, match=f"'{key}'"):
        insdl.SpinModel.from_dict({k: v for k, v in CASE.items() if k != key})


@pytest.mark.parametrize("case", [None, "model.json", [1, 2]])
def test_what_is_no_dictionary_is_refused(case: Any) -> None:
    with pytest.raises(ValueError, match="a model is read from a dictionary, got"):
        insdl.SpinModel.from_dict(case)


def test_reading_leaves_the_dictionary_alone() -> None:
    before = copy.deepcopy(CASE)
    insdl.SpinModel.from_dict(CASE)
    assert before == CASE
