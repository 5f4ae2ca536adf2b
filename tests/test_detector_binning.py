"""Detectors in (Q, E): closed forms, the frame of the spectrometer, binning against plain loops."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from insdl.crystal import reciprocal
from insdl.dataset.randomness import generator
from insdl.instrument import Orientation
from insdl.measured import Axis, DetectorSpectra, detector_q_cart, to_histogram
from insdl.units import NEUTRON_E_PER_K2

TRICLINIC = np.array([[4.0, 0.3, 0.1], [-0.5, 5.0, 0.4], [0.2, 0.6, 7.0]])


def spectra(n: int = 300, m: int = 8, *, seed: int = 0, incident_energy: float = 30.0) -> DetectorSpectra:
    rng = generator(seed, "tests/kinematics", 0)
    signal = rng.uniform(0.0, 5.0, (n, m))
    signal[rng.random((n, m)) < 0.1] = np.nan
    return DetectorSpectra(
        signal, rng.uniform(0.1, 1.0, (n, m)), np.linspace(-4.0, 0.9 * incident_energy, m + 1),
        rng.uniform(0.0, 2.0, n), rng.uniform(-np.pi, np.pi, n), np.full(n, 3.0), incident_energy, 0.0, None, "test", "",
    )  # fmt: skip


def test_q_obeys_the_cosine_rule_and_conserves_energy() -> None:
    """Q^2 = ki^2 + kf^2 - 2 ki kf cos 2theta; |ki - Q|^2 gives the final energy back; at E = 0 Q = 2 ki sin theta."""
    run = spectra()
    q = detector_q_cart(run)
    energy = 0.5 * (run.energy_edges[1:] + run.energy_edges[:-1])
    ki, kf = np.sqrt(30.0 / NEUTRON_E_PER_K2), np.sqrt((30.0 - energy) / NEUTRON_E_PER_K2)
    expected = ki**2 + kf**2 - 2 * ki * kf * np.cos(run.two_theta)[:, None]
    np.testing.assert_allclose((q**2).sum(axis=-1), expected, rtol=1e-12, atol=1e-12)
    out = np.array([0.0, 0.0, ki]) - q
    np.testing.assert_allclose(
        NEUTRON_E_PER_K2 * (out**2).sum(axis=-1), np.broadcast_to(30.0 - energy, q.shape[:2]), rtol=1e-12
    )
    elastic = replace(run, energy_edges=np.linspace(-4.0, 4.0, 9))
    q = detector_q_cart(
        replace(elastic, signal=run.signal[:, :1], error=run.error[:, :1], energy_edges=np.array([-1.0, 1.0]))
    )
    np.testing.assert_allclose(np.linalg.norm(q[:, 0], axis=-1), 2 * ki * np.sin(run.two_theta / 2), rtol=1e-12)


def test_signs_by_hand() -> None:
    """A detector at 90 degrees in the horizontal plane on the +x side: the neutron left towards +x, so Q points to -x."""
    one = DetectorSpectra(
        np.ones((2, 1)), np.ones((2, 1)), np.array([-1.0, 1.0]), np.full(2, np.pi / 2), np.array([0.0, np.pi / 2]),
        np.ones(2), NEUTRON_E_PER_K2, 0.0, None, "test", "",
    )  # fmt: skip
    np.testing.assert_allclose(detector_q_cart(one)[:, 0], [[-1, 0, 1], [0, -1, 1]], atol=1e-12)


def test_kinematic_l_of_a_crystal_with_the_beam_along_c() -> None:
    """The closed form of `insdl.instrument`: Ql = (ki - sqrt(kf^2 - Qx^2 - Qy^2)) / c*, forward of the sample."""
    lattice = np.diag([3.9, 3.9, 11.0])
    run = replace(spectra(), two_theta=np.linspace(0.05, 1.2, 300))
    ub = Orientation(lattice, (0, 0, 1), (1, 0, 0)).ub_matrix(0.0)
    h, k, ell = np.moveaxis(detector_q_cart(run) @ np.linalg.inv(ub).T, -1, 0)
    energy = 0.5 * (run.energy_edges[1:] + run.energy_edges[:-1])
    a, c = 2 * np.pi / 3.9, 2 * np.pi / 11.0
    kf2 = (30.0 - energy) / NEUTRON_E_PER_K2
    expected = (np.sqrt(30.0 / NEUTRON_E_PER_K2) - np.sqrt(kf2 - (h * a) ** 2 - (k * a) ** 2)) / c
    np.testing.assert_allclose(ell, expected, rtol=1e-9, atol=1e-9)


AXES = (
    Axis("[H,H,0]", "r.l.u.", np.linspace(-2.0, 2.0, 6), (1, 1, 0)),
    Axis("E", "meV", np.linspace(0.0, 25.0, 4)),
    Axis("[0,0,L]", "r.l.u.", np.linspace(-1.0, 4.0, 5), (0, 0, 1)),
)


def slow(runs: list[DetectorSpectra], matrices: list[npt.NDArray[np.float64]], third: npt.NDArray[np.float64]) -> Any:
    """Pixel by pixel. Along the axes q = x (1, 1, 0) + y (0, 0, 1) + z third."""
    basis = np.array([[1, 1, 0], [0, 0, 1], third]).T
    total, square, count = np.zeros((5, 3, 4)), np.zeros((5, 3, 4)), np.zeros((5, 3, 4))
    for run, ub in zip(runs, matrices, strict=True):
        q = detector_q_cart(run)
        for d in range(len(run.signal)):
            for e in range(run.signal.shape[1]):
                if np.isnan(run.signal[d, e]):
                    continue
                x, y, _ = np.linalg.solve(basis, np.linalg.solve(ub, q[d, e]))
                energy = 0.5 * (run.energy_edges[e] + run.energy_edges[e + 1])
                i, j, k = (
                    int(np.floor((value - np.asarray(axis.edges)[0]) / axis.widths[0]))
                    for value, axis in zip((x, energy, y), AXES, strict=True)
                )
                if 0 <= i < 5 and 0 <= j < 3 and 0 <= k < 4:
                    total[i, j, k] += run.signal[d, e]
                    square[i, j, k] += run.error[d, e] ** 2
                    count[i, j, k] += 1
    with np.errstate(invalid="ignore"):
        return total / count, np.sqrt(square) / count


def test_binning_against_plain_loops() -> None:
    """Two angles of an oblique crystal; what is summed over is perpendicular to the named axes."""
    runs = [spectra(80, 5), spectra(80, 5, seed=1)]
    matrices = [Orientation(TRICLINIC, (1, 1, 0), (0, 0, 1)).ub_matrix(psi) for psi in (0.1, 0.6)]
    b = reciprocal(TRICLINIC).T
    third = np.linalg.solve(b, np.cross(b @ [1, 1, 0], b @ [0, 0, 1]))
    result = to_histogram(runs, matrices, AXES)
    signal, error = slow(runs, matrices, third)
    assert np.isfinite(signal).sum() > 20
    np.testing.assert_allclose(result.signal, signal, rtol=1e-10)
    np.testing.assert_allclose(result.error, error, rtol=1e-10)
    assert "mean of the detector pixels" in result.notes[-1]


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        (AXES[::2], "one axis without projection, in meV"),
        ((*AXES, Axis("T", "K", [0.0, 1.0])), "one axis without projection, in meV"),
        (AXES[1:2], "one to three linearly independent"),
        ((AXES[0], AXES[1], Axis("[2H,2H,0]", "r.l.u.", [0.0, 1.0], (2, 2, 0))), "linearly independent"),
    ],
)
def test_axes_that_span_nothing(axes: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        to_histogram(spectra(), np.eye(3), axes)


def test_one_matrix_a_run() -> None:
    with pytest.raises(ValueError, match="one ub for each of 2"):
        to_histogram([spectra(), spectra()], np.zeros((3, 3, 3)), AXES)
    with pytest.raises(ValueError, match="invertible"):
        to_histogram(spectra(), np.zeros((3, 3)), AXES)
    with pytest.raises(ValueError, match="at least one set"):
        to_histogram([], np.eye(3), AXES)
