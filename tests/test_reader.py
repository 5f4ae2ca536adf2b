"""Readers: a store, a store of parameters alone, and a simulation give the same samples for the same numbers."""

from __future__ import annotations

import os
import pickle
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from insdl.dataset import generator, rb2mnf4
from insdl.dataset.engine import make_data_set
from insdl.dataset.reader import SourceReader, StoreReader, detected, good
from insdl.dataset.source import FamilySource, Samples
from insdl.instrument.rb2mnf4 import rb2mnf4_frame
from small_source import SmallSource

REAL = FamilySource([rb2mnf4.family(rb2mnf4_frame([(1.0, 4.0), (4.0, 7.0)], pixels=8))], 30, 5, "reader")
PICKED = [29, 3, 11, 3, 0, 25]


def same(first: Samples, second: Samples) -> None:
    for field in fields(Samples):
        one, other = getattr(first, field.name), getattr(second, field.name)
        assert one.dtype == other.dtype, field.name
        np.testing.assert_array_equal(one, other, err_msg=field.name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reader")
    for content in ("images", "parameters"):
        make_data_set(REAL, folder / content, engine="serial", shard_size=7, content=content, progress="silent")
    return folder


def test_three_readers_give_the_same_samples(folder: Path) -> None:
    simulated = SourceReader(REAL, threads=1).read(PICKED)
    same(StoreReader(folder / "images").read(PICKED), simulated)
    same(StoreReader(folder / "parameters", source=REAL).read(PICKED), simulated)
    assert (simulated.images == simulated.images.astype(np.float16)).all()


def test_what_is_remembered_is_not_simulated_again() -> None:
    class Counting(SmallSource):
        made = 0

        def make(self, indices, *, threads=None):
            Counting.made += len(indices)
            return super().make(indices)

    reader, plain = SourceReader(Counting(40), remembered=10), SourceReader(SmallSource(40))
    for picked in ([3, 22, 3, 8], [8, 3, 22], []):
        same(reader.read(picked), plain.read(picked))
    assert Counting.made == 3
    same(reader.read(range(12)), plain.read(range(12)))  # more than it remembers
    assert Counting.made == 3 + 10  # all but 3 and 8
    assert len(reader._memory) == 10
    same(pickle.loads(pickle.dumps(SourceReader(SmallSource(40), remembered=2))).read([1, 2, 3]), plain.read([1, 2, 3]))
    with pytest.raises(ValueError, match="remembered must not be negative"):
        SourceReader(SmallSource(40), remembered=-1)


def test_few_files_are_open_at_a_time_and_all_are_read(folder: Path) -> None:
    reader = StoreReader(folder / "images", open_shards=2)
    same(reader.read(range(30)), SourceReader(REAL).read(range(30)))
    assert len(reader._opened) == 2
    reader.close()
    same(reader.read([4]), SourceReader(REAL).read([4]))


def test_a_reader_goes_to_another_process(folder: Path) -> None:
    reader = StoreReader(folder / "images")
    expected = reader.read([2, 9])
    same(pickle.loads(pickle.dumps(reader)).read([2, 9]), expected)
    child = os.fork()
    if not child:  # a forked one must not share the parent's open files
        try:
            same(reader.read([2, 9]), expected)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    same(reader.read([2, 9]), expected)


def test_nothing_asked_for_is_nothing(folder: Path) -> None:
    assert StoreReader(folder / "images").read([]).images.shape == (0, 2, 8, 8)


def test_parameters_alone_need_their_source(folder: Path) -> None:
    with pytest.raises(ValueError, match="holds parameters alone: give the source"):
        StoreReader(folder / "parameters")
    other = FamilySource(REAL.families, 30, 6, "reader")
    with pytest.raises(ValueError, match="was made by another source"):
        StoreReader(folder / "parameters", source=other)


def test_a_source_that_has_changed_is_noticed(tmp_path: Path) -> None:
    """Its description is the same, what it makes is not: a change of code, say."""

    class Changed(SmallSource):
        def make(self, indices, *, threads=None):
            made = super().make(indices, threads=threads)
            made.parameters[:] *= 1.0000001
            return made

    make_data_set(SmallSource(9), tmp_path, engine="serial", content="parameters", progress="silent")
    with pytest.raises(ValueError, match="the source makes other parameters now than are stored"):
        StoreReader(tmp_path, source=Changed(9)).read([1])


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    make_data_set(SmallSource(9), tmp_path, engine="serial", shard_size=3, part=(0, 2), progress="silent")
    reader = StoreReader(tmp_path)
    assert len(reader.read([0, 8])) == 2
    with pytest.raises(ValueError, match="samples 3 to 5 are missing"):
        reader.read([4])
    with pytest.raises(ValueError, match="numbered 0 to 8, got 9"):
        reader.read([9])


def noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return image + rng.standard_normal(image.shape)


def test_noise_is_a_function_of_index_and_epoch() -> None:
    images = np.zeros((3, 2, 2), np.float32)
    first = detected(images, [5, 6, 5], noise, seed=1, stream="s", epoch=2)
    np.testing.assert_array_equal(first[0], first[2])
    np.testing.assert_array_equal(first[1], detected(images[:1], [6], noise, seed=1, stream="s", epoch=2)[0])
    expected = generator(1, "s/detection", 5, attempt=2).standard_normal((2, 2)).astype(np.float32)
    np.testing.assert_array_equal(first[0], expected)
    for other in ({"seed": 2}, {"stream": "t"}, {"epoch": 3}):
        again = detected(images, [5, 6, 5], noise, **{"seed": 1, "stream": "s", "epoch": 2, **other})
        assert not np.isclose(again, first).any()


def test_good_leaves_out_samples_without_an_image() -> None:
    samples, numbers = good(SmallSource(40).make(range(20, 24)), range(20, 24))
    assert numbers == [20, 21, 23]  # 22 % 17 == 5
    assert (samples.status == 0).all()
    assert samples.labels.tolist() == [0, 1, 1]
