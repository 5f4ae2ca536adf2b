"""Orders: every sample once an epoch, over all ranks together, the same wherever one begins."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from insdl.dataset.order import EpochOrder, rank_positions

ORDER = EpochOrder(3, 100, 8, seed=1, mixed_shards=3)  # cuts its first and its last shard


@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_every_sample_once_an_epoch(epoch: int) -> None:
    assert sorted(ORDER.indices(epoch, range(len(ORDER)))) == list(range(3, 100))


def test_any_position_can_be_asked_for_alone() -> None:
    everything = ORDER.indices(4, range(97))
    for positions in ([96], [0, 50, 3, 3], range(90, 10, -7)):
        assert ORDER.indices(4, list(positions)).tolist() == everything[list(positions)].tolist()
    assert ORDER.indices(4, []).tolist() == []


def test_orders_differ_by_epoch_seed_and_stream() -> None:
    orders = [ORDER, EpochOrder(3, 100, 8, seed=2, mixed_shards=3), EpochOrder(3, 100, 8, 1, "other", mixed_shards=3)]
    found = [tuple(order.indices(epoch, range(97))) for order in orders for epoch in range(3)]
    assert len(set(found)) == 9


def test_a_group_of_shards_is_shuffled_through_and_through() -> None:
    """Within the first group the samples come from exactly three shards, in an order that mixes them."""
    first = ORDER.indices(0, range(24)) // 8
    if {0, 12} & set(first.tolist()):  # the short ones
        first = first[:16]
    assert len(set(first.tolist())) == 3
    runs = 1 + int(np.count_nonzero(np.diff(first)))
    assert runs > 6  # three shards one after the other would be 3


def test_shuffling_is_uniform() -> None:
    """A sample's place: over 2000 epochs its mean is that of a uniform one within five standard errors."""
    order = EpochOrder(0, 12, 3, seed=0, mixed_shards=2)
    places = np.array([np.argsort(order.indices(epoch, range(12))) for epoch in range(2000)])
    error = np.sqrt((12**2 - 1) / 12 / 2000)
    assert (np.abs(places.mean(axis=0) - 5.5) < 5 * error).all()


def test_once_is_ascending() -> None:
    order = EpochOrder(3, 100, 8, seed=1, order="once")
    assert order.indices(5, range(97)).tolist() == list(range(3, 100))


@pytest.mark.parametrize(("n", "world_size"), list(itertools.product([0, 1, 7, 12], [1, 2, 5])))
def test_ranks_share_positions_without_loss_or_doubles(n: int, world_size: int) -> None:
    kept = [rank_positions(n, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert sorted(itertools.chain(*kept)) == list(range(n))
    dropped = [rank_positions(n, rank=rank, world_size=world_size, tail="drop") for rank in range(world_size)]
    assert {len(positions) for positions in dropped} == {n // world_size}
    assert sorted(itertools.chain(*dropped)) == list(range(n - n % world_size))


def test_bad_orders_are_refused() -> None:
    for wrong in ({"begin": 5, "end": 5}, {"begin": -1}, {"shard_size": 0}, {"mixed_shards": 0}, {"order": "random"}):
        with pytest.raises(ValueError, match=r"must be|needs"):
            EpochOrder(**{"begin": 0, "end": 10, "shard_size": 2, "seed": 0, **wrong})
    with pytest.raises(ValueError, match="positions go from 0 to 96"):
        ORDER.indices(0, [97])
    with pytest.raises(ValueError, match="rank must be from 0"):
        rank_positions(5, rank=2, world_size=2)
    with pytest.raises(ValueError, match="tail must be"):
        rank_positions(5, tail="cut")
