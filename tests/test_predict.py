"""insdl predict: layouts, masks, words; the jury is untrained, what it says is not the point."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from insdl.cli import main
from insdl.commands.predict import pretrained
from insdl.dataset.configuration import load_configuration, load_source
from insdl.dataset.configured import ConfiguredSource
from insdl.dataset.randomness import generator
from insdl.dataset.view import network_view
from insdl.instrument import ImageSimulator
from insdl.instrument.pcsmo import SCALE, SETTINGS, pcsmo_frame, to_sheet
from insdl.learn.alarm import fit_alarm
from insdl.learn.cell_regressor import CellRegressor
from insdl.learn.density import fit_density, layer_features
from insdl.learn.exchange import ExchangeInference, quantities_prior, save_exchange
from insdl.learn.jury import Jury, Scale, hear, save_jury
from insdl.learn.networks import CellSetClassifier
from insdl.learn.posterior import MixturePosterior
from insdl.learn.unknowns import unknowns_of
from insdl.materials import dimer, goodenough
from insdl.materials.pcsmo import LITERATURE

CLASSES = ("goodenough", "dimer", "none")
PARAMETERS = ("JF1", "JA", "JF2", "JF3", "Jperp", "D")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frame = pcsmo_frame()
    cells = [frame.bin_at(number) for number in range(60)]
    member = CellSetClassifier(cells, classes=CLASSES, filters=1, widths=(4, 4, 4)).eval()
    images = np.random.default_rng(0).poisson(2.0, (40, 60, 40, 40)).astype(np.float32)
    given = network_view(images, np.ones(images.shape, dtype=bool))
    density = fit_density(layer_features(member, given, layers=["mix3"]), np.arange(40) % 2)
    alarm = fit_alarm(np.linspace(-5.0, 5.0, 100), false_alarm_rate=0.05)
    jury = Jury((member,), 1.0, (density,), Scale(0.0, 1.0), Scale(0.0, 1.0), alarm, {})
    file = tmp_path_factory.mktemp("model") / "jury.pt"
    save_jury(file, jury)
    return file


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exchange constants by an untrained network."""
    unknowns = unknowns_of(load_configuration("pcsmo"), "goodenough")
    prior = quantities_prior(unknowns)
    network = CellRegressor(60, parameters=prior.names, widths=(4, 4), hidden=8).eval()
    posterior = MixturePosterior(8 + 12, prior=prior, components=1).eval()
    cells = tuple(pcsmo_frame().bin_at(number) for number in range(60))
    inference = ExchangeInference(
        "goodenough",
        unknowns.parameters,
        unknowns.offset,
        unknowns.linear,
        cells,
        np.ones(60),
        network,
        posterior,
        {},
        {},
    )
    file = tmp_path_factory.mktemp("exchange") / "exchange.pt"
    save_exchange(file, inference)
    return file


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["predict", *(str(argument) for argument in arguments)])
    return result.exit_code, result.output


def sheets(n: int) -> np.ndarray:
    images = np.random.default_rng(1).poisson(2.0, (n, 60, 40, 40))
    return np.stack([to_sheet(image, orientation="measured") for image in images])


def test_one_image_and_a_stack_say_the_same(tmp_path: Path, model: Path) -> None:
    stack = sheets(3)
    np.save(tmp_path / "stack.npy", stack)
    np.save(tmp_path / "one.npy", stack[1])
    code, text = run(tmp_path / "stack.npy", "--model", model, "--json")
    assert code == 0, text
    found = json.loads(text)
    assert [entry["image"] for entry in found["images"]] == [0, 1, 2]
    for entry in found["images"]:
        assert set(entry["probability"]) == set(CLASSES)
        assert sum(entry["probability"].values()) == pytest.approx(1.0)
        assert isinstance(entry["in_distribution"], bool)
    one = json.loads(run(tmp_path / "one.npy", "--model", model, "--json")[1])["images"][0]
    assert one["probability"] == pytest.approx(found["images"][1]["probability"], abs=1e-6)
    code, text = run(tmp_path / "one.npy", "--model", model)
    assert code == 0
    assert text.startswith("Image 0: ")


def test_missing_pixels_are_seen_as_missing(tmp_path: Path, model: Path) -> None:
    sheet = sheets(1)[0]
    sheet[:40] = 0.0  # the first incident energy
    sheet[40:60, :] = np.nan
    np.save(tmp_path / "part.npy", sheet)
    entry = json.loads(run(tmp_path / "part.npy", "--model", model, "--json")[1])["images"][0]
    assert entry["measured_share"] == pytest.approx(4.5 / 6, abs=0.03)


