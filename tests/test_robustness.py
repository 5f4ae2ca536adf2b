"""Where a solver breaks: at Goldstone points and near them, degenerate, nearly unstable, tiny, huge, far out in q."""

from __future__ import annotations

import warnings
from collections.abc import Callable
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

Real = npt.NDArray[np.float64]
Case = dict[str, Any]
NAMES = sorted(path.name.split("_")[0] for path in magnets.REFERENCE.glob("*.json"))
SLOPE = np.sqrt(0.75)
ROOT_OF_ROUNDING = 2e-7  # of the bandwidth: ten times sqrt(2.2e-16), what rounding makes of an energy sqrt(V T) at zero
SINGLE = 2e-5  # of the bandwidth: rounding 1.2e-7, amplified thirty times at most before double precision takes over
S, J = 1.5, 1.3


@pytest.fixture(params=["auto", "full"])
def form(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=["double", "single"])
def precision(request: pytest.FixtureRequest) -> Any:
    return request.param


def solve(case: Case, q: npt.ArrayLike, form: Any = "auto", precision: Any = "double", **more: Any) -> Any:
    """Modes with amplitudes; nothing is NaN and nothing negative where the model is called stable."""
    model = insdl.SpinModel.from_dict(case)
    modes = model.modes(np.asarray(q, float), output="amplitude", form=form, precision=precision, **more)
    assert_sound(modes)
    return modes


def assert_sound(modes: Any) -> None:
    """Stable: finite, not negative, descending energies and finite intensities. Not stable: the energies say so."""
    flags, shape = np.atleast_1d(modes.stable), modes.energy.shape
    lead = (len(flags), *shape[-2:])
    energy, intensity = modes.energy.reshape(lead), modes.intensity.reshape(lead)
    for k, stable in enumerate(flags):
        if not stable:
            assert np.isnan(energy[k]).any()
            continue
        assert np.isfinite(energy[k]).all()
        assert np.isfinite(intensity[k]).all()
        assert (energy[k] >= 0).all()
        assert (intensity[k] >= 0).all()
        assert (np.diff(energy[k], axis=-1) <= 0).all()


def trace(modes: Any) -> Real:
    """(nq, nmodes) sum of the diagonal of S^ab."""
    return np.asarray(np.einsum("...aa->...", modes.sab).real)


def along_a(h: npt.ArrayLike) -> Real:
    h = np.atleast_1d(np.asarray(h, float))
    return np.stack([h, 0 * h, 0 * h], axis=1)


def ferromagnetic_chain(sites: int = 1, *, spin: float = S, j: float = J) -> Case:
    """E = 4 S J sin^2(pi h) at h and at h + 1/sites, ..."""
    return magnet(spins=[spin], bonds=[(0, 0, (1, 0, 0), heisenberg(-j))], directions=[UP], cell=np.diag([sites, 1, 1]))


def antiferromagnetic_chain(sites: int = 2, *, spin: float = S, j: float = J) -> Case:
    """E = 2 S J |sin(2 pi h)|, in a cell of an even number of sites."""
    return magnet(
        spins=[spin],
        bonds=[(0, 0, (1, 0, 0), heisenberg(j))],
        directions=magnets.staggered,
        cell=np.diag([sites, 1, 1]),
    )


def ferromagnetic_energy(h: Real) -> Real:
    return 4 * S * J * np.sin(np.pi * h) ** 2


def antiferromagnetic_energy(h: Real) -> Real:
    return 2 * S * J * np.abs(np.sin(2 * np.pi * h))


def triangular_energy(h: Real) -> Real:
    """The lowest of the three branches of the 120 degree structure at q = (h, 0, 0): those of q, q + k and q - k."""
    k = np.array([0.0, 1 / 3, -1 / 3])
    x, y = 2 * np.pi * (h[:, None] + k), 2 * np.pi * k
    g = (np.cos(x) + np.cos(y) + np.cos(x + y)) / 3
    return np.asarray(3 * J * S * np.sqrt(np.maximum((1 - g) * (1 + 2 * g), 0)).min(axis=1))


