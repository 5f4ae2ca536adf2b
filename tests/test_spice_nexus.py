"""Scans in NeXus files, with SPICE's columns or as NXtas, written here through h5py, and everything that is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from damaged import flipped, readings, truncated
from insdl.cli import main
from insdl.measured import Scan, read_measured, read_spice, read_spice_nexus, spice_entries, write_md_histogram
from insdl.measured.hdf5_file import fixed
from insdl.measured.histogram import Axis, Histogram

COLUMNS: dict[str, Any] = {
    "Pt.": [1, 2, 3],
    "h": [0.5, 0.6, 0.7],
    "k": [0.0, 0.0, 0.0],
    "l": [1.0, 1.0, 1.0],
    "e": [4.0, 4.0, 4.0],
    "ei": [17.5, 17.5, 17.5],
    "ef": [13.5, 13.5, 13.5],
    "detector": [93, 0, 400],
    "monitor": [1000, 1001, 1002],
}
HEADER = {"scan": "12", "scan_title": "made up", "def_x": "h", "def_y": "detector"}


def add_logged(root: Any, name: str = "scan0012") -> None:
    """A scan with SPICE's columns."""
    entry = root.create_group(name)
    entry["definition"] = fixed("NXtas")
    logs = entry.create_group("SPICElogs")
    logs.attrs["NX_class"] = fixed("NXcollection")
    for key, words in HEADER.items():
        logs.attrs[key] = fixed(words)
    logs.attrs["latticeconstants"] = np.array([3.8, 3.8, 10.5])
    logs.attrs["preset_value"] = 60.0
    for column, values in COLUMNS.items():
        logs[column] = np.array(values)
    logs.create_group("ub_conf")["ubmatrix"] = np.eye(3)


def add_defined(root: Any, name: str = "entry") -> None:
    """A scan as NXtas alone, its groups known by their classes, with one value for all points where it does not change."""
    entry = root.create_group(name)
    entry["definition"] = fixed("NXtas")
    entry["title"] = fixed("made up")
    for place, nx_class in (
        ("sample", "NXsample"), ("TAS", "NXinstrument"), ("TAS/monochromator", "NXcrystal"), ("TAS/analyser", "NXcrystal"),
        ("TAS/counter", "NXdetector"), ("TAS/source", "NXsource"), ("monitor", "NXmonitor"),
    ):  # fmt: skip
        entry.create_group(place).attrs["NX_class"] = fixed(nx_class)
    for place, column in (("qh", "h"), ("qk", "k"), ("ql", "l"), ("en", "e")):
        entry[f"sample/{place}"] = np.array(COLUMNS[column])
    entry["sample/en"].attrs["units"] = fixed("meV")
    entry["TAS/monochromator/ei"] = 17.5
    entry["TAS/analyser/ef"] = np.array([13.5])
    entry["TAS/counter/data"] = np.array(COLUMNS["detector"])[:, None]
    entry["monitor/data"] = np.array(COLUMNS["monitor"], "i4")


def write(file: Path, *scans: Callable[[Any], None]) -> Path:
    with h5py.File(file, "w") as root:
        for scan in scans:
            scan(root)
    return file


def check_numbers(scan: Scan) -> None:
    for name, values in COLUMNS.items():
        if name != "Pt.":
            np.testing.assert_array_equal(scan.columns[name], values)
    np.testing.assert_array_equal(scan.q_rlu, np.transpose([COLUMNS[name] for name in "hkl"]))
    np.testing.assert_array_equal(scan.energy_transfer, COLUMNS["e"])
    np.testing.assert_allclose(scan.error, [np.sqrt(93), 1.0, 20.0])
    assert scan.monitor is not None
    assert scan.header["scan_title"] == "made up"
    assert len(scan.sha256) == 64


def test_the_columns_of_spice(tmp_path: Path) -> None:
    """As the text form of the same scan has them."""
    file = write(tmp_path / "scan.h5", add_logged)
    scan = read_spice_nexus(file)
    check_numbers(scan)
    assert scan.header["latticeconstants"] == "3.8, 3.8, 10.5"
    assert scan.header["preset_value"] == "60.0"
    assert "NX_class" not in scan.header
    lines = [f"# {key} = {value}" for key, value in HEADER.items()]
    lines += ["# col_headers =", "# " + " ".join(COLUMNS)]
    lines += [" ".join(map(str, row)) for row in zip(*COLUMNS.values(), strict=True)]
    (tmp_path / "scan.dat").write_text("\n".join(lines) + "\n")
    text = read_spice(tmp_path / "scan.dat")
    assert set(scan.columns) == set(text.columns)
    for name in text.columns:
        np.testing.assert_array_equal(scan.columns[name], text.columns[name])
    assert dict(text.header).items() <= dict(scan.header).items()
    assert (scan.counter, scan.notes) == (text.counter, text.notes)


