"""Any file of measured data: read by its name and contents, and described in words."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

import numpy as np

from insdl.measured import array_file
from insdl.measured.array_file import ArrayLayout, layout_beside, read_array, read_layout, read_mask
from insdl.measured.detector_binning import detector_q_cart
from insdl.measured.hdf5_file import opened
from insdl.measured.histogram import Axis, Histogram
from insdl.measured.horace import SUFFIXES as HORACE_SUFFIXES
from insdl.measured.horace import read_horace
from insdl.measured.image_orientation import OrientationReport, orientation
from insdl.measured.mantid import SUFFIXES as MANTID_SUFFIXES
from insdl.measured.mantid import read_md_histogram, read_workspace
from insdl.measured.nxspe import DetectorSpectra, read_nxspe
from insdl.measured.spice import Scan, read_spice
from insdl.measured.spice_nexus import read_spice_nexus, spice_entries

Content: TypeAlias = "tuple[Histogram, ...] | tuple[Scan, ...] | DetectorSpectra | Scan"
"""What a file of measured data holds."""


def read_measured(path: str | os.PathLike[str], *, layout: ArrayLayout | None = None) -> Content:
    """What a file holds: histograms (one for each incident energy of an array), detector spectra, a scan or several.

    The ending of its name decides: .nxspe; .nxs, .h5, .hdf5 (Mantid, or scans in NeXus); .d0d to .d4d, .sqw (Horace); .dat
    (SPICE); .npy, .csv, .mat, for which a layout is needed (or lies beside the file as NAME.layout.yaml).

    Raises
    ------
    FileNotFoundError, ValueError
        For a missing file, an ending that is none of these, an array without a layout, or what its reader refuses.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    suffix = file.suffix.lower()
    if suffix in array_file.SUFFIXES:
        return read_array(file, _layout_of(file, layout))
    if suffix == ".nxspe":
        return read_nxspe(file)
    if suffix in MANTID_SUFFIXES:
        with opened(file, MANTID_SUFFIXES) as (content, _):
            image = content.has("/MDHistoWorkspace")
        if not image and (entries := spice_entries(file)):
            scans = tuple(read_spice_nexus(file, entry=entry) for entry in entries)
            return scans if len(scans) > 1 else scans[0]
        return (read_md_histogram(file) if image else read_workspace(file),)
    if suffix in HORACE_SUFFIXES:
        return (read_horace(file),)
    if suffix == ".dat":
        return read_spice(file)
    known = [*array_file.SUFFIXES, ".nxspe", *MANTID_SUFFIXES, *HORACE_SUFFIXES, ".dat"]
    raise ValueError(f"{file} must end in one of {', '.join(known)}, got {file.suffix or 'no ending'!r}")


def check_orientation(
    path: str | os.PathLike[str],
    mask: str | os.PathLike[str],
    *,
    layout: ArrayLayout | None = None,
    mask_layout: ArrayLayout | None = None,
) -> OrientationReport:
    """The image in an array file against the mask of its detectors, as `insdl.measured.image_orientation.orientation` has it.

    ``mask_layout`` is that of the image unless given.
    """
    own = _layout_of(Path(path), layout)
    mask_layout = own if mask_layout is None else mask_layout
    image = np.concatenate([histogram.signal for histogram in read_array(path, own)])
    seen = np.concatenate(read_mask(mask, mask_layout, image_layout=own))
    return orientation(image, seen)


def description(content: Content) -> list[str]:
    """What was read, in lines for a terminal."""
    if isinstance(content, DetectorSpectra):
        return _of_spectra(content)
    if isinstance(content, Scan):
        content = (content,)
    lines: list[str] = []
    for part in content:
        lines += _of_scan(part) if isinstance(part, Scan) else _of_histogram(part)
    lines += [f"  note: {note}" for note in dict.fromkeys(note for part in content for note in part.notes)]
    return lines


def _layout_of(file: Path, layout: ArrayLayout | None) -> ArrayLayout:
    if layout is not None:
        return layout
    beside = layout_beside(file)
    if beside is None:
        raise ValueError(
            f"{file} holds bare numbers: give a layout, or put it beside the file as {file.with_suffix('.layout.yaml').name}"
        )
    return read_layout(beside)


def _of_axis(axis: Axis) -> str:
    edges = np.asarray(axis.edges)
    words = f"  {axis.name}: {len(axis)} bins from {edges[0]:.6g} to {edges[-1]:.6g} {axis.unit}"
    if axis.projection is not None:
        words += f" along ({', '.join(f'{x:g}' for x in np.asarray(axis.projection))})"
    return words


def _of_histogram(histogram: Histogram) -> list[str]:
    lines = [f"Histogram {' x '.join(map(str, histogram.shape))} from {histogram.source}"]
    lines += [_of_axis(axis) for axis in histogram.axes]
    measured = histogram.measured
    lines.append(f"  measured: {measured.mean():.1%} of {measured.size} bins")
    if measured.any():
        known = histogram.signal[measured]
        lines.append(f"  intensity: {known.min():.6g} to {known.max():.6g}, {(known == 0).mean():.1%} zeros")
    if histogram.error is not None and measured.any():
        lines.append(f"  errors: median {np.median(histogram.error[measured]):.6g}")
    return lines


def _of_spectra(spectra: DetectorSpectra) -> list[str]:
    n, m = spectra.signal.shape
    edges, two_theta = spectra.energy_edges, np.degrees(spectra.two_theta)
    lengths = np.linalg.norm(detector_q_cart(spectra), axis=-1)
    scaled = {True: "yes", False: "no", None: "not said"}[spectra.ki_over_kf]
    psi = "not said" if np.isnan(spectra.psi) else f"{np.degrees(spectra.psi):.6g} degrees"
    return [
        f"{n} detector spectra of {m} energies from {spectra.source}",
        f"  Ei: {spectra.incident_energy:.6g} meV; psi: {psi}; multiplied by ki/kf: {scaled}",
        f"  energy transfer: {edges[0]:.6g} to {edges[-1]:.6g} meV",
        f"  scattering angle: {two_theta.min():.6g} to {two_theta.max():.6g} degrees",
        f"  |Q|: {lengths.min():.4g} to {lengths.max():.4g} 1/angstrom",
        f"  measured: {spectra.measured.mean():.1%} of {spectra.signal.size} values",
        *(f"  note: {note}" for note in spectra.notes),
    ]


def _of_scan(scan: Scan) -> list[str]:
    lines = [f"Scan of {len(scan.counts)} points from {scan.source}"]
    if title := scan.header.get("scan_title"):
        lines.append(f"  title: {title}")
    for name in ("h", "k", "l", "e"):
        values = scan.columns[name]
        lines.append(f"  {name}: {values.min():.6g} to {values.max():.6g} {'meV' if name == 'e' else 'r.l.u.'}")
    lines.append(f"  counts ({scan.counter}): {scan.counts.min():.6g} to {scan.counts.max():.6g}")
    return lines