# Goldstone point, branches near it, bandwidth
APPROACHES: dict[str, tuple[Case, float, Callable[[Real], Real], float]] = {
    "ferromagnet": (ferromagnetic_chain(), 0.0, ferromagnetic_energy, 4 * S * J),
    "ferromagnet, next zone": (ferromagnetic_chain(), 1.0, ferromagnetic_energy, 4 * S * J),
    "ferromagnet, two sites": (ferromagnetic_chain(2), 0.0, ferromagnetic_energy, 4 * S * J),
    "antiferromagnet, zone centre": (antiferromagnetic_chain(), 0.0, antiferromagnetic_energy, 2 * S * J),
    "antiferromagnet, magnetic point": (antiferromagnetic_chain(), 0.5, antiferromagnetic_energy, 2 * S * J),
    "antiferromagnet, four sites": (antiferromagnetic_chain(4), 0.5, antiferromagnetic_energy, 2 * S * J),
    "triangle": (magnets.triangular_120(spin=S, j=J), 0.0, triangular_energy, 3 * J * S * np.sqrt(9 / 8)),
}


@pytest.mark.parametrize("name", APPROACHES)
def test_energies_go_to_zero_at_goldstone_points(form: Any, precision: Any, name: str) -> None:
    """From 1e-2 to 1e-12 r.l.u. and at the point itself, across the limits between lanes and careful solver."""
    case, point, branch, bandwidth = APPROACHES[name]
    distance = np.append(np.logspace(-2, -12, 61), 0.0)
    q = along_a(point + distance)
    step = q[:, 0] - point  # as it is after rounding
    modes = solve(case, q, form, precision)
    lowest, exact = modes.energy[:, -1], branch(step)
    double = solve(case, q, form).energy
    tolerance = ROOT_OF_ROUNDING if precision == "double" else SINGLE
    np.testing.assert_allclose(lowest, exact, rtol=0, atol=tolerance * bandwidth)
    np.testing.assert_allclose(modes.energy, double, rtol=0, atol=tolerance * bandwidth)
    # Smoothly: no step up by more than the tolerance on the way down, and zero at the end.
    assert np.diff(lowest).max() < tolerance * bandwidth
    assert lowest[-1] <= 2e-8 * bandwidth
    if precision == "double":  # E^2 is known to 1e-14 of the bandwidth's square, with room for ten
        far = exact > 1e-5 * bandwidth
        np.testing.assert_allclose(lowest[far] ** 2, exact[far] ** 2, rtol=0, atol=1e-13 * bandwidth**2)


def test_weights_near_goldstone_points(form: Any, precision: Any) -> None:
    """S for a ferromagnet at any distance, also zero; S tan or S cot for an antiferromagnet down to 1e-5 r.l.u.

    Nearer, sqrt(V T) loses digits with V or T itself (half of them at 1e-8), and at zero the weight is that of a form
    regularised by 1e-10: finite in any case.
    """
    digits = {"double": 1e-5, "single": 1e-3}[precision]
    distance = np.append(np.logspace(-2, -12, 61), 0.0)
    weight = trace(solve(ferromagnetic_chain(), along_a(distance), form, precision))
    np.testing.assert_allclose(weight, S, rtol=1e-6, atol=0)
    for point, law in ((0.0, np.tan), (0.5, lambda x: 1 / np.tan(x))):
        weight = trace(solve(antiferromagnetic_chain(), along_a(point + distance), form, precision)).sum(1)
        far = distance >= 1e-5
        np.testing.assert_allclose(weight[far], S * law(np.pi * distance[far]), rtol=digits, atol=0)
        assert weight[~far].min() >= 0
        assert weight[~far].max() < 1e9
        near = (distance >= 3e-7) & ~far
        np.testing.assert_allclose(weight[near], S * law(np.pi * distance[near]), rtol=1e-2, atol=0)


