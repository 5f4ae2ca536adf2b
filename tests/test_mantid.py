"""Mantid's files: the order of axes in memory, both conventions of Q, masks and events, and everything that is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from damaged import flipped, readings, truncated
from insdl.dataset.randomness import generator
from insdl.measured import Axis, Histogram, read_md_histogram, read_workspace, write_md_histogram
from insdl.measured.mantid import projection_of

h5py = pytest.importorskip("h5py")


def histogram() -> Histogram:
    rng = generator(0, "tests/mantid", 0)
    signal = rng.uniform(0.0, 5.0, (2, 3, 4))
    signal[1, 2, 0] = np.nan
    axes = (
        Axis("[H,-H,0]", "r.l.u.", np.linspace(-1.0, 2.0, 3), (1, -1, 0)),
        Axis("[0,0,L]", "r.l.u.", np.linspace(0.0, 3.0, 4), (0, 0, 1)),
        Axis("E", "meV", np.linspace(-5.0, 15.0, 5)),
    )
    return Histogram(signal, rng.uniform(0.1, 1.0, (2, 3, 4)), axes, "test", "")


@pytest.fixture
def good(tmp_path: Path) -> Path:
    write_md_histogram(tmp_path / "good.nxs", histogram())
    return tmp_path / "good.nxs"


def same(a: Histogram, b: Histogram) -> None:
    np.testing.assert_array_equal(a.signal, b.signal)
    np.testing.assert_allclose(a.error, b.error, rtol=1e-15)
    for first, second in zip(a.axes, b.axes, strict=True):
        assert (first.name, first.unit) == (second.name, second.unit)
        np.testing.assert_array_equal(np.asarray(first.edges), np.asarray(second.edges))
        np.testing.assert_array_equal(np.asarray(first.projection), np.asarray(second.projection))


def test_round_trip(good: Path) -> None:
    same(read_md_histogram(good), histogram())


def test_the_file_is_as_savemd_writes_it(good: Path) -> None:
    """The first dimension is the last of the array, and the attribute of the signal names them in the array's order."""
    with h5py.File(good) as root:
        entry = root["MDHistoWorkspace"]
        assert entry.attrs["SaveMDVersion"] == 2
        data = entry["data"]
        assert data["signal"].shape == (4, 3, 2)
        assert data["signal"].attrs["axes"] == b"D2:D1:D0"
        assert data["signal"][3, 1, 0] == histogram().signal[0, 1, 3]
        assert data["D0"].attrs["long_name"] == b"[H,-H,0]"
        assert data["D0"].attrs["frame"] == b"HKL"
        assert data["D2"].attrs["units"] == b"DeltaE"
        np.testing.assert_allclose(data["errors_squared"][3, 1, 0], histogram().error[0, 1, 3] ** 2)  # type: ignore[index]
        assert data["mask"].dtype == np.int8
        assert data["mask"][0, 2, 1] == 1
        assert data["num_events"].dtype == np.float64


def test_the_other_convention_of_q_is_turned_round(good: Path) -> None:
    """A point at Q = (h, -h, l) of ki - kf is stored at (-h, h, -l) of kf - ki; the energy stays."""
    with h5py.File(good, "a") as root:
        root["MDHistoWorkspace"].attrs["QConvention"] = "Crystallography"
    turned, stands = read_md_histogram(good), histogram()
    np.testing.assert_array_equal(turned.signal, stands.signal[::-1, ::-1])
    np.testing.assert_array_equal(np.asarray(turned.axes[0].edges), -np.asarray(stands.axes[0].edges)[::-1])
    np.testing.assert_array_equal(np.asarray(turned.axes[2].edges), np.asarray(stands.axes[2].edges))
    assert "turned round" in turned.notes[-1]


