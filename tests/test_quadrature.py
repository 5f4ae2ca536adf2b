"""Lattice sums over Gaussians against moments and integrals in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.instrument.quadrature import gaussian_lattices, n_nodes, steps_for


@pytest.mark.parametrize("steps", [(1.0,), (0.5, 1.0), (1.0, 0.5, 0.25), (0.5, np.inf, 1.0)])
def test_moments(steps: tuple[float, ...]) -> None:
    """1, 0, 1 and 3 to 2e-5: what lies beyond 5.5 standard deviations, and the aliases of a step of 1."""
    finite = np.isfinite(steps)
    for points, weights in gaussian_lattices(steps):
        assert weights.sum() == pytest.approx(1.0, abs=1e-14)
        np.testing.assert_allclose(weights @ points, 0.0, atol=1e-6)
        second = np.einsum("n,ni,nj->ij", weights, points, points)
        np.testing.assert_allclose(second, np.diag(finite.astype(float)), atol=2e-5)
        np.testing.assert_allclose(weights @ points**4, 3.0 * finite, atol=2e-3)


@pytest.mark.parametrize("slope", [0.0, 0.7, 2.0, 6.0, 15.0])
def test_steps_resolve_a_moving_line(slope: float) -> None:
    """The mean of a Gaussian line at slope * u: variance 1 + slope^2; the mean of both lattices to 1e-5 at once."""
    steps = steps_for([slope])
    values = []
    for points, weights in gaussian_lattices(steps):
        values.append(weights @ np.exp(-0.5 * (0.3 - slope * points[:, 0]) ** 2) / np.sqrt(2 * np.pi))
    variance = 1 + slope**2
    exact = np.exp(-0.5 * 0.3**2 / variance) / np.sqrt(2 * np.pi * variance)
    assert np.mean(values) == pytest.approx(exact, rel=2e-5)
    # The difference of the two is an error that is not smaller than the mean's.
    assert abs(np.mean(values) - exact) <= 0.5 * abs(values[0] - values[1]) + 1e-6 * exact


def test_number_of_nodes() -> None:
    steps = (1.0, 0.5, 0.25)
    counted = sum(len(weights) for _, weights in gaussian_lattices(steps))
    assert n_nodes(steps) == pytest.approx(counted, rel=0.02)
    assert n_nodes((np.inf,)) == 1.0