def test_nothing_measured_is_none(tmp_path: Path, model: Path) -> None:
    np.save(tmp_path / "zeros.npy", np.zeros((240, 400)))
    entry = json.loads(run(tmp_path / "zeros.npy", "--model", model, "--json")[1])["images"][0]
    assert entry["probability"]["none"] == 1.0
    assert not entry["in_distribution"]


def test_refusals_are_one_sentence(tmp_path: Path, model: Path) -> None:
    np.save(tmp_path / "wrong.npy", np.zeros((2, 3)))
    for arguments, words in (
        ((tmp_path / "no.npy", "--model", model), "there is no file"),
        ((tmp_path / "wrong.npy", "--model", model), "must have shape (240, 400)"),
        ((tmp_path / "wrong.npy", "--model", tmp_path / "wrong.npy"), "must have shape (240, 400)"),
    ):
        code, text = run(*arguments)
        assert code == 2
        assert words in text
        assert text.count("\n") == 1
    np.save(tmp_path / "good.npy", np.ones((240, 400)))
    code, text = run(tmp_path / "good.npy", "--model", tmp_path / "good.npy")
    assert code == 2
    assert "is not a jury of insdl" in text


def test_the_jury_that_comes_along_knows_the_literature() -> None:
    """Goodenough, dimer and no signal, each as the preset counts it; the members were trained on other numbers."""
    counts, seen = literature()
    verdicts = hear(pretrained(None), counts, seen)
    names = ["goodenough", "dimer", "none"]
    assert [max(verdict.probability, key=verdict.probability.__getitem__) for verdict in verdicts] == names
    assert [verdict.in_distribution for verdict in verdicts] == [True, True, False]


def test_parameters_come_with_the_verdict_of_their_model(tmp_path: Path, exchange: Path) -> None:
    """By an untrained network, for the image that the jury that comes along calls Goodenough, and for no other."""
    counts, _ = literature()
    np.save(tmp_path / "three.npy", np.stack([to_sheet(one, orientation="measured") for one in counts]))
    code, text = run(tmp_path / "three.npy", "--exchange", exchange, "--json")
    assert code == 0, text
    first, second, third = json.loads(text)["images"]
    assert (first["verdict"], second["verdict"]) == ("goodenough", "dimer")
    assert second["parameters"] is None
    assert third["parameters"] is None
    found = first["parameters"]
    assert (found["model"], found["by"], found["unit"]) == ("goodenough", "network", "meV")
    assert tuple(found["values"]) == PARAMETERS
    for one in found["values"].values():
        assert one["error"] > 0
        assert one["word"] in ("measured", "weak", "this is your prior")
    assert np.shape(found["correlation"]) == (6, 6)
    code, text = run(tmp_path / "three.npy", "--exchange", exchange)
    assert text.count("Known worst") == 1
    assert text.count("No parameters by the network: the network knows the exchange constants of goodenough only.") == 2
    assert "By the network, for goodenough: JF1 " in text
    part = counts[0].copy()
    part[:20] = 0.0  # 25 and 35 meV are missing
    np.save(tmp_path / "part.npy", to_sheet(part, orientation="measured"))
    code, text = run(tmp_path / "part.npy", "--exchange", exchange)
    assert code == 0, text
    assert "No parameters by the network: the network knows whole measurements: at least 90%" in text
    code, text = run(tmp_path / "three.npy", "--exchange", tmp_path / "three.npy")
    assert code == 2
    assert "is not a file of insdl train exchange" in text


def literature() -> tuple[np.ndarray, np.ndarray]:
    """Goodenough, dimer and no signal as the preset counts them, and where the preset looks."""
    source = load_source("pcsmo", n_samples=4)
    assert isinstance(source, ConfiguredSource)
    models = {"goodenough": goodenough(), "dimer": dimer()}
    images = [
        SCALE * ImageSimulator(model, source.configuration.frame.image_frame()).simulate(SETTINGS, **LITERATURE[name])
        for name, model in models.items()
    ]
    images.append(np.zeros_like(images[0]))
    counts = np.stack([source.detect(image, generator(5, "jury test", i)) for i, image in enumerate(images)])
    return counts, source.detector.measured
