"""The honest baseline: which simulated image, of any parameters, resembles the measurement most."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt

from insdl.dataset.simulated import Family, SimulatedSet
from insdl.instrument.image import ImageSettings

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
    transform: Callable[[npt.NDArray[np.floating]], npt.NDArray[np.floating]] = np.log1p,
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
    scales : factors on the counts tried at the start; refined afterwards if there is more than one (the correlation of
        square roots does not depend on the scale).
    evaluations : budget of the refinement (COBYQA over parameters, widths, shifts and scale, within the set's range).
    """
    from scipy.optimize import minimize

    measured = transform(counts[used].astype(np.float64))
    label = simulated.families.index(family.name)
    members = np.flatnonzero(simulated.labels == label)
    start, start_scale, start_r = -1, 1.0, -np.inf
    for index in members:
        template = simulated.images[index][used].astype(np.float32)
        for scale in scales:
            r = correlation(transform(scale * template), measured.astype(np.float32))
            if r > start_r:
                start, start_scale, start_r = int(index), scale, r

    names = list(family.simulator.model.parameters)
    table = np.array([[simulated.parameters[i][name] for name in names] for i in members])
    free = [name for name in _FREE_SETTINGS if np.ptp([asdict(simulated.settings[i])[name] for i in members]) > 0]
    setting_table = np.array([[getattr(simulated.settings[i], name) for name in free] for i in members])
    everything = np.concatenate([table, setting_table], axis=1)
    low, high = everything.min(axis=0), everything.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    base = simulated.settings[start]

    def unpack(x: npt.NDArray[np.float64]) -> tuple[dict[str, float], ImageSettings, float]:
        values = np.clip(low + x[: len(low)] * span, low, high)
        settings = replace(base, **dict(zip(free, map(float, values[len(names) :]), strict=True)))
        scale = float(np.exp(x[-1])) if len(scales) > 1 else start_scale
        return dict(zip(names, map(float, values[: len(names)]), strict=True)), settings, scale

    def loss(x: npt.NDArray[np.float64]) -> float:
        parameters, settings, scale = unpack(x)
        row = family.simulator.model.values(parameters)[None]
        images, stable = family.simulator.simulate_sets(row, [settings], threads=threads)
        if not stable[0]:
            return 1.0
        return -correlation(transform(scale * unit * images[0][used]), measured)

    first = np.concatenate([table[members == start][0], setting_table[members == start][0]])
    x0 = (first - low) / span
    if len(scales) > 1:
        x0 = np.append(x0, np.log(start_scale))
    bounds = [(0.0, 1.0)] * len(low) + [(-3.0, 3.0)] * (len(x0) - len(low))
    found = minimize(
        loss,
        x0,
        method="COBYQA",
        bounds=bounds,
        options={"maxfev": evaluations, "initial_tr_radius": 0.1, "final_tr_radius": 1e-4},
    )
    refined = -float(found.fun)
    best_x = found.x if refined > start_r else x0
    parameters, settings, scale = unpack(best_x)
    return TemplateFit(
        correlation=max(refined, start_r),
        parameters=parameters,
        settings=asdict(settings),
        scale=scale,
        evaluations=int(found.nfev),
        start_correlation=float(start_r),
    )


def cell_evidence(
    counts: npt.NDArray[np.floating],
    used: npt.NDArray[np.bool_],
    first: npt.NDArray[np.floating],
    second: npt.NDArray[np.floating],
    *,
    transform: Callable[[npt.NDArray[np.floating]], npt.NDArray[np.floating]] = np.log1p,
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
