"""Kernel and images beside a yardstick: run with ``pytest bench``. Results are checked before they are timed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from insdl.instrument import ImageSimulator
from insdl.instrument.pcsmo import SETTINGS, pcsmo_frame
from insdl.instrument.rb2mnf4 import rb2mnf4_frame
from insdl.materials import goodenough, rb2mnf4
from insdl.materials.pcsmo import LITERATURE as PCSMO
from insdl.materials.rb2mnf4 import LITERATURE as RB2MNF4

sys.path.append(str(Path(__file__).parents[1] / "tests"))
import oracle

MODELS = {"goodenough": (goodenough(), PCSMO["goodenough"]), "rb2mnf4": (rb2mnf4(), RB2MNF4)}


def lapack_energies(form: np.ndarray) -> np.ndarray:
    """Colpa's energies, descending, by NumPy's batched LAPACK: (nq, 2N, 2N) to (nq, N)."""
    n = form.shape[1] // 2
    metric = np.diag(np.repeat([1.0, -1.0], n))
    k = np.linalg.cholesky(form)
    return np.linalg.eigvalsh(k.conj().swapaxes(1, 2) @ metric @ k)[:, : n - 1 : -1]


@pytest.mark.parametrize("form", ["auto", "full"])
@pytest.mark.parametrize("name", MODELS)
def test_modes(benchmark, name, form):
    """Energies and intensities of 1000 random q, one thread, assembly included."""
    model, values = MODELS[name]
    q = np.random.default_rng(1).random((1000, 3))
    expected = lapack_energies(oracle.quadratic_form(model.to_dict(), q, **values))
    found = benchmark(lambda: model.modes(q, threads=1, form=form, **values))
    assert np.abs(found.energy - expected).max() < 1e-8


@pytest.mark.parametrize("name", MODELS)
def test_lapack(benchmark, name):
    """The yardstick: energies alone of the same q, matrices given."""
    model, values = MODELS[name]
    q = np.random.default_rng(1).random((1000, 3))
    matrices = oracle.quadratic_form(model.to_dict(), q, **values)
    benchmark(lambda: lapack_energies(matrices))


@pytest.mark.parametrize("subpixels", [2, 4])
def test_pcsmo_image(benchmark, subpixels):
    """One 240 x 400 image, every processor."""
    simulator = ImageSimulator(goodenough(), pcsmo_frame(subpixels=subpixels))
    image = benchmark(lambda: simulator.simulate(SETTINGS, **PCSMO["goodenough"]))
    assert np.isfinite(image).all()
    assert image.max() > 1.0


def test_rb2mnf4_map(benchmark):
    """One map of 64 x 64 pixels in four windows, every processor."""
    simulator = ImageSimulator(rb2mnf4(), rb2mnf4_frame(), margin=0.07)
    image = benchmark(lambda: simulator.simulate(**RB2MNF4))
    assert np.isfinite(image).all()
