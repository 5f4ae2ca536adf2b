"""Rb2MnF4 maps: what they can and cannot tell, counting, and the job from end to end."""

from __future__ import annotations

import json

import numpy as np
import pytest

from insdl.commands.rb2mnf4 import Rb2mnf4Settings, constraint, integrated_map_change, read_map, run
from insdl.dataset import generator, simulate_set
from insdl.dataset.prior import Range
from insdl.dataset.rb2mnf4 import (
    PRIOR,
    CountedSamples,
    CountingPrior,
    away_from_bragg,
    count,
    family,
    network_input,
    prior_centre_and_spread,
)
from insdl.instrument import ImageSimulator
from insdl.instrument.frame import EnergyBlock, ImageFrame
from insdl.instrument.rb2mnf4 import rb2mnf4_frame
from insdl.learn.train import TrainingSettings
from insdl.materials.rb2mnf4 import LITERATURE, rb2mnf4


def test_integrated_map_depends_on_ratios_only_but_windows_do_not():
    # Exact for the closed form; what is left is the Gaussian tail outside the wide window (dropped beyond 4.5 sigma).
    assert integrated_map_change(1.3) < 1e-5
    simulator = ImageSimulator(rb2mnf4(), rb2mnf4_frame(pixels=16, subpixels=2), margin=0.07)
    first = simulator.simulate(**LITERATURE)
    scaled = simulator.simulate(**{name: 1.3 * value for name, value in LITERATURE.items()})
    assert np.abs(scaled - first).max() / first.max() > 0.1


def test_integrated_intensity_is_the_closed_form():
    """S sqrt((A - B)/(A + B)) a site, two transverse components, at L = 0 with the moments along c."""
    block = EnergyBlock([(-5.0, 24.0)], 25.0, (0.1, 0.0, 0.0), 0.0, fixed_l=0.0)
    pixels = np.linspace(0.1, 0.4, 4)
    simulator = ImageSimulator(rb2mnf4(), ImageFrame([block], pixels, subpixels=1), margin=0.05)
    image = simulator.simulate(**LITERATURE)[0] * 29.0  # mean over the bin to integral
    s, j1, j2, d = 2.5, LITERATURE["J1"], LITERATURE["J2"], LITERATURE["D"]
    h, k = np.meshgrid(pixels, pixels, indexing="ij")
    cx, cy = np.cos(2 * np.pi * h), np.cos(2 * np.pi * k)
    a = 4 * s * (j1 - j2 * (1 - cx * cy)) - 2 * s * d
    b = 2 * s * j1 * (cx + cy)
    trace = 2 * s * np.sqrt((a - b) / (a + b)) / 2  # S/2 for each of two components and two modes
    # moments along c, Q in the plane: the component along Q is not seen, half of the trace is left; two sites a cell
    q = 2 * np.pi / 4.215 * np.hypot(h, k)
    from insdl.form_factor import form_factor

    expected = 2 * 0.5 * trace * form_factor("Mn2+", q) ** 2
    assert np.allclose(image, expected, rtol=1e-4)  # form factor interpolated, bins cut at 4.5 sigma


def test_samples_depend_on_seed_stream_and_index_alone():
    rival = family(rb2mnf4_frame(pixels=16, subpixels=1))
    simulated = simulate_set([rival], 6, seed=3, stream="training")
    again = simulate_set([rival], 4, seed=3, stream="training", threads=1)
    assert np.array_equal(simulated.images[:4], again.images)
    measured = away_from_bragg(rival.simulator.frame)
    samples = CountedSamples(simulated, measured, 5, "training")
    image, target = samples.sample(11)
    samples.sample(0)
    assert np.array_equal(samples.sample(11)[0], image)
    centre, spread = prior_centre_and_spread()
    values = target * spread + centre
    assert any(np.allclose(values, [p["J1"], p["J2"]], atol=1e-6) for p in simulated.parameters)
    assert image.shape == (5, 16, 16)
    assert (image[:4][~measured] == 0).all()


def test_counts_are_poisson_with_the_stated_signal_and_background():
    image = np.ones((2, 40, 40))
    measured = np.ones(image.shape, dtype=bool)
    measured[:, :4] = False
    prior = CountingPrior(counts=Range(1e6, 1e6), background=Range(0.25, 0.25))
    counts = count(image, measured, generator(0, "test", 0), prior)
    assert (counts[~measured] == 0).all()
    # flat signal of 1e6 over 2880 pixels; the background's level is its share of a whole window's mean
    mean = 1e6 / 2880 * (1 + 0.9 * 0.25 / 0.75)
    assert counts[measured].mean() == pytest.approx(mean, rel=5 / np.sqrt(mean * 2880))
    assert counts[measured].var() == pytest.approx(mean, rel=0.15)


@pytest.mark.parametrize(("ratio", "word"), [(0.1, "measured"), (0.5, "weak"), (0.9, "this is your prior")])
def test_worth_of_an_error_bar(ratio, word):
    assert constraint(ratio, 1.0) == word


def test_bad_maps_are_refused_in_one_sentence(tmp_path):
    frame = rb2mnf4_frame()
    np.save(tmp_path / "shape.npy", np.zeros((3, 64, 64)))
    with pytest.raises(ValueError, match=r"must have shape \(4, 64, 64\).*got \(3, 64, 64\)"):
        read_map(tmp_path / "shape.npy", frame)
    np.save(tmp_path / "negative.npy", np.full((4, 64, 64), -1.0))
    with pytest.raises(ValueError, match="not negative"):
        read_map(tmp_path / "negative.npy", frame)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_map(tmp_path / "missing.npy", frame)
    with pytest.raises(ValueError, match="windows must be pairs low < high"):
        Rb2mnf4Settings(windows=((3.0, 1.0),))
    empty = np.zeros((4, 64, 64))
    with pytest.raises(ValueError, match="no counts"):
        network_input(empty, np.ones(empty.shape, dtype=bool))


def test_prior_is_not_centred_on_the_literature():
    centre, spread = prior_centre_and_spread()
    assert all(PRIOR.ranges[name].low < LITERATURE[name] < PRIOR.ranges[name].high for name in PRIOR.ranges)
    assert np.abs(centre - [LITERATURE["J1"], LITERATURE["J2"]]).max() > 0.03 * spread.max()


def test_job_from_end_to_end(tmp_path):
    """A small run: every file, plain JSON, estimates inside the prior, a report without anything to load."""
    settings = Rb2mnf4Settings(
        training_images=40,
        validation_images=16,
        test_images=16,
        training=TrainingSettings(epochs=1, samples_per_epoch=64),
        template_evaluations=5,
    )
    result = run(None, tmp_path / "out", settings, progress=False)
    stored = json.loads((tmp_path / "out" / "result.json").read_text())
    assert stored["estimate"] == result["estimate"]
    assert set(stored["error"]) == {"J1", "J2"}
    assert all(error > 0 for error in stored["error"].values())
    assert "ratios" in stored["cannot_tell"]
    assert stored["truth"] == {"J1": 0.657, "J2": 0.006}
    report = (tmp_path / "out" / "report.html").read_text()
    assert 'src="data:image/png;base64,' in report
    assert "http" not in report.split("</style>")[1]
    assert not list(tmp_path.glob(".out-*"))