def test_ferromagnets_of_many_shells_are_stable(form: Any, precision: Any) -> None:
    """At the zone centre the diagonal is a sum of exchanges that cancel: what rounding leaves is no instability."""
    rng = np.random.default_rng(0)
    steps = ((1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1))
    q = np.array([(0, 0, 0), (1, 0, 0), (2, -3, 5), (1e-9, 0, 0), (1e-8, 0, 0)])
    refused = []
    for _ in range(20):
        exchange = rng.uniform(0.1, 1.0, len(steps))
        bonds = [(0, 0, step, heisenberg(-j)) for step, j in zip(steps, exchange, strict=True)]
        case = magnet(spins=[S], bonds=bonds, directions=[magnets.random_rotation(rng)[0]])
        try:
            modes = solve(case, q, form, precision)
        except insdl.UnstableModelError as error:
            refused.append(error.lowest_eigenvalue)
            continue
        np.testing.assert_allclose(modes.energy, 0.0, rtol=0, atol=1e-13)
        np.testing.assert_allclose(trace(modes), S, rtol=1e-6, atol=0)
    assert not refused, "called unstable, with these lowest eigenvalues"


def test_flat_band_of_zero_modes(form: Any, precision: Any) -> None:
    """Kagome, q = 0 order: a zero mode at every q beside E = sqrt(2) J S (sum of three sin^2)^(1/2), twice."""
    triangle = ((1.0, 0.0, 0.0), (-0.5, SLOPE, 0.0), (-0.5, -SLOPE, 0.0))
    case = magnets.kagome(spin=S, exchange=heisenberg(J), directions=triangle)
    q = np.vstack([np.random.default_rng(2).uniform(-1, 1, (40, 3)), [(0, 0, 0), (1, 0, 0), (0.5, 0, 0), (1e-6, 0, 0)]])
    modes = solve(case, q, form, precision)
    waves = np.sin(np.pi * np.stack([q[:, 0], q[:, 1], q[:, 0] + q[:, 1]])) ** 2
    exact = np.sqrt(2 * waves.sum(0)) * J * S
    np.testing.assert_allclose(modes.energy[:, 0], exact, rtol=0, atol=ROOT_OF_ROUNDING * J * S)
    np.testing.assert_allclose(modes.energy[:, 1], exact, rtol=0, atol=ROOT_OF_ROUNDING * J * S)
    assert modes.energy[:, 2].max() < ROOT_OF_ROUNDING * J * S
    assert np.abs(modes.amplitude).max() < 1e4  # 1e-10 of the form's scale to the power -1/4, times sqrt(S)


def test_uncoupled_sites(form: Any, precision: Any) -> None:
    """Eight equal spins in a field: one energy eight times, and each spin's S^ab in the sum."""
    places = np.random.default_rng(3).uniform(0, 1, (8, 3))
    case = magnet(spins=[S] * 8, positions=places, bonds=[], directions=[UP] * 8, field=(0.0, 0.0, -0.7))
    modes = solve(case, np.random.default_rng(4).uniform(-1, 1, (20, 3)), form, precision)
    digits = {"double": 1e-14, "single": 1e-6}[precision]
    np.testing.assert_allclose(modes.energy, 0.7, rtol=digits, atol=0)
    circular = 0.5 * 8 * S * np.array([[1, 1j, 0], [-1j, 1, 0], [0, 0, 0]])
    np.testing.assert_allclose(modes.sab.sum(1), np.broadcast_to(circular, (20, 3, 3)), rtol=0, atol=50 * digits)


