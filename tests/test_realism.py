"""What realism does: on a measurement of known make, and on the real one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from insdl.cli import main
from insdl.commands import realism
from insdl.dataset import generator
from insdl.instrument import Measurement, counted, read_pcsmo
from insdl.instrument.comparison import noise_ceiling
from insdl.instrument.ingredients import INGREDIENTS, Ingredient, recipe
from insdl.instrument.pcsmo import CLIP, NOISE_SIGMA, SCALE, to_sheet
from insdl.materials import goodenough
from insdl.materials.pcsmo import LITERATURE

TABLE_WIDTHS = INGREDIENTS[:6]
MADE: tuple[Ingredient, ...] = (*TABLE_WIDTHS, "broadening", "counting noise")  # with both mirrors, and nothing fitted


@pytest.fixture(scope="module")
def made() -> Measurement:
    """A Goodenough image, counted."""
    mean = SCALE * recipe(MADE).image(goodenough(), **LITERATURE["goodenough"])
    sigma = NOISE_SIGMA.reshape(-1, 1, 1).astype(np.float32)
    counts = counted(mean.astype(np.float32), sigma, generator(0, "realism", 0), clip=CLIP).astype(np.float64)
    return Measurement(counts, generator(0, "realism mask", 0).random(counts.shape) < 0.9, "made here", "none")


def test_the_true_recipe_reaches_the_ceiling_and_every_other_stays_below(made: Measurement) -> None:
    result = realism.run(made, ingredients=MADE, progress=False)
    rows = result["rows"]
    assert [row["ingredient"] for row in rows] == [None, *MADE]
    whole = rows[-1]["correlation"]["goodenough"]
    assert whole == pytest.approx(noise_ceiling(np.log1p(made.image), made.measured), abs=0.005)
    assert result["ceiling"] == noise_ceiling(np.log1p(made.image), made.measured)
    assert rows[0]["correlation"]["goodenough"] < 0.7 * whole
    for row in rows[1:]:
        assert row["without"]["goodenough"] < whole - 0.001
    assert rows[-1]["correlation"]["dimer"] < whole - 0.005
    assert rows[-2]["correlation"] == rows[-1]["without"]
    margins = {tuple(one["energy"]): one["fitted background"]["margin"] for one in result["margins"]}
    assert max(margins, key=lambda name: margins[name]) == (30.0, 40.0)
    low = result["low_energy"]
    np.testing.assert_allclose(low["simulated, as counted"], low["measured"], rtol=0.05)
    assert low["simulated at Ql = 0"][0] < 0.3 * low["simulated"][0]
    assert "Goodenough - dimer by energy transfer" in realism.table(result)


def test_command(made: Measurement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realism, "INGREDIENTS", ("energy bins", "second twin"))
    np.save(tmp_path / "measured.npy", to_sheet(np.where(made.measured, made.image, 0.0), orientation="measured"))
    call = ["realism", "--measured", str(tmp_path / "measured.npy"), "--json", str(tmp_path / "out.json")]
    done = CliRunner().invoke(main, call)
    assert done.exit_code == 0, done.output
    assert "second twin: half of the crystal" in done.stdout
    assert "adding ingredients" in done.stderr
    stored = json.loads((tmp_path / "out.json").read_text())
    assert [row["ingredient"] for row in stored["rows"]] == [None, "energy bins", "second twin"]
    assert f"{stored['rows'][-1]['correlation']['goodenough']:.4f}" in done.stdout
    assert CliRunner().invoke(main, [*call, "--quiet"]).stderr == ""


def test_bad_input_is_one_sentence(tmp_path: Path) -> None:
    np.save(tmp_path / "dark.npy", np.zeros((240, 400)))
    np.save(tmp_path / "mask.npy", np.zeros((240, 400)))
    np.save(tmp_path / "small.npy", np.zeros((24, 40)))
    dark = ["--measured", str(tmp_path / "dark.npy"), "--mask", str(tmp_path / "mask.npy")]
    for call, words in (
        (["--measured", str(tmp_path / "none.npy")], "there is no file"),
        (["--measured", str(tmp_path / "small.npy")], "must have shape (240, 400)"),
        (dark, "holds no counts"),
        ([*dark, "--json", str(tmp_path / "nowhere" / "out.json")], "there is no folder"),
    ):
        done = CliRunner().invoke(main, ["realism", *call])
        assert done.exit_code == 2
        assert done.stderr.count("\n") == 1
        assert words in done.stderr


def test_the_real_measurement(pcsmo_measurement: Path) -> None:
    """Literature parameters, one scale, no background: what the image is made of, and where the two models part."""
    measurement = read_pcsmo(pcsmo_measurement / "measured.npy")
    assert measurement.measured.sum() == 76_689
    one_scale = [name for name in INGREDIENTS if name != "background and scale"]

    def reached(ingredients: list[Ingredient]) -> float:
        _, comparison = realism.simulated("goodenough", ingredients, measurement)
        found = realism.correlation(comparison.logs, measurement)
        assert found is not None
        return found

    assert reached([]) < 0.4
    assert reached(list(TABLE_WIDTHS)) > 0.72
    assert reached(one_scale) > 0.765
    for missing, loss in (("kinematic Ql", 0.05), ("second twin", 0.1), ("counting noise", 0.015)):
        assert reached([name for name in one_scale if name != missing]) < reached(one_scale) - loss
    assert noise_ceiling(np.log1p(measurement.image), measurement.measured) == pytest.approx(0.824, abs=0.001)


def test_the_real_measurement_by_energy(pcsmo_measurement: Path) -> None:
    """Goodenough - dimer at least 0.07 between 30 and 40 meV; slice 1 to 4 at Ei = 25 meV as measured."""
    measurement = read_pcsmo(pcsmo_measurement / "measured.npy")
    one_scale: tuple[Ingredient, ...] = tuple(name for name in INGREDIENTS if name != "background and scale")
    result = realism.run(measurement, ingredients=("energy bins",), progress=False)  # for the measured ratios only
    measured = result["low_energy"]["measured"]
    np.testing.assert_allclose(measured[:2], [0.467, 0.613], atol=0.001)
    images = {name: realism.simulated(name, one_scale, measurement) for name in realism.MODELS}
    centres = recipe(INGREDIENTS).frame.bins.mean(axis=1)
    margins = {}
    for low in (10, 20, 30):
        cells = (centres >= low) & (centres < low + 10)
        first, second = (realism.correlation(images[name][1].logs, measurement, cells) for name in realism.MODELS)
        assert first is not None
        assert second is not None
        margins[low] = first - second
    assert margins[30] > 0.07
    assert 0.02 < margins[20] < 0.05
    assert abs(margins[10]) < 0.01
    counts = realism.expected_counts(images["goodenough"][0], NOISE_SIGMA.reshape(-1, 1, 1), clip=CLIP)
    slices = [counts[n][measurement.measured[n]].mean() for n in (0, 3)]
    assert slices[0] / slices[1] == pytest.approx(measured[0], rel=0.05)
