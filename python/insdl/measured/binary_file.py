"""A binary file taken from the front, piece by piece; what a piece is is said where the file ends too early.

Numbers are little-endian. Nothing is read before its length was compared with what is left.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

_Reals = npt.NDArray[np.float64]
LONGEST = 1_000_000
"""No text or count of a header is longer; a larger number is a damaged one."""


class BinaryFile:
    """An open file and the place in it. ``end`` is the byte before which a piece must end."""

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self.path = path
        self.size = path.stat().st_size
        self.position = 0
        self.end = self.size
        self._stream = stream

    @property
    def left(self) -> int:
        """Bytes that can still be taken."""
        return self.end - self.position

    def restrict(self, start: int, length: int, what: str) -> None:
        """Goes to ``start``; the next ``length`` bytes alone can be taken.

        Raises
        ------
        ValueError
            If the file does not reach that far.
        """
        if not (0 <= start <= self.size and 0 <= length <= self.size - start):
            raise ValueError(
                f"{self.path} must hold the {what} in {length} bytes from byte {start}, and it ends at byte {self.size}"
            )
        self.position, self.end = start, start + length

    def take(self, length: int, what: str) -> bytes:
        """The next bytes; ValueError if they are not there."""
        if length < 0 or length > self.left:
            raise ValueError(
                f"{self.path} ends within the {what}: {self.left} bytes of {length} are left at byte {self.position}"
            )
        self._stream.seek(self.position)
        content = self._stream.read(length)
        if len(content) != length:
            raise ValueError(f"{self.path} became shorter while it was read")
        self.position += length
        return content

    def int32(self, what: str) -> int:
        """A signed integer of four bytes."""
        return int(struct.unpack("<i", self.take(4, what))[0])

    def uint8(self, what: str) -> int:
        """An unsigned integer of one byte."""
        return self.take(1, what)[0]

    def uint64(self, what: str) -> int:
        """An unsigned integer of eight bytes."""
        return int(struct.unpack("<Q", self.take(8, what))[0])

    def float64(self, what: str) -> float:
        """A number of eight bytes."""
        return float(struct.unpack("<d", self.take(8, what))[0])

    def count(self, what: str, most: int = LONGEST) -> int:
        """An integer of four bytes between 0 and ``most``; ValueError otherwise."""
        number = self.int32(what)
        if not 0 <= number <= most:
            raise ValueError(f"{self.path}: the number of {what} must lie between 0 and {most}, got {number}")
        return number

    def text(self, what: str) -> str:
        """An integer of four bytes, and that many characters."""
        return self.take(self.count(f"characters of the {what}"), what).decode("utf-8", errors="replace")

    def numbers(self, kind: str, count: int, what: str) -> _Reals:
        """``count`` numbers of a NumPy type, as float64."""
        dtype = np.dtype(kind)
        values = np.frombuffer(self.take(count * dtype.itemsize, what), dtype=dtype)
        with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
            return values.astype(np.float64)


@contextmanager
def binary_file(path: Path) -> Iterator[BinaryFile]:
    """The file, open for reading."""
    with path.open("rb") as stream:
        yield BinaryFile(path, stream)
