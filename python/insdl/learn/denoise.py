"""Denoising of an image of counts: training, application with an uncertainty for every pixel, and checkpoints.

What is estimated is the expected image of the measurement: everything that a longer counting time would show, background
included. Counting noise, hot and dead pixels are taken away; deciding which part of the rest is magnetic is another question.
"""

from __future__ import annotations

import copy
import io
import math
import time
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from insdl.dataset.durable_file import write_durably
from insdl.learn.denoising_networks import Denoiser, DenoiserConfig, Estimate, denoiser_input
from insdl.learn.denoising_samples import DenoisingPrior, DenoisingSamples, Pair
from insdl.learn.networks import evaluation_mode
from insdl.learn.stabilisation import check_sigma, counts_of, stabilised

FORMAT = "insdl denoiser 2"
"""What a checkpoint file says it is."""
_LATENT_VARIANCE = 0.05  # of the decoder, in units of the noise: about what a trained one reaches
_DRAWS = 8  # of the latent image, for the uncertainty of a variational denoiser


@dataclass(frozen=True)
class DenoiserTraining:
    """How a denoiser is trained.

    Attributes
    ----------
    pairs : seen in all, each once. batch_size : pairs of a step.
    learning_rate : the peak of the one-cycle schedule of AdamW, reached after a tenth of the steps.
    validations : looks at the validation pairs; the weights of the best look are kept.
    seed : of what is random in training. threads : of torch; None leaves its setting.
    """

    pairs: int = 18_000
    batch_size: int = 16
    learning_rate: float = 4e-3
    weight_decay: float = 1e-4
    validations: int = 8
    seed: int = 0
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("pairs", "batch_size", "validations", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise ValueError(f"learning_rate must be positive and finite, got {self.learning_rate}")


@dataclass(frozen=True)
class DenoiserHistory:
    """Loss of each look at the validation pairs, of the training since the look before, and seconds in all."""

    training: tuple[float, ...]
    validation: tuple[float, ...]
    seconds: float


@dataclass(frozen=True, eq=False)
class Denoised:
    """A denoised image.

    Attributes
    ----------
    image : (n_bins, n_h, n_k) float64, counts. Expected counts; below zero where a subtraction took too much. Where not
        measured, what the input held, bit for bit.
    uncertainty : (n_bins, n_h, n_k) float64, counts. One standard deviation of ``image``; NaN where not measured.
    filled : (n_bins, n_h, n_k) float64, counts. ``image``, and a guess where not measured: for tests with hidden pixels.
    """

    image: npt.NDArray[np.float64]
    uncertainty: npt.NDArray[np.float64]
    filled: npt.NDArray[np.float64]


def train_denoiser(
    network: Denoiser,
    *,
    pair: Callable[[int], Pair],
    validation: Sequence[Pair],
    settings: DenoiserTraining | None = None,
    progress: Literal["bar", "silent"] = "silent",
) -> DenoiserHistory:
    """Trains a denoiser in place on pair(0), pair(1), ...; its weights end as the best of the looks at ``validation``.

    The loss is the mean over measured pixels, in units of the noise, of the squared error of the mean, plus a tenth of the
    negative log-likelihood of that error under the predicted variance. The latter does not reach the mean: a variance that
    grows where the image is hard would excuse it from learning there (Seitzer et al., ICLR 2022, arXiv:2203.09168). A
    variational network adds its divergence (Kingma, Welling, arXiv:1312.6114) for a decoder of variance 0.05.

    Parameters
    ----------
    pair : pair number i, a pure function of i; called in ascending order from one background thread.
    validation : pairs, and models, that ``pair`` never returns.
    """
    settings = DenoiserTraining() if settings is None else settings
    if not validation:
        raise ValueError("validation must hold at least one pair, got none")
    started, steps = time.perf_counter(), math.ceil(settings.pairs / settings.batch_size)
    held_out = [_batch(validation[i : i + 32]) for i in range(0, len(validation), 32)]
    looks = {math.ceil((n + 1) * steps / settings.validations) for n in range(settings.validations)}
    losses: tuple[list[float], list[float]] = ([], [])
    best_state, since = copy.deepcopy(network.state_dict()), []
    threads = torch.get_num_threads()
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=steps + 1, pct_start=0.1
    )
    try:
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        with (
            evaluation_mode(network),
            torch.random.fork_rng(),
            torch.enable_grad(),
            ThreadPoolExecutor(1, "insdl-pairs") as pool,
            tqdm(total=steps, unit="batch", disable=progress == "silent") as bar,
        ):
            torch.manual_seed(settings.seed)

            def drawn(step: int) -> tuple[Tensor, Tensor]:
                size = settings.batch_size
                return _batch([pair(i) for i in range(step * size, (step + 1) * size)])

            following = pool.submit(drawn, 0)
            for step in range(1, steps + 1):
                batch = following.result()
                if step < steps:
                    following = pool.submit(drawn, step)
                network.train()
                optimizer.zero_grad()
                loss = _loss(network, *batch)
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                since.append(loss.item())
                bar.update()
                if step in looks:
                    losses[0].append(float(np.mean(since)))
                    losses[1].append(_validated(network, held_out))
                    since = []
                    if not all(math.isfinite(values[-1]) for values in losses):
                        raise RuntimeError(
                            f"training diverged at step {step}; try a learning_rate below {settings.learning_rate}"
                        )
                    bar.set_postfix(validation=f"{losses[1][-1]:.4f}")
                    if losses[1][-1] == min(losses[1]):
                        best_state = copy.deepcopy(network.state_dict())
    finally:
        torch.set_num_threads(threads)
    network.load_state_dict(best_state)
    network.eval()
    return DenoiserHistory(tuple(losses[0]), tuple(losses[1]), time.perf_counter() - started)


