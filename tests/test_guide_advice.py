"""Advice from a finished image: posterior, ranking, picture, file and text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from insdl.dataset.configuration import load_configuration
from insdl.guide.advice import advice_text, advise, strongest_places
from insdl.guide.belief import beforehand
from insdl.guide.from_image import belief_of, expected_rates, linearised, pixel_rates
from insdl.guide.planner_file import open_planner, read_planner, write_planner
from insdl.instrument.counts import count_images
from insdl.learn.likelihood import FaultyPixels
from small_hypothesis import small
from small_planner import small_experiment, small_planner


def _counts(number: int, *, time: float, lowest: float = 0.0) -> np.ndarray:
    """Mean counts in unit time of a measurement of ``time``, clipped as a file has them."""
    one = small_experiment(number)
    counts = count_images(
        np.ascontiguousarray(np.float32(time) * one.mean[None]), seed=1, stream="image", indices=[number],
        form="subtracted", sigma=one.sigma * np.sqrt(time), lowest=lowest, highest=120.0 * time, threads=1,
    )  # fmt: skip
    return np.asarray(counts[0] / time, dtype=np.float64)


@pytest.mark.parametrize("clipped", [False, True])
def test_linearised_numbers_are_unbiased_and_scatter_as_they_say(clipped: bool) -> None:
    """60 images, about what is expected there: far from zero, and with half of the pixels clipped at it."""
    planner = small_planner()
    squeezed = planner.compression
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=len(planner.background_mean)) * 0.3
    image = (0.2 if clipped else 30.0) + pixel_rates(planner, numbers)
    sigma = np.array(small().detection.counting.sigma)[:, None, None]  # type: ignore[union-attr]
    expected = squeezed.values(squeezed.pooled(image, planner.measured)[None])[0]
    pulls = []
    for _ in range(60):
        counts = image + rng.normal(size=image.shape) * np.sqrt(sigma**2 + np.maximum(image, 0.0))
        found = linearised(planner, np.maximum(counts, 0.0), planner.measured, mean=image, faulty=FaultyPixels())
        bars = np.sqrt(np.concatenate([np.diag(one) for one in found.covariance]))
        pulls.append((found.values - expected) / bars)
    assert np.abs(np.mean(pulls, axis=0)).max() < 4.5 / np.sqrt(60)
    assert np.sqrt(np.mean(np.square(pulls))) == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize("number", [0, 1])
def test_clipped_images_tell_their_model(number: int) -> None:
    planner, one = small_planner(), small_experiment(number)
    belief = belief_of(planner, _counts(number, time=0.05), planner.measured, time=0.05, n_particles=150)
    assert belief.best[0] == one.truth
    truth = planner.compression.values(planner.compression.pooled(one.mean, planner.measured)[None])[0]
    apart = expected_rates(planner, belief) - truth
    assert np.linalg.norm(apart) < 0.5 * np.linalg.norm(truth)


def test_pixels_that_were_not_measured_do_not_matter() -> None:
    planner = small_planner()
    measured = planner.measured.copy()
    measured[:, :6] = False
    counts = _counts(0, time=1.0)
    other = np.where(measured, counts, 77.0)
    mean = np.full(counts.shape, 3.0)
    first, second = (linearised(planner, image, measured, mean=mean) for image in (counts, other))
    np.testing.assert_array_equal(first.values, second.values)


def test_advice_ranks_and_names_places(tmp_path: Path) -> None:
    from insdl.plot_guide import advice_figure

    planner = small_planner()
    belief = belief_of(planner, _counts(0, time=0.003), planner.measured, time=0.003, rounds=1, n_particles=150)
    found = advise(planner, belief, time=0.003, n_places=5, zones=2)
    assert len(found.places) == 5
    assert found.places[0].log_ratio == max(one.log_ratio for one in found.places)
    np.testing.assert_allclose(found.cells, found.pixels.sum(axis=(1, 2)))
    assert {one.incident_energy for one in found.gains} == {50.0, 70.0}
    text = advice_text(found)
    assert "Ei (meV)" in text
    assert "r.l.u." in text
    frame = planner.configuration.frame.image_frame()
    picture = tmp_path / "advice.png"
    advice_figure(found, frame, _counts(0, time=0.003), planner.measured).savefig(picture)
    assert picture.stat().st_size > 10_000


def test_zones_add_up_to_the_cell() -> None:
    planner = small_planner()
    pixels = np.random.default_rng(0).normal(size=(6, 8, 8))
    places = strongest_places(planner, pixels, n=6 * 9, zones=3)
    assert sum(one.log_ratio for one in places) == pytest.approx(pixels.sum())
    with pytest.raises(ValueError, match="zones must lie from 1 to the 8 pixels"):
        strongest_places(planner, pixels, n=1, zones=9)


def test_a_planner_in_a_file_is_the_planner(tmp_path: Path) -> None:
    planner, file = small_planner(), tmp_path / "planner.pt"
    write_planner(file, planner)
    found = read_planner(file)
    points = np.random.default_rng(0).random((3, 12))
    np.testing.assert_array_equal(found.surrogates["goodenough"](points), planner.surrogates["goodenough"](points))
    np.testing.assert_array_equal(found.background, planner.background)
    for one, other in zip(found.compression.bases, planner.compression.bases, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    np.testing.assert_allclose(found.none.covariances, planner.none.covariances, rtol=1e-6, atol=1e-4)
    assert open_planner(file, small()).models == ("goodenough", "dimer")
    with pytest.raises(ValueError, match="expected dimer and the same configuration"):
        open_planner(file, small(), models=["dimer"])
    with pytest.raises(ValueError, match="name another file"):
        open_planner(file, load_configuration("pcsmo"), models=["goodenough", "dimer"])


def test_wrong_arguments_are_refused() -> None:
    planner = small_planner()
    with pytest.raises(ValueError, match="counts and measured must have shape"):
        linearised(planner, np.zeros((2, 2, 2)), planner.measured, mean=np.zeros(planner.measured.shape))
    with pytest.raises(ValueError, match="rounds must be at least 1"):
        belief_of(planner, np.zeros(planner.measured.shape), planner.measured, rounds=0)
    with pytest.raises(ValueError, match="time must be positive"):
        advise(planner, beforehand(planner, n_particles=20), time=0.0)
