"""Kernel and images beside a yardstick: run with ``pytest bench``. Results are checked before they are timed.

For the developer, minutes apart; the table of docs/speed.md is made by compare.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))
import peers
from checks import check_modes
from image_rows import pcsmo_job, rb2mnf4_job
from magnets_bench import PYROCHLORE, pyrochlore

from insdl.materials import goodenough, rb2mnf4
from insdl.materials.pcsmo import LITERATURE as PCSMO
from insdl.materials.rb2mnf4 import LITERATURE as RB2MNF4

MODELS = {
    "goodenough": (goodenough(), PCSMO["goodenough"]),
    "rb2mnf4": (rb2mnf4(), RB2MNF4),
    "pyrochlore": (pyrochlore(), PYROCHLORE),
}
Q = np.random.default_rng(1).random((1000, 3))


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("form", ["auto", "full"])
@pytest.mark.parametrize("name", MODELS)
def test_modes(benchmark, name, form, precision):
    """Energies and intensities of 1000 random q, one thread, assembly included."""
    model, values = MODELS[name]
    expected = peers.lapack_modes(model, Q, **values)
    found = benchmark(lambda: model.modes(Q, threads=1, form=form, precision=precision, **values))
    check_modes(expected, found, name, tolerance=1e-6 if precision == "double" else 2e-3)


@pytest.mark.parametrize("name", MODELS)
def test_lapack(benchmark, name):
    """The yardstick: the same by NumPy's batched LAPACK."""
    model, values = MODELS[name]
    peer = peers.Lapack(model, values)
    benchmark(lambda: peer.run(Q, threads=1))


@pytest.mark.parametrize("subpixels", [1, 2, 4])
def test_pcsmo_images(benchmark, subpixels):
    """Eight 240 x 400 images, every processor."""
    job = pcsmo_job(subpixels, 8)
    images = benchmark(lambda: job.run(None))
    assert np.isfinite(images).all()
    assert images.max() > 1.0


@pytest.mark.parametrize("subpixels", [1, 2])
def test_rb2mnf4_maps(benchmark, subpixels):
    """64 maps of 64 x 64 pixels in eight windows, every processor."""
    job = rb2mnf4_job(subpixels)
    images = benchmark(lambda: job.run(None))
    assert np.isfinite(images).all()
    assert images.max() > 1.0
