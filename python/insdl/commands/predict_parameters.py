"""Parameters of a measurement as plain values: a network's posterior, and fits of the rivals by their likelihood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from insdl.learn.exchange import ExchangeInference
    from insdl.learn.hypothesis import Hypothesis
    from insdl.learn.identifiability import Identifiability
    from insdl.learn.measurement_fit import MeasurementFit

_Counts = npt.NDArray[np.float64]
_Mask = npt.NDArray[np.bool_]


def network_parameters(
    inference: ExchangeInference, counts: _Counts, seen: _Mask, *, entry: dict[str, Any]
) -> dict[str, float] | None:
    """Writes the network's posterior of one measurement into its entry; its mean, from which a fit may start.

    ``entry["parameters"]`` is None unless the verdict is the network's own model, and where too little was measured for it;
    ``entry["parameters_reason"]`` then says why.
    """
    from insdl.learn.exchange import infer_exchange

    entry["parameters"] = None
    if entry["verdict"] != inference.name:
        entry["parameters_reason"] = f"the network knows the exchange constants of {inference.name} only"
        return None
    try:
        answer = infer_exchange(inference, counts, seen)
    except ValueError as error:  # a part of a measurement, or another frame
        entry["parameters_reason"] = str(error)
        return None
    start = dict(zip(inference.prior.names, answer.quantities.mean(axis=0).tolist(), strict=True))
    entry["parameters"] = {
        "model": inference.name,
        "by": "network",
        "unit": "meV",
        "values": _values(answer.names, answer.mean, answer.error, answer.statement),
        "known_worst": answer.statement.direction,
        "correlation": np.corrcoef(answer.samples.T).tolist(),
    }
    return start


def fit_entry(
    rivals: Sequence[Hypothesis],
    counts: _Counts,
    seen: _Mask,
    *,
    start: Mapping[str, float] | None = None,
    threads: int | None = None,
) -> tuple[dict[str, Any], MeasurementFit]:
    """Fits of all rivals to one measurement: as plain values, and themselves.

    Parameters
    ----------
    start : quantities of the rival that has these, from which its fit starts instead of the best templates.
    """
    from insdl.learn.measurement_fit import fit_measurement, fit_statement, starting_point

    starts = {}
    for rival in rivals:
        own = set(rival.unknowns.names[: rival.unknowns.n_quantities])
        if start is not None and own == set(start):
            starts[rival.name] = starting_point(rival, start)[None]
    fitted = fit_measurement(rivals, counts, seen, starts=starts, threads=threads)
    first, *others = fitted.ranked
    comparison = fitted.comparison
    models = {}
    for rival in rivals:
        fit = comparison.fits[rival.name]
        statement = fit_statement(rival, fit)
        mean, error = (np.array(list(values.values())) for values in (fit.parameters, fit.parameter_errors))
        models[rival.name] = {
            "log_likelihood": fit.log_likelihood,
            "log_evidence": fit.log_evidence,
            "probability": comparison.probabilities[rival.name],
            "values": _values(tuple(fit.parameters), mean, error, statement),
            "known_worst": statement.direction,
            "instrument": {
                name: {"value": fit.values[name], "error": fit.errors[name]}
                for name in rival.unknowns.names[rival.unknowns.n_quantities :]
            },
            "at_border": list(fit.at_border),
        }
    return {
        "best": first,
        "pixels": int(fitted.used.sum()),
        "unit": "meV",
        "log_evidence_ratio": {name: comparison.log_ratio(first, name) for name in others},
        "log_likelihood_ratio": {name: comparison.log_ratio(first, name, by="likelihood") for name in others},
        "vuong": {name: comparison.vuong(first, name) for name in others},
        "models": models,
    }, fitted


def _values(
    names: Sequence[str], mean: _Counts, error: _Counts, statement: Identifiability
) -> dict[str, dict[str, Any]]:
    """By parameter: value and error in meV, and what they are worth where the statement is about it."""
    worths = {worth.name: worth for worth in statement.worths}
    found = {}
    for name, value, spread in zip(names, mean.tolist(), error.tolist(), strict=True):
        found[name] = {"value": value, "error": spread}
        if name in worths:
            worth = worths[name]
            found[name] |= {"word": worth.word, "ratio": worth.ratio, "from_calibration": worth.calibration}
    return found
