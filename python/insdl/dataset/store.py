"""A data set on disk: a folder of shards that any number of runs, on any number of machines, fill together.

    configuration.json      what makes the samples and how they are kept; written once, and never changed
    shards/000/000012.h5    the samples of one range of indices, see `insdl.dataset.shard`
    shards/000/000012.json  its record: range, size, SHA-256; written after the shard, so that it vouches for it
    manifest.json           all records together, for people and for transport; the records are what counts
    quarantine/             shards that `insdl.dataset.verify` found bad, with the reason

There is no lock. A shard's bytes are a function of the configuration, so that two runs that make the same one put the same
file in its place, each by one rename. Locks would save the doubled work, but a killed run would leave them behind, and whether
their owner still lives cannot be asked on another machine. Instead, runs begin at different shards and skip what is there.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import insdl
from insdl.dataset.durable_file import write_durably, write_first
from insdl.dataset.shard import Content, ShardFormat, blocks_of, encode_shard
from insdl.dataset.source import SampleSource

FORMAT = "insdl data set 1"
_SHARD_BYTES = 1 << 26  # float16 images of a shard of the default size
_PARAMETERS_A_SHARD = 1 << 16  # samples of a shard without images
_BLOCK_BYTES = 1 << 25  # float32 images that are in memory at once
_A_FOLDER = 1000  # shards of a folder


@dataclass(frozen=True)
class ShardRecord:
    """What vouches for a shard: samples begin to end - 1, file below the store's folder, size in bytes, hashes, counts."""

    shard: int
    begin: int
    end: int
    file: str
    bytes: int
    sha256: str
    content_sha256: str
    gave_up: int
    replaced: int


@dataclass(frozen=True)
class StoreStatus:
    """How much of a data set is there.

    Attributes
    ----------
    n_samples, n_shards : of the whole. done_samples, done_shards : of what is there. bytes : on disk.
    missing : (begin, end) of the ranges of samples that are not there, adjoining ones joined.
    gave_up : samples without an image. replaced : unstable draws that were drawn again. quarantined : bad files set aside.
    """

    n_samples: int
    n_shards: int
    done_samples: int
    done_shards: int
    bytes: int
    missing: tuple[tuple[int, int], ...]
    gave_up: int
    replaced: int
    quarantined: int

    @property
    def complete(self) -> bool:
        return not self.missing


