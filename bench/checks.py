"""Two ways to the same spin waves have to agree before their times are compared."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Real = npt.NDArray[np.float64]
MOST_Q = 2000
"""Momentum transfers that are looked at; with them both sides are warm."""


class HasModes(Protocol):
    """Energies and intensities, (nq, N)."""

    @property
    def energy(self) -> Any: ...
    @property
    def intensity(self) -> Any: ...


class Disagreement(AssertionError):
    """Two codes differ: no time of theirs means anything."""


def spectrum(modes: HasModes, top: float) -> Real:
    """(nq, 64) intensity, each mode spread over 2 % of the bandwidth: what does not depend on the basis of equal energies."""
    energies = np.linspace(0.0, top, 64)
    spread = np.exp(-0.5 * ((energies[:, None] - np.asarray(modes.energy)[:, None, :]) / (0.02 * top)) ** 2)
    return np.asarray(np.einsum("qem,qm->qe", spread, modes.intensity))


def check_modes(ours: HasModes, theirs: HasModes, what: str, *, tolerance: float = 1e-6) -> None:
    """Raise `Disagreement` unless energies and spectra agree within ``tolerance`` of the largest."""
    top = float(np.abs(ours.energy).max())
    both = {"energies": (ours.energy, theirs.energy), "spectra": (spectrum(ours, top), spectrum(theirs, top))}
    for name, (a, b) in both.items():
        off = float(np.abs(np.asarray(a) - b).max() / np.abs(a).max())
        if not off < tolerance:
            raise Disagreement(f"{what}: {name} differ by {off:.2g} of the largest")
