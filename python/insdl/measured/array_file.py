"""Images in plain arrays (.npy, .csv, .mat), with a description of their layout.

An array says nothing about its axes, so the layout says all of it: which incident energies and energy slices the cells of
the sheet are, which way the axes of a cell run, and which value stands for "not measured".
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from insdl.crystal import real_numbers, shown
from insdl.instrument.measurement import file_sha256, load_array
from insdl.instrument.pcsmo import INCIDENT_ENERGIES, PIXELS, SLICES
from insdl.measured.histogram import Axis, Histogram, existing_file

_Reals = npt.NDArray[np.float64]

Arrangement = Literal["sheet", "stack"]
Direction = Literal["ascending", "descending"]
_DIRECTIONS = ("ascending", "descending")
_PROJECTIONS = {"Qh": (1.0, 0.0, 0.0), "Qk": (0.0, 1.0, 0.0), "Ql": (0.0, 0.0, 1.0)}
SUFFIXES = (".npy", ".csv", ".mat")


@dataclass(frozen=True, eq=False)
class ArrayLayout:
    """How an array of numbers is laid out.

    Attributes
    ----------
    incident_energies : float, ... meV. One for each block; from the top of a sheet down.
    energy_edges : (n_energies, n_slices + 1) float64, meV. Edges of the slices of energy transfer of each incident energy.
    row_centres, column_centres : (first, last, number). Pixel centres of a cell, ascending and equally spaced, r.l.u.
    rows, columns : str. What the rows and the columns of a cell are: "Qh", "Qk" or "Ql".
    row_direction, column_direction : "ascending" or "descending". Which way they run in the file, row 0 and column 0 first.
    arrangement : "sheet" for cells side by side (blocks of rows are incident energies, blocks of columns energy slices), or
        "stack" for an array (n_energies * n_slices, n_rows, n_columns).
    not_measured : float or None. The value of what was not measured; NaN always is. None: every other number was measured.
    scale : float. What the numbers are multiplied by.
    """

    incident_energies: tuple[float, ...]
    energy_edges: npt.ArrayLike
    row_centres: tuple[float, float, int]
    column_centres: tuple[float, float, int]
    rows: str = "Qh"
    columns: str = "Qk"
    row_direction: Direction = "ascending"
    column_direction: Direction = "ascending"
    arrangement: Arrangement = "sheet"
    not_measured: float | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        energies = real_numbers(self.incident_energies, "incident_energies")
        if energies.ndim != 1 or not len(energies) or not (np.isfinite(energies) & (energies > 0)).all():
            raise ValueError(f"incident_energies must be positive numbers (meV), got {shown(self.incident_energies)}")
        if len(set(energies.tolist())) != len(energies):
            raise ValueError(f"incident_energies must differ, got {shown(self.incident_energies)}")
        edges = real_numbers(self.energy_edges, "energy_edges")
        if edges.ndim != 2 or len(edges) != len(energies) or edges.shape[1] < 2:
            raise ValueError(
                f"energy_edges must have one row of edges for each of {len(energies)} incident energies, "
                f"got shape {edges.shape}"
            )
        object.__setattr__(self, "incident_energies", tuple(energies.tolist()))
        object.__setattr__(self, "energy_edges", edges)
        for name in ("row_centres", "column_centres"):
            object.__setattr__(self, name, _checked_centres(getattr(self, name), name))
        for name in ("rows", "columns"):
            if getattr(self, name) not in _PROJECTIONS:
                raise ValueError(f"{name} must be 'Qh', 'Qk' or 'Ql', got {getattr(self, name)!r}")
        if self.rows == self.columns:
            raise ValueError(f"rows and columns must be different axes, got {self.rows!r} twice")
        for name in ("row_direction", "column_direction"):
            if getattr(self, name) not in _DIRECTIONS:
                raise ValueError(f"{name} must be 'ascending' or 'descending', got {getattr(self, name)!r}")
        if self.arrangement not in ("sheet", "stack"):
            raise ValueError(f"arrangement must be 'sheet' or 'stack', got {self.arrangement!r}")
        scale = real_numbers(self.scale, "scale")
        if scale.shape != () or not np.isfinite(scale) or scale == 0:
            raise ValueError(f"scale must be a finite number other than zero, got {shown(self.scale)}")
        if self.not_measured is not None and real_numbers(self.not_measured, "not_measured").shape != ():
            raise ValueError(f"not_measured must be one number or nothing, got {shown(self.not_measured)}")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that the array must have."""
        blocks, slices = len(self.incident_energies), np.asarray(self.energy_edges).shape[1] - 1
        rows, columns = self.row_centres[2], self.column_centres[2]
        return (blocks * rows, slices * columns) if self.arrangement == "sheet" else (blocks * slices, rows, columns)


