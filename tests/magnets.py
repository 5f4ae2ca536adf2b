"""Magnets for the tests, built in the dictionary form of `tests/reference/README.md`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Real = npt.NDArray[np.float64]
Case = dict[str, Any]

REFERENCE = Path(__file__).parent / "reference"
HEXAGONAL = ((1.0, 0.0, 0.0), (-0.5, np.sqrt(0.75), 0.0), (0.0, 0.0, 5.0))
SQUARE = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 5.0))
UP = (0.0, 0.0, 1.0)


def reference(name: str) -> Case:
    """The reference magnet whose file name starts with `name`."""
    (path,) = REFERENCE.glob(f"{name}_*.json")
    case: Case = json.loads(path.read_text())
    return case


def heisenberg(j: float) -> Real:
    """J S_i.S_j: positive is antiferromagnetic."""
    return j * np.eye(3)


def dzyaloshinskii_moriya(d: Sequence[float]) -> Real:
    """The matrix of D.(S_i x S_j)."""
    x, y, z = d
    return np.array([[0.0, z, -y], [-z, 0.0, x], [y, -x, 0.0]])


def magnet(
    *,
    bonds: Sequence[Any],
    directions: npt.ArrayLike | Callable[[int, Real], npt.ArrayLike],
    spins: Sequence[float] = (1.0,),
    lattice: npt.ArrayLike = ((3.0, 0.0, 0.0), (0.0, 8.0, 0.0), (0.0, 0.0, 8.0)),
    positions: npt.ArrayLike = ((0.0, 0.0, 0.0),),
    anisotropy: npt.ArrayLike | None = None,
    field: npt.ArrayLike | None = None,
    cell: npt.ArrayLike = ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
) -> Case:
    """A magnet whose chemical cell is given, and whose magnetic cell has the rows of `cell` as axes.

    Everything but `cell` belongs to the chemical cell. `directions` is one vector per chemical site, or a function of
    the chemical site and of the chemical cell it lies in. `anisotropy` (3, 3) and `field` (3,), in the sense + b.S and
    in meV, act on every site.
    """
    lattice, positions, cell = np.asarray(lattice, float), np.asarray(positions, float), np.asarray(cell, int)
    size = round(abs(np.linalg.det(cell)))
    inverse = np.linalg.inv(cell)
    reach = np.abs(cell).sum(0)
    box = np.stack(np.meshgrid(*[np.arange(-k, k + 1) for k in reach], indexing="ij"), axis=-1).reshape(-1, 3)
    fraction = box @ inverse
    in_cell = box[np.all((fraction > -1e-9) & (fraction < 1 - 1e-9), axis=1)]
    assert len(in_cell) == size
    place = {tuple(r.tolist()): k for k, r in enumerate(in_cell)}
    n = len(positions)

    def locate(r: npt.NDArray[np.int64]) -> tuple[int, list[int]]:
        """Which cell of the magnetic cell the chemical cell `r` repeats, and in which magnetic cell it lies."""
        offset = np.floor(r @ inverse + 1e-9).astype(int)
        return place[tuple((r - offset @ cell).tolist())], offset.tolist()

    rows = []
    for k, r in enumerate(in_cell):
        for i, j, step, exchange in bonds:
            other, offset = locate(r + np.asarray(step, int))
            rows.append([k * n + i, other * n + j, offset, np.asarray(exchange, float).tolist()])
    direction = directions if callable(directions) else (lambda site, _: np.asarray(directions)[site])
    vectors = np.array([direction(site, r) for r in in_cell for site in range(n)], float)
    sites = size * n
    return {
        "name": "test magnet",
        "lattice_magcell": (cell @ lattice).tolist(),
        "lattice_for_q": lattice.tolist(),
        "n_chem_cells": size,
        "positions": [((positions[site] + r) @ inverse).tolist() for r in in_cell for site in range(n)],
        "S": [float(s) for _ in in_cell for s in spins],
        "directions": (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).tolist(),
        "bonds": rows,
        "aniso": None if anisotropy is None else [np.asarray(anisotropy, float).tolist()] * sites,
        "zeeman_b": None if field is None else [np.asarray(field, float).tolist()] * sites,
        "g_for_intensity": None,
    }


def staggered(site: int, r: Real) -> Real:
    """Up and down by the parity of the cell: the order of the chain and of the square antiferromagnet."""
    return np.array([0.0, 0.0, (-1.0) ** int(np.sum(r))])


def square_antiferromagnet(*, spin: float, j1: float = 1.0, j2: float = 0.0, j3: float = 0.0) -> Case:
    """Neighbours j1 along the edges, j2 along the diagonals, j3 two edges away; Neel order in two-site cells."""
    shells = ((j1, (1, 0, 0), (0, 1, 0)), (j2, (1, 1, 0), (1, -1, 0)), (j3, (2, 0, 0), (0, 2, 0)))
    bonds = [(0, 0, step, heisenberg(j)) for j, *steps in shells for step in steps]
    return magnet(
        lattice=SQUARE, spins=[spin], bonds=bonds, directions=staggered, cell=((1, 1, 0), (-1, 1, 0), (0, 0, 1))
    )


def antiferromagnetic_chain(*, spin: float = 1.0, j: float = 1.0, d: float = 0.0, b: float = 0.0) -> Case:
    """Neighbours j along a, easy axis d < 0 and field b along c."""
    return magnet(
        spins=[spin],
        bonds=[(0, 0, (1, 0, 0), heisenberg(j))],
        directions=staggered,
        anisotropy=np.diag([0.0, 0.0, d]),
        field=(0.0, 0.0, -b),
        cell=((2, 0, 0), (0, 1, 0), (0, 0, 1)),
    )


def helix(*, turns: int, cells: int, j1: float, j2: float, spin: float = 1.0) -> Case:
    """A chain along a with first and second neighbours; spins in the plane ab turn `turns` times in `cells` cells."""
    angle = 2 * np.pi * turns / cells
    return magnet(
        spins=[spin],
        bonds=[(0, 0, (1, 0, 0), heisenberg(j1)), (0, 0, (2, 0, 0), heisenberg(j2))],
        directions=lambda _, r: (np.cos(angle * r[0]), np.sin(angle * r[0]), 0.0),
        cell=((cells, 0, 0), (0, 1, 0), (0, 0, 1)),
    )


def triangular_120(*, spin: float, j: float = 1.0) -> Case:
    """The triangular antiferromagnet, k = (1/3, 1/3), in its three-site cell."""
    angle = 2 * np.pi / 3
    return magnet(
        lattice=HEXAGONAL,
        spins=[spin],
        bonds=[(0, 0, step, heisenberg(j)) for step in ((1, 0, 0), (0, 1, 0), (1, 1, 0))],
        directions=lambda _, r: (np.cos(angle * (r[0] + r[1])), np.sin(angle * (r[0] + r[1])), 0.0),
        cell=((1, -1, 0), (1, 2, 0), (0, 0, 1)),
    )


def kagome(*, spin: float, exchange: npt.ArrayLike, directions: npt.ArrayLike, dm: float = 0.0) -> Case:
    """Nearest neighbours on the kagome lattice; `dm` along c, counter-clockwise around every triangle."""
    positions = ((0.5, 0.0, 0.0), (0.0, 0.5, 0.0), (0.5, 0.5, 0.0))
    # 0 -> 1 -> 2 -> 0 is counter-clockwise, around the upward triangle and around the downward one.
    ring = [(0, 1, (1, 0, 0)), (1, 2, (-1, 0, 0)), (2, 0, (0, 0, 0))]
    ring += [(0, 1, (0, -1, 0)), (1, 2, (0, 0, 0)), (2, 0, (0, 1, 0))]
    matrix = np.asarray(exchange) + dzyaloshinskii_moriya((0.0, 0.0, dm))
    return magnet(
        lattice=HEXAGONAL,
        positions=positions,
        spins=[spin] * 3,
        bonds=[(*bond, matrix) for bond in ring],
        directions=directions,
    )


def honeycomb_ferromagnet(*, spin: float, j: float, dm: float) -> Case:
    """First neighbours j < 0; second neighbours D.(S_i x S_j), D along c, counter-clockwise around every hexagon."""
    exchange, twist = heisenberg(j), dzyaloshinskii_moriya((0.0, 0.0, dm))
    bonds = [(0, 1, step, exchange) for step in ((-1, 0, 0), (0, 0, 0), (0, 1, 0))]
    bonds += [(0, 0, step, twist) for step in ((1, 0, 0), (0, 1, 0), (-1, -1, 0))]
    bonds += [(1, 1, step, twist) for step in ((-1, 0, 0), (0, -1, 0), (1, 1, 0))]
    return magnet(
        lattice=HEXAGONAL,
        positions=((1 / 3, 2 / 3, 0.0), (2 / 3, 1 / 3, 0.0)),
        spins=[spin] * 2,
        bonds=bonds,
        directions=[UP, UP],
    )


def random_rotation(rng: np.random.Generator) -> Real:
    """A proper rotation (3, 3), uniform."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return np.asarray(q * np.sign(np.linalg.det(q)))