@pytest.mark.parametrize("copies", [2, 4, 8])
@pytest.mark.parametrize("order", ["ferromagnet", "antiferromagnet"])
def test_decoupled_copies(form: Any, precision: Any, order: str, copies: int) -> None:
    """The same chain several times side by side: every energy as often, and S^ab of one chain times their number."""
    j = J if order == "antiferromagnet" else -J
    sites = 2 if order == "antiferromagnet" else 1
    cell, zigzag = np.diag([sites, 1, 1]), order == "antiferromagnet"
    direction = magnets.staggered if zigzag else (lambda *_: UP)
    places = np.random.default_rng(5).uniform(0, 1, (copies, 3)) * (0, 1, 1)
    several = magnet(
        spins=[S] * copies,
        positions=places,
        bonds=[(i, i, (1, 0, 0), heisenberg(j)) for i in range(copies)],
        directions=direction,
        anisotropy=np.diag([0.05, 0.0, -0.1]),
        cell=cell,
    )
    one = magnet(
        spins=[S],
        bonds=[(0, 0, (1, 0, 0), heisenberg(j))],
        directions=direction,
        anisotropy=np.diag([0.05, 0.0, -0.1]),
        cell=cell,
    )
    q = np.random.default_rng(6).uniform(-1, 1, (20, 3))
    q[-3:] = (0, 0, 0), (0.5, 0, 0), (0.25, 0.5, 0.5)
    actual, wanted = solve(several, q, form, precision), solve(one, q, form)
    bandwidth = wanted.energy.max()
    tolerance = {"double": 1e-12, "single": SINGLE}[precision]
    repeated = np.repeat(wanted.energy, copies, axis=1)
    np.testing.assert_allclose(actual.energy, repeated, rtol=0, atol=tolerance * bandwidth)
    tolerance = {"double": 1e-11, "single": 1e-3}[precision] * copies * np.abs(wanted.sab).max()
    np.testing.assert_allclose(actual.sab.sum(1), copies * wanted.sab.sum(1), rtol=0, atol=tolerance)


def with_easy_axis(case: Case) -> Case:
    """D (S^z)^2 on every site, D a parameter."""
    terms = [[site, np.diag([0.0, 0.0, 1.0]).tolist(), "D"] for site in range(len(case["S"]))]
    return {**case, "parameters": ["D"], "aniso": None, "single_ion": terms}


@pytest.mark.parametrize("order", ["ferromagnet", "antiferromagnet"])
def test_nearly_unstable(form: Any, precision: Any, order: str) -> None:
    """Anisotropies of 1e-3 to 1e-13 meV of either sign beside an exchange of 1 meV; 1e-9 among them.

    The flag is the sign of the oracle's lowest eigenvalue wherever that is beyond the kernel's tolerance, 1e-10 of the
    form's largest element; the gap is 2 S |D| or 2 S sqrt(D (D + 2 J)), whose square rounding leaves to 1e-14.
    """
    case = with_easy_axis(
        ferromagnetic_chain(spin=1, j=1) if order == "ferromagnet" else antiferromagnetic_chain(spin=1, j=1)
    )
    model = insdl.SpinModel.from_dict(case)
    size = np.logspace(-3, -13, 21)
    q = along_a([0.0, 0.5, 1e-4, 0.01, 0.3])
    sets = np.concatenate([-size, size])[:, None]
    modes = model.modes(q, parameters=sets, form=form, precision=precision, output="amplitude")
    assert_sound(modes)
    scale = 4.0  # meV, above the largest element of the form
    for k, d in enumerate(sets[:, 0]):
        lowest = np.linalg.eigvalsh(oracle.quadratic_form(case, q, D=d)).min()
        assert lowest * d < 0  # the oracle's own rounding is far below
        if abs(lowest) > 1e-10 * scale or lowest > 0:
            assert modes.stable[k] == (lowest > 0)
        if modes.stable[k] and d > 0:
            assert np.abs(modes.energy[k, 0, -1]) < 1e-4 * scale  # taken for a Goldstone mode: sqrt(1e-10) of it
    gap = 2 * size if order == "ferromagnet" else 2 * np.sqrt((1 + size) ** 2 - 1)
    found = modes.energy[: len(size), 0, -1]
    if precision == "single":
        np.testing.assert_allclose(found, gap, rtol=0, atol=SINGLE * scale)
    elif order == "ferromagnet":
        np.testing.assert_allclose(found, gap, rtol=0, atol=1e-14 * scale)
    else:
        np.testing.assert_allclose(found**2, gap**2, rtol=0, atol=1e-14 * scale**2)
    for d, stable in ((-1e-9, True), (1e-9, False)):
        if stable:
            model.modes(q, form=form, precision=precision, D=d)
        else:
            with pytest.raises(insdl.UnstableModelError):
                model.modes(q, form=form, precision=precision, D=d)


