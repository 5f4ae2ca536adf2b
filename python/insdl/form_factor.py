"""Magnetic form factors of ions, from the tables that periodictable carries."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt


@cache
def _table(ion: str) -> Any:
    import periodictable

    match = re.fullmatch(r"([A-Z][a-z]?)(\d+)\+", ion)
    element = getattr(periodictable, match.group(1), None) if match else None
    tables = getattr(element, "magnetic_ff", {}) if element is not None else {}
    if match is None or int(match.group(2)) not in tables:
        known = ", ".join(f"{match.group(1)}{charge}+" for charge in sorted(tables)) if match and tables else "none"
        raise ValueError(
            f"no magnetic form factor is known for ion {ion!r} (write it like 'Mn2+'; known here: {known})"
        )
    return tables[int(match.group(2))]


def form_factor(ion: str, q: npt.ArrayLike, *, j2_weight: float = 0.0) -> npt.NDArray[np.float64]:
    """Magnetic form factor <j0>(Q) + j2_weight <j2>(Q) of an ion in the dipole approximation.

    Parameters
    ----------
    ion : str. Element and charge, such as ``"Mn2+"``.
    q : array of float64, 1/angstrom. Lengths of the momentum transfer, 2 pi included.
    j2_weight : float. (2 - g)/g in the dipole approximation; 0 for a spin-only moment.

    Returns
    -------
    array of float64 of the shape of ``q``. One at Q = 0.

    Notes
    -----
    Coefficients: P. J. Brown, International Tables for Crystallography C, section 4.4.5, through ``periodictable``.

    Examples
    --------
    >>> float(form_factor("Mn2+", 0.0).round(3))
    1.0
    """
    table = _table(ion)
    lengths = np.asarray(q, dtype=np.float64)
    result = np.asarray(table.j0_Q(lengths), dtype=np.float64)
    if j2_weight:
        result = result + j2_weight * np.asarray(table.j2_Q(lengths), dtype=np.float64)
    return result
