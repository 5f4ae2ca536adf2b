"""The unit cube of a class: where it ends, what it means for the model, and that a source draws within it."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.dataset.configuration import configuration, load_configuration
from insdl.dataset.configured import ConfiguredSource
from insdl.learn.hypothesis import hypotheses
from insdl.learn.unknowns import unknowns_of
from insdl.materials.pcsmo import LITERATURE
from small_hypothesis import small, small_background, small_content


@pytest.mark.parametrize("name", ["goodenough", "dimer"])
def test_points_and_values_are_inverse(name: str) -> None:
    unknowns = unknowns_of(load_configuration("pcsmo"), name)
    rng = np.random.default_rng(0)
    for point in rng.random((5, len(unknowns.names))):
        values = dict(zip(unknowns.names, unknowns.values(point).tolist(), strict=True))
        np.testing.assert_allclose(unknowns.point(values), point, atol=1e-12)
        step = 1e-6
        rise = np.diag(unknowns.values(point + step * np.eye(len(point)))) - unknowns.values(point)
        np.testing.assert_allclose(unknowns.slopes(point), rise / step, rtol=1e-4)


def test_corners_are_the_ends_of_the_priors() -> None:
    unknowns = unknowns_of(load_configuration("pcsmo"), "dimer")
    assert unknowns.names == (
        "JF", "JA", "Jperp", "D", "difference", "width_factor", "broadening", "extra_sigma_q", "twin_fraction",
        "shift_h", "shift_k", "scale", "noise",
    )  # fmt: skip
    low, high = unknowns.values(np.zeros(13)), unknowns.values(np.ones(13))
    assert low[0] == -16.0
    assert high[0] == -5.0
    assert low[-2:] == pytest.approx([0.8, 0.6])
    assert high[-2:] == pytest.approx([4.0, 1.3])
    assert unknowns.values(np.full(13, 0.5))[-2] == pytest.approx(np.sqrt(0.8 * 4.0))  # uniform in the logarithm


@pytest.mark.parametrize(("name", "index"), [("goodenough", 0), ("dimer", 1)])
def test_the_model_has_the_parameters_that_the_source_draws(name: str, index: int) -> None:
    """Quantities drawn by the source, mapped by both to the same exchanges."""
    source = ConfiguredSource(small())
    parameters, settings = source.drawn(index)
    unknowns = unknowns_of(small(), name)
    if name == "dimer":
        quantities = {
            "JF": 0.5 * (parameters["JFS"] + parameters["JFW"]),
            "difference": parameters["JFW"] - parameters["JFS"],
            "JA": parameters["JA1"],
        }
    else:
        quantities = {
            "JF": parameters["JF1"] + 0.5 * (parameters["JF2"] + parameters["JF3"]),
            **{q: parameters[q] for q in ("JA", "JF2", "JF3")},
        }
    quantities |= {"Jperp": parameters["Jperp"], "D": parameters["D"], "scale": 1.0, "noise": 1.0, **vars(settings)}
    point = unknowns.point(quantities)
    np.testing.assert_allclose(unknowns.model_values(point), [parameters[p] for p in unknowns.parameters], atol=1e-9)
    found = unknowns.image_settings(point)
    assert vars(found) == pytest.approx(vars(settings))


def test_quantities_that_a_class_does_not_use_and_fixed_ones() -> None:
    """A Zener polaron without D, of one strength; a fixed width factor; a scale that is one number."""
    content = small_content()
    content["settings"]["width_factor"] = 1.3
    content["detection"]["scale"] = {"kind": "factor", "value": 2.0}
    content["classes"].append(
        {
            "name": "zener_polaron",
            "model": "zener_polaron",
            "own": {"strength": {"kind": "uniform", "low": 0.5, "high": 2.0}},
            "derived": {"JFU": {"strength": -2.4}, "JFD": {"strength": -0.165}, "JA": {"strength": 0.1646}},
        }
    )
    unknowns = unknowns_of(configuration(content), "zener_polaron")
    assert unknowns.names[:2] == ("Jperp", "strength")
    assert "width_factor" not in unknowns.names
    half = np.full(len(unknowns.names), 0.5)
    assert unknowns.image_settings(half).width_factor == 1.3
    assert unknowns.values(half)[-2] == pytest.approx(2.0)
    assert unknowns.model_values(half) == pytest.approx([-3.0, -0.20625, 0.20575, 1.45])


def test_wrong_input() -> None:
    with pytest.raises(ValueError, match=r"the class must be one of \['goodenough', 'dimer'\], got 'other'"):
        unknowns_of(small(), "other")
    content = small_content()
    content["shared"]["JA"] = {"kind": "normal", "mean": 1.0, "sigma": 0.2, "low": 0.5, "high": 2.0}
    with pytest.raises(ValueError, match="JA must have a uniform or loguniform prior"):
        unknowns_of(configuration(content), "dimer")
    content["detection"]["counting"] = {"kind": "poisson"}
    with pytest.raises(ValueError, match="the noise must be that of subtracted counts, clipped at zero, got poisson"):
        unknowns_of(configuration(content), "dimer")
    with pytest.raises(ValueError, match=r"but \['JF'.*\] is missing"):
        unknowns_of(small(), "dimer").point({})


def test_zener_polarons_are_stable_throughout_and_hold_the_literature() -> None:
    """Every template of the prior is stable; a strength of one is the literature, JA to the digit that is stable."""
    content = {**small_content(), "classes": load_configuration("pcsmo").model_dump()["classes"]}
    (zener,) = hypotheses(
        configuration(content), names=["zener_polaron"], background=small_background(), n_templates=40
    )
    points, images, _ = zener.templates
    assert len(points) == 40
    assert (images.mean(axis=(1, 2, 3)) > 0).all()
    values = dict.fromkeys(zener.unknowns.names, 1.0) | {"strength": 1.0, "Jperp": 1.05}
    found = zener.unknowns.model_values(zener.unknowns.point(values))
    np.testing.assert_allclose(found, list(LITERATURE["zener_polaron"].values()), atol=5e-4)