SIZES = (1, 2, 3, 5, 7, 8, 9, 16, 17, 31, 33, 64, 100, 200)


@pytest.mark.parametrize(
    ("sites", "order"),
    [(n, "ferromagnet") for n in SIZES] + [(n, "antiferromagnet") for n in SIZES if n % 2 == 0],
)
def test_every_size_of_cell(sites: int, order: str, precision: Any) -> None:
    """A chain in cells of 1 to 200 sites: the exact dispersion folded, weight on one branch; the full form to 33."""
    build, branch = {
        "ferromagnet": (ferromagnetic_chain, ferromagnetic_energy),
        "antiferromagnet": (antiferromagnetic_chain, antiferromagnetic_energy),
    }[order]
    h = np.array([0.1234, 0.0, 0.5, 0.5 / sites])[: 4 if sites <= 33 else 1]
    q = along_a(h) + np.array([0.0, 0.2, 0.3])
    exact = -np.sort(-branch(h[:, None] + np.arange(sites) / sites), axis=1)
    bandwidth = exact.max()
    for form in ("auto", "full") if sites <= 33 else ("auto",):
        modes = solve(build(sites), q, form, precision)
        assert modes.energy.shape == (len(h), sites)
        # E^2 to 1e-14 per site and operation: energies near zero to its root
        tolerance = {"double": 1e-8, "single": SINGLE}[precision] * bandwidth
        np.testing.assert_allclose(modes.energy, exact, rtol=0, atol=tolerance)
        high = exact > 0.1 * bandwidth
        tolerance = {"double": 1e-12, "single": SINGLE}[precision] * bandwidth
        np.testing.assert_allclose(modes.energy[high], exact[high], rtol=0, atol=tolerance)
        weight = S if order == "ferromagnet" else S * np.tan(np.pi * h[0])
        digits = {"double": 1e-9, "single": 1e-3}[precision]
        assert trace(modes)[0].sum() == pytest.approx(weight, rel=digits)
        assert (trace(modes)[0] * modes.energy[0]).sum() == pytest.approx(weight * branch(h[0]), rel=digits)


@pytest.mark.parametrize("kind", ["real", "complex", "full"])
@pytest.mark.parametrize("sites", [16, 33, 64])
def test_large_random_magnets_agree_with_oracle(sites: int, kind: str) -> None:
    """Many bonds between sites anywhere; with an inversion centre the matrices are real."""
    rng = np.random.default_rng(sites)
    drawn = (sites + 1) // 2 if kind == "real" else sites
    case = magnets.random_magnet(rng, sites=drawn, bonds=4 * drawn, real=kind != "full")
    if kind == "real":
        case = magnets.centred(case, at_centre=sites % 2 == 1)
    model, q = insdl.SpinModel.from_dict(case), rng.uniform(-1, 1, (3, 3))
    assert (model.core.is_split, model.core.is_real) == (kind != "full", kind == "real")
    modes, wanted = solve(case, q), oracle.modes(case, q)
    np.testing.assert_allclose(modes.energy, wanted.energy, rtol=0, atol=1e-12 * wanted.energy.max())
    scale = np.abs(wanted.sab.sum(1)).max()
    np.testing.assert_allclose(modes.sab.sum(1), wanted.sab.sum(1), rtol=0, atol=1e-10 * scale)


