"""Whatever goes wrong while a data set is made: afterwards it has the bytes of an undisturbed serial run.

Names, bytes and number of all files are compared, so that nothing is lost, doubled or left behind.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from insdl.dataset import durable_file, rb2mnf4
from insdl.dataset.engine import DEATHS, make_data_set
from insdl.dataset.reader import StoreReader
from insdl.dataset.source import FamilySource
from insdl.dataset.store import open_store
from insdl.dataset.verify import shard_problem, verify_store
from insdl.instrument.rb2mnf4 import rb2mnf4_frame
from small_source import PHASES, DyingSource, SmallSource, contents, no_space

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="workers are found in /proc")

SIZE = 4
SHARDS = 54
N = SIZE * SHARDS - 1  # the last shard is short


def undisturbed(folder: Path, source: SmallSource | FamilySource, shard_size: int = SIZE) -> dict[str, bytes]:
    make_data_set(source, folder, engine="serial", shard_size=shard_size, progress="silent")
    return contents(folder)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return undisturbed(tmp_path_factory.mktemp("expected") / "set", SmallSource(N))


def differences(found: dict[str, bytes], wanted: dict[str, bytes]) -> list[str]:
    """Names of files that are not the same, or only in one of two data sets."""
    return [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]


def workers_of_this_process() -> list[int]:
    """Processes below this one that run tasks: below the fork server."""
    found, level = [], [os.getpid()]
    for _ in range(2):
        children = []
        for process in level:
            for file in Path(f"/proc/{process}/task").glob("*/children"):
                try:
                    children += [int(word) for word in file.read_text().split()]
                except OSError:
                    continue
        level = children
        found = children
    return found


def test_workers_killed_50_times_in_every_phase(tmp_path: Path, expected: dict[str, bytes]) -> None:
    """Also inside the write of a shard and of its record, and between the two."""
    source = DyingSource(N, shard_size=SIZE, tickets=tmp_path / "tickets")
    source.plan([(shard, PHASES[shard % len(PHASES)]) for shard in range(50)])
    status = make_data_set(source, tmp_path / "set", workers=2, shard_size=SIZE, progress="silent")
    assert source.deaths() == 50
    assert status.complete
    assert differences(contents(tmp_path / "set"), expected) == []


def test_workers_killed_at_random_moments(tmp_path: Path, expected: dict[str, bytes]) -> None:
    """By someone else, while they start, work or wait."""
    kills, stop, rng = [], threading.Event(), random.Random(1)

    def hunt() -> None:
        while not stop.wait(rng.uniform(0.05, 0.8)):
            for worker in rng.sample(found, 1) if (found := workers_of_this_process()) else []:
                try:
                    os.kill(worker, signal.SIGKILL)
                    kills.append(worker)
                except ProcessLookupError:
                    continue

    hunter = threading.Thread(target=hunt, daemon=True)
    hunter.start()
    try:
        source = SmallSource(N, pause=0.1)
        make_data_set(source, tmp_path / "set", workers=3, shard_size=SIZE, progress="silent")
    finally:
        stop.set()
        hunter.join()
    assert kills
    assert differences(contents(tmp_path / "set"), expected) == []


def test_workers_that_always_die_end_in_words(tmp_path: Path) -> None:
    source = DyingSource(8, shard_size=SIZE, tickets=tmp_path / "tickets")
    source.plan([(1, "before simulating*")])
    with pytest.raises(ChildProcessError, match=f"workers died {DEATHS} times in a row without finishing a shard"):
        make_data_set(source, tmp_path / "set", workers=1, shard_size=SIZE, progress="silent")
    assert open_store(tmp_path / "set").status().missing == ((4, 8),)


def test_a_worker_killed_in_the_kernel(tmp_path: Path) -> None:
    """Real images: a pool that loses a worker makes the bytes that this process makes with all its threads."""
    source = FamilySource([rb2mnf4.family(rb2mnf4_frame([(1.0, 3.0), (3.0, 6.0)], pixels=16))], 48, 3, "faults")
    serial = undisturbed(tmp_path / "serial", source, shard_size=12)
    killed: list[int] = []

    def hunt() -> None:
        for _ in range(500):
            if len(list((tmp_path / "set").rglob("*.h5"))) >= 1 and workers_of_this_process():
                killed.append(workers_of_this_process()[0])
                os.kill(killed[0], signal.SIGKILL)
                return
            time.sleep(0.01)

    hunter = threading.Thread(target=hunt, daemon=True)
    hunter.start()
    make_data_set(source, tmp_path / "set", workers=2, shard_size=12, progress="silent")
    hunter.join()
    assert killed
    assert differences(contents(tmp_path / "set"), serial) == []


def test_disk_full(tmp_path: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing half-written stays, what was finished does, and with room again the rest is made."""
    make_data_set(SmallSource(N), tmp_path / "set", engine="serial", shard_size=SIZE, part=(0, 3), progress="silent")
    done = contents(tmp_path / "set")
    with monkeypatch.context() as full:
        full.setattr(durable_file.os, "fsync", no_space)
        with pytest.raises(OSError, match="No space left on device"):
            make_data_set(SmallSource(N), tmp_path / "set", engine="serial", progress="silent")
    assert differences(contents(tmp_path / "set"), done) == []
    make_data_set(SmallSource(N), tmp_path / "set", engine="serial", progress="silent")
    assert differences(contents(tmp_path / "set"), expected) == []


CHILD = """
import resource, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background of a shell would pass on its deafness
sys.path[:0] = {path!r}
from pathlib import Path
from small_source import SmallSource
from insdl.dataset.engine import make_data_set
if __name__ == "__main__":
    folder, workers, limit, pause = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    make_data_set(SmallSource({n}, pause=pause), folder, workers=workers, shard_size={size}, progress="silent")
"""


