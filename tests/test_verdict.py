"""The verdict's rule, its monotony, and the whole chain on a small classifier of simulated PCSMO images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from insdl.dataset.randomness import generator
from insdl.instrument import ImageFrame, ImageSimulator
from insdl.instrument.frame import EnergyBlock
from insdl.instrument.pcsmo import NOISE_SIGMA, SCALE, SETTINGS, pcsmo_frame
from insdl.learn.alarm import fit_alarm, raises_alarm
from insdl.learn.calibration import calibrated, fit_temperature
from insdl.learn.centroids import CentroidClassifier, CentroidSettings, train_centroids
from insdl.learn.conformal import coverage, fit_conformal, label_sets
from insdl.learn.density import fit_density, image_strangeness, layer_features
from insdl.learn.networks import CellClassifier
from insdl.learn.reliability import calibration_error
from insdl.learn.scores import auroc, log_loss
from insdl.learn.train import TrainingSettings, predict, train
from insdl.learn.verdict import CANNOT_TELL, NONE_OF_THESE, judge
from insdl.materials import dimer, goodenough, zener_polaron
from insdl.materials.pcsmo import LITERATURE

NAMES = ("goodenough", "dimer")
ALARM = fit_alarm(np.arange(100.0))  # 0 to 99; the threshold is 95


def _answers(rows, scores, **options) -> list[str]:
    options = {"alarm": ALARM, **options}
    return [verdict.answer for verdict in judge(rows, options.pop("names", NAMES), scores=scores, **options)]


def test_the_rule() -> None:
    rows = [[0.97, 0.03], [0.94, 0.06], [0.97, 0.03], [0.97, 0.03], [0.97, 0.03]]
    assert _answers(rows, [95, 95, 96, math.inf, math.nan]) == ["goodenough", CANNOT_TELL, *[NONE_OF_THESE] * 3]
    assert _answers(rows[:2], [0, 0], required=0.9) == ["goodenough", "goodenough"]


def test_probabilities_are_those_of_the_formula() -> None:
    """Threshold 95 has p0 = 6/101; 98 has p = 3/101 and w = 1/2; beyond all held-out scores w = 1/6; infinity has 0."""
    assert ALARM.threshold == 95.0
    rows = np.tile([0.8, 0.2], (4, 1))
    found = judge(rows, NAMES, scores=[95.0, 98.0, 1e9, math.inf], alarm=ALARM)
    for verdict, weight in zip(found, (1.0, 0.5, 1 / 6, 0.0), strict=True):
        assert verdict.probability["goodenough"] == pytest.approx(0.8 * weight)
        assert verdict.probability["none"] == pytest.approx(1 - weight)
        assert list(verdict.probability) == ["goodenough", "dimer", "none"]
        assert sum(verdict.probability.values()) == pytest.approx(1.0)
        assert verdict.in_distribution == (weight == 1.0)
    assert [verdict.p_value for verdict in found] == pytest.approx([6 / 101, 3 / 101, 1 / 101, 0.0])


def test_a_class_none_of_the_classifier_counts() -> None:
    names = ("goodenough", "none", "dimer")
    rows = [[0.02, 0.97, 0.01], [0.3, 0.4, 0.3], [0.96, 0.03, 0.01]]
    assert _answers(rows, [0, 0, 0], names=names) == [NONE_OF_THESE, CANNOT_TELL, "goodenough"]
    (verdict,) = judge(rows[1:2], names, scores=[98.0], alarm=ALARM)
    assert verdict.probability == pytest.approx({"goodenough": 0.15, "dimer": 0.15, "none": 1 - 0.5 * 0.6})


def test_label_sets_can_only_take_an_answer_away() -> None:
    rows, scores = np.tile([0.99, 0.01], (4, 1)), [0, 0, 0, 99]
    sets = np.array([[True, False], [True, True], [False, False], [True, False]])
    assert _answers(rows, scores, label_sets=sets) == ["goodenough", CANNOT_TELL, CANNOT_TELL, NONE_OF_THESE]
    found = judge(rows, NAMES, scores=scores, alarm=ALARM, label_sets=sets)
    assert [verdict.label_set for verdict in found] == [("goodenough",), NAMES, (), ("goodenough",)]
    assert "cannot be excluded is {goodenough, dimer}" in found[1].reason


@given(
    row=st.lists(st.floats(0.001, 1), min_size=3, max_size=3),
    scores=st.lists(st.floats(allow_nan=True, width=32), min_size=2, max_size=2),
    held_out=st.lists(st.floats(-100, 100), min_size=19, max_size=60),
    own_none=st.booleans(),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_stranger_image_never_has_a_more_probable_class(row, scores, held_out, own_none) -> None:
    alarm = fit_alarm(held_out)
    probabilities = np.array(row) / np.sum(row)
    names = ("goodenough", "dimer", "none" if own_none else "zener-polaron")
    low, high = sorted(scores, key=lambda score: math.inf if math.isnan(score) else score)
    less, more = judge(np.stack([probabilities] * 2), names, scores=[low, high], alarm=alarm)
    for name in less.probability:
        if name == "none":
            assert more.probability[name] >= less.probability[name]
        else:
            assert more.probability[name] <= less.probability[name]
    assert less.in_distribution or not more.in_distribution
    if less.answer == NONE_OF_THESE:
        assert more.answer == NONE_OF_THESE
    if more.answer not in (CANNOT_TELL, NONE_OF_THESE):
        assert less.answer == more.answer


def test_no_probabilities_are_none_of_these() -> None:
    found = judge([[math.nan, 1.0], [math.inf, 0.0]], NAMES, scores=[0.0, 0.0], alarm=ALARM)
    for verdict in found:
        assert verdict.answer == NONE_OF_THESE
        assert verdict.probability == {"goodenough": 0.0, "dimer": 0.0, "none": 1.0}
        assert not verdict.in_distribution
        assert "gave no probabilities" in verdict.reason
    assert judge(np.empty((0, 2)), NAMES, scores=[], alarm=ALARM) == ()


def test_a_verdict_cannot_be_changed() -> None:
    (verdict,) = judge([[0.9, 0.1]], NAMES, scores=[0.0], alarm=ALARM)
    with pytest.raises(AttributeError):
        verdict.answer = "dimer"  # type: ignore[misc]
    with pytest.raises(TypeError):
        verdict.probability["dimer"] = 1.0  # type: ignore[index]


def test_bad_input_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"probabilities must have shape \(n, 2\), got \(1, 3\)"):
        judge([[0.2, 0.3, 0.5]], NAMES, scores=[0.0], alarm=ALARM)
    with pytest.raises(ValueError, match=r"scores must have shape \(1,\), got \(2,\)"):
        judge([[0.5, 0.5]], NAMES, scores=[0.0, 1.0], alarm=ALARM)
    with pytest.raises(ValueError, match=r"between 1/2 and 1, got 0\.5"):
        judge([[0.5, 0.5]], NAMES, scores=[0.0], alarm=ALARM, required=0.5)
    with pytest.raises(ValueError, match="class_names must differ"):
        judge([[0.5, 0.5]], ("dimer", "dimer"), scores=[0.0], alarm=ALARM)
    with pytest.raises(ValueError, match="label_sets must be bool of shape"):
        judge([[0.5, 0.5]], NAMES, scores=[0.0], alarm=ALARM, label_sets=[[1, 0]])
    with pytest.raises(ValueError, match="must not be negative and add up to 1"):
        judge([[0.5, 0.6]], NAMES, scores=[0.0], alarm=ALARM)


# --- The chain: six energy slices of PCSMO at Ei = 70 meV on 16 x 16 pixels, exchange constants within 10 %. ---

LAYERS = ("cells", "mix1", "head.1")
MODELS, NOISE = 240, NOISE_SIGMA[3, 2:8][:, None, None]


def _counted(expected: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Log counts of an expected image, its scale uncertain by a third, with the measured image's noise."""
    mean = expected * np.exp(rng.uniform(-0.3, 0.3))
    counts = mean + np.sqrt(NOISE**2 + mean) * rng.normal(size=mean.shape)
    return np.log1p(np.maximum(counts, 0.0)).astype(np.float32)