@pytest.mark.parametrize("spin", [0.5, 1.0, 3.5, 100.0])
def test_spin_length(form: Any, precision: Any, spin: float) -> None:
    """Energies and weights of the chains are proportional to S."""
    h = np.random.default_rng(7).uniform(-1, 1, 20)
    digits = {"double": 1e-12, "single": SINGLE}[precision]
    ferro = solve(ferromagnetic_chain(spin=spin), along_a(h), form, precision)
    np.testing.assert_allclose(
        ferro.energy[:, 0], spin / S * ferromagnetic_energy(h), rtol=0, atol=digits * 4 * spin * J
    )
    np.testing.assert_allclose(trace(ferro)[:, 0], spin, rtol=1e-6, atol=0)
    anti = solve(antiferromagnetic_chain(spin=spin), along_a(h), form, precision)
    wanted = spin / S * antiferromagnetic_energy(h)
    np.testing.assert_allclose(anti.energy, np.stack([wanted] * 2, 1), rtol=0, atol=digits * 4 * spin * J)
    np.testing.assert_allclose(trace(anti).sum(1), spin * np.abs(np.tan(np.pi * h)), rtol=1e3 * digits, atol=0)


def test_very_unequal_spins(form: Any) -> None:
    """The ferrimagnetic chain of spins 1/2 and 100: E = J (sqrt((S1 + S2)^2 - 4 S1 S2 cos^2) +- (S1 - S2))."""
    s1, s2 = 100.0, 0.5
    case = magnet(
        lattice=np.diag([4.0, 8.0, 8.0]),
        positions=[(0.0, 0.0, 0.0), (0.5, 0.0, 0.0)],
        spins=[s1, s2],
        bonds=[(0, 1, (0, 0, 0), heisenberg(J)), (1, 0, (1, 0, 0), heisenberg(J))],
        directions=[UP, (0.0, 0.0, -1.0)],
    )
    h = np.random.default_rng(8).uniform(-1, 1, 20)
    root = np.sqrt((s1 + s2) ** 2 - 4 * s1 * s2 * np.cos(np.pi * h) ** 2)
    wanted = J * np.stack([root + s1 - s2, root - s1 + s2], axis=1)
    np.testing.assert_allclose(solve(case, along_a(h), form).energy, wanted, rtol=0, atol=1e-12 * wanted.max())


def scaled(case: Case, factor: float) -> Case:
    """The magnet with every energy multiplied by `factor`."""
    out = {**case, "bonds": [[i, j, d, (factor * np.array(m)).tolist()] for i, j, d, m in case["bonds"]]}
    for key in ("aniso", "zeeman_b"):
        if case[key] is not None:
            out[key] = (factor * np.array(case[key])).tolist()
    return out


GENERAL = np.random.default_rng(9).uniform(-1, 1, (30, 3))
SPECIAL = np.array([(0.5, 0, 0), (0, 0.5, 0), (0.5, 0.5, 0.5), (0.25, 0.25, 0), (0, 0, 0.5), (0.5, 0.25, 0)])


@pytest.mark.parametrize("power", [-10, -5, 5, 10])
@pytest.mark.parametrize("name", NAMES)
def test_scale_of_energy(form: Any, precision: Any, name: str, power: int) -> None:
    """All terms times 4^-5 = 1e-3, 4^5 = 1e3 and their squares: all energies too, intensities as before.

    A power of four scales without rounding, in square roots too. At symmetric q, with their degenerate modes, as well.
    """
    case, factor = magnets.reference(name), 4.0**power
    q = np.vstack([GENERAL, SPECIAL])
    with warnings.catch_warnings():  # torques, rounding of zero, grow as well
        warnings.simplefilter("ignore", insdl.NotEquilibriumWarning)
        actual, wanted = solve(scaled(case, factor), q, form, precision), solve(case, q, form, precision)
    bandwidth = wanted.energy.max()
    soft = wanted.energy < 1e-3 * bandwidth  # rounding, not scale, is what such an energy shows
    error = np.abs(actual.energy / factor - wanted.energy)
    # Rounding may fall otherwise where thresholds decide: a few times 1e-16, or single precision's bound
    assert error[~soft].max() < {"double": 1e-12, "single": SINGLE}[precision] * bandwidth
    assert error[soft].max(initial=0.0) < ROOT_OF_ROUNDING * bandwidth
    hard = ~soft.any(axis=1)
    digits = {"double": 1e-10, "single": 1e-3}[precision]
    before, after = wanted.intensity.sum(1)[hard], actual.intensity.sum(1)[hard]
    np.testing.assert_allclose(after, before, rtol=digits, atol=digits)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "A14"])
