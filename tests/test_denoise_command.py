"""insdl denoise: one measurement in, files and tests out; trained only where there is no checkpoint."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from denoising_set import light_configuration
from insdl.cli import main
from insdl.commands.denoise import cached_file
from insdl.commands.pcsmo import PcsmoSettings, own_measurement
from insdl.instrument.measurement import load_array
from insdl.instrument.pcsmo import from_sheet, to_sheet
from insdl.learn import denoising_samples
from insdl.learn.denoise import DenoiserTraining, load_denoiser, save_denoiser
from insdl.learn.denoising_networks import Denoiser, DenoiserConfig


def called(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["denoise", *arguments, "--quiet"])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated measurement, its mask, and an untrained denoiser: the mean of what was measured around each pixel."""
    folder = tmp_path_factory.mktemp("denoise")
    measurement = own_measurement(PcsmoSettings(threads=1))
    np.save(folder / "image.npy", to_sheet(measurement.image, orientation="measured"))
    np.save(folder / "mask.npy", to_sheet(~measurement.measured, orientation="published")[::-1].astype(float))
    save_denoiser(folder / "denoiser.pt", Denoiser(DenoiserConfig(width=4)))
    return folder


def test_a_measurement_is_denoised_in_its_own_layout(files: Path, tmp_path: Path) -> None:
    given = [str(files / "image.npy"), "--mask", str(files / "mask.npy"), "--checkpoint", str(files / "denoiser.pt")]
    outcome = called(*given, "--output", str(tmp_path / "out"))
    assert outcome.exit_code == 0, outcome.output
    written = {file.name for file in (tmp_path / "out").iterdir()}
    assert written == {
        "denoised.npy", "uncertainty.npy", "measured.png", "denoised.png", "uncertainty.png", "result.json"
    }  # fmt: skip
    original, image, uncertainty = (
        from_sheet(load_array(file), orientation="measured")
        for file in (files / "image.npy", tmp_path / "out" / "denoised.npy", tmp_path / "out" / "uncertainty.npy")
    )
    measured = ~np.isnan(uncertainty)
    mask = from_sheet(load_array(files / "mask.npy")[::-1], orientation="published") < 0.5
    np.testing.assert_array_equal(measured, mask)
    np.testing.assert_array_equal(image[~measured], original[~measured])
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["network"]["kind"] == "autoencoder"
    # Means of neighbours and mirror images: nearer to the mirror images than the noisy image is.
    assert result["mirrors"]["denoised"] > result["mirrors"]["noisy"] > 0.3
    assert 0.0 < result["hidden"]["denoised"] < 1.0
    assert result["hidden"]["pixels"] > 1000
    assert 0.0 < result["residual"]["chi_squared"] < 2.0
    assert f"chi-squared {result['residual']['chi_squared']:.3f} per pixel" in outcome.output


def test_the_first_use_trains_and_the_second_does_not(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(denoising_samples, "denoising_configuration", light_configuration)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    used: list[Denoiser] = []

    def run(measurement: object, network: Denoiser, *rest: object, **options: object) -> None:
        used.append(network)
        raise ValueError("this far")

    monkeypatch.setattr(sys.modules["insdl.commands.denoise"], "run", run)
    given = [str(files / "image.npy"), "--images", "8", "--pairs", "4", "--width", "4", "--threads", "1"]
    assert "320 components need more images than that, got 8" in called(*given).output
    given += ["--components", "3"]
    assert "this far" in called(*given).output
    (file,) = (tmp_path / "cache" / "insdl").iterdir()
    assert load_denoiser(file).config == DenoiserConfig(width=4, components=3)
    monkeypatch.setattr("insdl.learn.denoise.trained_denoiser", None)  # a second training would fail
    assert "this far" in called(*given).output
    first, second = (network.state_dict()["stem.0.weight"] for network in used)
    assert torch.equal(first, second)
    assert not torch.equal(first, Denoiser(DenoiserConfig(width=4, components=3)).state_dict()["stem.0.weight"])


def test_another_denoiser_is_another_file() -> None:
    base, settings = DenoiserConfig(), DenoiserTraining()
    first = cached_file(base, settings, 100)
    assert first == cached_file(base, replace(settings, threads=7), 100)  # threads change the time, not the denoiser
    others = [
        cached_file(replace(base, width=8), settings, 100),
        cached_file(base, replace(settings, seed=1), 100),
        cached_file(base, settings, 101),
    ]
    assert len({first, *others}) == 4


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("missing.npy", "there is no file missing.npy"), ("layout.npy", "must have shape (240, 400)")],
)
def test_bad_input_is_one_sentence(name: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("layout.npy", np.zeros((100, 400)))
    outcome = called(name)
    assert outcome.exit_code == 2
    assert sentence in outcome.output
    assert outcome.output.count("\n") == 1


def test_a_checkpoint_that_is_none_is_refused(files: Path, tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("no network")
    outcome = called(str(files / "image.npy"), "--checkpoint", str(tmp_path / "text.pt"))
    assert outcome.exit_code == 2
    assert "is not a denoiser of insdl" in outcome.output
