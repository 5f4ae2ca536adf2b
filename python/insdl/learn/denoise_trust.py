"""Tests that a denoiser has to pass before what it shows is believed.

A denoiser may paint the answer it was trained on. So: fed one model it must return that model, fed the rival the rival, fed
neither it must turn into neither; what it takes away must look like noise; and it must beat methods that know nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from insdl.dataset.pcsmo import CLASSES, SCALE, DetectedSamples, families, network_input
from insdl.dataset.randomness import generator
from insdl.dataset.simulated import simulate_set
from insdl.instrument.counting import counted
from insdl.learn.denoise import Denoised
from insdl.learn.denoising_samples import DenoisingSamples, Pair
from insdl.learn.jury import Jury, hear
from insdl.learn.networks import CellClassifier
from insdl.learn.stabilisation import clipped_moments, stabilised
from insdl.learn.templates import correlation
from insdl.learn.train import TrainingResult, TrainingSettings, predict, train

_Floats = npt.NDArray[np.floating[Any]]
_Reals = npt.NDArray[np.float64]
_Mask = npt.NDArray[np.bool_]
Apply = Callable[[Pair], Denoised]
"""What a denoiser makes of a noisy image."""
OUTLIER = 5.0
"""Standard deviations of the noise, before clipping, from which a pixel counts as hot."""


@dataclass(frozen=True)
class ResidualTest:
    """What was taken away, against what noise would be.

    Attributes
    ----------
    chi_squared : per pixel, of pixels within `OUTLIER` standard deviations; about 1 for the truth, 0 for a denoiser that
        returns its input.
    outliers : share of the pixels beyond.
    autocorrelation : along Qh, Qk and the energy slices, of neighbouring residuals; 0 for noise.
    tolerance : one standard deviation of each of these for noise.
    """

    chi_squared: float
    outliers: float
    autocorrelation: tuple[float, float, float]
    tolerance: tuple[float, float, float]


def standard_residuals(counts: _Floats, image: _Floats, measured: _Mask, *, sigma: npt.ArrayLike) -> _Reals:
    """(n_bins, n_h, n_k) float64. (I - E[I]) / sqrt(Var[I]) of counts clipped at zero; NaN where not measured.

    Parameters
    ----------
    counts : (n_bins, n_h, n_k), counts as measured. image : the same shape, expected counts before clipping.
    sigma : (n_bins,) or one number, counts. Noise where there is no signal.
    """
    noise = np.broadcast_to(np.asarray(sigma, dtype=np.float64), len(counts))[:, None, None]
    mean, variance = clipped_moments(image, noise)
    # A pixel far below zero counts nothing, surely: its residual is 0, and no statement about noise.
    spread = np.sqrt(np.maximum(variance, 1e-4 * noise**2))
    return np.where(measured, (counts - mean) / spread, np.nan)


def residual_test(
    counts: _Floats, image: _Floats, measured: _Mask, *, sigma: npt.ArrayLike, bins_per_energy: int = 10
) -> ResidualTest:
    """Chi-squared per pixel and autocorrelation of the residuals; arrays as in `standard_residuals`.

    The autocorrelation is that of residuals less their mean in each cell, over pairs of measured neighbours that are no
    outliers; slices are neighbours within one incident energy.
    """
    residual = standard_residuals(counts, image, measured, sigma=sigma)
    n = int(measured.sum())
    if n == 0:
        raise ValueError("measured must hold at least one pixel, got none")
    noise = np.broadcast_to(np.asarray(sigma, dtype=np.float64), len(counts))[:, None, None]
    # Before clipping, the noise is normal; after it, five deviations of an empty pixel are not rare.
    far = np.abs(np.where(measured, counts - image, 0.0)) > OUTLIER * np.sqrt(noise**2 + np.maximum(image, 0.0))
    inside = measured & ~far
    flat = np.where(inside, residual, 0.0)
    held = np.maximum(inside.sum(axis=(1, 2), keepdims=True), 1)
    centred = np.where(inside, flat - flat.sum(axis=(1, 2), keepdims=True) / held, 0.0)
    blocks = (-1, bins_per_energy, *counts.shape[1:])
    values, tolerance = [], []
    for axis in (2, 3, 1):
        z, seen = (np.moveaxis(array.reshape(blocks), axis, 0) for array in (centred, inside))
        pairs = seen[1:] & seen[:-1]
        n_pairs = max(int(pairs.sum()), 1)
        square = float(np.mean(centred[inside] ** 2)) if inside.any() else 1.0
        values.append(float(np.sum(z[1:] * z[:-1], where=pairs)) / (n_pairs * max(square, 1e-30)))
        tolerance.append(n_pairs**-0.5)
    chi_squared = float(np.sum(flat**2) / max(int(inside.sum()), 1))
    along_h, along_k, along_e = values
    return ResidualTest(
        chi_squared,
        1.0 - float(inside.sum()) / n,
        (along_h, along_k, along_e),
        (tolerance[0], tolerance[1], tolerance[2]),
    )


def template_shares(image: _Floats, templates: Sequence[_Floats], measured: _Mask, *, sigma: npt.ArrayLike) -> _Reals:
    """How much of each template is in an image.

    Least squares over measured pixels of image = sum of share times template + one constant for each bin, every pixel weighted
    by its noise, 1 / (sigma^2 + max(image, 0)).

    Parameters
    ----------
    image : (n_bins, n_h, n_k), counts, as denoised. templates : images of the same shape, counts.

    Returns
    -------
    (n_templates,) float64. 1 and 0 for the first of two templates, a half and a half for their mean.
    """
    noise = np.broadcast_to(np.asarray(sigma, dtype=np.float64), len(image))[:, None, None]
    weight = np.where(measured, 1.0 / (noise**2 + np.maximum(image, 0.0)), 0.0)
    total = np.maximum(weight.sum(axis=(1, 2), keepdims=True), 1e-30)

    def centred(values: _Floats) -> _Reals:
        off = np.sqrt(weight) * (values - (weight * values).sum(axis=(1, 2), keepdims=True) / total)
        return np.asarray(off, dtype=np.float64).ravel()

    columns = np.stack([centred(np.asarray(template, dtype=np.float64)) for template in templates], axis=1)
    shares = np.linalg.lstsq(columns, centred(np.where(measured, image, 0.0)), rcond=None)[0]
    return np.asarray(shares, dtype=np.float64)


def truth_correlation(image: _Floats, pair: Pair) -> float:
    """Pearson correlation with the truth over measured pixels, on the scale of unit noise."""
    noise = pair.sigma[:, None, None]
    found, truth = (stabilised(np.asarray(values, dtype=np.float64), noise) for values in (image, pair.expected))
    return correlation(found[pair.measured].astype(np.float64), truth[pair.measured].astype(np.float64))


def mirror_images(counts: _Floats, measured: _Mask) -> tuple[_Reals, _Mask]:
    """Mean of an image's three mirror images (Qh, Qk, both) where they were measured, and where any was.

    The magnetic signal has both mirrors; noise at -Qh and -Qk is other noise. So this is what the measurement says about a
    pixel without that pixel.
    """
    total, weight = np.zeros(counts.shape), np.zeros(counts.shape)
    for h, k in ((-1, 1), (1, -1), (-1, -1)):
        seen = measured[:, ::h, ::k]
        total += np.where(seen, counts[:, ::h, ::k], 0.0)
        weight += seen
    return total / np.maximum(weight, 1.0), weight > 0


def hidden_pixels(measured: _Mask, *, share: float, seed: int) -> _Mask:
    """A share of the measured pixels, each together with its three mirror images.

    What a denoiser says of these from the rest can be compared with what was measured there: it knows neither the pixel nor a
    mirror image of it.
    """
    if not 0 < share < 1:
        raise ValueError(f"share must lie between 0 and 1, got {share}")
    drawn = generator(seed, "hidden pixels", 0).random(measured.shape)
    for axis in (1, 2):
        drawn = np.minimum(drawn, np.flip(drawn, axis))
    # The smallest of four is below x with probability 1 - (1 - x)^4.
    hidden: _Mask = drawn < 1.0 - (1.0 - share) ** 0.25
    return np.logical_and(measured, hidden)


def train_judge(
    measured: _Mask,
    *,
    n_images: int = 2000,
    seed: int = 0,
    settings: TrainingSettings | None = None,
    threads: int | None = None,
    progress: Literal["bar", "silent"] = "silent",
) -> tuple[CellClassifier, TrainingResult]:
    """A classifier of noisy Goodenough and dimer images, as `insdl pcsmo` trains it: other models, other nuisances.

    It never sees a denoised image: a judge that had learned a denoiser's habits could not find them out.

    Parameters
    ----------
    measured : (n_bins, n_h, n_k) bool. Where a detector looks.
    n_images : simulated images; a tenth as many, 8 at least, choose the best weights.
    settings : of the training. threads : of the simulation; None for all processors.
    """
    rivals = families()
    sets = [
        simulate_set(rivals, n, seed=seed, stream=stream, dtype=np.float16, scale=SCALE, threads=threads)
        for n, stream in ((n_images, "judge training"), (max(8, n_images // 10), "judge validation"))
    ]
    network = CellClassifier(cells=len(measured), classes=CLASSES, seed=seed)
    result = train(
        network,
        sample=DetectedSamples(sets[0], measured, seed, "judge training").sample,
        validation=DetectedSamples(sets[1], measured, seed, "judge validation", order="once").arrays(),
        settings=settings or TrainingSettings(epochs=8, samples_per_epoch=2400, seed=seed),
        progress=progress,
    )
    return network, result


def renoised(image: _Floats, pair: Pair, *, seed: int, index: int) -> npt.NDArray[np.float32]:
    """Fresh counting noise on an image, of the size that a pair has: what a judge of noisy images can be asked about."""
    mean = np.asarray(np.where(pair.measured, image, 0.0), dtype=np.float32)
    counts = counted(mean, pair.sigma[:, None, None], generator(seed, "fresh noise", index))
    return np.where(pair.measured, counts, np.float32(0.0))


def judged(judge: CellClassifier | Jury, images: Sequence[_Floats], measured: Sequence[_Mask]) -> _Reals:
    """(n, classes) float64. The judge's probabilities for images in counts."""
    if isinstance(judge, Jury):
        heard = hear(judge, np.stack(images), np.stack(measured))
        return np.array([[verdict.probability[name] for name in judge.classes] for verdict in heard])
    shown = [network_input(image, seen) for image, seen in zip(images, measured, strict=True)]
    return predict(judge, np.stack(shown))


