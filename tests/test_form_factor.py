"""Magnetic form factors of ions."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.form_factor import form_factor
from insdl.materials import goodenough
from insdl.materials.pcsmo import LITERATURE

# |Q|^2 = 0.57 / angstrom^2, j0 + 0.1 j2; International Tables for Crystallography C, independently computed.
TABLE = {
    "Mn2+": 0.9618982113, "Mn4+": 0.9725302343, "Fe2+": 0.9654220904,
    "Fe3+": 0.9713328208, "Cu2+": 0.9737428228, "Cr3+": 0.9643926517,
}  # fmt: skip


@pytest.mark.parametrize("ion", TABLE)
def test_tabulated_values(ion: str) -> None:
    """To 1e-8: tables differ in the last printed digit of a coefficient (Fe3+ by 1.4e-9 here)."""
    assert float(form_factor(ion, np.sqrt(0.57), j2_weight=0.1)) == pytest.approx(TABLE[ion], abs=1e-8)


@pytest.mark.parametrize("ion", ["Mn2+", "Mn3+", "Mn4+"])
def test_shape_and_limits(ion: str) -> None:
    """One at Q = 0 to the rounding of the table's coefficients, falling with Q, of the shape of Q."""
    q = np.linspace(0, 8, 40).reshape(4, 10)
    values = form_factor(ion, q)
    assert values.shape == q.shape
    assert values[0, 0] == pytest.approx(1.0, abs=2e-3)
    assert (np.diff(values.ravel()[:25]) < 0).all()
    np.testing.assert_array_equal(form_factor(ion, q, j2_weight=0.0), values)


@pytest.mark.parametrize("ion", ["Mn", "Mn9+", "mn2+", "Xx2+", "", "Mn2", "2+", "H1+"])
def test_unknown_ions_are_refused(ion: str) -> None:
    with pytest.raises(ValueError, match="no magnetic form factor is known for ion"):
        form_factor(ion, 1.0)


def test_refusal_names_what_is_known() -> None:
    with pytest.raises(ValueError, match=r"Mn2\+, Mn3\+, Mn4\+"):
        form_factor("Mn9+", 1.0)


def test_modes_with_the_form_factor_of_equal_ions() -> None:
    """Where all ions are equal, intensities are multiplied by <j0>^2 at |Q|; where they differ, amplitudes mix."""
    model = goodenough()
    mn3 = type(model).from_dict({**model.to_dict(), "ions": ["Mn3+"] * 16})
    q = np.random.default_rng(5).uniform(-1, 1, (20, 3))
    length = np.linalg.norm(q * 2 * np.pi / np.array([5.408, 5.4599, 19.266]), axis=1)
    plain = model.modes(q, output="amplitude", **LITERATURE["goodenough"]).intensity.sum(1)
    equal = mn3.modes(q, output="amplitude", form_factor="ion", **LITERATURE["goodenough"]).intensity.sum(1)
    np.testing.assert_allclose(equal, plain * form_factor("Mn3+", length) ** 2, rtol=1e-9)
    mixed = model.modes(q, output="amplitude", form_factor="ion", **LITERATURE["goodenough"]).intensity.sum(1)
    low, high = (form_factor(ion, length) ** 2 for ion in ("Mn3+", "Mn4+"))
    assert ((mixed / plain > 0.97 * np.minimum(low, high)) & (mixed / plain < 1.03 * np.maximum(low, high))).all()
