"""Pr(Ca0.9Sr0.1)2Mn2O7 (PCSMO), a half-doped bilayer manganite, and three rival models of its magnetism.

Crystal and exchange constants: Johnstone et al., Phys. Rev. Lett. 109, 237202 (2012); Zener polarons scaled from
Ewings et al., Phys. Rev. B 94, 014405 (2016).
One bilayer, in a magnetic cell 2a x 2b x c of the high-temperature cell, in whose r.l.u. every q is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt

from insdl.crystal import Neighbours, neighbours
from insdl.model import Bond, SingleIon, Site, SpinModel

A, B, C = 5.408, 5.4599, 19.266
"""High-temperature cell, angstrom."""
LAYER_HEIGHT = 0.1
"""Height of the Mn layers, fraction of c: the bilayer's layers lie 0.2 c = 3.853 angstrom apart."""

LITERATURE = MappingProxyType(
    {
        "goodenough": MappingProxyType({"JF1": -11.39, "JA": 1.5, "JF2": -1.35, "JF3": 1.5, "Jperp": 0.88, "D": 0.074}),
        "dimer": MappingProxyType({"JFS": -14.2, "JFW": -8.43, "JA1": 1.52, "JA2": 1.52, "Jperp": 0.92, "D": 0.073}),
        "zener_polaron": MappingProxyType({"JFU": -2.4, "JFD": -0.165, "JA": 0.165, "Jperp": 1.05}),
    }
)
"""Published parameters of each model, meV."""

_Vector = npt.NDArray[np.float64]
_HARD_AXIS = np.diag([0.0, 0.0, 1.0])
_TOLERANCE = 1e-3  # angstrom


def _checkerboard_sites() -> list[Site]:
    """Charge-ordered Mn4+ and Mn3+ with the CE-type moments along b: zig-zag chains along a."""
    first_layer = [
        ("Mn4+", (0.0, 0.0), 1), ("Mn4+", (0.5, 0.5), 1), ("Mn4+", (0.0, 0.5), -1), ("Mn4+", (0.5, 0.0), -1),
        ("Mn3+", (0.25, 0.75), 1), ("Mn3+", (0.75, 0.75), 1), ("Mn3+", (0.25, 0.25), -1), ("Mn3+", (0.75, 0.25), -1),
    ]  # fmt: skip
    sites = [Site((x, y, LAYER_HEIGHT), 1.75, (0, up, 0), ion) for ion, (x, y), up in first_layer]
    # The second layer is the first at (x, y + 1/2, -z).
    sites += [Site((x, (y + 0.5) % 1.0, -LAYER_HEIGHT), 1.75, (0, up, 0), ion) for ion, (x, y), up in first_layer]
    return sites


class _Geometry:
    """Pairs of the checkerboard by distance, ion and chain."""

    def __init__(self) -> None:
        self.cell = np.diag([2 * A, 2 * B, C])
        self.sites = _checkerboard_sites()
        positions = [np.asarray(site.position) for site in self.sites]
        pairs = neighbours(self.cell, positions, max_distance=np.hypot(A, B) + _TOLERANCE)
        nearest = np.hypot(A / 2, B / 2)
        in_plane = [pair for pair in pairs if abs(pair.vector[2]) < _TOLERANCE]
        self.nearest = [pair for pair in in_plane if abs(pair.distance - nearest) < _TOLERANCE]
        self.intra_chain = [pair for pair in self.nearest if self.same_spin(pair)]
        self.inter_chain = [pair for pair in self.nearest if not self.same_spin(pair)]
        self.in_plane = in_plane
        self.between_layers = [pair for pair in pairs if abs(pair.distance - 2 * LAYER_HEIGHT * C) < _TOLERANCE]

    def same_spin(self, pair: Neighbours) -> bool:
        i, j = (np.asarray(self.sites[k].direction) for k in (pair.i, pair.j))
        return bool(i @ j > 0)

    def ions(self, pair: Neighbours) -> tuple[str | None, str | None]:
        return self.sites[pair.i].ion, self.sites[pair.j].ion

    def to_mn3(self, pair: Neighbours) -> _Vector:
        """The vector from the pair's Mn4+ to its Mn3+."""
        return pair.vector if self.ions(pair) == ("Mn4+", "Mn3+") else -pair.vector

    def mn3_along_chain(self) -> list[Neighbours]:
        """Mn3+ - Mn3+ along a in one chain, 5.408 angstrom: same spin, and the chains run along a."""
        along_a = np.array([A, 0.0, 0.0])
        return [
            pair
            for pair in self.in_plane
            if self.ions(pair) == ("Mn3+", "Mn3+")
            and self.same_spin(pair)
            and np.linalg.norm(np.abs(pair.vector) - along_a) < _TOLERANCE
        ]

    def mn4_along_chain(self) -> list[Neighbours]:
        """Mn4+ - Mn4+ second neighbours in one chain: the pairs that share a Mn3+ of their chain."""
        arms: dict[int, list[_Vector]] = {}
        for pair in self.intra_chain:
            mn4 = pair.i if self.ions(pair)[0] == "Mn4+" else pair.j
            arms.setdefault(mn4, []).append(self.to_mn3(pair))

        def share_mn3(pair: Neighbours) -> bool:
            gaps = [np.linalg.norm(u - v - pair.vector) for u in arms[pair.i] for v in arms[pair.j]]
            return bool(min(gaps) < _TOLERANCE)

        diagonal = np.array([A, B, 0.0])
        return [
            pair
            for pair in self.in_plane
            if self.ions(pair) == ("Mn4+", "Mn4+")
            and np.linalg.norm(np.abs(pair.vector) - diagonal) < _TOLERANCE
            and share_mn3(pair)
        ]


