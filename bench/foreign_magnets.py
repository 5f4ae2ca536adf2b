"""Magnets that are none of PCSMO's models, with exchanges as large as those of manganites: what a jury must refuse.

None of them is a square lattice, which juries are trained to refuse (`insdl.dataset.foreign.other_magnet`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from insdl.instrument import ImageSimulator
from insdl.instrument.image import ImageFrame, ImageSettings
from insdl.instrument.pcsmo import SCALE
from insdl.model import Bond, SingleIon, Site, SpinModel

_C = 19.266  # angstrom, as PCSMO
_ION = "Mn3+"


def foreign_magnet(frame: ImageFrame, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """(n_bins, n_h, n_k) expected counts of a honeycomb (either sign), a triangular ferromagnet, or ladders of chains."""
    kind, edge = int(rng.integers(4)), float(rng.uniform(3.5, 8.0))  # angstrom
    exchange = float(np.exp(rng.uniform(np.log(4.0), np.log(20.0))))  # meV
    if kind < 2:
        sign = 2 * kind - 1
        model, values = honeycomb(edge, antiferromagnetic=sign > 0), {"J1": sign * exchange, "D": 0.03 * exchange}
    elif kind == 2:
        model, values = triangular(edge), {"J1": -0.5 * exchange, "D": 0.03 * exchange}
    else:
        model = chains(5.408 / float(rng.choice([1, 2])), 5.46 / float(rng.choice([1, 2])))
        values = {"J1": exchange, "J2": -exchange * float(rng.uniform(0.2, 1.0))}
        values |= {"Jperp": float(rng.uniform(0.3, 3.0)), "D": 0.03 * exchange}
    settings = ImageSettings(width_factor=1.3, broadening=0.08, twin_fraction=0.5)
    images, stable = ImageSimulator(model, frame).simulate_sets(model.values(values)[None], [settings], threads=1)
    if not stable[0]:
        raise ValueError(f"{model.name} is not stable with {values}")
    return np.asarray(SCALE * images[0], dtype=np.float32)


def honeycomb(edge: float, *, antiferromagnetic: bool) -> SpinModel:
    """Nearest neighbours J1 and an easy axis D on a honeycomb lattice."""
    lattice = _hexagonal(edge)
    second = -1 if antiferromagnetic else 1
    return SpinModel(
        name="honeycomb",
        lattice=lattice,
        magnetic_lattice=lattice,
        sites=[Site((1 / 3, 2 / 3, 0), 1.5, (0, 0, 1), _ION), Site((2 / 3, 1 / 3, 0), 1.5, (0, 0, second), _ION)],
        bonds=[Bond(0, 1, offset, 1.0, "J1") for offset in ((0, 0, 0), (-1, 0, 0), (0, 1, 0))],
        single_ion=[SingleIon(site, np.diag([0, 0, -1.0]), "D") for site in (0, 1)],
        parameters=("J1", "D"),
    )


def triangular(edge: float) -> SpinModel:
    """A triangular ferromagnet with an easy axis."""
    lattice = _hexagonal(edge)
    return SpinModel(
        name="triangular",
        lattice=lattice,
        magnetic_lattice=lattice,
        sites=[Site((0, 0, 0), 2.0, (0, 0, 1), _ION)],
        bonds=[Bond(0, 0, offset, 1.0, "J1") for offset in ((1, 0, 0), (0, 1, 0), (1, 1, 0))],
        single_ion=[SingleIon(0, np.diag([0, 0, -1.0]), "D")],
        parameters=("J1", "D"),
    )


def chains(along: float, across: float) -> SpinModel:
    """Bilayers of chains: antiferromagnetic J1 along a, ferromagnetic J2 along b, Jperp between the layers."""
    sites = [
        Site((x, 0, z), 1.75, (0, sign, 0), _ION)
        for x, z, sign in ((0, 0.1, 1), (0, -0.1, -1), (0.5, 0.1, -1), (0.5, -0.1, 1))
    ]
    bonds = [Bond(i, i + 2, (cell, 0, 0), 1.0, "J1") for i in (0, 1) for cell in (0, -1)]
    bonds += [Bond(i, i, (0, 1, 0), 1.0, "J2") for i in range(4)]
    bonds += [Bond(0, 1, (0, 0, 0), 1.0, "Jperp"), Bond(2, 3, (0, 0, 0), 1.0, "Jperp")]
    return SpinModel(
        name="chains",
        lattice=np.diag([along, across, _C]),
        magnetic_lattice=np.diag([2 * along, across, _C]),
        sites=sites,
        bonds=bonds,
        single_ion=[SingleIon(i, np.diag([0, 0, 1.0]), "D") for i in range(4)],
        parameters=("J1", "J2", "Jperp", "D"),
    )


def _hexagonal(edge: float) -> npt.NDArray[np.float64]:
    return np.array([[edge, 0, 0], [-edge / 2, edge * 3**0.5 / 2, 0], [0, 0, _C]])
