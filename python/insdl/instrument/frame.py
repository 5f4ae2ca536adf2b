"""The frame of an image: which incident energies, energy bins and pixels it has, and which way its axes run.

The contract of every image in insdl: ``image[..., bin, i, j]`` is the mean over energy bin ``bin`` and over the pixel
around Qh = ``pixels[i]``, Qk = ``pixels[j]``; both ascend, in r.l.u. of the chemical cell. Bins follow each other block by
block (one block an incident energy). Files with another layout are brought into this one by their reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

_Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class EnergyBlock:
    """The energy bins measured in one configuration of the spectrometer.

    Attributes
    ----------
    bins : (n, 2) float64, meV. Lower and upper edge of each bin of energy transfer.
    incident_energy : float, meV. With the beam along c*, it fixes Ql(E, Qh, Qk) unless ``fixed_l`` is given.
    sigma_energy : (3,) float64. Energy resolution (standard deviation) s0 + s1 E + s2 E^2, meV.
    sigma_q : float, r.l.u. Momentum resolution (standard deviation) along Qh and along Qk.
    fixed_l : float or None, r.l.u. The third component of Q where it is the same for all energies.
    energy_slope : float, meV per r.l.u.^2. The resolution leans along Q: Cov(E, Qh) = energy_slope sigma_q^2 Qh, the same for
        Qk, times the image's width_factor. 0 for a resolution that stands upright, which is 1.7 times as fast.
        |energy_slope Q| sigma_q, the part of E's width that goes with Q, must stay below the width of E over the bins.
    """

    bins: npt.ArrayLike
    incident_energy: float
    sigma_energy: npt.ArrayLike
    sigma_q: float
    fixed_l: float | None = None
    energy_slope: float = 0.0

    def __post_init__(self) -> None:
        bins = np.array(self.bins, dtype=np.float64)
        if bins.ndim != 2 or bins.shape[1:] != (2,) or not len(bins) or not (bins[:, 0] < bins[:, 1]).all():
            raise ValueError(f"bins must have shape (n, 2), lower edge before upper, got {bins.tolist()}")
        widths = np.array(self.sigma_energy, dtype=np.float64)
        if widths.shape != (3,) or not np.isfinite(widths).all():
            raise ValueError(f"sigma_energy must be three finite numbers, got {widths.tolist()}")
        object.__setattr__(self, "bins", bins)
        object.__setattr__(self, "sigma_energy", widths)
        sigma = self.sigma_over_bins()
        if (sigma < 0).any():
            raise ValueError(f"sigma_energy must not be negative over the bins, got {sigma.min():.3g} meV")
        if not (np.isfinite(self.sigma_q) and self.sigma_q >= 0):
            raise ValueError(f"sigma_q must be finite and not negative, got {self.sigma_q}")
        if not (np.isfinite(self.incident_energy) and self.incident_energy > 0):
            raise ValueError(f"incident_energy must be positive, got {self.incident_energy}")
        if not np.isfinite(self.energy_slope):
            raise ValueError(f"energy_slope must be finite, got {self.energy_slope}")

    def sigma_over_bins(self) -> _Reals:
        """(11,) float64, meV. The energy resolution at eleven energies over the bins."""
        bins = np.asarray(self.bins)
        energy = np.linspace(bins.min(), min(bins.max(), self.incident_energy), 11)
        s0, s1, s2 = np.asarray(self.sigma_energy)
        return np.asarray(s0 + s1 * energy + s2 * energy**2)


@dataclass(frozen=True, eq=False)
class ImageFrame:
    """Incident energies, energy bins and pixels of an image.

    Attributes
    ----------
    blocks : EnergyBlock, ... One an incident energy.
    pixels : (n,) float64, r.l.u. Pixel centres along Qh and along Qk, ascending, equally spaced.
    subpixels : int. Points per pixel and axis at which S(Q, E) is taken.
    kf_ki : whether the factor kf / ki of the cross section was corrected for in the data, or is included in them.
    """

    blocks: Sequence[EnergyBlock]
    pixels: npt.ArrayLike
    subpixels: int = 4
    kf_ki: Literal["corrected", "included"] = "corrected"

    def __post_init__(self) -> None:
        pixels = np.array(self.pixels, dtype=np.float64)
        steps = np.diff(pixels)
        if pixels.ndim != 1 or len(pixels) < 2 or not (steps > 0).all() or np.ptp(steps) > 1e-9 * steps[0]:
            raise ValueError("pixels must be an ascending, equally spaced list of at least two centres")
        if isinstance(self.subpixels, bool) or not isinstance(self.subpixels, int) or self.subpixels < 1:
            raise ValueError(f"subpixels must be a whole number of at least 1, got {self.subpixels}")
        if self.kf_ki not in ("corrected", "included"):
            raise ValueError(f"kf_ki must be 'corrected' or 'included', got {self.kf_ki!r}")
        if not len(self.blocks):
            raise ValueError("a frame needs at least one block")
        for block in self.blocks:
            leaning = abs(block.energy_slope) * block.sigma_q * np.sqrt(2.0) * np.abs(pixels).max()
            if leaning and not leaning < block.sigma_over_bins().min():
                raise ValueError(
                    f"the part of E's width that goes with Q is {leaning:.3g} meV at the corners of the frame, but the width "
                    f"of E is only {block.sigma_over_bins().min():.3g} meV: energy_slope {block.energy_slope:g} is too large"
                )
        object.__setattr__(self, "pixels", pixels)
        object.__setattr__(self, "blocks", tuple(self.blocks))

    @property
    def bins(self) -> _Reals:
        """(n_bins, 2) float64, meV. Edges of all bins, block by block."""
        return np.concatenate([np.asarray(block.bins) for block in self.blocks])

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_bins, n_pixels along Qh, n_pixels along Qk)."""
        n = len(np.asarray(self.pixels))
        return len(self.bins), n, n

    @property
    def pixel_edges(self) -> _Reals:
        """(n + 1,) float64, r.l.u."""
        pixels = np.asarray(self.pixels)
        step = pixels[1] - pixels[0]
        return np.concatenate([pixels - step / 2, pixels[-1:] + step / 2])

    def bin_at(self, number: int) -> tuple[float, float, float]:
        """Incident energy, lower and upper energy transfer of bin ``number``, meV."""
        for block in self.blocks:
            bins = np.asarray(block.bins)
            if number < len(bins):
                low, high = bins[number]
                return block.incident_energy, float(low), float(high)
            number -= len(bins)
        raise IndexError(f"the frame has {len(self.bins)} bins")

    def label(self, number: int) -> str:
        """What bin ``number`` is, in words for a plot or a report."""
        incident_energy, low, high = self.bin_at(number)
        return f"Ei = {incident_energy:g} meV, {low:.3g} to {high:.3g} meV"