class Store:
    """A data set's folder; get one from `open_store` or `prepare_store`.

    Attributes
    ----------
    folder : Path. configuration : the content of configuration.json. form : `ShardFormat` of every shard.
    """

    def __init__(self, folder: Path, configuration: dict[str, Any]) -> None:
        self.folder, self.configuration = folder, configuration
        self.n_samples: int = configuration["n_samples"]
        self.shard_size: int = configuration["shard_size"]
        self.classes: tuple[str, ...] = tuple(configuration["classes"])
        self.parameter_names: tuple[str, ...] = tuple(configuration["parameter_names"])
        self.setting_names: tuple[str, ...] = tuple(configuration["setting_names"])
        self.form = ShardFormat(
            configuration=configuration,
            image_shape=tuple(configuration["image_shape"]),
            n_parameters=len(self.parameter_names),
            n_settings=len(self.setting_names),
            content=configuration["content"],
            compression=configuration["compression"],
        )

    @property
    def n_shards(self) -> int:
        return math.ceil(self.n_samples / self.shard_size)

    def indices(self, shard: int) -> range:
        """The samples of a shard."""
        if not 0 <= shard < self.n_shards:
            raise ValueError(f"shards are numbered 0 to {self.n_shards - 1}, got {shard}")
        return range(shard * self.shard_size, min(self.n_samples, (shard + 1) * self.shard_size))

    def path(self, shard: int) -> Path:
        """Where a shard lies, or would."""
        return self.folder / "shards" / f"{shard // _A_FOLDER:03d}" / f"{shard:06d}.h5"

    def record(self, shard: int) -> ShardRecord | None:
        """The record of a shard; None where it is missing: no record, a damaged one, no file, or one of another size."""
        path, indices = self.path(shard), self.indices(shard)
        try:
            record = ShardRecord(**json.loads(path.with_suffix(".json").read_bytes()))
            fits = path.stat().st_size == record.bytes
        except (OSError, ValueError, TypeError):
            return None
        named = (record.shard, record.begin, record.end) == (shard, indices.start, indices.stop)
        return record if fits and named else None

    def missing(self, *, part: tuple[int, int] = (0, 1)) -> list[int]:
        """Numbers of the shards that are not there, of shards k, k + n, ... for ``part`` (k, n)."""
        return [shard for shard in range(part[0], self.n_shards, part[1]) if self.record(shard) is None]

    def make_shard(self, source: SampleSource, shard: int, *, threads: int | None = None) -> ShardRecord:
        """The record of a shard that is there afterwards: simulated and written if it was missing."""
        found = self.record(shard)
        if found is not None:
            return found
        indices, path = self.indices(shard), self.path(shard)
        size = max(1, _BLOCK_BYTES // (4 * math.prod(self.form.image_shape)))
        blocks = ((block, source.make(block, threads=threads)) for block in blocks_of(indices, size))
        encoded = encode_shard(blocks, indices, self.form)
        record = ShardRecord(
            shard=shard,
            begin=indices.start,
            end=indices.stop,
            file=path.relative_to(self.folder).as_posix(),
            bytes=len(encoded.data),
            sha256=hashlib.sha256(encoded.data).hexdigest(),
            content_sha256=encoded.content_sha256,
            gave_up=encoded.gave_up,
            replaced=encoded.replaced,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, encoded.data)
        write_durably(path.with_suffix(".json"), _json(asdict(record)))
        return record

    def quarantine(self, shard: int, reason: str) -> None:
        """Sets a bad shard aside with the reason, after which it counts as missing."""
        path, place = self.path(shard), self.folder / "quarantine"
        place.mkdir(exist_ok=True)
        number = 1 + sum(1 for _ in place.glob(f"{shard:06d}-*.json"))
        said = path.with_suffix(".json")
        record = said.read_bytes().decode("utf-8", "replace") if said.exists() else None
        write_durably(place / f"{shard:06d}-{number}.json", _json({"shard": shard, "reason": reason, "record": record}))
        said.unlink(missing_ok=True)  # first: without its record the shard is missing, whatever happens next
        if path.exists():
            path.replace(place / f"{shard:06d}-{number}.h5")

    def status(self) -> StoreStatus:
        """What is there, from the records."""
        return self._status([self.record(shard) for shard in range(self.n_shards)])

    def write_manifest(self) -> StoreStatus:
        """Writes manifest.json from the records; if meanwhile another run has added some, once more."""
        path, before = self.folder / "manifest.json", None
        while True:
            records = [self.record(shard) for shard in range(self.n_shards)]
            status = self._status(records)
            if records == before:
                return status
            content = {"format": FORMAT, "complete": status.complete, **asdict(status)}
            content["shards"] = [asdict(record) for record in records if record is not None]
            write_durably(path, _json(content))
            before = records

    def _status(self, records: Sequence[ShardRecord | None]) -> StoreStatus:
        found = [record for record in records if record is not None]
        gaps: list[tuple[int, int]] = []
        for shard, record in enumerate(records):
            if record is None:
                begin, end = self.indices(shard).start, self.indices(shard).stop
                if gaps and gaps[-1][1] == begin:
                    gaps[-1] = (gaps[-1][0], end)
                else:
                    gaps.append((begin, end))
        return StoreStatus(
            n_samples=self.n_samples,
            n_shards=self.n_shards,
            done_samples=sum(record.end - record.begin for record in found),
            done_shards=len(found),
            bytes=sum(record.bytes for record in found),
            missing=tuple(gaps),
            gave_up=sum(record.gave_up for record in found),
            replaced=sum(record.replaced for record in found),
            quarantined=sum(1 for _ in (self.folder / "quarantine").glob("*.json")),
        )


def open_store(folder: Path | str) -> Store:
    """The data set of a folder.

    Raises
    ------
    ValueError
        If the folder holds no data set.
    """
    path = Path(folder) / "configuration.json"
    try:
        configuration = json.loads(path.read_bytes())
        if configuration["format"] != FORMAT:
            raise ValueError(f"its format is {configuration['format']!r}, expected {FORMAT!r}")
        return Store(Path(folder), configuration)
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no data set: there is no configuration.json") from None
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not that of a data set: {error}") from error


def prepare_store(
    folder: Path | str,
    source: SampleSource,
    *,
    shard_size: int | None = None,
    content: Content | None = None,
    compression: int | None = None,
) -> Store:
    """A new data set's folder, or the one that is there if it is for the same samples kept in the same way.

    Parameters
    ----------
    folder : made where it is not there.
    source : what makes the samples.
    shard_size : samples of a shard; None for that of the folder, or as many as make 64 MiB of images.
    content : "images" or "parameters"; None for that of the folder, or "images".
    compression : level of gzip, 0 to 9; None for that of the folder, or 1.

    Raises
    ------
    ValueError
        If the folder holds a data set of another configuration or something else; the first difference is named.
    """
    place = Path(folder)
    if place.exists() and not place.is_dir():
        raise ValueError(f"{folder} is a file; a folder is needed")
    place.mkdir(parents=True, exist_ok=True)
    path = place / "configuration.json"
    if not path.exists():
        others = sorted(entry.name for entry in place.iterdir() if not entry.name.startswith("."))
        if others and not path.exists():
            raise ValueError(f"{folder} holds {others[0]!r} but no data set: give a new or an empty folder")
        kept: Content = content or "images"
        size = default_shard_size(source.image_shape, kept) if shard_size is None else shard_size
        new = _configuration(source, size, kept, 1 if compression is None else compression)
        Store(place, new)  # fails in words before anything is written
        write_first(path, _json(new))
    store = open_store(place)
    there = store.configuration
    asked = _configuration(
        source,
        there["shard_size"] if shard_size is None else shard_size,
        there["content"] if content is None else content,
        there["compression"] if compression is None else compression,
    )
    difference = _difference(there, asked)
    if difference is not None:
        raise ValueError(f"{folder} holds a data set of another configuration: {difference}")
    return store


def default_shard_size(image_shape: Sequence[int], content: Content = "images") -> int:
    """Samples of a shard: the power of two whose float16 images fill at most 64 MiB; 65536 without images."""
    if content == "parameters":
        return _PARAMETERS_A_SHARD
    return 1 << max(0, int(math.log2(_SHARD_BYTES / (2 * math.prod(image_shape)))))


def _configuration(source: SampleSource, shard_size: int, content: Content, compression: int) -> dict[str, Any]:
    if isinstance(shard_size, bool) or shard_size < 1:
        raise ValueError(f"shard_size must be at least 1, got {shard_size}")
    configuration = {
        "format": FORMAT,
        "insdl": insdl.__version__,
        "name": source.name,
        "seed": source.seed,
        "n_samples": source.n_samples,
        "shard_size": shard_size,
        "content": content,
        "compression": compression,
        "image_shape": list(source.image_shape),
        "classes": list(source.classes),
        "parameter_names": list(source.parameter_names),
        "setting_names": list(source.setting_names),
        "source": source.describe(),
    }
    plain: dict[str, Any] = json.loads(_json(configuration))
    return plain


def _difference(there: Any, asked: Any, where: str = "") -> str | None:
    """The first place where two JSON values differ, in words."""
    if isinstance(there, dict) and isinstance(asked, dict):
        for key in dict.fromkeys([*there, *asked]):
            found = _difference(there.get(key), asked.get(key), f"{where}.{key}" if where else str(key))
            if found is not None:
                return found
        return None
    if isinstance(there, list) and isinstance(asked, list) and len(there) == len(asked):
        for number, (one, other) in enumerate(zip(there, asked, strict=True)):
            found = _difference(one, other, f"{where}[{number}]")
            if found is not None:
                return found
        return None
    if there == asked and type(there) is type(asked):
        return None
    return f"{where} is {_short(there)} there and {_short(asked)} here"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode("utf-8")
