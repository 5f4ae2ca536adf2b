"""The published simulations: against the original's steps one by one, and against the published files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from insdl.instrument import EnergyBlock, ImageFrame, ImageSettings, ImageSimulator, read_pcsmo
from insdl.instrument.pcsmo import SCALE, SETTINGS
from insdl.instrument.published import PublishedSimulator, layers_in_phase, without_out_of_plane
from insdl.materials import dimer, goodenough
from insdl.materials.pcsmo import LITERATURE

Reals = npt.NDArray[np.float64]
MODELS = {"goodenough": goodenough, "dimer": dimer}
TWIN = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])  # the authors' matrix


def point_frame(pixels: npt.ArrayLike) -> ImageFrame:
    """One point a pixel, no momentum resolution: an image that loops can make."""
    edges = np.array([3.0, 9.0, 16.0, 24.0, 35.0])
    block = EnergyBlock(np.stack([edges[:-1], edges[1:]], axis=1), 50.0, (1.0, -0.004, 0.0), 0.0)
    return ImageFrame([block], pixels, 1)


def slow_published(name: str, frame: ImageFrame) -> Reals:
    """S^ab at Ql = 0, turned by the authors' matrix for the second twin, the polarisation at kinematic Q, mode by mode."""
    model, values = MODELS[name](), LITERATURE[name]
    a, b, c = (2 * np.pi / length for length in np.diag(np.asarray(model.lattice)))
    (block,) = frame.blocks
    energy_in = block.incident_energy
    s0, s1, s2 = np.asarray(block.sigma_energy)
    pixels = np.asarray(frame.pixels)
    image = np.zeros(frame.shape)
    for i, h in enumerate(pixels):
        for j, k in enumerate(pixels):
            for number, (x, y) in enumerate(((h, k), (k, h))):  # where the twin's crystal is seen
                modes = model.modes([[x, y, 0.0]], output="amplitude", **values)
                assert modes.sab is not None
                for energy, sab in zip(modes.energy[0], modes.sab[0], strict=True):
                    tensor = sab if number == 0 else TWIN @ sab @ TWIN.T
                    # a and b change places with the twin: see the notes of PublishedSimulator.
                    in_plane = np.array([h * a, k * b]) if number == 0 else np.array([h * b, k * a])
                    kf2 = (energy_in - energy) / 2.0721 - in_plane @ in_plane
                    if kf2 < 0:
                        continue
                    q = np.array([*in_plane, math.sqrt(energy_in / 2.0721) - math.sqrt(kf2)])
                    assert energy < 1.0 or q[2] / c > 0.05  # not the L at which S^ab is taken
                    seen = float(np.real(np.trace((np.eye(3) - np.outer(q, q) / (q @ q)) @ tensor)))
                    sigma = s0 + s1 * energy + s2 * energy**2
                    for n, (low, high) in enumerate(frame.bins):
                        share = math.erf((high - energy) / (math.sqrt(2) * sigma))
                        share -= math.erf((low - energy) / (math.sqrt(2) * sigma))
                        image[n, i, j] += (
                            4.0 * 4 * seen * 0.5 * share / (high - low)
                        )  # 4 chemical cells a magnetic cell
    return image


@pytest.mark.parametrize("name", MODELS)
def test_published_image_agrees_with_the_slow_one(name: str) -> None:
    """To 2e-5 of its largest value: the kernel drops a Gaussian's tails after 4.5 standard deviations."""
    frame = point_frame(np.array([-0.31, 0.06, 0.43]))
    image = PublishedSimulator(MODELS[name](), frame).simulate(**LITERATURE[name])
    expected = slow_published(name, frame)
    assert expected.max() > 1.0
    np.testing.assert_allclose(image, expected, rtol=0, atol=2e-5 * expected.max())
    assert np.abs(expected - expected.transpose(0, 2, 1)).max() > 0.05 * expected.max()  # the twins are not equal


