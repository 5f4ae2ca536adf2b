"""Arrays with a layout: every direction and arrangement, the published PCSMO sheet, and what is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from damaged import flipped, readings, truncated
from insdl.dataset.randomness import generator
from insdl.instrument import read_pcsmo
from insdl.instrument.measurement import file_sha256
from insdl.instrument.pcsmo import pcsmo_frame, to_sheet
from insdl.measured import ArrayLayout, read_array, read_layout, to_frame
from insdl.measured.array_file import layout_beside, layout_from, pcsmo_layout

DESCRIBED: dict[str, Any] = {
    "incident_energies": [20.0, 40.0],
    "energy_edges": [[2.0, 4.0, 8.0, 9.0], [4.0, 8.0, 16.0, 18.0]],
    "row_centres": [-1.0, 1.0, 4],
    "column_centres": [0.0, 1.0, 5],
}


def cells(seed: int = 0) -> Any:
    """(energies, slices, Qh, Qk), all different."""
    return generator(seed, "tests/array", 0).permutation(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).astype(float)


def stored(image: Any, layout: ArrayLayout) -> Any:
    """The array that a layout describes, cell by cell."""
    out = np.zeros(layout.shape)
    for e in range(2):
        for s in range(3):
            for r in range(4):
                for c in range(5):
                    row = 3 - r if layout.row_direction == "descending" else r
                    column = 4 - c if layout.column_direction == "descending" else c
                    place = (4 * e + row, 5 * s + column) if layout.arrangement == "sheet" else (3 * e + s, row, column)
                    out[place] = image[e, s, r, c]
    return out


@pytest.mark.parametrize("row_direction", ["ascending", "descending"])
@pytest.mark.parametrize("column_direction", ["ascending", "descending"])
@pytest.mark.parametrize("arrangement", ["sheet", "stack"])
def test_directions_and_arrangements(
    tmp_path: Path, row_direction: str, column_direction: str, arrangement: str
) -> None:
    layout = layout_from(
        {
            **DESCRIBED,
            "row_direction": row_direction,
            "column_direction": column_direction,
            "arrangement": arrangement,
            "rows": "Qk",
            "columns": "Ql",
            "scale": 2.0,
            "not_measured": 7.0,
        }
    )
    image = cells()
    np.save(tmp_path / "image.npy", stored(image, layout))
    histograms = read_array(tmp_path / "image.npy", layout)
    assert len(histograms) == 2
    for histogram, expected, edges in zip(histograms, image, DESCRIBED["energy_edges"], strict=True):
        np.testing.assert_array_equal(histogram.signal, np.where(expected == 7.0, np.nan, 2 * expected))
        energy, rows, columns = histogram.axes
        np.testing.assert_array_equal(np.asarray(energy.edges), edges)
        np.testing.assert_allclose(rows.centres, np.linspace(-1, 1, 4))
        np.testing.assert_allclose(columns.centres, np.linspace(0, 1, 5), atol=1e-15)
        assert np.asarray(rows.projection).tolist() == [0, 1, 0]
        assert np.asarray(columns.projection).tolist() == [0, 0, 1]
        assert histogram.sha256 == file_sha256(tmp_path / "image.npy")


def test_text_holds_the_same(tmp_path: Path) -> None:
    layout = layout_from(DESCRIBED)
    sheet = stored(cells(), layout)
    np.save(tmp_path / "image.npy", sheet)
    np.savetxt(tmp_path / "image.csv", sheet, delimiter=",", fmt="%.17g")
    for a, b in zip(
        read_array(tmp_path / "image.npy", layout), read_array(tmp_path / "image.csv", layout), strict=True
    ):
        np.testing.assert_array_equal(a.signal, b.signal)


def test_masks_find_their_incident_energy(tmp_path: Path) -> None:
    """The mask lists the incident energies the other way round."""
    layout = layout_from(DESCRIBED)
    other = layout_from(
        {
            **DESCRIBED,
            "incident_energies": [40.0, 20.0],
            "energy_edges": DESCRIBED["energy_edges"][::-1],
            "not_measured": 1.0,
        }
    )
    image = cells()
    unseen = generator(1, "tests/array", 1).random(image.shape) < 0.3
    np.save(tmp_path / "image.npy", stored(image, layout))
    np.save(tmp_path / "mask.npy", stored(unseen[::-1].astype(float), other))
    histograms = read_array(tmp_path / "image.npy", layout, mask=tmp_path / "mask.npy", mask_layout=other)
    for histogram, expected, hidden in zip(histograms, image, unseen, strict=True):
        np.testing.assert_array_equal(histogram.signal, np.where(hidden, np.nan, expected))


@pytest.mark.parametrize("orientation", ["measured", "published"])
def test_pcsmo_sheets_as_their_own_reader_has_them(tmp_path: Path, orientation: Any) -> None:
    """Bitwise, with the mask that lies upside down."""
    rng = generator(2, "tests/array", 2)
    image, unseen = rng.uniform(1.0, 50.0, (60, 40, 40)), (rng.random((60, 40, 40)) < 0.2).astype(float)
    np.save(tmp_path / "image.npy", to_sheet(image, orientation=orientation))
    np.save(tmp_path / "mask.npy", to_sheet(unseen, orientation="published")[::-1])
    expected = read_pcsmo(tmp_path / "image.npy", mask=tmp_path / "mask.npy", orientation=orientation)
    histograms = read_array(
        tmp_path / "image.npy", pcsmo_layout(orientation), mask=tmp_path / "mask.npy", mask_layout=pcsmo_layout("mask")
    )
    measurement = to_frame(histograms, pcsmo_frame(), quantity="density")
    np.testing.assert_array_equal(measurement.image, expected.image)
    np.testing.assert_array_equal(measurement.measured, expected.measured)
    assert measurement.sha256 == expected.sha256


def test_the_published_measurement(pcsmo_measurement: Path) -> None:
    expected = read_pcsmo(pcsmo_measurement / "measured.npy")
    histograms = read_array(
        pcsmo_measurement / "measured.npy",
        pcsmo_layout("measured"),
        mask=pcsmo_measurement / "detector_mask.mat",
        mask_layout=pcsmo_layout("mask"),
    )
    measurement = to_frame(histograms, pcsmo_frame(), quantity="density")
    np.testing.assert_array_equal(measurement.image, expected.image)
    np.testing.assert_array_equal(measurement.measured, expected.measured)
    assert measurement.measured.sum() == 76689


def test_layout_files(tmp_path: Path) -> None:
    text = "\n".join(f"{name}: {json.dumps(value)}" for name, value in DESCRIBED.items())
    (tmp_path / "image.layout.yaml").write_text(text + "\nnot_measured: .nan\n")
    layout = read_layout(tmp_path / "image.layout.yaml")
    assert layout.shape == (8, 15)
    assert layout_beside(tmp_path / "image.npy") == tmp_path / "image.layout.yaml"
    assert layout_beside(tmp_path / "other.npy") is None
    (tmp_path / "layout.json").write_text(json.dumps(DESCRIBED))
    np.testing.assert_array_equal(np.asarray(read_layout(tmp_path / "layout.json").energy_edges), layout.energy_edges)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"incident_energies": []}, "incident_energies must be positive"),
        ({"incident_energies": [20.0, -1.0]}, "incident_energies must be positive"),
        ({"incident_energies": [20.0, 20.0]}, "must differ"),
        ({"incident_energies": "ab"}, "incident_energies must be"),
        ({"energy_edges": [[1.0, 2.0]]}, "one row of edges"),
        ({"energy_edges": [[1.0], [2.0]]}, "one row of edges"),
        ({"energy_edges": [[1.0, 2.0], [2.0]]}, "must be an array of numbers"),
        ({"row_centres": [1.0, -1.0, 4]}, "row_centres must be"),
        ({"column_centres": [0.0, 1.0, 2.5]}, "column_centres must be"),
        ({"column_centres": [0.0, 1.0]}, "column_centres must be"),
        ({"rows": "Qx"}, "rows must be"),
        ({"rows": "Qk"}, "different axes"),
        ({"row_direction": "up"}, "row_direction must be"),
        ({"arrangement": "heap"}, "arrangement must be"),
        ({"scale": 0}, "scale must be"),
        ({"scale": [1.0, 2.0]}, "scale must be"),
        ({"not_measured": [1.0]}, "not_measured must be"),
        ({"axes": 3}, r"unknown \['axes'\]"),
    ],
)
def test_layouts_that_are_none(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        layout_from({**DESCRIBED, **change})


@pytest.mark.parametrize("content", [b"- 1\n- 2\n", b"{a: [", b"\xff\xfe\x00", b"", b"incident_energies: [1]\n"])
def test_layout_files_that_are_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "layout.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=r"layout\.yaml"):
        read_layout(tmp_path / "layout.yaml")


def test_layouts_must_name_what_cannot_be_guessed() -> None:
    with pytest.raises(ValueError, match=r"missing \['incident_energies'\]"):
        layout_from({name: value for name, value in DESCRIBED.items() if name != "incident_energies"})


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("image.csv", b"1,2\n3\n", "line 2 holds 1 numbers, the first 2"),
        ("image.csv", b"h,k\n1,2\n", "line 1: not numbers"),
        ("image.csv", b"", "holds no numbers"),
        ("image.csv", b"\xff\xfe\x01", "is not text"),
        ("image.csv", b"1,2\n3,4\n", r"must have shape \(8, 15\)"),
        ("image.npy", b"1,2\n", "could not be read as an image"),
        ("image.txt", b"1,2\n", "must end in .npy or .csv or .mat"),
    ],
)
def test_arrays_that_are_none(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read_array(tmp_path / name, layout_from(DESCRIBED))


def test_infinite_numbers_and_foreign_masks(tmp_path: Path) -> None:
    layout = layout_from(DESCRIBED)
    sheet = stored(cells(), layout)
    np.save(tmp_path / "image.npy", sheet)
    np.save(tmp_path / "infinite.npy", np.where(sheet == 3, np.inf, sheet))
    with pytest.raises(ValueError, match="must hold finite numbers"):
        read_array(tmp_path / "infinite.npy", layout)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_array(tmp_path / "other.npy", layout)
    for change, words in (
        ({"rows": "Ql"}, "rows of the mask"),
        ({"incident_energies": [20.0, 50.0]}, "incident energies of the image"),
        ({"energy_edges": [[2.0, 4.0, 8.0, 9.5], [4.0, 8.0, 16.0, 18.0]]}, "energy slices of the image"),
    ):
        with pytest.raises(ValueError, match=words):
            read_array(
                tmp_path / "image.npy",
                layout,
                mask=tmp_path / "image.npy",
                mask_layout=layout_from({**DESCRIBED, **change}),
            )


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_damaged_files(tmp_path: Path, suffix: str) -> None:
    layout = layout_from(DESCRIBED)
    good = tmp_path / f"image{suffix}"
    if suffix == ".npy":
        np.save(good, stored(cells(), layout))
    else:
        np.savetxt(good, stored(cells(), layout), delimiter=",")
    content = good.read_bytes()
    cut = readings(lambda file: read_array(file, layout), good, tmp_path, truncated(content))
    # A text that loses the end of its last number still is one.
    assert cut.count("read") <= (0 if suffix == ".npy" else 2)
    readings(lambda file: read_array(file, layout), good, tmp_path, flipped(content, number=100))
