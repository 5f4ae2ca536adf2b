"""Rb2MnF4: a square-lattice antiferromagnet of Mn2+, S = 5/2.

Exchange: J1 = 0.657(2), J2 = 0.006(3) meV; structure I4/mmm with a = 4.215, c = 13.77 angstrom, moments along c.
Anisotropy: the spin-wave gap at the zone centre is about 0.6 meV (Huberman et al., Phys. Rev. B 72, 014413 (2005);
Cowley et al., J. Phys. C 10, 4023 (1977)). It is written as D S_z^2 on every site: gap = 2S sqrt(D^2 - 4 D J1), so that
D = -0.00547 meV gives 0.600 meV at the J1 above (the same as a staggered field of 2S |D| = 0.0274 meV a site).
"""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

from insdl.crystal import neighbours
from insdl.model import Bond, SingleIon, Site, SpinModel

A, C = 4.215, 13.77
"""Tetragonal cell, angstrom."""

LITERATURE = MappingProxyType({"J1": 0.657, "J2": 0.006, "D": -0.00547})
"""Exchange of first and second neighbours and anisotropy, meV."""


def rb2mnf4() -> SpinModel:
    """One antiferromagnetic square plane; intensities are per Mn ion.

    The planes of the body-centred structure do not couple measurably, and uncoupled planes add their intensities, so one
    plane stands for the crystal: energies and intensities do not depend on L but through polarisation and form factor.
    Momentum transfers are in r.l.u. of the tetragonal cell (a along Mn - Mn); the magnetic cell is sqrt(2) x sqrt(2).

    Parameters (meV): ``J1`` first and ``J2`` second neighbours in the plane, ``D`` S_z^2 on every site (negative: easy c axis).
    """
    lattice = np.diag([A, A, C])
    magnetic = np.array([[A, A, 0.0], [-A, A, 0.0], [0.0, 0.0, C]])
    sites = [Site((0, 0, 0), 2.5, (0, 0, 1), "Mn2+"), Site((0.5, 0.5, 0), 2.5, (0, 0, -1), "Mn2+")]
    pairs = neighbours(magnetic, [np.asarray(s.position) for s in sites], max_distance=np.sqrt(2.0) * A + 1e-3)
    return SpinModel(
        name="Rb2MnF4",
        lattice=lattice,
        magnetic_lattice=magnetic,
        sites=sites,
        bonds=[Bond(p.i, p.j, p.offset, 1.0, "J1" if p.distance < 1.2 * A else "J2") for p in pairs],
        single_ion=[SingleIon(i, np.diag([0.0, 0.0, 1.0]), "D") for i in range(2)],
        parameters=tuple(LITERATURE),
    )
