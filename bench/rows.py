"""The rows of the comparison: each work that has a target, what it is held against, and how it is measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import peers
from checks import MOST_Q, HasModes, check_modes
from magnets_bench import PYROCHLORE, pyrochlore
from timing import Timing, interleave

from insdl.materials import goodenough, rb2mnf4
from insdl.materials.pcsmo import LITERATURE as PCSMO
from insdl.materials.rb2mnf4 import LITERATURE as RB2MNF4
from insdl.model import SpinModel

Real = npt.NDArray[np.float64]
RUST = "pySpinW (Rust)"


@dataclass(frozen=True)
class Row:
    """One line of the table; ``value`` is None where insdl does not (yet) have what is to be measured.

    Attributes
    ----------
    wanted : the target, None where there is none; ``at_most`` says from which side.
    ours, theirs : seconds of one call, medians. pairs : ratio (or rate) of every turn.
    others : processors that other processes kept busy meanwhile.
    """

    work: str
    against: str
    threads: int
    unit: str
    wanted: float | None
    value: float | None
    at_most: bool = False
    ours: float | None = None
    theirs: float | None = None
    pairs: tuple[float, ...] = ()
    others: float | None = None
    detail: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is reached."""
        if self.value is None or self.wanted is None:
            return None
        return self.value <= self.wanted if self.at_most else self.value >= self.wanted


def random_q(n: int) -> Real:
    """(n, 3) r.l.u., the same for everybody."""
    return np.random.default_rng(1).random((n, 3))


def known(value: float) -> float | None:
    """None for NaN, which JSON does not know."""
    return None if math.isnan(value) else value


def spaced(number: float) -> str:
    """A whole number, its thousands apart."""
    return f"{number:,.0f}".replace(",", " ")


def shown(seconds: float) -> str:
    """Seconds in a unit with few digits."""
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{1e9 * seconds:.3g} ns"


def _ratio(work: str, against: str, threads: int, wanted: float | None, times: Mapping[str, Timing], n_q: int) -> Row:
    ours, theirs = times["ours"], times["theirs"]
    return Row(
        work, against, threads, "x", wanted, theirs.seconds / ours.seconds,
        ours=ours.seconds,
        theirs=theirs.seconds,
        pairs=tuple(b / a for a, b in zip(ours.turns, theirs.turns, strict=True)),
        others=known(ours.others),
        detail=f"{shown(ours.seconds / n_q)} against {shown(theirs.seconds / n_q)} a q",
    )  # fmt: skip


@dataclass(frozen=True)
class Magnet:
    """What is solved, under the name that it has in the table."""

    name: str
    model: SpinModel
    values: Mapping[str, float]


@dataclass(frozen=True)
class Peer:
    """Another code, prepared for one magnet: ``run`` is timed, ``read`` turns its answer into modes."""

    name: str
    run: Callable[[Real], Any]
    read: Callable[[Any], HasModes] = lambda modes: modes


def pyspinw(magnet: Magnet, threads: int) -> Peer:
    """pySpinW; ``threads`` is what this process was started with (`timing.in_child`)."""
    peer = peers.PySpinW(magnet.model, magnet.values)
    return Peer(RUST, peer.run, peer.modes)


def lapack(magnet: Magnet, threads: int) -> Peer:
    """Colpa's method with zheevd, 2N x 2N."""
    return Peer(
        "LAPACK zheevd in NumPy's batches", partial(peers.Lapack(magnet.model, magnet.values).run, threads=threads)
    )


def lapack_split(magnet: Magnet, threads: int) -> Peer:
    """insdl's own N x N form with zheevd: what is left is how the arithmetic is done."""
    run = partial(peers.LapackSplit(magnet.model, magnet.values).run, threads=threads)
    return Peer("the same with the N × N form", run)


