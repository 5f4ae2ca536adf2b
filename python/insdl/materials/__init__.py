"""Magnets of the field, one file each, every number with its source."""

from __future__ import annotations

from insdl.materials.pcsmo import dimer, goodenough, zener_polaron
from insdl.materials.rb2mnf4 import rb2mnf4

__all__ = ["dimer", "goodenough", "rb2mnf4", "zener_polaron"]
