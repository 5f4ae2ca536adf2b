"""One shard: the samples of a range of indices as one HDF5 file, the same bytes whoever makes it.

The file is built in memory and handed out as bytes. So a full disk is met by a plain write, never inside HDF5, and the hash
of a shard is known before it is on disk. Nothing in it depends on when, where or in how many blocks it was made: no times,
one version of the format, one image a chunk.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import platform
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import h5py
import numpy as np
import numpy.typing as npt

import insdl
from insdl import _core
from insdl.dataset.source import GAVE_UP, GOOD, Samples
from insdl.instruction_set import instruction_set

Content = Literal["images", "parameters"]
FORMAT = "insdl shard 1"
_LIBRARY = ("v110", "v110")  # of the file format, whatever HDF5 writes it
_COLUMNS = ("labels", "parameters", "settings", "attempts", "status")
_INCREMENT = 1 << 24  # bytes by which the file in memory grows
_NUMBER = itertools.count()


@dataclass(frozen=True)
class ShardFormat:
    """What every shard of a data set shares.

    Attributes
    ----------
    configuration : what made the samples and how they are stored, as JSON holds it; kept in every shard.
    image_shape, n_parameters, n_settings : shapes of one sample.
    content : "images" with everything else, or "parameters" for everything else alone.
    compression : 0 to 9, the level of gzip; images are shuffled bytewise before.
    """

    configuration: Mapping[str, Any]
    image_shape: tuple[int, ...]
    n_parameters: int
    n_settings: int
    content: Content = "images"
    compression: int = 1

    def __post_init__(self) -> None:
        if self.content not in ("images", "parameters"):
            raise ValueError(f"content must be 'images' or 'parameters', got {self.content!r}")
        if isinstance(self.compression, bool) or self.compression not in range(10):
            raise ValueError(f"compression must be a whole number from 0 to 9, got {self.compression!r}")


def stored(images: npt.NDArray[np.float32], indices: Sequence[int]) -> npt.NDArray[np.float16]:
    """Images as a shard keeps them: float16, 11 bits of precision from 6.1e-5 up to 65504, steps of 6e-8 below.

    Raises
    ------
    ValueError
        If a value is not finite or does not fit; the sample is named.
    """
    with np.errstate(over="ignore", under="ignore"):
        halves = images.astype(np.float16)
    if not np.isfinite(halves).all():
        row = int(np.argwhere(~np.isfinite(halves))[0][0])
        raise ValueError(
            f"image {indices[row]} reaches {np.abs(images[row]).max():.6g}, but shards keep finite numbers up to 65504: "
            "give the source a smaller scale"
        )
    return halves


def singles(halves: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
    """The same numbers as float32: like ``halves.astype(np.float32)``, in vectors."""
    given = np.ascontiguousarray(halves)
    result = np.empty(given.shape, dtype=np.float32)
    _core.half_to_single(given.reshape(-1).view(np.uint16), result.reshape(-1))
    return result


def shard_versions() -> dict[str, str]:
    """Versions of what the bytes of a shard depend on, from what is loaded: what is installed may change meanwhile."""
    return {
        "insdl": insdl.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "numpy": np.__version__,
        "h5py": h5py.__version__,
        "hdf5": h5py.version.hdf5_version,
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
        "instruction_set": instruction_set(),
    }


@dataclass(frozen=True)
class EncodedShard:
    """A shard as bytes; the hash of its samples alone, whatever the versions; how many gave up; draws replaced."""

    data: bytes
    content_sha256: str
    gave_up: int
    replaced: int


def encode_shard(blocks: Iterable[tuple[Sequence[int], Samples]], indices: range, form: ShardFormat) -> EncodedShard:
    """The shard that holds the samples of ``indices``.

    Parameters
    ----------
    blocks : (indices, samples) in ascending order that make up ``indices`` together; each is forgotten once it is stored.
    indices : range of step 1. form : what all shards share.

    Raises
    ------
    ValueError
        If the blocks do not make up the range, have another shape than the form says, or an image does not fit float16.
    """
    hasher, columns, position = _ContentHash(), _empty_columns(len(indices), form), 0
    name = f"shard {next(_NUMBER)}"  # files in memory need names of their own; the bytes do not hold it
    with h5py.File(name, "w", driver="core", backing_store=False, block_size=_INCREMENT, libver=_LIBRARY) as file:
        images = _create_images(file, len(indices), form)
        for numbers, samples in blocks:
            rows = slice(position, position + len(numbers))
            if list(numbers) != list(indices[rows]):
                raise ValueError(f"blocks must make up samples {indices.start} to {indices.stop - 1} in order")
            _check_samples(samples, len(numbers), form)
            for name in _COLUMNS:
                columns[name][rows] = getattr(samples, name)
            if images is not None:
                halves = stored(samples.images, numbers)
                hasher.add_images(halves)
                for row, half in enumerate(halves, start=position):
                    _write_chunk(images, (row, *(0 for _ in form.image_shape)), half, form.compression)
            position += len(numbers)
        if position != len(indices):
            raise ValueError(f"a shard of {len(indices)} samples got {position}")
        content = hasher.finish(columns)
        for name, values in {"index": np.asarray(indices, dtype=np.int64), **columns}.items():
            column = _create(file, name, values.shape, values.dtype.newbyteorder("<"), form.compression)
            if values.size:
                _write_chunk(column, (0,) * values.ndim, values, form.compression)
        attributes = {
            "format": FORMAT,
            "configuration": json.dumps(form.configuration, sort_keys=True, allow_nan=False),
            "versions": json.dumps(shard_versions(), sort_keys=True),
            "content": form.content,
            "content_sha256": content,
        }
        for name, text in attributes.items():
            file.attrs[name] = text
        file.attrs["begin"], file.attrs["end"] = indices.start, indices.stop
        file.flush()
        data = bytes(file.id.get_file_image())
    status, attempts = columns["status"], columns["attempts"]
    return EncodedShard(data, content, int((status == GAVE_UP).sum()), int(attempts.sum()))


class ShardFile:
    """An open shard, for reading; a context manager.

    Parameters
    ----------
    place : Path of the file, or its bytes.

    Raises
    ------
    ValueError
        If it is not a shard that can be read.
    """

    def __init__(self, place: Path | bytes) -> None:
        self.name = "shard" if isinstance(place, bytes) else str(place)
        try:
            self._file = h5py.File(io.BytesIO(place) if isinstance(place, bytes) else place, "r")
            if self._file.attrs.get("format") != FORMAT:
                raise ValueError(f"its format is not {FORMAT!r}")
            self.begin, self.end = int(self._file.attrs["begin"]), int(self._file.attrs["end"])
            self.content = str(self._file.attrs["content"])
            self.content_sha256 = str(self._file.attrs["content_sha256"])
            self.configuration: dict[str, Any] = json.loads(self._file.attrs["configuration"])
            self.versions: dict[str, str] = json.loads(self._file.attrs["versions"])
        except FileNotFoundError:
            raise
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise ValueError(f"{self.name} is not a shard that can be read: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """labels, parameters, settings, attempts, status and index, of all samples of the shard."""
        return {name: self._file[name][...] for name in (*_COLUMNS, "index")}

    def image(self, index: int) -> npt.NDArray[np.float16]:
        """The image of sample ``index``, (n_bins, n_h, n_k) float16; only its chunk is read."""
        image: npt.NDArray[np.float16] = self._images[index - self.begin]
        return image

    @cached_property
    def _images(self) -> h5py.Dataset:  # finding it in the file costs as much as reading an image
        return self._file["images"]

    def check(self, indices: range, form: ShardFormat) -> None:
        """Reads everything and fails, in words, where it is not the shard of ``indices`` with the samples that were stored."""
        try:
            self._check(indices, form)
        except (OSError, KeyError, RuntimeError, TypeError) as error:
            raise ValueError(f"it cannot be read through: {error}") from error

    def _check(self, indices: range, form: ShardFormat) -> None:
        if (self.begin, self.end, self.content) != (indices.start, indices.stop, form.content):
            raise ValueError(f"it says {self.content} of samples {self.begin} to {self.end - 1}")
        if self.configuration != json.loads(json.dumps(form.configuration)):
            raise ValueError("it was made by another configuration")
        expected, columns = _empty_columns(len(indices), form), self.columns()
        for name in _COLUMNS:
            if columns[name].shape != expected[name].shape or columns[name].dtype != expected[name].dtype:
                raise ValueError(f"{name} has shape {columns[name].shape}, expected {expected[name].shape}")
        if columns.pop("index").tolist() != list(indices):
            raise ValueError("its indices are not those of its range")
        if not np.isin(columns["status"], (GOOD, GAVE_UP)).all():
            raise ValueError("a status is unknown")
        hasher = _ContentHash()
        if form.content == "images":
            images = self._file["images"]
            if images.shape != (len(indices), *form.image_shape) or images.dtype != np.float16:
                raise ValueError(f"images have shape {images.shape}, expected {(len(indices), *form.image_shape)}")
            for row in range(len(indices)):
                hasher.add_images(images[row])
        if hasher.finish(columns) != self.content_sha256:
            raise ValueError("the samples do not have the hash that was stored with them")


class _ContentHash:
    """SHA-256 of images in order, then of the columns: the same however the images came in blocks."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add_images(self, halves: npt.NDArray[np.float16]) -> None:
        self._hash.update(np.ascontiguousarray(halves, dtype="<f2").data)

    def finish(self, columns: Mapping[str, npt.NDArray[Any]]) -> str:
        for name in _COLUMNS:
            values = columns[name]
            self._hash.update(np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).data)
        return self._hash.hexdigest()


