"""Configurations: exact round trips, one sentence an error, presets that hold the truth without being centred on it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from insdl.dataset.configuration import (
    Configuration,
    configuration,
    configuration_from_yaml,
    load_configuration,
    load_source,
    presets,
    schema,
)
from insdl.dataset.distribution import LogUniform, Uniform, bounds
from insdl.instrument import detector_coverage
from insdl.instrument.pcsmo import NOISE_SIGMA, SCALE, pcsmo_frame
from insdl.instrument.rb2mnf4 import rb2mnf4_frame
from insdl.materials import rb2mnf4
from insdl.materials.pcsmo import LITERATURE, A, B, C
from insdl.materials.rb2mnf4 import LITERATURE as RB2MNF4

# What was found by fits to the measured image: (smallest, largest) of what fits, literature values included.
FOUND = {
    "shared.JF": (-11.70, -11.31),
    "shared.JA": (1.36, 1.6),
    "shared.Jperp": (0.88, 1.3),
    "shared.D": (0.04, 0.2),
    "own.JF2": (-1.74, -1.35),
    "own.JF3": (1.5, 1.70),
    "own.difference": (5.77, 6.15),
    "settings.width_factor": (1.4, 1.4),
    "settings.broadening": (0.095, 0.095),
    "settings.extra_sigma_q": (0.008, 0.008),
    "settings.twin_fraction": (0.5, 0.5),
    "settings.shift_h": (-0.008, -0.008),
    "settings.shift_k": (0.009, 0.009),
    "scale": (2.1, 2.2),  # mean signal of the measured image over seen pixels; tests below work it out
    "noise": (1.0, 1.0),
}


def preset_dictionary(name: str = "pcsmo") -> dict[str, Any]:
    return load_configuration(name).model_dump(mode="json")


def distribution_of(given: Configuration, name: str) -> Any:
    room, _, key = name.partition(".")
    if room == "shared":
        return given.shared[key]
    if room == "own":
        return next(rival.own[key] for rival in given.classes if key in rival.own)
    if room == "settings":
        return getattr(given.settings, key)
    if room == "scale":
        return given.detection.scale.value
    counting = given.detection.counting
    assert counting.kind == "subtracted"
    return counting.factor


@pytest.mark.parametrize("name", ["pcsmo", "rb2mnf4", "rb2mnf4-eight-windows"])
def test_round_trips_are_exact(name: str, tmp_path: Path) -> None:
    assert name in presets()
    given = load_configuration(name)
    file = tmp_path / "other.yaml"
    file.write_text(given.to_yaml(), "utf-8")
    assert load_configuration(file) == given
    assert load_configuration(file).to_yaml() == given.to_yaml()
    odd = given.model_copy(
        update={"intensity": 0.1 + 0.2, "shared": {**given.shared, "X": Uniform(low=1e-7, high=3e300)}}
    )
    assert configuration_from_yaml(odd.to_yaml()) == odd
    assert configuration(json.loads(json.dumps(given.model_dump(mode="json")))) == given


def test_found_values_lie_inside_and_not_in_the_middle() -> None:
    """Every value that fits the measurement lies within its range, and at least 5 % of the range away from its centre."""
    given = load_configuration("pcsmo")
    for name, found in FOUND.items():
        distribution = distribution_of(given, name)
        assert isinstance(distribution, Uniform | LogUniform)
        transform = np.log if isinstance(distribution, LogUniform) else float
        low, high = (transform(value) for value in bounds(distribution))
        places = [(transform(value) - low) / (high - low) for value in found]
        assert min(places) > 0.0, name
        assert max(places) < 1.0, name
        assert min(places) > 0.55 or max(places) < 0.45, (name, places)


def test_the_found_scale_is_the_mean_of_the_literature_image() -> None:
    source = load_source("pcsmo")
    seen = detector_coverage(pcsmo_frame(), np.diag([A, B, C]))
    from insdl.instrument import ImageSimulator
    from insdl.instrument.pcsmo import SETTINGS
    from insdl.materials import dimer, goodenough

    for model, name in ((goodenough(), "goodenough"), (dimer(), "dimer")):
        image = SCALE * ImageSimulator(model, pcsmo_frame(subpixels=2)).simulate(SETTINGS, **LITERATURE[name])
        mean = float(image[seen].mean())
        assert FOUND["scale"][0] < mean < FOUND["scale"][1]
    assert source.classes == ("goodenough", "dimer", "zener_polaron")


def test_literature_values_lie_inside() -> None:
    given = load_configuration("pcsmo")
    first, second = LITERATURE["goodenough"], LITERATURE["dimer"]
    values = {
        "shared.JF": [first["JF1"] + 0.5 * (first["JF2"] + first["JF3"]), 0.5 * (second["JFS"] + second["JFW"])],
        "shared.JA": [first["JA"], second["JA1"]],
        "shared.Jperp": [first["Jperp"], second["Jperp"]],
        "shared.D": [first["D"], second["D"]],
        "own.JF2": [first["JF2"]],
        "own.JF3": [first["JF3"]],
        "own.difference": [second["JFW"] - second["JFS"]],
    }
    for name, list_of in values.items():
        low, high = bounds(distribution_of(given, name))
        assert all(low < value < high for value in list_of), name
    # The literature gives both models the same mean ferromagnetic exchange, further neighbours included.
    assert values["shared.JF"][0] == pytest.approx(values["shared.JF"][1], abs=1e-9)
    other = load_configuration("rb2mnf4")
    for name, value in RB2MNF4.items():
        low, high = bounds(other.classes[0].own[name])
        assert low < value < high
        assert abs(value - 0.5 * (low + high)) > 0.02 * (high - low), name


def test_frames_are_those_of_the_instruments() -> None:
    cases = (("pcsmo", pcsmo_frame(subpixels=2)), ("rb2mnf4", rb2mnf4_frame()))
    for name, expected in cases:
        found = load_configuration(name).frame.image_frame()
        assert found.shape == expected.shape
        assert found.subpixels == expected.subpixels
        np.testing.assert_allclose(found.bins, expected.bins, atol=1e-12)
        np.testing.assert_allclose(np.asarray(found.pixels), np.asarray(expected.pixels), atol=1e-15)
        for mine, theirs in zip(found.blocks, expected.blocks, strict=True):
            np.testing.assert_allclose(np.asarray(mine.sigma_energy), np.asarray(theirs.sigma_energy), atol=1e-12)
            assert (mine.sigma_q, mine.incident_energy, mine.fixed_l) == (
                theirs.sigma_q, theirs.incident_energy, theirs.fixed_l,
            )  # fmt: skip
    counting = load_configuration("pcsmo").detection.counting
    assert counting.kind == "subtracted"
    np.testing.assert_array_equal(counting.sigma, NOISE_SIGMA.ravel())


def set_at(content: Any, path: str, value: Any) -> None:
    *way, last = path.split("/")
    for step in way:
        content = content[int(step)] if isinstance(content, list) else content[step]
    if value is KeyError:
        del content[last]
    else:
        content[int(last) if isinstance(content, list) else last] = value


MISTAKES = [
    ("seed", -1, "seed: input should be greater than or equal to 0, got -1"),
    ("seed", 1.5, "seed: input should be a valid integer, got 1.5"),
    ("n_samples", 0, "n_samples: input should be greater than or equal to 1, got 0"),
    ("n_samples", KeyError, "n_samples is missing"),
    ("colour", "blue", "there is no field colour"),
    ("frame/subpixels", 0, "frame.subpixels: input should be greater than or equal to 1, got 0"),
    ("frame/pixels/last", -3.0, r"frame.pixels: first must be below last, got -1 and -3"),
    ("frame/blocks/2/incident_energy", -5.0, r"frame.blocks\[2\].incident_energy: input should be greater than 0, got -5.0"),
    ("frame/blocks/0/bins/3", [4.0, 3.0], r"frame: bins must have shape \(n, 2\), lower edge before upper"),
    ("frame/blocks/0/resolution/sigma_energy", [0.1], r"frame.blocks\[0\].resolution: sigma_energy must be one width"),
    ("frame/blocks/0/resolution/energy_slope", 1e4, r"frame: .*energy_slope 10000 is too larg"),
    ("frame/blocks/1/resolution/energy_slope", 9.0, r"mosaic must be 0 where a resolution leans, .* at \[35.0\] meV"),
    ("shared/JA", "three", "shared.JA: input should be a valid number, got 'three'"),
    ("shared/JA", True, "shared.JA: input should be a valid number, got True"),
    ("shared/JA", {"kind": "gamma"}, r"shared.JA: expected a number or a distribution of kind uni.*, got {'kind': 'gamma'}"),
    ("shared/JA/low", 9.0, r"shared.JA: low must not be above high, got 9 and 3"),
    ("shared/JF2", 1.0, r"class 'goodenough' must not draw what is shared, got \['JF2'\] in both"),
    ("classes/1/name", "goodenough", "classes must have different names"),
    ("classes/0/model", "nothing", r"model must be one of goodenough, .*, or a JSON file, got 'nothing'"),
    ("classes/0/derived", {}, r"class 'goodenough' needs \['JF1'\] among what is shared, own or derived"),
    ("classes/0/derived/JF9", {"JF": 1.0}, r"derived of class 'goodenough' must name parameters \['JF1', "),
    ("classes/0/derived/JF1", {"JX": 1.0}, r"as sums of \['D', 'JA', 'JF', .* got JF1: {'JX': 1.0}"),
    ("classes/0/own/JX", 1.0, r"class 'goodenough' draws \['JX'\] but no parameter uses it"),
    ("settings/twin_fraction", 1.5, "settings: image settings must be finite, widths, temperature and mosaic not negative"),
    ("detection/orientation", "upside", "detection.orientation: input should be 'fixed' or 'either', got 'upside'"),
    ("detection/scale/value", 0.0, "detection.scale: the scale must be positive, got 0"),
    ("detection/counting/kind", "binomial", r"detection.counting: input tag 'binomial' .* 'subtracted', 'poisson'"),
    ("detection/counting/sigma", [1.0, 2.0], "detection.counting.sigma needs one number or 60, one a bin, got 2"),
    ("detection/nuisances/phonons/probability", 1.5, "nuisances.phonons.probability: input should be less than or equal to 1"),
    ("detection/nuisances/phonons/level", -1.0, "detection.nuisances: phonons.level must not be negative, got -1"),
    ("detection/nuisances/smooth/variation", 2.0, r"smooth.variation must lie in 0 to 1, got 2 to 2"),
    ("detection/nuisances/window/share", 1.0, r"window.share must lie in 0 to 1, below 1"),
    ("detection/nuisances/ghosts", {}, "there is no field detection.nuisances.ghosts"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "sentence"), MISTAKES, ids=[f"{m[0]}={m[1]!r}"[:60] for m in MISTAKES])
def test_mistakes_get_one_sentence(path: str, value: Any, sentence: str) -> None:
    content = copy.deepcopy(preset_dictionary())
    content["settings"]["mosaic"] = 0.01
    set_at(content, path, value)
    with pytest.raises(ValueError, match=sentence) as caught:
        configuration(content)
    assert "\n" not in str(caught.value)
    assert type(caught.value) is ValueError


def test_a_resolution_that_leans() -> None:
    content = copy.deepcopy(preset_dictionary())
    for block, slope in zip(content["frame"]["blocks"], (9.0, 12.0, 15.0, 18.0, 22.0, 28.0), strict=True):
        block["resolution"]["energy_slope"] = slope
    found = configuration(content)
    assert [block.energy_slope for block in found.frame.image_frame().blocks] == [9.0, 12.0, 15.0, 18.0, 22.0, 28.0]
    assert "energy_slope: 28.0" in found.to_yaml()
    assert all(block.energy_slope == 0.0 for block in load_configuration("pcsmo").frame.image_frame().blocks)


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"no file nothing and no preset of that name \(presets: pcsmo, rb2mnf4, "
    ):
        load_configuration("nothing")
    file = tmp_path / "case.yaml"
    for text, sentence in (
        ("a: [1", r"case\.yaml is no YAML"),
        ("- 1\n- 2\n", r"case\.yaml must hold names and values"),
        ("", r"case\.yaml must hold names and values"),
        ("seed: 1\nseed: 2\n", "line 2 names 'seed' a second time"),
        ("!!python/object:os.system x", "is no YAML"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=sentence):
            load_configuration(file)


def test_numbers_with_an_exponent_are_numbers() -> None:
    text = load_configuration("rb2mnf4").to_yaml().replace("intensity: 1.0", "intensity: 3e5")
    assert yaml.safe_load("x: 3e5")["x"] == "3e5"  # what it would be otherwise
    assert configuration_from_yaml(text).intensity == 3e5


def test_a_model_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "model.json"
    file.write_text(json.dumps(rb2mnf4().to_dict()))
    content = preset_dictionary("rb2mnf4")
    content["classes"][0]["model"] = str(file)
    content["n_samples"] = 2
    assert configuration(content).classes[0].spin_model().parameters == ("J1", "J2", "D")


def test_the_schema_names_units() -> None:
    found = schema()
    assert json.loads(json.dumps(found)) == found
    descriptions = found["$defs"]["PhononPrior"]["properties"]
    assert descriptions["longitudinal_velocity"]["description"].startswith("meV angstrom")
    for section in (
        "Settings",
        "Coverage",
        "PhononPrior",
        "ElasticPrior",
        "AluminiumPrior",
        "HaloPrior",
        "StreakPrior",
    ):
        missing = [
            name
            for name, field in found["$defs"][section]["properties"].items()
            if "description" not in field and "$ref" not in field
        ]
        assert not missing, (section, missing)


def test_load_source_takes_another_size_and_seed() -> None:
    source = load_source("rb2mnf4", n_samples=7, seed=3)
    assert (source.n_samples, source.seed, source.name) == (7, 3, "rb2mnf4")
    assert source.describe()["configuration"]["seed"] == 3
    with pytest.raises(ValueError, match="rb2mnf4: n_samples: input should be greater than or equal to 1, got 0"):
        load_source("rb2mnf4", n_samples=0)
