"""The image of few principal components that fits a noisy one best, for images that are nearly their own mirror images.

Counts below zero are set to zero in a file, so that a zero says no more than "not above". What it would have been is part of
the fit: expectation and maximisation, as for the censored regression of Tobin, Econometrica 26, 24 (1958).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

_REMEMBERED = 128  # detectors whose normal matrix is kept
_FAR = 3.0  # standard deviations above the fit: pixels beyond pull no harder than these, as hot ones should not
# Even or odd in Qh, even or odd in Qk: signs in the quarters (+, +), (-, +), (+, -) and (-, -) of Qh and Qk.
_PARITIES = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], dtype=torch.float32)
_PRODUCT = ((0, 1, 2, 3), (1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0))  # of two of them

_Singles = npt.NDArray[np.float32]
_Reals = npt.NDArray[np.float64]


class ComponentFit(nn.Module):
    """Wiener estimate of an image in the space of some principal components, on the scale of unit noise.

    True images are taken as normal with the components' variances v_k, pixels as measured with unit variance, so that with
    the measured pixels' components B the weights are w = (B B^T + diag(1 / v))^-1 B (x - mean), the most probable ones.

    Whether an image comes as it is or mirrored makes no difference to a spectrometer's user, so that components are even or
    odd in Qh and in Qk, and a quarter of each says all. Nearly everything is even in both; a shifted frame or a slope of the
    background is odd.

    Parameters
    ----------
    cells, pixels : of an image, (cells, pixels, pixels). components : their number, of all four kinds.
    rounds : how often zeros are told what the fit makes of them (`completed`), and the fit is made anew. The density of a zero
        is the probability to be below it; without rounds it would be a count.

    Notes
    -----
    Before `learn` everything is zero. Components are kept in half precision.
    """

    mean: Tensor
    basis: Tensor
    variance: Tensor
    parity: Tensor

    def __init__(self, cells: int, pixels: int, components: int, *, rounds: int = 4) -> None:
        super().__init__()
        self.shape = (cells, pixels // 2, pixels // 2)
        self.rounds = rounds
        size = cells * (pixels // 2) ** 2
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("basis", torch.zeros(components, size, dtype=torch.float16))
        self.register_buffer("variance", torch.ones(components))
        self.register_buffer("parity", torch.zeros(components, dtype=torch.int64))
        self._factors: dict[bytes, Tensor] = {}

    def learn(self, truths: Iterable[_Singles]) -> None:
        """Takes the leading components of true images (n, cells, pixels, pixels), units of the noise, n above their number."""
        rows = np.stack([_parts(image) for image in truths], axis=1)  # (4, n, size)
        rank = len(self.variance)
        if rows.shape[1] <= rank:
            raise ValueError(f"{rank} components need more images than that, got {rows.shape[1]}")
        mean = rows[0].mean(axis=0)
        rows[0] -= mean
        found = [_components(part, rank) for part in rows]
        variances = np.concatenate([values for values, _ in found])
        chosen = np.sort(np.argsort(variances)[::-1][:rank])
        self.mean.copy_(torch.from_numpy(mean))
        self.basis.copy_(torch.from_numpy(np.concatenate([basis for _, basis in found])[chosen]))
        self.variance.copy_(torch.from_numpy(np.maximum(variances[chosen], 1e-9 * variances.max())))
        self.parity.copy_(torch.from_numpy(chosen // rank))
        self._factors.clear()

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """(n, cells, pixels, pixels): the fitted images of noisy ones of the same shape, with masks."""
        with torch.no_grad():
            n, signs = len(values), _PARITIES.to(values)
            basis = self.basis.float()
            kinds = [self.parity == kind for kind in range(4)]
            own = [basis[kind] for kind in kinds]
            masks = _quarters(mask).reshape(4, n, -1)
            seen = _quarters(values).reshape(4, n, -1)
            fitted, now = seen, seen
            for number in range(self.rounds + 1):
                if number:
                    now = completed(seen, fitted)
                away = (now - self.mean) * masks
                sides = values.new_zeros(n, len(basis))
                for sign, kind, part in zip(signs, kinds, own, strict=True):
                    sides[:, kind] = torch.tensordot(sign, away, dims=1) @ part.T
                weights = torch.stack([self._solved(side, masks[:, i], basis) for i, side in enumerate(sides)])
                parts = [weights[:, kind] @ part for kind, part in zip(kinds, own, strict=True)]
                fitted = self.mean + torch.tensordot(signs.T, torch.stack(parts), dims=1)
            return _whole(fitted.reshape(4, n, *self.shape))

    def _solved(self, side: Tensor, masks: Tensor, basis: Tensor) -> Tensor:
        """Weights; detectors come again and again, and the factors of their normal matrices are kept."""
        key = masks.to(torch.float16).cpu().numpy().tobytes()
        if key not in self._factors:
            if len(self._factors) >= _REMEMBERED:
                self._factors.clear()
            folded, normal = _PARITIES.to(masks) @ masks, torch.diag(1.0 / self.variance)
            for a in range(4):
                for b in range(4):
                    one, other = (torch.nonzero(self.parity == kind)[:, 0] for kind in (a, b))
                    normal[one[:, None], other] += (basis[one] * folded[_PRODUCT[a][b]]) @ basis[other].T
            self._factors[key] = torch.linalg.cholesky(normal)
        return torch.cholesky_solve(side[:, None], self._factors[key].to(side.device))[:, 0]


def completed(values: Tensor, expected: Tensor) -> Tensor:
    """Values as they would have been counted, had zeros not been clipped and no pixel been hot.

    A zero is expected - h(expected), the mean of a normal distribution of unit variance below zero. What is more than three
    above what is expected counts as three.

    Parameters
    ----------
    values, expected : the same shape, units of the noise.
    """
    return torch.where(values == 0, expected - _hazard(expected), torch.minimum(values, expected + _FAR))


def surprise(values: Tensor, expected: Tensor) -> Tensor:
    """Squared distance from what is expected, one on average where that is true; a zero: 1 + expected h(expected), its mean."""
    below = (1.0 + expected * _hazard(expected)).clamp_min(0.0)
    return torch.where(values == 0, below, (values - expected) ** 2)


def _hazard(x: Tensor) -> Tensor:
    """h = phi(x) / Phi(-x) of the standard normal distribution; its asymptotic series where x > 5, to 1e-3 there."""
    near = x.clamp(max=5.0)
    h = torch.exp(-0.5 * near * near) * math.sqrt(2.0 / math.pi) / torch.erfc(near * math.sqrt(0.5))
    far = x.clamp(min=5.0)
    return torch.where(x > 5.0, far + 1.0 / far - 2.0 / far**3 + 10.0 / far**5, h)


def _components(rows: _Singles, rank: int) -> tuple[_Reals, _Singles]:
    """Variances, descending, and orthonormal components of rows of mean zero."""
    values, vectors = np.linalg.eigh((rows @ rows.T).astype(np.float64))
    values, vectors = values[::-1][:rank], vectors[:, ::-1][:, :rank]
    scale = np.sqrt(np.maximum(values, 1e-12 * max(float(values[0]), 1e-30)))
    return values / len(rows), (vectors / scale).T.astype(np.float32) @ rows


def _parts(image: _Singles) -> _Singles:
    """(4, size): the parts of an image that are even or odd in Qh and Qk, each on the quarter where both are positive."""
    quarters = _quarters(torch.from_numpy(np.ascontiguousarray(image))[None])[:, 0]
    parts: _Singles = (0.25 * torch.tensordot(_PARITIES, quarters, dims=1)).reshape(4, -1).numpy()
    return parts


def _quarters(images: Tensor) -> Tensor:
    """(4, n, cells, p/2, p/2): quarters of (n, cells, p, p), each turned over so that Qh and Qk ascend from the middle."""
    h, k = images.shape[2] // 2, images.shape[3] // 2
    up, down = images[:, :, h:], images[:, :, :h].flip(2)
    return torch.stack([up[..., k:], down[..., k:], up[..., :k].flip(3), down[..., :k].flip(3)])


def _whole(quarters: Tensor) -> Tensor:
    """The inverse of `_quarters`."""
    up_right, down_right, up_left, down_left = quarters
    right = torch.cat([down_right.flip(2), up_right], dim=2)
    return torch.cat([torch.cat([down_left.flip(2), up_left], dim=2).flip(3), right], dim=3)
