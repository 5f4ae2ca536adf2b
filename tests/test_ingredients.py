"""Leaving ingredients of an image out: nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from insdl.instrument import ImageFrame, ImageSettings, ImageSimulator
from insdl.instrument.ingredients import INGREDIENTS, SHIFT_H, SHIFT_K, WHAT, recipe
from insdl.instrument.pcsmo import SETTINGS, pcsmo_frame
from insdl.materials import goodenough
from insdl.materials.pcsmo import LITERATURE

VALUES = LITERATURE["goodenough"]


def test_everything_is_the_image_of_the_spectrometer() -> None:
    settings = replace(SETTINGS, shift_h=SHIFT_H, shift_k=SHIFT_K)
    expected = ImageSimulator(goodenough(), pcsmo_frame()).simulate(settings, **VALUES)
    np.testing.assert_array_equal(recipe(INGREDIENTS).image(goodenough(), **VALUES), expected)
    assert set(WHAT) == set(INGREDIENTS)


def test_nothing_is_the_sum_of_gaussians_at_one_point() -> None:
    """S_perp at Ql = 0 of each pixel's centre, each mode a Gaussian of the table's width, at the slice's centre."""
    bare = recipe(())
    pixels = np.asarray(bare.frame.pixels)[[3, 21, 30]]
    frame = ImageFrame(bare.frame.blocks[3:5], pixels[:2], bare.frame.subpixels)
    model = goodenough()
    image = replace(bare, frame=frame).image(model, **VALUES)
    for i, h in enumerate(pixels[:2]):
        for j, k in enumerate(pixels[:2]):
            modes = model.modes([[h, k, 0.0]], **VALUES)
            number = 0
            for block in frame.blocks:
                s0, s1, s2 = np.asarray(block.sigma_energy)
                for low, high in np.asarray(block.bins):
                    sigma = s0 + s1 * modes.energy[0] + s2 * modes.energy[0] ** 2
                    z = (0.5 * (low + high) - modes.energy[0]) / sigma
                    density = np.where(np.abs(z) < 5.0, np.exp(-0.5 * z * z), 0.0) / (sigma * np.sqrt(2 * np.pi))
                    expected = 4 * (modes.intensity[0] * density).sum()
                    assert image[number, i, j] == pytest.approx(expected, rel=1e-4, abs=1e-5)
                    number += 1
    assert image.max() > 0.1


def test_each_ingredient_changes_the_image_and_only_its_own_part() -> None:
    whole, images = recipe(INGREDIENTS), {}
    part = {
        "energy bins": lambda r: np.ptp(np.asarray(r.frame.bins), axis=1).min() > 1.4,
        "sub-pixels": lambda r: r.frame.subpixels == 4,
        "momentum resolution": lambda r: min(b.sigma_q for b in r.frame.blocks) > 0 and r.settings.extra_sigma_q > 0,
        "kinematic Ql": lambda r: all(b.fixed_l is None for b in r.frame.blocks),
        "form factor": lambda r: r.form_factor == "ion",
        "second twin": lambda r: r.settings.twin_fraction == 0.5,
        "broadening": lambda r: r.settings.broadening > 0 and r.settings.width_factor > 1,
        "frame shift": lambda r: r.settings.shift_h != 0 and r.settings.shift_k != 0,
    }
    full = whole.image(goodenough(), **VALUES)
    for name in INGREDIENTS:
        left = recipe([other for other in INGREDIENTS if other != name])
        for other, holds in part.items():
            if (other, name) != ("momentum resolution", "broadening"):  # the broadening widens in momentum too
                assert holds(left) == (other != name), (other, name)
        images[name] = left.image(goodenough(), **VALUES)
    for name, image in images.items():
        changed = np.abs(image - full).max() / full.max()
        assert (changed > 0.01) == (name in part), name


def test_bins_shrink_to_their_centres() -> None:
    narrow, wide = (np.asarray(recipe(names).frame.bins) for names in ((), ("energy bins",)))
    np.testing.assert_allclose(narrow.mean(axis=1), wide.mean(axis=1), rtol=1e-14)
    np.testing.assert_allclose(np.ptp(narrow, axis=1), 1e-3 * np.ptp(wide, axis=1), rtol=1e-9)
    assert recipe(()).settings == ImageSettings()


def test_unknown_ingredients_are_refused() -> None:
    with pytest.raises(ValueError, match=r"ingredients must be among .*, got \['salt'\]"):
        recipe(["salt"])  # type: ignore[list-item]
