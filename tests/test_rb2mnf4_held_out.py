"""The held-out test of the Rb2MnF4 job: what it averages is what it says."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.commands.rb2mnf4_held_out import HeldOut


def test_averages_are_those_of_normal_errors():
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.0, 1.0, (4000, 2))
    sigma = np.broadcast_to([0.1, 0.02], truth.shape)
    estimate = truth + sigma * rng.standard_normal(truth.shape)
    refined = truth[:100] + 0.5 * sigma[:100]
    found = HeldOut(
        truth,
        estimate,
        2.0 * sigma,
        truth + 0.3,
        refined,
        sigma[:100],
        truth[:100] + 0.1,
        sigma[:100],
        np.full((100, 2), 0.2),
        0,
        None,
    )
    assert found.rmse == pytest.approx([0.1, 0.02], rel=0.05)
    assert found.z_rms == pytest.approx([0.5, 0.5], rel=0.05)
    assert found.coverage == pytest.approx([0.954, 0.954], abs=0.02)
    assert found.baseline_rmse == pytest.approx([0.3, 0.3])
    assert found.refined_rmse == pytest.approx([0.05, 0.01])
    assert found.refined_z_rms == pytest.approx([0.5, 0.5])
    assert found.weighted_rmse == pytest.approx([0.1, 0.1])
    assert found.weighted_z_rms == pytest.approx([1.0, 5.0])
    assert found.reference_rms == pytest.approx([0.2, 0.2])
