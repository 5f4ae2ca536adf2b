"""Exchange constants by a network: on a posterior whose answer is known, and in and out of its file."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from insdl.commands.predict import pretrained_exchange
from insdl.dataset.configuration import load_configuration, load_source
from insdl.dataset.configured import ConfiguredSource
from insdl.dataset.parameter_prior import ParameterPrior
from insdl.dataset.quarter_view import quarter_view
from insdl.dataset.randomness import generator
from insdl.instrument import ImageSimulator, read_pcsmo
from insdl.instrument.pcsmo import SCALE, SETTINGS
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
from insdl.materials import goodenough
from insdl.materials.pcsmo import LITERATURE
from insdl.measured_data import find_pcsmo

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


def test_what_comes_along_is_calibrated_and_beats_the_baseline() -> None:
    """As its own training command tested it, on simulations that nothing was learned from."""
    file = resources.files("insdl") / "pretrained" / "pcsmo-exchange.pt"
    with resources.as_file(file) as path:
        assert path.stat().st_size < 1_500_000
        tests = load_exchange(path).tests
    assert tests["simulations"] >= 1000
    assert min(tests["p_value"].values()) > 0.01
    for name, rmse in tests["rmse"].items():
        assert rmse < 0.5 * tests["pca_rmse"][name]
        assert rmse < 0.5 * tests["prior_width"][name]
        assert tests["error"][name] == pytest.approx(rmse, rel=0.4)


def test_what_comes_along_knows_the_literature() -> None:
    """Three measurements of the literature's values, as the preset counts them: none was among the simulations."""
    source = load_source("pcsmo", n_samples=3)
    assert isinstance(source, ConfiguredSource)
    simulator = ImageSimulator(goodenough(), source.configuration.frame.image_frame())
    image = SCALE * simulator.simulate(SETTINGS, **LITERATURE["goodenough"])
    inference = pretrained_exchange(None)
    for number in range(3):
        counts = source.detect(image, generator(3, "exchange test", number))
        answer = infer_exchange(inference, counts, source.detector.measured)
        truth = np.array([LITERATURE["goodenough"][name] for name in answer.names])
        assert (np.abs(answer.mean - truth) < 4 * answer.error).all()
        assert answer.statement.of("JF1").word == "measured"


def test_the_public_measurement() -> None:
    """Near the likelihood's values, which know nothing of this network (docs/likelihood.md)."""
    folder = find_pcsmo()
    if folder is None:
        pytest.skip("needs the public measurement: set INSDL_DATA, or run insdl fetch pcsmo")
    measurement = read_pcsmo(folder / "measured.npy")
    answer = infer_exchange(pretrained_exchange(None), measurement.image, measurement.measured)
    fitted = {"JF1": -11.1, "JA": 1.38, "JF2": -1.69, "JF3": 1.48, "Jperp": 1.17, "D": 0.149}
    for name, mean in zip(answer.names, answer.mean, strict=True):
        worth = answer.statement.of(name)
        assert worth.word == "measured"
        # In widths of the prior: 0.74 for D, 0.45 for JF2, 0.15 for JA, less for the others (docs/exchange.md).
        assert abs(mean - fitted[name]) < {"JF2": 0.55, "D": 0.9}.get(name, 0.3) * worth.prior_width
