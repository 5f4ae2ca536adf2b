"""Expected images as a function of a list of named numbers: model parameters, image settings and the zero of energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from insdl.instrument.frame import EnergyBlock, ImageFrame
from insdl.instrument.image import ImageSettings, ImageSimulator

_Reals = npt.NDArray[np.float64]

ENERGY_ZERO = "energy_zero"
"""Name of the one number that is neither a parameter nor a setting, meV: see `shifted_frame`."""
_SETTINGS = tuple(field.name for field in fields(ImageSettings))
_KEPT = 32  # simulators of other zeros of energy that are kept


def shifted_frame(frame: ImageFrame, energy_zero: float) -> ImageFrame:
    """The frame of a spectrometer that reads ``energy_zero`` (meV) where the energy transfer is zero.

    A bin that is called [low, high] then holds the energy transfers low - energy_zero to high - energy_zero.
    """
    blocks = [
        EnergyBlock(
            np.asarray(block.bins) - energy_zero,
            block.incident_energy,
            block.sigma_energy,
            block.sigma_q,
            block.fixed_l,
        )
        for block in frame.blocks
    ]
    return ImageFrame(blocks, frame.pixels, frame.subpixels, frame.kf_ki)


class ForwardModel:
    """Images for rows of numbers, each column a name: what likelihoods, derivatives and fits are taken of.

    Parameters
    ----------
    simulator : ImageSimulator.
    names : of the columns: parameters of the model (meV), fields of `ImageSettings`, or "energy_zero" (meV).
    fixed : model parameters that are no columns, by name, meV. Every parameter is one or the other.
    settings : ImageSettings for the settings that are no columns.
    intensity : "per-meV" for the simulator's mean over a bin, or "bin" for the integral over it: this times the bin's width.
    threads : of the kernel.

    Raises
    ------
    ValueError
        If a name is unknown, or a parameter is neither among the names nor fixed, or both.
    """

    def __init__(
        self,
        simulator: ImageSimulator,
        names: Sequence[str],
        *,
        fixed: Mapping[str, float] | None = None,
        settings: ImageSettings | None = None,
        intensity: Literal["per-meV", "bin"] = "per-meV",
        threads: int | None = None,
    ) -> None:
        self.simulator, self.names = simulator, tuple(names)
        self.fixed, self.settings, self.threads = dict(fixed or {}), settings or ImageSettings(), threads
        parameters = simulator.model.parameters
        known = {*parameters, *_SETTINGS, ENERGY_ZERO}
        wrong = [name for name in (*self.names, *self.fixed) if name not in known]
        twice = [name for name in self.names if self.names.count(name) > 1 or name in self.fixed]
        missing = [name for name in parameters if name not in self.names and name not in self.fixed]
        if wrong or twice or missing or any(name not in parameters for name in self.fixed):
            raise ValueError(
                f"names and fixed must hold each of {list(parameters)} once, and names some of {[*_SETTINGS, ENERGY_ZERO]}, "
                f"got names {list(self.names)} and fixed {list(self.fixed)}"
            )
        if intensity not in ("per-meV", "bin"):
            raise ValueError(f"intensity must be 'per-meV' or 'bin', got {intensity!r}")
        bins = simulator.frame.bins
        self.bin_factor: _Reals = np.ones(len(bins)) if intensity == "per-meV" else np.diff(bins, axis=1)[:, 0]
        self._at_zero = lru_cache(maxsize=_KEPT)(self._shifted)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(n_bins, n_h, n_k)."""
        return self.simulator.frame.shape

    def __call__(self, values: npt.ArrayLike) -> _Reals:
        """(n, n_bins, n_h, n_k) float64. Images of the rows of ``values``, (n, n_names); NaN where a model is unstable."""
        rows = np.asarray(values, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != len(self.names):
            raise ValueError(f"values must have shape (n, {len(self.names)}) for {list(self.names)}, got {rows.shape}")
        column = {name: rows[:, i] for i, name in enumerate(self.names)}
        constant = {name: np.full(len(rows), value) for name, value in self.fixed.items()}
        own = {**constant, **column}
        sets = np.stack([own[name] for name in self.simulator.model.parameters], axis=1)
        drawn = [name for name in self.names if name in _SETTINGS]
        settings = [
            replace(self.settings, **{name: float(column[name][i]) for name in drawn}) for i in range(len(rows))
        ]
        zero = column.get(ENERGY_ZERO, np.zeros(len(rows)))
        images = np.empty((len(rows), *self.image_shape))
        for value in np.unique(zero):
            which = np.flatnonzero(zero == value)
            found, stable = self._at_zero(float(value)).simulate_sets(
                sets[which], [settings[i] for i in which], threads=self.threads
            )
            found[~stable] = np.nan
            images[which] = found
        images *= self.bin_factor[:, None, None]
        return images

    def _shifted(self, energy_zero: float) -> ImageSimulator:
        if energy_zero == 0.0:
            return self.simulator
        given = self.simulator
        return ImageSimulator(
            given.model, shifted_frame(given.frame, energy_zero), margin=given.margin, form_factor=_form(given)
        )


def _form(simulator: ImageSimulator) -> Literal["ion", "none"]:
    return "none" if simulator.form_factor == "none" else "ion"
