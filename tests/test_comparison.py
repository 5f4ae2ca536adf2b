"""A simulated image in the scale of a measurement: known backgrounds are found, noise is averaged, the ceiling is one."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from insdl.instrument import expected_log
from insdl.instrument.comparison import Noise, compared, noise_ceiling
from insdl.instrument.pcsmo import CLIP, NOISE_SIGMA, pcsmo_frame

Reals = npt.NDArray[np.float64]
FRAME = pcsmo_frame()
SCALE = np.array([0.5, 0.8, 1.0, 1.3, 1.7, 2.0])
PLANE = np.array([[0.5, 0.1, -0.2], [0.3, 0.0, 0.1], [0.2, 0.2, 0.0], [0.6, -0.1, 0.1], [0.1, 0.0, 0.05], [0.4, 0, 0]])


def signal() -> Reals:
    return np.random.default_rng(3).gamma(0.5, 6.0, FRAME.shape)


def with_background(counts: Reals) -> Reals:
    pixels = np.asarray(FRAME.pixels)
    h, k = pixels[:, None], pixels[None, :]
    total = SCALE[:, None, None, None] * counts.reshape(6, 10, 40, 40)
    for n, (offset, along_h, along_k) in enumerate(PLANE):
        total[n] += offset + along_h * h + along_k * k
    return total.reshape(FRAME.shape)


def in_logs(counts: Reals, noise: Noise) -> Reals:
    if noise == "none":
        return np.log1p(counts)
    return expected_log(counts, NOISE_SIGMA.reshape(-1, 1, 1), clip=CLIP)


@pytest.mark.parametrize("noise", ["none", "expected"])
def test_known_scale_and_background_are_found(noise: Noise) -> None:
    counts = signal()
    logs = in_logs(with_background(counts), noise)
    used = np.random.default_rng(4).random(FRAME.shape) < 0.1
    found = compared(counts, logs, used, FRAME, background="fitted", noise=noise)
    np.testing.assert_allclose(found.scale, SCALE, rtol=2e-3)
    np.testing.assert_allclose(found.background, PLANE, atol=5e-3)
    np.testing.assert_allclose(found.logs, logs, atol=2e-3)  # of unused pixels too


def test_nothing_fitted() -> None:
    counts = signal()
    used = np.ones(FRAME.shape, dtype=bool)
    plain = compared(counts, np.zeros(FRAME.shape), used, FRAME, background="none", noise="none")
    np.testing.assert_array_equal(plain.logs, np.log1p(counts))
    assert plain.scale.tolist() == [1.0] * 6
    assert not plain.background.any()
    noisy = compared(counts, np.zeros(FRAME.shape), used, FRAME, background="none", noise="expected")
    np.testing.assert_allclose(noisy.logs, in_logs(counts, "expected"), atol=5e-5)  # of the table


def test_an_incident_energy_without_pixels_is_left_alone() -> None:
    counts = signal()
    used = np.random.default_rng(4).random(FRAME.shape) < 0.05
    used[10:20] = False
    logs = np.log1p(with_background(counts))
    found = compared(counts, logs, used, FRAME, background="fitted", noise="none")
    assert found.scale[1] == 1.0
    assert not found.background[1].any()
    np.testing.assert_allclose(found.scale[[0, 2, 3, 4, 5]], SCALE[[0, 2, 3, 4, 5]], rtol=1e-6)


def test_the_ceiling_is_what_the_true_model_reaches() -> None:
    """Signal with variance 1 and both mirrors, noise with variance v: sqrt(1 / (1 + v)), which the signal itself reaches."""
    rng = np.random.default_rng(5)
    quarter = rng.standard_normal((60, 20, 20))
    model = np.concatenate([quarter, quarter[:, ::-1]], axis=1)
    model = np.concatenate([model, model[:, :, ::-1]], axis=2)
    for variance in (0.2, 1.0):
        measured = model + np.sqrt(variance) * rng.standard_normal(model.shape)
        used = rng.random(model.shape) < 0.8
        ceiling = noise_ceiling(measured, used)
        assert ceiling == pytest.approx(np.sqrt(1 / (1 + variance)), abs=0.01)
        assert np.corrcoef(model[used], measured[used])[0, 1] == pytest.approx(ceiling, abs=0.01)


def test_wrong_calls_are_refused() -> None:
    good: dict[str, Any] = {"background": "none", "noise": "none"}
    image, used = np.zeros(FRAME.shape), np.ones(FRAME.shape, dtype=bool)
    with pytest.raises(ValueError, match=r"counts must have the frame's shape \(60, 40, 40\), got \(3, 40, 40\)"):
        compared(image[:3], image, used, FRAME, **good)
    with pytest.raises(ValueError, match="background must be 'fitted' or 'none', got 'flat'"):
        compared(image, image, used, FRAME, **{**good, "background": "flat"})
    with pytest.raises(ValueError, match="noise must be 'expected' or 'none', got 'drawn'"):
        compared(image, image, used, FRAME, **{**good, "noise": "drawn"})
