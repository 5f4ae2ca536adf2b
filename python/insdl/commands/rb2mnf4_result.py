"""What the Rb2MnF4 job has found out, as numbers and sentences."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from insdl.commands.rb2mnf4_held_out import HeldOut
from insdl.dataset.configuration import Configuration, load_configuration
from insdl.dataset.counted_maps import CountedMaps, MapNuisances, with_windows
from insdl.dataset.parameter_prior import ParameterPrior
from insdl.instrument.forward_model import ENERGY_ZERO, ForwardModel
from insdl.instrument.frame import EnergyBlock, ImageFrame
from insdl.instrument.image import ImageSimulator
from insdl.instrument.measurement import Measurement
from insdl.instrument.rb2mnf4 import INCIDENT_ENERGY, SIGMA_ENERGY, SIGMA_Q, WINDOWS, rb2mnf4_frame
from insdl.learn.identifiability import Identifiability, identifiability, remedies
from insdl.learn.importance import Reweighted
from insdl.learn.information import (
    Expected,
    Information,
    counting_information,
    jacobian,
)
from insdl.learn.map_inference import MapInference, forward_model, free_prior, radius
from insdl.learn.refinement import Refinement
from insdl.materials.rb2mnf4 import LITERATURE, rb2mnf4
from insdl.provenance import versions

if TYPE_CHECKING:
    from insdl.commands.rb2mnf4 import Rb2mnf4Settings

_Array = npt.NDArray[np.float64]
NAMED = ("J1", "J2")
"""What is asked for; the anisotropy D and the instrument are fitted along."""
INTEGRATED = (-5.0, 24.0)
"""meV. A window that holds all of the band and its resolution."""
CANDIDATES: tuple[tuple[tuple[float, float], ...], ...] = (
    *(((1.0, edge),) for edge in (5.0, 5.5, 6.0, 6.25, 6.5)),
    ((1.0, 4.5), (4.5, 8.0)),
    WINDOWS,
    tuple((1.0 + 0.5 * i, 1.5 + 0.5 * i) for i in range(14)),
)
"""Ways to bin the same measurement that are tried for a parameter that was not measured."""


def integrated_model(prior: ParameterPrior) -> ForwardModel:
    """A map integrated over all energies at fixed L, without kf/ki and temperature: S sqrt((A - B)/(A + B)) in Q."""
    block = EnergyBlock([INTEGRATED], INCIDENT_ENERGY, (SIGMA_ENERGY, 0.0, 0.0), SIGMA_Q, fixed_l=0.0)
    frame = ImageFrame([block], np.asarray(rb2mnf4_frame().pixels), subpixels=2)
    return ForwardModel(ImageSimulator(rb2mnf4(), frame, margin=0.07), prior.names)


def integrated_map_change(factor: float = 1.3) -> float:
    """Largest relative change of the energy-integrated map when J1, J2 and D are all multiplied by ``factor``.

    Integrated over all energies at fixed L the intensity is S sqrt((A - B)/(A + B)) in Q: a function of ratios of the
    parameters only.
    """
    names = tuple(LITERATURE)
    values = np.array([LITERATURE[name] for name in names])
    prior = ParameterPrior(names, values - 1.0, values + 1.0)
    first, scaled = integrated_model(prior)(np.array([values, factor * values]))
    return float(np.abs(scaled - first).max() / first.max())


def integrated_statement(counts: float) -> Identifiability:
    """What the energy-integrated map tells about J1, J2 and D at the literature values, of ``counts`` of signal."""
    configuration = load_configuration("rb2mnf4")
    names = tuple(LITERATURE)
    prior = free_prior(configuration, MapNuisances()).of(names)
    values = np.array([LITERATURE[name] for name in names])
    model = integrated_model(prior)
    measured = CountedMaps(with_windows(configuration, [INTEGRATED]), names, stream="mask").measured
    slopes = jacobian(model, values, steps=1e-3 * prior.width)
    found = counting_information(slopes, names=names, measured=measured, counts=counts, background=0.2)
    return identifiability(found, prior=prior, values=values)


def cannot_tell(change: float, statement: Identifiability) -> str:
    """What an energy-integrated map cannot tell, in plain words."""
    return (
        "A map integrated over all energies cannot give absolute exchange constants: its intensity depends only on ratios of "
        f"J1, J2 and D. Multiplying all of them by 1.3 changes the integrated map by no more than {change:.1e} of its "
        f"maximum (computed in this run); a million counts of it say {statement.of('J1').sentence}. What fixes J1 is an edge "
        "of an energy window that cuts the band of magnons (at the literature values it ends at 6.54 meV); an edge above the "
        "top of the band tells nothing."
    )


def instrument_information(
    configuration: Configuration,
    prior: ParameterPrior,
    values: _Array,
    measured: npt.NDArray[np.bool_],
    *,
    counts: float,
    expected: Expected | None = None,
) -> Information:
    """Information of a map of these signal counts about all of the prior; a fifth of the counts is background."""
    steps = 1e-3 * prior.width
    inside = np.clip(values, prior.low + steps, prior.high - steps)
    slopes = jacobian(forward_model(configuration, prior) if expected is None else expected, inside, steps=steps)
    return counting_information(
        slopes, names=prior.names, measured=measured, counts=counts, background=0.2, radial=radius(configuration)
    )


def shift_by_energy_zero(information: Information, error: float) -> dict[str, float]:
    """How far an error of the zero of energy (meV) that a fit does not know of moves each parameter, units of it.

    A fit of theta alone to counts made with energy_zero = e ends at theta + F_tt^-1 F_te e, to first order.
    """
    names = tuple(name for name in information.names if name != ENERGY_ZERO)
    rows, column = information.rows(names), information.rows([ENERGY_ZERO])[0]
    cross = information.matrix[rows, column]
    moved = np.linalg.lstsq(information.matrix[np.ix_(rows, rows)], cross * error, rcond=1e-12)[0]
    return dict(zip(names, map(float, moved), strict=True))


def advice(
    inference: MapInference, refinement: Refinement, measured: npt.NDArray[np.bool_], *, counts: float
) -> list[dict[str, Any]]:
    """Other windows in which the same time of measuring would tell J1 better, best first.

    ``counts`` are the signal counts of the windows measured; others get as many as their share of the signal says.
    """
    prior, given = inference.prior, inference.configuration
    mask = measured.any(axis=0)
    here = float(forward_model(given, prior)(refinement.estimate[None])[0][measured].sum())

    def information(windows: tuple[tuple[float, float], ...]) -> Information:
        other = with_windows(given, windows)
        model = forward_model(other, prior)
        seen = np.broadcast_to(mask, model.image_shape)
        there = float(model(refinement.estimate[None])[0][seen].sum())
        return instrument_information(
            other, prior, refinement.estimate, seen, counts=counts * there / here, expected=model
        )

    found = remedies("J1", CANDIDATES, information, prior=prior)
    return [{"windows": [list(w) for w in one.windows], "error": one.error, "ratio": one.ratio} for one in found]


def _level(counts: float) -> _Array:
    """log10 of counts over a million, as an array of one."""
    return np.log10([counts / 1e6])


def summarise(
    measurement: Measurement,
    inference: MapInference,
    refinement: Refinement,
    posterior: Reweighted,
    tested: HeldOut,
    settings: Rb2mnf4Settings,
) -> dict[str, Any]:
    """The content of result.json (timings are added at the end)."""
    parameters, prior = inference.parameters, inference.prior
    views = inference.views(measurement.image[None], measurement.measured[None])
    mean, sigma = inference.estimate(views)
    signal = float(refinement.scale * inference.forward()(refinement.estimate[None])[0][measurement.measured].sum())

    def named(values: Sequence[float] | _Array, names: Sequence[str] = parameters) -> dict[str, float]:
        return dict(zip(names, map(float, values), strict=True))

    statement = identifiability(
        refinement.information, prior=prior, values=refinement.estimate, instrument=inference.instrument
    )
    unsure = free_prior(inference.configuration, MapNuisances(energy_zero_sigma=0.05))
    values = np.append(refinement.estimate[: len(unsure.names) - 1], 0.0)
    with_zero = instrument_information(inference.configuration, unsure, values, measurement.measured, counts=signal)
    own = measurement.sha256 == "none"
    return {
        "job": "rb2mnf4",
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "measurement": {"source": measurement.source, "sha256": measurement.sha256},
        "windows": [list(window) for window in settings.windows],
        "estimate": named(refinement.estimate, prior.names),
        "error": refinement.error,
        "posterior": {
            "mean": named(posterior.mean, prior.names),
            "error": named(np.sqrt(np.diag(posterior.covariance)), prior.names),
            "effective_samples": posterior.effective,
        },
        "network": {"estimate": named(mean[0]), "error": named(sigma[0])},
        "baseline": named(inference.baseline.predict(views)[0]),
        "refinement": {
            "chi_squared_per_degree_of_freedom": refinement.chi_squared,
            "degrees_of_freedom": refinement.degrees_of_freedom,
            "steps": refinement.steps,
            "converged": refinement.converged,
            "at_bound": list(refinement.at_bound),
        },
        "constraint": {worth.name: worth.word for worth in statement.worths},
        "identifiability": {
            "ratio": {worth.name: worth.ratio for worth in statement.worths},
            "ratio_known_instrument": {worth.name: worth.ratio_known_instrument for worth in statement.worths},
            "sentences": statement.sentences,
            "weak_direction": dict(statement.weak_direction),
            "shift_by_0.05_meV_of_energy_zero": shift_by_energy_zero(with_zero, 0.05),
            "other_windows": advice(inference, refinement, measurement.measured, counts=signal),
        },
        "truth": {name: LITERATURE[name] for name in parameters} if own else None,
        "literature": {"J1": [0.657, 0.002], "J2": [0.006, 0.003]},
        "prior": {name: [float(a), float(b)] for name, a, b in zip(prior.names, prior.low, prior.high, strict=True)},
        "held_out": {
            "rmse": named(tested.rmse),
            "z_rms": named(tested.z_rms),
            "share_within_one_error": named(tested.coverage),
            "calibration_factor": named(inference.calibration.factor(_level(signal))[0]),
            "baseline_rmse": named(tested.baseline_rmse),
            "refined_rmse": named(tested.refined_rmse),
            "refined_z_rms": named(tested.refined_z_rms),
            "posterior_rmse": named(tested.weighted_rmse),
            "posterior_z_rms": named(tested.weighted_z_rms),
            "reference_rms": named(tested.reference_rms),
            "refined_maps": len(tested.refined),
            "not_converged": tested.not_converged,
            "rank_p_values": None if tested.rank_p_values is None else named(tested.rank_p_values, prior.names),
        },
        "cannot_tell": cannot_tell(integrated_map_change(), integrated_statement(1e6)),
        "training": {
            "best_epoch": inference.training.best_epoch + 1,
            "epochs": len(inference.training.history),
            "seconds": inference.training.seconds,
        },
        "configuration": asdict(settings),
        "versions": versions(),
    }
