"""The source of a configuration: sample by sample reproducible, redrawn where unstable, and without a leak in sums."""

from __future__ import annotations

import json
import pickle
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from insdl.dataset import generator, simulate_set
from insdl.dataset.configuration import Configuration, configuration, load_configuration
from insdl.dataset.configured import MAX_ATTEMPTS, ConfiguredSource
from insdl.dataset.distribution import draw
from insdl.dataset.pcsmo import DIMER_ONLY, GOODENOUGH_ONLY, SETTINGS, SHARED, families
from insdl.instrument import ImageSettings
from insdl.instrument.pcsmo import SCALE
from insdl.materials import dimer, goodenough, rb2mnf4


def small(**changes: Any) -> Configuration:
    """Rb2MnF4 with few pixels."""
    content = load_configuration("rb2mnf4").model_dump()
    content["frame"]["pixels"] = {"first": -0.5, "last": 0.5, "count": 5}
    content["frame"]["subpixels"] = 1
    content["n_samples"] = 40
    return configuration({**content, **changes})


def often_unstable() -> Configuration:
    """An antiferromagnet that a large second-neighbour exchange destabilises, beside one that is always stable."""
    own = {"J1": {"kind": "uniform", "low": 0.5, "high": 0.8}, "D": -0.005}
    wild = {**own, "J2": {"kind": "uniform", "low": -0.1, "high": 0.8}}
    return small(
        classes=[
            {"name": "wild", "model": "rb2mnf4", "own": wild},
            {"name": "calm", "model": "rb2mnf4", "own": {**own, "J2": 0.0}},
        ]
    )


def test_samples_do_not_depend_on_how_they_are_made() -> None:
    source = ConfiguredSource(often_unstable())
    every = source.make(range(40))
    assert every.images.shape == (40, *source.image_shape) == (40, 4, 5, 5)
    assert every.images.dtype == np.float32
    for indices, threads in (([5], 1), ([39, 0, 6, 7], 2), (list(range(20, 30)), None)):
        some = ConfiguredSource(often_unstable()).make(indices, threads=threads)
        for name in ("images", "labels", "parameters", "settings", "attempts", "status"):
            np.testing.assert_array_equal(getattr(some, name), getattr(every, name)[indices])
    longer = ConfiguredSource(often_unstable().model_copy(update={"n_samples": 1000}))
    np.testing.assert_array_equal(longer.make([3]).images, every.images[[3]])
    assert source.make([]).images.shape == (0, 4, 5, 5)
    other = ConfiguredSource(often_unstable().model_copy(update={"seed": 1})).make(range(40))
    third = ConfiguredSource(often_unstable().model_copy(update={"stream": "test"})).make(range(40))
    for different in (other, third):
        assert not set(different.parameters[:, 0]) & set(every.parameters[:, 0])


def test_samples_are_the_simulators_images_of_their_parameters() -> None:
    source = ConfiguredSource(small(intensity=12.4))
    samples = source.make([4, 9])
    from insdl.instrument import ImageSimulator

    simulator = ImageSimulator(rb2mnf4(), small().frame.image_frame(), margin=0.07)
    for row in range(2):
        values = dict(zip(source.parameter_names, samples.parameters[row], strict=True))
        settings = ImageSettings(**dict(zip(source.setting_names, samples.settings[row], strict=True)))
        np.testing.assert_allclose(samples.images[row], 12.4 * simulator.simulate(settings, **values), rtol=1e-6)
        assert source.drawn([4, 9][row]) == (values, settings)
        assert 0.5 < values["J1"] < 0.8
    assert samples.status.tolist() == [0, 0]
    described = json.loads(json.dumps(source.describe()))
    assert configuration(described["configuration"]) == source.configuration
    assert described["models"]["rb2mnf4"]["parameters"] == ["J1", "J2", "D"]
    copied = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copied.make([4, 9]).images, samples.images)


def test_unstable_draws_are_drawn_again() -> None:
    """The one kept is the first that is stable, by the model itself."""
    source = ConfiguredSource(often_unstable())
    samples = source.make(range(40))
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 41), np.linspace(-1, 1, 41), [0.0]), axis=-1).reshape(-1, 3)
    redrawn = 0
    for index in range(0, 40, 2):
        for attempt in range(int(samples.attempts[index]) + 1):
            values, _ = source.drawn(index, attempt=attempt)
            row = rb2mnf4().values(values)[None]
            stable = bool(rb2mnf4().modes(grid, parameters=row).stable[0])
            assert stable == (attempt == samples.attempts[index])
        np.testing.assert_array_equal(samples.parameters[index], row[0])
        redrawn += int(samples.attempts[index])
    assert redrawn > 5
    assert not samples.attempts[1::2].any()
    assert (samples.status == 0).all()


def test_hopeless_samples_give_up_and_say_so() -> None:
    own = {"J1": {"kind": "uniform", "low": -0.8, "high": -0.5}, "J2": 0.0, "D": -0.005}
    source = ConfiguredSource(small(classes=[{"name": "hopeless", "model": "rb2mnf4", "own": own}]))
    samples = source.make(range(3))
    assert samples.status.tolist() == [1, 1, 1]
    assert samples.attempts.tolist() == [MAX_ATTEMPTS] * 3
    assert not samples.images.any()
    last = [source.drawn(index, attempt=MAX_ATTEMPTS - 1)[0]["J1"] for index in range(3)]
    assert samples.parameters[:, 0].tolist() == last


