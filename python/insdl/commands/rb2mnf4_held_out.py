"""The held-out test of the Rb2MnF4 job: network, baseline and refinement on simulated maps whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from insdl.dataset.configuration import Configuration
from insdl.instrument.forward_model import ForwardModel
from insdl.learn.information import counting_information, covariance, jacobian, with_prior
from insdl.learn.map_inference import MapInference, radius
from insdl.learn.simulation_calibration import calibration_ranks

_Array = npt.NDArray[np.float64]
_BLOCK = 64
_RANKED = 99  # samples of the posterior for each map of the calibration test


@dataclass(frozen=True, eq=False)
class HeldOut:
    """How estimates of n held-out maps compare with the truth; parameters in the order of the inference's.

    Attributes
    ----------
    truth, estimate, sigma : (n, n_parameters) float64, meV. Of the network; sigma is calibrated.
    baseline : (n, n_parameters) float64, meV. Of the principal components.
    refined, refined_sigma : (n_refined, n_parameters) float64, meV. Of the first maps.
    weighted, weighted_sigma : (n_refined, n_parameters) float64, meV. Mean and width of the posterior by importance sampling.
    reference : (n_refined, n_parameters) float64, meV. Cramer-Rao bound with the prior's variance added, of the same maps.
    not_converged : int. Refinements whose last step was still longer than the tolerance.
    rank_p_values : (n_prior,) float64 or None. Of the uniformity of the posterior's ranks on maps of any number of counts;
        None for fewer than 100 maps.
    """

    truth: _Array
    estimate: _Array
    sigma: _Array
    baseline: _Array
    refined: _Array
    refined_sigma: _Array
    weighted: _Array
    weighted_sigma: _Array
    reference: _Array
    not_converged: int
    rank_p_values: _Array | None

    @property
    def rmse(self) -> _Array:
        """Root mean square error of the network."""
        return _rms(self.estimate - self.truth)

    @property
    def z_rms(self) -> _Array:
        """Root mean square of the network's errors over their calibrated size."""
        return _rms((self.estimate - self.truth) / self.sigma)

    @property
    def coverage(self) -> _Array:
        """Share of the truths within one error of the network."""
        return np.asarray(np.mean(np.abs(self.estimate - self.truth) < self.sigma, axis=0))

    @property
    def baseline_rmse(self) -> _Array:
        """Root mean square error of the baseline."""
        return _rms(self.baseline - self.truth)

    @property
    def refined_rmse(self) -> _Array:
        """Root mean square error after refinement."""
        return _rms(self.refined - self.truth[: len(self.refined)])

    @property
    def refined_z_rms(self) -> _Array:
        """Root mean square of the refinement's errors over their size."""
        return _rms((self.refined - self.truth[: len(self.refined)]) / self.refined_sigma)

    @property
    def weighted_rmse(self) -> _Array:
        """Root mean square error of the posterior's mean."""
        return _rms(self.weighted - self.truth[: len(self.weighted)])

    @property
    def weighted_z_rms(self) -> _Array:
        """Root mean square of the errors of the posterior's mean over the posterior's width."""
        return _rms((self.weighted - self.truth[: len(self.weighted)]) / self.weighted_sigma)

    @property
    def reference_rms(self) -> _Array:
        """Root mean square of the reference."""
        return _rms(self.reference)


def held_out(
    inference: MapInference,
    configuration: Configuration,
    *,
    n_maps: int,
    n_refined: int,
    seed: int = 0,
    threads: int | None = None,
) -> HeldOut:
    """The test on maps of a configuration that nothing was chosen on."""
    maps = inference.maps("test", configuration=configuration, threads=threads)
    expected = inference.forward(threads=threads)
    n = len(inference.parameters)
    own = inference.prior.of(inference.parameters)
    views, values, refined, sigma, reference, failed = [], [], [], [], [], 0
    weighted, spread = [], []
    for begin in range(0, n_maps, _BLOCK):
        batch = maps.batch(range(begin, min(n_maps, begin + _BLOCK)))
        views.append(inference.views(batch.counts, batch.measured))
        values.append(batch.values)
        for row in range(max(0, min(len(batch.values), n_refined - begin))):
            found, problem = inference.refine(batch.counts[row], batch.measured[row], expected=expected, seed=seed)
            refined.append(found.estimate[:n])
            sigma.append(np.sqrt(np.diag(found.covariance))[:n])
            failed += not found.converged
            posterior = inference.reweighted(problem, found, expected=expected, seed=seed)
            weighted.append(posterior.mean[:n])
            spread.append(np.sqrt(np.diag(posterior.covariance))[:n])
            reference.append(_bound(inference, expected, batch.values[row], batch.measured[row], batch.counts[row])[:n])
    seen, truth = np.concatenate(views), np.concatenate(values)
    estimate, error = inference.estimate(seen)
    return HeldOut(
        truth=truth[:, :n],
        estimate=np.clip(estimate, own.low, own.high),
        sigma=error,
        baseline=np.clip(inference.baseline.predict(seen), own.low, own.high),
        refined=np.array(refined),
        refined_sigma=np.array(sigma),
        weighted=np.array(weighted),
        weighted_sigma=np.array(spread),
        reference=np.array(reference),
        not_converged=failed,
        rank_p_values=_ranks(inference, n_maps, seed, threads) if n_maps >= 100 else None,
    )


def _bound(
    inference: MapInference,
    expected: ForwardModel,
    values: _Array,
    measured: npt.NDArray[np.bool_],
    counts: npt.NDArray[np.floating],
) -> _Array:
    """Standard deviations of the Cramer-Rao bound with the prior's variance added, at a map's truth and a fifth background."""
    prior = inference.prior
    steps = 1e-3 * prior.width
    inside = np.clip(values, prior.low + steps, prior.high - steps)
    slopes = jacobian(expected, inside, steps=steps)
    found = counting_information(
        slopes,
        names=prior.names,
        measured=measured,
        counts=0.8 * float(np.sum(counts, where=measured)),
        background=0.2,
        radial=radius(inference.configuration),
    )
    return np.sqrt(np.diag(covariance(with_prior(found, dict(zip(prior.names, prior.width, strict=True))))))


def _ranks(inference: MapInference, n_maps: int, seed: int, threads: int | None) -> _Array:
    """Of the calibration test, on maps drawn as those that the posterior has learned from: of any number of counts."""
    maps = inference.maps("ranks", threads=threads)
    drawn, truth = [], []
    for begin in range(0, n_maps, _BLOCK):
        batch = maps.batch(range(begin, min(n_maps, begin + _BLOCK)))
        features = inference.features(inference.views(batch.counts, batch.measured))
        drawn += [inference.posterior.sample(row, _RANKED, seed=seed + begin + i) for i, row in enumerate(features)]
        truth.append(batch.values)
    bins = 20 if n_maps >= 200 else 10
    return calibration_ranks(np.array(drawn), np.concatenate(truth), bins=bins).p_value


def _rms(values: _Array) -> _Array:
    return np.asarray(np.sqrt(np.mean(values**2, axis=0)))
