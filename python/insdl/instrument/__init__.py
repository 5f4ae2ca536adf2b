"""What the spectrometer sees: frames, images, detector coverage, counting noise, measured data."""

from __future__ import annotations

from insdl.instrument.counting import counted, poisson_counts
from insdl.instrument.coverage import detector_coverage
from insdl.instrument.frame import EnergyBlock, ImageFrame
from insdl.instrument.image import ImageSettings, ImageSimulator
from insdl.instrument.measurement import Measurement, read_pcsmo

__all__ = [
    "EnergyBlock",
    "ImageFrame",
    "ImageSettings",
    "ImageSimulator",
    "Measurement",
    "counted",
    "detector_coverage",
    "poisson_counts",
    "read_pcsmo",
]