def test_events_and_masks(good: Path) -> None:
    with h5py.File(good, "a") as root:
        events = root["MDHistoWorkspace/data/num_events"][()]
        events[0, 0, 0], events[1, 1, 1] = 0.0, 4.0
        root["MDHistoWorkspace/data/num_events"][...] = events
        mask = root["MDHistoWorkspace/data/mask"][()]
        mask[2, 2, 0] = 1
        root["MDHistoWorkspace/data/mask"][...] = mask
    stands = histogram().signal
    read = read_md_histogram(good)
    assert not read.measured[0, 0, 0]
    assert not read.measured[0, 2, 2]
    assert "2 of 24 bins hold no events" not in read.notes[0]  # the masked one was no bin of theirs
    assert "1 of 24 bins hold no events" in read.notes[0]
    kept = read_md_histogram(good, without_events="as stored")
    assert kept.signal[0, 0, 0] == stands[0, 0, 0]
    mean = read_md_histogram(good, signal="per event")
    assert mean.signal[1, 1, 1] == stands[1, 1, 1] / 4
    assert np.asarray(mean.error)[1, 1, 1] == pytest.approx(np.asarray(read.error)[1, 1, 1] / 4)
    with pytest.raises(ValueError, match="needs num_events above zero"):
        read_md_histogram(good, signal="per event", without_events="as stored")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("[H,0,0]", (1, 0, 0)),
        ("[0,K,0]", (0, 1, 0)),
        ("[H,-H,0]", (1, -1, 0)),
        ("[-0.5K, K, 0.0]", (-0.5, 1, 0)),
        ("[0,0,2L]", (0, 0, 2)),
        ("[+H,H,H]", (1, 1, 1)),
        ("[H,K,0]", None),
        ("[0,0,0]", None),
        ("[1,H,0]", None),
        ("[.H,0,0]", None),
        ("[H,0]", None),
        ("DeltaE", None),
        ("Q_sample_x", None),
    ],
)
def test_names_of_directions(name: str, expected: Any) -> None:
    found = projection_of(name)
    assert (None if found is None else tuple(found.tolist())) == expected


def put(name: str, change: Callable[[Any], Any]) -> Callable[[Any], None]:
    def damage(root: Any) -> None:
        where = f"MDHistoWorkspace/data/{name}"
        attributes, values = dict(root[where].attrs), root[where][()]
        del root[where]
        root[where] = change(values)
        root[where].attrs.update(attributes)

    return damage


def attribute(where: str, name: str, value: Any) -> Callable[[Any], None]:
    def damage(root: Any) -> None:
        root[where].attrs[name] = value

    return damage


def at(values: Any, where: Any, value: float) -> Any:
    values = np.array(values)
    values[where] = value
    return values


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda root: root.move("MDHistoWorkspace", "other"), "holds no group MDHistoWorkspace"),
        (lambda root: root.pop("MDHistoWorkspace/data/signal"), "holds no /MDHistoWorkspace/data/signal"),
        (lambda root: root.pop("MDHistoWorkspace/data/errors_squared"), "holds no"),
        (lambda root: root.pop("MDHistoWorkspace/data/D1"), "holds no /MDHistoWorkspace/data/D1"),
        (attribute("MDHistoWorkspace/data/signal", "axes", "D1:D0"), "name one axis a dimension"),
        (attribute("MDHistoWorkspace/data/signal", "axes", "D1:D0:D0"), "name one axis a dimension"),
        (attribute("MDHistoWorkspace/data/signal", "axes", "D0:D1:D2"), "has 2 bins and the signal 4"),
        (attribute("MDHistoWorkspace", "QConvention", "Other"), "QConvention must be"),
        (put("errors_squared", lambda v: v.T), "shape of the signal"),
        (put("errors_squared", lambda v: at(v, (0, 1, 0), -1.0)), "errors_squared must be finite and not negative"),
        (put("errors_squared", lambda v: at(v, (0, 1, 0), np.nan)), "errors_squared must be finite"),
        (put("num_events", lambda v: v[0]), "num_events must have the shape"),
        (put("D1", lambda v: v[::-1]), "ascend"),
        (put("D1", lambda v: at(v, 1, np.nan)), "finite and ascend"),
        (put("D1", lambda v: v[:, None]), "must have 1 dimensions"),
        (put("D1", lambda v: "text"), "no data set of numbers"),
    ],
)
def test_malformed_files(good: Path, damage: Callable[[Any], None], words: str) -> None:
    with h5py.File(good, "a") as root:
        damage(root)
    with pytest.raises(ValueError, match=words) as caught:
        read_md_histogram(good)
    assert "good.nxs" in str(caught.value)


def test_wrong_calls(good: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="signal must be"):
        read_md_histogram(good, signal="sum")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="without_events must be"):
        read_md_histogram(good, without_events="zero")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_md_histogram(tmp_path / "other.nxs")
    with pytest.raises(ValueError, match="must end in"):
        write_md_histogram(tmp_path / "a.txt", histogram())
    uneven = Histogram(np.ones(2), None, (Axis("E", "meV", [0.0, 1.0, 3.0]),), "test", "")
    with pytest.raises(ValueError, match="bins of one width"):
        write_md_histogram(tmp_path / "a.nxs", uneven)
    (tmp_path / "text.nxs").write_text("no HDF5\n")
    with pytest.raises(ValueError, match="is not a readable HDF5 file"):
        read_md_histogram(tmp_path / "text.nxs")


