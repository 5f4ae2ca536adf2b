"""What the spectrometer sees: frames, images, resolution, detector coverage, counting noise, measured data."""

from __future__ import annotations

from insdl.instrument.convolution import Convolved, Twin, convolve, convolve_layered
from insdl.instrument.counting import counted
from insdl.instrument.coverage import DetectorBank, bank_coverage, detector_coverage
from insdl.instrument.frame import EnergyBlock, ImageFrame
from insdl.instrument.image import ImageSettings, ImageSimulator
from insdl.instrument.measurement import Measurement, read_pcsmo
from insdl.instrument.orientation import Orientation
from insdl.instrument.resolution import ResolutionTable, read_resolution_table
from insdl.instrument.triple_axis import MosaicCrystal, TripleAxis, simulated_scan

__all__ = [
    "Convolved",
    "DetectorBank",
    "EnergyBlock",
    "ImageFrame",
    "ImageSettings",
    "ImageSimulator",
    "Measurement",
    "MosaicCrystal",
    "Orientation",
    "ResolutionTable",
    "TripleAxis",
    "Twin",
    "bank_coverage",
    "convolve",
    "convolve_layered",
    "counted",
    "detector_coverage",
    "read_pcsmo",
    "read_resolution_table",
    "simulated_scan",
]
