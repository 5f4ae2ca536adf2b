"""Constants of the field: energies in meV, lengths in angstrom, magnetic fields in tesla."""

from __future__ import annotations

MU_B = 0.05788381806
"""Bohr magneton, meV/T (CODATA 2018)."""

NEUTRON_E_PER_K2 = 2.0721
"""Energy of a neutron over its squared wave number, hbar^2 / 2m, meV angstrom^2 (as in cpp/src/image.cpp)."""

BOLTZMANN = 0.08617333262
"""Boltzmann's constant, meV/K (CODATA 2018)."""

NEUTRON_MASS = 1.00866491595
"""Neutron, atomic mass units (CODATA 2018)."""