def pcsmo_layout(what: Literal["measured", "published", "mask"]) -> ArrayLayout:
    """The layout of a sheet of the public PCSMO data, as `insdl.instrument.pcsmo` tells it.

    "measured": Qh and Qk descend. "published", the simulations: Qh descends, Qk ascends. "mask", of the detectors: all of the
    sheet is upside down against the simulations, so that the highest incident energy is at the top; 1 where no detector
    looked.
    """
    if what not in ("measured", "published", "mask"):
        raise ValueError(f"the layout must be 'measured', 'published' or 'mask', got {what!r}")
    fractions = np.append(0.1 + 0.06 * np.arange(SLICES), 0.1 + 0.06 * SLICES)
    centres = (-1.0, 1.0, PIXELS)
    energies = INCIDENT_ENERGIES[::-1] if what == "mask" else INCIDENT_ENERGIES
    return ArrayLayout(
        energies,
        np.outer(energies, fractions),
        centres,
        centres,
        row_direction="ascending" if what == "mask" else "descending",
        column_direction="descending" if what == "measured" else "ascending",
        not_measured=1.0 if what == "mask" else None,
    )


def read_array(
    path: str | os.PathLike[str],
    layout: ArrayLayout,
    *,
    mask: str | os.PathLike[str] | None = None,
    mask_layout: ArrayLayout | None = None,
) -> tuple[Histogram, ...]:
    """The image in a file, one histogram for each incident energy.

    Parameters
    ----------
    path : file. One array of numbers: .npy, .csv (commas, no heading; a sheet only) or .mat with one variable.
    layout : ArrayLayout.
    mask : file or None. A second array of the same pixels and incident energies, the latter in any order; what it does not
        measure is not measured in the image either.
    mask_layout : ArrayLayout or None. Of the mask, if it differs from that of the image.

    Returns
    -------
    tuple of Histogram with axes E (meV), and Qh, Qk or Ql (r.l.u.) as the layout has them; no errors.

    Raises
    ------
    FileNotFoundError, ValueError
        For a missing file, another shape than the layout's, infinite numbers, or a mask of other axes.
    """
    file, cells = _cells(path, layout)
    notes = ["the file holds no errors"]
    digests = [file_sha256(file)]
    if mask is not None:
        cells = np.where(_seen(mask, layout if mask_layout is None else mask_layout, layout), cells, np.nan)
        notes.append(f"mask {Path(mask).name}")
    edges = np.asarray(layout.energy_edges)
    result = []
    for energy, slices, values in zip(layout.incident_energies, edges, cells, strict=True):
        axes = (
            Axis("E", "meV", slices),
            Axis(layout.rows, "r.l.u.", _pixel_edges(layout.row_centres), _PROJECTIONS[layout.rows]),
            Axis(layout.columns, "r.l.u.", _pixel_edges(layout.column_centres), _PROJECTIONS[layout.columns]),
        )
        source = f"{file.name}, Ei = {energy:g} meV"
        result.append(Histogram(values, None, axes, source, digests[0], tuple(notes)))
    return tuple(result)


def read_mask(
    path: str | os.PathLike[str], layout: ArrayLayout, *, image_layout: ArrayLayout
) -> tuple[npt.NDArray[np.bool_], ...]:
    """Where a mask was measured, for each incident energy of the image (n_slices, n_rows, n_columns) bool.

    Raises FileNotFoundError or ValueError as `read_array` does with a mask.
    """
    return tuple(_seen(path, layout, image_layout))


