"""The tests of denoisers, tested: an oracle passes them, and those that cheat do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from denoising_set import denoising_set
from insdl.commands.predict import pretrained
from insdl.dataset.configuration import load_source
from insdl.dataset.configured import ConfiguredSource
from insdl.dataset.randomness import generator
from insdl.instrument import ImageSimulator
from insdl.instrument.pcsmo import SCALE, SETTINGS
from insdl.learn import denoise_trust
from insdl.learn.denoise import Denoised
from insdl.learn.denoise_trust import (
    class_test,
    comparison,
    hidden_pixels,
    judged,
    mirror_images,
    mixture_test,
    pair_of,
    renoised,
    residual_test,
    standard_residuals,
    template_shares,
    train_judge,
    truth_correlation,
)
from insdl.learn.denoising_samples import Pair
from insdl.learn.networks import CellClassifier
from insdl.learn.train import TrainingSettings
from insdl.materials import dimer, goodenough
from insdl.materials.pcsmo import LITERATURE

Reals = npt.NDArray[np.float64]
SHAPE = (20, 40, 40)


def answer(image: npt.ArrayLike) -> Denoised:
    values = np.asarray(image, dtype=np.float64)
    return Denoised(values, np.ones(values.shape), values)


def oracle(pair: Pair) -> Denoised:
    return answer(pair.expected)


def painter(pair: Pair) -> Denoised:
    """Makes the most similar simulated Goodenough image of everything."""
    samples = denoising_set()
    images = samples.of_class("goodenough").astype(np.float64)
    scale = pair.expected[pair.measured].mean() / images[0][pair.measured].mean()
    return answer(scale * images[0])


def noisy(truth: Reals, sigma: float, seed: int = 0) -> Reals:
    spread = np.sqrt(sigma**2 + np.maximum(truth, 0.0))
    return np.maximum(truth + spread * np.random.default_rng(seed).standard_normal(truth.shape), 0.0)


@pytest.mark.parametrize("level", [-0.5, 0.0, 0.3, 20.0])
def test_noise_around_the_truth_is_recognised_as_such(level: float) -> None:
    """Chi-squared 1 and no autocorrelation, also where half the pixels are clipped: 32 000 pixels, so about 0.01 each."""
    truth, everywhere = np.full(SHAPE, level), np.ones(SHAPE, bool)
    found = residual_test(noisy(truth, 1.2), truth, everywhere, sigma=1.2)
    assert found.chi_squared == pytest.approx(1.0, abs=0.05)
    assert found.outliers < 1e-3
    for value, tolerance in zip(found.autocorrelation, found.tolerance, strict=True):
        assert tolerance == pytest.approx(32_000**-0.5, rel=0.06)
        assert abs(value) < 4.0 * tolerance


def test_denoisers_that_do_nothing_or_too_much_are_found_out() -> None:
    rng = np.random.default_rng(1)
    truth = 20.0 + 8.0 * ndimage.gaussian_filter(rng.standard_normal(SHAPE), (0, 1.5, 1.5)) * 6.0
    truth, everywhere = np.maximum(truth, 0.0), np.ones(SHAPE, bool)
    counts = noisy(truth, 2.0)
    nothing, flat = (residual_test(counts, image, everywhere, sigma=2.0) for image in (counts, np.full(SHAPE, 20.0)))
    assert nothing.chi_squared < 0.02
    assert flat.chi_squared > 1.5
    assert min(flat.autocorrelation[:2]) > 50 * flat.tolerance[0]  # what it took away is the image
    assert abs(flat.autocorrelation[2]) < 4 * flat.tolerance[2]  # which has no order along the energy


def test_residuals_are_over_the_clipped_noise() -> None:
    """An empty pixel's own zero lies 0.68 of its spread below its mean: 1 / sqrt(pi - 1)."""
    found = standard_residuals(np.zeros(SHAPE), np.zeros(SHAPE), np.ones(SHAPE, bool), sigma=3.0)
    np.testing.assert_allclose(found, -1.0 / np.sqrt(np.pi - 1.0), rtol=1e-6)