def run_child(folder: Path, *, workers: int = 1, limit: int = 0, pause: float = 0.0) -> subprocess.Popen[str]:
    script = folder.with_name("child.py")
    script.write_text(CHILD.format(path=sys.path, n=N, size=SIZE))
    words = [sys.executable, str(script), str(folder), str(workers), str(limit), str(pause)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_system_refuses_to_write_more(tmp_path: Path, expected: dict[str, bytes]) -> None:
    """A real write that fails halfway, in a worker process: larger files than 4000 bytes are not allowed."""
    child = run_child(tmp_path / "set", workers=2, limit=4000)
    _, said = child.communicate(timeout=60)
    assert child.returncode != 0
    assert "OSError: [Errno 27] File too large" in said
    assert set(contents(tmp_path / "set")) == {"configuration.json"}
    make_data_set(SmallSource(N), tmp_path / "set", workers=2, progress="silent")
    assert differences(contents(tmp_path / "set"), expected) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_leaves_no_workers_and_can_go_on(
    tmp_path: Path, expected: dict[str, bytes], how: signal.Signals
) -> None:
    """Ctrl-C, the end of a batch job, a kill: resumed with another number of workers."""
    child = run_child(tmp_path / "set", workers=2, pause=0.05)
    while len(list((tmp_path / "set").rglob("*.json"))) < 6:
        assert child.poll() is None, child.stderr.read() if child.stderr else ""
        time.sleep(0.02)
    child.send_signal(how)
    child.communicate(timeout=30)  # until the workers have let go of the pipes, too
    done = len(list((tmp_path / "set").rglob("*.h5")))
    assert 1 <= done < SHARDS
    if how == signal.SIGINT:
        assert not list((tmp_path / "set").rglob("*.partial"))
    make_data_set(SmallSource(N), tmp_path / "set", workers=3, progress="silent")
    assert differences(contents(tmp_path / "set"), expected) == []


def test_two_runs_into_one_folder(tmp_path: Path, expected: dict[str, bytes]) -> None:
    """At once, and they share the work rather than doing it twice."""
    started = [run_child(tmp_path / "set", workers=1, pause=0.05) for _ in range(2)]
    for child in started:
        _, said = child.communicate(timeout=60)
        assert child.returncode == 0, said
    assert differences(contents(tmp_path / "set"), expected) == []


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(data)


def test_damage_is_found_set_aside_and_repaired(tmp_path: Path, expected: dict[str, bytes]) -> None:
    """Every shard is damaged, each in another way: cut short, or one bit in another place."""
    folder = tmp_path / "set"
    store = open_store(_copy(expected, folder))
    rng = np.random.default_rng(5)
    damaged = list(range(0, SHARDS, 2))
    for number, shard in enumerate(damaged):
        path = store.path(shard)
        size = path.stat().st_size
        if number % 3 == 0:
            os.truncate(path, int(rng.integers(size)))
        elif number % 3 == 1:
            flip(path, int(rng.integers(size)))
        else:
            os.truncate(path.with_suffix(".json"), int(rng.integers(10, 100)))
    gone = 1
    store.path(gone).unlink()
    found = verify_store(store, engine="serial", progress="silent")
    assert list(found.problems) == sorted([gone, *damaged])
    assert found.status.quarantined == len(damaged) + 1
    assert found.status.done_shards == SHARDS - len(damaged) - 1
    make_data_set(SmallSource(N), folder, workers=2, progress="silent")
    assert not verify_store(store, workers=2, progress="silent").problems
    made = contents(folder)
    made.pop("manifest.json")  # it counts what is in quarantine
    assert differences(made, {name: data for name, data in expected.items() if name != "manifest.json"}) == []


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    """In every 37th byte of a shard, whatever HDF5 keeps there."""
    make_data_set(SmallSource(SIZE), tmp_path, engine="serial", shard_size=SIZE, progress="silent")
    store = open_store(tmp_path)
    good = store.path(0).read_bytes()
    for place in range(0, len(good), 37):
        flip(store.path(0), place)
        assert shard_problem(store, 0) is not None, place
        store.path(0).write_bytes(good)
    assert shard_problem(store, 0) is None


def test_a_lost_dask_worker(tmp_path: Path, expected: dict[str, bytes]) -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50) as cluster,
        distributed.Client(cluster) as client,
    ):
        killed = []

        def hunt() -> None:
            for _ in range(1000):
                if len(list((tmp_path / "set").rglob("*.h5"))) >= 4:
                    killed.append(next(iter(client.run(os.getpid).values())))
                    os.kill(killed[0], signal.SIGKILL)
                    return
                time.sleep(0.01)

        hunter = threading.Thread(target=hunt, daemon=True)
        hunter.start()
        source = SmallSource(N, pause=0.05)
        make_data_set(source, tmp_path / "set", engine="dask", client=client, shard_size=SIZE, progress="silent")
        hunter.join()
    assert killed
    assert differences(contents(tmp_path / "set"), expected) == []


def test_what_was_repaired_reads_like_what_was_made(tmp_path: Path, expected: dict[str, bytes]) -> None:
    source = SmallSource(N)
    made = source.make(range(N))
    read = StoreReader(_copy(expected, tmp_path / "set")).read(range(N))
    np.testing.assert_array_equal(read.images, made.images.astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(read.parameters, made.parameters)
    np.testing.assert_array_equal(read.status, made.status)


def _copy(files: dict[str, bytes], folder: Path) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder
