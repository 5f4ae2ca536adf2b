"""Simulated sets: reproducible sample by sample, replaced where unstable, and without shortcuts to the label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from insdl import Bond, Site, SpinModel
from insdl.dataset import Prior, Range, SimulatedSet, generator, simulate_set
from insdl.dataset.pcsmo import (
    CLASSES,
    SCALE,
    SETTINGS,
    SHARED,
    DetectedSamples,
    DetectionPrior,
    detect,
    draw_dimer,
    draw_goodenough,
    families,
    network_input,
)
from insdl.dataset.simulated import MAX_ATTEMPTS, Family
from insdl.instrument import EnergyBlock, ImageFrame, ImageSettings, ImageSimulator, detector_coverage
from insdl.instrument.pcsmo import CLIP, pcsmo_frame
from insdl.materials.pcsmo import A, B, C

NO_DETECTION = DetectionPrior(Range(1, 1), Range(0, 0), background=0.0, pedestal=0.0, hot_fraction=0.0, flips=False)


def chain(low: float, high: float, name: str = "chain", pixels: int = 3) -> Family:
    """A chain with ferromagnetic order and an exchange between low and high meV: unstable where it is positive."""
    cell = np.diag([4.0, 4.0, 10.0])
    model = SpinModel(
        cell, cell, [Site((0, 0, 0), 1.0, (0, 0, 1), "Mn2+")], [Bond(0, 0, (1, 0, 0), parameter="J")], parameters=["J"]
    )
    frame = ImageFrame(
        [EnergyBlock([[0.2, 2.0], [2.0, 6.0]], 20.0, (0.2, 0, 0), 0.01)], np.linspace(-0.4, 0.3, pixels), 1
    )
    prior = Prior({"J": Range(low, high)})
    return Family(
        name,
        ImageSimulator(model, frame),
        prior.draw,
        lambda rng: ImageSettings(twin_fraction=float(rng.random())),
    )


RIVALS = (chain(-2.0, 1.5, "often unstable"), chain(-2.0, -1.0, "stable"))


def same(first: SimulatedSet, second: SimulatedSet, n: int) -> None:
    np.testing.assert_array_equal(first.images[:n], second.images[:n])
    np.testing.assert_array_equal(first.labels[:n], second.labels[:n])
    assert first.parameters[:n] == second.parameters[:n]
    assert first.settings[:n] == second.settings[:n]


def test_generators_depend_on_seed_stream_index_and_attempt_alone() -> None:
    def numbers(*given: object, **more: int) -> list[float]:
        return generator(*given, **more).random(4).tolist()  # type: ignore[arg-type]

    first = numbers(1, "train", 5)
    generator(1, "train", 4).random(1000)
    assert numbers(1, "train", 5) == first
    others = [
        numbers(2, "train", 5),
        numbers(1, "test", 5),
        numbers(1, "train", 6),
        numbers(1, "train", 5, attempt=1),
        numbers(1, "train", 1, attempt=5),
        numbers(11, "/train", 5),
    ]
    everything = [first, *others]
    assert len({value for row in everything for value in row}) == 4 * len(everything)
    assert numbers(2**70, "train", 2**40) != first
    for bad in ((-1, "train", 0), (1, "train", -1)):
        with pytest.raises(ValueError, match="must not be negative"):
            generator(*bad)


def test_a_sample_depends_on_seed_stream_and_index_alone() -> None:
    """Whatever the number of samples, the threads, and what was made before."""
    first = simulate_set(RIVALS, 20, seed=3, stream="train")
    assert first.images.shape == (20, 2, 3, 3)
    for n, threads in ((20, 1), (7, 2), (20, 3), (1, None)):
        same(simulate_set(RIVALS, n, seed=3, stream="train", threads=threads), first, n)
    for seed, stream in ((4, "train"), (3, "test")):
        other = simulate_set(RIVALS, 20, seed=seed, stream=stream)
        assert not {row["J"] for row in other.parameters} & {row["J"] for row in first.parameters}
    assert (first.seed, first.stream, first.families) == (3, "train", ("often unstable", "stable"))
    assert first.labels.tolist() == [0, 1] * 10
    assert len(first) == 20


def test_unstable_draws_are_counted_and_replaced_deterministically() -> None:
    """Every attempt has numbers of its own: the one kept is the first that is stable."""
    result = simulate_set(RIVALS, 60, seed=9, stream="train")
    replaced = 0
    for index in range(60):
        for attempt in range(MAX_ATTEMPTS):
            rng = generator(9, "train/parameters", index, attempt=attempt)
            drawn = RIVALS[index % 2].draw_parameters(rng)
            if drawn["J"] <= 0:
                break
            replaced += 1
        assert result.parameters[index] == drawn
    assert result.replaced == replaced
    assert replaced > 10
    assert np.isfinite(result.images).all()
    assert (result.images.max(axis=(1, 2, 3)) > 0).all()


def test_what_was_kept_is_what_was_drawn() -> None:
    """An image is the simulator's at the parameters and settings kept with it, times the scale."""
    result = simulate_set(RIVALS, 6, seed=5, stream="test", scale=12.4)
    for index in range(6):
        simulator = RIVALS[index % 2].simulator
        image = simulator.simulate(result.settings[index], **result.parameters[index])
        np.testing.assert_array_equal(result.images[index], (12.4 * image).astype(np.float32))


