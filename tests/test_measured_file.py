"""Any measured file: found by its name and contents, described, and shown by `insdl measured`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from insdl.cli import main
from insdl.dataset.randomness import generator
from insdl.measured import (
    Axis,
    DetectorSpectra,
    Histogram,
    Scan,
    description,
    read_measured,
    write_md_histogram,
    write_nxspe,
)

LAYOUT: dict[str, Any] = {
    "incident_energies": [20.0, 40.0],
    "energy_edges": [[2.0, 4.0, 8.0], [4.0, 8.0, 16.0]],
    "row_centres": [-1.0, 1.0, 6],
    "column_centres": [-1.0, 1.0, 6],
}
SCAN = "# scan_title = made up\n# col_headers =\n# h k l e detector\n0.5 0 1 4 93\n0.6 0 1 4 100\n"


def shown(*arguments: str | Path) -> str:
    result = CliRunner().invoke(main, ["measured", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments: str | Path) -> str:
    result = CliRunner().invoke(main, ["measured", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    return result.output


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An array with its layout beside it, laid out with Qk the other way round than its mask."""
    rng = generator(0, "tests/measured_file", 0)
    seen = rng.random((2, 2, 6, 6)) > 0.3
    values = np.where(seen, rng.uniform(1.0, 9.0, seen.shape), 0.0)

    def sheet(cells: Any) -> Any:
        return cells.transpose(0, 2, 1, 3).reshape(12, 12)

    np.save(tmp_path / "image.npy", sheet(values[..., ::-1]))
    np.save(tmp_path / "mask.npy", sheet(seen.astype(float)))
    (tmp_path / "image.layout.yaml").write_text(json.dumps(LAYOUT))
    (tmp_path / "mask.layout.yaml").write_text(json.dumps({**LAYOUT, "not_measured": 0.0}))
    return tmp_path / "image.npy"


def test_an_array_and_its_orientation(image: Path) -> None:
    words = shown(image, "--mask", image.with_name("mask.npy"), "--mask-layout", image.with_name("mask.layout.yaml"))
    assert "Histogram 2 x 6 x 6 from image.npy, Ei = 20 meV" in words
    assert "  E: 2 bins from 4 to 16 meV" in words
    assert "  Qk: 6 bins from -1.2 to 1.2 r.l.u. along (0, 1, 0)" in words
    assert "100.0% with Qk mirrored" in words
    assert words.count("note: the file holds no errors") == 1
    again = shown(image, "--layout", image.with_name("image.layout.yaml"))
    assert "mirrored" not in again


def test_every_format(tmp_path: Path) -> None:
    axes = (Axis("[H,0,0]", "r.l.u.", [0.0, 1.0, 2.0], (1, 0, 0)), Axis("E", "meV", [0.0, 1.0]))
    write_md_histogram(tmp_path / "a.nxs", Histogram(np.array([[1.0], [np.nan]]), np.ones((2, 1)), axes, "test", ""))
    (found,) = read_measured(tmp_path / "a.nxs")  # type: ignore[misc]
    assert isinstance(found, Histogram)
    assert "measured: 50.0% of 2 bins" in shown(tmp_path / "a.nxs")
    run = DetectorSpectra(
        np.ones((3, 2)), np.ones((3, 2)), np.array([-1.0, 1.0, 3.0]), np.array([0.1, 0.5, 1.0]), np.zeros(3), np.ones(3),
        20.0, np.nan, False, "test", "",
    )  # fmt: skip
    write_nxspe(tmp_path / "a.nxspe", run)
    words = shown(tmp_path / "a.nxspe")
    assert "3 detector spectra of 2 energies" in words
    assert "Ei: 20 meV; psi: not said; multiplied by ki/kf: no" in words
    assert "scattering angle: 5.72958 to 57.2958 degrees" in words
    (tmp_path / "a.dat").write_text(SCAN)
    assert isinstance(read_measured(tmp_path / "a.dat"), Scan)
    words = shown(tmp_path / "a.dat")
    assert "Scan of 2 points from a.dat" in words
    assert "h: 0.5 to 0.6 r.l.u." in words
    assert "title: made up" in words


def test_the_room_opens_without_the_libraries_of_its_formats() -> None:
    script = (
        "import sys, insdl.measured, insdl.cli; print(sorted({'h5py', 'yaml', 'scipy', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_measured_is_described_too() -> None:
    axes = (Axis("E", "meV", [0.0, 1.0]),)
    lines = description((Histogram(np.array([np.nan]), np.array([1.0]), axes, "test", ""),))
    assert "  measured: 0.0% of 1 bins" in lines


def test_bad_input_is_one_sentence(image: Path, tmp_path: Path) -> None:
    assert refused(tmp_path / "other.npy").startswith("insdl: there is no file")
    (tmp_path / "a.xyz").write_text("")
    assert "must end in one of .npy" in refused(tmp_path / "a.xyz")
    (tmp_path / "a.nxs").write_text("text")
    assert "is not a readable HDF5 file" in refused(tmp_path / "a.nxs")
    image.with_name("image.layout.yaml").unlink()
    assert "give a layout, or put it beside the file as image.layout.yaml" in refused(image)
    assert "--mask-layout needs --mask" in refused(image, "--mask-layout", image.with_name("mask.layout.yaml"))
    assert "must have shape (240, 400)" in refused(image, "--layout", "pcsmo-measured")
    assert "there is no file nowhere.yaml" in refused(image, "--layout", "nowhere.yaml")


def test_the_published_measurement(pcsmo_measurement: Path) -> None:
    files = (pcsmo_measurement / "measured.npy", "--mask", pcsmo_measurement / "detector_mask.mat")
    assert "as it stands, more than any other way round" in shown(*files, "--layout", "pcsmo-measured")
    assert "87.1%" in shown(*files, "--layout", "pcsmo-published")