def _bonds(pairs: Sequence[Neighbours], parameter: str | Callable[[Neighbours], str]) -> list[Bond]:
    return [Bond(p.i, p.j, p.offset, 1.0, parameter if isinstance(parameter, str) else parameter(p)) for p in pairs]


def goodenough() -> SpinModel:
    """Goodenough's charge- and orbital-ordered zig-zag chains, with further-neighbour exchange along the chains.

    Parameters (meV): ``JF1`` nearest neighbours in a chain, ``JA`` between chains, ``JF2`` Mn4+ - Mn4+ and ``JF3``
    Mn3+ - Mn3+ second neighbours in a chain, ``Jperp`` between the layers, ``D`` S_z^2 on every site (hard c axis).
    """
    geometry = _Geometry()
    return SpinModel(
        name="PCSMO, Goodenough",
        lattice=np.diag([A, B, C]),
        magnetic_lattice=geometry.cell,
        sites=geometry.sites,
        bonds=[
            *_bonds(geometry.intra_chain, "JF1"),
            *_bonds(geometry.inter_chain, "JA"),
            *_bonds(geometry.mn4_along_chain(), "JF2"),
            *_bonds(geometry.mn3_along_chain(), "JF3"),
            *_bonds(geometry.between_layers, "Jperp"),
        ],
        single_ion=[SingleIon(i, _HARD_AXIS, "D") for i in range(len(geometry.sites))],
        parameters=tuple(LITERATURE["goodenough"]),
    )


def dimer() -> SpinModel:
    """Zig-zag chains whose nearest-neighbour bonds alternate: dimers.

    Parameters (meV): ``JFS`` in a chain where the Mn3+ lies at +a/2 of its Mn4+ (a quarter of the magnetic cell), ``JFW``
    where it lies at -a/2; ``JA1`` and ``JA2`` between chains with the same distinction; ``Jperp``, ``D`` as in
    `goodenough`.
    """
    geometry = _Geometry()
    return SpinModel(
        name="PCSMO, dimer",
        lattice=np.diag([A, B, C]),
        magnetic_lattice=geometry.cell,
        sites=geometry.sites,
        bonds=[
            *_bonds(geometry.intra_chain, lambda pair: "JFS" if geometry.to_mn3(pair)[0] > 0 else "JFW"),
            *_bonds(geometry.inter_chain, lambda pair: "JA1" if geometry.to_mn3(pair)[0] > 0 else "JA2"),
            *_bonds(geometry.between_layers, "Jperp"),
        ],
        single_ion=[SingleIon(i, _HARD_AXIS, "D") for i in range(len(geometry.sites))],
        parameters=tuple(LITERATURE["dimer"]),
    )