def trained_denoiser(
    config: DenoiserConfig | None = None,
    *,
    n_images: int = 1600,
    settings: DenoiserTraining | None = None,
    simulation_threads: int | None = None,
    progress: Literal["bar", "silent"] = "silent",
) -> tuple[Denoiser, DenoiserHistory]:
    """A denoiser for PCSMO images from nothing: simulated models, pairs, training. Seventeen minutes of one processor core.

    Parameters
    ----------
    config : see `DenoiserConfig`; the frame gives cells and pixels. 320 components where None.
    n_images : clean images to train on; a sixteenth as many others choose the best weights. As many again make the
        components, so that they fit what the network learns from no better than what it will see.
    settings : see `DenoiserTraining`; its seed is that of the models and pairs, too.
    """
    settings, n_validation = settings or DenoiserTraining(), max(8, n_images // 16)
    config = DenoiserConfig(components=320) if config is None else config
    if config.components >= n_images:
        raise ValueError(f"{config.components} components need more images than that, got {n_images}")
    samples, held_out = (
        DenoisingSamples(n, seed=settings.seed, stream=stream, threads=simulation_threads)
        for n, stream in ((n_images, "training"), (n_validation, "validation"))
    )
    network = Denoiser(config)
    if network.config.components:
        models = DenoisingSamples(
            n_images,
            seed=settings.seed,
            stream="components",
            prior=DenoisingPrior(shares=(1.0, 0.0, 0.0, 0.0, 0.0)),
            threads=simulation_threads,
        )
        network.fitted.learn(
            stabilised(one.expected, one.sigma[:, None, None]) for one in map(models.pair, range(n_images))
        )
    pairs = [held_out.pair(index) for index in range(n_validation)]
    history = train_denoiser(network, pair=samples.pair, validation=pairs, settings=settings, progress=progress)
    return network, history


def denoise(
    network: Denoiser | Sequence[Denoiser],
    counts: npt.ArrayLike,
    measured: npt.NDArray[np.bool_],
    *,
    sigma: npt.ArrayLike,
) -> Denoised:
    """The expected image of a measurement, with an uncertainty for every pixel.

    Parameters
    ----------
    network : a trained denoiser, or several: then the mean of their answers, whose spread adds to the uncertainty
        (Lakshminarayanan et al., NIPS 2017, arXiv:1612.01474).
    counts : (n_bins, n_h, n_k), counts, finite where measured.
    measured : (n_bins, n_h, n_k) bool. True where a detector looked.
    sigma : (n_bins,) or one number, counts, positive. Noise where there is no signal; that of signal mu has the variance
        sigma^2 + mu. For the published measurement: `insdl.instrument.pcsmo.NOISE_SIGMA`, flattened.

    Raises
    ------
    ValueError
        If an array has another shape than the networks' images, or counts are not finite where measured.
    """
    networks = [network] if isinstance(network, Denoiser) else list(network)
    if not networks:
        raise ValueError("network must be a denoiser or some of them, got none")
    config = networks[0].config
    image = np.asarray(counts, dtype=np.float64)
    expected = (config.cells, config.pixels, config.pixels)
    if image.shape != expected or measured.shape != expected or measured.dtype != np.bool_:
        raise ValueError(
            f"counts and measured (bool) must have shape {expected}, got {image.shape} and {measured.dtype} {measured.shape}"
        )
    if not np.isfinite(image[measured]).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(image) & measured)[0])
        raise ValueError(f"counts must be finite where measured, got {image[where]} at pixel {where}")
    noise = check_sigma(sigma, config.cells)
    inputs = torch.from_numpy(denoiser_input(np.where(measured, image, 0.0), measured, noise[:, 0, 0])[None])
    mean, variance = _mixture([one for each in networks for one in _estimates(each, inputs)])
    # d mu / d t = sqrt(sigma^2 + max(mu, 0)) = sigma + max(t, 0) / 2 carries the uncertainty over to counts.
    slope = noise + 0.5 * np.maximum(mean, 0.0)
    filled = counts_of(mean, noise).astype(np.float64)
    return Denoised(np.where(measured, filled, image), np.where(measured, slope * np.sqrt(variance), np.nan), filled)