def test_indices_outside_are_refused() -> None:
    for wrong in (-1, 40):
        with pytest.raises(ValueError, match=f"indices must lie in 0 to 39, got {wrong}"):
            ConfiguredSource(small()).make([0, wrong])


def test_the_same_priors_give_the_images_of_the_job() -> None:
    """With the ranges of `insdl pcsmo`, image for image, bit for bit: two ways through the same numbers."""
    content = load_configuration("pcsmo").model_dump()
    content["classes"] = content["classes"][:2]

    def ranges(prior: Any) -> dict[str, Any]:
        return {name: {"kind": "uniform", "low": r.low, "high": r.high} for name, r in prior.ranges.items()}

    content["shared"] = ranges(SHARED)
    content["classes"][0] |= {"own": ranges(GOODENOUGH_ONLY), "derived": {"JF1": {"JF": 1.0}}}
    content["classes"][1] |= {"own": ranges(DIMER_ONLY)}
    content["settings"] = ranges(SETTINGS)
    content["frame"]["subpixels"] = 1
    samples = ConfiguredSource(configuration(content)).make(range(6))
    expected = simulate_set(families(subpixels=1), 6, seed=0, stream="train", scale=SCALE)
    np.testing.assert_array_equal(samples.labels, expected.labels)
    np.testing.assert_allclose(samples.images, expected.images, rtol=2e-6, atol=1e-6)
    for row, values in enumerate(expected.parameters):
        names = ConfiguredSource(configuration(content)).parameter_names
        found = {name: samples.parameters[row, names.index(name)] for name in values}
        assert found == pytest.approx(dict(values), rel=1e-12)
        missing = [samples.parameters[row, i] for i, name in enumerate(names) if name not in values]
        assert missing
        assert np.isnan(missing).all()


def test_rivals_share_what_both_have() -> None:
    """At one index the shared quantities are the same numbers for either class, and the parameters are made of them."""
    source = ConfiguredSource(load_configuration("pcsmo"))
    pair = source.configuration.classes[:2]
    source, other = (
        ConfiguredSource(source.configuration.model_copy(update={"classes": classes})) for classes in (pair, pair[::-1])
    )
    for index in range(0, 20, 2):
        first, _ = source.drawn(index)
        second, _ = other.drawn(index)
        mean = 0.5 * (second["JFS"] + second["JFW"])
        assert first["JF1"] + 0.5 * (first["JF2"] + first["JF3"]) == pytest.approx(mean, rel=1e-12)
        assert [first["JA"], first["Jperp"], first["D"]] == [second["JA1"], second["Jperp"], second["D"]]
        assert second["JA1"] == second["JA2"]
        # One shared mean exchange means one classical energy, and with it one trace of the bare Hamiltonian.
        assert goodenough().classical_energy(**first) == pytest.approx(dimer().classical_energy(**second), rel=1e-12)
        rng = generator(0, "train/parameters", index)
        assert draw(source.configuration.shared["JF"], rng) == pytest.approx(mean, rel=1e-12)


@cache
def leak_set(n: int, pair: tuple[int, int]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Sums of detected PCSMO images of two classes, (n, 60), and labels; one point a pixel, which sums hardly notice."""
    content = load_configuration("pcsmo").model_dump()
    content["classes"] = [content["classes"][number] for number in pair]
    content["frame"]["subpixels"] = 1
    content |= {"n_samples": n, "stream": "leak"}
    for name in ("phonons", "elastic", "aluminium"):
        content["detection"]["nuisances"][name]["shapes"] = 4
    source = ConfiguredSource(configuration(content))
    samples = source.make(range(n))
    assert (samples.attempts > 0).mean() < 0.02  # replacing unstable draws hardly changes what is shared
    counts = [source.detect(image, generator(0, "leak/detection", i)) for i, image in enumerate(samples.images)]
    return np.array([image.sum(axis=(1, 2), dtype=np.float64) for image in counts]), samples.labels


def areas(features: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> dict[str, float]:
    """Area under the ROC curve on held-out folds: 0.5 where nothing leaks."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    judges = {
        "logistic": make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
        "forest": RandomForestClassifier(50, min_samples_leaf=5, random_state=0),
    }
    return {
        name: float(roc_auc_score(labels, cross_val_predict(judge, features, labels, cv=folds, method="predict_proba")[:, 1]))
        for name, judge in judges.items()
    }  # fmt: skip


@pytest.mark.slow
def test_sums_do_not_give_the_class_away() -> None:
    """Total counts tell nothing, counts by incident energy little. 300 images: one standard deviation of an area is 0.033."""
    cells, labels = leak_set(300, (0, 1))
    total = areas(np.log1p(cells.sum(axis=1, keepdims=True)), labels)
    by_energy = areas(np.log1p(cells.reshape(-1, 6, 10).sum(axis=2)), labels)
    assert max(total.values()) < 0.60, total
    assert max(by_energy.values()) < 0.68, by_energy
    zener, labels_zener = leak_set(300, (0, 2))
    total_zener = areas(np.log1p(zener.sum(axis=1, keepdims=True)), labels_zener)
    assert max(total_zener.values()) < 0.60, total_zener
    # The test would see a leak: one class brighter by two thirds.
    brighter = cells * np.where(labels == 0, 1.67, 1.0)[:, None]
    assert min(areas(np.log1p(brighter.sum(axis=1, keepdims=True)), labels).values()) > 0.63