def test_far_out_in_q(form: Any, name: str) -> None:
    """q up to 1e3 r.l.u.: the energies of the first zone, the oracle's S^ab, to the rounding of q times 2 pi, 1e-12."""
    rng = np.random.default_rng(10)
    case = magnets.reference(name)
    magnetic = np.array(case["lattice_magcell"]) @ np.linalg.inv(np.array(case["lattice_for_q"]))
    # Reciprocal vectors of the chemical cell are reciprocal vectors of the magnetic one too.
    assert np.allclose(magnetic, np.round(magnetic), rtol=0, atol=1e-9)
    q, whole = rng.uniform(-1, 1, (30, 3)), rng.integers(-1000, 1001, (30, 3))
    near, far = solve(case, q, form), solve(case, q + whole, form)
    error = np.abs(far.energy**2 - near.energy**2) / near.energy.max() ** 2  # E^2 has its digits where E is small too
    assert error.max() < 1e-10
    wanted = oracle.modes(case, q + whole)
    scale = max(1.0, float(np.abs(wanted.sab).max()))
    np.testing.assert_allclose(far.sab.sum(1), wanted.sab.sum(1), rtol=0, atol=1e-7 * scale)


@pytest.mark.parametrize("sites", [1, 3, 8])
def test_no_terms_at_all(form: Any, precision: Any, sites: int) -> None:
    """Free spins: energies exactly zero, S for the weight of each."""
    rng = np.random.default_rng(11)
    case = magnet(
        spins=[S] * sites, positions=rng.uniform(0, 1, (sites, 3)), bonds=[], directions=rng.normal(size=(sites, 3))
    )
    modes = solve(case, GENERAL, form, precision)
    np.testing.assert_array_equal(modes.energy, 0.0)
    np.testing.assert_allclose(trace(modes).sum(1), S * sites, rtol=1e-6, atol=0)


def test_one_free_site_beside_coupled_ones(form: Any, precision: Any) -> None:
    """A zero mode that touches nothing, at every q: the chain's energies and weight beside it."""
    case = magnet(
        spins=[S, S],
        positions=[(0.0, 0.0, 0.0), (0.4, 0.3, 0.2)],
        bonds=[(0, 0, (1, 0, 0), heisenberg(-J))],
        directions=[UP, (1.0, 0.0, 0.0)],
    )
    h = np.linspace(0.05, 0.95, 10)
    modes = solve(case, along_a(h), form, precision)
    np.testing.assert_allclose(modes.energy[:, 0], ferromagnetic_energy(h), rtol=0, atol=1e-9 * 4 * S * J)
    assert modes.energy[:, 1].max() < ROOT_OF_ROUNDING * 4 * S * J
    np.testing.assert_allclose(trace(modes)[:, 0], S, rtol=1e-6, atol=0)


def test_one_q_and_no_q(form: Any, precision: Any) -> None:
    """Lists of any length, none included, alone and with several sets of parameters, none included."""
    case = with_easy_axis(antiferromagnetic_chain())
    model = insdl.SpinModel.from_dict(case)
    many = model.modes(GENERAL, form=form, precision=precision, D=-0.1)
    for count in (0, 1, 2, 3):
        few = model.modes(GENERAL[:count], form=form, precision=precision, D=-0.1, output="amplitude", threads=3)
        assert few.stable
        assert few.amplitude.shape == (count, 2, 3)
        np.testing.assert_array_equal(few.energy, many.energy[:count])
        np.testing.assert_array_equal(few.intensity, many.intensity[:count])
        for sets in (0, 1, 4):
            several = model.modes(
                GENERAL[:count], form=form, precision=precision, parameters=np.full((sets, 1), -0.1), threads=3
            )
            assert several.energy.shape == several.intensity.shape == (sets, count, 2)
            assert np.asarray(several.stable).shape == (sets,)
            np.testing.assert_array_equal(several.energy, np.broadcast_to(few.energy, (sets, count, 2)))