def test_the_definition_alone(tmp_path: Path) -> None:
    scan = read_spice_nexus(write(tmp_path / "scan.nxs", add_defined))
    check_numbers(scan)
    assert scan.counter == "detector"
    assert scan.source == "scan.nxs, entry"


def test_what_is_optional(tmp_path: Path) -> None:
    """Without monochromator, analyser and monitor; with other spellings; with one point."""
    file = write(tmp_path / "scan.nxs", add_defined)
    with h5py.File(file, "a") as root:
        root.move("entry/TAS/analyser", "entry/TAS/analyzer")
        root.move("entry/monitor", "entry/control")
    check_numbers(read_spice_nexus(file))
    with h5py.File(file, "a") as root:
        del root["entry/TAS/analyzer"], root["entry/TAS/monochromator"], root["entry/control"]
    scan = read_spice_nexus(file)
    assert scan.monitor is None
    assert set(scan.columns) == {"h", "k", "l", "e", "detector"}
    with h5py.File(write(tmp_path / "one.nxs", add_logged), "a") as root:
        for name in COLUMNS:
            del root[f"scan0012/SPICElogs/{name}"]
            root[f"scan0012/SPICElogs/{name}"] = 4.0
        root["scan0012/SPICElogs/comment"] = fixed("text")
    one = read_spice_nexus(tmp_path / "one.nxs")
    assert one.counts.tolist() == [4.0]
    assert one.notes[-1] == "columns of text were left out: comment"


def test_several_scans(tmp_path: Path) -> None:
    def second(root: Any) -> None:
        add_logged(root, "scan0013")
        root["scan0013/SPICElogs/h"][...] += 1.0

    file = write(tmp_path / "scans.h5", add_logged, second)
    assert spice_entries(file) == ("scan0012", "scan0013")
    np.testing.assert_allclose(read_spice_nexus(file, entry="scan0013").columns["h"], [1.5, 1.6, 1.7])
    with pytest.raises(ValueError, match=r"holds 2 scans, so entry must name one: scan0012, scan0013"):
        read_spice_nexus(file)
    with pytest.raises(ValueError, match=r"entry must be one of the scans .* got 'scan0014'"):
        read_spice_nexus(file, entry="scan0014")
    scans = read_measured(file)
    assert isinstance(scans, tuple)
    assert [scan.source for scan in scans] == ["scans.h5, scan0012", "scans.h5, scan0013"]
    result = CliRunner().invoke(main, ["measured", str(file)], catch_exceptions=False)
    assert result.exit_code == 0
    assert "Scan of 3 points from scans.h5, scan0012\n  title: made up\n  h: 0.5 to 0.7 r.l.u." in result.output
    assert "Scan of 3 points from scans.h5, scan0013" in result.output
    assert result.output.count("note: errors are sqrt(counts)") == 1


def test_found_among_the_files_of_other_programs(tmp_path: Path) -> None:
    assert isinstance(read_measured(write(tmp_path / "scan.nxs", add_defined)), Scan)
    axes = (Axis("[H,0,0]", "r.l.u.", [0.0, 1.0, 2.0], (1, 0, 0)),)
    write_md_histogram(tmp_path / "image.nxs", Histogram(np.ones(2), np.ones(2), axes, "test", ""))
    assert spice_entries(tmp_path / "image.nxs") == ()
    (image,) = read_measured(tmp_path / "image.nxs")  # type: ignore[misc]
    assert isinstance(image, Histogram)
    with h5py.File(tmp_path / "empty.nxs", "w") as root:
        root.create_group("entry")
    with pytest.raises(ValueError, match="no scan: no group has the definition NXtas or a group SPICElogs"):
        read_spice_nexus(tmp_path / "empty.nxs")


def put(place: str, values: Any) -> Callable[[Any], None]:
    def damage(root: Any) -> None:
        if place in root:
            del root[place]
        root[place] = values

    return damage


def drop(*places: str) -> Callable[[Any], None]:
    def damage(root: Any) -> None:
        for place in places:
            del root[place]

    return damage


def units(place: str, words: str) -> Callable[[Any], None]:
    def damage(root: Any) -> None:
        root[place].attrs["units"] = fixed(words)

    return damage


