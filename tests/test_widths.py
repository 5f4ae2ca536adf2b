"""Width functions as parabolas, and ResINS's."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.instrument.widths import FWHM_PER_SIGMA, fit_width, resins_width


def test_a_parabola_is_found_exactly() -> None:
    fit = fit_width(lambda energy: 1.5 - 0.02 * energy + 1e-4 * energy**2, 5.0, 60.0)
    np.testing.assert_allclose(fit.sigma_energy, [1.5, -0.02, 1e-4], rtol=1e-9)
    assert fit.misfit < 1e-10


def test_misfit_is_the_largest_deviation() -> None:
    """A cubic x^3 on [-1, 1] beside 10: the parabola nearest to it leaves about a quarter of x^3 (Chebyshev)."""
    fit = fit_width(lambda energy: 10.0 + energy**3, -1.0, 1.0)
    x = np.linspace(-1, 1, 1001)
    deviation = np.abs(np.polyval(fit.sigma_energy[::-1], x) / (10 + x**3) - 1).max()
    assert fit.misfit == pytest.approx(deviation, rel=0.02)
    assert 0.02 < fit.misfit < 0.04


def test_full_width_at_half_maximum() -> None:
    assert np.exp(-0.5 * (FWHM_PER_SIGMA / 2) ** 2) == pytest.approx(0.5)


def test_bad_functions_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be positive and finite, got 0\.0 at"):
        fit_width(lambda energy: 0.0 * energy, 0.0, 1.0)
    with pytest.raises(ValueError, match="one width for each"):
        fit_width(lambda energy: 1.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="must ascend"):
        fit_width(lambda energy: 1.0 + energy, 1.0, 0.0)


def test_resins_gives_its_own_widths() -> None:
    """Through its public interface, point by point; MAPS becomes sharper as the neutron loses energy."""
    resins = pytest.importorskip("resins", reason="RESINS IS NOT TESTED: install insdl[resolution]")
    settings = {"e_init": 70.0, "chopper_package": "S", "chopper_frequency": 300}
    width = resins_width("MAPS", **settings)
    function = resins.Instrument.from_default("MAPS").get_resolution_function(**settings)
    energy = np.array([[7.0, 28.0], [40.0, 47.0]])
    found = width(energy)
    for e, sigma in zip(energy.ravel(), found.ravel(), strict=True):
        assert sigma == pytest.approx(float(function.get_characteristics(np.array([[e]]))["sigma"][0]), rel=1e-12)
    # `sigma` is a standard deviation: the peak that ResINS itself draws falls to exp(-1/2) there.
    mesh = np.array([28.0, 28.0 + found[0, 1]])
    peak = np.ravel(function.get_peak(np.array([[28.0]]), mesh))
    assert peak[1] / peak[0] == pytest.approx(np.exp(-0.5), rel=1e-6)
    assert (np.diff(found.ravel()) < 0).all()
    fit = fit_width(width, 7.0, 49.0)
    assert fit.misfit < 0.01
    with pytest.raises(ValueError, match="ResINS has no resolution for 'NOWHERE'"):
        resins_width("NOWHERE")