def blocks_of(indices: range, size: int) -> Iterator[range]:
    """The range in pieces of at most ``size``."""
    for begin in range(indices.start, indices.stop, size):
        yield range(begin, min(indices.stop, begin + size))


def _empty_columns(n: int, form: ShardFormat) -> dict[str, npt.NDArray[Any]]:
    return {
        "labels": np.zeros(n, dtype=np.int64),
        "parameters": np.zeros((n, form.n_parameters)),
        "settings": np.zeros((n, form.n_settings)),
        "attempts": np.zeros(n, dtype=np.int64),
        "status": np.zeros(n, dtype=np.int64),
    }


def _check_samples(samples: Samples, n: int, form: ShardFormat) -> None:
    for name, expected in _empty_columns(n, form).items():
        if np.shape(getattr(samples, name)) != expected.shape:
            raise ValueError(
                f"the source gave {name} of shape {np.shape(getattr(samples, name))}, not {expected.shape}"
            )
    if form.content == "images" and samples.images.shape != (n, *form.image_shape):
        raise ValueError(f"the source gave images of shape {samples.images.shape}, not {(n, *form.image_shape)}")


def _create_images(file: h5py.File, n: int, form: ShardFormat) -> h5py.Dataset | None:
    if form.content == "parameters":
        return None
    shape = (n, *form.image_shape)
    return _create(file, "images", shape, np.dtype("<f2"), form.compression, chunks=(1, *form.image_shape))


def _create(
    file: h5py.File,
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    compression: int,
    *,
    chunks: tuple[int, ...] | None = None,
) -> h5py.Dataset:
    """An empty dataset, by default of one chunk; one of no size has none."""
    if 0 in shape:
        return file.create_dataset(name, shape=shape, dtype=dtype)
    filters = {"compression": "gzip", "compression_opts": compression, "shuffle": True} if compression else {}
    return file.create_dataset(name, shape=shape, dtype=dtype, chunks=chunks or shape, **filters)


def _write_chunk(dataset: h5py.Dataset, place: tuple[int, ...], values: npt.NDArray[Any], compression: int) -> None:
    """Writes one chunk as HDF5's shuffle and gzip filters would, but at once.

    HDF5 itself puts a chunk into the file when it leaves a cache: its address then depends on when Python lets go of
    objects, which in a process with several threads is not always the same.
    """
    plain = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    data = plain.tobytes()
    if compression:
        data = zlib.compress(plain.view(np.uint8).reshape(-1, plain.itemsize).T.tobytes(), compression)
    dataset.id.write_direct_chunk(place, data)