def claim(place: str) -> Callable[[Any], None]:
    def damage(root: Any) -> None:
        del root[place]
        root.create_dataset(place, (10**12,), "f8", chunks=(1024,))

    return damage


LOGS = "scan0012/SPICElogs"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (drop(f"{LOGS}/h"), r"lacks the columns \['h'\]"),
        (drop(f"{LOGS}/detector"), r"lacks the columns \['detector'\]"),
        (put(f"{LOGS}/l", np.ones(2)), "column l must have 3 points as the others have, got 2"),
        (put(f"{LOGS}/l", np.ones((3, 2))), r"l must hold one number a point, got shape \(3, 2\)"),
        (put(f"{LOGS}/h", fixed("half")), r"lacks the columns \['h'\]"),
        (put(f"{LOGS}/e", [1.0, np.nan, 1.0]), "column e must be finite; point 1 is not"),
        (put(f"{LOGS}/detector", [1, -2, 3]), "counts must not be negative, got -2"),
        (put(f"{LOGS}/k", np.ones(3, complex)), "SPICElogs/k could not be read: .it is no data set of numbers"),
        (put(LOGS, 1.0), "SPICElogs could not be read"),
        (claim(f"{LOGS}/monitor"), "monitor could not be read: .it claims"),
        (lambda root: [put(f"{LOGS}/{name}", np.zeros(0))(root) for name in COLUMNS], "SPICElogs holds no points"),
        (drop(*[f"{LOGS}/{name}" for name in COLUMNS]), "SPICElogs holds no points"),
    ],
)  # fmt: skip
def test_malformed_columns(tmp_path: Path, damage: Callable[[Any], None], words: str) -> None:
    file = write(tmp_path / "scan.h5", add_logged, damage)
    with pytest.raises(ValueError, match=words) as caught:
        read_spice_nexus(file)
    assert "scan.h5" in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (drop("entry/sample/qk"), "holds no /entry/sample/qk"),
        (drop("entry/sample/en"), "holds no /entry/sample/en"),
        (drop("entry/sample"), r"must hold one group of class NXsample, got \[\]"),
        (drop("entry/TAS"), r"must hold one group of class NXinstrument, got \[\]"),
        (drop("entry/TAS/counter"), r"must hold one group of class NXdetector, got \[\]"),
        (lambda root: root.copy("entry/TAS/counter", "entry/TAS/other"), r"got \['counter', 'other'\]"),
        (drop("entry/TAS/counter/data"), "holds no /entry/TAS/counter/data"),
        (put("entry/TAS/counter/data", np.ones((3, 4))), r"one number a point, got shape \(3, 4\)"),
        (put("entry/TAS/counter/data", np.zeros(0)), "data holds no points"),
        (put("entry/TAS/counter/data", fixed("93")), "no data set of numbers"),
        (put("entry/sample/qh", np.ones(2)), "qh must have 3 points as the detector has, or one for all, got 2"),
        (put("entry/sample/qh", [0.1, np.inf, 0.1]), "column h must be finite; point 1"),
        (units("entry/sample/en", "THz"), "en must be in meV, got the units 'THz'"),
        (units("entry/TAS/monochromator/ei", "eV"), "ei must be in meV, got the units 'eV'"),
        (put("entry/definition", fixed("NXsas")), "holds no scan"),
    ],
)  # fmt: skip
def test_malformed_definitions(tmp_path: Path, damage: Callable[[Any], None], words: str) -> None:
    file = write(tmp_path / "scan.nxs", add_defined, damage)
    with pytest.raises(ValueError, match=words) as caught:
        read_spice_nexus(file)
    assert "scan.nxs" in str(caught.value)


def test_names_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_spice_nexus(tmp_path / "other.h5")
    (tmp_path / "scan.h5").write_text("# col_headers =\n")
    with pytest.raises(ValueError, match="is not a readable HDF5 file"):
        read_spice_nexus(tmp_path / "scan.h5")
    with pytest.raises(ValueError, match=r"must end in \.nxs or \.h5 or \.hdf5"):
        read_spice_nexus(write(tmp_path / "scan.dat", add_logged))


@pytest.mark.parametrize("scan", [add_logged, add_defined])
def test_damaged_files(tmp_path: Path, scan: Callable[[Any], None]) -> None:
    good = write(tmp_path / "good.h5", scan)
    content = good.read_bytes()
    assert readings(read_spice_nexus, good, tmp_path, truncated(content)).count("read") == 0
    outcome = readings(read_spice_nexus, good, tmp_path, flipped(content, number=100))
    assert 0 < outcome.count("read") < len(outcome)
