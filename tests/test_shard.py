"""Shards: what is read is what was stored, to the precision of float16, and the same samples give the same bytes."""

from __future__ import annotations

import io
import sys
import threading
import time
from dataclasses import replace

import h5py
import numpy as np
import pytest

from insdl.dataset.shard import EncodedShard, ShardFile, ShardFormat, blocks_of, encode_shard, shard_versions, stored
from small_source import SmallSource

SOURCE = SmallSource(100)
FORM = ShardFormat({"what": "a test", "long": "x" * 200_000}, (2, 3, 4), 2, 1)
RANGE = range(20, 33)


def encoded(*, block: int = 5, form: ShardFormat = FORM) -> EncodedShard:
    return encode_shard(((b, SOURCE.make(b)) for b in blocks_of(RANGE, block)), RANGE, form)


def test_bytes_do_not_depend_on_blocks_time_or_threads() -> None:
    first = encoded()
    time.sleep(1.1)  # a stored time would show
    assert encoded(block=1) == encoded(block=100) == first
    found: list[EncodedShard] = []
    threads = [threading.Thread(target=lambda: found.extend(encoded() for _ in range(20))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 40
    assert all(one == first for one in found)


def test_bytes_do_not_depend_on_who_looks_at_the_frames() -> None:
    """A profiler's thread, as dask has one, holds frames and with them objects of HDF5 that would be closed by now."""
    first, stop = encoded(), threading.Event()

    def look() -> None:
        while not stop.is_set():
            held = sys._current_frames()
            time.sleep(1e-4)
            del held

    profiler = threading.Thread(target=look)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    profiler.start()
    try:
        assert all(encoded() == first for _ in range(100))
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        profiler.join()


@pytest.mark.parametrize("compression", [0, 1, 4])
def test_what_is_read_is_what_was_stored(compression: int) -> None:
    form = replace(FORM, compression=compression)
    made = SOURCE.make(RANGE)
    with ShardFile(encoded(form=form).data) as file:
        file.check(RANGE, form)
        columns = file.columns()
        assert columns["index"].tolist() == list(RANGE)
        for name in ("labels", "parameters", "settings", "attempts", "status"):
            np.testing.assert_array_equal(columns[name], getattr(made, name))
        for row, index in enumerate(RANGE):
            np.testing.assert_array_equal(file.image(index), made.images[row].astype(np.float16))
        assert file.configuration == FORM.configuration
        assert file.versions == shard_versions()


def test_float16_keeps_eleven_bits() -> None:
    """Half a unit in the last of 11 places from 2^-14 up, half of 2^-24 below."""
    values = np.geomspace(1e-7, 65000, 5000).astype(np.float32)
    kept = stored(values, [0]).astype(np.float64)
    assert (np.abs(kept - values) <= np.maximum(2.0**-11 * values, 2.0**-25)).all()


def test_each_image_is_one_compressed_chunk() -> None:
    with h5py.File(io.BytesIO(encoded().data)) as file:
        images = file["images"]
        assert images.chunks == (1, 2, 3, 4)
        assert (images.compression, images.compression_opts, images.shuffle) == ("gzip", 1, True)


def test_content_hash_is_that_of_the_samples() -> None:
    """Compression and configuration change the bytes and not this hash; a sample changes it."""
    other = encoded(form=replace(FORM, compression=4, configuration={}))
    assert other.data != encoded().data
    assert other.content_sha256 == encoded().content_sha256
    samples = SOURCE.make(RANGE)
    samples.images[3, 0, 0, 0] += 1
    assert encode_shard([(RANGE, samples)], RANGE, FORM).content_sha256 != encoded().content_sha256


def test_parameters_alone() -> None:
    form = replace(FORM, content="parameters")
    with ShardFile(encoded(form=form).data) as file:
        file.check(RANGE, form)
        np.testing.assert_array_equal(file.columns()["parameters"], SOURCE.make(RANGE).parameters)


def test_counts() -> None:
    made = SOURCE.make(RANGE)
    assert encoded().gave_up == int(made.status.sum()) == 1
    assert encoded().replaced == made.attempts.sum()


@pytest.mark.parametrize("value", [70000.0, np.inf, np.nan])
def test_images_that_do_not_fit_are_refused(value: float) -> None:
    samples = SOURCE.make(RANGE)
    samples.images[4, 1, 2, 3] = value
    with pytest.raises(ValueError, match=r"image 24 reaches .* finite numbers up to 65504"):
        encode_shard([(RANGE, samples)], RANGE, FORM)


def test_what_does_not_fit_together_is_refused() -> None:
    samples = SOURCE.make(RANGE)
    with pytest.raises(ValueError, match="in order"):
        encode_shard([(range(21, 34), samples)], RANGE, FORM)
    with pytest.raises(ValueError, match="a shard of 13 samples got 5"):
        encode_shard([(RANGE[:5], SOURCE.make(RANGE[:5]))], RANGE, FORM)
    with pytest.raises(ValueError, match="images of shape"):
        encode_shard([(RANGE, samples)], RANGE, replace(FORM, image_shape=(2, 4, 3)))
    with pytest.raises(ValueError, match="parameters of shape"):
        encode_shard([(RANGE, samples)], RANGE, replace(FORM, n_parameters=3))
    with pytest.raises(ValueError, match="content must be"):
        replace(FORM, content="nothing")
    with pytest.raises(ValueError, match="compression must be"):
        replace(FORM, compression=10)


def test_check_finds_what_is_not_the_shard_asked_for() -> None:
    data = encoded().data
    with ShardFile(data) as file:
        for indices, form, said in (
            (range(20, 34), FORM, "it says images of samples 20 to 32"),
            (RANGE, replace(FORM, configuration={"what": "another"}), "another configuration"),
            (RANGE, replace(FORM, image_shape=(2, 4, 3)), "images have shape"),
            (RANGE, replace(FORM, n_settings=2), "settings has shape"),
        ):
            with pytest.raises(ValueError, match=said):
                file.check(indices, form)


def test_check_finds_a_changed_sample_without_the_hash_of_the_file() -> None:
    for name in ("labels", "parameters", "settings", "attempts", "images"):
        buffer = io.BytesIO(encoded().data)
        with h5py.File(buffer, "r+") as file:
            values = file[name][...]
            values[2] += 1
            file[name][...] = values
        with ShardFile(buffer.getvalue()) as shard, pytest.raises(ValueError, match="do not have the hash"):
            shard.check(RANGE, FORM)


def test_other_files_are_refused(tmp_path) -> None:
    (tmp_path / "text").write_text("not HDF5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    for name in ("text", "other.h5"):
        with pytest.raises(ValueError, match="is not a shard that can be read"):
            ShardFile(tmp_path / name)
