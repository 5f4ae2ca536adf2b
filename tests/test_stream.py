"""Streams: the same batches from a store and from a simulation, for any number of workers, ranks and interruptions."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch

from insdl.dataset.engine import make_data_set
from insdl.dataset.order import EpochOrder
from insdl.dataset.reader import SourceReader, StoreReader, detected, good
from insdl.learn.networks import CellClassifier
from insdl.learn.stream import Batch, ImageStream, Rank, TrainingSamples
from insdl.learn.train import TrainingSettings, train
from small_source import SmallSource, noise

N = 60
GOOD = [index for index in range(N) if index % 17 != 5]
ORDER = EpochOrder(0, N, shard_size=7, seed=3)
SOURCE = SmallSource(N)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stream")
    make_data_set(SOURCE, folder, engine="serial", shard_size=7, progress="silent")
    return folder


def stream(reader=None, **options) -> ImageStream:
    return ImageStream(reader or SourceReader(SOURCE), ORDER, **{"batch_size": 8, "detect": noise, **options})


def same(first: Iterable[Batch], second: Iterable[Batch]) -> None:
    for one, other in zip(first, second, strict=True):
        for name, values, others in zip(Batch._fields, one, other, strict=True):
            torch.testing.assert_close(values, others, rtol=0, atol=0, equal_nan=True, msg=name)


def epochs(given: ImageStream, n: int = 2) -> list[Batch]:
    return [batch for _ in range(n) for batch in given]


def seen(batches: Iterable[Batch]) -> list[int]:
    return [index for batch in batches for index in batch.indices.tolist()]


def test_an_epoch_has_every_sample_once_and_each_its_own_noise() -> None:
    given = stream()
    first, second = epochs(given, 1), epochs(given, 1)
    assert sorted(seen(first)) == sorted(seen(second)) == GOOD
    assert seen(first) != seen(second)
    assert given.epoch == 2
    assert first[0].images.shape[1:] == (3, 3, 4)
    by_index = [
        {i: image for b in batches for i, image in zip(b.indices.tolist(), b.images, strict=True)}
        for batches in (first, second)
    ]
    assert not torch.equal(by_index[0][7], by_index[1][7])


def test_batches_hold_what_belongs_together() -> None:
    made = SOURCE.make(range(N))
    for batch in stream(detect=None):
        for row, index in enumerate(batch.indices.tolist()):
            np.testing.assert_array_equal(batch.images[row], made.images[index].astype(np.float16))
            np.testing.assert_array_equal(batch.parameters[row], made.parameters[index])
            np.testing.assert_array_equal(batch.settings[row], made.settings[index])
            assert batch.labels[row] == made.labels[index]


def test_store_and_simulation_give_the_same_batches(folder: Path) -> None:
    same(epochs(stream(StoreReader(folder))), epochs(stream()))


def test_worker_processes_give_the_same_batches(folder: Path) -> None:
    """And stay for the next epoch."""
    given = stream(StoreReader(folder), workers=2)
    same(epochs(given), epochs(stream()))
    state = given.state_dict()
    resumed = stream()
    resumed.load_state_dict(state)
    same(epochs(given, 1), epochs(resumed, 1))


@pytest.mark.parametrize("stop_after", [1, 5, 8, 9])
def test_a_training_that_was_cut_off_goes_on_with_the_next_batch(folder: Path, stop_after: int) -> None:
    """Also with the other reader, and in the next epoch; batches made ahead are made again."""
    expected = epochs(stream(), 2)
    given, done = stream(), []
    while len(done) < stop_after:
        for batch in given:
            done.append(batch)
            if len(done) == stop_after:
                break
    state = torch.save(given.state_dict(), folder / "state.pt") or torch.load(folder / "state.pt")
    resumed = stream(StoreReader(folder))
    resumed.load_state_dict(state)
    rest = epochs(resumed, 2 - resumed.epoch)
    same(done + rest, expected)


def test_ranks_share_an_epoch(folder: Path) -> None:
    """No sample is lost or comes twice, and what a sample looks like does not depend on the rank."""
    whole = {i: image for b in stream() for i, image in zip(b.indices.tolist(), b.images, strict=True)}
    ranks = [list(stream(StoreReader(folder), rank=Rank(rank, 4))) for rank in range(4)]
    assert sorted(seen(batch for rank in ranks for batch in rank)) == GOOD
    for rank in ranks:
        for batch in rank:
            for index, image in zip(batch.indices.tolist(), batch.images, strict=True):
                assert torch.equal(image, whole[index])


def test_ranks_have_equally_many_batches_where_the_tail_is_dropped() -> None:
    lengths = {len(stream(rank=Rank(rank, 7, "drop"), batch_size=3)) for rank in range(7)}
    assert lengths == {3}  # 60 = 7 x 8 + 4
    assert {len(stream(rank=Rank(rank, 7), batch_size=4)) for rank in range(7)} == {2, 3}


def test_a_state_of_another_stream_is_refused() -> None:
    state = stream().state_dict()
    for other, said in (
        (stream(batch_size=9), "batch_size 8, this one has 9"),
        (stream(rank=Rank(0, 2)), "world_size 1, this one has 2"),
        (ImageStream(SourceReader(SOURCE), EpochOrder(0, N, 7, seed=4), batch_size=8), "seed 3, this one has 4"),
    ):
        with pytest.raises(ValueError, match=said):
            other.load_state_dict(state)
    with pytest.raises(ValueError, match="stands at batch 99 of epoch 0"):
        stream().load_state_dict({**state, "batches_done": 99})


def test_no_more_is_made_ahead_than_allowed_and_no_thread_stays() -> None:
    class Counting(SmallSource):
        made = 0

        def make(self, indices, *, threads=None):
            Counting.made += 1
            return super().make(indices)

    before = threading.active_count()
    batches = iter(stream(SourceReader(Counting(N)), ahead=2))
    next(batches)
    for _ in range(100):
        if Counting.made == 4:
            break
        threading.Event().wait(0.01)
    threading.Event().wait(0.05)
    assert Counting.made == 4  # one in use, two waiting, one in the hand of the maker
    batches.close()
    assert threading.active_count() == before


def test_an_error_in_the_background_is_raised_where_the_batch_is_asked_for() -> None:
    def fails(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        raise ValueError("no such detector")

    with pytest.raises(ValueError, match="no such detector"):
        list(stream(detect=fails))


def test_bad_streams_are_refused() -> None:
    with pytest.raises(ValueError, match="goes up to sample 60, but the reader has 60"):
        ImageStream(SourceReader(SOURCE), EpochOrder(0, 61, 7, seed=0), batch_size=8)
    with pytest.raises(ValueError, match="batch_size and ahead must be at least 1"):
        stream(batch_size=0)


def test_training_samples_are_those_of_the_stream() -> None:
    """Numbered through the epochs; a sample without an image is replaced."""
    sample = TrainingSamples(SourceReader(SOURCE), ORDER, detect=noise, block=8)
    images = {
        (epoch, i): image
        for epoch in range(2)
        for b in epochs(stream(), 2)[epoch * 8 : (epoch + 1) * 8]
        for i, image in zip(b.indices.tolist(), b.images, strict=True)
    }
    for number in range(2 * N):
        epoch, position = divmod(number, N)
        index = int(ORDER.indices(epoch, [position])[0])
        image, label = sample(number)
        if position % 8 == 0 and index in GOOD:  # the first of its block: nothing before it can be missing
            np.testing.assert_array_equal(image, images[epoch, index])
            assert label == index % 2
        assert np.abs(image).max() > 5  # never an empty one


def test_a_network_trains_on_them() -> None:
    """With insdl.learn.train as it is: classes that differ in every pixel are learned, from samples that were not held out."""

    class Easy(SmallSource):
        image_shape = (3, 8, 8)

        def make(self, indices, *, threads=None):
            made = super().make(indices)
            made.images[made.labels == 1] += 100
            return made

    reader = SourceReader(Easy(160))
    samples = TrainingSamples(reader, EpochOrder(0, 128, 8, seed=0), detect=_small, block=8)
    held_out, numbers = good(reader.read(range(128, 160)), range(128, 160))
    images = detected(held_out.images, numbers, _small, seed=0, stream="held out")
    result = train(
        CellClassifier(cells=3, pixels=8, widths=(8, 8, 8)),
        sample=samples,
        validation=(images, held_out.labels),
        settings=TrainingSettings(epochs=6, samples_per_epoch=128, batch_size=8, learning_rate=2e-2, threads=1),
        progress="silent",
    )
    assert result.history[result.best_epoch].validation_score == 1.0


def _small(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return image / 100 - 1 + 0.1 * rng.standard_normal(image.shape)


HALF_READ = """
import multiprocessing.queues as queues
import multiprocessing.resource_tracker as tracker
import sys
import threading
import time
sys.path.insert(0, {tests!r})
from insdl.dataset.order import EpochOrder
from insdl.dataset.reader import SourceReader
from insdl.learn.stream import ImageStream
from small_source import SmallSource


def look() -> None:
    order = EpochOrder(0, 4000, shard_size=16, seed=0)
    for number, _ in enumerate(ImageStream(SourceReader(SmallSource(4000)), order, batch_size=64, workers=2)):
        if number == 2:
            return


# Threads that send to the workers end while the interpreter does, and are slow to say that their semaphores are gone.
unregister, feed = tracker.unregister, queues.Queue._feed


def slowly(*name: str) -> None:
    time.sleep(0.5 * (threading.current_thread() is not threading.main_thread()))
    unregister(*name)


def a_little_longer(*queue: object) -> None:
    feed(*queue)
    time.sleep(0.01)


tracker.unregister, queues.Queue._feed = slowly, staticmethod(a_little_longer)

if __name__ == "__main__":
    look()
"""


def test_a_stream_may_be_dropped_half_read(tmp_path: Path) -> None:
    """Workers with batches that nobody wants any more end without a word."""
    script = tmp_path / "look.py"
    script.write_text(HALF_READ.format(tests=str(Path(__file__).parent)), "utf-8")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
