"""The prior of Rb2MnF4 maps as code, and the part of a map that a Bragg peak covers; the preset "rb2mnf4" holds the same."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from insdl.dataset.prior import Prior, Range
from insdl.dataset.simulated import Family
from insdl.instrument.frame import ImageFrame
from insdl.instrument.image import ImageSettings, ImageSimulator
from insdl.instrument.rb2mnf4 import rb2mnf4_frame
from insdl.materials.rb2mnf4 import rb2mnf4

PRIOR = Prior({"J1": Range(0.5, 0.8), "J2": Range(-0.03, 0.05), "D": Range(-0.009, -0.003)})
"""meV; not centred on the literature values."""

SETTINGS = Prior({"width_factor": Range(0.8, 1.3), "extra_sigma_q": Range(0.0, 0.01)})

BRAGG_RADIUS = 0.05
"""r.l.u. around the magnetic Bragg points (1/2, 1/2), ... that is masked."""


def draw_parameters(rng: np.random.Generator) -> Mapping[str, float]:
    """Parameters of `insdl.materials.rb2mnf4`, meV."""
    return PRIOR.draw(rng)


def draw_settings(rng: np.random.Generator) -> ImageSettings:
    """Energy and momentum widths."""
    return ImageSettings(**SETTINGS.draw(rng))


def family(frame: ImageFrame | None = None) -> Family:
    """The one family of maps; the default frame has the windows of `insdl.instrument.rb2mnf4`."""
    simulator = ImageSimulator(rb2mnf4(), rb2mnf4_frame() if frame is None else frame, margin=0.07)
    return Family("rb2mnf4", simulator, draw_parameters, draw_settings)


def away_from_bragg(frame: ImageFrame) -> npt.NDArray[np.bool_]:
    """(n_bins, n_h, n_k) bool, False within `BRAGG_RADIUS` of a magnetic Bragg point."""
    pixels = np.asarray(frame.pixels)
    distance = np.abs((pixels + 0.5) - np.rint(pixels + 0.5))
    far = np.hypot(distance[:, None], distance[None, :]) > BRAGG_RADIUS
    return np.broadcast_to(far, frame.shape).copy()
