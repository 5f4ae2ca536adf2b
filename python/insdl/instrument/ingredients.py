"""What a PCSMO image is made of, ingredient by ingredient: each can be left out, to see what it is worth."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from insdl.instrument.frame import EnergyBlock, ImageFrame
from insdl.instrument.image import ImageSettings, ImageSimulator
from insdl.instrument.pcsmo import SETTINGS, pcsmo_frame
from insdl.model import SpinModel

Ingredient = Literal[
    "energy bins",
    "sub-pixels",
    "momentum resolution",
    "kinematic Ql",
    "form factor",
    "second twin",
    "background and scale",
    "broadening",
    "frame shift",
    "counting noise",
]
"""In the order in which they are added. "background and scale" and "counting noise" are no part of the simulated image, but
of how it is compared with a measurement."""
INGREDIENTS: tuple[Ingredient, ...] = get_args(Ingredient)

WHAT = {
    "energy bins": "the integral over the energy bin, not S(Q, E) at its centre",
    "sub-pixels": "4 x 4 points a pixel, not its centre",
    "momentum resolution": "table widths along Qh and Qk",
    "kinematic Ql": "Ql from the beam's kinematics, not 0",
    "form factor": "mean <j0> of Mn3+ and Mn4+",
    "second twin": "half of the crystal with Qh and Qk exchanged",
    "background and scale": "a plane over (Qh, Qk) and a scale for each incident energy, fitted",
    "broadening": "wider in energy and momentum than the tables",
    "frame shift": "the measured frame's offset",
    "counting noise": "the expected log(1 + counts), not log(1 + expected counts)",
}
"""Each ingredient in words."""

SHIFT_H, SHIFT_K = -0.008, 0.009
"""Offset of the measured frame, r.l.u.: see `ImageSettings`."""

_NARROW = 1e-3  # width of a bin that stands for its centre, in widths of the bin


@dataclass(frozen=True, eq=False)
class Recipe:
    """How to simulate an image with some of the ingredients."""

    frame: ImageFrame
    settings: ImageSettings
    form_factor: Literal["ion", "none"]

    def image(self, model: SpinModel, *, threads: int | None = None, **values: float) -> npt.NDArray[np.float64]:
        """(n_bins, n_h, n_k) float64, 1/meV per magnetic cell."""
        simulator = ImageSimulator(model, self.frame, form_factor=self.form_factor)
        return simulator.simulate(self.settings, threads=threads, **values)


def recipe(ingredients: Collection[Ingredient]) -> Recipe:
    """The frame, settings and form factor with the given ingredients and no others.

    Without "energy bins" every bin shrinks to its centre: the value is S(Q, E) there, with the energy resolution and at the
    kinematic Ql of each mode. Without "momentum resolution" pixels have sharp edges, and "broadening" is one of energy only.

    Raises
    ------
    ValueError
        If one of them is not in `INGREDIENTS`.
    """
    unknown = [name for name in ingredients if name not in INGREDIENTS]
    if unknown:
        raise ValueError(f"ingredients must be among {list(INGREDIENTS)}, got {unknown}")
    whole = pcsmo_frame(
        subpixels=4 if "sub-pixels" in ingredients else 1,
        fixed_l=None if "kinematic Ql" in ingredients else 0.0,
    )
    frame = replace(whole, blocks=[_block(block, ingredients) for block in whole.blocks])
    settings = SETTINGS if "broadening" in ingredients else ImageSettings()
    settings = replace(
        settings,
        extra_sigma_q=settings.extra_sigma_q if "momentum resolution" in ingredients else 0.0,
        twin_fraction=0.5 if "second twin" in ingredients else 0.0,
        shift_h=SHIFT_H if "frame shift" in ingredients else 0.0,
        shift_k=SHIFT_K if "frame shift" in ingredients else 0.0,
    )
    return Recipe(frame, settings, "ion" if "form factor" in ingredients else "none")


def _block(block: EnergyBlock, ingredients: Collection[Ingredient]) -> EnergyBlock:
    bins = np.asarray(block.bins)
    if "energy bins" not in ingredients:
        half = 0.5 * _NARROW * (bins[:, 1:] - bins[:, :1])
        bins = bins.mean(axis=1, keepdims=True) + half * (-1.0, 1.0)
    return replace(block, bins=bins, sigma_q=block.sigma_q if "momentum resolution" in ingredients else 0.0)
