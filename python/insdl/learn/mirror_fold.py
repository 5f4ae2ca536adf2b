"""The four mirror images of every cell as one quarter, and what a cell looks like, for networks that read sets of cells."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from insdl import _core

_LARGEST = 20.0  # of arsinh(counts): 2.4e8 counts in a pixel


def folded_cells(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean of the four quarters on the one where Qh, Qk > 0, measured share there, and what a cell looks like.

    Counts are averaged, and the mean comes as arsinh(counts / scale), so that a noisy cell looks like a quiet one with the same
    signal over noise. The scale of a cell is sqrt(1 + d^2) counts, where 1 + d is the geometric mean over the pixels of one
    count plus how far the four are from their mean: near the noise, never below one count, and no hot pixel sets it.

    Parameters
    ----------
    images : (n, 2 cells, h, w), arsinh(counts) and then masks (1 measured, 0 not); h and w even, mirrors in the middle. Values
        where nothing is measured are not looked at.

    Returns
    -------
    (n, cells, h/2, w/2) values and shares, and (n, cells, 4): `appearance` and the logarithm of the scale.

    Notes
    -----
    Compiled where nobody asks for gradients of the images, to single precision: seven times quicker than torch.
    """
    wanted = torch.is_grad_enabled() and images.requires_grad
    if images.device.type == "cpu" and images.dtype == torch.float32 and not wanted:
        return _compiled(images)
    return _differentiable(images)


def appearance(values: Tensor, mask: Tensor) -> Tensor:
    """(n, cells, 3): measured share, mean level, and mean difference of neighbours in each cell."""
    share = mask.mean(dim=(2, 3))
    level = values.sum(dim=(2, 3)) / mask.sum(dim=(2, 3)).clamp(min=1.0)
    rows, seen = values[..., ::2, :], mask[..., ::2, :]  # every other row is enough, and half the time
    both = seen[..., 1:] * seen[..., :-1]
    difference = ((rows[..., 1:] - rows[..., :-1]).abs() * both).sum(dim=(2, 3))
    return torch.stack([share, level, difference / both.sum(dim=(2, 3)).clamp(min=1.0)], dim=2)


def _compiled(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    n, channels, height, width = images.shape
    mean = np.empty((n, channels // 2, height // 2, width // 2), np.float32)
    share, log_scale = np.empty_like(mean), np.empty(mean.shape[:2], np.float32)
    _core.fold_quarters(images.detach().contiguous().numpy(), torch.get_num_threads(), mean, share, log_scale)
    return _described(torch.from_numpy(mean), torch.from_numpy(share), torch.from_numpy(log_scale))


def _differentiable(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    cells = images.shape[1] // 2
    mask = images[:, cells:]
    values = images[:, :cells] * mask
    quarters, masks = _quarters(torch.sinh(values.clamp(-_LARGEST, _LARGEST))), _quarters(mask)
    share = 0.25 * (masks[0] + masks[1] + masks[2] + masks[3])
    weight = 0.25 / share.clamp(min=0.25)
    mean = (quarters[0] + quarters[1] + quarters[2] + quarters[3]) * weight
    away = [(one - mean).abs() * there for one, there in zip(quarters, masks, strict=True)]
    deviation = (away[0] + away[1] + away[2] + away[3]) * weight
    pixels = (share > 0).sum(dim=(2, 3)).clamp(min=1)
    noise = torch.expm1(torch.log1p(deviation).sum(dim=(2, 3)) / pixels)
    scale = torch.sqrt(1.0 + noise * noise)
    return _described(torch.asinh(mean / scale[:, :, None, None]), share, torch.log(scale))


def _described(mean: Tensor, share: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    looks = appearance(mean, (share > 0).to(share.dtype))
    return mean, share, torch.cat([looks, log_scale[:, :, None]], dim=2)


def _quarters(images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four quarters of images, each turned over so that Qh and Qk ascend from the middle."""
    h, k = images.shape[2] // 2, images.shape[3] // 2
    return (
        images[:, :, h:, k:],
        images[:, :, h:, :k].flip(3),
        images[:, :, :h, k:].flip(2),
        images[:, :, :h, :k].flip(2, 3),
    )
