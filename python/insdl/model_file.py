"""Models as JSON-able dictionaries: one form for saving, loading and everyone's test cases.

Keys (lengths in angstrom, energies in meV): ``lattice_magcell`` rows a, b, c; ``positions`` fractions of it; ``S``;
``directions``; ``bonds`` rows [i, j, [offset], 3 x 3 exchange] or [i, j, [offset], 3 x 3 pattern, name of its
parameter]; ``aniso`` one 3 x 3 matrix a site, fixed; ``zeeman_b`` one vector a site, fixed (H += b.S);
``g_for_intensity`` one number or 3 x 3 a site; ``lattice_for_q`` the cell of q; ``n_chem_cells``. With named parameters
besides: ``parameters`` names;
``single_ion`` rows [site, 3 x 3, name or null]; ``zeeman`` rows [site, vector, name or null]; ``ions``; ``g``.
Other keys are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from insdl.crystal import shown

if TYPE_CHECKING:
    from insdl.model import SpinModel


def _entry(case: Mapping[str, Any], key: str) -> Any:
    if key not in case:
        raise ValueError(f"a model needs the key {key!r}, got {sorted(case)}")
    return case[key]


def _list(value: Any, what: str) -> list[Any]:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(f"{what} must be a list, got {shown(value)}")
    return list(value)


def _per_site(case: Mapping[str, Any], key: str, n: int) -> list[Any]:
    if case.get(key) is None:
        return [None] * n
    entries = _list(case[key], key)
    if len(entries) != n:
        raise ValueError(f"{key} must have one entry for each of the {n} sites, got {shown(case[key])}")
    return entries


def _rows(case: Mapping[str, Any], key: str, form: str, lengths: tuple[int, ...]) -> list[list[Any]]:
    """The rows under ``key``, each a list of one of the lengths and None for a name that is left out."""
    rows = []
    for k, entry in enumerate([] if case.get(key) is None else _list(case[key], key)):
        row = list(entry) if isinstance(entry, Sequence) and not isinstance(entry, str) else []
        if len(row) not in lengths:
            raise ValueError(f"row {k} of {key} must be {form}, got {shown(entry)}")
        rows.append(row + [None] * (max(lengths) - len(row)))
    return rows


def model_from_dict(case: Mapping[str, Any]) -> SpinModel:
    """A `SpinModel` from the form described above.

    Raises
    ------
    ValueError, TypeError
        If a key is missing, or an entry is malformed; the sentence names it.
    """
    from insdl.model import Bond, SingleIon, Site, SpinModel, Zeeman, checked_matrix

    if not isinstance(case, Mapping):
        raise ValueError(f"a model is read from a dictionary, got {type(case).__name__}")
    positions = _list(_entry(case, "positions"), "positions")
    n = len(positions)
    spins, directions = _per_site(case, "S", n), _per_site(case, "directions", n)
    ions, tensors = _per_site(case, "ions", n), _per_site(case, "g", n)
    if None in spins or None in directions:
        raise ValueError("a model needs the keys 'S' and 'directions'")
    _list(_entry(case, "bonds"), "bonds")
    bonds = [
        Bond(i, j, tuple(_list(offset, f"the offset of bond {k}")), exchange, name)
        for k, (i, j, offset, exchange, name) in enumerate(
            _rows(case, "bonds", "[i, j, [offset], 3 x 3 exchange] or one more entry, a parameter's name", (4, 5))
        )
    ]
    single_ion = [SingleIon(i, m) for i, m in enumerate(_per_site(case, "aniso", n)) if m is not None]
    single_ion += [SingleIon(*row) for row in _rows(case, "single_ion", "[site, 3 x 3 matrix, name or null]", (2, 3))]
    zeeman = [Zeeman(i, b) for i, b in enumerate(_per_site(case, "zeeman_b", n)) if b is not None]
    zeeman += [Zeeman(*row) for row in _rows(case, "zeeman", "[site, vector, name or null]", (2, 3))]
    moments = [
        checked_matrix(1.0 if g is None else g, f"g_for_intensity of site {i}")
        for i, g in enumerate(_per_site(case, "g_for_intensity", n))
    ]
    return SpinModel(
        lattice=_entry(case, "lattice_for_q"),
        magnetic_lattice=_entry(case, "lattice_magcell"),
        sites=[
            Site(positions[i], spins[i], directions[i], ions[i], 2.0 if tensors[i] is None else tensors[i])
            for i in range(n)
        ],
        bonds=bonds,
        single_ion=single_ion,
        zeeman=zeeman,
        parameters=() if case.get("parameters") is None else case["parameters"],
        name=case.get("name") or "",
        n_chemical_cells=case.get("n_chem_cells"),
        moments=None if case.get("g_for_intensity") is None else np.reshape(moments, (n, 3, 3)),
    )


def _lists(value: Any) -> Any:
    return np.asarray(value, dtype=np.float64).tolist()


def model_to_dict(model: SpinModel) -> dict[str, Any]:
    """The form described above, of nothing but numbers, strings, lists and None."""
    bonds = []
    for bond in model.bonds:
        exchange = np.asarray(bond.exchange, dtype=np.float64)
        matrix = exchange * np.eye(3) if exchange.ndim == 0 else exchange
        row: list[Any] = [int(bond.i), int(bond.j), [int(n) for n in bond.offset], _lists(matrix)]
        bonds.append(row if bond.parameter is None else [*row, bond.parameter])
    return {
        "name": model.name,
        "lattice_magcell": _lists(model.magnetic_lattice),
        "lattice_for_q": _lists(model.lattice),
        "n_chem_cells": model.n_chemical_cells,
        "positions": [_lists(s.position) for s in model.sites],
        "S": [s.spin for s in model.sites],
        "directions": [_lists(s.direction) for s in model.sites],
        "ions": [s.ion for s in model.sites],
        "g": [_lists(s.g) for s in model.sites],
        "g_for_intensity": None if model.moments is None else _lists(model.moments),
        "parameters": list(model.parameters),
        "bonds": bonds,
        "single_ion": [[int(t.site), _lists(t.matrix), t.parameter] for t in model.single_ion],
        "zeeman": [[int(t.site), _lists(t.vector), t.parameter] for t in model.zeeman],
    }
