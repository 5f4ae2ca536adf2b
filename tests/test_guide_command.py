"""insdl guide, for both magnets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from insdl.cli import main
from insdl.dataset.configuration import configuration, load_configuration
from insdl.dataset.configured import ConfiguredSource
from insdl.dataset.randomness import generator


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    content = load_configuration("rb2mnf4-eight-windows").model_dump()
    content["frame"]["pixels"] = {"first": -0.9375, "last": 0.9375, "count": 16}
    source = ConfiguredSource(configuration({**content, "stream": "guide command"}))
    image = source.detect(source.make([0]).images[0], generator(0, "guide command", 0)).astype(float)
    image[~source.detector.measured] = np.nan
    file = tmp_path_factory.mktemp("guide") / "counts.npy"
    np.save(file, image)
    return file


def test_windows_are_ranked_by_the_error_bars_they_bring(counts: Path) -> None:
    arguments = ["guide", str(counts), "--magnet", "rb2mnf4", "--target", "J1", "0.0005", "--target", "J2", "0.0004"]
    done = CliRunner().invoke(main, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert len(found["next"]) == 8
    cost = [
        (one["errors_after"]["J1"] / 0.0005) ** 2 + (one["errors_after"]["J2"] / 0.0004) ** 2 for one in found["next"]
    ]
    assert cost == sorted(cost)
    assert sum(found["shares"]) == pytest.approx(1.0)
    assert all(
        one["errors_after"][name] <= found["errors_now"][name] * (1 + 1e-9)
        for one in found["next"]
        for name in ("J1", "J2")
    )
    assert found["time_to_targets"]["guided"] < found["time_to_targets"]["even"]
    text = CliRunner().invoke(main, arguments).stdout
    assert "best share" in text
    assert "meV" in text


def test_wrong_input_is_one_sentence(counts: Path, tmp_path: Path) -> None:
    cases = [
        ([str(counts), "--magnet", "rb2mnf4", "--window", "1", "2"], "must hold 1 windows"),
        ([str(counts), "--magnet", "rb2mnf4", "--target", "J9", "1"], "targets must be positive errors of"),
        ([str(counts), "--magnet", "rb2mnf4", "--picture", "a.png"], "are for --magnet pcsmo"),
        ([str(counts), "--target", "J1", "1"], "are for --magnet rb2mnf4"),
        ([str(counts), "--model", "dimer"], "--model must be given twice or more"),
        ([str(tmp_path / "no.npy")], "no.npy"),
    ]
    for arguments, message in cases:
        done = CliRunner().invoke(main, ["guide", *arguments])
        assert done.exit_code == 2, done.output
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