@dataclass(frozen=True)
class ClassTest:
    """Whether a denoiser keeps the model of an image.

    Attributes
    ----------
    n : images. by_judge : share of the denoised images, with fresh noise, that the judge gives to the model that made them.
    noisy_by_judge : the same of the noisy images. truth_by_judge : of the truths with fresh noise.
    kept : of the images whose truth the judge knows, the share whose denoised image it knows, too; NaN without any.
    by_template : share whose denoised image correlates more with its own noise-free image than with that of any rival among
        the samples.

    What the judge says is NaN for a model that it does not know.
    """

    n: int
    by_judge: float
    noisy_by_judge: float
    truth_by_judge: float
    kept: float
    by_template: float


def class_test(
    apply: Apply,
    samples: DenoisingSamples,
    judge: CellClassifier | Jury,
    *,
    name: str,
    n: int,
    counting_time: float = 1.0,
) -> ClassTest:
    """Denoises noisy images of one model and asks judge and templates what they are now.

    Parameters
    ----------
    apply : the denoiser. samples : models it has not seen. judge : a classifier (`train_judge`), or a jury that has never
        seen a denoised image. name : of the model. n : images, at most as many as there are.
    """
    images, rivals = samples.of_class(name)[:n], samples.images[samples.labels != samples.classes.index(name)]
    shown: tuple[list[_Floats], list[_Floats], list[_Floats]] = ([], [], [])
    masks, nearer = [], []
    for index, clean in enumerate(images):
        pair = pair_of(samples, clean, index=index, counting_time=counting_time)
        found = apply(pair).image
        own = _similarity(found, clean, pair)
        nearer.append(own > max(_similarity(found, rival, pair) for rival in rivals))
        masks.append(pair.measured)
        shown[0].append(renoised(found, pair, seed=samples.seed, index=index))
        shown[1].append(pair.counts)
        shown[2].append(renoised(pair.expected, pair, seed=samples.seed, index=index))
    by_template = float(np.mean(nearer))
    known_names = judge.classes if isinstance(judge, Jury) else judge.config.outputs
    if name not in known_names:
        return ClassTest(len(images), np.nan, np.nan, np.nan, np.nan, by_template)
    label = known_names.index(name)
    right = np.array([judged(judge, kind, masks).argmax(axis=1) == label for kind in shown])
    known = right[2].sum()
    kept = float((right[0] & right[2]).sum() / known) if known else np.nan
    found_right, noisy_right, truth_right = (float(share) for share in right.mean(axis=1))
    return ClassTest(len(images), found_right, noisy_right, truth_right, kept, by_template)


