"""*Measure here next*: incident energies, energy transfers and places in Q, ranked, with what is expected of them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from insdl.guide.belief import NONE, Belief
from insdl.guide.gain import Gain, evidence_map, expected_errors, gains, surrogate_share
from insdl.guide.planner import Planner

_Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """A part of a measurement with the evidence expected from it.

    Attributes
    ----------
    incident_energy : meV. energy_transfer : (low, high), meV. q_rlu : ((low, high) of Qh, (low, high) of Qk).
    log_ratio : nats, expected from it in the time that was asked about.
    """

    incident_energy: float
    energy_transfer: tuple[float, float]
    q_rlu: tuple[tuple[float, float], tuple[float, float]]
    log_ratio: float


@dataclass(frozen=True, eq=False)
class Advice:
    """What to measure next.

    Attributes
    ----------
    probabilities : of the models and of none of them, so far.
    time : that the ranking is about, 1 for the time of the configuration's noise at one incident energy.
    pair : the two most probable models, between which places are ranked.
    gains : of each incident energy, the best first.
    cells : (n_bins,) float64, nats. Expected log-ratio from each energy bin in ``time`` at its incident energy.
    pixels : (n_bins, n_h, n_k) float64, nats. The same by pooled pixel.
    places : the strongest places. errors : by incident energy, expected standard deviations of the best model's unknowns.
    errors_now : the same so far. effective : number of particles by model.
    surrogate : by model, see `insdl.guide.gain.surrogate_share`.
    """

    probabilities: Mapping[str, float]
    time: float
    pair: tuple[str, str]
    gains: tuple[Gain, ...]
    cells: _Reals
    pixels: _Reals
    places: tuple[Place, ...]
    errors: Mapping[float, Mapping[str, float]]
    errors_now: Mapping[str, float]
    effective: Mapping[str, float]
    surrogate: Mapping[str, float]


def advise(
    planner: Planner, belief: Belief, *, time: float, n_places: int = 8, zones: int = 4, seed: int = 0
) -> Advice:
    """What ``time`` more is expected to bring, everywhere.

    Parameters
    ----------
    time : of counting, more than zero. n_places : how many places are named.
    zones : a bin's (Qh, Qk) range is divided in so many parts along each axis.

    Raises
    ------
    ValueError
        If there is but one model, or time is not positive.
    """
    if len(belief.particles) < 2:
        raise ValueError(f"advice is about two models or more, got {list(belief.particles)}")
    ranked = gains(planner, belief, time=time, seed=seed)
    order = sorted(belief.particles, key=lambda one: belief.particles[one].log_evidence, reverse=True)
    pair = (order[0], order[1])
    pixels = np.concatenate(
        [evidence_map(planner, belief, block, time=time, pair=pair) for block in range(len(planner.incident_energies))]
    )
    errors = {
        float(energy): expected_errors(planner, belief, block, model=pair[0], time=time)
        for block, energy in enumerate(planner.incident_energies)
    }
    return Advice(
        probabilities=belief.probabilities,
        time=time,
        pair=pair,
        gains=tuple(ranked),
        cells=pixels.sum(axis=(1, 2)),
        pixels=pixels,
        places=strongest_places(planner, pixels, n=n_places, zones=zones),
        errors=errors,
        errors_now=expected_errors(planner, belief, 0, model=pair[0], time=0.0),
        effective={name: one.effective for name, one in belief.particles.items()},
        surrogate=surrogate_share(planner, belief),
    )


def strongest_places(planner: Planner, pixels: _Reals, *, n: int, zones: int) -> tuple[Place, ...]:
    """The parts of energy bins with the largest sums of ``pixels``, (n_bins, n_h, n_k)."""
    frame, blocks = planner.compression.frame, planner.compression.blocks
    size = pixels.shape[1]
    if not 1 <= zones <= size:
        raise ValueError(f"zones must lie from 1 to the {size} pixels of an axis, got {zones}")
    edges = np.asarray(frame.pixel_edges)
    cuts = np.linspace(0, size, zones + 1).round().astype(int)
    found = []
    for number, image in enumerate(pixels):
        low, high = frame.bins[number]
        for a, b in itertools.pairwise(cuts):
            for c, d in itertools.pairwise(cuts):
                where = ((float(edges[a]), float(edges[b])), (float(edges[c]), float(edges[d])))
                energy = float(planner.incident_energies[blocks[number]])
                found.append(Place(energy, (float(low), float(high)), where, float(image[a:b, c:d].sum())))
    return tuple(sorted(found, key=lambda one: one.log_ratio, reverse=True)[:n])


def advice_text(advice: Advice) -> str:
    """The advice in words and columns, for a terminal."""
    shares = ", ".join(f"{name} {share:.4f}" for name, share in advice.probabilities.items())
    lines = [f"So far: {shares}."]
    if advice.probabilities[NONE] > 0.5:
        lines.append("None of the models describes the measurement: more time will not decide between them.")
    if max(advice.surrogate.values()) > 0.5:
        lines.append(
            "The measurement is more precise than what planning stands on: for the verdict itself use insdl predict or the "
            "likelihood; the ranking is that of a shorter measurement."
        )
    few = [f"{name} ({number:.0f})" for name, number in advice.effective.items() if number < 50]
    if few:
        lines.append(f"Few effective particles: {', '.join(few)}; what follows is rough.")
    lines += [
        f"What {advice.time:g} more of counting time is expected to bring (1: that of the configuration's noise at one Ei),",
        f"{advice.pair[0]} against {advice.pair[1]}:",
        "",
        f"{'Ei (meV)':>9}{'information (nats)':>20}{'per unit time':>15}{'log-ratio (nats)':>18}",
    ]
    for one in advice.gains:
        lines.append(f"{one.incident_energy:9g}{one.information:20.4g}{one.rate:15.4g}{one.log_ratio:18.3g}")
    lines += ["", "Places from which the evidence comes, each at its incident energy:"]
    for place in advice.places:
        (low_h, high_h), (low_k, high_k) = place.q_rlu
        lines.append(
            f"  Ei {place.incident_energy:g} meV, E {place.energy_transfer[0]:.3g} to {place.energy_transfer[1]:.3g} meV, "
            f"Qh {low_h:+.2f} to {high_h:+.2f}, Qk {low_k:+.2f} to {high_k:+.2f} r.l.u.: {place.log_ratio:.3g} nats"
        )
    names = [name for name in advice.errors_now if name.startswith(("J", "D", "diff", "strength"))]
    lines += ["", f"Error bars of {advice.pair[0]} (meV), now and after that time at each Ei:"]
    lines.append(f"{'Ei (meV)':>9}" + "".join(f"{name:>11}" for name in names))
    lines.append(f"{'now':>9}" + "".join(f"{advice.errors_now[name]:11.3g}" for name in names))
    for energy, errors in advice.errors.items():
        lines.append(f"{energy:9g}" + "".join(f"{errors[name]:11.3g}" for name in names))
    return "\n".join(lines)