def test_hopeless_priors_and_numbers_that_do_not_fit() -> None:
    with pytest.raises(
        ValueError, match=r"hopeless: sample 0 of 'train' is unstable after 50 draws, the last at \{'J':"
    ):
        simulate_set([chain(1.0, 2.0, "hopeless")], 3, seed=1, stream="train")
    with pytest.raises(ValueError, match="stable: image 0 of 'train' does not fit float16"):
        simulate_set([RIVALS[1]], 3, seed=1, stream="train", dtype=np.float16, scale=1e9)
    with pytest.raises(ValueError, match="at least one family"):
        simulate_set([], 3, seed=1, stream="train")
    with pytest.raises(ValueError, match="all families need one frame"):
        simulate_set([RIVALS[0], chain(-2, -1, pixels=4)], 3, seed=1, stream="train")


def test_ranges() -> None:
    """Uniform, or uniform in the logarithm, and never outside."""
    rng = np.random.default_rng(0)
    linear = np.array([Range(-3.0, 5.0).draw(rng) for _ in range(2000)])
    assert linear.min() >= -3.0
    assert linear.max() <= 5.0
    assert linear.mean() == pytest.approx(1.0, abs=0.15)
    log = np.array([Range(0.5, 8.0, "log").draw(rng) for _ in range(2000)])
    assert np.median(log) == pytest.approx(2.0, rel=0.1)
    assert Range(0.7, 0.7).draw(rng) == 0.7
    for bad in ((1.0, 0.0), (0.0, np.inf), (np.nan, 1.0)):
        with pytest.raises(ValueError, match="a range needs finite low <= high"):
            Range(*bad)
    with pytest.raises(ValueError, match="scale must be 'linear', or 'log' with low > 0"):
        Range(0.0, 1.0, "log")


def shared(values: Mapping[str, float]) -> dict[str, float]:
    """What both models have, from the parameters of either."""
    if "JF1" in values:
        return {"JF": values["JF1"], "JA": values["JA"], "Jperp": values["Jperp"], "D": values["D"]}
    assert values["JA1"] == values["JA2"]
    mean = 0.5 * (values["JFS"] + values["JFW"])
    return {"JF": mean, "JA": values["JA1"], "Jperp": values["Jperp"], "D": values["D"]}


def test_shared_parameters_have_one_prior() -> None:
    """Both classes draw them from the same numbers in the same order; what is the rivals' own differs."""
    assert set(SHARED.ranges) == {"JF", "JA", "Jperp", "D"}
    for index in range(50):
        first, second = (draw(generator(1, "any", index)) for draw in (draw_goodenough, draw_dimer))
        assert shared(first) == pytest.approx(shared(second), rel=1e-12)
        assert first["JF2"] <= 0 <= first["JF3"]
        assert 0.5 <= second["JFW"] - second["JFS"] <= 8.0
        for name, value in shared(first).items():
            assert SHARED.ranges[name].low <= value <= SHARED.ranges[name].high


@cache
def pcsmo_set() -> SimulatedSet:
    return simulate_set(families(subpixels=1), 200, seed=2, stream="leak", scale=SCALE)


@cache
def coverage() -> npt.NDArray[np.bool_]:
    return detector_coverage(pcsmo_frame(), np.diag([A, B, C]))


def best_threshold(feature: npt.ArrayLike, labels: npt.NDArray[np.int64]) -> float:
    """Accuracy of the best single threshold, chosen on the same samples: 0.5 and some luck where nothing leaks."""
    ones = np.concatenate([[0], np.cumsum(labels[np.argsort(feature)])])
    below = np.arange(len(labels) + 1)
    right = (below - ones) + (ones[-1] - ones)  # zeros below, ones above
    return float(max(right.max(), len(labels) - right.min()) / len(labels))


def test_best_threshold_finds_what_is_there() -> None:
    labels = np.array([0, 1] * 100)
    assert best_threshold(labels + 0.1 * np.random.default_rng(0).random(200), labels) == 1.0
    assert best_threshold(-labels, labels) == 1.0
    assert best_threshold(np.random.default_rng(0).random(200), labels) < 0.65