def zener_polaron(*, structure: Literal["ground_state", "published"] = "ground_state") -> SpinModel:
    """Zener polarons: one S = 7/2 at the centre of each strong pair, in a tetragonal cell of 11 x 11 x 20 angstrom.

    Exchanges (meV): ``JFU`` couples up-left and down-right pairs, ``JFD`` up-right and down-left pairs, ``JA`` pairs along
    b, ``Jperp`` pairs between the layers.

    Parameters
    ----------
    structure : "published" for one cell with moments at 90 degrees (+b, -a, -b, +a), or "ground_state" in two cells along b.

    Notes
    -----
    The published arrangement is no equilibrium of the published exchanges: the torque on every moment is
    2 S^2 |JFU - JFD| = 54.76 meV, and its energy is -67.62 meV a cell. The exchanges tie up to left and down to right into
    ferromagnetic zig-zag chains along a; between straight neighbouring chains JA and JFD cancel (JA = -JFD). Canting by +-e
    within each chain, tan 2e = JFD / JFU, gains most when every chain is turned by about 90 degrees against the one below.
    So the ground state of these exchanges is a spiral along b, layers antiparallel. Its Luttinger-Tisza minimum lies at
    k = (0, 0.51094) of this cell, -287.2058 meV a cell. "ground_state" is its commensurate neighbour k = (0, 1/2), exactly 90
    degrees a chain: torque-free, -287.2052 meV a cell, stable for JA = -JFD cos 2e = 0.1646 meV, which the published 0.165
    rounds, and unstable by 5e-5 meV at 0.165 itself. Straight collinear chains, where `insdl.relax` ends from the published
    start, are torque-free at -286.650 meV and unstable by 0.04 meV. (tests/test_materials.py computes all of these.)
    """
    if structure not in ("ground_state", "published"):
        raise ValueError(f"structure must be 'ground_state' or 'published', got {structure!r}")
    places = {"up": (1 / 8, 7 / 8), "left": (5 / 8, 5 / 8), "down": (1 / 8, 3 / 8), "right": (5 / 8, 1 / 8)}
    # Angles from +b towards -a, by cell along b.
    if structure == "published":
        angles = [{"up": 0.0, "left": 90.0, "down": 180.0, "right": 270.0}]
    else:
        exchange = LITERATURE["zener_polaron"]
        canting = np.degrees(0.5 * np.arctan(exchange["JFD"] / exchange["JFU"]))
        # Chains from below: down-right, up-left, and again 180 degrees on; the site that JFD ties to the next chain leads.
        lower = {"down": canting, "right": -canting, "up": 90.0 + canting, "left": 90.0 - canting}
        angles = [lower, {name: angle + 180.0 for name, angle in lower.items()}]
    cells = len(angles)
    cell = np.diag([11.0, 11.0 * cells, 20.0])
    sites, names = [], []
    for z in (LAYER_HEIGHT, -LAYER_HEIGHT):  # the layers couple antiferromagnetically
        for number, by_name in enumerate(angles):
            for name, (x, y) in places.items():
                angle = np.radians(by_name[name])
                direction = np.sign(z) * np.array([-np.sin(angle), np.cos(angle), 0.0])
                sites.append(Site((x, (y + number) / cells, z), 3.5, direction, "Mn3+"))
                names.append(name)
    pairs = neighbours(cell, [np.asarray(site.position) for site in sites], max_distance=7.0)
    lengths = sorted({round(pair.distance, 3) for pair in pairs})
    between_layers, along_b, diagonal = lengths[:3]  # 4.0, 5.5 and 6.149 angstrom
    strong = [{"up", "left"}, {"down", "right"}]

    def parameter(pair: Neighbours) -> str | None:
        if abs(pair.distance - between_layers) < _TOLERANCE:
            return "Jperp"
        if abs(pair.distance - along_b) < _TOLERANCE:
            return "JA"
        if abs(pair.distance - diagonal) < _TOLERANCE:
            return "JFU" if {names[pair.i], names[pair.j]} in strong else "JFD"
        return None

    return SpinModel(
        name=f"PCSMO, Zener polaron ({structure.replace('_', ' ')})",
        lattice=np.diag([5.5, 5.5, 20.0]),
        magnetic_lattice=cell,
        sites=sites,
        bonds=[Bond(p.i, p.j, p.offset, 1.0, label) for p in pairs if (label := parameter(p)) is not None],
        parameters=tuple(LITERATURE["zener_polaron"]),
    )