def save_denoiser(path: Path | str, network: Denoiser, *, history: DenoiserHistory | None = None) -> None:
    """Writes a denoiser to a file that is either complete or, after any interruption, as it was before."""
    content = {
        "format": FORMAT,
        "config": asdict(network.config),
        "state": {name: value.cpu() for name, value in network.state_dict().items()},
        "history": None if history is None else asdict(history),
    }
    stream = io.BytesIO()
    torch.save(content, stream)
    write_durably(Path(path), stream.getvalue())


def load_denoiser(path: Path | str) -> Denoiser:
    """The denoiser of a checkpoint file, on the CPU and in evaluation mode; reading it runs no code.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it is no denoiser of insdl.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"there is no checkpoint file {file}")
    try:
        if not zipfile.is_zipfile(file):
            raise ValueError("not a file of torch.save, or cut short")
        content = torch.load(file, map_location="cpu", weights_only=True)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"expected a dictionary of format {FORMAT!r}")
        network = Denoiser(DenoiserConfig(**content["config"]))
        network.load_state_dict(content["state"])
    except Exception as error:  # torch.load raises what the bytes happen to provoke
        raise ValueError(f"{file} is not a denoiser of insdl: {error}") from error
    network.eval()
    return network


def _batch(pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
    """Inputs (n, 3 cells, pixels, pixels) and stabilised expected images (n, cells, pixels, pixels)."""
    inputs = np.stack([denoiser_input(one.counts, one.measured, one.sigma) for one in pairs])
    target = np.stack([stabilised(one.expected, one.sigma[:, None, None]) for one in pairs])
    return torch.from_numpy(inputs), torch.from_numpy(target)


def _loss(network: Denoiser, inputs: Tensor, target: Tensor) -> Tensor:
    estimate: Estimate = network(inputs)
    cells = network.config.cells
    weight = inputs[:, cells : 2 * cells] / inputs[:, cells : 2 * cells].sum().clamp_min(1.0)
    error = estimate.mean - target
    # Errors beyond some standard deviations of the noise (a bright spot) count linearly.
    squared = functional.huber_loss(estimate.mean, target, reduction="none", delta=3.0)
    spread = estimate.log_variance + error.detach() ** 2 * torch.exp(-estimate.log_variance)
    latent = 2.0 * _LATENT_VARIANCE * estimate.divergence.mean() / target[0].numel()
    return (weight * (2.0 * squared + 0.1 * spread)).sum() + latent


def _validated(network: Denoiser, batches: Sequence[tuple[Tensor, Tensor]]) -> float:
    with evaluation_mode(network), torch.no_grad():
        parts = [(_loss(network, *batch).item(), len(batch[0])) for batch in batches]
    return sum(loss * n for loss, n in parts) / sum(n for _, n in parts)


def _estimates(network: Denoiser, inputs: Tensor) -> list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Means and variances, each (cells, pixels, pixels), whose mixture is the answer; of an autoencoder one."""
    draws = 1 if network.config.kind == "autoencoder" else _DRAWS
    with evaluation_mode(network), torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(network.config.seed)
        estimates = [network(inputs, sample="mean" if draws == 1 else "drawn") for _ in range(draws)]
    return [(e.mean[0].double().numpy(), e.log_variance[0].double().exp().numpy()) for e in estimates]


def _mixture(
    parts: Sequence[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and variance of a mixture of equal shares."""
    means, variances = (np.stack(values) for values in zip(*parts, strict=True))
    return means.mean(axis=0), variances.mean(axis=0) + means.var(axis=0)
