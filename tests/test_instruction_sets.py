"""Every instruction set of this machine: the same physics in both precisions, the same bits however the work is cut."""

from __future__ import annotations

import functools
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import insdl
import magnets
import oracle
from insdl.form_factor import form_factor
from insdl.instruction_set import choose_instruction_set, instruction_set, instruction_sets
from insdl.instrument import EnergyBlock, ImageFrame, ImageSettings, ImageSimulator
from insdl.materials import goodenough
from insdl.materials.pcsmo import LITERATURE

Real = npt.NDArray[np.float64]
ROOT = Path(__file__).parents[1]
NAMES = sorted(path.name.split("_")[0] for path in magnets.REFERENCE.glob("*.json"))
KNOWN = ("baseline", "avx2", "avx512")
WORDS = {"baseline": "xmm", "avx2": "ymm", "avx512": "zmm"}  # the widest registers that each may and does use
GAPLESS_BAND = "A14"  # kagome: a flat band of zero modes, for which the oracle needs a shift of 1e-9 meV

# Energies are compared in units of the bandwidth, group intensities in units of the strongest group's at that q (or of
# 1). Double precision: rounding, amplified where energies are small. Single precision: 2^-23 = 1.2e-7, amplified by the
# ratio of the bandwidth to the mode's energy, which is at most thirty before the kernel turns to double precision.
# Measured on these magnets: energies 4e-6, and 1.5e-6 above a tenth of the bandwidth; intensities 3e-4.
BOUNDS = {
    "double": {"energy": 1e-9, "high": 1e-9, "weight": 1e-7, "gap": 1e-5},
    "single": {"energy": 2e-5, "high": 5e-6, "weight": 1e-3, "gap": 3e-3},
}
# The oracle's shift moves the zero modes of A14 to sqrt(1e-9 meV x bandwidth), 3e-5 of it, and the others by 6e-9.
SHIFTED = {"energy": 1e-4, "high": 5e-8, "weight": 1e-6}
FLOOR = 1e-3  # of the bandwidth: below, weights diverge


@pytest.fixture(params=instruction_sets())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """One instruction set after the other; the one that was in use before comes back."""
    before = instruction_set()
    choose_instruction_set(str(request.param))
    yield str(request.param)
    choose_instruction_set(before)


def points(n: int, seed: int = 12) -> Real:
    """Momentum transfers in general position."""
    return np.random.default_rng(seed).uniform(-2, 2, (n, 3))


@functools.cache
def magnet_of(name: str) -> tuple[dict[str, Any], insdl.SpinModel]:
    case = magnets.reference(name)
    return case, insdl.SpinModel.from_dict(case)


@functools.cache
def expected(name: str) -> tuple[Real, Real]:
    """Energies and intensities of the oracle at 25 points."""
    case, _ = magnet_of(name)
    q = points(25)
    modes = oracle.modes(case, q, shift=1e-9 if name == GAPLESS_BAND else 0.0)
    return modes.energy, oracle.intensity(case, q, modes.sab)


def assert_close(energy: Real, intensity: Real, wanted: tuple[Real, Real], bounds: dict[str, float]) -> None:
    """Energies mode by mode; intensities summed over modes closer than the gap, where they are no choice of basis."""
    bandwidth = wanted[0].max()
    error = np.abs(energy - wanted[0]) / bandwidth
    assert error.max() < bounds["energy"]
    assert error[wanted[0] > 0.1 * bandwidth].max() < bounds["high"]
    for k, row in enumerate(wanted[0]):
        groups = [g for g in oracle.groups(row, bounds["gap"] * bandwidth) if row[g].min() > FLOOR * bandwidth]
        strongest = max([1.0, *(float(wanted[1][k, g].sum()) for g in groups)])
        for g in groups:
            assert abs(intensity[k, g].sum() - wanted[1][k, g].sum()) < bounds["weight"] * strongest


def test_the_baseline_is_everywhere_and_the_widest_is_chosen() -> None:
    sets = instruction_sets()
    assert sets[0] == "baseline"
    assert list(sets) == sorted(sets, key=KNOWN.index)
    environment = {key: value for key, value in os.environ.items() if key != "INSDL_ISA"}
    assert imported(environment).stdout.strip() == sets[-1]


