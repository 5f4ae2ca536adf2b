"""What the spectrometer sees: frames, images, detector coverage, counting noise, measured data."""

from __future__ import annotations

from insdl.instrument.counting import counted, expected_counts, expected_log
from insdl.instrument.coverage import detector_coverage
from insdl.instrument.frame import EnergyBlock, ImageFrame
from insdl.instrument.image import ImageSettings, ImageSimulator
from insdl.instrument.measurement import Measurement, read_pcsmo
from insdl.instrument.published import PublishedSimulator

__all__ = [
    "EnergyBlock",
    "ImageFrame",
    "ImageSettings",
    "ImageSimulator",
    "Measurement",
    "PublishedSimulator",
    "counted",
    "detector_coverage",
    "expected_counts",
    "expected_log",
    "read_pcsmo",
]