def test_hot_pixels_are_counted_and_left_out() -> None:
    truth, measured = np.full(SHAPE, 2.0), np.random.default_rng(0).random(SHAPE) < 0.7
    counts = noisy(truth, 1.0)
    counts[3, 5, :10] = 100.0
    measured[3, 5, :10] = True
    counts[~measured] = 1e9
    found = residual_test(counts, truth, measured, sigma=1.0)
    assert found.outliers == pytest.approx(10 / measured.sum(), rel=0.2)
    assert found.chi_squared == pytest.approx(1.0, abs=0.05)
    with pytest.raises(ValueError, match="measured must hold at least one pixel, got none"):
        residual_test(counts, truth, np.zeros(SHAPE, bool), sigma=1.0)


def test_shares_of_templates_are_those_of_the_sum() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.exponential(3.0, SHAPE), rng.exponential(3.0, SHAPE)
    measured, floor = rng.random(SHAPE) < 0.7, rng.uniform(0, 2, (20, 1, 1))
    image = np.where(measured, 0.3 * first + 0.9 * second + floor, 1e6)
    found = template_shares(image, (first, second), measured, sigma=1.0)
    np.testing.assert_allclose(found, [0.3, 0.9], rtol=1e-9)


def test_mirror_images_hold_all_but_the_pixel_itself() -> None:
    counts = np.arange(9.0).reshape(1, 3, 3)
    found, seen = mirror_images(counts, np.ones((1, 3, 3), bool))
    assert seen.all()
    assert found[0, 0, 0] == pytest.approx((6.0 + 2.0 + 8.0) / 3)
    measured = np.ones((1, 3, 3), bool)
    measured[0, 2, 0] = measured[0, 0, 2] = False
    assert mirror_images(counts, measured)[0][0, 0, 0] == 8.0
    changed = counts.copy()
    changed[0, 0, 0] = 99.0
    assert mirror_images(changed, measured)[0][0, 0, 0] == 8.0
    alone = np.zeros((1, 3, 3), bool)
    alone[0, 0, 1] = True
    assert mirror_images(counts, alone)[1].sum() == 2  # its mirror in Qk is itself


def test_hidden_pixels_take_their_mirror_images_along() -> None:
    measured = np.random.default_rng(0).random((60, 40, 40)) < 0.8
    hidden = hidden_pixels(measured, share=0.1, seed=3)
    assert hidden.sum() / measured.sum() == pytest.approx(0.1, abs=0.005)
    assert not (hidden & ~measured).any()
    for mirrored in (hidden[:, ::-1], hidden[:, :, ::-1]):
        np.testing.assert_array_equal((hidden | ~measured)[mirrored], True)
    np.testing.assert_array_equal(hidden, hidden_pixels(measured, share=0.1, seed=3))
    assert not np.array_equal(hidden, hidden_pixels(measured, share=0.1, seed=4))
    with pytest.raises(ValueError, match="share must lie between 0 and 1, got 1"):
        hidden_pixels(measured, share=1.0, seed=0)


def test_correlation_with_the_truth() -> None:
    samples = denoising_set()
    pair = pair_of(samples, samples.images[0], index=0)
    assert truth_correlation(pair.expected, pair) == pytest.approx(1.0)
    table = comparison(
        {"truth": lambda p: p.expected, "noisy": lambda p: p.counts},
        [pair, pair_of(samples, samples.images[1], index=1)],
    )
    assert table["truth"] == pytest.approx((1.0, 0.0))
    assert 0.3 < table["noisy"][0] < 0.95


@pytest.fixture(scope="module")
def judge() -> CellClassifier:
    """Hardly trained: what matters here is who is asked about what."""
    settings = TrainingSettings(epochs=1, samples_per_epoch=32, threads=1)
    network, result = train_judge(denoising_set().coverages[0], n_images=8, settings=settings, threads=1)
    assert len(result.history) == 1
    return network


