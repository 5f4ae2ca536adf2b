"""insdl dataset make, verify, status and slurm, as they are called."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from insdl.cli import main
from insdl.commands.slurm import array_script
from insdl.dataset.store import open_store
from small_source import contents


def run(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["dataset", *map(str, words)])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("commands") / "set"
    run("make", "rb2mnf4", folder, "--samples", 20, "--shard-size", 6, "--engine", "serial", "--quiet")
    return folder


def test_make_says_what_is_there(folder: Path) -> None:
    said = run("status", folder)
    assert "20 of 20 images in 4 of 4 shards" in said
    assert "Missing" not in said
    assert json.loads((folder / "manifest.json").read_text())["complete"]


def test_verify_finds_damage_and_make_repairs_it(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert "20 of 20 images" in run("verify", copy, "--workers", 1, "--quiet")
    os.truncate(open_store(copy).path(2), 100)
    said = run("verify", copy, "--workers", 1, "--quiet", code=1)
    assert "Shard 2 is set aside: its file has 100 bytes instead of" in said
    assert "Missing: 12 to 17." in said
    run("make", "rb2mnf4", copy, "--samples", 20, "--workers", 1, "--quiet")
    run("verify", copy, "--workers", 1, "--quiet")
    assert open_store(copy).path(2).read_bytes() == open_store(folder).path(2).read_bytes()


def test_bad_input_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    for words, said in (
        (("make", "rb2mnf4", folder, "--samples", 21), "n_samples is 20 there and 21 here"),
        (("make", "nonsense", tmp_path / "new"), "nonsense"),
        (("verify", tmp_path / "nothing"), "holds no data set"),
        (("status", tmp_path), "holds no data set"),
        (("make", "rb2mnf4", folder, "--scheduler", "tcp://here:1"), "--scheduler needs --engine dask"),
        (("slurm", "pcsmo", "out", "--time", "soon"), "time must be"),
    ):
        output = run(*words, code=2)
        assert said in output
        assert output.count("\n") == 1
        assert "Traceback" not in output
    assert "is not K/N" in run("make", "rb2mnf4", folder, "--part", "3/3", code=2)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_array_makes_the_same_data_set(folder: Path, tmp_path: Path) -> None:
    """The printed script is run as SLURM would, once for each task; the manifest is then made by status."""
    bin_folder, out = tmp_path / "bin", tmp_path / "a set"
    bin_folder.mkdir()
    program = bin_folder / "insdl"
    call = f"import sys; sys.path[:0] = {sys.path!r}; from insdl.cli import main; main()"
    program.write_text(f'#!/bin/bash\nexec {shlex.quote(sys.executable)} -c {shlex.quote(call)} "$@"\n')
    program.chmod(0o755)
    options = ["--samples", "20", "--shard-size", "6", "--engine", "serial"]
    script = array_script("rb2mnf4", out, tasks=3, cpus=1, memory="1G", limit="1:00:00", options=options)
    environment = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"}
    environment["INSDL_ISA"] = open_isa(folder)
    for task in (1, 0, 2):
        environment["SLURM_ARRAY_TASK_ID"] = str(task)
        done = subprocess.run(
            ["bash"], input=script, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
    assert sorted(set(contents(folder)) - set(contents(out))) == ["manifest.json"]
    run("status", out)
    assert contents(out) == contents(folder)


def open_isa(folder: Path) -> str:
    from insdl.dataset.shard import ShardFile

    with ShardFile(open_store(folder).path(0)) as file:
        return file.versions["instruction_set"]


def test_the_script_is_complete() -> None:
    script = run("slurm", "pcsmo", "out", "--array", 40, "--cpus", 8, "--memory", "2G", "--time", "1-12:00:00")
    assert script.startswith("#!/bin/bash\n")
    for line in ("--array=0-39", "--cpus-per-task=8", "--mem-per-cpu=2G", "--time=1-12:00:00", "--requeue"):
        assert f"\n#SBATCH {line}\n" in script
    assert '--part "${SLURM_ARRAY_TASK_ID}/40"' in script
    options = ("--samples", 700, "--seed", 3, "--shard-size", 50, "--content", "parameters", "--compression", 4)
    assert " --samples 700 --seed 3 --shard-size 50 --content parameters --compression 4 --part " in run(
        "slurm", "pcsmo", "out", *options
    )
    for wrong in ({"memory": "much"}, {"limit": "1 hour"}):
        with pytest.raises(ValueError, match="must be"):
            array_script("pcsmo", Path("out"), **{"tasks": 1, "cpus": 1, "memory": "1G", "limit": "60", **wrong})
