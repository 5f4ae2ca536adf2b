"""What `insdl predict` says about an image, in sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def lines(entry: Mapping[str, Any]) -> list[str]:
    """The verdict, and what is known of the parameters, a line each."""
    found = [sentence(entry)]
    parameters = entry.get("parameters")
    if parameters is not None:
        found.append(f"  By the network, for {parameters['model']}: {values_in_words(parameters['values'])}.")
        found.append(f"  {parameters['known_worst']}")
    elif "parameters_reason" in entry:
        found.append(f"  No parameters by the network: {entry['parameters_reason']}.")
    fit = entry.get("fit")
    if fit is not None:
        found.extend(f"  {line}" for line in fit_in_words(fit))
    return found


def sentence(entry: Mapping[str, Any]) -> str:
    """The answer for one image in words."""
    shares = ", ".join(f"{name} {value:.4f}" for name, value in entry["probability"].items())
    return f"Image {entry['image']}: {entry['verdict']} ({shares}). {entry['reason'][:1].upper()}{entry['reason'][1:]}."


def values_in_words(values: Mapping[str, Mapping[str, Any]]) -> str:
    """Parameters with errors and words, such as "JA 1.38 ± 0.02 meV (measured)"."""
    parts = []
    for name, one in values.items():
        word = f" ({one['word']})" if "word" in one else ""
        parts.append(f"{name} {with_error(one['value'], one['error'])} meV{word}")
    return ", ".join(parts)


def with_error(value: float, error: float) -> str:
    """Value and error to two digits of the error.

    Examples
    --------
    >>> with_error(-11.1034, 0.0312)
    '-11.103 ± 0.031'
    """
    digits = 2
    if math.isfinite(error) and error > 0:
        digits = max(0, 1 - math.floor(math.log10(float(f"{error:.1e}"))))
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def fit_in_words(fit: Mapping[str, Any]) -> list[str]:
    """What the likelihood says: which rival first, by how much, and with which parameters."""
    best = fit["best"]
    apart = ", ".join(
        f"{name} by {fit['log_evidence_ratio'][name]:.1f} (Vuong {fit['vuong'][name]:.1f})" for name in fit["vuong"]
    )
    said = [
        f"By the likelihood of {fit['pixels']} pixels: {best}, in log-evidence before {apart}."
        if apart
        else f"By the likelihood of {fit['pixels']} pixels: {best}."
    ]
    own = fit["models"][best]
    said.append(f"Fitted, for {best}, errors of counting alone: {values_in_words(own['values'])}.")
    said.append(own["known_worst"])
    if own["at_border"]:
        said.append(f"At the end of their range: {', '.join(own['at_border'])}; the model may not describe the image.")
    return said
