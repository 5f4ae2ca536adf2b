"""Mirror planes of what a neutron sees: whether S(Q, E) is the same at +Qh and -Qh, at +Qk and -Qk, or with both exchanged."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from insdl.model import SingleIon, SpinModel

_SEED = 20221
_POINTS, _SETS = 5, 3
_TOLERANCE = 1e-8


Mirrors = Literal["none", "axes", "square"]


def mirrors_of(model: SpinModel) -> Mirrors:
    """Which mirrors S_perp(Qh, Qk, Ql, E) has in the plane of Qh and Qk, for all values of the parameters.

    Returns
    -------
    "axes" where it is the same at -Qh, and at -Qk; "square" where it is the same with Qh and Qk exchanged, too; else "none".

    Notes
    -----
    Looked at in numbers: S_perp is an analytic function of Q and the parameters, so that two of them which agree at points
    drawn at random agree everywhere. So that every draw is stable, an easy axis along its own moment is added to every
    site, strong enough to hold it; it is the same at equal sites and so breaks no mirror that the model has, and what holds
    for all strong axes holds, by continuation, for none.
    """
    rng = np.random.default_rng(_SEED)
    held, strength = _held(model)
    sets = rng.uniform(-1.0, 1.0, (_SETS, len(model.parameters)))
    sets = np.column_stack([sets, strength * rng.uniform(1.0, 1.5, _SETS)])
    q = rng.uniform(0.05, 0.45, (_POINTS, 3))
    as_given = _spectra(held, q, sets)
    largest = np.abs(as_given).max()

    def same(other_q: npt.NDArray[np.float64]) -> bool:
        return bool(np.abs(_spectra(held, other_q, sets) - as_given).max() <= _TOLERANCE * largest)

    if not (same(q * (-1.0, 1.0, 1.0)) and same(q * (1.0, -1.0, 1.0))):
        return "none"
    return "square" if same(np.ascontiguousarray(q[:, [1, 0, 2]])) else "axes"


def _held(model: SpinModel) -> tuple[SpinModel, float]:
    """The model with one more parameter, an easy axis along every moment, and a value of it that holds all moments."""
    most = np.zeros(len(model.sites))
    spins = np.array([site.spin for site in model.sites])
    for bond in model.bonds:
        size = float(np.abs(np.asarray(bond.exchange)).sum())
        most[bond.i] += size * spins[bond.j]
        most[bond.j] += size * spins[bond.i]
    for ion in model.single_ion:
        most[ion.site] += float(np.abs(np.asarray(ion.matrix)).sum()) * spins[ion.site]
    for term in model.zeeman:
        most[term.site] += float(np.abs(np.asarray(term.vector)).sum())
    name = "easy_axis"
    while name in model.parameters:
        name += "_"
    axes = [np.asarray(site.direction) for site in model.sites]
    terms = [SingleIon(i, -np.outer(axis, axis), parameter=name) for i, axis in enumerate(axes)]
    held = replace(model, single_ion=(*model.single_ion, *terms), parameters=(*model.parameters, name))
    return held, 2.0 * float((most / spins).max()) + 1e-300


def _spectra(
    model: SpinModel, q_rlu: npt.NDArray[np.float64], sets: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """(n_sets, nq, n) intensities at fixed energies, every mode drawn as a broad Gaussian: no matter how modes are ordered."""
    modes = model.modes(q_rlu, parameters=sets, threads=1)
    if not np.all(modes.stable):
        raise AssertionError("a moment with a strong easy axis is unstable")
    low, high = modes.energy.min(), modes.energy.max()
    sigma = 0.1 * (high - low) + 1e-3 * high
    at = np.linspace(low, high, 30)
    shape = np.exp(-0.5 * ((at - modes.energy[..., None]) / sigma) ** 2)
    return np.asarray((modes.intensity[..., None] * shape).sum(axis=-2))
