"""Measured data brought into the frame of `insdl.instrument.frame`."""

from __future__ import annotations

import hashlib
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError

import numpy as np
import numpy.typing as npt

from insdl.instrument.pcsmo import INCIDENT_ENERGIES, SHEET_SHAPE, SLICES, Orientation, from_sheet
from insdl.instrument.seen_pixels import seen_pixels


@dataclass(frozen=True, eq=False)
class Measurement:
    """An image and where it was measured.

    Attributes
    ----------
    image : (n_bins, n_h, n_k) float64, counts. Zero where not measured.
    measured : (n_bins, n_h, n_k) bool. True where a detector looked.
    source : str. Where it came from, in words.
    sha256 : str. Of the file, or of the array's bytes if there was none.
    """

    image: npt.NDArray[np.float64]
    measured: npt.NDArray[np.bool_]
    source: str
    sha256: str

    def __post_init__(self) -> None:
        if self.image.shape != self.measured.shape:
            raise ValueError(f"image {self.image.shape} and measured {self.measured.shape} must have one shape")
        bad = np.argwhere(~np.isfinite(self.image) & self.measured)
        if len(bad):
            raise ValueError(f"the image must be finite where it was measured; {tuple(bad[0].tolist())} is not")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_array(path: str | os.PathLike[str]) -> npt.NDArray[np.float64]:
    """The numbers in an .npy file, or in the only variable of a MATLAB .mat file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not of these forms.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    try:
        if file.suffix == ".mat":
            return _load_mat(file)
        with file.open("rb") as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of headers as Python 2 wrote them
            array = np.lib.format.read_array(stream, allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, TokenError, TypeError, OverflowError, MemoryError) as error:
        raise ValueError(f"{file} could not be read as an image (.npy or .mat): {error}") from None
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{file} must hold one array of numbers")
    return np.asarray(array, dtype=np.float64)


def _load_mat(file: Path) -> npt.NDArray[np.float64]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        contents = loadmat(file)
    except (MatReadError, NotImplementedError, TypeError) as error:  # truncated, or MATLAB 7.3
        raise ValueError(str(error)) from None
    variables = {name: value for name, value in contents.items() if not name.startswith("__")}
    if len(variables) != 1:
        raise ValueError(f"it must hold one variable, got {sorted(variables)}")
    (value,) = variables.values()
    return np.asarray(value, dtype=np.float64)


def read_pcsmo(
    path: str | os.PathLike[str],
    *,
    mask: str | os.PathLike[str] | None = None,
    orientation: Orientation = "measured",
) -> Measurement:
    """A PCSMO image file, 240 x 400, with its detector mask.

    Parameters
    ----------
    path : file. Layout in `insdl.instrument.pcsmo`.
    mask : file or None. 240 x 400, 1 where no detector looked, upside down against the images as its authors keep it. None
        looks for ``detector_mask.mat`` beside the image; without it, `insdl.instrument.seen_pixels` judges by the zeros.
    orientation : "measured" for the published measurement (Qk mirrored), "published" for the published simulations.

    Raises
    ------
    FileNotFoundError, ValueError
        For a missing file, another layout, or numbers that are not finite where measured.
    """
    file = Path(path)
    image = from_sheet(load_array(file), orientation=orientation)
    beside = file.with_name("detector_mask.mat")
    mask_file = Path(mask) if mask is not None else beside if beside.is_file() else None
    if mask_file is not None:
        measured = read_detector_mask(mask_file)
        how = f"mask {mask_file.name}"
    else:
        measured = seen_pixels(image, np.repeat(np.arange(len(INCIDENT_ENERGIES)), SLICES))
        how = "mask taken from the zeros of the image"
    if not measured.any():
        raise ValueError(f"the mask leaves no pixel of {file} measured")
    clean = np.where(measured, image, 0.0)
    return Measurement(clean, measured, f"{file.name} ({orientation} orientation, {how})", file_sha256(file))


def read_detector_mask(path: str | os.PathLike[str]) -> npt.NDArray[np.bool_]:
    """(60, 40, 40) bool, True where a detector looked, from a PCSMO detector mask (1 where none did, upside down)."""
    values = load_array(path)
    if values.shape != SHEET_SHAPE:
        raise ValueError(f"a detector mask must have shape {SHEET_SHAPE}, got {values.shape}")
    wrong = values[~np.isin(values, (0.0, 1.0))]
    if wrong.size:
        raise ValueError(f"a detector mask must hold zeros and ones only, got {wrong[0]}")
    return from_sheet(values[..., ::-1, :], orientation="published") < 0.5


def grown(not_measured: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """A mask of unmeasured pixels grown by one pixel in each cell: edges of detectors are not to be trusted in fits."""
    n = not_measured.shape[-1]
    padded = np.pad(not_measured, ((0, 0), (1, 1), (1, 1)), constant_values=False)
    shifts = [(i, j) for i in range(3) for j in range(3)]
    return np.asarray(np.logical_or.reduce([padded[:, i : i + n, j : j + n] for i, j in shifts]))
