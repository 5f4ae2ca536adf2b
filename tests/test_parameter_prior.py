"""Priors of parameters: widths, densities, and what a configuration draws."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.dataset.configuration import load_configuration
from insdl.dataset.configured import ConfiguredSource
from insdl.dataset.parameter_prior import ParameterPrior, prior_of


def test_widths_and_densities_are_those_of_the_distributions():
    prior = ParameterPrior(("a", "b"), [0.0, -1.0], [3.0, 1.0], mean=[1.5, 0.2], sigma=[np.inf, 0.1])
    assert prior.width == pytest.approx([3.0 / np.sqrt(12.0), 0.1])
    assert prior.precision == pytest.approx([0.0, 100.0])
    assert prior.log_density([[1.0, 0.3], [2.9, 0.2], [3.1, 0.2]]) == pytest.approx([-0.5, 0.0, -np.inf])
    more = prior.of(["b"]).also("c", low=-1.0, high=1.0, mean=0.0, sigma=0.5)
    assert more.names == ("b", "c")
    assert more.width == pytest.approx([0.1, 0.5])


def test_prior_of_a_preset_holds_what_it_draws():
    configuration = load_configuration("rb2mnf4")
    names = ("J1", "J2", "D", "width_factor", "extra_sigma_q")
    prior = prior_of(configuration, names)
    source = ConfiguredSource(configuration)
    drawn = np.array(
        [[{**p, **vars(s)}[name] for name in names] for p, s in (source.drawn(index) for index in range(2000))]
    )
    assert prior.contains(drawn).all()
    assert drawn.std(axis=0) == pytest.approx(prior.width, rel=0.05)  # 2000 draws: 1.2 % for a uniform distribution
    with pytest.raises(ValueError, match="'temperature' must be drawn from a uniform"):
        prior_of(configuration, ["temperature"])


def test_impossible_priors_are_refused():
    with pytest.raises(ValueError, match="low must be below high"):
        ParameterPrior(("a",), [1.0], [1.0])
    with pytest.raises(ValueError, match="different names"):
        ParameterPrior(("a", "a"), [0.0, 0.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="bounds must be finite"):
        ParameterPrior(("a",), [-np.inf], [1.0])
    with pytest.raises(ValueError, match="sigma positive"):
        ParameterPrior(("a",), [0.0], [1.0], sigma=[0.0])
    with pytest.raises(ValueError, match="prior is of a, got"):
        ParameterPrior(("a",), [0.0], [1.0]).of(["b"])
