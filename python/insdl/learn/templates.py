"""The honest baseline: which simulated image, of any parameters, resembles the measurement most."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt

from insdl.dataset.simulated import Family, SimulatedSet
from insdl.instrument.image import ImageSettings

Transform = Callable[[npt.NDArray[np.floating]], npt.NDArray[np.floating]]
Offsets = Literal["one", "per-bin"]
_FREE_SETTINGS = ("width_factor", "broadening", "extra_sigma_q", "shift_h", "shift_k")


@dataclass(frozen=True)
class TemplateFit:
    """The best template of one family.

    Attributes
    ----------
    correlation : Pearson correlation of the transformed images over the pixels used.
    parameters : meV. settings : widths and shifts. scale : factor on the simulated counts.
    evaluations : simulated images looked at after the start.
    start_correlation : the best of the simulated set, before refinement.
    """

    correlation: float
    parameters: Mapping[str, float]
    settings: Mapping[str, float]
    scale: float
    evaluations: int
    start_correlation: float


def correlation(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> float:
    """Pearson correlation of two arrays of equal length; 0 where one of them is constant."""
    x, y = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / norm if norm > 0 else 0.0


def best_template(
    counts: npt.NDArray[np.floating],
    used: npt.NDArray[np.bool_],
    family: Family,
    simulated: SimulatedSet,
    *,
    unit: float,
    transform: Transform = np.log1p,
    offsets: Offsets = "one",
    scales: tuple[float, ...] = (0.35, 0.7, 1.4),
    evaluations: int = 150,
    threads: int | None = None,
) -> TemplateFit:
    """The family's image that correlates best with a measurement, profiled over its parameters.

    Parameters
    ----------
    counts : (n_bins, n_h, n_k), the measurement.
    used : (n_bins, n_h, n_k) bool, the pixels to compare.
    family : Family. Its images are multiplied by ``unit`` to give counts.
    simulated : SimulatedSet. Starting points; the family must be among its families.
    transform : of counts, before the correlation.
    offsets : "one" for a plain correlation, "per-bin" to take each bin's mean off first (a free flat background a bin).
    scales : factors on the counts tried at the start; refined afterwards if there is more than one (a correlation of
        counts or of their square roots does not depend on the scale).
    evaluations : budget of the refinement (COBYQA over parameters, widths, shifts and scale, within the set's range).
    """
    from scipy.optimize import minimize

    view = partial(_viewed, used=used, transform=transform, offsets=offsets)
    measured = view(counts.astype(np.float64))
    label = simulated.families.index(family.name)
    members = np.flatnonzero(simulated.labels == label)
    candidates = (
        (correlation(view(scale * simulated.images[i].astype(np.float32)), measured.astype(np.float32)), int(i), scale)
        for i in members
        for scale in scales
    )
    start_r, start, start_scale = max(candidates)

    names = list(family.simulator.model.parameters)
    free = [name for name in _FREE_SETTINGS if np.ptp([getattr(simulated.settings[i], name) for i in members]) > 0]
    rows = {
        int(i): [*(simulated.parameters[i][name] for name in names), *(getattr(simulated.settings[i], n) for n in free)]
        for i in members
    }
    low, high = np.min(list(rows.values()), axis=0), np.max(list(rows.values()), axis=0)
    span = np.where(high > low, high - low, 1.0)

    def unpack(x: npt.NDArray[np.float64]) -> tuple[dict[str, float], ImageSettings, float]:
        values = [float(value) for value in np.clip(low + x[: len(low)] * span, low, high)]
        settings = replace(simulated.settings[start], **dict(zip(free, values[len(names) :], strict=True)))
        scale = float(np.exp(x[-1])) if len(scales) > 1 else start_scale
        return dict(zip(names, values[: len(names)], strict=True)), settings, scale

    def loss(x: npt.NDArray[np.float64]) -> float:
        parameters, settings, scale = unpack(x)
        row = family.simulator.model.values(parameters)[None]
        images, stable = family.simulator.simulate_sets(row, [settings], threads=threads)
        return -correlation(view(scale * unit * images[0]), measured) if stable[0] else 1.0

    x0 = (np.array(rows[start]) - low) / span
    if len(scales) > 1:
        x0 = np.append(x0, np.log(start_scale))
    bounds = [(0.0, 1.0)] * len(low) + [(-3.0, 3.0)] * (len(x0) - len(low))
    options = {"maxfev": evaluations, "initial_tr_radius": 0.1, "final_tr_radius": 1e-4}
    found = minimize(loss, x0, method="COBYQA", bounds=bounds, options=options)
    refined = -float(found.fun)
    parameters, settings, scale = unpack(found.x if refined > start_r else x0)
    return TemplateFit(
        correlation=max(refined, start_r),
        parameters=parameters,
        settings=asdict(settings),
        scale=scale,
        evaluations=int(found.nfev),
        start_correlation=float(start_r),
    )


def _viewed(
    image: npt.NDArray[np.floating], *, used: npt.NDArray[np.bool_], transform: Transform, offsets: Offsets
) -> npt.NDArray[np.floating]:
    """The numbers of an image that are correlated, one a used pixel."""
    values = transform(image[used])
    if offsets == "one":
        return values
    if offsets != "per-bin":
        raise ValueError(f"offsets must be 'one' or 'per-bin', got {offsets!r}")
    bins = np.nonzero(used)[0]
    means = np.bincount(bins, values) / np.maximum(np.bincount(bins), 1)
    return (values - means[bins]).astype(values.dtype)


def cell_evidence(
    counts: npt.NDArray[np.floating],
    used: npt.NDArray[np.bool_],
    first: npt.NDArray[np.floating],
    second: npt.NDArray[np.floating],
    *,
    transform: Transform = np.log1p,
) -> npt.NDArray[np.float64]:
    """Which cells of a measurement resemble one template more than another.

    Parameters
    ----------
    counts, first, second : (n_bins, n_h, n_k), counts. The measurement and two templates.
    used : (n_bins, n_h, n_k) bool, the pixels to compare.

    Returns
    -------
    (n_bins,) float64. Residual sum of squares of ``second`` minus that of ``first`` in each bin, each template mapped on the
    measurement by one straight line over all pixels (as a correlation does). Positive where ``first`` is nearer; their sum
    is proportional to the difference of the squared correlations.
    """
    y = transform(counts.astype(np.float64))

    def squares(template: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        x = transform(template.astype(np.float64))
        slope, offset = np.polyfit(x[used], y[used], 1)
        residual = np.where(used, y - slope * x - offset, 0.0)
        total: npt.NDArray[np.float64] = np.sum(residual**2, axis=(1, 2))
        return total

    return squares(second) - squares(first)