def against_peer(
    magnet: Magnet,
    peer: Callable[[Magnet, int], Peer],
    *,
    n_q: int,
    threads: int,
    turns: int,
    wanted: float | None,
) -> Row:
    """Energies and intensities at random q, assembly included, insdl and ``peer`` in turn."""
    work = f"{magnet.name}, {spaced(n_q)} random q"
    if peer is pyspinw and not peers.has_pyspinw():
        return Row(work, RUST, threads, "x", wanted, None, detail="pip install insdl[bench]")
    q, other = random_q(n_q), peer(magnet, threads)
    click.echo(f"  {work} against {other.name}, threads = {threads}", err=True)

    def ours(at: Real) -> HasModes:
        return magnet.model.modes(at, threads=threads, **magnet.values)

    check_modes(ours(q[:MOST_Q]), other.read(other.run(q[:MOST_Q])), f"{work} against {other.name}")
    times = interleave({"ours": lambda: ours(q), "theirs": lambda: other.run(q)}, turns=turns)
    return _ratio(work, other.name, threads, wanted, times, n_q)


def folded_grid(threads: int, *, quick: bool) -> Row:
    """The centres of 160 x 160 pixels over [-1, 1]^2: 1/80 r.l.u. apart, the magnetic cell's period being 40 of them."""
    work, against = "PCSMO pixel grid over [-1, 1]², 160 × 160 q, folded", "the same, not folded"
    missing = Row(work, against, threads, "x", 8, None, detail="insdl.spinwave.SpinWavePlan is not there")
    try:
        from insdl.spinwave import SpinWavePlan
    except ImportError:
        return missing
    click.echo(f"  {work}, threads = {threads}", err=True)
    centres = (np.arange(160) + 0.5) / 80.0 - 1.0
    h, k = np.meshgrid(centres, centres, indexing="ij")
    q = np.stack([h.ravel(), k.ravel(), np.zeros(h.size)], axis=1)
    model, values = goodenough(), PCSMO["goodenough"]
    folded, plain = (SpinWavePlan(model, q, folding=folding) for folding in ("auto", "none"))
    some = slice(None, None, 11)
    ours, theirs = (plan.modes(threads=threads, **values) for plan in (folded, plain))
    for other in (theirs, model.modes(q, threads=threads, **values)):
        check_modes(_Part(ours, some), _Part(other, some), work)
    times = interleave(
        {
            "ours": lambda: folded.modes(threads=threads, **values),
            "theirs": lambda: plain.modes(threads=threads, **values),
        },
        turns=3 if quick else 9,
    )
    return _ratio(work, against, threads, 8, times, len(q))


class _Part:
    """Some q of a result."""

    def __init__(self, modes: HasModes, which: slice) -> None:
        self.energy, self.intensity = modes.energy[which], modes.intensity[which]


def mode_rows(threads: int, quick: bool) -> list[Row]:
    """All rows of energies and intensities, in a process whose rayon has ``threads``."""
    few, many = (1000, 20_000) if quick else (10_000, 1_000_000)
    turns = 3 if quick else 5
    pcsmo = Magnet("Goodenough PCSMO, N = 16", goodenough(), PCSMO["goodenough"])
    square = Magnet("Rb₂MnF₄, N = 2", rb2mnf4(), RB2MNF4)
    twisted = Magnet("pyrochlore, full form, N = 16", pyrochlore(), PYROCHLORE)
    rows = [
        against_peer(pcsmo, pyspinw, n_q=few, threads=threads, turns=turns, wanted=100),
        against_peer(square, pyspinw, n_q=many, threads=threads, turns=3, wanted=1000),
        against_peer(twisted, pyspinw, n_q=few, threads=threads, turns=turns, wanted=15),
    ]
    if threads == 1:
        rows += [
            against_peer(pcsmo, lapack, n_q=few, threads=threads, turns=turns, wanted=30),
            against_peer(pcsmo, lapack_split, n_q=few, threads=threads, turns=turns, wanted=None),
        ]
    rows.append(folded_grid(threads, quick=quick))
    return rows
