"""The fifteen reference magnets, from JSON to modes."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import insdl
import magnets
import oracle

NAMES = sorted(path.name.split("_")[0] for path in magnets.REFERENCE.glob("*.json"))
TOLERANCE = 1e-6  # the stored numbers were regularised by about 1e-10 meV
FLOOR = 1e-3  # meV: below, the stored numbers are the square root of that regularisation


def expected(case: dict[str, Any]) -> SimpleNamespace:
    """The stored points as arrays, with the same names as the modes of the package."""
    points = case["points"]
    columns = {name: np.array([p[name] for p in points]) for name in ("q", "energy", "trace", "sperp")}
    sab = np.array([p["Sab_re"] for p in points]) + 1j * np.array([p["Sab_im"] for p in points])
    return SimpleNamespace(sab=sab, **columns)


def assert_reference(actual: Any, wanted: SimpleNamespace) -> None:
    oracle.assert_same_modes(actual, wanted, energy_tolerance=TOLERANCE, weight_tolerance=TOLERANCE, floor=FLOOR)
    trace = np.einsum("qmaa->qm", actual.sab).real
    for k, energy in enumerate(wanted.energy):
        for group in oracle.groups(energy, 1e-5):
            if energy[group].min() < FLOOR:
                continue
            assert trace[k, group].sum() == pytest.approx(wanted.trace[k, group].sum(), abs=TOLERANCE)
            assert actual.intensity[k, group].sum() == pytest.approx(wanted.sperp[k, group].sum(), abs=TOLERANCE)


def test_there_are_fifteen() -> None:
    assert len(NAMES) == 15


@pytest.mark.parametrize("name", NAMES)
def test_oracle_agrees(name: str) -> None:
    case = magnets.reference(name)
    wanted = expected(case)
    modes = oracle.modes(case, wanted.q, shift=1e-9 if name == "A14" else 1e-10)
    intensity = oracle.intensity(case, wanted.q, modes.sab)
    assert_reference(SimpleNamespace(energy=modes.energy, sab=modes.sab, intensity=intensity), wanted)
    assert oracle.classical_energy(case) == pytest.approx(case["classical_energy_per_magcell"], abs=1e-12)
    assert np.abs(oracle.torque(case)).max() < 1e-13


@pytest.mark.parametrize("form", ["auto", "full"])
@pytest.mark.parametrize("name", NAMES)
def test_modes(name: str, form: str) -> None:
    case = magnets.reference(name)
    wanted = expected(case)
    modes = insdl.SpinModel.from_dict(case).modes(wanted.q, output="amplitude", form=form)
    assert modes.stable
    assert modes.energy.shape == wanted.energy.shape
    assert modes.sab.shape == wanted.sab.shape
    assert_reference(modes, wanted)


@pytest.mark.parametrize("name", NAMES)
def test_split_form_is_found(name: str) -> None:
    """Otherwise form="auto" would be the full form and every test of both forms half empty.

    Only the honeycomb does not split: a Dzyaloshinskii-Moriya term along ferromagnetic spins mixes the quadratures.
    """
    assert insdl.SpinModel.from_dict(magnets.reference(name)).core.is_split == (name != "A12")


@pytest.mark.parametrize("form", ["auto", "full"])
@pytest.mark.parametrize("name", NAMES)
def test_generic_points_agree_with_oracle(name: str, form: str) -> None:
    """Off every symmetry plane, both in energy and in every component of S^ab."""
    case = magnets.reference(name)
    q = np.random.default_rng(7).uniform(-2, 2, (20, 3))
    shift = 1e-9 if name == "A14" else 0.0
    modes = insdl.SpinModel.from_dict(case).modes(q, output="amplitude", form=form)
    wanted = oracle.modes(case, q, shift=shift)
    tolerance = TOLERANCE if shift else 1e-9
    oracle.assert_same_modes(modes, wanted, energy_tolerance=tolerance, weight_tolerance=tolerance, floor=FLOOR)


@pytest.mark.parametrize("name", NAMES)
def test_classical_energy_and_torque(name: str) -> None:
    case = magnets.reference(name)
    model = insdl.SpinModel.from_dict(case)
    assert model.classical_energy() == pytest.approx(case["classical_energy_per_magcell"], abs=1e-12)
    assert model.torque().shape == (len(case["S"]), 3)
    assert np.abs(model.torque()).max() < 1e-13


@pytest.mark.parametrize("name", NAMES)
def test_round_trip(name: str) -> None:
    """to_dict, through JSON text, and back: the same bits."""
    case = magnets.reference(name)
    model = insdl.SpinModel.from_dict(case)
    again = insdl.SpinModel.from_dict(json.loads(json.dumps(model.to_dict())))
    q = [p["q"] for p in case["points"]]
    first, second = model.modes(np.array(q), output="amplitude"), again.modes(np.array(q), output="amplitude")
    np.testing.assert_array_equal(first.energy, second.energy)
    np.testing.assert_array_equal(first.sab, second.sab)
    assert again.to_dict() == model.to_dict()


def with_parameters(case: dict[str, Any]) -> dict[str, Any]:
    """LiNiPO4 with half its exchanges times a parameter J, its anisotropy times D, and a field along c times b."""
    sites = range(len(case["S"]))
    bonds = [[i, j, offset, (0.5 * np.array(matrix)).tolist(), "J"] for i, j, offset, matrix in case["bonds"]]
    single_ion = [[site, np.array(case["aniso"][site]).tolist(), "D"] for site in sites]
    zeeman = [[site, [0.0, 0.0, 0.1], "b"] for site in sites]
    terms = {"parameters": ["J", "D", "b"], "bonds": bonds, "single_ion": single_ion, "zeeman": zeeman, "aniso": None}
    return {**case, **terms}


def test_parameters_enter_linearly() -> None:
    case = magnets.reference("A24")
    named = with_parameters(case)
    model = insdl.SpinModel.from_dict(named)
    q = np.random.default_rng(3).uniform(-1, 1, (7, 3))
    plain = insdl.SpinModel.from_dict(case).modes(q, output="amplitude")
    close = {"energy_tolerance": 1e-10, "weight_tolerance": 1e-10}
    oracle.assert_same_modes(model.modes(q, output="amplitude", J=2.0, D=1.0, b=0.0), plain, **close)
    values = {"J": 1.8, "D": 1.3, "b": 0.7}
    oracle.assert_same_modes(model.modes(q, output="amplitude", **values), oracle.modes(named, q, **values), **close)
    assert model.classical_energy(**values) == pytest.approx(oracle.classical_energy(named, **values), abs=1e-12)
    again = insdl.SpinModel.from_dict(json.loads(json.dumps(model.to_dict())))
    np.testing.assert_array_equal(
        again.modes(q, output="amplitude", **values).sab, model.modes(q, output="amplitude", **values).sab
    )


def test_parameters_are_checked() -> None:
    model = insdl.SpinModel.from_dict(with_parameters(magnets.reference("A24")))
    with pytest.raises(TypeError, match="K"):
        model.modes(np.zeros((1, 3)), output="amplitude", J=2.0, D=1.0, b=0.0, K=1.0)
    with pytest.raises((TypeError, ValueError), match="D"):
        model.modes(np.zeros((1, 3)), output="amplitude", J=2.0, b=0.0)
