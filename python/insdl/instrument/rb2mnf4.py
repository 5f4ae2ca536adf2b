"""The frame of a Rb2MnF4 map: one incident energy, a chosen list of energy windows over (Qh, Qk)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from insdl.instrument.frame import EnergyBlock, ImageFrame

INCIDENT_ENERGY = 25.0
"""meV."""
WINDOWS = ((1.0, 2.75), (2.75, 4.5), (4.5, 6.25), (6.25, 8.0))
"""Energy windows of the default map, meV: their edges cut the band, which ends at 6.54 meV, one of them near its top."""
SIGMA_ENERGY = 0.3 / np.sqrt(8.0 * np.log(2.0))
"""Energy resolution, meV: FWHM 0.3."""
SIGMA_Q = 0.01
"""Momentum resolution, r.l.u."""
PIXELS = 64


def rb2mnf4_frame(
    windows: Sequence[tuple[float, float]] = WINDOWS, *, pixels: int = PIXELS, subpixels: int = 2
) -> ImageFrame:
    """Maps of 64 x 64 pixels over Qh, Qk in [-1, 1] r.l.u. in energy windows (meV), beam along c, Ei = 25 meV."""
    edges = np.linspace(-1.0, 1.0, pixels + 1)
    block = EnergyBlock(
        bins=windows, incident_energy=INCIDENT_ENERGY, sigma_energy=(SIGMA_ENERGY, 0.0, 0.0), sigma_q=SIGMA_Q
    )
    return ImageFrame(blocks=[block], pixels=0.5 * (edges[:-1] + edges[1:]), subpixels=subpixels, kf_ki="included")
