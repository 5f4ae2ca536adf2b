"""Files are complete or not there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from insdl.dataset import durable_file
from insdl.dataset.durable_file import remove_abandoned, write_durably, write_first
from small_source import no_space


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_durably(path, b"old")
    with monkeypatch.context() as full:
        full.setattr(durable_file.os, "fsync", no_space)
        with pytest.raises(OSError, match="No space left"):
            write_durably(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"
    write_durably(path, b"new")
    assert path.read_bytes() == b"new"


def test_data_is_on_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is flushed before it is renamed, and the folder after."""
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(durable_file.os, "fsync", lambda handle: (calls.append("flush"), fsync(handle)))
    monkeypatch.setattr(durable_file.os, "replace", lambda a, b: (calls.append("rename"), replace(a, b)))
    write_durably(tmp_path / "file", b"data")
    assert calls == ["flush", "rename", "flush"]


def test_the_first_of_several_writers_wins(tmp_path: Path) -> None:
    write_first(tmp_path / "file", b"first")
    write_first(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"first"
    assert len(list(tmp_path.iterdir())) == 1


def test_only_abandoned_files_are_removed(tmp_path: Path) -> None:
    """Of processes of this machine that are gone; of other machines after a day."""
    host = durable_file._host()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    zombie = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert zombie.stdout is not None
    zombie.stdout.read()  # it has ended, but nobody has waited for it
    time.sleep(0.2)
    (tmp_path / "below").mkdir()
    names = {
        f".a.h5.{host}.{gone.pid}.1.partial": True,
        f"below/.b.h5.{host}.{gone.pid}.1.partial": True,
        f".z.h5.{host}.{zombie.pid}.1.partial": Path("/proc/self/stat").exists(),
        f".c.h5.{host}.{os.getpid()}.1.partial": False,
        f".d.h5.other-{host}.{gone.pid}.1.partial": False,
        f".e.h5.other-{host}.{gone.pid}.2.partial": True,
        "f.h5": False,
        ".g.partial": False,
    }
    for name in names:
        (tmp_path / name).write_bytes(b"half")
    long_ago = time.time() - 100_000
    os.utime(tmp_path / f".e.h5.other-{host}.{gone.pid}.2.partial", (long_ago, long_ago))
    assert remove_abandoned(tmp_path) == sum(names.values())
    assert {name: not (tmp_path / name).exists() for name in names} == names
    zombie.communicate()