@settings(derandomize=True, deadline=None, database=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), sites=st.integers(1, 5), bonds=st.integers(0, 8), size=st.floats(-3, 3))
def test_no_nan_without_a_flag(seed: int, sites: int, bonds: int, size: float) -> None:
    """Whatever is drawn, stable or not: the flag agrees with the oracle, and a stable set is sound at every q.

    Structures that are no minimum of anything: any directions, any exchange, then the same with a growing field along
    every spin, which makes all of them stable in the end. Energies are about 10^size meV.
    """
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(sites, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    ends = [(*rng.integers(0, sites, 2).tolist(), [1, *rng.integers(-1, 2, 2).tolist()]) for _ in range(bonds)]
    case = magnet(
        spins=rng.choice([0.5, 1.0, 2.5], sites).tolist(),
        positions=rng.uniform(0, 1, (sites, 3)),
        bonds=[(*end, 10.0**size * rng.normal(size=(3, 3))) for end in ends],
        directions=directions,
    )
    case["parameters"] = ["b"]
    case["zeeman"] = [[site, (-n).tolist(), "b"] for site, n in enumerate(directions)]
    model = insdl.SpinModel.from_dict(case)
    q = np.vstack([rng.uniform(-1, 1, (12, 3)), [(0, 0, 0), (0.5, 0, 0)]])
    fields = 10.0**size * np.array([0.0, 0.3, 1.0, 3.0, 10.0, 100.0])
    lowest = np.array([np.linalg.eigvalsh(oracle.quadratic_form(case, q, b=b)).min() for b in fields])
    scale = np.array([np.abs(oracle.quadratic_form(case, q, b=b)).max() for b in fields])
    for form in ("auto", "full"):
        for precision, blur in (("double", 2e-10), ("single", 1e-6)):
            modes = model.modes(q, parameters=fields[:, None], form=form, precision=precision, output="amplitude")
            assert_sound(modes)
            clear = np.abs(lowest) > blur * scale
            np.testing.assert_array_equal(np.asarray(modes.stable)[clear], lowest[clear] > 0)
            for k in np.flatnonzero(lowest > 1e-3 * scale):
                wanted = oracle.modes(case, q, b=fields[k]).energy
                tolerance = {"double": 1e-10, "single": SINGLE}[precision] * wanted.max()
                np.testing.assert_allclose(modes.energy[k], wanted, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_without_bounds(form: Any, precision: Any, name: str) -> None:
    """Terms times zero, a negative number, and numbers that overflow, in every combination: sound or flagged."""
    case = magnets.reference(name)
    terms: Case = {"parameters": ["J", "D"], "aniso": None, "zeeman_b": None}
    terms["bonds"] = [[*bond, "J"] for bond in case["bonds"]]
    terms["single_ion"] = [[site, matrix, "D"] for site, matrix in enumerate(case["aniso"] or ())]
    terms["zeeman"] = [[site, vector, "D"] for site, vector in enumerate(case["zeeman_b"] or ())]
    values = (1.0, 0.0, -1.0, 1e-30, 1e-200, 5e-324, 1e18, 1e38, 1e100, 1e154, 1.7e308)
    sets = np.array([(a, b) for a in values for b in values])
    model = insdl.SpinModel.from_dict({**case, **terms})
    modes = model.modes(
        np.vstack([GENERAL[:5], SPECIAL, np.zeros((1, 3))]), parameters=sets, form=form, precision=precision
    )
    assert_sound(modes)
    assert modes.stable[0]
