"""Which hypothesis an image supports: each fitted, compared by likelihood and by evidence."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from insdl.instrument.frame import ImageFrame
from insdl.learn.hypothesis import Hypothesis
from insdl.learn.profile import Fit, fit_hypothesis

_Reals = npt.NDArray[np.float64]
_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Rival hypotheses fitted to one image.

    Attributes
    ----------
    fits : Fit by class, in the order given.
    probabilities : by class. From the evidence, all classes equally probable beforehand, and one of them true.
    """

    fits: Mapping[str, Fit]
    probabilities: Mapping[str, float]

    @property
    def best(self) -> Fit:
        """The fit with the largest evidence."""
        return max(self.fits.values(), key=lambda fit: fit.log_evidence)

    def log_ratio(self, first: str, second: str, *, by: Literal["evidence", "likelihood"] = "evidence") -> float:
        """log of the ratio of evidences, or of the likelihoods at their maxima; positive where ``first`` is supported."""
        if by not in ("evidence", "likelihood"):
            raise ValueError(f"by must be 'evidence' or 'likelihood', got {by!r}")
        one, other = (self._fit(name) for name in (first, second))
        if by == "evidence":
            return one.log_evidence - other.log_evidence
        return one.log_likelihood - other.log_likelihood

    def vuong(self, first: str, second: str) -> float:
        """The likelihood ratio over its own scatter, which needs neither hypothesis to be true; positive for ``first``.

        Sum of the energy bins' log ratios d_b over sqrt(n / (n - 1) sum (d_b - mean)^2), as Vuong's test for rivals of which
        none contains the other (Econometrica 57, 307 (1989)), with whole bins instead of single pixels because what a model
        does not explain is correlated within a bin. Were both equally far from the truth, this would be a standard normal
        number, or nearly. NaN for fewer than two bins.
        """
        apart = self._fit(first).by_bin - self._fit(second).by_bin
        apart = apart[(self._fit(first).information > 0).any(axis=(1, 2))]
        n = len(apart)
        if n < 2:
            return float("nan")
        scatter = float(np.sqrt(n / (n - 1) * np.sum((apart - apart.mean()) ** 2)))
        return float(apart.sum()) / scatter if scatter > 0 else 0.0

    def by_block(self, first: str, second: str, frame: ImageFrame) -> dict[float, float]:
        """The log ratio of the likelihoods at the maxima of the whole, by incident energy (meV): they add up to the whole."""
        apart = self._fit(first).by_bin - self._fit(second).by_bin
        return {
            block.incident_energy: float(apart[cells].sum())
            for block, cells in zip(frame.blocks, _cells(frame), strict=True)
        }

    def _fit(self, name: str) -> Fit:
        if name not in self.fits:
            raise ValueError(f"the class must be one of {list(self.fits)}, got {name!r}")
        return self.fits[name]


def compare_hypotheses(
    hypotheses: Sequence[Hypothesis],
    counts: npt.ArrayLike,
    measured: _Mask,
    *,
    used: _Mask | None = None,
    extra_sigma: npt.ArrayLike = 0.0,
    n_starts: int = 3,
    threads: int | None = None,
) -> Comparison:
    """Each hypothesis fitted to an image (`fit_hypothesis`, which explains the arguments), and their probabilities.

    Raises
    ------
    ValueError
        If there is no hypothesis, two have one name, or an array does not fit.
    """
    names = [hypothesis.name for hypothesis in hypotheses]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"hypotheses must be at least one, with different names, got {names}")
    fits = {
        hypothesis.name: fit_hypothesis(
            hypothesis, counts, measured, used=used, extra_sigma=extra_sigma, n_starts=n_starts, threads=threads
        )
        for hypothesis in hypotheses
    }
    return Comparison(fits, probabilities({name: fit.log_evidence for name, fit in fits.items()}))


def probabilities(log_evidence: Mapping[str, float]) -> dict[str, float]:
    """Posterior probabilities of classes that are equally probable beforehand: evidences over their sum."""
    values = np.array(list(log_evidence.values()))
    shares = np.exp(values - values.max())
    return dict(zip(log_evidence, (shares / shares.sum()).tolist(), strict=True))


def expected_log_ratio(truth: Fit, rival: Fit) -> float:
    """How far apart two fits of one image are: the log-likelihood ratio to expect if ``truth`` is true.

    Half the sum over pixels of information (mean - mean')^2: the Kullback-Leibler divergence to second order in the difference
    of the expected counts. By chance alone the ratio scatters around it by about the square root of twice this number.
    """
    return float(0.5 * np.sum(truth.information * (truth.mean - rival.mean) ** 2))


def used_blocks(
    measured: _Mask, frame: ImageFrame, incident_energies: Sequence[float], *, mode: Literal["only", "without"] = "only"
) -> _Mask:
    """The measured pixels of some incident energies (meV), or of all others, for ``used`` of a fit.

    Raises
    ------
    ValueError
        If an incident energy is not one of the frame's, or nothing is left.
    """
    if mode not in ("only", "without"):
        raise ValueError(f"mode must be 'only' or 'without', got {mode!r}")
    known = [block.incident_energy for block in frame.blocks]
    unknown = [energy for energy in incident_energies if energy not in known]
    if unknown:
        raise ValueError(f"incident energies must be among {known}, got {unknown}")
    used = np.zeros(frame.shape, dtype=bool)
    for energy, cells in zip(known, _cells(frame), strict=True):
        used[cells] = (energy in incident_energies) == (mode == "only")
    used &= measured
    if not used.any():
        raise ValueError(f"no measured pixel is left with {mode} the incident energies {list(incident_energies)}")
    return used


def _cells(frame: ImageFrame) -> list[slice]:
    ends = np.cumsum([0, *(len(np.asarray(block.bins)) for block in frame.blocks)])
    return [slice(int(a), int(b)) for a, b in itertools.pairwise(ends)]
