"""The magnets of the field: their bonds, published energies, closed forms, and whether they are stable."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest

import insdl
import oracle
from insdl.materials import dimer, goodenough, rb2mnf4, zener_polaron
from insdl.materials.pcsmo import LITERATURE
from insdl.materials.rb2mnf4 import LITERATURE as RB2MNF4

GOODENOUGH, DIMER, ZENER = (dict(LITERATURE[name]) for name in ("goodenough", "dimer", "zener_polaron"))

# Parameters of Johnstone et al., Phys. Rev. Lett. 109, 237202 (2012); energies independently computed.
GOODENOUGH_AT_Q = (
    84.751070, 84.740458, 84.573441, 84.553373, 61.220076, 61.218796, 61.163115, 61.151369,
    31.371194, 31.368664, 31.259891, 31.236869, 7.988105, 7.874724, 5.808003, 5.508075,
)  # fmt: skip


def points(n: int, seed: int = 7) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(-1, 1, (n, 3))


@pytest.mark.parametrize(
    ("model", "counts"),
    [
        (goodenough(), {"JF1": 16, "JA": 16, "JF2": 8, "JF3": 8, "Jperp": 8}),
        (dimer(), {"JFS": 8, "JFW": 8, "JA1": 8, "JA2": 8, "Jperp": 8}),
        (zener_polaron(structure="published"), {"JFU": 8, "JFD": 8, "JA": 8, "Jperp": 4}),
        (rb2mnf4(), {"J1": 4, "J2": 4}),
    ],
    ids=["goodenough", "dimer", "zener_polaron", "rb2mnf4"],
)
def test_bond_counts_per_magnetic_cell(model: insdl.SpinModel, counts: dict[str, int]) -> None:
    assert Counter(bond.parameter for bond in model.bonds) == counts
    ends = {(b.i, b.j, *b.offset) for b in model.bonds} | {(b.j, b.i, *(-n for n in b.offset)) for b in model.bonds}
    assert len(ends) == 2 * len(model.bonds)  # each bond once


def test_goodenough_energies() -> None:
    """At (39.6/49, 0, 0) of the magnetic cell; the stored digits end at 1e-6 meV."""
    result = goodenough().modes([[0.5 * 39.6 / 49, 0, 0]], output="amplitude", **GOODENOUGH)
    np.testing.assert_allclose(result.energy[0], GOODENOUGH_AT_Q, rtol=0, atol=1e-6)
    assert goodenough().classical_energy(**GOODENOUGH) == pytest.approx(-649.495, abs=1e-9)


@pytest.mark.parametrize(
    ("model", "values"),
    [(goodenough(), GOODENOUGH), (dimer(), DIMER), (rb2mnf4(), RB2MNF4)],
    ids=["goodenough", "dimer", "rb2mnf4"],
)
def test_stable_in_equilibrium_and_as_the_oracle_says(model: insdl.SpinModel, values: dict[str, float]) -> None:
    """Over the zone, Goldstone points and zone boundaries included."""
    corners = np.stack(np.meshgrid(*[np.linspace(0, 1, 9)] * 2, [0.0], indexing="ij"), axis=-1).reshape(-1, 3)
    q = np.concatenate([points(300), corners])
    result = model.modes(q, output="amplitude", **values)
    assert result.stable
    assert np.isfinite(result.energy).all()
    assert np.linalg.norm(model.torque(**values), axis=1).max() < 1e-12
    case = model.to_dict()
    some = q[:6]
    np.testing.assert_allclose(result.energy[:6], oracle.modes(case, some, **values).energy, rtol=1e-9)
    expected = oracle.intensity(case, some, oracle.modes(case, some, **values).sab)
    np.testing.assert_allclose(result.intensity[:6].sum(1), expected.sum(1), rtol=1e-8)


@pytest.mark.parametrize(("model", "values"), [(goodenough(), GOODENOUGH), (dimer(), DIMER)])
def test_pcsmo_energies_repeat(model: insdl.SpinModel, values: dict[str, float]) -> None:
    """Isolated bilayers: independent of L, and with the period 0.5 r.l.u. of the doubled cell in h and k."""
    assert model.core.is_layered
    assert model.core.is_split
    q = points(60)
    energy = model.modes(q, output="amplitude", **values).energy
    for step in ((0, 0, 0.37), (0.5, 0, 0), (0, -0.5, 0), (0.5, 1.0, -2.2)):
        np.testing.assert_allclose(
            model.modes(q + step, output="amplitude", **values).energy, energy, rtol=0, atol=1e-7
        )
    for mirror in ((-1, 1, 1), (1, -1, 1)):
        np.testing.assert_allclose(
            model.modes(q * mirror, output="amplitude", **values).energy, energy, rtol=0, atol=1e-7
        )


def test_bilayer_intensity_is_analytic_in_l() -> None:
    """S^ab of every mode is A + B cos + C sin of 2 pi 0.2 L: the layers lie 0.2 c apart."""
    height = np.arange(7) * 0.63
    q = np.column_stack([np.full(7, 0.13), np.full(7, 0.41), height])
    trace = np.einsum("qmaa->qm", goodenough().modes(q, output="amplitude", **GOODENOUGH).sab).real
    waves = np.stack([np.ones(7), np.cos(0.4 * np.pi * height), np.sin(0.4 * np.pi * height)], axis=1)
    fit = waves @ np.linalg.lstsq(waves, trace, rcond=None)[0]
    np.testing.assert_allclose(fit, trace, rtol=0, atol=1e-9)


def test_dimer_without_dimerisation_is_goodenough_without_second_neighbours() -> None:
    common = {"Jperp": 0.9, "D": 0.07}
    q = points(60)
    first = dimer().modes(q, output="amplitude", JFS=-11.0, JFW=-11.0, JA1=1.5, JA2=1.5, **common)
    second = goodenough().modes(q, output="amplitude", JF1=-11.0, JA=1.5, JF2=0.0, JF3=0.0, **common)
    np.testing.assert_allclose(first.energy, second.energy, rtol=0, atol=1e-10)
    oracle.assert_same_modes(first, second, energy_tolerance=1e-10, weight_tolerance=1e-8)


def test_dimer_chains_alternate() -> None:
    """Every Mn has one strong and one weak bond in its chain."""
    ends = Counter((site, bond.parameter) for bond in dimer().bonds for site in (bond.i, bond.j))
    for site in range(16):
        assert ends[site, "JFS"] == ends[site, "JFW"] == 1
        assert ends[site, "JA1"] == ends[site, "JA2"] == 1


def luttinger_tisza(k: npt.NDArray[np.float64]) -> float:
    """The lowest energy, meV a cell of 11 x 11 x 20, that any spins of equal mean square length can have at wave vector k."""
    exchange = np.zeros((8, 8), dtype=complex)
    for bond in zener_polaron(structure="published").bonds:
        value = ZENER[bond.parameter or ""] * np.exp(2j * np.pi * np.dot(k, bond.offset[:2]))
        exchange[bond.i, bond.j] += value
        exchange[bond.j, bond.i] += value.conj()
    return float(0.5 * 8 * 3.5**2 * np.linalg.eigvalsh(exchange)[0])


def test_published_zener_polarons_feel_a_torque() -> None:
    """2 S^2 |JFU - JFD| = 54.7575 meV on every moment; turning them downhill gives straight collinear chains."""
    published = zener_polaron(structure="published")
    torque = np.linalg.norm(published.torque(**ZENER), axis=1)
    np.testing.assert_allclose(torque, 2 * 3.5**2 * (2.4 - 0.165), rtol=0, atol=1e-10)
    assert published.classical_energy(**ZENER) == pytest.approx(-67.62, abs=1e-9)
    chains = insdl.relax(published, **ZENER)
    assert np.abs(chains.torque(**ZENER)).max() < 1e-10
    assert chains.classical_energy(**ZENER) == pytest.approx(-286.65, abs=1e-9)
    up, left, down, right = (np.asarray(site.direction) for site in chains.sites[:4])
    np.testing.assert_allclose([left, -down, -right], [up] * 3, rtol=0, atol=1e-9)
    worst = np.array([[0.5, 0.25, 0.0]])
    lowest = np.linalg.eigvalsh(oracle.quadratic_form(chains.to_dict(), worst, **ZENER))[0, 0]
    assert lowest == pytest.approx(-0.0396563, abs=1e-6)
    with pytest.raises(insdl.UnstableModelError) as caught:
        chains.modes(worst, output="amplitude", **ZENER)
    assert caught.value.lowest_eigenvalue == pytest.approx(lowest, abs=1e-9)


def test_zener_polarons_ground_state_is_a_spiral() -> None:
    """The commensurate spiral reaches the Luttinger-Tisza energy of its k; the minimum lies next to it, 0.0007 meV lower."""
    model = zener_polaron()
    assert np.abs(model.torque(**ZENER)).max() < 1e-10
    assert model.classical_energy(**ZENER) / 2 == pytest.approx(luttinger_tisza(np.array([0.0, 0.5])), abs=1e-9)
    along_b = np.array([luttinger_tisza(np.array([0.0, k])) for k in np.linspace(0, 1, 2001)])
    everywhere = [luttinger_tisza(np.array([h, k])) for h in np.linspace(0, 1, 21) for k in np.linspace(0, 1, 41)]
    assert np.linspace(0, 1, 2001)[along_b.argmin()] in (pytest.approx(0.511, abs=1e-9), pytest.approx(0.489, abs=1e-9))
    assert along_b.min() == pytest.approx(-287.2058, abs=1e-4)
    assert min(everywhere) >= along_b.min() - 1e-6


def test_zener_polarons_are_stable_within_the_rounding_of_the_published_exchange() -> None:
    zone = np.stack(np.meshgrid(np.linspace(0, 0.5, 26), np.linspace(0, 0.25, 26), [0.0], indexing="ij"), axis=-1)
    q = zone.reshape(-1, 3)
    locked = 0.165 * np.cos(np.arctan(0.165 / 2.4))  # 0.16461: the pitch is exactly 90 degrees a chain
    assert locked == pytest.approx(0.165, abs=5e-4)
    assert zener_polaron().modes(q, output="amplitude", **{**ZENER, "JA": locked}).stable
    with pytest.raises(insdl.UnstableModelError) as caught:
        zener_polaron().modes(q, output="amplitude", **ZENER)
    assert -1e-4 < caught.value.lowest_eigenvalue < 0


def test_rb2mnf4_closed_form() -> None:
    """E = sqrt(A^2 - B^2), A = 4S[J1 - J2 (1 - cos x cos y)] + 2S |D|, B = 2S J1 (cos x + cos y), S = 5/2."""
    q, s = points(200), 2.5
    x, y = 2 * np.pi * q[:, 0], 2 * np.pi * q[:, 1]
    for j1, j2, d in ((0.657, 0.006, -0.00547), (0.8, -0.05, -0.1)):
        a = 4 * s * (j1 - j2 * (1 - np.cos(x) * np.cos(y))) - 2 * s * d
        b = 2 * s * j1 * (np.cos(x) + np.cos(y))
        energy = rb2mnf4().modes(q, output="amplitude", J1=j1, J2=j2, D=d).energy
        np.testing.assert_allclose(energy, np.sqrt(a**2 - b**2)[:, None].repeat(2, 1), rtol=0, atol=1e-9)


def test_rb2mnf4_gap() -> None:
    """0.600 meV at the zone centres of the magnetic cell; two-dimensional."""
    energy = rb2mnf4().modes([[0, 0, 0], [0.5, 0.5, 0.3]], output="amplitude", **RB2MNF4).energy
    np.testing.assert_allclose(energy, 0.600, rtol=0, atol=5e-4)
    assert rb2mnf4().core.is_layered
    assert rb2mnf4().n_chemical_cells == 2


def test_unknown_structure_is_refused() -> None:
    with pytest.raises(ValueError, match="structure must be 'ground_state' or 'published', got 'flat'"):
        zener_polaron(structure="flat")  # type: ignore[arg-type]
