"""Magnets that the benchmarks need and the package has no reason to ship."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

from insdl.crystal import neighbours
from insdl.model import Bond, SingleIon, Site, SpinModel

PYROCHLORE = MappingProxyType({"J": 1.0, "K": 0.1, "D": -0.3})
"""Exchange, Dzyaloshinskii-Moriya term and easy axis of `pyrochlore`, meV: stable, with a gap of 2.2 meV."""

_EDGE = 10.0  # angstrom, cubic
_UP_TETRAHEDRON = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 4.0
_FACE_CENTRES = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2.0


def pyrochlore() -> SpinModel:
    """All-in-all-out order of the pyrochlore lattice in its cubic cell: 16 sites, four directions, not coplanar.

    Every spin (S = 3/2) points along the line between its two tetrahedra, out of the one and into the other. No choice
    of local frames splits the quadratic form, so this is the magnet for the full 2N x 2N form.

    Parameters (meV): ``J`` S_i.S_j on the edges of the tetrahedra (J > 0 favours the order), ``K`` the
    Dzyaloshinskii-Moriya term along the direction that symmetry allows (K > 0 favours the order), ``D`` (S.n)^2 along
    every site's own direction n (D < 0: easy axis).
    """
    cell = _EDGE * np.eye(3)
    positions = (_FACE_CENTRES[:, None] + _UP_TETRAHEDRON).reshape(-1, 3)
    centre = _UP_TETRAHEDRON.mean(axis=0)
    outwards = np.tile((_UP_TETRAHEDRON - centre) / np.linalg.norm(_UP_TETRAHEDRON[0] - centre), (4, 1))
    bonds = []
    for pair in neighbours(cell, positions, max_distance=_EDGE / np.sqrt(8.0) + 1e-3):
        # Moriya's rules leave the axis that is normal to the edge and to the line from the tetrahedron's centre to it.
        axis = np.cross(outwards[pair.i], outwards[pair.j])
        x, y, z = axis / np.linalg.norm(axis)
        twist = np.array([[0, z, -y], [-z, 0, x], [y, -x, 0]])
        bonds += [Bond(pair.i, pair.j, pair.offset, 1.0, "J"), Bond(pair.i, pair.j, pair.offset, -twist, "K")]
    return SpinModel(
        name="pyrochlore, all in, all out",
        lattice=cell,
        magnetic_lattice=cell,
        sites=[Site(position, 1.5, n) for position, n in zip(positions, outwards, strict=True)],
        bonds=bonds,
        single_ion=[SingleIon(i, np.outer(n, n), "D") for i, n in enumerate(outwards)],
        parameters=tuple(PYROCHLORE),
    )


def supercell(n: int, *, inversion: bool = True) -> SpinModel:
    """A square-lattice ferromagnet (S = 1, easy axis) in a cell of ``n`` sites along a: any size, always stable.

    The bonds along a differ from each other, so that the cell is no smaller than it says. Mirrored at the cell's middle
    they keep an inversion, with which insdl works on real matrices; without it (n >= 4) the matrices are complex.
    """
    place = np.arange(n)
    steps = np.minimum(place, (n - 2 - place) % n) if inversion else place
    strength = 1.0 + 0.5 * np.modf(0.6180339887498949 * steps)[0]
    cell = np.diag([4.0 * n, 4.0, 8.0])
    ring = [Bond(i, (i + 1) % n, (int(i == n - 1), 0, 0), -strength[i]) for i in range(n)]
    across = [Bond(i, i, (0, 1, 0), -1.0) for i in range(n)]
    diagonal = [Bond(i, (i + 1) % n, (int(i == n - 1), side, 0), -0.2) for i in range(n) for side in (1, -1)]
    return SpinModel(
        name=f"ferromagnet, {n} sites",
        lattice=np.diag([4.0, 4.0, 8.0]),
        magnetic_lattice=cell,
        sites=[Site((i / n, 0.0, 0.0), 1.0, (0, 0, 1)) for i in range(n)],
        bonds=ring + across + diagonal,
        single_ion=[SingleIon(i, np.diag([0.0, 0.0, -0.1])) for i in range(n)],
    )
