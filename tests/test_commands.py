"""The PCSMO job from end to end, its command line, and what happens when it is interrupted or given bad input."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from click.testing import CliRunner

from insdl import measured_data
from insdl.cli import main
from insdl.commands import pcsmo
from insdl.commands.pcsmo import PcsmoSettings, own_measurement, run
from insdl.commands.pcsmo_report import verdict_sentence
from insdl.instrument.pcsmo import to_sheet
from insdl.learn.train import TrainingSettings, load_checkpoint
from insdl.provenance import complete_folder

SMALL = PcsmoSettings(
    seeds=2,
    training_images=12,
    validation_images=6,
    test_images=6,
    training=TrainingSettings(epochs=1, samples_per_epoch=32),
    template_evaluations=2,
)


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pcsmo") / "out"
    return run(None, folder, SMALL, progress=False), folder


def test_result_says_what_who_and_how_sure(small_run):
    result, folder = small_run
    stored = json.loads((folder / "result.json").read_text())
    assert stored["classes"] == ["goodenough", "dimer"]
    assert stored["verdict"] in stored["classes"]
    assert set(stored["probability"]) == {"0", "1"}
    for row in stored["probability"].values():
        assert sum(row.values()) == pytest.approx(1.0)
    assert 0 <= stored["held_out_accuracy"] <= 1
    assert set(stored["template_correlation"]) == {"goodenough", "dimer"}
    assert stored["template_correlation"] == result["template_correlation"]
    assert len(stored["explanation"]["strongest_cells"]) == 12
    assert {"simulation", "templates"} <= set(stored["timings_seconds"])
    assert stored["configuration"]["seeds"] == 2
    assert stored["versions"]["insdl"] != "not installed"
    assert "made by insdl: goodenough" in stored["measurement"]["source"]


def test_verdict_of_untrained_networks_comes_with_a_warning(small_run):
    result = {**small_run[0], "held_out_accuracy": 0.6}
    assert "too few held-out images" in verdict_sentence(result)
    assert "too few held-out images" not in verdict_sentence({**result, "held_out_accuracy": 0.97})


def test_template_of_the_true_model_fits_better(small_run):
    """The own measurement is Goodenough: even twelve images and two steps find it more alike than the dimer."""
    correlations = small_run[0]["template_correlation"]
    assert correlations["goodenough"] > 0.5


def test_report_is_one_file_and_networks_load(small_run):
    _, folder = small_run
    report = (folder / "report.html").read_text()
    assert report.count("data:image/png;base64,") >= 7
    assert "http" not in report.split("</style>")[1]
    network, description = load_checkpoint(folder / "network-1.pt")
    assert network.config.outputs == ("goodenough", "dimer")
    assert description["job"] == "pcsmo"


def test_own_measurement_is_reproducible_and_looks_like_one():
    first, again = own_measurement(SMALL), own_measurement(SMALL)
    assert np.array_equal(first.image, again.image)
    assert (first.image[~first.measured] == 0).all()
    zeros = (first.image[first.measured] == 0).mean()
    assert 0.2 < zeros < 0.5  # the real one: 0.29


def test_interruption_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(pcsmo, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(None, tmp_path / "out", SMALL, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_interrupted_command_says_so(tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(pcsmo, "run", interrupted)
    outcome = CliRunner().invoke(main, ["pcsmo", "--output", str(tmp_path / "out"), "--quiet"])
    assert outcome.exit_code == 130
    assert "nothing was written" in outcome.output


def test_complete_folder_keeps_the_old_result_until_the_end(tmp_path):
    folder = tmp_path / "out"
    with complete_folder(folder) as work:
        (work / "result.json").write_text("old")

    def broken():
        with complete_folder(folder) as work:
            (work / "result.json").write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    assert (folder / "result.json").read_text() == "old"
    assert [f.name for f in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["pcsmo", "--measured", "missing.npy"], "there is no file missing.npy"),
        (["pcsmo", "--mask", "mask.npy"], "--mask needs --measured"),
        (["pcsmo", "--measured", "layout.npy"], "must have shape (240, 400)"),
        (["pcsmo", "--measured", "nan.npy"], "must be finite"),
        (["pcsmo", "--measured", "text.npy"], "could not be read"),
        (["pcsmo", "--measured", "good.npy", "--mask", "grey.npy"], "zeros and ones only"),
        (["rb2mnf4", "--measured", "layout.npy"], "must have shape (4, 64, 64)"),
        (["rb2mnf4", "--window", "5", "2"], "windows must be pairs"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    np.save("layout.npy", np.zeros((100, 400)))
    sheet = to_sheet(own_measurement(SMALL).image, orientation="measured")
    np.save("good.npy", sheet)
    bad = sheet.copy()
    bad[tuple(np.argwhere(sheet > 0)[0])] = np.nan
    np.save("nan.npy", bad)
    np.save("mask.npy", np.zeros((240, 400)))
    np.save("nan_mask.npy", np.zeros((240, 400)))
    np.save("grey.npy", np.full((240, 400), 0.5))
    (tmp_path / "text.npy").write_text("not an array")
    if "nan.npy" in arguments:
        arguments = [*arguments, "--mask", "nan_mask.npy"]
    outcome = CliRunner().invoke(main, [*arguments, "--quiet"])
    assert outcome.exit_code == 2, outcome.output
    assert sentence in outcome.output
    assert outcome.output.count("\n") == 1
    assert "Traceback" not in outcome.output


def test_fetch_takes_a_local_folder_and_checks_it(tmp_path, monkeypatch):
    monkeypatch.setenv("INSDL_DATA", str(tmp_path))
    folder = tmp_path / "pcsmo"
    folder.mkdir()
    for name in measured_data.PCSMO_FILES:
        (folder / name).write_bytes(b"something else")
    outcome = CliRunner().invoke(main, ["fetch", "pcsmo"])
    assert outcome.exit_code == 2
    assert "SHA-256" in outcome.output
    monkeypatch.setattr(
        measured_data,
        "PCSMO_FILES",
        {name: ("there", hashlib.sha256(b"something else").hexdigest()) for name in measured_data.PCSMO_FILES},
    )
    outcome = CliRunner().invoke(main, ["fetch", "pcsmo"])
    assert outcome.exit_code == 0
    assert outcome.output.strip() == str(folder / "measured.npy")