@dataclass(frozen=True)
class MixtureTest:
    """Whether a denoiser turns half-and-half images into one of the two.

    Attributes
    ----------
    n : images. share : (n,) of the first model in the denoised image, of what both have in it; a half in the truth.
    share_of_truth : (n,) the same in the noise-free image, backgrounds included.
    """

    n: int
    share: tuple[float, ...]
    share_of_truth: tuple[float, ...]

    @property
    def flipped(self) -> float:
        """Share of the images in which one model now has less than a quarter."""
        shares = np.array(self.share)
        return float(np.mean((shares < 0.25) | (shares > 0.75)))


def mixture_test(
    apply: Apply,
    samples: DenoisingSamples,
    *,
    names: tuple[str, str] = ("goodenough", "dimer"),
    n: int,
    counting_time: float = 1.0,
) -> MixtureTest:
    """Denoises the mean of two models' images and measures how much of each is left, by least squares."""
    shares: tuple[list[float], list[float]] = ([], [])
    images = [samples.of_class(name) for name in names]
    n = min(n, *(len(every) for every in images))
    for index in range(n):
        first, second = images[0][index].astype(np.float32), images[1][index].astype(np.float32)
        pair = pair_of(samples, 0.5 * (first + second), index=index, counting_time=counting_time)
        shown: tuple[_Floats, _Floats] = (apply(pair).image, pair.expected)
        for image, row in zip(shown, shares, strict=True):
            a, b = template_shares(image, (first, second), pair.measured, sigma=pair.sigma)
            row.append(float(a / (a + b)))
    return MixtureTest(n, tuple(shares[0]), tuple(shares[1]))


