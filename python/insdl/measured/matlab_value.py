"""MATLAB values as Horace 4 writes them into its files.

Layout from Horace's own hlp_serialise and hlp_deserialise, and from scippneutron's description of the format: a byte with the
kind, a byte with the number of dimensions, that many uint32, and then the elements, the first dimension fastest. A cell array
holds values; a structure holds a uint32 number of fields, the uint32 lengths of their names, the names, and one cell array with
the fields of the first element, of the second, and so on. An object that writes itself is a byte 32 and a value.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from insdl.crystal import shown
from insdl.measured.binary_file import BinaryFile

Value: TypeAlias = Any
"""A text, an array of numbers or truth values, a list for a cell array, a mapping (or a list of them) for a structure."""

_NUMBERS = {
    0: "<u1", 3: "<f8", 4: "<f4", 5: "<i1", 6: "<u1", 7: "<i2", 8: "<u2", 9: "<i4", 10: "<u4", 11: "<i8", 12: "<u8",
}  # fmt: skip
_TEXTS = (1, 2)
_CELL, _STRUCTURE, _SELF_WRITTEN = 23, 24, 32
_MOST_DIMENSIONS = 16
_DEEPEST = 30


def read_value(data: BinaryFile, what: str, depth: int = 0) -> Value:
    """The next value.

    Raises
    ------
    ValueError
        If it ends early, is of a kind that is not read (complex and sparse numbers, functions, objects of MATLAB's own), claims
        more elements than bytes are left, or lies too deep.
    """
    if depth > _DEEPEST:
        raise ValueError(f"{data.path}: the {what} is nested deeper than {_DEEPEST} values")
    kind = data.uint8(what)
    if kind == _SELF_WRITTEN:
        return read_value(data, what, depth + 1)
    if kind not in (*_NUMBERS, *_TEXTS, _CELL, _STRUCTURE):
        raise ValueError(
            f"{data.path}: the {what} holds a MATLAB value of kind {kind} before byte {data.position}; numbers, texts, "
            "cells and structures can be read"
        )
    dimensions = data.uint8(what)
    if dimensions > _MOST_DIMENSIONS:
        raise ValueError(
            f"{data.path}: a value in the {what} must have at most {_MOST_DIMENSIONS} dimensions, got {dimensions}"
        )
    shape = tuple(data.count("elements along a dimension", 2**31 - 1) for _ in range(dimensions))
    size = int(np.prod(shape, dtype=object)) if shape else 0
    if size > data.left:
        raise ValueError(f"{data.path}: a value in the {what} claims {size} elements and {data.left} bytes are left")
    if kind in _NUMBERS:
        values = data.numbers(_NUMBERS[kind], size, what)
        return values.reshape(shape, order="F") if shape else values
    if kind in _TEXTS:
        return data.take(size, what).decode("utf-8", errors="replace")
    if kind == _CELL:
        return [read_value(data, what, depth + 1) for _ in range(size)]
    return _structure(data, what, size, depth)


def _structure(data: BinaryFile, what: str, size: int, depth: int) -> Value:
    if size == 0:
        return []
    count = data.count("fields", 10_000)
    lengths = [data.count("characters of a field's name", 1000) for _ in range(count)]
    names = [data.take(length, what).decode("utf-8", errors="replace") for length in lengths]
    if count == 0:
        return {} if size == 1 else [{}] * size
    values = read_value(data, what, depth + 1)
    if not isinstance(values, list) or len(values) != count * size:
        raise ValueError(
            f"{data.path}: a structure in the {what} must hold {count * size} values, one for each of the fields "
            f"{shown(names)}"
        )
    elements = [dict(zip(names, values[n * count : (n + 1) * count], strict=True)) for n in range(size)]
    return elements[0] if size == 1 else elements
