"""Rival models fitted to one measurement: what each makes of it, and errors that know of what no model explains.

The errors of a fit are those of counting, under a model that is taken to be true. None is. How much the answer moves when one
incident energy is left out says more: the jackknife over the n incident energies (Efron, The Jackknife, the Bootstrap and Other
Resampling Plans, SIAM 1982, chapter 3) has the variance (n - 1) / n sum (theta_i - mean)^2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from insdl.instrument.frame import ImageFrame
from insdl.instrument.measurement import grown
from insdl.learn.evidence import Comparison, probabilities, used_blocks
from insdl.learn.hypothesis import Hypothesis
from insdl.learn.identifiability import Identifiability, identifiability_of
from insdl.learn.profile import Fit, fit_hypothesis

_Reals = npt.NDArray[np.float64]
_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class MeasurementFit:
    """Rivals fitted to one measurement.

    Attributes
    ----------
    comparison : the fits and their probabilities.
    counts : (n_bins, n_h, n_k) float64. What was fitted. measured, used : bool, the same shape.
    frame : of the image.
    """

    comparison: Comparison
    counts: _Reals
    measured: _Mask
    used: _Mask
    frame: ImageFrame

    @property
    def ranked(self) -> tuple[str, ...]:
        """Names of the rivals, the largest evidence first."""
        fits = self.comparison.fits
        return tuple(sorted(fits, key=lambda name: -fits[name].log_evidence))


def fit_measurement(
    hypotheses: Sequence[Hypothesis],
    counts: npt.ArrayLike,
    measured: _Mask,
    *,
    starts: Mapping[str, npt.ArrayLike] | None = None,
    n_starts: int = 3,
    threads: int | None = None,
) -> MeasurementFit:
    """Each hypothesis fitted to a measurement, one pixel away from every detector edge.

    Parameters
    ----------
    counts : (n_bins, n_h, n_k). Below zero and above the hypotheses' largest count they are set to these.
    measured : bool, the same shape.
    starts : by name, points of the unit cube (n, n_unknowns) to begin from; the best ``n_starts`` templates for the others.

    Raises
    ------
    ValueError
        If nothing is left to fit, or a shape or a name does not fit.
    """
    given = {} if starts is None else dict(starts)
    names = [hypothesis.name for hypothesis in hypotheses]
    if not names or len(set(names)) < len(names) or set(given) - set(names):
        raise ValueError(f"hypotheses must have different names, and starts be of these, got {names} and {list(given)}")
    seen = np.asarray(measured, dtype=bool)
    used = seen & ~grown(~seen)
    largest = min(hypothesis.largest for hypothesis in hypotheses)
    values = np.clip(np.where(seen, np.asarray(counts, dtype=np.float64), 0.0), 0.0, largest)
    fits = {
        hypothesis.name: fit_hypothesis(
            hypothesis, values, seen, used=used, starts=given.get(hypothesis.name), n_starts=n_starts, threads=threads
        )
        for hypothesis in hypotheses
    }
    comparison = Comparison(fits, probabilities({name: fit.log_evidence for name, fit in fits.items()}))
    return MeasurementFit(comparison, values, seen, used, hypotheses[0].simulator.frame)


def starting_point(hypothesis: Hypothesis, quantities: Mapping[str, float]) -> _Reals:
    """(n_unknowns,) of the unit cube: given quantities of the model, such as a network's; everything else in the middle."""
    unknowns = hypothesis.unknowns
    own = unknowns.names[: unknowns.n_quantities]
    if set(quantities) != set(own):
        raise ValueError(f"quantities must be {list(own)}, got {list(quantities)}")
    middle = dict(zip(unknowns.names, unknowns.values(np.full(len(unknowns.names), 0.5)).tolist(), strict=True))
    # Not on a face of the cube: a step outwards from there would be stopped before it begins.
    return np.clip(unknowns.point({**middle, **quantities}), 0.02, 0.98)


def fit_statement(hypothesis: Hypothesis, fit: Fit) -> Identifiability:
    """What a fit says about each parameter, in words; of the drawn quantities where the parameters are not independent.

    "If the instrument were known" is with all settings, the scale and the noise held where they are.
    """
    unknowns = hypothesis.unknowns
    q = unknowns.n_quantities
    slopes = unknowns.slopes(fit.point)[:q]
    spans = list(unknowns.ranges.values())[:q]
    widths = np.array([span.high - span.low for span in spans]) / np.sqrt(12.0)
    free = np.linalg.matrix_rank(unknowns.linear) == len(unknowns.parameters) == q
    to_names = unknowns.linear if free else np.eye(q)
    names = unknowns.parameters if free else unknowns.names[:q]
    values = [fit.parameters[n] if free else fit.values[n] for n in names]
    known = np.linalg.inv(np.linalg.inv(fit.covariance)[:q, :q])

    def of_names(covariance: _Reals, scale: _Reals) -> _Reals:
        factor = to_names * scale
        return np.asarray(factor @ covariance @ factor.T)

    return identifiability_of(
        of_names(fit.covariance[:q, :q], slopes),
        prior=of_names(np.eye(q), widths),
        names=names,
        values=values,
        known=of_names(known, slopes),
    )


def left_out(
    fitted: MeasurementFit, hypotheses: Sequence[Hypothesis], *, iterations: int = 10, threads: int | None = None
) -> dict[float, dict[str, Fit]]:
    """Fits without one incident energy (meV) each, from where the fit of the whole ended: by incident energy and name.

    Incident energies of which nothing was used are passed over, and so is the only one.
    """
    energies = []
    for block in fitted.frame.blocks:
        try:
            used_blocks(fitted.used, fitted.frame, [block.incident_energy])
            used_blocks(fitted.used, fitted.frame, [block.incident_energy], mode="without")
        except ValueError:
            continue
        energies.append(block.incident_energy)
    found: dict[float, dict[str, Fit]] = {}
    for energy in energies:
        used = used_blocks(fitted.used, fitted.frame, [energy], mode="without")
        found[energy] = {
            hypothesis.name: fit_hypothesis(
                hypothesis,
                fitted.counts,
                fitted.measured,
                used=used,
                starts=fitted.comparison.fits[hypothesis.name].point,
                iterations=iterations,
                threads=threads,
            )
            for hypothesis in hypotheses
        }
    return found


def jackknife_errors(without: Mapping[float, Mapping[str, Fit]], name: str) -> dict[str, float]:
    """Standard deviations of the parameters (meV) by the jackknife over incident energies; ValueError for fewer than two."""
    if len(without) < 2:
        raise ValueError(f"the jackknife needs two incident energies at least, got {len(without)}")
    fits = [fits[name] for fits in without.values()]
    values = np.array([list(fit.parameters.values()) for fit in fits])
    n = len(values)
    spread = np.sqrt((n - 1) / n * np.sum((values - values.mean(axis=0)) ** 2, axis=0))
    return dict(zip(fits[0].parameters, spread.tolist(), strict=True))
