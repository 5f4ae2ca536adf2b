"""The report of a verdict: its situations, its pictures, and all of it for a simulated measurement."""

from __future__ import annotations

import importlib
import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from insdl import plot_predict
from insdl.cli import main
from insdl.commands import predict_calibration
from insdl.commands.predict_report import mirror_mean
from insdl.commands.predict_situations import situations
from insdl.dataset.configuration import load_configuration, load_source
from insdl.dataset.configured import ConfiguredSource
from insdl.dataset.randomness import generator
from insdl.instrument import ImageSimulator
from insdl.instrument.pcsmo import NOISE_SIGMA, SCALE, SETTINGS, to_sheet
from insdl.learn import measurement_fit
from insdl.learn.hypothesis import hypotheses
from insdl.materials import goodenough
from insdl.materials.pcsmo import LITERATURE
from insdl.report import png
from small_hypothesis import small


def test_situations_show_the_parts_that_they_say() -> None:
    rng = np.random.default_rng(0)
    counts = rng.poisson(3.0, (60, 40, 40)).astype(np.float64)
    seen = rng.random(counts.shape) < 0.9
    found = {name: (shown, mask) for name, shown, mask in situations(counts, seen)}
    assert len(found) == 4 + 6 + 6 + 3
    first, other = found["half of the pixels"][1], found["the other half"][1]
    assert not (first & other).any()
    assert ((first | other) == seen).all()
    without, alone = found["without Ei = 50 meV"][1], found["Ei = 50 meV alone"][1]
    assert ((without | alone) == seen).all()
    assert not without[20:30].any()
    assert (alone[20:30] == seen[20:30]).all()
    assert not alone[:20].any()
    assert not alone[30:].any()
    shown, mask = found["mirrored along Qk"]
    assert (shown[..., 3] == counts[..., -4]).all()
    assert (mask[..., 3] == seen[..., -4]).all()
    noisy, _ = found["noise of 4 sigma added"]
    added = (noisy - counts)[:10][seen[:10] & (noisy[:10] > 0)]  # Ei = 25 meV
    # Where nothing was set to zero, the noise is cut off below: its upper quartile is that of what is left.
    full = 4.0 * np.sqrt(NOISE_SIGMA[0].mean() ** 2 + 3.0)
    assert 0.5 * full < np.quantile(added, 0.75) < 1.5 * full
    assert (noisy >= 0).all()


def test_energies_that_were_not_measured_are_no_situation() -> None:
    seen = np.zeros((60, 40, 40), dtype=bool)
    seen[20:30] = True
    names = [name for name, _, _ in situations(np.ones(seen.shape), seen)]
    assert [name for name in names if "Ei" in name] == [
        "without Ei = 25 meV", "without Ei = 35 meV", "without Ei = 70 meV", "without Ei = 100 meV",
        "without Ei = 140 meV", "Ei = 50 meV alone",
    ]  # fmt: skip


def test_the_mean_over_mirrors_is_symmetric_and_knows_the_mask() -> None:
    rng = np.random.default_rng(1)
    image, seen = rng.random((2, 6, 6)), rng.random((2, 6, 6)) < 0.5
    found = mirror_mean(image, seen)
    np.testing.assert_allclose(found, found[:, ::-1])
    np.testing.assert_allclose(found, found[:, :, ::-1])
    four = [(0, h, k) for h in (1, 4) for k in (2, 3)]
    values = [image[one] for one in four if seen[one]]
    assert found[0, 1, 2] == pytest.approx(np.mean(values) if values else 0.0)


def test_pictures_are_drawn() -> None:
    frame = small().frame.image_frame()
    image = np.random.default_rng(2).random(frame.shape)
    bars = plot_predict.situations(
        {"whole": {"a": 0.9, "none": 0.1}, "part": {"a": 0.4, "none": 0.6}}, required=0.95, title="t"
    )
    assert [patch.get_width() for patch in bars.axes[0].patches] == pytest.approx([0.9, 0.4, 0.1, 0.6])
    ranges = plot_predict.parameter_ranges(
        {"JA": (0.6, 3.0), "D": (0.0, 0.5)}, {"network": {"JA": (1.4, 0.1)}, "fit": {"JA": (1.5, 0.1), "D": (0.1, 0.01)}},
        title="t",
    )  # fmt: skip
    assert [len(axis.containers) for axis in ranges.axes[:2]] == [2, 1]
    cells = plot_predict.telling_cells(
        frame, [1, 4], {"measured": image, "best": image}, ("a - b", image - 0.5),
        measured=image > 0.1, notes=["one", "two"], title="t", label="counts", difference_label="sigma",
    )  # fmt: skip
    assert "Ei 70 meV" in cells.axes[1].get_title()
    for figure in (bars, ranges, cells):
        assert png(figure, dpi=40).startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.timeout(900)  # half a minute of processor time, which a busy machine may stretch
def test_a_report_of_a_simulated_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goodenough at the literature's values, all of it: networks that come along, fits, simulations, pictures.

    Two rivals, few templates, few simulated measurements, and one step of each fit without an incident energy: it takes long
    enough.
    """
    few = hypotheses(load_configuration("pcsmo"), names=["goodenough", "dimer"], n_templates=60)
    asked = partial(predict_calibration.jury_belief, asked=80, learned=120)
    # The package's attribute "predict" may be the command; the module is what is patched.
    monkeypatch.setattr(importlib.import_module("insdl.commands.predict"), "pcsmo_rivals", lambda: few)
    monkeypatch.setattr(predict_calibration, "jury_belief", asked)
    monkeypatch.setattr(measurement_fit, "left_out", partial(measurement_fit.left_out, iterations=1))
    source = load_source("pcsmo", n_samples=3)
    assert isinstance(source, ConfiguredSource)
    simulator = ImageSimulator(goodenough(), source.configuration.frame.image_frame())
    image = SCALE * simulator.simulate(SETTINGS, **LITERATURE["goodenough"])
    counts = source.detect(image, generator(8, "report test", 0))
    np.save(tmp_path / "counts.npy", to_sheet(counts, orientation="measured"))
    result = CliRunner().invoke(
        main, ["predict", str(tmp_path / "counts.npy"), "--report", str(tmp_path / "report"), "--json"]
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.output[result.output.index("{") :])  # after what is said on the error stream
    (entry,) = found["images"]
    assert entry["verdict"] == entry["fit"]["best"] == "goodenough"
    for name, one in entry["fit"]["models"]["goodenough"]["values"].items():
        assert abs(one["value"] - LITERATURE["goodenough"][name]) < 6 * one["error"]
    assert set(entry["fit"]["error_by_jackknife"]) == set(LITERATURE["goodenough"])
    assert len(found["situations"]) == 19
    assert 0.8 < found["calibration"]["accuracy"] <= 1.0
    html = (tmp_path / "report" / "report.html").read_text("utf-8")
    assert html.count("<img") == 6
    assert not re.search(r'src="(?!data:image/png)|href=', html)
    for words in ("What drives it", "What would change it", "JF1", "meV", "goodenough"):
        assert words in html
    assert len(list((tmp_path / "report").glob("*.png"))) == 6


def test_what_is_no_single_measurement_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "two.npy", np.ones((2, 240, 400)))
    for target, words in ((tmp_path / "r.html", "of one image"), (tmp_path / "no" / "r.html", "does not exist")):
        result = CliRunner().invoke(main, ["predict", str(tmp_path / "two.npy"), "--report", str(target)])
        assert result.exit_code == 2
        assert words in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["two.npy"]
