"""Resuming: a training killed at any moment and started again gives the same weights, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_training
from insdl.learn.torch_file import write_torch_file
from insdl.learn.train import train

SCRIPT = Path(tiny_training.__file__)


def run(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    places = [str(SCRIPT.parent), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(place for place in places if place)}
    command = [sys.executable, str(SCRIPT), str(folder), "resume", *words]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


def finished(process: subprocess.Popen[bytes]) -> int:
    _, said = process.communicate(timeout=120)
    assert process.returncode in (0, -signal.SIGKILL), said.decode()
    return process.returncode


def undisturbed(folder: Path, feed: str) -> dict[str, Any]:
    folder.mkdir()
    tiny_training.resumable(folder, feed)
    return dict(json.loads((folder / "done.json").read_text()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("feed", "deaths"),
    [
        ("sample", [(3, "after a step"), (2, "inside the write"), (1, "after the rename"), (14, "after a step")]),
        ("stream", [(8, "after a step"), (4, "inside the write"), (3, "after the rename")]),
    ],
)
def test_killed_and_started_again_gives_the_same_weights(
    feed: str, deaths: list[tuple[int, str]], tmp_path: Path
) -> None:
    """Before the first state, inside a write, right after one, in a later epoch: each time from where it was."""
    expected = undisturbed(tmp_path / "whole", feed)
    folder = tmp_path / "killed"
    folder.mkdir()
    for batch, phase in deaths:
        assert finished(run(folder, feed, "kill", str(batch), phase)) == -signal.SIGKILL, (batch, phase)
        assert not (folder / "done.json").exists()
    assert finished(run(folder, feed)) == 0
    assert json.loads((folder / "done.json").read_text()) == expected


@pytest.mark.slow
def test_killed_from_outside_at_any_moment(tmp_path: Path) -> None:
    """The moments are the clock's: wherever they fall, the weights are the same."""
    expected = undisturbed(tmp_path / "whole", "stream")
    folder = tmp_path / "killed"
    folder.mkdir()
    for moment in (0.13, 0.31):
        process = run(folder, "stream", "0.03")
        deadline = time.monotonic() + 60
        before = (folder / "state").stat().st_mtime_ns if (folder / "state").exists() else 0
        while process.poll() is None and time.monotonic() < deadline:
            if (folder / "state").exists() and (folder / "state").stat().st_mtime_ns != before:
                break
            time.sleep(0.005)
        time.sleep(moment)
        process.kill()
        assert finished(process) == -signal.SIGKILL
    assert finished(run(folder, "stream")) == 0
    assert json.loads((folder / "done.json").read_text()) == expected


def interrupted(folder: Path, *, after: int, **options: Any) -> None:
    """A training in this process that is interrupted after some steps."""
    count = 0

    def stop(_: torch.nn.Module, batch: Any) -> None:
        nonlocal count
        count += 1
        if count == after:
            raise KeyboardInterrupt

    call(folder, after_step=stop, **options)


def call(folder: Path, **options: Any) -> tuple[torch.nn.Module, Any]:
    network = options.pop("network", None) or tiny_training.network()
    options.setdefault("sample", tiny_training.sample)
    options.setdefault("validation", tiny_training.held_out())
    options.setdefault("settings", tiny_training.settings())
    result = train(network, state=folder / "state", state_every=5, progress="silent", **options)
    return network, result


@pytest.mark.parametrize("after", [4, 5, 12, 13, 23, 36])
def test_interrupted_anywhere_gives_the_same_weights(after: int, tmp_path: Path) -> None:
    """12 batches an epoch, 3 epochs: before and after states, at an epoch's end and begin, at the very end."""
    (tmp_path / "whole").mkdir()
    expected, whole = call(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path, after=after)
    network, result = call(tmp_path)
    assert result.history == whole.history
    for name, value in expected.state_dict().items():
        assert torch.equal(value, network.state_dict()[name]), name


def test_a_state_file_changes_nothing(tmp_path: Path) -> None:
    with_state, _ = call(tmp_path)
    without = tiny_training.network()
    train(
        without,
        sample=tiny_training.sample,
        validation=tiny_training.held_out(),
        settings=tiny_training.settings(),
        progress="silent",
    )
    for name, value in without.state_dict().items():
        assert torch.equal(value, with_state.state_dict()[name]), name


def test_a_training_that_has_ended_returns_at_once(tmp_path: Path) -> None:
    """Also one that stopped early; no sample is drawn but the first, which tells trainings apart."""
    images, targets = tiny_training.held_out()
    options = {
        "settings": tiny_training.settings(epochs=30, patience=1),
        "validation": (images, [1 - t for t in targets]),
    }
    first, result = call(tmp_path, **options)
    assert result.stopped_early
    drawn = []

    def sample(index: int) -> Any:
        drawn.append(index)
        return tiny_training.sample(index)

    sample.__module__, sample.__qualname__ = tiny_training.sample.__module__, "sample"
    again, repeated = call(tmp_path, sample=sample, **options)
    assert drawn == [0]
    assert repeated.history == result.history
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_the_state_of_another_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path, after=7)

    def other(index: int) -> Any:
        return tiny_training.sample(index + 1)

    other.__module__, other.__qualname__ = tiny_training.sample.__module__, "sample"
    images, targets = tiny_training.held_out()
    seeded = tiny_training.Dropping(cells=3, classes=("a", "b"), pixels=8, widths=(8, 8, 8), seed=4)
    for options, said in (
        ({"settings": tiny_training.settings(learning_rate=0.3)}, r"settings\.learning_rate is 0\.01 there and 0\.3"),
        ({"network": seeded}, r"config\.seed is 0 there and 4 here"),
        ({"network": tiny_training.network(tiny_training.CellClassifier)}, "network is .*Dropping.* there"),
        ({"sample": other}, "first sample is"),
        ({"validation": (images, targets[::-1])}, "validation is"),
        ({"sample": None, "stream": tiny_training.stream()}, r"data\.stream is None there"),
    ):
        with pytest.raises(ValueError, match=f"is the state of another training: .*{said}"):
            call(tmp_path, **options)
    call(tmp_path)  # and its own is still there


def test_files_that_are_no_state_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text("something else")
    with pytest.raises(ValueError, match="not a state file of a training"):
        call(tmp_path)
    write_torch_file(path, {"format": "insdl network 2"})
    with pytest.raises(ValueError, match="expected a dictionary of format 'insdl training 1'"):
        call(tmp_path)
    path.unlink()
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path, after=7)
    whole = bytearray(path.read_bytes())
    path.write_bytes(whole[:-300])
    with pytest.raises(ValueError, match="not a state file"):
        call(tmp_path)
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    with pytest.raises(ValueError, match=r"is damaged|is not a state file"):
        call(tmp_path)


def test_wrong_state_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="folder of state"):
        call(tmp_path / "no" / "folder")
    with pytest.raises(ValueError, match="state_every must be at least 1, got 0"):
        train(
            tiny_training.network(),
            sample=tiny_training.sample,
            validation=tiny_training.held_out(),
            state=tmp_path / "state",
            state_every=0,
        )
