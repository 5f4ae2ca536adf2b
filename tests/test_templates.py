"""The template baseline finds the parameters that an image was made with."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.dataset import simulate_set
from insdl.dataset.rb2mnf4 import away_from_bragg, family
from insdl.instrument.rb2mnf4 import rb2mnf4_frame
from insdl.learn.templates import best_template, cell_evidence, correlation


def test_correlation_is_pearsons():
    rng = np.random.default_rng(1)
    a, b = rng.random(50), rng.random(50)
    assert correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-12)
    assert correlation(a, 3 * a + 2) == pytest.approx(1.0)
    assert correlation(a, np.ones(50)) == 0.0


def test_template_fit_recovers_the_parameters_of_a_clean_image():
    rival = family(rb2mnf4_frame(pixels=24, subpixels=1))
    simulated = simulate_set([rival], 60, seed=3, stream="training")
    truth = {"J1": 0.66, "J2": 0.01, "D": -0.005}
    image = rival.simulator.simulate(**truth)
    used = away_from_bragg(rival.simulator.frame)
    fit = best_template(image, used, rival, simulated, unit=1.0, transform=np.sqrt, scales=(1.0,), evaluations=500)
    assert fit.correlation > fit.start_correlation
    assert fit.correlation > 0.9995
    # the four windows fix J1 and J2 to well under the spacing of the 60 starting points (0.3 and 0.08 meV wide)
    assert fit.parameters["J1"] == pytest.approx(truth["J1"], abs=2e-3)
    assert fit.parameters["J2"] == pytest.approx(truth["J2"], abs=2e-3)


def test_cell_evidence_finds_the_cell_where_two_templates_differ():
    rng = np.random.default_rng(2)
    first = rng.exponential(3.0, (6, 12, 12))
    second = first.copy()
    second[4] = rng.permutation(second[4].ravel()).reshape(12, 12)
    counts = 2.0 * first + 0.1 * rng.random(first.shape)
    used = rng.random(first.shape) < 0.9
    evidence = cell_evidence(counts, used, first, second)
    assert evidence.argmax() == 4
    assert np.abs(np.delete(evidence, 4)).sum() < 0.1 * evidence[4]  # each template has a line of its own
    # The sum is the difference of squared correlations times the variance: both count the same residuals.
    y = np.log1p(counts[used])
    squares = [correlation(np.log1p(t[used]), y) ** 2 for t in (first, second)]
    assert evidence.sum() == pytest.approx((squares[0] - squares[1]) * np.sum((y - y.mean()) ** 2), rel=1e-9)


def test_offsets_per_bin_do_not_see_a_flat_background():
    rival = family(rb2mnf4_frame(pixels=16, subpixels=1))
    simulated = simulate_set([rival], 8, seed=3, stream="training")
    image = simulated.images[5] * 7.0 + np.array([3.0, 0.0, 50.0, 1.0])[:, None, None]
    used = away_from_bragg(rival.simulator.frame)
    fit = best_template(
        image, used, rival, simulated, unit=7.0, transform=np.asarray, offsets="per-bin", scales=(1.0,), evaluations=20
    )
    assert fit.start_correlation == pytest.approx(1.0, abs=1e-6)
    assert fit.parameters["J1"] == pytest.approx(simulated.parameters[5]["J1"], abs=1e-3)
    with pytest.raises(ValueError, match="offsets must be 'one' or 'per-bin'"):
        best_template(image, used, rival, simulated, unit=7.0, offsets="none")  # type: ignore[arg-type]
