"""Measured data in: one file a format, one common result, and what is done to it before a network sees it."""

from __future__ import annotations

from insdl.measured.array_file import ArrayLayout, read_array, read_layout
from insdl.measured.background import Background, fit_background, measurement_background, q_length, subtracted
from insdl.measured.detector_binning import detector_q_cart, to_histogram
from insdl.measured.histogram import Axis, Histogram
from insdl.measured.horace import read_horace
from insdl.measured.image_orientation import OrientationReport, orientation
from insdl.measured.mantid import read_md_histogram, read_workspace, write_md_histogram
from insdl.measured.measured_file import check_orientation, description, read_measured
from insdl.measured.nxspe import DetectorSpectra, read_nxspe, write_nxspe
from insdl.measured.rebinning import cut, rebinned, section, symmetrised, to_frame
from insdl.measured.spice import Scan, read_spice
from insdl.measured.spice_nexus import read_spice_nexus, spice_entries

__all__ = [
    "ArrayLayout",
    "Axis",
    "Background",
    "DetectorSpectra",
    "Histogram",
    "OrientationReport",
    "Scan",
    "check_orientation",
    "cut",
    "description",
    "detector_q_cart",
    "fit_background",
    "measurement_background",
    "orientation",
    "q_length",
    "read_array",
    "read_horace",
    "read_layout",
    "read_md_histogram",
    "read_measured",
    "read_nxspe",
    "read_spice",
    "read_spice_nexus",
    "read_workspace",
    "rebinned",
    "section",
    "spice_entries",
    "subtracted",
    "symmetrised",
    "to_frame",
    "to_histogram",
    "write_md_histogram",
    "write_nxspe",
]