def imported(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that says which instruction set it uses."""
    script = "import insdl, insdl.instruction_set as s; print(s.instruction_set())"
    command = [sys.executable, "-c", script]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("name", [*instruction_sets(), ""])
def test_the_environment_chooses(name: str) -> None:
    """INSDL_ISA at import; empty is as good as unset."""
    done = imported({**os.environ, "INSDL_ISA": name})
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (name or instruction_sets()[-1])


def test_an_unknown_name_is_refused() -> None:
    """By the environment with an ImportError, by the function with a ValueError; both name the choices."""
    done = imported({**os.environ, "INSDL_ISA": "sse9"})
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError")
    before = instruction_set()
    with pytest.raises(ValueError, match="sse9") as caught:
        choose_instruction_set("sse9")
    assert instruction_set() == before
    for message in (last, str(caught.value)):
        assert all(name in message for name in ("sse9", *instruction_sets()))


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("form", ["auto", "full"])
@pytest.mark.parametrize("name", NAMES)
def test_reference_magnets_agree_with_oracle(isa: str, name: str, form: Any, precision: Any) -> None:
    _, model = magnet_of(name)
    modes = model.modes(points(25), form=form, precision=precision)
    assert modes.stable
    bounds = BOUNDS[precision]
    if name == GAPLESS_BAND:
        assert modes.energy[:, -1].max() < 1e-6 * modes.energy.max()
        bounds = {key: max(bound, SHIFTED.get(key, 0.0)) for key, bound in bounds.items()}
    assert_close(modes.energy, modes.intensity, expected(name), bounds)


@pytest.mark.parametrize("name", NAMES)
def test_full_form_agrees_with_split_form(isa: str, name: str) -> None:
    """Two algorithms, one answer: 1e-9 of the bandwidth, group by group 1e-7 of the strongest intensity."""
    _, model = magnet_of(name)
    split, full = (model.modes(points(25), form=form) for form in ("auto", "full"))
    bounds = BOUNDS["double"]
    if name == GAPLESS_BAND:  # both leave the zero modes' digits to the square root of rounding, 1.5e-8
        bounds = {**bounds, "energy": 1e-7, "weight": 1e-6}
    assert_close(full.energy, full.intensity, (split.energy, split.intensity), bounds)


def random_case(sites: int, kind: str) -> dict[str, Any]:
    """A random gapped magnet: real matrices (with an inversion centre), complex ones, or the full form only."""
    rng = np.random.default_rng(100 * sites + len(kind))
    drawn = (sites + 1) // 2 if kind == "real" else sites
    case = magnets.random_magnet(rng, sites=drawn, bonds=3 * drawn, real=kind != "full")
    return magnets.centred(case, at_centre=sites % 2 == 1) if kind == "real" else case


@pytest.mark.parametrize("kind", ["real", "complex", "full"])
@pytest.mark.parametrize("sites", [1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17])
def test_every_size_of_matrix(isa: str, sites: int, kind: str) -> None:
    """Sizes with unrolled solvers of their own, and those between; 11 points fill no vector."""
    case = random_case(sites, kind)
    model, q = insdl.SpinModel.from_dict(case), points(11)
    assert model.core.is_split == (kind != "full")
    assert model.core.is_real == (kind == "real" or (kind == "complex" and sites == 1))
    modes = oracle.modes(case, q)
    wanted = modes.energy, oracle.intensity(case, q, modes.sab)
    for precision, bounds in BOUNDS.items():
        actual = model.modes(q, precision=precision, output="amplitude")
        assert_close(actual.energy, actual.intensity, wanted, bounds)
        scale = max(1.0, np.abs(modes.sab).max())
        np.testing.assert_allclose(actual.sab.sum(1), modes.sab.sum(1), rtol=0, atol=bounds["weight"] * scale)
        plain = model.modes(q, precision=precision)
        np.testing.assert_array_equal(plain.energy, actual.energy)
        np.testing.assert_allclose(plain.intensity, actual.intensity, rtol=0, atol=1e-3 * bounds["weight"] * scale)
        # Single precision is no double precision under another name: these magnets have a gap, no q needs more digits.
        rounded = np.array_equal(actual.energy, actual.energy.astype(np.float32).astype(np.float64))
        assert rounded == (precision == "single")


def test_single_precision_of_sixteen_sublattices(isa: str) -> None:
    """Goodenough order with literature values: the bounds of the reference magnets, for energies and sums over modes.

    Modes cross everywhere there, and at a crossing the share of each mode is open, in single precision within 1e-4 of
    the bandwidth: sums over modes of S and of E S are what is compared.
    """
    model, values = goodenough(), dict(LITERATURE["goodenough"])
    q = np.vstack([points(500), points(500) * (1, 1, 0), points(100) * (1, 0, 0)])
    double, single = (model.modes(q, precision=precision, **values) for precision in ("double", "single"))
    bandwidth, bounds = double.energy.max(), BOUNDS["single"]
    error = np.abs(single.energy - double.energy) / bandwidth
    assert error.max() < bounds["energy"]
    assert error[double.energy > 0.1 * bandwidth].max() < bounds["high"]
    for power in (0, 1):
        wanted, actual = ((modes.energy**power * modes.intensity).sum(1) for modes in (double, single))
        np.testing.assert_allclose(actual, wanted, rtol=bounds["weight"], atol=bounds["weight"])


@pytest.mark.parametrize("kind", ["real", "complex", "full"])
@pytest.mark.parametrize("sites", [1, 2, 4, 5])
def test_form_factors_of_different_ions(isa: str, sites: int, kind: str) -> None:
    """At one Q, <j0> of every site does what a moment of that length does; images under inversion differ too."""
    ions = ["Mn2+", "Cu2+", "Ni2+", "Fe3+", "Cr3+"][:sites]
    case, q = random_case(sites, kind), points(6)
    length = 2 * np.pi * np.linalg.norm(oracle.q_over_two_pi(case, q), axis=1)
    model = insdl.SpinModel.from_dict({**case, "ions": ions})
    for precision, bounds in BOUNDS.items():
        actual = model.modes(q, form_factor="ion", precision=precision, output="amplitude")
        for k in range(len(q)):
            moments = [(float(form_factor(ion, length[k : k + 1])[0]) * np.eye(3)).tolist() for ion in ions]
            other = insdl.SpinModel.from_dict({**case, "g_for_intensity": moments})
            wanted = other.modes(q[k : k + 1], output="amplitude")
            scale = max(1.0, np.abs(wanted.sab).max())
            difference = actual.sab[k].sum(0) - wanted.sab[0].sum(0)
            assert np.abs(difference).max() < bounds["weight"] * scale
            assert actual.intensity[k].sum() == pytest.approx(wanted.intensity.sum(), abs=bounds["weight"] * scale)


def with_parameters(name: str) -> insdl.SpinModel:
    """A reference magnet whose exchanges are multiplied by J, anisotropies by D and fields by b."""
    case = magnets.reference(name)
    terms: dict[str, Any] = {"parameters": ["J", "D", "b"], "aniso": None, "zeeman_b": None}
    terms["bonds"] = [[*bond, "J"] for bond in case["bonds"]]
    terms["single_ion"] = [[site, matrix, "D"] for site, matrix in enumerate(case["aniso"] or ())]
    terms["zeeman"] = [[site, vector, "b"] for site, vector in enumerate(case["zeeman_b"] or ())]
    return insdl.SpinModel.from_dict({**case, **terms})


# Seven sets: plain, scaled, with other ratios, and one unstable.
SETS = np.array([(1, 1, 1), (0.7, 0.7, 0.7), (1, 1.2, 0.9), (-1, 1, 1), (2.5, 2, 2), (1.01, 1, 1), (1, 1, 0.5)], float)
WHOLE = np.array([(0, 0, 0), (1, 0, 0), (0, 0, 1), (0.5, 0, 0), (0.5, 0.5, 0), (1e-7, 0, 0), (0, 1e-9, 0)])


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("form", ["auto", "full"])
@pytest.mark.parametrize("name", ["A03", "A10", "A12", "A24"])
def test_bits_do_not_depend_on_how_the_work_is_cut(isa: str, name: str, form: Any, precision: Any) -> None:
    """Threads, parts of the sets, parts and orders of the q-list: equal bits, at the careful solver's points too."""
    rng = np.random.default_rng(3)
    model = with_parameters(name)
    count = 4500  # more than the largest block of q that one thread gets, 128 times 32 lanes
    q = np.vstack([points(count - len(WHOLE)), WHOLE])[rng.permutation(count)]

    def solve(q: Real, sets: Real, threads: int = 1) -> list[npt.NDArray[Any]]:
        modes = model.modes(q, parameters=sets, form=form, precision=precision, threads=threads, output="amplitude")
        return [modes.energy, modes.intensity, modes.amplitude, np.asarray(modes.stable)]

    def assert_same_bits(actual: list[npt.NDArray[Any]], wanted: list[npt.NDArray[Any]]) -> None:
        for one, other in zip(actual, wanted, strict=True):
            np.testing.assert_array_equal(one, other)

    every = solve(q, SETS[:1])
    for threads in (2, 3, 7):
        assert_same_bits(solve(q, SETS[:1], threads), every)
    orders = (
        np.arange(1),
        np.arange(5, 8),
        np.arange(count - 1, 0, -3),
        rng.permutation(count),
        rng.integers(0, count, 9),
    )
    for order in orders:
        assert_same_bits(solve(q[order], SETS[:1], 2)[:3], [whole[:, order] for whole in every[:3]])
    few = q[:97]
    every = solve(few, SETS)
    assert every[3].tolist()[:4] == [True, True, True, False]
    for threads in (2, 3, 7):
        assert_same_bits(solve(few, SETS, threads), every)
    for part in (slice(0, 1), slice(3, 4), slice(2, 6), slice(None, None, -1)):
        assert_same_bits(solve(few, SETS[part], 2), [whole[part] for whole in every])


@pytest.fixture(scope="module")
def simulator() -> ImageSimulator:
    bins = np.array([[2.0, 9.0], [9.0, 18.0], [18.0, 30.0]])
    return ImageSimulator(
        goodenough(), ImageFrame([EnergyBlock(bins, 45.0, (0.8, -0.004, 1e-5), 0.03)], np.linspace(-0.3, 0.6, 7), 2)
    )


def test_images_agree_between_instruction_sets(isa: str, simulator: ImageSimulator) -> None:
    """To rounding with the baseline's, and to the bit for any number of threads and any split of the sets."""
    values = np.array([LITERATURE["goodenough"][name] for name in simulator.model.parameters])
    sets = values * np.array([[1.0], [0.9], [1.1], [1.02]])
    settings = [ImageSettings(1.0, 0.05, 0.01, 0.3, mosaic=mosaic) for mosaic in (0.0, 0.0, 0.01, 0.005)]
    images, stable = simulator.simulate_sets(sets, settings, threads=1)
    assert stable.all()
    assert images.max() > 0.0
    for threads in (2, 3, 7):
        np.testing.assert_array_equal(simulator.simulate_sets(sets, settings, threads=threads)[0], images)
    part, _ = simulator.simulate_sets(sets[1:3], settings[1:3], threads=2)
    np.testing.assert_array_equal(part, images[1:3])
    choose_instruction_set("baseline")
    baseline, _ = simulator.simulate_sets(sets, settings, threads=1)
    np.testing.assert_allclose(images, baseline, rtol=0, atol=1e-9 * baseline.max())  # erf is one polynomial for all


def compiled(name: str) -> list[Path]:
    """The object files of one instruction set, in every build folder of the checkout."""
    found = sorted(
        path for room in ("lanes", "turned") for path in (ROOT / "build").glob(f"**/insdl_{room}_{name}.dir/**/*.o")
    )
    if not found:
        pytest.skip(f"THE SYMBOLS OF {name} ARE NOT CHECKED: no object files of it in a build folder of the checkout")
    return found


def read(*command: str | Path) -> str:
    """What a tool of the binutils prints."""
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"THE COMPILED KERNELS ARE NOT CHECKED: no {command[0]} on this machine")
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.parametrize("name", KNOWN)
def test_no_instruction_set_shares_a_symbol(name: str) -> None:
    """Every weak or global symbol lies in namespace insdl::name.

    Of equal weak symbols, such as an inline function of the standard library, the linker keeps one for all: were it the
    AVX-512 copy, an older processor would stop at an illegal instruction in code that never asked for it.
    """
    # Of the mangled names: a function's own namespace stands first, whatever it takes and returns. V, I, S: virtual
    # table and type information; GV and Z: what belongs to a static variable and to the inside of a function.
    own = re.compile(rf"_Z(TV|TI|TS|GV)?Z*NK?5insdl{len(name)}{name}")
    for path in compiled(name):
        rows = [line.split(maxsplit=2) for line in read("nm", "--defined-only", path).splitlines()]
        shared = [row[2] for row in rows if len(row) == 3 and (row[1].isupper() or row[1] in "uvw")]
        assert len(shared) > 3, f"nm shows next to nothing of {path.name}"
        assert not [symbol for symbol in shared if not own.match(symbol)]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the registers of x86-64 processors")
@pytest.mark.parametrize("name", KNOWN)
def test_instructions_stay_within_the_set(name: str) -> None:
    """The baseline has no instruction of AVX (all of those begin with v), AVX2 no 512-bit register; each uses its own."""
    for path in compiled(name):
        lines = read("objdump", "-d", "--no-show-raw-insn", path).splitlines()
        code = [parts[1].strip() for line in lines if len(parts := line.split("\t")) == 2]
        assert len(code) > 1000
        used = {register: any(f"%{register}" in line for line in code) for register in WORDS.values()}
        assert used[WORDS[name]]
        if name == "baseline":
            assert not [line for line in code if re.match(r"v(?!err|erw)", line)]
        if name == "avx2":
            assert not used["zmm"]
            assert not [line for line in code if re.search(r"%k[0-7]\b|%[xy]mm(1[6-9]|2\d|3[01])\b", line)]
