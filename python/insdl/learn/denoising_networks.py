"""Two denoising networks for images of (Ei, energy) cells: an autoencoder, and a variational one.

Both see counts on a scale of unit noise (`insdl.learn.stabilisation`), the mask and the noise of every cell, and return the
expected image on the same scale with a variance for every pixel. A pixel's answer starts from the mean of its own
neighbourhood in its own cell, or from an image of few components where that fits (`insdl.learn.component_fit`); what the
other cells say is added to that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from insdl.learn.component_fit import ComponentFit, surprise
from insdl.learn.stabilisation import stabilised

_LOG_VARIANCE = (-9.0, 3.0)  # softly bounded: no pixel is known to a hundredth of its noise, none is without limits
NetworkKind = Literal["autoencoder", "variational"]


@dataclass(frozen=True)
class DenoiserConfig:
    """What a denoiser is made of; `latent` channels at a quarter of the resolution only in a variational one.

    With `components` it knows that many principal components of true images, and asks of each pixel whether they fit.
    """

    kind: NetworkKind = "autoencoder"
    cells: int = 60
    pixels: int = 40
    width: int = 48
    latent: int = 32
    components: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("autoencoder", "variational"):
            raise ValueError(f"kind must be 'autoencoder' or 'variational', got {self.kind!r}")
        for name in ("cells", "width", "latent"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.components < 0:
            raise ValueError(f"components must not be negative, got {self.components}")
        if self.pixels < 8 or self.pixels % 4:
            raise ValueError(f"pixels must be a multiple of 4, 8 at least, got {self.pixels}")


class Estimate(NamedTuple):
    """What a denoiser says of a batch, in units of the noise.

    mean, log_variance : (n, cells, pixels, pixels). divergence : (n,), nats; of the latent distribution from a standard normal
    one, zero without one.
    """

    mean: Tensor
    log_variance: Tensor
    divergence: Tensor


def denoiser_input(
    counts: npt.NDArray[np.floating], measured: npt.NDArray[np.bool_], sigma: npt.NDArray[np.floating]
) -> npt.NDArray[np.float32]:
    """(3 cells, pixels, pixels) float32: stabilised counts, mask, logarithm of the noise.

    Parameters
    ----------
    counts : (cells, pixels, pixels), counts; what stands where not measured does not matter.
    measured : (cells, pixels, pixels) bool. sigma : (cells,), counts, noise where there is no signal.
    """
    noise = np.asarray(sigma, dtype=np.float32)[:, None, None]
    values = stabilised(np.where(measured, counts, 0.0), noise)
    spread = np.broadcast_to(np.log(noise), values.shape)
    return np.concatenate([values, measured.astype(np.float32), spread])


class Denoiser(nn.Module):
    """Expected image and its variance from a noisy image.

    ============ ==================== ==============================================================================
    block        output, width 48     what it is
    ============ ==================== ==============================================================================
    `fitted`     (60, 40, 40)         with components: the image of these that fits the measured pixels
    `stem`       (48, 40, 40)         1 x 1 over counts, their neighbourhood's mean, mask and noise of all cells; with
                                      components their image, and how far the neighbourhood is from it
    `fine`       (48, 40, 40)         3 x 3
    `down1`      (72, 20, 20)         4 x 4 of stride 2, then 3 x 3
    `down2`      (96, 10, 10)         4 x 4 of stride 2, then 3 x 3
    `latent`     (32, 10, 10)         variational only: mean and log-variance, 1 x 1, of a normal distribution
    `up2`, `up1` (72), (48)           transposed 4 x 4 of stride 2, then 3 x 3; an autoencoder adds what was there
    `head`       (60), (60), (60)     1 x 1; the mean is added to the neighbourhood's mean, or to a mixture of it and the
                                      components' image, whose share is the third
    ============ ==================== ==============================================================================

    The variational network has no way around its latent image: all but the neighbourhood's mean goes through it. Trained, it
    draws from the latent distribution; evaluated, it takes the mean unless ``sample`` is "drawn".
    """

    config: DenoiserConfig

    def __init__(self, config: DenoiserConfig | None = None) -> None:
        super().__init__()
        self.config = config = DenoiserConfig() if config is None else config
        cells, one = config.cells, config.width
        two, three = one * 3 // 2, one * 2
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            if config.components:
                self.fitted = ComponentFit(cells, config.pixels, config.components)
            self.stem = _block((6 if config.components else 4) * cells, one, kernel=1)
            self.fine = _block(one, one)
            self.down1 = nn.Sequential(_block(one, two, kernel=4, stride=2), _block(two, two))
            self.down2 = nn.Sequential(_block(two, three, kernel=4, stride=2), _block(three, three))
            if config.kind == "variational":
                self.latent = nn.Conv2d(three, 2 * config.latent, 1)
                self.decoded = _block(config.latent, three, kernel=1)
            self.deep = _block(three, three)
            self.up2, self.join2 = _up(three, two), _block(two, two)
            self.up1, self.join1 = _up(two, one), _block(one, one)
            self.head = nn.Conv2d(one, (3 if config.components else 2) * cells, 1)
            # Before training, the answer is the neighbourhood's mean, or half of it and half of the components' image.
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, inputs: Tensor, *, sample: Literal["mean", "drawn"] | None = None) -> Estimate:
        """Mean and log-variance of the expected image, of inputs (n, 3 cells, pixels, pixels) as of `denoiser_input`."""
        cells, pixels = self.config.cells, self.config.pixels
        if inputs.ndim != 4 or tuple(inputs.shape[1:]) != (3 * cells, pixels, pixels):
            raise ValueError(f"inputs must have shape (n, {3 * cells}, {pixels}, {pixels}), got {tuple(inputs.shape)}")
        values, mask = inputs[:, :cells], inputs[:, cells : 2 * cells]
        around = neighbourhood_mean(values, mask)
        seen = [inputs, around]
        if self.config.components:
            fitted = self.fitted(values, mask)
            seen += [fitted, torch.log1p(neighbourhood_mean(surprise(values, fitted), mask))]
        first = self.fine(self.stem(torch.cat(seen, dim=1).contiguous(memory_format=torch.channels_last)))
        second = self.down1(first)
        third = self.down2(second)
        divergence = values.new_zeros(len(values))
        skip = 1.0
        if self.config.kind == "variational":
            mean, log_variance = self.latent(third).chunk(2, dim=1)
            log_variance = _bounded(log_variance)
            divergence = 0.5 * (mean**2 + log_variance.exp() - 1.0 - log_variance).sum(dim=(1, 2, 3))
            drawn = sample == "drawn" or (sample is None and self.training)
            latent = mean + torch.randn_like(mean) * (0.5 * log_variance).exp() if drawn else mean
            third, skip = self.decoded(latent), 0.0
        second = self.join2(self.up2(self.deep(third)) + skip * second)
        first = self.join1(self.up1(second) + skip * first)
        correction, raw, *share = self.head(first).split(cells, dim=1)
        start = around + torch.sigmoid(share[0]) * (fitted - around) if share else around
        return Estimate(start + correction, _bounded(raw - 2.0), divergence)


def neighbourhood_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the measured pixels around each pixel of the same cell, 3 x 3 twice; zero where none is near."""

    def pooled(image: Tensor) -> Tensor:
        for _ in range(2):
            image = functional.avg_pool2d(image, 3, stride=1, padding=1)
        return image

    weight = pooled(mask)
    return pooled(values * mask) / torch.where(weight > 0, weight, torch.ones_like(weight))


def _bounded(raw: Tensor) -> Tensor:
    """Softly between the limits of the log-variance; slope one in the middle."""
    low, high = _LOG_VARIANCE
    middle, reach = 0.5 * (low + high), 0.5 * (high - low)
    return middle + reach * torch.tanh((raw - middle) / reach)


def _block(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _up(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, 4, 2, 1)