def turned(case: Case, rotations: npt.ArrayLike) -> Case:
    """The magnet with spin, exchange, anisotropy and field of every site turned by that site's rotation (N, 3, 3).

    The energies stay. Equal rotations turn the whole magnet in spin space; different ones make another magnet, not
    collinear and with other interactions, with the same spectrum.
    """
    r = np.asarray(rotations, float)
    out = dict(case)
    out["directions"] = np.einsum("iab,ib->ia", r, case["directions"]).tolist()
    out["bonds"] = [[i, j, d, (r[i] @ np.array(m) @ r[j].T).tolist()] for i, j, d, m in case["bonds"]]
    if case["aniso"] is not None:
        out["aniso"] = (r @ np.array(case["aniso"]) @ r.transpose(0, 2, 1)).tolist()
    if case["zeeman_b"] is not None:
        out["zeeman_b"] = np.einsum("iab,ib->ia", r, case["zeeman_b"]).tolist()
    return out


def random_magnet(rng: np.random.Generator, *, sites: int, bonds: int, real: bool = False) -> Case:
    """A ferromagnet along c that is stable whatever is drawn, in a triclinic cell with sites anywhere.

    Every bond has J_zz = -j and an arbitrary transverse block of norm below 0.9 j: anisotropic exchange and
    Dzyaloshinskii-Moriya terms along c. An easy axis, an anisotropy across it and a field along c open a gap. With
    `real`, blocks are diagonal, and the quadrature matrices of the kernel decouple. Two chemical cells along a.
    """
    lattice = 3.0 * np.eye(3) + rng.uniform(-1, 1, (3, 3))

    def block() -> Real:
        matrix = np.diag(rng.uniform(-1, 1, 2)) if real else rng.uniform(-1, 1, (2, 2))
        return np.asarray(0.9 * matrix / max(1.0, float(np.linalg.norm(matrix, 2))))

    def along(transverse: Real, longitudinal: float) -> Real:
        return np.block([[transverse, np.zeros((2, 1))], [np.zeros((1, 2)), np.array([[longitudinal]])]])

    rows = []
    for _ in range(bonds):
        i, j = rng.integers(0, sites, 2).tolist()
        offset = rng.integers(-1, 2, 3).tolist()
        if i == j and not any(offset):
            offset = [1, 0, 0]
        rows.append([i, j, offset, (rng.uniform(0.2, 2.0) * along(block(), -1.0)).tolist()])
    anisotropy = []
    for _ in range(sites):
        easy = block()
        anisotropy.append(rng.uniform(0.0, 0.5) * along(0.5 * (easy + easy.T), -1.0))
    return {
        "name": "random magnet",
        "lattice_magcell": lattice.tolist(),
        "lattice_for_q": (np.diag([0.5, 1.0, 1.0]) @ lattice).tolist(),
        "n_chem_cells": 2,
        "positions": rng.uniform(0, 1, (sites, 3)).tolist(),
        "S": rng.choice([0.5, 1.0, 1.5, 2.5], sites).tolist(),
        "directions": [list(UP)] * sites,
        "bonds": rows,
        "aniso": np.array(anisotropy).tolist(),
        "zeeman_b": [[0.0, 0.0, -float(b)] for b in rng.uniform(0.3, 1.0, sites)],
        "g_for_intensity": None,
    }


def centred(case: Case, *, at_centre: bool = False, turns: Sequence[float] | None = None) -> Case:
    """The magnet with its image under inversion at the origin: N sites become 2N, or 2N - 1 if one lies at the centre.

    Bonds, single-ion terms and fields are copied; the part of a copied exchange across c is multiplied by the bond's
    number in `turns`, 1 or -1. A magnet of `random_magnet` stays as stable as it was.
    """
    n, first = len(case["S"]), 1 if at_centre else 0
    place = np.array(case["positions"]) - 0.5
    place[:first] = 0.0
    image = [*range(first), *range(n, 2 * n - first)]
    bonds = list(case["bonds"])
    for k, (i, j, offset, matrix) in enumerate(case["bonds"]):
        exchange = np.array(matrix)
        exchange[:2, :2] *= 1.0 if turns is None else turns[k]
        bonds.append([image[i], image[j], [-x for x in offset], exchange.tolist()])
    out = {**case, "positions": [*place.tolist(), *(-place[first:]).tolist()], "bonds": bonds}
    for key in ("S", "directions", "aniso", "zeeman_b"):
        out[key] = [*case[key], *case[key][first:]]
    return out