def test_no_single_number_gives_the_label_away() -> None:
    """After the replacement of unstable draws too: shared parameters, settings, and intensities of noisy images."""
    simulated = pcsmo_set()
    labels = simulated.labels
    features = {name: [shared(row)[name] for row in simulated.parameters] for name in SHARED.ranges}
    features |= {name: [asdict(row)[name] for row in simulated.settings] for name in SETTINGS.ranges}
    samples = DetectedSamples(simulated, coverage(), 4, "leak", order="once")
    counts = [samples.counts(index)[0] for index in range(len(simulated))]
    features["total intensity"] = [float(image.sum()) for image in counts]
    features["total of the logarithm"] = [float(np.log1p(image).sum()) for image in counts]
    features["zeros"] = [float((image == 0).mean()) for image in counts]
    for block in range(6):
        features[f"intensity of block {block}"] = [float(image[10 * block : 10 * block + 10].sum()) for image in counts]
    accuracy = {name: best_threshold(values, labels) for name, values in features.items()}
    assert max(accuracy.values()) < 0.65, accuracy


def test_both_classes_are_there_alike() -> None:
    simulated = pcsmo_set()
    assert simulated.families == CLASSES
    assert np.bincount(simulated.labels).tolist() == [100, 100]
    assert len({tuple(row.values()) for row in simulated.parameters}) == 200
    assert simulated.replaced < 20


def test_detection_is_a_function_of_the_index() -> None:
    simulated = pcsmo_set()
    samples, again, other = (
        DetectedSamples(simulated, coverage(), seed, stream) for seed, stream in ((4, "a"), (4, "a"), (5, "a"))
    )
    backwards = {index: again.sample(index) for index in (7, 3, 0)}
    for index in (0, 3, 7):
        image, label = samples.sample(index)
        np.testing.assert_array_equal(backwards[index][0], image)
        assert backwards[index][1] == label
        assert np.abs(other.sample(index)[0] - image).max() > 0.1
    images, labels = samples.arrays(4)
    np.testing.assert_array_equal(images[3], samples.sample(3)[0])
    assert images.shape == (4, 60, 40, 40)
    assert images.dtype == np.float32
    assert labels.dtype == np.int64
    once = DetectedSamples(simulated, coverage(), 4, "a", order="once")
    assert [once.counts(index)[1] for index in range(4)] == simulated.labels[:4].tolist()


def test_detected_images_stay_within_the_detector() -> None:
    simulated, measured = pcsmo_set(), coverage()
    samples = DetectedSamples(simulated, measured, 4, "a")
    for index in range(5):
        counts, _ = samples.counts(index)
        assert counts.dtype == np.float32
        assert not counts[~measured].any()
        assert counts.min() >= 0.0
        assert counts.max() <= CLIP
        image, _ = samples.sample(index)
        assert not image[~measured].any()
        np.testing.assert_allclose(np.expm1(image), counts, rtol=1e-5, atol=1e-5)


def test_detection_leaves_its_input_alone() -> None:
    image = pcsmo_set().images[0]
    before = image.copy()
    detect(image, coverage(), np.random.default_rng(0))
    network_input(image, coverage())
    np.testing.assert_array_equal(image, before)


def test_detection_without_noise_is_the_image() -> None:
    """All nuisances off: only the counting noise of the signal is left, and its mean is the image."""
    image = np.minimum(pcsmo_set().images[0], 50.0)
    everywhere = np.ones(image.shape, bool)
    many = [detect(image, everywhere, np.random.default_rng(seed), NO_DETECTION) for seed in range(30)]
    bright = image > 10
    assert bright.sum() > 1000
    deviation = (np.mean(many, axis=0) - image)[bright] / np.sqrt(image[bright] / 30)
    assert deviation.mean() == pytest.approx(0.0, abs=0.1)
    assert deviation.std() == pytest.approx(1.0, abs=0.1)


def test_detection_may_mirror_the_image_but_not_the_mask() -> None:
    """Qh and Qk run either way with even odds; what is unseen stays where it is."""
    image = np.zeros((60, 40, 40), np.float32)
    image[:, :5, 30:] = 100.0
    prior = DetectionPrior(Range(1, 1), Range(0, 0), background=0.0, pedestal=0.0, hot_fraction=0.0)
    corners = np.zeros((2, 2))
    measured = np.ones(image.shape, bool)
    measured[:, 3, 3] = False
    for seed in range(60):
        counts = detect(image, measured, np.random.default_rng(seed), prior)
        assert not counts[:, 3, 3].any()
        bright = [
            [counts[:, :5, :5].sum(), counts[:, :5, -5:].sum()],
            [counts[:, -5:, :5].sum(), counts[:, -5:, -5:].sum()],
        ]
        corners += np.array(bright) > 1e4
    assert corners.sum() == 60
    assert corners.min() >= 5