def pair_of(
    samples: DenoisingSamples,
    clean: _Floats,
    *,
    index: int,
    counting_time: float = 1.0,
) -> Pair:
    """A noisy image of ``clean`` with the measurement's own detector bank; the same noise for the same index."""
    rng = generator(samples.seed, f"{samples.stream}/trust", index)
    return samples.detected(clean, samples.coverages[0], rng, counting_time=counting_time)


def comparison(
    methods: Mapping[str, Callable[[Pair], _Floats]], pairs: Sequence[Pair]
) -> dict[str, tuple[float, float]]:
    """Mean correlation with the truth, and its standard error, of each method over the same pairs.

    Parameters
    ----------
    methods : name, and what makes an image in counts of a pair's counts, mask and sigma.
    """
    table = {}
    for name, method in methods.items():
        values = np.array([truth_correlation(method(pair), pair) for pair in pairs])
        table[name] = (float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))))
    return table


def _similarity(image: _Floats, clean: _Floats, pair: Pair) -> float:
    """Correlation with a clean image scaled to the pair's counts, over measured pixels, on the scale of unit noise."""
    seen, noise = pair.measured, pair.sigma[:, None, None]
    template = np.asarray(clean, dtype=np.float64)
    scale = float(pair.expected[seen].mean()) / max(float(template[seen].mean()), 1e-30)
    a, b = (stabilised(values, noise)[seen].astype(np.float64) for values in (image, scale * template))
    return correlation(a, b)
