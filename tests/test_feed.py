"""Feeds: every batch by its number, for every rank, from any position."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest

import tiny_training
from insdl.dataset.order import EpochOrder
from insdl.dataset.reader import SourceReader
from insdl.dataset.source import GAVE_UP, Samples
from insdl.learn.feed import SampleFeed, StreamFeed, any_target
from insdl.learn.stream import ImageStream, Rank


def samples(rank: Rank, *, total: int = 20, size: int = 4) -> SampleFeed:
    def sample(index: int) -> tuple[np.ndarray, int]:
        return np.full((1, 2, 2), index, np.float32), index

    return SampleFeed(sample, (1, 2, 2), any_target, size, total, 2, rank)


def numbers(batch: Any) -> list[int]:
    assert batch.images[:, 0, 0, 0].tolist() == batch.targets.tolist()
    return batch.targets.tolist()


@pytest.mark.parametrize(("epoch", "done"), [(0, 0), (0, 3), (1, 0), (1, 4)])
def test_batches_of_any_position_are_those_of_the_beginning(epoch: int, done: int) -> None:
    feed = samples(Rank())
    assert feed.steps == 5
    whole = [numbers(batch) for batch in feed.batches(0, 0)]
    assert [number for batch in whole for number in batch] == list(range(40))
    assert [numbers(batch) for batch in feed.batches(epoch, done)] == whole[epoch * 5 + done :]


def test_ranks_share_each_batch() -> None:
    """Together they have, batch for batch, what one has with three times the size; two samples do not go round."""
    ranks = [samples(Rank(rank, 3, "drop"), size=2) for rank in range(3)]
    one = samples(Rank(), total=18, size=6)
    assert [feed.steps for feed in ranks] == [3, 3, 3]
    parts = [[numbers(batch) for batch in feed.batches(0, 0)][:3] for feed in ranks]
    together = [sorted(number for batch in batches for number in batch) for batches in zip(*parts, strict=True)]
    assert together == [numbers(batch) for batch in islice(one.batches(0, 0), 3)]


class Gaps(tiny_training.Squares):
    """Samples 16 to 31 and the last 8 have no image."""

    def make(self, indices: Any, *, threads: int | None = None) -> Samples:
        made = super().make(indices)
        for row, index in enumerate(indices):
            if 16 <= index < 32 or index >= self.n_samples - 8:
                made.status[row] = GAVE_UP
        return made


def test_batches_without_samples_keep_their_number() -> None:
    """So that all ranks, and a training that goes on, count alike."""

    def feed() -> StreamFeed:
        stream = ImageStream(SourceReader(Gaps(64)), EpochOrder(0, 64, 8, seed=0, order="once"), batch_size=8)
        return StreamFeed(stream, (3, 8, 8), None, any_target, Rank())

    assert feed().steps == 8
    empty = [batch is None for batch in islice(feed().batches(0, 0), 16)]
    assert empty == 2 * [False, False, True, True, False, False, False, True]
    whole = list(islice(feed().batches(0, 0), 16))
    for done in range(8):
        for batch, expected in zip(feed().batches(0, done), whole[done:], strict=False):
            assert (batch is None) == (expected is None)
            if batch is not None:
                assert (batch.images == expected.images).all()


def test_what_a_stream_gives_is_checked() -> None:
    options: dict[str, Any] = {"target": None, "checked": any_target, "rank": Rank()}
    with pytest.raises(ValueError, match=r"images of shape \(3, 8, 9\), got \(3, 8, 8\)"):
        next(StreamFeed(tiny_training.stream(), (3, 8, 9), **options).batches(0, 0))

    def broken(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return image + np.inf

    order = EpochOrder(0, 16, 8, seed=0)
    stream = ImageStream(SourceReader(tiny_training.Squares(16)), order, batch_size=8, detect=broken)
    with pytest.raises(ValueError, match=r"must give finite images, got others in sample \d+"):
        next(StreamFeed(stream, (3, 8, 8), **options).batches(0, 0))
    kept = tiny_training.stream(rank=Rank(0, 2))
    with pytest.raises(ValueError, match="need streams with tail 'drop', got 'keep'"):
        StreamFeed(kept, (3, 8, 8), None, any_target, Rank(0, 2, "drop"))
    with pytest.raises(ValueError, match="it must give numbers for a target"):
        any_target("a", "it")


def test_manifests_say_what_the_data_are() -> None:
    """The same from a simulation for every rank; a sample function by its name."""
    first, second = (
        StreamFeed(tiny_training.stream(rank=rank), (3, 8, 8), None, any_target, rank).manifest()
        for rank in (Rank(0, 2, "drop"), Rank(1, 2, "drop"))
    )
    assert first == second
    assert "sample" in samples(Rank()).manifest()["samples"]
