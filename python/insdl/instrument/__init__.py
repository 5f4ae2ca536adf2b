"""What the spectrometer sees: frames, images, geometry, resolution, detector coverage, counting noise, measured data."""

from __future__ import annotations

from insdl.instrument.convolution import Convolved, Twin, convolve, convolve_layered
from insdl.instrument.counting import counted, expected_counts, expected_log, poisson_counts
from insdl.instrument.counts import count_images
from insdl.instrument.coverage import DetectorBank, bank_coverage, detector_coverage
from insdl.instrument.frame import EnergyBlock, ImageFrame
from insdl.instrument.image import ImageSettings, ImageSimulator
from insdl.instrument.measurement import Measurement, read_pcsmo
from insdl.instrument.orientation import Orientation
from insdl.instrument.published import PublishedSimulator
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
    "PublishedSimulator",
    "ResolutionTable",
    "TripleAxis",
    "Twin",
    "bank_coverage",
    "convolve",
    "convolve_layered",
    "count_images",
    "counted",
    "detector_coverage",
    "expected_counts",
    "expected_log",
    "poisson_counts",
    "read_pcsmo",
    "read_resolution_table",
    "simulated_scan",
]