def workspace(path: Path, **changes: Any) -> Path:
    """A Workspace2D as SaveNexusProcessed lays it out: values (spectra, bins), axis1 along the bins."""
    rng = generator(0, "tests/mantid", 1)
    values = {"values": rng.random((3, 4)), "errors": rng.random((3, 4)), "axis1": np.linspace(-1.0, 3.0, 5)}
    values = {**values, "axis2": np.array([0.5, 1.0, 1.5, 2.0]), **changes}
    units = values.pop("units", ("DeltaE", "MomentumTransfer"))
    with h5py.File(path, "w") as root:
        group = root.create_group("mantid_workspace_1/workspace")
        for name, array in values.items():
            if array is not None:
                group[name] = array
        for name, unit in zip(("axis1", "axis2"), units, strict=True):
            if name in group:
                group[name].attrs["units"] = np.bytes_(unit)
        if "axis1" in group:
            group["axis1"].attrs["distribution"] = np.bytes_("1")
    return path


def test_workspaces(tmp_path: Path) -> None:
    read = read_workspace(workspace(tmp_path / "a.nxs"))
    rng = generator(0, "tests/mantid", 1)
    np.testing.assert_array_equal(read.signal, rng.random((3, 4)))
    np.testing.assert_array_equal(read.error, rng.random((3, 4)))
    assert [(axis.name, axis.unit) for axis in read.axes] == [("|Q|", "1/angstrom"), ("E", "meV")]
    np.testing.assert_array_equal(np.asarray(read.axes[1].edges), np.linspace(-1, 3, 5))
    assert "per unit of axis1" in read.notes[0]


def test_points_and_numbers_of_spectra(tmp_path: Path) -> None:
    points = read_workspace(workspace(tmp_path / "a.nxs", axis1=np.array([1.0, 2.0, 3.0, 4.0])))
    np.testing.assert_allclose(np.asarray(points.axes[1].edges), [0.5, 1.5, 2.5, 3.5, 4.5])
    assert "halfway" in points.notes[-1]
    counted = workspace(tmp_path / "b.nxs", axis2=np.array([7.0, 3.0, 9.0]), units=("DeltaE", "spectraNumber"))
    np.testing.assert_allclose(np.asarray(read_workspace(counted).axes[0].edges), [-0.5, 0.5, 1.5, 2.5])
    common = workspace(tmp_path / "c.nxs", axis1=np.tile(np.linspace(-1.0, 3.0, 5), (3, 1)))
    np.testing.assert_array_equal(np.asarray(read_workspace(common).axes[1].edges), np.linspace(-1, 3, 5))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"errors": None}, "holds no"),
        ({"values": None}, "must hold one workspace"),
        ({"axis1": np.arange(15.0).reshape(3, 5)}, "different bins"),
        ({"axis1": np.arange(7.0)}, "axis1 has 7 values for 4 bins"),
        ({"axis1": np.array([0.0, 2.0, 1.0, 3.0, 4.0])}, "ascend"),
        ({"errors": np.full((3, 4), -1.0)}, "not negative"),
        ({"errors": np.full((3, 4), np.nan)}, "must be finite"),
        ({"errors": np.ones((3, 5))}, "shape of the signal"),
        ({"values": np.ones(4)}, "must have 2 dimensions"),
    ],
)
def test_workspaces_that_are_none(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_workspace(workspace(tmp_path / "a.nxs", **changes))


def test_one_of_several_workspaces(tmp_path: Path) -> None:
    file = workspace(tmp_path / "a.nxs")
    with h5py.File(file, "a") as root:
        root.copy("mantid_workspace_1", "mantid_workspace_2")
    with pytest.raises(ValueError, match="must hold one workspace, or one must be named"):
        read_workspace(file)
    assert read_workspace(file, entry="mantid_workspace_2").shape == (3, 4)
    with pytest.raises(ValueError, match="holds the workspaces"):
        read_workspace(file, entry="mantid_workspace_3")


@pytest.mark.parametrize("read", [read_md_histogram, read_workspace])
def test_damaged_files(read: Any, tmp_path: Path) -> None:
    file = tmp_path / "good.nxs"
    if read is read_md_histogram:
        write_md_histogram(file, histogram())
    else:
        workspace(file)
    content = file.read_bytes()
    assert "read" not in readings(read, file, tmp_path, truncated(content))
    outcome = readings(read, file, tmp_path, flipped(content, number=200))
    assert 0 < outcome.count("read") < len(outcome)
