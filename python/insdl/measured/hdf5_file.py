"""HDF5 files opened for reading, with every fault of a file told in one sentence.

A damaged HDF5 file makes h5py raise half a dozen kinds of errors, or ask for more memory than there is. Readers see only
what passes through here. One fault cannot be caught: the HDF5 library itself may crash on a damaged heap of texts of
variable length. NeXus files have texts of fixed length.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from insdl.crystal import shown
from insdl.instrument.measurement import file_sha256
from insdl.measured.histogram import existing_file

# gzip packs at most about 1000 to 1; a data set that claims to be larger is a damaged number.
_LARGEST_RATIO = 1100
# What h5py and NumPy raise for damaged contents.
_FAULTS = (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)


@dataclass(frozen=True, eq=False)
class HDF5File:
    """An open HDF5 file: what a reader may ask of it."""

    path: Path
    root: Any

    def groups(self, where: str = "/") -> list[str]:
        """Names of the groups in a group, sorted."""
        import h5py

        return self._members(where, h5py.Group)

    def data_sets(self, where: str) -> list[str]:
        """Names of the data sets in a group, sorted."""
        import h5py

        return self._members(where, h5py.Dataset)

    def _members(self, where: str, kind: type[Any]) -> list[str]:
        try:
            group = self.root[where]
            return sorted(name for name in group if isinstance(group.get(name), kind))
        except _FAULTS as error:
            raise self.damaged(where, error) from None

    def is_text(self, where: str) -> bool:
        """Whether the data set at this place holds text."""
        try:
            return self.root[where].dtype.kind in "OSU"
        except _FAULTS as error:
            raise self.damaged(where, error) from None

    def has(self, where: str) -> bool:
        """Whether there is something at this place."""
        try:
            return where in self.root and self.root[where] is not None
        except _FAULTS:
            return False

    def numbers(self, where: str, *, ndim: int | None = None) -> npt.NDArray[np.float64]:
        """The data set at ``where`` as float64.

        Raises
        ------
        ValueError
            If it is missing, not of numbers, of another number of dimensions, or cannot be read.
        """
        import h5py

        if not self.has(where):
            raise ValueError(f"{self.path} holds no {where}")
        try:
            data = self.root[where]
            if not isinstance(data, h5py.Dataset) or data.dtype.kind not in "fiub":
                raise ValueError("it is no data set of numbers")
            if data.size * data.dtype.itemsize > _LARGEST_RATIO * max(self.path.stat().st_size, 4096):
                raise ValueError(f"it claims {data.size} numbers, more than the file can hold")
            values = np.asarray(data[()], dtype=np.float64)
        except _FAULTS as error:
            raise self.damaged(where, error) from None
        if ndim is not None and values.ndim != ndim:
            raise ValueError(f"{self.path}: {where} must have {ndim} dimensions, got shape {values.shape}")
        return values

    def number(self, where: str) -> float:
        """The only number in a data set; ValueError otherwise."""
        values = self.numbers(where)
        if values.size != 1:
            raise ValueError(f"{self.path}: {where} must be one number, got shape {values.shape}")
        return float(values.reshape(-1)[0])

    def attribute(self, where: str, name: str, otherwise: str) -> str:
        """An attribute as text, or ``otherwise`` if there is none."""
        try:
            value = self.root[where].attrs.get(name)
        except _FAULTS as error:
            raise self.damaged(f"{where}@{name}", error) from None
        return otherwise if value is None else _text(value)

    def attributes(self, where: str) -> dict[str, str]:
        """All attributes of a place, as text; the numbers of one that holds several with commas between them."""
        try:
            found = {str(name): value for name, value in self.root[where].attrs.items()}
        except _FAULTS as error:
            raise self.damaged(f"the attributes of {where}", error) from None
        return {
            name: ", ".join(map(_text, value.reshape(-1))) if isinstance(value, np.ndarray) else _text(value)
            for name, value in found.items()
        }

    def text(self, where: str, otherwise: str) -> str:
        """A data set of text, or ``otherwise`` if there is none."""
        if not self.has(where):
            return otherwise
        try:
            return _text(self.root[where][()])
        except _FAULTS as error:
            raise self.damaged(where, error) from None

    def damaged(self, where: str, error: Exception) -> ValueError:
        """What to raise for a place that cannot be read."""
        return ValueError(f"{self.path}: {where} could not be read: {shown(str(error))}")


def fixed(words: str) -> Any:
    """Text to be written with a length of its own, as NeXus does.

    HDF5 keeps text of variable length in a heap, and its library can crash when that heap is damaged.
    """
    return np.bytes_(words.encode("utf-8"))


@contextmanager
def opened(path: str | os.PathLike[str], suffixes: tuple[str, ...]) -> Iterator[tuple[HDF5File, str]]:
    """An open file and its SHA-256.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is none, its name ends otherwise, or it is no HDF5 file.
    """
    import h5py

    file = existing_file(path, suffixes)
    digest = file_sha256(file)
    try:
        root = h5py.File(file, "r")
    except _FAULTS as error:
        raise ValueError(f"{file} is not a readable HDF5 file: {shown(str(error))}") from None
    try:
        yield HDF5File(file, root), digest
    finally:
        with suppress(*_FAULTS):
            root.close()


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        value = value.reshape(-1)[0] if value.size else ""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return str(value)
