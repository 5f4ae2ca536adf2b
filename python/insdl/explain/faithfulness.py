"""Whether an explanation names what the network uses: deletion and insertion of regions in the order it gives.

Petsiuk, Das and Saenko, RISE, BMVC 2018 (arXiv:1806.07421), with physical regions, such as cells, in place of pixels. A
good order makes the answer fall early when regions are deleted, and rise early when they are inserted. Random orders
and any other score, such as where two models' simulations differ, are run beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from torch import nn

from insdl.dataset.randomness import generator
from insdl.explain.layers import Target, answers, checked_batch
from insdl.explain.occlusion import Region, padded_mask

_Reals = npt.NDArray[np.float64]
Mode = Literal["deletion", "insertion"]


@dataclass(frozen=True, eq=False)
class Curve:
    """The answer while regions are deleted, or inserted, one after the other.

    Attributes
    ----------
    share : (n_regions + 1,) float64. Of the regions' pixels that have been changed: 0 to 1.
    answer : (n_regions + 1,) float64, units of the output.
    area : float. Mean answer over the share, by trapezia: small is good for deletion, large for insertion.
    """

    share: _Reals
    answer: _Reals
    area: float


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """How an explanation's order of regions compares.

    Attributes
    ----------
    curve : Curve. In the order of the explanation.
    random : one Curve for each random order.
    others : Curve by name, of other scores.
    better_than_random : float. Share of the random orders whose area is worse than the explanation's.
    gain : float. (mean random area - area) for deletion, its negative for insertion: positive is good.
    """

    curve: Curve
    random: tuple[Curve, ...]
    others: dict[str, Curve]
    better_than_random: float
    gain: float


def deletion_curve(
    network: nn.Module,
    image: npt.ArrayLike,
    *,
    scores: npt.ArrayLike,
    regions: Sequence[Region],
    target: Target,
    replacement: npt.ArrayLike,
    mode: Mode = "deletion",
    measured: npt.ArrayLike | None = None,
    batch_size: int = 64,
) -> Curve:
    """The answer as regions go from the image to the replacement (deletion) or back (insertion), highest score first.

    Parameters
    ----------
    image : (channels, height, width). replacement : the same shape, or a number; see `insdl.explain.occlusion`.
    scores : (n_regions,). Higher goes first; equal scores in the order given.
    measured : (n_bins, height, width) bool. What no detector saw is the same on both sides.
    """
    full = checked_batch(np.asarray(image, dtype=np.float32)[None])[0]
    worth = np.asarray(scores, dtype=np.float64)
    if not regions or worth.shape != (len(regions),) or not np.isfinite(worth).all():
        raise ValueError(f"scores must be {len(regions)} finite numbers, one a region, got shape {worth.shape}")
    if mode not in ("deletion", "insertion"):
        raise ValueError(f"mode must be 'deletion' or 'insertion', got {mode!r}")
    filling = np.broadcast_to(np.asarray(replacement, dtype=np.float32), full.shape)
    masks = [padded_mask(region.mask, full.shape, measured=measured) for region in regions]
    every = np.logical_or.reduce(masks)
    empty = np.where(every, filling, full)
    before, after = (full, empty) if mode == "deletion" else (empty, full)
    changed = np.zeros(full.shape, dtype=bool)
    stages, share = [before], [0.0]
    for number in np.argsort(-worth, kind="stable"):
        changed |= masks[int(number)]
        stages.append(np.where(changed, after, before))
        share.append(float(changed.sum() / max(int(every.sum()), 1)))
    values = answers(network, np.stack(stages), target=target, batch_size=batch_size)
    x = np.array(share)
    area = float(np.sum(0.5 * (values[1:] + values[:-1]) * np.diff(x)))
    return Curve(x, values, area)


def faithfulness(
    network: nn.Module,
    image: npt.ArrayLike,
    *,
    scores: npt.ArrayLike,
    regions: Sequence[Region],
    target: Target,
    replacement: npt.ArrayLike,
    mode: Mode = "deletion",
    other_scores: dict[str, npt.ArrayLike] | None = None,
    random_orders: int = 20,
    seed: int = 0,
    measured: npt.ArrayLike | None = None,
    batch_size: int = 64,
) -> Faithfulness:
    """An explanation's deletion or insertion curve beside those of random orders and of other scores.

    Parameters
    ----------
    scores : (n_regions,). The explanation's, signed: the regions that speak most for the target first.
    other_scores : (n_regions,) by name; a physics score such as `insdl.learn.templates.cell_evidence`.
    random_orders : at least 1. seed : of these.
    The rest as in `deletion_curve`.
    """
    if random_orders < 1:
        raise ValueError(f"random_orders must be at least 1, got {random_orders}")

    def curve(values: npt.ArrayLike) -> Curve:
        return deletion_curve(
            network, image, scores=values, regions=regions, target=target, replacement=replacement, mode=mode,
            measured=measured, batch_size=batch_size,
        )  # fmt: skip

    own = curve(scores)
    rng = generator(seed, "explain/orders", 0)
    random = tuple(curve(rng.permutation(len(regions)).astype(np.float64)) for _ in range(random_orders))
    sign = 1.0 if mode == "deletion" else -1.0
    areas = np.array([one.area for one in random])
    return Faithfulness(
        curve=own,
        random=random,
        others={name: curve(values) for name, values in (other_scores or {}).items()},
        better_than_random=float((sign * (areas - own.area) > 0).mean()),
        gain=float(sign * (areas.mean() - own.area)),
    )