@pytest.fixture(scope="module")
def chain() -> Iterator[SimpleNamespace]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # networks this small only wait for each other on more
    whole = pcsmo_frame().blocks[3]
    block = EnergyBlock(np.asarray(whole.bins)[2:8], whole.incident_energy, whole.sigma_energy, whole.sigma_q)
    frame = ImageFrame([block], np.linspace(-1, 1, 16), subpixels=2)
    expected = []
    for name, model in (("goodenough", goodenough()), ("dimer", dimer())):
        values = np.array(list(LITERATURE[name].values()))
        drawn = values * generator(0, f"verdict/{name}", 0).uniform(0.9, 1.1, size=(MODELS, len(values)))
        images, stable = ImageSimulator(model, frame).simulate_sets(drawn, SETTINGS, threads=1)
        assert stable.all()
        expected.append(SCALE * images)
    other = SCALE * ImageSimulator(zener_polaron(), frame).simulate(SETTINGS, **LITERATURE["zener_polaron"])

    def sample(index: int, models: range = range(120)) -> tuple[np.ndarray, int]:
        label = index % 2
        chosen = expected[label][models[(index // 2) % len(models)]]
        return _counted(chosen, generator(1, f"verdict/{models}", index)), label

    def several(models: range, n: int) -> tuple[np.ndarray, np.ndarray]:
        images, labels = zip(*(sample(index, models) for index in range(n)), strict=True)
        return np.stack(images), np.array(labels)

    known, held_out, test = several(range(120), 400), several(range(140, 190), 400), several(range(190, 240), 400)
    network = CellClassifier(cells=6, classes=NAMES, pixels=16, widths=(16, 16, 24))
    plan = TrainingSettings(epochs=5, samples_per_epoch=320, threads=1)
    train(network, sample=sample, validation=several(range(120, 140), 60), settings=plan, progress="silent")
    density = fit_density(layer_features(network, known[0], layers=LAYERS), known[1])
    more = several(range(120), 1280)
    yield SimpleNamespace(network=network, density=density, known=more, held_out=held_out, test=test, other=other)
    torch.set_num_threads(threads)


def _logits(network: CellClassifier, images: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(predict(network, images), 1e-300))


def _strangeness(chain: SimpleNamespace, images: np.ndarray) -> np.ndarray:
    return image_strangeness(chain.density, chain.network, images, layers=LAYERS)


def test_the_chain_is_calibrated_and_covers(chain: SimpleNamespace) -> None:
    (images, labels), (new, new_labels) = chain.held_out, chain.test
    scaling = fit_temperature(_logits(chain.network, images), labels)
    before, after = (
        predict(chain.network, new),
        calibrated(_logits(chain.network, new), temperature=scaling.temperature),
    )
    assert (after.argmax(axis=1) == new_labels).mean() > 0.97
    assert log_loss(after, new_labels) < log_loss(before, new_labels) + 0.005
    error = calibration_error(after, new_labels, draws=100)
    assert error.value < error.floor_95 + 3 * error.error
    conformal = fit_conformal(predict(chain.network, images), labels, miscoverage=0.1)
    covered = coverage(label_sets(before, conformal), new_labels)
    assert covered > 0.9 - 4 * math.sqrt(2 * 0.1 * 0.9 / 400)  # two sets of 400


def test_what_is_no_pcsmo_raises_the_alarm(chain: SimpleNamespace) -> None:
    known = _strangeness(chain, chain.test[0])
    alarm = fit_alarm(_strangeness(chain, chain.held_out[0]), false_alarm_rate=0.05)
    assert raises_alarm(alarm, known).mean() < 0.05 + 4 * math.sqrt(2 * 0.05 * 0.95 / 400)
    rng = np.random.default_rng(0)
    images = chain.test[0][:200]
    digits = np.kron(load_digits().images[:200] / 16, np.ones((1, 2, 2)))[:, None]
    strange = {
        "shuffled cells": np.stack([image[rng.permutation(6)] for image in images]),
        "slices in reverse order": images[:, ::-1],
        "noise": np.stack([_counted(np.zeros((6, 16, 16)), rng) for _ in range(200)]),
        "other noise": rng.exponential(0.5, size=(200, 6, 16, 16)),
        "digits": np.repeat(digits, 6, axis=1) * images.mean() / digits.mean(),
        "counted digits": np.stack([_counted(np.repeat(3 * digit, 6, axis=0), rng) for digit in digits]),
        "another magnet": np.stack([_counted(chain.other, rng) for _ in range(200)]),
    }
    for name, others in strange.items():
        scores = _strangeness(chain, others)
        assert auroc(known, scores).value > 0.98, name
        assert raises_alarm(alarm, scores).mean() > 0.9, name
        found = judge(predict(chain.network, others), NAMES, scores=scores, alarm=alarm)
        assert np.mean([verdict.answer == NONE_OF_THESE for verdict in found]) > 0.9, name
    scaling = fit_temperature(_logits(chain.network, chain.held_out[0]), chain.held_out[1])
    sure = calibrated(_logits(chain.network, chain.test[0]), temperature=scaling.temperature)
    found = judge(sure, NAMES, scores=known, alarm=alarm)
    right = [verdict.answer == NAMES[label] for verdict, label in zip(found, chain.test[1], strict=True)]
    assert np.mean(right) > 0.85
    wrong = [verdict.answer == NAMES[1 - label] for verdict, label in zip(found, chain.test[1], strict=True)]
    assert np.mean(wrong) < 0.02


def test_relative_distances_must_not_stand_alone(chain: SimpleNamespace) -> None:
    """Digits are strange in every direction, most of all in those that do not tell the classes apart."""
    features = layer_features(chain.network, chain.held_out[0], layers=LAYERS)
    relative = fit_density(features, chain.held_out[1], method="relative-mahalanobis")
    digits = np.kron(load_digits().images[:200] / 16, np.ones((1, 2, 2)))[:, None].repeat(6, axis=1)
    known, strange = (
        image_strangeness(relative, chain.network, images, layers=LAYERS) for images in (chain.test[0], digits)
    )
    assert auroc(known, strange).value < 0.5


def test_a_centroid_network_knows_what_it_knows(chain: SimpleNamespace) -> None:
    """The same body under a centroid head, from nothing: as accurate, and far from what is no PCSMO."""
    body = CellClassifier(cells=6, classes=2, pixels=16, widths=(16, 16, 24))
    body.head = torch.nn.Sequential(*list(body.head)[:2])
    network = CentroidClassifier(body, features=24, classes=2)
    images, labels = (torch.from_numpy(array) for array in chain.known)
    batches = [(images[i : i + 32], labels[i : i + 32]) for _ in range(2) for i in range(0, len(images), 32)]
    train_centroids(network, batches, settings=CentroidSettings(slope=1 / 17))  # in 1 / distance between two images
    network.eval()

    def kernels(given: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return network(torch.from_numpy(given.astype(np.float32))).numpy()

    known = kernels(chain.test[0])
    assert (known.argmax(axis=1) == chain.test[1]).mean() > 0.95
    rng = np.random.default_rng(0)
    strange = {
        "noise": np.stack([_counted(np.zeros((6, 16, 16)), rng) for _ in range(100)]),
        "digits": np.kron(load_digits().images[:100] / 16, np.ones((1, 2, 2)))[:, None].repeat(6, axis=1),
        "another magnet": np.stack([_counted(chain.other, rng) for _ in range(100)]),
        "empty": np.zeros((1, 6, 16, 16)),
    }
    for name, others in strange.items():
        assert auroc(-known.max(axis=1), -kernels(others).max(axis=1)).value > 0.97, name


def test_an_empty_image_is_none_of_these_however_sure_the_network_is(chain: SimpleNamespace) -> None:
    empty = np.zeros((1, 6, 16, 16), np.float32)
    alarm = fit_alarm(_strangeness(chain, chain.held_out[0]))
    (verdict,) = judge([[1.0, 0.0]], NAMES, scores=_strangeness(chain, empty), alarm=alarm)
    assert verdict.answer == NONE_OF_THESE
    assert verdict.probability["none"] == 1.0
    assert verdict.score == math.inf
