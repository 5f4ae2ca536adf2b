"""Verification says what is wrong with a shard, in words. Every kind of damage is in test_dataset_faults.py."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import h5py
import pytest

from insdl.dataset.engine import make_data_set
from insdl.dataset.store import Store, open_store
from insdl.dataset.verify import shard_problem, verify_store
from small_source import SmallSource

N, SIZE = 20, 6


@pytest.fixture
def store(tmp_path: Path) -> Store:
    make_data_set(SmallSource(N), tmp_path / "set", engine="serial", shard_size=SIZE, progress="silent")
    return open_store(tmp_path / "set")


def vouch(store: Store, shard: int, data: bytes, **changed: object) -> None:
    """Puts other bytes in a shard's place, with a record that vouches for them."""
    path = store.path(shard)
    record = json.loads(path.with_suffix(".json").read_text())
    record |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), **changed}
    path.write_bytes(data)
    path.with_suffix(".json").write_text(json.dumps(record))


def test_a_whole_data_set_is_good(store: Store) -> None:
    found = verify_store(store, workers=2, progress="silent")
    assert not found.problems
    assert found.status.complete


def test_missing_shards_are_not_bad(store: Store) -> None:
    store.path(1).unlink()
    store.path(1).with_suffix(".json").unlink()
    store.path(2).with_suffix(".json").unlink()  # a run was killed before it could vouch for the shard
    found = verify_store(store, engine="serial", progress="silent")
    assert not found.problems
    assert found.status.missing == ((6, 18),)


def test_the_words(store: Store) -> None:
    data = store.path(1).read_bytes()
    other = store.path(2).read_bytes()
    record = store.path(1).with_suffix(".json")
    text = record.read_text()

    store.path(1).write_bytes(data[:-7])
    assert shard_problem(store, 1) == f"its file has {len(data) - 7} bytes instead of {len(data)}"
    store.path(1).write_bytes(data[:-1] + b"x")
    assert shard_problem(store, 1) == "its file does not have the SHA-256 of its record"
    store.path(1).unlink()
    assert shard_problem(store, 1) == "its file cannot be read: No such file or directory"
    record.write_text(text[:20])
    assert "its record cannot be read" in str(shard_problem(store, 1))
    record.write_text(text.replace('"begin": 6', '"begin": 0'))
    assert shard_problem(store, 1) == "its record is that of samples 0 to 11"
    record.write_text(text)
    vouch(store, 1, other)
    assert shard_problem(store, 1) == "it says images of samples 12 to 17"
    vouch(store, 1, b"no HDF5")
    assert "is not a shard that can be read" in str(shard_problem(store, 1))
    vouch(store, 1, data, content_sha256="0" * 64)
    assert shard_problem(store, 1) == "its samples do not have the hash of its record"
    buffer = io.BytesIO(data)
    with h5py.File(buffer, "r+") as file:
        file["parameters"][2, 0] = 5.0
    vouch(store, 1, buffer.getvalue())
    assert shard_problem(store, 1) == "the samples do not have the hash that was stored with them"
    store.path(1).write_bytes(data)
    record.write_text(text)
    assert shard_problem(store, 1) is None
