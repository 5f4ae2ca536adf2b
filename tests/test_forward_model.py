"""Images as a function of named numbers."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.instrument import ImageSimulator
from insdl.instrument.forward_model import ForwardModel, shifted_frame
from insdl.instrument.image import ImageSettings
from insdl.instrument.rb2mnf4 import rb2mnf4_frame
from insdl.materials.rb2mnf4 import LITERATURE, rb2mnf4

FRAME = rb2mnf4_frame([(1.0, 4.0), (4.0, 6.0)], pixels=16)
SIMULATOR = ImageSimulator(rb2mnf4(), FRAME, margin=0.07)


def test_columns_are_parameters_settings_and_the_zero_of_energy():
    model = ForwardModel(
        SIMULATOR,
        ("J1", "energy_zero", "width_factor"),
        fixed={"J2": 0.006, "D": -0.005},
        settings=ImageSettings(temperature=10.0),
    )
    images = model([[0.65, 0.0, 1.0], [0.7, 0.0, 1.2], [0.7, 0.1, 1.2]])
    for row, (j1, factor) in enumerate([(0.65, 1.0), (0.7, 1.2)]):
        own = SIMULATOR.simulate(ImageSettings(width_factor=factor, temperature=10.0), J1=j1, J2=0.006, D=-0.005)
        assert images[row] == pytest.approx(own, rel=1e-12)
    # A spectrometer that reads 0.1 meV too much calls [0.9, 3.9] what it sees as [1, 4].
    moved = ImageSimulator(rb2mnf4(), rb2mnf4_frame([(0.9, 3.9), (3.9, 5.9)], pixels=16), margin=0.07)
    own = moved.simulate(ImageSettings(width_factor=1.2, temperature=10.0), J1=0.7, J2=0.006, D=-0.005)
    assert images[2] == pytest.approx(own, rel=1e-9)
    assert shifted_frame(FRAME, 0.1).bins == pytest.approx(FRAME.bins - 0.1)


def test_bins_hold_their_width_and_unstable_models_nothing():
    names = ("J1", "J2", "D")
    point = [[LITERATURE[name] for name in names], [0.1, 0.5, -0.005]]
    mean, whole = ForwardModel(SIMULATOR, names)(point), ForwardModel(SIMULATOR, names, intensity="bin")(point)
    assert whole[0] == pytest.approx(mean[0] * np.array([3.0, 2.0])[:, None, None], rel=1e-12)
    assert np.isnan(mean[1]).all()


def test_wrong_names_are_refused():
    with pytest.raises(ValueError, match="names and fixed must hold each of"):
        ForwardModel(SIMULATOR, ("J1", "J2"))
    with pytest.raises(ValueError, match="names and fixed must hold each of"):
        ForwardModel(SIMULATOR, ("J1", "J2", "D", "J3"))
    with pytest.raises(ValueError, match=r"values must have shape \(n, 3\)"):
        ForwardModel(SIMULATOR, ("J1", "J2", "D"))([1.0, 2.0, 3.0])
