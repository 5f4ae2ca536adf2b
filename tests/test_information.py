"""Fisher information: exact cases, the null vector of an integrated map, and the bounds of other programs' maps."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.dataset.configuration import load_configuration
from insdl.dataset.detection import Detector
from insdl.instrument import ImageSimulator
from insdl.instrument.forward_model import ForwardModel
from insdl.instrument.frame import EnergyBlock, ImageFrame
from insdl.instrument.image import ImageSettings
from insdl.instrument.rb2mnf4 import rb2mnf4_frame
from insdl.learn.information import (
    Information,
    counting_information,
    covariance,
    cramer_rao_bound,
    eliminated,
    fisher_information,
    fixed,
    jacobian,
    null_directions,
    with_prior,
)
from insdl.materials.rb2mnf4 import LITERATURE, rb2mnf4

NAMES = ("J1", "J2", "D")
POINT = np.array([LITERATURE[name] for name in NAMES])
STEPS = np.array([3e-4, 1e-4, 1e-5])
MEASURED = Detector(load_configuration("rb2mnf4")).measured[0]


def information(windows, *, names=NAMES, counts=8e5, background=0.2, settings=None):
    """At the literature values: kf/ki, 10 K, one free background a window."""
    simulator = ImageSimulator(rb2mnf4(), rb2mnf4_frame(windows), margin=0.07)
    model = ForwardModel(simulator, names, settings=settings or ImageSettings(temperature=10.0), intensity="bin")
    known = {"width_factor": (1.0, 1e-3), "energy_zero": (0.0, 1e-3)}
    point = np.array([LITERATURE[name] if name in LITERATURE else known[name][0] for name in names])
    steps = np.array([dict(zip(NAMES, STEPS, strict=True)).get(name, known.get(name, (0, 0))[1]) for name in names])
    slopes = jacobian(model, point, steps=steps)
    assert slopes.error.max() < 0.01
    measured = np.broadcast_to(MEASURED, model.image_shape)
    return counting_information(slopes, names=names, measured=measured, counts=counts, background=background)


def test_a_straight_line_has_the_textbook_covariance():
    """y = a + b x with noise sigma: var b = sigma^2 / sum (x - mean x)^2."""
    x = np.linspace(-1.0, 3.0, 50)
    found = fisher_information([np.ones(50), x], np.full(50, 0.04), names=("a", "b"))
    bound = cramer_rao_bound(found)
    assert bound["b"] == pytest.approx(0.2 / np.sqrt(np.sum((x - x.mean()) ** 2)), rel=1e-12)
    assert cramer_rao_bound(eliminated(found, ["b"]))["b"] == pytest.approx(bound["b"], rel=1e-12)
    assert cramer_rao_bound(fixed(found, ["b"]))["b"] == pytest.approx(0.2 / np.sqrt(np.sum(x**2)), rel=1e-12)
    assert np.sqrt(np.diag(covariance(found))) == pytest.approx(list(bound.values()), rel=1e-12)
    with_known = cramer_rao_bound(with_prior(found, {"a": 1e-9}))  # a known: as if it were fixed
    assert with_known["b"] == pytest.approx(0.2 / np.sqrt(np.sum(x**2)), rel=1e-6)


def test_what_is_not_there_has_no_bound():
    found = fisher_information([[1.0, 2.0], [2.0, 4.0], [0.0, 1.0]], [1.0, 1.0], names=("a", "b", "c"))
    bound = cramer_rao_bound(found)
    assert np.isinf(bound["a"])
    assert np.isinf(bound["b"])
    assert bound["c"] == pytest.approx(np.sqrt(1 / 0.2 * 0.2 / 1.0) * np.sqrt(5.0), rel=1e-9)
    (null,) = null_directions(found)
    assert np.abs(null @ [2.0, -1.0, 0.0]) / np.sqrt(5.0) == pytest.approx(1.0, abs=1e-9)
    with pytest.raises(ValueError, match="nothing is known along"):
        covariance(found)
    # A prior fills what is not there, with its own width across the direction that is.
    filled = cramer_rao_bound(with_prior(found, {"a": 1.0, "b": 1.0}))
    assert filled["a"] == pytest.approx(np.sqrt(0.8), abs=0.05)


def test_derivatives_are_those_of_a_formula_and_know_their_error():
    x = np.linspace(0.0, 1.0, 7)

    def image(values):
        return np.array([np.exp(a * x) + b * x**2 for a, b in np.asarray(values)])

    found = jacobian(image, [0.7, -2.0], steps=[0.1, 0.1])
    assert found.derivative[0] == pytest.approx(x * np.exp(0.7 * x), rel=1e-6)  # h^4 / 480 of the fifth derivative
    assert found.derivative[1] == pytest.approx(x**2, abs=1e-12)
    assert found.error[0] < 1e-3
    rough = jacobian(lambda v: np.sin(40.0 * np.asarray(v)[:, :1] * np.ones(3)), [0.2], steps=[0.1])
    assert rough.derivative[0] == pytest.approx(40.0 * np.cos(8.0), rel=0.02)  # smaller steps were taken
    with pytest.raises(ValueError, match="not finite at"):
        jacobian(lambda v: np.where(np.asarray(v) > 1.0, np.nan, 1.0), [0.95], steps=[0.1])


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="steps must be one positive number"):
        jacobian(lambda v: np.asarray(v), [1.0], steps=[0.0])
    with pytest.raises(ValueError, match="leave out unmeasured"):
        fisher_information([[1.0, 1.0]], [1.0, 0.0], names=("a",))
    with pytest.raises(ValueError, match="derivative must have shape"):
        fisher_information([[1.0]], [1.0, 2.0], names=("a",))
    with pytest.raises(ValueError, match="is about a, got"):
        eliminated(Information(("a",), np.eye(1)), ["b"])
    with pytest.raises(ValueError, match="sigma must be positive"):
        with_prior(Information(("a",), np.eye(1)), {"a": 0.0})
    with pytest.raises(ValueError, match=r"shape \(2, 2\)"):
        Information(("a", "b"), np.eye(1))


def test_an_integrated_map_has_exactly_the_null_vector_of_its_closed_form():
    """S sqrt((A - B) / (A + B)) holds ratios of (J1, J2, D) alone: multiplying all of them changes nothing."""
    block = EnergyBlock([(-5.0, 24.0)], 25.0, (0.1274, 0.0, 0.0), 0.01, fixed_l=0.0)
    pixels = np.asarray(rb2mnf4_frame().pixels)
    model = ForwardModel(ImageSimulator(rb2mnf4(), ImageFrame([block], pixels, 2), margin=0.07), NAMES)
    slopes = jacobian(model, POINT, steps=STEPS)
    measured = MEASURED[None]
    found = counting_information(slopes, names=NAMES, measured=measured, counts=1e6, background=0.2)
    assert all(np.isinf(bound) for bound in cramer_rao_bound(found).values())
    (null,) = null_directions(found)
    cosine = abs(null @ POINT) / np.linalg.norm(POINT)
    assert 1.0 - cosine < 1e-8
    more = counting_information(slopes, names=NAMES, measured=measured, counts=1e12, background=0.0)
    assert len(null_directions(more)) == 1  # whatever the counts


@pytest.mark.parametrize(
    ("windows", "j1", "j2"),
    [
        ([(1.0, 8.0)], 0.0207, 0.0040),
        ([(1.0, 6.0)], 0.00088, 0.00069),
        ([(1.0, 2.75), (2.75, 4.5), (4.5, 6.25), (6.25, 8.0)], 0.00030, 0.00020),
    ],
    ids=["b", "c", "d"],
)
def test_bounds_are_those_of_an_independent_program(windows, j1, j2):
    """1e6 counts in the map of 1 to 8 meV, a fifth of them background; D, scale and backgrounds free. Other pixels, other
    form factor and resolution in that program: within 15 %."""
    whole = ForwardModel(
        ImageSimulator(rb2mnf4(), rb2mnf4_frame([(1.0, 8.0)]), margin=0.07),
        NAMES,
        settings=ImageSettings(temperature=10.0),
        intensity="bin",
    )(POINT[None])[0, 0][MEASURED].sum()
    part = ForwardModel(
        ImageSimulator(rb2mnf4(), rb2mnf4_frame(windows), margin=0.07),
        NAMES,
        settings=ImageSettings(temperature=10.0),
        intensity="bin",
    )(POINT[None])[0][:, MEASURED].sum()
    bound = cramer_rao_bound(information(windows, counts=8e5 * part / whole))
    assert bound["J1"] == pytest.approx(j1, rel=0.15)
    assert bound["J2"] == pytest.approx(j2, rel=0.15)


def test_bounds_shrink_with_the_root_of_counts_and_grow_with_what_is_free():
    windows = [(1.0, 6.0)]
    one, hundred = information(windows, counts=1e5), information(windows, counts=1e7)
    for name in NAMES:
        assert cramer_rao_bound(one)[name] == pytest.approx(10.0 * cramer_rao_bound(hundred)[name], rel=1e-9)
    free = information(windows, names=(*NAMES, "width_factor", "energy_zero"), counts=1e5)
    assert cramer_rao_bound(free)["J1"] > 2.0 * cramer_rao_bound(one)["J1"]  # the edge is all that J1 hangs on
    assert cramer_rao_bound(fixed(free, NAMES))["J1"] == pytest.approx(cramer_rao_bound(one)["J1"], rel=1e-6)
