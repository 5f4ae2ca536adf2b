"""Engines: serial, processes and dask, any number of workers, one after the other or in parts, give the same bytes."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from insdl.dataset.engine import make_data_set, processors, run_tasks
from small_source import SmallSource, contents, fails_at_two

N, SIZE = 50, 6


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("engine") / "set"
    make_data_set(SmallSource(N), folder, engine="serial", shard_size=SIZE, progress="silent")
    return contents(folder)


@pytest.mark.parametrize("workers", [1, 3])
def test_processes(tmp_path: Path, expected: dict[str, bytes], workers: int) -> None:
    status = make_data_set(SmallSource(N), tmp_path, workers=workers, shard_size=SIZE, progress="silent")
    assert status.complete
    assert contents(tmp_path) == expected


def test_dask_on_this_machine(tmp_path: Path, expected: dict[str, bytes]) -> None:
    pytest.importorskip("distributed")
    make_data_set(SmallSource(N), tmp_path, engine="dask", workers=1, shard_size=SIZE, progress="silent")
    assert contents(tmp_path) == expected


def test_parts_make_the_whole(tmp_path: Path, expected: dict[str, bytes]) -> None:
    for k in (2, 0, 1):
        assert "manifest.json" not in contents(tmp_path)
        status = make_data_set(
            SmallSource(N), tmp_path, engine="serial", shard_size=SIZE, part=(k, 3), progress="silent"
        )
    assert status.complete
    make_data_set(SmallSource(N), tmp_path, engine="serial", progress="silent")  # nothing to do but the manifest
    assert contents(tmp_path) == expected


def test_nothing_to_do_does_nothing(tmp_path: Path, expected: dict[str, bytes]) -> None:
    class Never(SmallSource):
        def make(self, indices, *, threads=None):
            raise AssertionError("simulated again")

    make_data_set(SmallSource(N), tmp_path, engine="serial", shard_size=SIZE, progress="silent")
    make_data_set(Never(N), tmp_path, engine="serial", progress="silent")
    assert contents(tmp_path) == expected


def test_an_error_in_a_worker_is_raised_here_and_leaves_nothing_half_made(tmp_path: Path) -> None:
    before = threading.active_count()
    with pytest.raises(ValueError, match="samples are numbered 0 to 3"):
        list(run_tasks(fails_at_two, range(4), workers=2))
    assert threading.active_count() == before


def test_results_come_with_their_numbers() -> None:
    assert dict(run_tasks(abs, [-3, 5, -7], workers=2)) == {-3: 3, 5: 5, -7: 7}
    assert dict(run_tasks(abs, [-3, 5], engine="serial")) == {-3: 3, 5: 5}
    assert list(run_tasks(abs, [], workers=2)) == []


def test_progress_goes_to_the_error_stream_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make_data_set(SmallSource(N), tmp_path / "bar", engine="serial", shard_size=SIZE)
    out, err = capfd.readouterr()
    assert out == ""
    assert "/50.0 [" in err
    make_data_set(SmallSource(N), tmp_path / "silent", engine="serial", shard_size=SIZE, progress="silent")
    assert capfd.readouterr() == ("", "")


def test_bad_calls_are_refused(tmp_path: Path) -> None:
    for options, said in (
        ({"part": (2, 2)}, "part must be"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"engine": "threads"}, "engine must be 'processes', 'dask' or 'serial', got 'threads'"),
    ):
        with pytest.raises(ValueError, match=said):
            make_data_set(SmallSource(N), tmp_path, progress="silent", **options)
    assert processors() >= 1
