"""In which order an epoch takes its samples: a function of (seed, stream, epoch, position) alone, the same for every rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from insdl.dataset.randomness import generator


@dataclass(frozen=True)
class EpochOrder:
    """Shards in random order, some of them mixed at a time; so that only a few files are open at once.

    Parameters
    ----------
    begin, end : the samples begin to end - 1, such as the first nine tenths of a data set.
    shard_size : samples that lie in one file; a source without files has no need of a particular one.
    seed, stream : of the order, see `insdl.dataset.randomness.generator`.
    order : "shuffled", anew in every epoch, or "once": ascending.
    mixed_shards : shards whose samples are shuffled together.

    Notes
    -----
    Whole shards are permuted, then the samples of every ``mixed_shards`` of them. Samples of one shard stay nearer to each
    other than in a full shuffle; that does no harm, because samples with neighbouring numbers have nothing in common.
    """

    begin: int
    end: int
    shard_size: int
    seed: int
    stream: str = "order"
    order: Literal["shuffled", "once"] = "shuffled"
    mixed_shards: int = 4

    def __post_init__(self) -> None:
        if not 0 <= self.begin < self.end:
            raise ValueError(f"an order needs 0 <= begin < end, got {self.begin} and {self.end}")
        if self.shard_size < 1 or self.mixed_shards < 1 or self.seed < 0:
            raise ValueError(f"shard_size and mixed_shards must be at least 1 and seed not negative, got {self}")
        if self.order not in ("shuffled", "once"):
            raise ValueError(f"order must be 'shuffled' or 'once', got {self.order!r}")

    def __len__(self) -> int:
        return self.end - self.begin

    def indices(self, epoch: int, positions: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(n,) int64: the samples at ``positions``, each from 0 to len - 1, of an epoch. Every sample has one position."""
        wanted = np.asarray(positions, dtype=np.int64)
        if wanted.size and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise ValueError(f"positions go from 0 to {len(self) - 1}, got {wanted.min()} to {wanted.max()}")
        if self.order == "once":
            return wanted + self.begin
        _, starts = _shards(self, epoch)
        groups = np.searchsorted(starts[:: self.mixed_shards], wanted, side="right") - 1
        found = np.empty_like(wanted)
        for group in np.unique(groups):
            chosen = groups == group
            found[chosen] = _group(self, epoch, int(group))[wanted[chosen] - starts[group * self.mixed_shards]]
        return found


def rank_positions(n: int, *, rank: int = 0, world_size: int = 1, tail: Literal["keep", "drop"] = "keep") -> range:
    """The positions of one of ``world_size`` ranks: rank, rank + world_size, ...; no position has two.

    With ``tail`` "keep" every position has a rank, and some ranks have one more than others; with "drop" the last n modulo
    world_size have none, so that all ranks have equally many, as synchronous training needs.
    """
    if not 0 <= rank < world_size:
        raise ValueError(f"rank must be from 0 to world_size - 1, got {rank} of {world_size}")
    if tail not in ("keep", "drop"):
        raise ValueError(f"tail must be 'keep' or 'drop', got {tail!r}")
    return range(rank, n if tail == "keep" else n - n % world_size, world_size)


@lru_cache(maxsize=4)
def _shards(order: EpochOrder, epoch: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The shards in the order of an epoch, and the position at which each begins."""
    first, last = order.begin // order.shard_size, (order.end - 1) // order.shard_size
    shards = first + generator(order.seed, f"{order.stream}/shards", epoch).permutation(last - first + 1)
    begins = np.maximum(shards * order.shard_size, order.begin)
    ends = np.minimum((shards + 1) * order.shard_size, order.end)
    return shards, np.concatenate([[0], np.cumsum(ends - begins)[:-1]])


@lru_cache(maxsize=8)
def _group(order: EpochOrder, epoch: int, group: int) -> npt.NDArray[np.int64]:
    """The samples of a group of mixed shards, in their order."""
    shards, _ = _shards(order, epoch)
    chosen = shards[group * order.mixed_shards : (group + 1) * order.mixed_shards]
    size, begin, end = order.shard_size, order.begin, order.end
    samples = np.concatenate([np.arange(max(s * size, begin), min((s + 1) * size, end)) for s in chosen.tolist()])
    return generator(order.seed, f"{order.stream}/samples/{epoch}", group).permutation(samples)
