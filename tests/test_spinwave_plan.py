"""A compiled list of q gives what the model gives, whatever is folded onto what."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import insdl
import magnets
from insdl import SpinModel, SpinWavePlan
from insdl.materials import goodenough, rb2mnf4
from insdl.materials.pcsmo import LITERATURE as PCSMO
from insdl.materials.rb2mnf4 import LITERATURE as RB2MNF4

pytestmark = pytest.mark.filterwarnings("ignore::insdl.NotEquilibriumWarning")


def grid(heights: tuple[float, ...] = (0.0, 0.3, 1.3), offset: float = 0.11) -> npt.NDArray[np.float64]:
    """12 x 12 points over three zones of a chemical cell, at some heights."""
    axis = np.arange(-1.5, 1.5, 0.25) + offset
    return np.stack([x.ravel() for x in np.meshgrid(axis, axis, heights, indexing="ij")], axis=1)


def assert_same(actual: Any, expected: Any) -> None:
    """Energies to rounding; intensities as sums over degenerate modes, whose shares are a choice of basis."""
    bandwidth = expected.energy.max()
    np.testing.assert_allclose(actual.energy, expected.energy, rtol=0, atol=1e-9 * bandwidth)
    for weight in (lambda m: m.intensity.sum(-1), lambda m: (m.intensity * m.energy).sum(-1)):
        largest = np.abs(weight(expected)).max()
        np.testing.assert_allclose(weight(actual), weight(expected), rtol=0, atol=1e-8 * largest)


@pytest.mark.parametrize("name", sorted(path.stem.split("_")[0] for path in magnets.REFERENCE.glob("A*.json")))
def test_reference_magnets(name: str) -> None:
    """Split ones are folded, the others are not; the result is the same."""
    model = SpinModel.from_dict(magnets.reference(name))
    plan = SpinWavePlan(model, grid())
    assert plan.n_solved == len(grid()) if not model.core.is_split else plan.n_solved < len(grid()) / 3
    assert_same(plan.modes(), model.modes(grid()))


@pytest.mark.parametrize(("model", "values"), [(goodenough(), PCSMO["goodenough"]), (rb2mnf4(), RB2MNF4)])
def test_materials(model: SpinModel, values: dict[str, float]) -> None:
    """The materials, with heights at which the layers interfere, and one in each plan's own units of threads."""
    q = grid((0.0, 0.7, 2.13))
    plan = SpinWavePlan(model, q)
    first = plan.modes(threads=1, **values)
    assert_same(first, model.modes(q, **values))
    for threads in (2, 3, None):
        again = plan.modes(threads=threads, **values)
        np.testing.assert_array_equal(again.energy, first.energy)
        np.testing.assert_array_equal(again.intensity, first.intensity)


def test_goldstone_points_and_centres() -> None:
    """Q = 0 and zero modes go to the careful solver in a plan too."""
    model = SpinModel.from_dict(magnets.reference("A04"))
    q = grid((0.0,), offset=0.0)
    plan, plain = SpinWavePlan(model, q).modes(), model.modes(q)
    assert plain.energy.min() < 1e-9
    np.testing.assert_allclose(plan.energy, plain.energy, rtol=0, atol=1e-9 * plain.energy.max())
    regular = plain.energy.min(axis=1) > 1e-6
    np.testing.assert_allclose(plan.intensity[regular].sum(-1), plain.intensity[regular].sum(-1), rtol=1e-8, atol=1e-10)
    assert np.isfinite(plan.intensity).all()


def test_repeated_and_unfolded_lists() -> None:
    """A point given twice, a list without partners, an empty list, and folding switched off."""
    model = SpinModel.from_dict(magnets.reference("A24"))
    repeated = np.concatenate([grid(), grid()[::-3]])
    assert_same(SpinWavePlan(model, repeated).modes(), model.modes(repeated))
    single = np.random.default_rng(0).random((7, 3))
    plan = SpinWavePlan(model, single)
    assert plan.n_solved == 7
    assert_same(plan.modes(), model.modes(single))
    assert SpinWavePlan(model, np.empty((0, 3))).modes().energy.shape == (0, len(model.sites))
    off = SpinWavePlan(model, grid(), folding="none")
    assert off.n_solved == len(grid())
    np.testing.assert_array_equal(off.modes().energy, model.modes(grid()).energy)


def test_many_sets() -> None:
    """Sets do not see each other; an unstable one is flagged and holds no numbers."""
    model, values = rb2mnf4(), RB2MNF4
    q = grid()
    plan = SpinWavePlan(model, q)
    good = model.values(values)
    sets = np.array([good, -good, 1.5 * good])
    modes = plan.modes(parameters=sets)
    assert np.asarray(modes.stable).tolist() == [True, False, True]
    assert np.isnan(modes.energy[1]).all()
    assert np.isnan(modes.intensity[1]).all()
    np.testing.assert_array_equal(modes.energy[0], plan.modes(**values).energy)
    np.testing.assert_allclose(modes.energy[2], 1.5 * modes.energy[0], rtol=1e-12)


def test_an_unstable_model_raises_with_its_q() -> None:
    """As `SpinModel.modes` does: the q is one of those that fold onto the given ones."""
    model = rb2mnf4()
    values = dict(zip(model.parameters, -model.values(RB2MNF4), strict=True))
    with pytest.raises(insdl.UnstableModelError) as caught:
        SpinWavePlan(model, grid()).modes(**values)
    assert caught.value.lowest_eigenvalue < 0
    with pytest.raises(insdl.UnstableModelError):
        model.modes(caught.value.q_rlu[None], **values)


def test_wrong_calls() -> None:
    """Each says what was expected."""
    model = rb2mnf4()
    with pytest.raises(ValueError, match="folding must be 'auto' or 'none', got 'always'"):
        SpinWavePlan(model, grid(), folding="always")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"q_rlu must have shape \(nq, 3\)"):
        SpinWavePlan(model, np.zeros(3))
    plan = SpinWavePlan(model, grid())
    with pytest.raises(TypeError, match="missing"):
        plan.modes()
    with pytest.raises(TypeError, match="not both"):
        plan.modes(parameters=model.values(RB2MNF4)[None], **RB2MNF4)