def read_layout(path: str | os.PathLike[str]) -> ArrayLayout:
    """The layout in a YAML (or JSON) file: a mapping with the names of `ArrayLayout`.

    Raises
    ------
    FileNotFoundError, ValueError
        For a missing file, one that is no mapping, or a layout that is none.
    """
    import yaml

    file = existing_file(path, (".yaml", ".yml", ".json"))
    try:
        content = yaml.safe_load(file.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ValueError(f"{file} could not be read as YAML: {shown(str(error))}") from None
    if not isinstance(content, Mapping):
        raise ValueError(f"{file} must hold a mapping of names to values, got {shown(content)}")
    try:
        return layout_from(content)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def layout_from(content: Mapping[Any, Any]) -> ArrayLayout:
    """The layout that a mapping with the names of `ArrayLayout` describes.

    Raises
    ------
    ValueError
        For an unknown or a missing name, or a value that is none.
    """
    known = {field.name for field in fields(ArrayLayout)}
    unknown = sorted(str(name) for name in content if name not in known)
    missing = [
        name for name in ("incident_energies", "energy_edges", "row_centres", "column_centres") if name not in content
    ]
    if unknown or missing:
        wrong = f"unknown {unknown}" if unknown else f"missing {missing}"
        raise ValueError(f"a layout has the names {sorted(known)}: {wrong}")
    return ArrayLayout(**{str(name): value for name, value in content.items()})


def layout_beside(path: str | os.PathLike[str]) -> Path | None:
    """The layout file beside an image, ``NAME.layout.yaml``, if there is one."""
    beside = Path(path).with_suffix(".layout.yaml")
    return beside if beside.is_file() else None


def _seen(path: str | os.PathLike[str], layout: ArrayLayout, image: ArrayLayout) -> npt.NDArray[np.bool_]:
    """Where a mask was measured, (n_energies, n_slices, n_rows, n_columns), in the image's order of incident energies."""
    for name in ("rows", "columns", "row_centres", "column_centres"):
        if getattr(layout, name) != getattr(image, name):
            raise ValueError(f"{name} of the mask must be those of the image, got {getattr(layout, name)}")
    if sorted(layout.incident_energies) != sorted(image.incident_energies):
        raise ValueError(f"the mask must have the incident energies of the image, got {layout.incident_energies}")
    order = [layout.incident_energies.index(energy) for energy in image.incident_energies]
    if not np.allclose(np.asarray(layout.energy_edges)[order], np.asarray(image.energy_edges)):
        raise ValueError("the mask must have the energy slices of the image")
    return ~np.isnan(_cells(path, layout)[1][order])


def _checked_centres(value: Any, name: str) -> tuple[float, float, int]:
    centres = real_numbers(value, name)
    if centres.shape != (3,) or not np.isfinite(centres).all():
        raise ValueError(f"{name} must be (first, last, number), got {shown(value)}")
    first, last, number = centres.tolist()
    if number != int(number) or not 2 <= number <= 100_000 or not first < last:
        raise ValueError(f"{name} must be (first, last, number), ascending, at least two pixels, got {shown(value)}")
    return first, last, int(number)


def _pixel_edges(centres: tuple[float, float, int]) -> _Reals:
    """As `ImageFrame.pixel_edges` has them for ``linspace(*centres)``."""
    pixels = np.linspace(*centres)
    step = pixels[1] - pixels[0]
    return np.concatenate([pixels - step / 2, pixels[-1:] + step / 2])


def _cells(path: str | os.PathLike[str], layout: ArrayLayout) -> tuple[Path, _Reals]:
    """The file, and its cells (n_energies, n_slices, n_rows, n_columns), both pixel axes ascending, NaN where not measured."""
    file = existing_file(path, SUFFIXES)
    values = _load_csv(file) if file.suffix.lower() == ".csv" else load_array(file)
    if values.shape == (1, *layout.shape):
        values = values[0]
    if values.shape != layout.shape:
        raise ValueError(f"{file} must have shape {layout.shape} by its layout, got {values.shape}")
    if np.isinf(values).any():
        raise ValueError(f"{file} must hold finite numbers, or NaN where not measured; it holds infinite ones")
    if layout.not_measured is not None:
        values = np.where(values == layout.not_measured, np.nan, values)
    rows, columns = layout.row_centres[2], layout.column_centres[2]
    blocks = len(layout.incident_energies)
    if layout.arrangement == "sheet":
        cells = values.reshape(blocks, rows, -1, columns).transpose(0, 2, 1, 3)
    else:
        cells = values.reshape(blocks, -1, rows, columns)
    if layout.row_direction == "descending":
        cells = cells[..., ::-1, :]
    if layout.column_direction == "descending":
        cells = cells[..., ::-1]
    return file, np.ascontiguousarray(cells) * layout.scale


def _load_csv(file: Path) -> _Reals:
    try:
        lines = file.read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not text") from None
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            rows.append([float(word) for word in line.split(",")])
        except ValueError:
            raise ValueError(f"{file}, line {number}: not numbers with commas between them: {shown(line)}") from None
        if len(rows[-1]) != len(rows[0]):
            raise ValueError(f"{file}, line {number} holds {len(rows[-1])} numbers, the first {len(rows[0])}")
    if not rows:
        raise ValueError(f"{file} holds no numbers")
    return np.array(rows)
