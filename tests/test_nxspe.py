"""nxspe: round trips, the forms that other programs write, and everything that is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from damaged import flipped, readings, truncated
from insdl.dataset.randomness import generator
from insdl.measured import DetectorSpectra, read_nxspe, write_nxspe

h5py = pytest.importorskip("h5py")


def spectra(n: int = 12, m: int = 6, *, seed: int = 0) -> DetectorSpectra:
    """Detectors in all directions; one of them not read, one bin missing."""
    rng = generator(seed, "tests/nxspe", 0)
    signal = rng.uniform(0.0, 5.0, (n, m))
    signal[2] = np.nan
    signal[4, 1] = np.nan
    return DetectorSpectra(
        signal, rng.uniform(0.1, 1.0, (n, m)), np.linspace(-2.0, 16.0, m + 1), rng.uniform(0.05, 2.5, n),
        rng.uniform(-np.pi, np.pi, n), rng.uniform(2.0, 6.0, n), 20.0, 0.3, True, "test", "",
    )  # fmt: skip


@pytest.fixture
def good(tmp_path: Path) -> Path:
    write_nxspe(tmp_path / "good.nxspe", spectra())
    return tmp_path / "good.nxspe"


def test_round_trip(good: Path) -> None:
    first, again = spectra(), read_nxspe(good)
    for name in ("signal", "error", "energy_edges", "distance"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    for name in ("two_theta", "azimuth"):  # through degrees and back
        np.testing.assert_allclose(getattr(again, name), getattr(first, name), rtol=1e-14)
    assert again.incident_energy == 20.0
    assert again.psi == pytest.approx(0.3, rel=1e-14)
    assert again.ki_over_kf is True
    assert len(again.sha256) == 64
    assert again.notes == ()


def test_angles_are_degrees_in_the_file(good: Path) -> None:
    with h5py.File(good) as root:
        np.testing.assert_allclose(root["entry/data/polar"][()], spectra().two_theta * 180 / np.pi)
        assert root["entry/NXSPE_info/psi"][0] == pytest.approx(0.3 * 180 / np.pi)
        assert root["entry/NXSPE_info/fixed_energy"].attrs["units"] == b"meV"


def test_what_other_programs_write(good: Path) -> None:
    """The entry named after a workspace, -1e30 for detectors that were not read, middles of bins, no psi, no distance."""
    with h5py.File(good, "a") as root:
        root.move("entry", "some_workspace")
        data, info = root["some_workspace/data"], root["some_workspace/NXSPE_info"]
        values = data["data"][()]
        values[3] = -1e30
        data["data"][...] = values
        edges = data["energy"][()]
        del data["energy"], data["distance"], info["psi"], info["ki_over_kf_scaling"]
        data["energy"] = 0.5 * (edges[1:] + edges[:-1])
    again = read_nxspe(good)
    np.testing.assert_allclose(again.energy_edges, spectra().energy_edges, atol=1e-12)
    assert not again.measured[3].any()
    assert np.isnan(again.psi)
    assert again.ki_over_kf is None
    assert np.isnan(again.distance).all()
    assert len(again.notes) == 3


def test_spectra_without_a_detector_are_told(good: Path) -> None:
    with h5py.File(good, "a") as root:
        for name in ("data", "error"):
            values = root[f"entry/data/{name}"][()]
            values[5] = 0.0
            root[f"entry/data/{name}"][...] = values
    assert "1 of 12 detectors have nothing but zeros" in read_nxspe(good).notes[0]


def put(name: str, change: Callable[[Any], Any]) -> Callable[[Any], None]:
    def damage(root: Any) -> None:
        values = root[f"entry/{name}"][()]
        del root[f"entry/{name}"]
        root[f"entry/{name}"] = change(values)

    return damage


def at(values: Any, where: Any, value: float) -> Any:
    values = np.array(values)
    values[where] = value
    return values


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda root: root.move("entry/NXSPE_info", "entry/info"), "one entry with the group NXSPE_info, got 0"),
        (lambda root: root.copy("entry", "second"), "one entry with the group NXSPE_info, got 2"),
        (lambda root: root.pop("entry/NXSPE_info/fixed_energy"), "holds no /entry/NXSPE_info/fixed_energy"),
        (lambda root: root.pop("entry/data"), "holds no /entry/data/data"),
        (lambda root: root.pop("entry/data/error"), "holds no /entry/data/error"),
        (lambda root: root.pop("entry/data/polar"), "holds no /entry/data/polar"),
        (put("NXSPE_info/fixed_energy", lambda v: np.repeat(v, 12)), "only direct geometry"),
        (put("NXSPE_info/fixed_energy", lambda v: -v), "incident_energy must be positive"),
        (put("NXSPE_info/fixed_energy", lambda v: v / 2), "cannot lose more than its 10 meV"),
        (put("data/data", lambda v: v[0]), "must have 2 dimensions"),
        (put("data/data", lambda v: v[:, :0]), "must have shape"),
        (put("data/data", lambda v: at(v, (0, 0), np.inf)), "infinite"),
        (put("data/data", lambda v: "text"), "no data set of numbers"),
        (put("data/error", lambda v: v[:-1]), "error must have the shape"),
        (put("data/error", lambda v: at(v, (1, 2), -0.1)), r"not negative where the signal was measured, got -0\.1 at"),
        (put("data/error", lambda v: at(v, (1, 2), np.nan)), "finite and not negative"),
        (put("data/energy", lambda v: v[::-1]), "ascending energies"),
        (put("data/energy", lambda v: v[:-2]), "ascending energies"),
        (put("data/energy", lambda v: at(v, 2, np.nan)), "ascending energies"),
        (put("data/energy", lambda v: np.zeros(6)), "must be finite and ascend"),
        (put("data/polar", lambda v: v[:-1]), "two_theta must have one value a detector"),
        (put("data/polar", lambda v: at(v, 3, np.nan)), "two_theta must be finite; detector 3"),
        (put("data/polar", lambda v: v - 180), "between 0 and pi"),
        (put("data/azimuthal", lambda v: v[:-1]), "azimuth must have one value"),
        (put("data/distance", lambda v: v[:-1]), "distance must have one value"),
        (put("NXSPE_info/psi", lambda v: np.zeros(3)), "must be one number"),
    ],
)
def test_malformed_files(good: Path, damage: Callable[[Any], None], words: str) -> None:
    with h5py.File(good, "a") as root:
        damage(root)
    with pytest.raises(ValueError, match=words) as caught:
        read_nxspe(good)
    assert "good.nxspe" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"text\n", b"\x89HDF\r\n\x1a\n"])
def test_files_that_are_no_hdf5(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.nxspe").write_bytes(content)
    with pytest.raises(ValueError, match="is not a readable HDF5 file"):
        read_nxspe(tmp_path / "a.nxspe")


def test_names_and_missing_files(tmp_path: Path, good: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_nxspe(tmp_path / "other.nxspe")
    good.rename(tmp_path / "good.nxs")
    with pytest.raises(ValueError, match=r"must end in \.nxspe, got '\.nxs'"):
        read_nxspe(tmp_path / "good.nxs")
    with pytest.raises(ValueError, match=r"must end in \.nxspe"):
        write_nxspe(tmp_path / "good.nxs", spectra())


def test_spectra_fit_their_detectors() -> None:
    with pytest.raises(ValueError, match="two_theta must have one value a detector"):
        replace(spectra(), two_theta=np.zeros(3))


def test_damaged_files(good: Path, tmp_path: Path) -> None:
    content = good.read_bytes()
    assert "read" not in readings(read_nxspe, good, tmp_path, truncated(content))
    outcome = readings(read_nxspe, good, tmp_path, flipped(content, number=200))
    assert 0 < outcome.count("read") < len(outcome)
