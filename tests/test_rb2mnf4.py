"""Rb2MnF4 maps: what they can and cannot tell, counting, and the job from end to end."""

from __future__ import annotations

import json

import numpy as np
import pytest

from insdl.commands.rb2mnf4 import Rb2mnf4Settings, own_measurement, read_map, run, signal_counts
from insdl.commands.rb2mnf4_result import integrated_map_change
from insdl.dataset.configuration import load_configuration
from insdl.dataset.rb2mnf4 import PRIOR, SETTINGS, away_from_bragg
from insdl.instrument import ImageSimulator
from insdl.instrument.frame import EnergyBlock, ImageFrame
from insdl.instrument.rb2mnf4 import rb2mnf4_frame
from insdl.learn.train import TrainingSettings, load_checkpoint
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


def test_preset_and_code_are_one_prior():
    """The preset that the job learns from draws what `insdl.dataset.rb2mnf4` says, in the frame of the instrument."""
    preset = load_configuration("rb2mnf4")
    for name, given in {**PRIOR.ranges, **SETTINGS.ranges}.items():
        found = preset.classes[0].own.get(name) or getattr(preset.settings, name)
        assert (found.low, found.high) == (given.low, given.high)
    assert np.array_equal(preset.frame.image_frame().bins, rb2mnf4_frame().bins)
    assert Rb2mnf4Settings().configuration == preset


def test_own_measurement_has_the_stated_counts_and_is_another_one_each_time():
    settings = Rb2mnf4Settings(windows=((1.0, 6.0),), own_counts=1e5)
    one, two = own_measurement(settings), own_measurement(settings, number=1)
    assert not np.array_equal(one.image, two.image)
    # 56 % of the magnetic intensity between 1 and 8 meV lies below 6 meV (the bound of the design's window c).
    signal = signal_counts(settings, 1e5)
    assert signal == pytest.approx(0.5635e5, rel=1e-3)
    background = (
        0.25 * signal / one.measured.mean()
    )  # a quarter of the mean over all pixels, masked ones too: within 5 %
    assert one.image.sum() == pytest.approx(signal + background * one.measured.mean(), rel=0.05)
    assert (one.image[~one.measured] == 0).all()


def test_bad_maps_are_refused_in_one_sentence(tmp_path):
    frame = rb2mnf4_frame()
    where = away_from_bragg(frame)
    np.save(tmp_path / "shape.npy", np.zeros((3, 64, 64)))
    with pytest.raises(ValueError, match=r"must have shape \(4, 64, 64\).*got \(3, 64, 64\)"):
        read_map(tmp_path / "shape.npy", frame, where)
    np.save(tmp_path / "negative.npy", np.full((4, 64, 64), -1.0))
    with pytest.raises(ValueError, match="not negative"):
        read_map(tmp_path / "negative.npy", frame, where)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_map(tmp_path / "missing.npy", frame, where)
    with pytest.raises(ValueError, match="windows must be pairs low < high"):
        Rb2mnf4Settings(windows=((3.0, 1.0),))
    np.save(tmp_path / "empty.npy", np.zeros((4, 64, 64)))
    with pytest.raises(ValueError, match="holds no counts where it was measured"):
        read_map(tmp_path / "empty.npy", frame, where)
    with pytest.raises(ValueError, match="own_counts must be positive"):
        Rb2mnf4Settings(own_counts=0.0)
    with pytest.raises(ValueError, match="refined_images must be at least 1"):
        Rb2mnf4Settings(refined_images=0)


def test_prior_is_not_centred_on_the_literature():
    assert all(PRIOR.ranges[name].low < LITERATURE[name] < PRIOR.ranges[name].high for name in PRIOR.ranges)
    for name, given in PRIOR.ranges.items():
        assert abs(0.5 * (given.low + given.high) - LITERATURE[name]) > 0.02 * (given.high - given.low)


def test_job_from_end_to_end(tmp_path):
    """A small run: every file, plain JSON, a refinement that finds the truth whatever the network has learned, a report."""
    settings = Rb2mnf4Settings(
        training_images=64,
        validation_images=32,
        posterior_images=64,
        test_images=8,
        refined_images=2,
        training=TrainingSettings(epochs=1, batch_size=32),
        importance_samples=30,
    )
    result = run(None, tmp_path / "out", settings, progress=False)
    stored = json.loads((tmp_path / "out" / "result.json").read_text())
    assert stored["estimate"] == result["estimate"]
    for name in ("J1", "J2"):
        assert abs(stored["estimate"][name] - LITERATURE[name]) < 5 * stored["error"][name] < 0.005
        assert stored["constraint"][name] == "measured"
    assert 0.9 < stored["refinement"]["chi_squared_per_degree_of_freedom"] < 1.1
    assert "ratios" in stored["cannot_tell"]
    assert "J1: this is your prior" in stored["cannot_tell"]
    assert stored["truth"] == dict(LITERATURE)
    errors = [other["error"] for other in stored["identifiability"]["other_windows"]]
    assert errors == sorted(errors)
    report = (tmp_path / "out" / "report.html").read_text()
    assert 'src="data:image/png;base64,' in report
    assert "http" not in report.split("</style>")[1]
    assert "Known worst" in report
    assert not list(tmp_path.glob(".out-*"))
    network, description = load_checkpoint(tmp_path / "out" / "network.pt")
    assert network.config.outputs == ("J1", "J2", "D")
    assert description["settings"]["seed"] == 0
