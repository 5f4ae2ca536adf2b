"""Resolution tables: reading, interpolation, reduction; the published tables where they are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from insdl.instrument.pcsmo import INCIDENT_ENERGIES, pcsmo_frame, pcsmo_frame_from_tables
from insdl.instrument.resolution import ResolutionTable, read_resolution_table

Reals = npt.NDArray[np.float64]
AXES = (np.array([-1.0, 0.0, 2.0]), np.array([0.0, 0.5]), np.array([-1.0, 3.0, 4.0, 10.0]))


def covariance(h: npt.ArrayLike, k: npt.ArrayLike, energy: npt.ArrayLike) -> Reals:
    """Covariances that are linear in each coordinate, and positive definite in the range."""
    h, k, energy = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (h, k, energy)))
    matrix = np.zeros((*h.shape, 3, 3))
    matrix[..., 0, 0], matrix[..., 1, 1] = 1e-4 * (4 + h), 2e-4 * (2 - k)
    matrix[..., 2, 2] = 0.3 - 0.02 * energy
    matrix[..., 0, 1] = matrix[..., 1, 0] = 2e-5 * h * k
    matrix[..., 0, 2] = matrix[..., 2, 0] = 1e-4 * h * energy
    matrix[..., 1, 2] = matrix[..., 2, 1] = -2e-4 * k
    return matrix


def lines() -> list[str]:
    """The file of `covariance` on the grid, first axis fastest as in the published files."""
    rows = []
    for energy in AXES[2]:
        for k in AXES[1]:
            for h in AXES[0]:
                numbers = [h, k, energy, *covariance(h, k, energy).ravel()]
                rows.append(" ".join(f"{x: .9e}" for x in numbers))
    return rows


def written(folder: Path, rows: list[str]) -> Path:
    file = folder / "table.txt"
    file.write_text("\n".join(rows) + "\n")
    return file


def test_reading_and_linear_interpolation(tmp_path: Path) -> None:
    """Trilinear interpolation is exact for what is linear in each coordinate; the order of the lines does not matter."""
    rows = lines()
    table = read_resolution_table(written(tmp_path, rows))
    np.random.default_rng(0).shuffle(rows)
    shuffled = read_resolution_table(written(tmp_path, [*rows, "", "  "]))
    np.testing.assert_array_equal(table.covariance, shuffled.covariance)
    rng = np.random.default_rng(1)
    h, k, energy = rng.uniform(-1, 2, 50), rng.uniform(0, 0.5, 50), rng.uniform(-1, 10, 50)
    np.testing.assert_allclose(table.at(h, k, energy), covariance(h, k, energy), rtol=1e-8, atol=1e-13)
    np.testing.assert_allclose(table.at(2.0, 0.5, 10.0), covariance(2.0, 0.5, 10.0), rtol=1e-9)
    assert table.at(h, 0.1, 2.0).shape == (50, 3, 3)
    for point in ((2.1, 0.1, 1.0), (0.0, -0.1, 1.0), (0.0, 0.1, 10.1), (np.nan, 0.1, 1.0)):
        with pytest.raises(ValueError, match="the table reaches from"):
            table.at(*point)


def test_widths_and_block(tmp_path: Path) -> None:
    table = read_resolution_table(written(tmp_path, lines()))
    # Mean variances over the grid: E does not depend on Q here; Qh 1e-4 (4 + 1/3), Qk 2e-4 (2 - 1/4).
    np.testing.assert_allclose(table.sigma_energy(3.0), np.sqrt(0.24))
    expected = np.sqrt(0.5 * (1e-4 * (4 + 1 / 3) + 2e-4 * 1.75))
    np.testing.assert_allclose(table.sigma_q(3.0), expected, rtol=1e-9)
    block, fit = table.energy_block([(0.0, 4.0), (4.0, 9.0)], incident_energy=12.0)
    powers = np.linspace(0, 9, 40)[:, None] ** np.arange(3)
    relative = powers @ np.asarray(block.sigma_energy) / table.sigma_energy(powers[:, 1]) - 1
    assert np.abs(relative).max() <= fit.misfit + 1e-3
    assert 1e-5 < fit.misfit < 0.02
    assert block.sigma_q == pytest.approx(expected)
    with pytest.raises(ValueError, match="the table reaches from E"):
        table.energy_block([(0.0, 11.0)], incident_energy=12.0)


def test_correlations_are_reported() -> None:
    """A table with one known covariance everywhere."""
    one = np.array([[4.0, 0.4, -1.0], [0.4, 1.0, 0.3], [-1.0, 0.3, 1.0]])
    table = ResolutionTable([0, 1], [0, 1], [0, 1], np.broadcast_to(one, (2, 2, 2, 3, 3)))
    found = table.correlations()
    assert (found.mean_qh_energy, found.mean_qk_energy, found.mean_qh_qk) == pytest.approx((0.5, 0.3, 0.2))
    assert (found.largest_q_energy, found.largest_qh_qk) == pytest.approx((0.5, 0.2))


def changed(position: int, value: str) -> list[str]:
    """The file with one number of its fifth line replaced."""
    rows = lines()
    words = rows[4].split()
    words[position] = value
    rows[4] = " ".join(words)
    return rows


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*lines()[:4], "1 2 3", *lines()[5:]], r"table.txt, line 5: expected twelve numbers, got 3"),
        (["# Qh Qk E", *lines()], r"table.txt, line 1: expected twelve numbers, got '# Qh"),
        (changed(4, "1e-3"), r"table.txt, line 5: the covariance is not symmetric"),
        (changed(11, "-1.0"), r"table.txt, line 5: the covariance is not positive definite"),
        (changed(11, "0.0"), r"table.txt, line 5: the covariance is not positive definite"),
        (changed(11, "nan"), r"table.txt, line 5: a number is not finite"),
        ([*lines(), lines()[3]], r"table.txt, line 25: the point .* second time"),
        (lines()[:-1], r"23 points do not fill a grid of 3 x 2 x 4"),
        ([""], "holds no numbers"),
        (lines()[:1], "q_h must be a finite, ascending list of at least two"),
    ],
)
def test_malformed_files_are_refused(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_resolution_table(written(tmp_path, rows))


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_resolution_table(tmp_path / "nothing.txt")
    (tmp_path / "binary").write_bytes(bytes([0xFF, 0xFE, 0x00, 0x81]))
    with pytest.raises(ValueError, match="is not a text file"):
        read_resolution_table(tmp_path / "binary")


def test_bad_tables_are_refused() -> None:
    good = np.broadcast_to(np.eye(3), (2, 2, 2, 3, 3))
    with pytest.raises(ValueError, match=r"covariance must have shape \(2, 2, 2, 3, 3\)"):
        ResolutionTable([0, 1], [0, 1], [0, 1], np.eye(3))
    with pytest.raises(ValueError, match="energy must be a finite, ascending"):
        ResolutionTable([0, 1], [0, 1], [1, 0], good)
    with pytest.raises(ValueError, match="point 0 is not positive definite"):
        ResolutionTable([0, 1], [0, 1], [0, 1], -good)


@pytest.fixture(scope="session")
def tables(pcsmo_measurement: Path) -> Path:
    """The folder with the published resolution tables, beside the measurement."""
    folder = pcsmo_measurement / "resolution"
    if not folder.is_dir():
        pytest.skip(f"THE PUBLISHED RESOLUTION TABLES ARE NOT TESTED: no folder {folder}")
    return folder


def test_published_tables_give_the_frame(tables: Path) -> None:
    """Widths of `pcsmo_frame` at 0.13, 0.40 and 0.67 of Ei: within one of the last digit printed there, and 0.0005 r.l.u."""
    frame, fits = pcsmo_frame_from_tables(tables)
    printed = pcsmo_frame()
    assert frame.shape == printed.shape
    np.testing.assert_array_equal(frame.bins, printed.bins)
    for made, hard_wired, fit in zip(frame.blocks, printed.blocks, fits, strict=True):
        powers = (np.array([0.13, 0.40, 0.67]) * made.incident_energy)[:, None] ** np.arange(3)
        found, expected = powers @ np.asarray(made.sigma_energy), powers @ np.asarray(hard_wired.sigma_energy)
        last_digit = 10.0 ** (np.floor(np.log10(expected)) - 2)
        assert (np.abs(found - expected) < last_digit).all()
        assert abs(made.sigma_q - hard_wired.sigma_q) < 5e-4
        assert fit.misfit < 1e-3


def test_published_tables_are_not_diagonal(tables: Path) -> None:
    means, largest = [], []
    for incident in INCIDENT_ENERGIES:
        table = read_resolution_table(tables / f"PCSMO_ei{incident:g}_resolution.txt")
        found = table.correlations()
        means += [found.mean_qh_energy, found.mean_qk_energy]
        largest.append(found.largest_q_energy)
    assert min(means) > 0.1
    assert max(means) < 0.22
    assert 0.47 < max(largest) < 0.50
