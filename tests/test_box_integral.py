"""Gaussians over boxes, against exact probabilities and quadrature."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.learn.box_integral import log_box_integral


def test_independent_coordinates() -> None:
    """A product of one-dimensional normal probabilities, exact without any scatter."""
    special = pytest.importorskip("scipy.special")
    h, g = np.array([4.0, 0.01, 100.0]), np.array([1.0, 0.3, -20.0])
    low, high = np.array([-0.2, -1.0, -0.5]), np.array([0.7, 1.0, 0.5])
    m, s = g / h, h**-0.5
    exact = (
        0.5 * g * m + 0.5 * np.log(2 * np.pi / h) + np.log(special.ndtr((high - m) / s) - special.ndtr((low - m) / s))
    )
    assert log_box_integral(np.diag(h), g, low, high) == pytest.approx(exact.sum(), abs=1e-9)


@pytest.mark.parametrize("correlation", [-0.9, 0.3, 0.95])
def test_orthant_probability(correlation: float) -> None:
    """1/4 + asin(rho) / (2 pi), Sheppard 1899."""
    covariance = np.array([[1.0, correlation], [correlation, 1.0]])
    h = np.linalg.inv(covariance)
    norm = np.log(2 * np.pi) + 0.5 * np.log(np.linalg.det(covariance))
    found = log_box_integral(h, np.zeros(2), np.zeros(2), np.full(2, 50.0), n_draws=20_000)
    assert np.exp(found - norm) == pytest.approx(0.25 + np.arcsin(correlation) / (2 * np.pi), rel=0.03)


def test_a_maximum_at_the_border() -> None:
    """A steep gradient that pulls out of the box, against quadrature in two dimensions."""
    h, g = np.array([[30.0, 20.0], [20.0, 50.0]]), np.array([80.0, -60.0])
    low, high = np.array([-1.0, -0.4]), np.array([0.0, 0.6])
    x, y = (np.linspace(a, b, 1501) for a, b in zip(low, high, strict=True))
    grid = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)
    values = np.exp(grid @ g - 0.5 * np.einsum("...i,ij,...j", grid, h, grid))
    exact = np.log(np.trapezoid(np.trapezoid(values, y, axis=1), x))
    assert log_box_integral(h, g, low, high, n_draws=20_000) == pytest.approx(exact, abs=0.02)


def test_correlated_coordinates_in_any_order() -> None:
    """Two that nearly determine each other, one held at its border by a steep gradient: a few draws must not decide."""
    h = np.array([[4.0e4, -3.98e4, 10.0], [-3.98e4, 4.0e4, 30.0], [10.0, 30.0, 50.0]])
    g, low, high = np.array([-100.0, 400.0, 5.0]), np.array([-0.5, -1.0, -0.4]), np.array([0.5, 0.0, 0.6])
    # Quadrature along the narrow direction u = x - y and across.
    u, y, z = np.linspace(-0.05, 0.05, 161), np.linspace(-0.3, 0.0, 241), np.linspace(-0.4, 0.6, 41)
    grid = np.stack(np.meshgrid(u, y, z, indexing="ij"), axis=-1)
    grid[..., 0] += grid[..., 1]
    values = np.exp(grid @ g - 0.5 * np.einsum("...i,ij,...j", grid, h, grid, optimize=True))
    values *= grid[..., 0] > -0.5
    exact = np.log(np.trapezoid(np.trapezoid(np.trapezoid(values, z), y), u))
    for order in ([0, 1, 2], [1, 0, 2], [2, 0, 1], [2, 1, 0]):
        found = log_box_integral(h[np.ix_(order, order)], g[order], low[order], high[order])
        assert found == pytest.approx(exact, abs=0.1)


def test_far_outside_stays_finite() -> None:
    """1e4 standard deviations outside: nearly an exponential, integral exp(-s x) dx from 0 = 1 / s."""
    found = log_box_integral(np.array([[1.0]]), np.array([1e4]), np.array([-1.0]), np.array([0.0]))
    assert found == pytest.approx(-np.log(1e4), abs=1e-4)


def test_wrong_input() -> None:
    one = np.ones(1)
    with pytest.raises(ValueError, match="positive definite"):
        log_box_integral(-np.eye(1), one, -one, one)
    with pytest.raises(ValueError, match="low must be below high"):
        log_box_integral(np.eye(1), one, one, one)
    with pytest.raises(ValueError, match="must have the curvature's length"):
        log_box_integral(np.eye(2), one, -one, one)