def test_an_oracle_keeps_the_class_and_a_painter_does_not(
    judge: CellClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a judge who is always right: he tells models by their correlation with the clean images."""
    samples = denoising_set()
    clean = np.stack([samples.of_class(name)[0] for name in ("goodenough", "dimer")]).astype(np.float64)

    def nearest(network: object, images: Any, masks: Any) -> Reals:
        return np.array(
            [
                [np.corrcoef(image[seen], one[seen])[0, 1] for one in clean]
                for image, seen in zip(images, masks, strict=True)
            ]
        )

    monkeypatch.setattr(denoise_trust, "judged", nearest)
    found = {
        (apply.__name__, name): class_test(apply, samples, judge, name=name, n=1, counting_time=4.0)
        for apply in (oracle, painter)
        for name in ("goodenough", "dimer", "zener_polaron")
    }
    for name in ("goodenough", "dimer", "zener_polaron"):
        assert found["oracle", name].by_template == 1.0
        assert found["painter", name].by_template == float(name == "goodenough")
    for name in ("goodenough", "dimer"):
        assert (
            found["oracle", name].by_judge == found["oracle", name].kept == found["oracle", name].truth_by_judge == 1.0
        )
        assert found["painter", name].kept == found["painter", name].by_judge == float(name == "goodenough")
    assert np.isnan(found["oracle", "zener_polaron"].kept)  # whom the judge does not know


def test_fresh_noise_is_of_the_pairs_size_and_other_noise() -> None:
    samples = denoising_set()
    pair = pair_of(samples, samples.images[0], index=0)
    fresh = renoised(pair.expected, pair, seed=0, index=0)
    assert not fresh[~pair.measured].any()
    again = residual_test(fresh, pair.expected, pair.measured, sigma=pair.sigma)
    assert again.chi_squared == pytest.approx(1.0, abs=0.05)
    a, b = (standard_residuals(image, pair.expected, pair.measured, sigma=pair.sigma) for image in (fresh, pair.counts))
    keep = pair.measured & (np.abs(b) < 5)
    assert abs(np.corrcoef(a[keep], b[keep])[0, 1]) < 0.03


def test_the_judge_gives_probabilities(judge: CellClassifier) -> None:
    samples = denoising_set()
    pair = pair_of(samples, samples.images[2], index=0)
    found = judged(judge, [pair.counts, pair.expected], [pair.measured] * 2)
    assert judge.config.outputs == ("goodenough", "dimer")
    assert found.shape == (2, 2)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)


def test_half_and_half_stays_so_with_an_oracle_and_flips_with_a_painter() -> None:
    samples = denoising_set()
    kept = mixture_test(oracle, samples, n=5, counting_time=4.0)
    assert kept.n == 2  # as many as there are
    assert kept.flipped == 0.0
    assert kept.share == kept.share_of_truth
    assert np.mean(kept.share) == pytest.approx(0.5, abs=0.12)  # backgrounds and scale are in it
    turned = mixture_test(painter, samples, n=1)
    assert turned.flipped == 1.0


def test_the_same_number_is_the_same_noise() -> None:
    samples = denoising_set()
    first, second = (pair_of(samples, samples.images[0], index=4) for _ in range(2))
    np.testing.assert_array_equal(first.counts, second.counts)
    assert not np.array_equal(first.counts, pair_of(samples, samples.images[0], index=5).counts)


def test_a_jury_judges_too() -> None:
    """The one that comes along, on the literature's models as the preset counts them."""
    source = load_source("pcsmo", n_samples=4)
    assert isinstance(source, ConfiguredSource)
    models = {"goodenough": goodenough(), "dimer": dimer()}
    frame = source.configuration.frame.image_frame()
    counts = [
        source.detect(
            SCALE * ImageSimulator(model, frame).simulate(SETTINGS, **LITERATURE[name]), generator(3, "judge", i)
        )
        for i, (name, model) in enumerate(models.items())
    ]
    jury = pretrained(None)
    said = judged(jury, counts, [source.detector.measured] * 2)
    assert said.shape == (2, len(jury.classes))
    np.testing.assert_allclose(said.sum(axis=1), 1.0)
    assert [jury.classes[i] for i in said.argmax(axis=1)] == list(models)
