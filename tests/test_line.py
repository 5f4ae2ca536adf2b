"""The shape of a mode in energy."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.instrument.line import Line, bose, profile


def test_bins_are_means_of_the_gaussian() -> None:
    x = np.linspace(-2.0, 2.0, 9)[:, None]
    fine = np.linspace(-0.3, 0.3, 2001)
    sigma, width = np.full((9, 1), 0.25), np.full((9, 1), 0.6)
    value = profile(x + fine, sigma, np.zeros((9, 1)))
    mean = np.trapezoid(value, fine, axis=1) / 0.6
    np.testing.assert_allclose(profile(x, sigma, width)[:, 0], mean, rtol=1e-5, atol=1e-15)
    # A bin without a Gaussian is a box; both kinds may stand side by side.
    box = profile(np.array([[0.29], [0.31]]), np.zeros((2, 1)), np.full((2, 1), 0.6))
    np.testing.assert_allclose(box, [[1 / 0.6], [0.0]])
    mixed = profile(x, sigma, np.where(x > 0, 0.6, 0.0))
    np.testing.assert_allclose(mixed[:4], profile(x, sigma, 0 * x)[:4])
    np.testing.assert_allclose(mixed[5:], profile(x, sigma, width)[5:])


def test_bose_of_known_values() -> None:
    """n = 1 where E = kT ln 2; kT = 25.85 meV at 300 K in every textbook."""
    assert bose(25.85 * np.log(2.0), 300.0) == pytest.approx(1.0, abs=1e-3)
    assert bose(1e4, 1.0) == 0.0
    assert bose(0.0, 1.0) == np.inf


def test_bad_lines_are_refused() -> None:
    with pytest.raises(ValueError, match="bin_width must not be negative"):
        Line([1.0], bin_width=-1.0)
    with pytest.raises(ValueError, match=r"incident_energy must be a finite number or have shape \(2,\)"):
        Line([1.0, 2.0], incident_energy=[1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="energy must be finite"):
        Line([[1.0]])
    with pytest.raises(ValueError, match="intrinsic_sigma"):
        Line([1.0], intrinsic_sigma=-1.0)
    with pytest.raises(ValueError, match="no width in energy"):
        profile(np.zeros((1, 1)), np.zeros((1, 1)), np.zeros((1, 1)))
