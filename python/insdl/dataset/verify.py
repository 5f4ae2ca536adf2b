"""Is a data set what was stored? Hashes, shapes, every sample read; what is bad is set aside and then counts as missing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Literal

from tqdm import tqdm

from insdl.dataset.engine import Engine, run_tasks
from insdl.dataset.shard import ShardFile
from insdl.dataset.store import ShardRecord, Store, StoreStatus, open_store


@dataclass(frozen=True)
class Verification:
    """What is wrong, by shard, in words; and what is there without it."""

    problems: Mapping[int, str]
    status: StoreStatus


def verify_store(
    store: Store,
    *,
    engine: Engine = "processes",
    workers: int | None = None,
    progress: Literal["bar", "silent"] = "bar",
) -> Verification:
    """Reads every shard of a data set, sets bad ones aside, and writes the manifest anew.

    A shard is good if its file has the size and SHA-256 of its record, is of the range, configuration and shapes of the store,
    can be read to the last sample, and its samples have the hash that was stored with them.

    Parameters
    ----------
    engine, workers : as in `insdl.dataset.engine.make_data_set`.
    """
    task = partial(_problem_in, str(store.folder.resolve()))
    problems: dict[int, str] = {}
    results = run_tasks(task, range(store.n_shards), engine=engine, workers=workers)
    bar = tqdm(total=store.n_samples, unit="image", unit_scale=True, disable=progress == "silent", leave=False)
    with bar, closing(results):
        for shard, problem in results:
            bar.update(len(store.indices(shard)))
            if problem is not None:
                problems[shard] = problem
                store.quarantine(shard, problem)
    return Verification(dict(sorted(problems.items())), store.write_manifest())


def shard_problem(store: Store, shard: int) -> str | None:
    """What is wrong with a shard, in words; None if it is good or not there at all."""
    path, indices = store.path(shard), store.indices(shard)
    try:
        record = ShardRecord(**json.loads(path.with_suffix(".json").read_bytes()))
    except FileNotFoundError:
        return None  # missing: at most a file that nothing vouches for, which is made anew
    except (OSError, ValueError, TypeError) as error:
        return f"its record cannot be read: {error}"
    if (record.shard, record.begin, record.end) != (shard, indices.start, indices.stop):
        return f"its record is that of samples {record.begin} to {record.end - 1}"
    try:
        data = path.read_bytes()
    except OSError as error:
        return f"its file cannot be read: {error.strerror}"
    if len(data) != record.bytes:
        return f"its file has {len(data)} bytes instead of {record.bytes}"
    if hashlib.sha256(data).hexdigest() != record.sha256:
        return "its file does not have the SHA-256 of its record"
    try:
        with ShardFile(data) as file:
            file.check(indices, store.form)
            if file.content_sha256 != record.content_sha256:
                return "its samples do not have the hash of its record"
    except ValueError as error:
        return str(error)
    return None


@lru_cache(maxsize=2)
def _store(folder: str) -> Store:
    return open_store(folder)


def _problem_in(folder: str, shard: int) -> str | None:
    return shard_problem(_store(folder), shard)
