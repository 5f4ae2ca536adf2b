"""Exchange constants by a network: on a posterior whose answer is known, and in and out of its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from insdl.dataset.configuration import load_configuration
from insdl.dataset.parameter_prior import ParameterPrior
from insdl.dataset.quarter_view import quarter_view
from insdl.learn.cell_regressor import CellRegressor
from insdl.learn.exchange import (
    ExchangeInference,
    infer_exchange,
    load_exchange,
    quantities_prior,
    regressor_features,
    save_exchange,
    to_quantities,
)
from insdl.learn.posterior import PosteriorSettings, fit_posterior
from insdl.learn.unknowns import unknowns_of

SIGMA = np.array([1.0, 2.0, 1.0])
LINEAR = np.array([[1.0, -0.5], [0.0, 1.0]])
PRIOR = ParameterPrior(("mean", "J2"), np.array([-10.0, 0.0]), np.array([-5.0, 4.0]))
PATTERNS = np.random.default_rng(0).random((2, 3, 8, 8))


def measurements(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mirror-symmetric patterns of a brightness that the two quantities set, with noise."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(PRIOR.low, PRIOR.high, (n, 2))
    quarter = np.tensordot((values - PRIOR.low) / (PRIOR.high - PRIOR.low), PATTERNS, 1) * 6.0
    half = np.concatenate([quarter[..., ::-1], quarter], axis=-1)
    mean = np.concatenate([half[..., ::-1, :], half], axis=-2)
    return mean + 0.3 * rng.standard_normal(mean.shape), values


@pytest.fixture(scope="module")
def inference() -> ExchangeInference:
    counts, values = measurements(1500, 1)
    seen = np.ones(counts.shape, dtype=bool)
    network = CellRegressor(3, parameters=PRIOR.names, pixels=8, widths=(4, 4), hidden=24)
    views = quarter_view(counts, seen, SIGMA)
    network.standardise_pixels(views)
    posterior = fit_posterior(
        regressor_features(network, views), values, prior=PRIOR, components=1, settings=PosteriorSettings(epochs=40)
    )
    return ExchangeInference(
        "toy", ("J1", "J2"), np.zeros(2), LINEAR, ((50.0, 1.0, 2.0),) * 3, SIGMA, network, posterior, {"n": 1}, {}
    )


def test_parameters_are_those_that_made_the_measurement(inference: ExchangeInference) -> None:
    counts, values = measurements(40, 2)
    truth = values @ LINEAR.T
    answers = [infer_exchange(inference, one, np.ones(one.shape, dtype=bool), n_samples=500) for one in counts]
    pulls = np.array([(a.mean - t) / a.error for a, t in zip(answers, truth, strict=True)])
    assert 0.6 < np.sqrt(np.mean(pulls**2)) < 1.6
    # Both are measured: the priors are 1.55 and 1.15 wide.
    assert (np.mean([a.error for a in answers], axis=0) < [0.8, 0.5]).all()
    one = answers[0]
    np.testing.assert_allclose(one.samples, one.quantities @ LINEAR.T)
    assert PRIOR.contains(one.quantities).all()
    # The prior of J1 = mean - J2 / 2: variances 25 / 12 and 16 / 12 / 4.
    assert one.statement.of("J1").prior_width == pytest.approx(np.sqrt(25 / 12 + 4 / 12))
    assert one.statement.of("J1").ratio == pytest.approx(one.error[0] / np.sqrt(29 / 12), rel=0.01)


def test_a_mirrored_measurement_has_the_same_parameters(inference: ExchangeInference) -> None:
    (counts,), _ = measurements(1, 3)
    seen = np.ones(counts.shape, dtype=bool)
    plain, turned = (infer_exchange(inference, one, seen) for one in (counts, counts[:, ::-1, ::-1]))
    np.testing.assert_allclose(turned.samples, plain.samples, rtol=1e-4)


def test_a_file_gives_the_same_answer(inference: ExchangeInference, tmp_path: Path) -> None:
    (counts,), _ = measurements(1, 4)
    seen = np.ones(counts.shape, dtype=bool)
    save_exchange(tmp_path / "toy.pt", inference)
    loaded = load_exchange(tmp_path / "toy.pt")
    assert (loaded.name, loaded.parameters, loaded.cells, dict(loaded.tests)) == (
        "toy",
        ("J1", "J2"),
        inference.cells,
        {"n": 1},
    )
    np.testing.assert_array_equal(
        infer_exchange(loaded, counts, seen).samples, infer_exchange(inference, counts, seen).samples
    )
    (tmp_path / "other.pt").write_bytes((tmp_path / "toy.pt").read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"is not a file of insdl train exchange|damaged"):
        load_exchange(tmp_path / "other.pt")


def test_parts_of_a_measurement_are_refused(inference: ExchangeInference) -> None:
    (counts,), _ = measurements(1, 5)
    seen = np.ones(counts.shape, dtype=bool)
    seen[0] = False
    with pytest.raises(ValueError, match="at least 90% of the cells must be measured, got 67%"):
        infer_exchange(inference, counts, seen)
    with pytest.raises(ValueError, match="must have shape"):
        infer_exchange(inference, counts[:2], seen[:2])


def test_quantities_are_what_the_prior_draws() -> None:
    """JF = JF1 + (JF2 + JF3) / 2, as the preset says."""
    unknowns = unknowns_of(load_configuration("pcsmo"), "goodenough")
    prior = quantities_prior(unknowns)
    assert set(prior.names) == {"JF", "JF2", "JF3", "JA", "Jperp", "D"}
    values = dict(zip(unknowns.parameters, (-11.0, 1.4, -1.5, 1.7, 1.1, 0.1), strict=True))
    assert list(values) == ["JF1", "JA", "JF2", "JF3", "Jperp", "D"]
    found = dict(zip(prior.names, to_quantities(unknowns, [list(values.values())])[0], strict=True))
    assert found == pytest.approx({"JF": -10.9, "JF2": -1.5, "JF3": 1.7, "JA": 1.4, "Jperp": 1.1, "D": 0.1})