def test_layers_in_phase_keeps_energies_and_takes_the_tensor_at_zero_l() -> None:
    model, values = goodenough(), LITERATURE["goodenough"]
    flat = layers_in_phase(model)
    q = np.array([[0.13, 0.37, 2.1], [0.61, -0.2, 5.5]])
    seen, expected = (m.modes(at, output="amplitude", **values) for m, at in ((flat, q), (model, q * [1.0, 1.0, 0.0])))
    np.testing.assert_allclose(seen.energy, expected.energy, atol=1e-10)
    assert seen.sab is not None
    assert expected.sab is not None
    np.testing.assert_allclose(seen.sab.sum(axis=1), expected.sab.sum(axis=1), atol=1e-10)
    there = model.modes(q, output="amplitude", **values).sab
    assert there is not None
    assert np.abs(there.sum(axis=1) - expected.sab.sum(axis=1)).max() > 0.1  # L matters to the model itself


def test_out_of_plane_components_vanish() -> None:
    model, values = goodenough(), LITERATURE["goodenough"]
    q = np.array([[0.13, 0.37, 2.1]])
    whole = model.modes(q, output="amplitude", **values).sab
    seen = without_out_of_plane(model).modes(q, output="amplitude", **values).sab
    assert whole is not None
    assert seen is not None
    np.testing.assert_allclose(seen[..., :2, :2], whole[..., :2, :2], atol=1e-12)
    assert np.abs(seen[..., 2, :]).max() == np.abs(seen[..., :, 2]).max() == 0.0
    assert np.abs(whole[..., 2, 2]).max() > 0.1


def test_sets_and_shifts() -> None:
    """Many sets are as many single ones, and a shift moves both twins the same way."""
    frame = ImageFrame(point_frame([0.0, 0.1]).blocks, np.linspace(-0.5, 0.5, 11), 2)
    simulator = PublishedSimulator(goodenough(), frame, margin=0.2)
    values = dict(LITERATURE["goodenough"])
    other = {**values, "JF1": -10.0}
    sets = np.array([list(values.values()), list(other.values())])
    images, stable = simulator.simulate_sets(sets, ImageSettings())
    assert stable.all()
    np.testing.assert_allclose(images[1], simulator.simulate(**other), rtol=1e-12)
    listed, _ = simulator.simulate_sets(sets, [ImageSettings(), ImageSettings(1.3)], out=np.empty((2, *frame.shape)))
    np.testing.assert_array_equal(listed[0], images[0])
    np.testing.assert_allclose(listed[1], simulator.simulate(ImageSettings(1.3), **other), rtol=1e-12)
    moved = simulator.simulate(ImageSettings(shift_h=0.1), **values)  # one pixel
    np.testing.assert_allclose(moved[:, :-1], images[0][:, 1:], atol=1e-9 * images[0].max())
    with pytest.raises(ValueError, match=r"twin_fraction must be 0, got 0\.5"):
        simulator.simulate(SETTINGS, **values)


@pytest.mark.parametrize("name", MODELS)
def test_published_files_are_reproduced(pcsmo_measurement: Path, name: str) -> None:
    """Correlation of log(1 + I) over all unmasked pixels, and the absolute scale, with nothing fitted."""
    file = pcsmo_measurement / f"published_{name}.npy"
    if not file.is_file():
        pytest.skip(f"THE PUBLISHED SIMULATIONS ARE NOT TESTED: there is no {file.name} beside the measurement")
    published = read_pcsmo(file, mask=pcsmo_measurement / "detector_mask.mat", orientation="published")
    used = published.measured
    assert used.sum() == 76_689
    logs = np.log1p(published.image[used])

    def correlation(image: Reals) -> float:
        return float(np.corrcoef(logs, np.log1p(image[used]))[0, 1])

    simulator = PublishedSimulator(MODELS[name]())
    image = simulator.simulate(**LITERATURE[name])
    found = correlation(image)
    assert found > 0.92
    rival = "dimer" if name == "goodenough" else "goodenough"
    assert correlation(PublishedSimulator(MODELS[rival]()).simulate(**LITERATURE[rival])) < found - 0.01
    real = ImageSimulator(MODELS[name](), simulator.frame)
    assert correlation(8.0 * real.simulate(ImageSettings(twin_fraction=0.5), **LITERATURE[name])) < found - 0.05
    assert correlation(np.roll(image, 1, axis=2)) < found - 0.1  # a pixel aside
    assert published.image[used].sum() == pytest.approx(image[used].sum(), rel=0.01)
    assert (
        image[0].mean() < 0.1 * real.simulate(**LITERATURE[name])[0].mean() * SCALE
    )  # dark where the measurement is not
