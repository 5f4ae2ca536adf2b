"""Simulated measurements: mean, noise and its fall with time."""

from __future__ import annotations

import numpy as np

from insdl.guide.experiment import measured
from small_planner import small_experiment, small_planner


def test_numbers_of_a_measurement_have_the_stated_mean_and_covariance() -> None:
    """Of 400 measurements, for two times: mean within 4.5 standard errors, variances within 30 %, none correlated."""
    planner, one = small_planner(), small_experiment(0)
    squeezed = planner.compression
    expected = squeezed.values(squeezed.pooled(one.mean, planner.measured)[None])[0]
    for block, own in enumerate(squeezed.slices):
        for time in (0.01, 1.0):
            numbers = np.array([measured(planner, one, block, time, run=run, stream="noise") for run in range(400)])
            bars = np.sqrt(np.diag(one.covariance[block]) / time)
            pulls = (numbers.mean(axis=0) - expected[own]) / bars * 20.0
            assert np.abs(pulls).max() < 4.5
            ratio = np.cov(numbers.T) / np.outer(bars, bars)
            given = one.covariance[block] / time / np.outer(bars, bars)
            np.testing.assert_allclose(np.diag(ratio), 1.0, atol=0.3)
            assert np.abs(ratio - given).max() < 0.3


def test_runs_have_other_noise_and_the_same_run_the_same() -> None:
    planner, one = small_planner(), small_experiment(0)
    first, again, other = (measured(planner, one, 0, 0.1, run=run, stream="noise") for run in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).all()


def test_experiments_have_no_faulty_pixels_and_the_given_truth() -> None:
    one = small_experiment(0)
    assert one.truth == "goodenough"
    assert np.percentile(one.mean, 99.99) < 60 * max(float(one.mean.mean()), 1.0)
    assert one.number == 0
