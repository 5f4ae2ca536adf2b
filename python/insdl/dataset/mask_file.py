"""Where a detector looked, from a file, on the pixels of a frame."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from insdl.crystal import shown
from insdl.instrument.frame import ImageFrame
from insdl.instrument.measurement import load_array
from insdl.measured.array_file import SUFFIXES, ArrayLayout, layout_beside, pcsmo_layout, read_array, read_layout
from insdl.measured.histogram import Histogram, existing_file
from insdl.measured.measured_file import read_measured
from insdl.measured.rebinning import to_frame

_Mask = npt.NDArray[np.bool_]
PCSMO_MASK = "pcsmo-mask"
"""The layout of the public PCSMO detector mask, by name."""


def read_frame_mask(path: str | os.PathLike[str], frame: ImageFrame, *, layout: str | None = None) -> _Mask:
    """True where a detector looked, for every pixel of a frame.

    Parameters
    ----------
    path : file. An .npy array of the frame's shape, true (or 1) where a detector looked and false (or 0) elsewhere, Qh and Qk
        ascending; or an array with a layout, whose ``not_measured`` marks what was not seen; or a Horace or Mantid image,
        where bins without events were not seen.
    frame : ImageFrame.
    layout : "pcsmo-mask", or a YAML file with an `ArrayLayout`. None takes NAME.layout.yaml beside the file if there is one.

    Returns
    -------
    (n_bins, n_h, n_k) bool. Where the pixels of the file are others, at least half of the frame's pixel must have been seen.

    Raises
    ------
    FileNotFoundError, ValueError
        For a missing file, another shape, other values than true and false, other incident energies than the frame's, a file
        that holds no image, or a mask that leaves nothing.
    """
    file = Path(path)
    array = file.suffix.lower() in SUFFIXES
    if layout is not None and not array:
        raise ValueError(f"{file} needs no layout, got {layout!r}: layouts are for arrays ({', '.join(SUFFIXES)})")
    beside = layout_beside(file) if array and layout is None else None
    if array and layout is None and beside is None:
        return _of_the_frame(file, frame)
    if array:
        found = pcsmo_layout("mask") if layout == PCSMO_MASK else read_layout(beside or str(layout))
        histograms: Sequence[Histogram] = _by_energy(file, found, frame)
    else:
        content = read_measured(file)
        if not isinstance(content, tuple) or not all(isinstance(part, Histogram) for part in content):
            raise ValueError(f"{file} must hold an image to be a mask, got detector spectra or scans")
        histograms = [part for part in content if isinstance(part, Histogram)]
    try:
        return to_frame(histograms, frame, quantity="density").measured
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def mask_digest(mask: _Mask) -> str:
    """SHA-256 of a mask, whatever file it came from."""
    return hashlib.sha256(f"{mask.shape}".encode() + np.packbits(mask).tobytes()).hexdigest()


def _of_the_frame(file: Path, frame: ImageFrame) -> _Mask:
    if file.suffix.lower() != ".npy":
        raise ValueError(f"{existing_file(file, SUFFIXES)} needs a layout to be a mask: {PCSMO_MASK}, or a YAML file")
    values = load_array(file)
    if values.shape != frame.shape:
        raise ValueError(f"{file} must have the shape {frame.shape} of the frame, got {values.shape}")
    other = values[~np.isin(values, (0.0, 1.0))]
    if other.size:
        raise ValueError(f"{file} must hold true and false (or 1 and 0) only, got {shown(float(other[0]))}")
    if not values.any():
        raise ValueError(f"{file} leaves nothing: it is false everywhere, and true is where a detector looked")
    return np.asarray(values == 1.0)


def _by_energy(file: Path, layout: ArrayLayout, frame: ImageFrame) -> list[Histogram]:
    """One histogram for each block of the frame, whatever their order in the file."""
    by_energy = dict(zip(layout.incident_energies, read_array(file, layout), strict=True))
    wanted = [block.incident_energy for block in frame.blocks]
    missing = [energy for energy in wanted if energy not in by_energy]
    if missing:
        raise ValueError(
            f"{file} must have the frame's incident energies, {wanted} meV, got {list(layout.incident_energies)}"
        )
    return [by_energy[energy] for energy in wanted]
