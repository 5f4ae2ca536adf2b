"""The published simulations of PCSMO, in which rival models were to be told apart: the same physics, with its slips.

What Butler et al., J. Phys.: Condens. Matter 33, 194006 (2021), did for their Monte-Carlo-resolution images can be read in
the scripts of their public repository (model_eval.m, horace_sqw_red.m, pcsmo_model.m, dimer_model.m and build_dataset.py under
data_generation) and of the interpolation package that they call (brillem). Against what the spectrometer sees:

- S^ab(Q, E) is interpolated on a grid that repeats with the zone of a cell of height c. The two layers of a bilayer lie 0.2 c
  apart, so S^ab repeats only after five such zones: their phase is taken for Ql folded into -1/2 to 1/2, where it is
  nearly what it is at Ql = 0. The antiferromagnetic bilayer is dark there, which empties the lowest energy slices.
- The factor delta_ab - Qa Qb / Q^2 is taken for the true Q, with kinematic Ql.
- The matrix that makes the second twin exchanges x and y and has a zero where c should stay c: that twin is seen at Ql = 0 and
  without S^zz. Both twins are added with weight one.
- No form factor (asked for, but switched off where S^ab is interpolated), no kf/ki, no background.
- The result is multiplied by four, set to zero where no detector looked, and turned upside down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from insdl.instrument.frame import ImageFrame
from insdl.instrument.image import ImageSettings, ImageSimulator
from insdl.instrument.pcsmo import pcsmo_frame
from insdl.model import SpinModel

SCALE = 4.0
"""Factor of the published images on the sum of the two twins, per 1/meV and magnetic cell."""


def layers_in_phase(model: SpinModel) -> SpinModel:
    """The model with all sites at height zero: the same energies, S^ab as at Ql = 0, and the true Q in the polarisation."""
    places = [np.asarray(site.position) * (1.0, 1.0, 0.0) for site in model.sites]
    return replace(
        model, sites=[replace(site, position=place) for site, place in zip(model.sites, places, strict=True)]
    )


def without_out_of_plane(model: SpinModel) -> SpinModel:
    """The model seen without its spin components along z: S^xz, S^yz and S^zz are zero."""
    moments = np.eye(3)[None].repeat(len(model.sites), 0) if model.moments is None else np.asarray(model.moments)
    return replace(model, moments=np.diag([1.0, 1.0, 0.0]) @ moments)


class PublishedSimulator:
    """A model as the published simulations would have shown it.

    Parameters
    ----------
    model : SpinModel. As for `ImageSimulator`; ions are not needed.
    frame : ImageFrame or None. None is the PCSMO frame with four subpixels.
    margin : float, r.l.u. As for `ImageSimulator`.

    Notes
    -----
    Image value: 4 (S_1(Qh, Qk) + S_2(Qk, Qh)), S_1 the mean of S_perp over bin and pixel with S^ab at Ql = 0, S_2 the same
    without z components; energy and momentum widths are the frame's. Left out of the original: the folding of Ql (S^ab is
    taken at 0 instead of -1/2 to 1/2: a factor 0.94 of the layers' interference on average), the interpolation itself, the
    rounding of Q to 0.01 r.l.u., the one percent by which a and b differ in the second twin, and its Monte-Carlo noise.
    """

    def __init__(self, model: SpinModel, frame: ImageFrame | None = None, *, margin: float = 0.1) -> None:
        self.model, self.frame, self.margin = model, pcsmo_frame() if frame is None else frame, margin
        flat = layers_in_phase(model)
        self._first = ImageSimulator(flat, self.frame, margin=margin, form_factor="none")
        self._second = ImageSimulator(without_out_of_plane(flat), self.frame, margin=margin, form_factor="none")

    def simulate(
        self, settings: ImageSettings | None = None, *, threads: int | None = None, **values: float
    ) -> npt.NDArray[np.float64]:
        """The image of one set of parameters, (n_bins, n_h, n_k) float64, in the units of the published files.

        Raises
        ------
        UnstableModelError
            If the structure is unstable at these parameters.
        """
        first, second = _by_twin(settings or ImageSettings())
        image = self._first.simulate(first, threads=threads, **values)
        image += self._second.simulate(second, threads=threads, **values).transpose(0, 2, 1)
        image *= SCALE
        return image

    def simulate_sets(
        self,
        parameters: npt.ArrayLike,
        settings: ImageSettings | Sequence[ImageSettings],
        *,
        threads: int | None = None,
        out: npt.NDArray[Any] | None = None,
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Images of many parameter sets, and which of the sets are stable.

        Parameters
        ----------
        parameters : (n_sets, n_parameters) float64, meV, in the model's order.
        settings : ImageSettings for all, or one a set; twin_fraction must be 0, because both twins are in the image.
        out : (n_sets, n_bins, n_h, n_k) float64 or float32, C-contiguous, or None for a new float64 array.

        Returns
        -------
        images : (n_sets, n_bins, n_h, n_k), in the units of the published files; zero where the set is unstable.
        stable : (n_sets,) bool.
        """
        first: ImageSettings | list[ImageSettings]
        second: ImageSettings | list[ImageSettings]
        if isinstance(settings, ImageSettings):
            first, second = _by_twin(settings)
        else:
            pairs = [_by_twin(one) for one in settings]
            first, second = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        images, stable = self._first.simulate_sets(parameters, first, threads=threads, out=out)
        other, _ = self._second.simulate_sets(parameters, second, threads=threads, out=np.empty_like(images))
        images += other.transpose(0, 1, 3, 2)
        images *= SCALE
        return images, stable


def _by_twin(settings: ImageSettings) -> tuple[ImageSettings, ImageSettings]:
    """Settings of the first twin, and of the second, which is transposed afterwards: its shifts are exchanged."""
    if settings.twin_fraction:
        raise ValueError(
            f"a published image holds both twins already: twin_fraction must be 0, got {settings.twin_fraction}"
        )
    return settings, replace(settings, shift_h=settings.shift_k, shift_k=settings.shift_h)
