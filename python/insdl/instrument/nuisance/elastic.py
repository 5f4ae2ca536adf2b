"""The elastic line and its tails: incoherent scattering and Bragg peaks that leak into the inelastic bins.

In energy the line is a Gaussian of the resolution and a share of late neutrons, an exponential tail on the side of energy
loss, as a moderator's pulse has (Ikeda & Carpenter, Nucl. Instrum. Methods A 239, 536 (1985), whose slow term it is).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from insdl.crystal import reciprocal
from insdl.instrument.frame import ImageFrame
from insdl.instrument.nuisance.geometry import PixelGeometry, pixel_geometry
from insdl.instrument.nuisance.phonons import energy_widths

_Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ElasticProfile:
    """How the elastic line is spread over energy.

    Attributes
    ----------
    width_factor : float. Multiplies the energy resolution of the frame at E = 0.
    tail_share : float, 0 to 1. Share of the neutrons in the tail.
    tail_length : float. Decay length of the tail over the incident energy.
    """

    width_factor: float = 1.0
    tail_share: float = 0.02
    tail_length: float = 0.05

    def __post_init__(self) -> None:
        values = (self.width_factor, self.tail_share, self.tail_length)
        if not np.isfinite(values).all() or self.width_factor <= 0 or self.tail_length <= 0:
            raise ValueError(f"width_factor and tail_length must be positive, got {self}")
        if not 0 <= self.tail_share <= 1:
            raise ValueError(f"tail_share must lie in 0 to 1, got {self.tail_share}")


def elastic_profile(frame: ImageFrame, profile: ElasticProfile) -> _Reals:
    """The line's mean over each energy bin, (n_bins,) float64, 1/meV; its integral over all energies is one."""
    from scipy.special import ndtr

    bins = frame.bins
    sigma = profile.width_factor * energy_widths(frame, np.zeros(len(bins)))[:, None]
    incident = np.repeat([b.incident_energy for b in frame.blocks], [len(np.asarray(b.bins)) for b in frame.blocks])
    decay = profile.tail_length * incident[:, None]
    line = ndtr(bins / sigma)
    tail = -np.expm1(-np.maximum(bins, 0.0) / decay)  # cumulated
    cumulated = (1.0 - profile.tail_share) * line + profile.tail_share * tail
    return np.asarray(np.diff(cumulated)[:, 0] / np.diff(bins)[:, 0])


@dataclass(frozen=True)
class ElasticLine:
    """What scatters elastically in the sample.

    Attributes
    ----------
    incoherent : float. Strength of the part that is the same in all directions.
    bragg : float. Mean strength of the Bragg peaks; each in-plane point (h, k) has one of its own, exponentially distributed
        (the intensities of a structure with many atoms: Wilson, Acta Cryst. 2, 318 (1949), eq. 9).
    sigma_q : float, r.l.u. Width (standard deviation) of a peak along Qh and Qk.
    sigma_l : float, r.l.u. Width along Ql.
    mean_square_displacement : float, angstrom^2.
    profile : ElasticProfile.
    """

    incoherent: float = 1.0
    bragg: float = 10.0
    sigma_q: float = 0.04
    sigma_l: float = 0.15
    mean_square_displacement: float = 0.005
    profile: ElasticProfile = ElasticProfile()

    def __post_init__(self) -> None:
        if min(self.incoherent, self.bragg, self.mean_square_displacement) < 0:
            raise ValueError(f"strengths and mean_square_displacement must not be negative, got {self}")
        if min(self.sigma_q, self.sigma_l) <= 0:
            raise ValueError(f"sigma_q and sigma_l must be positive, got {self.sigma_q} and {self.sigma_l}")


def elastic_image(
    frame: ImageFrame,
    lattice: npt.ArrayLike,
    line: ElasticLine,
    rng: np.random.Generator,
    *,
    geometry: PixelGeometry | None = None,
) -> _Reals:
    """Elastic scattering in every pixel, at the momentum transfer of elastic scattering into its direction.

    Parameters
    ----------
    frame : ImageFrame. lattice : (3, 3) float64, angstrom, beam along c*.
    line : ElasticLine.
    rng : numpy Generator, for the strengths of the Bragg peaks; points related by (h, k) -> (-h, -k) have one strength.
    geometry : PixelGeometry of this frame and lattice, where it is at hand.

    Returns
    -------
    (n_bins, n_h, n_k) float64, 1/meV in units of the strengths.
    """
    where = geometry or pixel_geometry(frame, lattice)
    q_cart = where.elastic_q
    q_rlu = q_cart @ np.linalg.inv(reciprocal(lattice))
    nearest = np.rint(q_rlu)
    offset = q_rlu - nearest
    h, k = nearest[..., 0].astype(np.int64), nearest[..., 1].astype(np.int64)
    reach = int(max(np.abs(h).max(), np.abs(k).max()))
    strengths = _bragg_strengths(reach, rng)
    peak = strengths[h + reach, k + reach] * np.exp(
        -0.5 * (offset[..., 0] ** 2 + offset[..., 1] ** 2) / line.sigma_q**2
        - 0.5 * offset[..., 2] ** 2 / line.sigma_l**2
    )
    peak = np.where((nearest == 0).all(axis=-1), 0.0, peak)  # the origin is the direct beam
    damping = np.exp(-np.sum(q_cart**2, axis=-1) * line.mean_square_displacement)
    pattern = damping * (line.incoherent + line.bragg * peak)
    spread = elastic_profile(frame, line.profile)[:, None, None]
    return np.where(where.reachable, spread * pattern, 0.0)


def _bragg_strengths(reach: int, rng: np.random.Generator) -> _Reals:
    """(2 reach + 1, 2 reach + 1) float64, mean one. (h, k) and (-h, -k) alike."""
    size = 2 * reach + 1
    half = rng.exponential(size=size * size // 2 + 1)
    return np.concatenate([half, half[-2::-1]]).reshape(size, size)
