"""From a model and its parameters to the image that the spectrometer sees, before counting noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from operator import attrgetter
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from insdl import _core
from insdl.crystal import reciprocal
from insdl.folding import fold, lane_order
from insdl.form_factor import form_factor
from insdl.instrument.counts import checked_counts, compiled_counting
from insdl.instrument.frame import ImageFrame
from insdl.mirrors import Mirrors, mirrors_of
from insdl.model import SpinModel
from insdl.spinwave import checked_sets, thread_count
from insdl.units import NEUTRON_E_PER_K2

_Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ImageSettings:
    """What the instrument and the sample do to an image besides the model; the order is that of the compiled kernel.

    Attributes
    ----------
    width_factor : float. Multiplies the energy resolution of the frame.
    broadening : float. Standard deviation growing with the mode's energy, sigma = broadening E, in quadrature.
    extra_sigma_q : float, r.l.u. Momentum width in quadrature with the frame's.
    twin_fraction : float, 0 to 1. Share of the domain with Qh and Qk exchanged.
    shift_h, shift_k : float, r.l.u. What has to be added to a pixel's coordinate to get the crystal's.
    intrinsic_sigma : float, meV. Standard deviation that every mode has of its own, in quadrature.
    temperature : float, K. Of the Bose factor 1 / (1 - exp(-E / kB T)) of neutron energy loss; 0 for none. Modes nearer to
        zero than a tenth of their energy width have the factor of that energy.
    mosaic : float, radian, at most 0.2. Standard deviation of the angle by which the sample's blocks are turned around c.
    """

    width_factor: float = 1.0
    broadening: float = 0.0
    extra_sigma_q: float = 0.0
    twin_fraction: float = 0.0
    shift_h: float = 0.0
    shift_k: float = 0.0
    intrinsic_sigma: float = 0.0
    temperature: float = 0.0
    mosaic: float = 0.0

    def __post_init__(self) -> None:
        values = np.array(_row(self), dtype=np.float64)
        negative = (values[[0, 1, 2, 3, 6, 7, 8]] < 0).any()
        if not np.isfinite(values).all() or negative or self.twin_fraction > 1 or self.mosaic > 0.2:
            raise ValueError(
                "image settings must be finite, widths, temperature and mosaic not negative, twin_fraction in [0, 1], "
                f"mosaic at most 0.2: {self}"
            )


class ImageSimulator:
    """A model seen through a frame: folding and geometry worked out once, then any number of parameter sets.

    Parameters
    ----------
    model : SpinModel. Layered (no bond leaves the layer along c), in split form, c perpendicular to a and b.
    frame : ImageFrame.
    margin : float, r.l.u. How far beyond the pixels S(Q, E) is sampled, for resolution and shifts.
    form_factor : "ion" for the mean <j0> of the sites' ions, or "none" for 1; then no site needs an ion.

    Notes
    -----
    Image value: mean over bin and pixel of sum over modes of S_perp(Q) <F(Q)>^2 G(E - E_mode), in 1/meV per magnetic cell,
    where Q = (Qh, Qk, Ql) with Ql = (ki - sqrt(kf^2 - Qx^2 - Qy^2)) / c* for the beam along c*, at the mode's energy, and
    <F> is the mean of the ions' <j0>. Energy bins are error-function integrals; pixels are integrals of the momentum
    resolution over subpixel points; where a block has an energy_slope, covariances of E with Q are taken to their second
    order. A mode at exactly zero energy whose weight diverges (an antiferromagnet's Goldstone
    point) is left out. H(q) is solved once for all points equal modulo a reciprocal vector of the magnetic
    cell or a sign; where S(Q, E) has both mirrors (`insdl.mirrors`), points with Qh, Qk >= 0 stand for all four quarters,
    and where Qh and Qk can be exchanged besides, those with Qk <= Qh.
    """

    def __init__(
        self,
        model: SpinModel,
        frame: ImageFrame,
        *,
        margin: float = 0.1,
        form_factor: Literal["ion", "none"] = "ion",
    ) -> None:
        if form_factor not in ("ion", "none"):
            raise ValueError(f"form_factor must be 'ion' or 'none', got {form_factor!r}")
        if not model.core.is_layered:
            raise ValueError("an image needs a layered model, but a bond couples magnetic cells along c")
        if not model.core.is_split:
            raise ValueError("an image needs a model in split form (collinear, or coplanar without mixed terms)")
        lattice, magnetic = np.asarray(model.lattice), np.asarray(model.magnetic_lattice)
        for cell, what in ((lattice, "lattice"), (magnetic, "magnetic_lattice")):
            if np.abs(cell[:2] @ cell[2]).max() > 1e-6 * np.linalg.norm(cell[2]) ** 2:
                raise ValueError(f"an image needs c perpendicular to a and b, got {what} {cell.tolist()}")
        if abs(np.linalg.norm(lattice[2]) - np.linalg.norm(magnetic[2])) > 1e-6:
            raise ValueError("an image needs a magnetic cell with the c axis of the chemical cell")
        self.model, self.frame, self.margin = model, frame, margin
        self.form_factor: Literal["ion", "none"] = form_factor
        self._image = self._build(margin)

    def __reduce__(self) -> tuple[Any, ...]:  # built anew in another process
        return _built, (self.model, self.frame, self.margin, self.form_factor)

    def _build(self, margin: float) -> _core.Image:
        frame, model = self.frame, self.model
        pixels, edges = np.asarray(frame.pixels), frame.pixel_edges
        step = (pixels[1] - pixels[0]) / frame.subpixels
        extra = int(np.ceil(margin / step))
        count = len(pixels) * frame.subpixels + 2 * extra
        grid = edges[0] + (np.arange(count) - extra + 0.5) * step
        self.mirrors: Mirrors = mirrors_of(model) if abs(grid[0] + grid[-1]) < 1e-9 * step else "none"
        if self.mirrors != "none":
            grid = np.ascontiguousarray(grid[grid > -0.25 * step])
        h, k = (axis.ravel() for axis in np.meshgrid(grid, grid, indexing="ij"))
        kept = np.flatnonzero((k <= h) | (self.mirrors != "square"))
        folded = fold(np.stack([h, k], axis=1)[kept], model.q_to_magnetic[:2, :2])
        plus, minus = (np.where(table < 0, -1, kept[table]).astype(np.int32) for table in (folded.plus, folded.minus))
        if self.mirrors != "none":  # what is seen at -(q + G) is seen at q + G, which is not among the points
            plus = np.where(plus < 0, minus, plus)
        solve_q = folded.solve_q
        if self.mirrors != "none":  # which G a q has has changed, and with it the best order for the lanes
            order = lane_order(plus >= 0, solve_q)
            plus, minus = np.ascontiguousarray(plus[:, order]), np.ascontiguousarray(minus[:, order])
            solve_q = np.ascontiguousarray(solve_q[order])
        self._solve_q_rlu = np.column_stack([solve_q, np.zeros(len(solve_q))])
        blocks = [
            [
                block.incident_energy,
                np.nan if block.fixed_l is None else block.fixed_l,
                *np.asarray(block.sigma_energy),
                block.sigma_q,
                block.energy_slope,
            ]
            for block in frame.blocks
        ]
        counts = [len(np.asarray(block.bins)) for block in frame.blocks]
        table, table_step = self._form_factor_table(np.abs(grid).max())
        return _core.Image(
            model=model.core,
            solve_q=solve_q,
            shift=folded.shift,
            plus=plus,
            minus=minus,
            grid=grid,
            mirrored=self.mirrors != "none",
            exchanged=self.mirrors == "square",
            pixel_edges=edges,
            blocks=np.array(blocks, dtype=np.float64),
            block_bins=np.stack([np.cumsum([0, *counts[:-1]]), counts], axis=1).astype(np.int64),
            bins=np.ascontiguousarray(frame.bins),
            form_factor=table,
            form_factor_step=table_step,
            kf_over_ki=frame.kf_ki == "included",
        )

    def _form_factor_table(self, largest: float) -> tuple[_Reals, float]:
        """Squared mean form factor against Q^2, up to the largest Q that the frame can reach."""
        cell = reciprocal(self.model.lattice)
        ends = [4.0 * block.incident_energy / NEUTRON_E_PER_K2 for block in self.frame.blocks if block.fixed_l is None]
        for block in self.frame.blocks:
            if block.fixed_l is not None:
                ends.append(float(np.sum((np.array([largest, largest, block.fixed_l]) @ np.abs(cell)) ** 2)))
        step = 0.01
        q = np.sqrt(np.arange(0.0, max(ends) + 2 * step, step))
        if self.form_factor == "none":
            return np.ones_like(q), step
        ions = [site.ion for site in self.model.sites]
        if None in ions:
            raise ValueError(
                f"an image needs the ion of every site for the form factor; site {ions.index(None)} has none"
            )
        weights = {ion: ions.count(ion) / len(ions) for ion in ions if ion is not None}
        mean = np.sum([weight * form_factor(ion, q) for ion, weight in weights.items()], axis=0)
        return np.ascontiguousarray(mean**2), step

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
        settings : ImageSettings for all, or one a set.
        out : (n_sets, n_bins, n_h, n_k) float64 or float32, C-contiguous, or None for a new float64 array. Where the images
            go; a stream of images reuses one. Everything is worked out in double precision.

        Returns
        -------
        images : (n_sets, n_bins, n_h, n_k), 1/meV per magnetic cell; zero where the set is unstable.
        stable : (n_sets,) bool.
        """
        sets = checked_sets(self.model, parameters)
        rows = self._rows(settings, len(sets))
        shape = (len(sets), *self.frame.shape)
        images = np.empty(shape) if out is None else out
        if images.shape != shape or images.dtype not in (np.float64, np.float32) or not images.flags.c_contiguous:
            raise ValueError(
                f"out must be a C-contiguous float64 or float32 array of shape {shape}, got {images.dtype} {images.shape}"
            )
        return images, np.isnan(self._image.simulate(sets, rows, images, None, thread_count(threads)))

    def simulate_counts(
        self,
        parameters: npt.ArrayLike,
        settings: ImageSettings | Sequence[ImageSettings],
        *,
        seed: int,
        stream: str,
        indices: npt.ArrayLike,
        form: Literal["poisson", "subtracted"] = "poisson",
        level: Literal["absolute", "relative"] = "absolute",
        scale: npt.ArrayLike = 1.0,
        background: npt.ArrayLike = 0.0,
        sigma: npt.ArrayLike = 0.0,
        lowest: float = 0.0,
        highest: float = float("inf"),
        threads: int | None = None,
        out: npt.NDArray[np.float32] | None = None,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Counts of many parameter sets, and which of the sets are stable: `simulate_sets` and `count_images` in one.

        Every image is counted by the thread that made it, before the next one takes its place in the processor's cache; the
        counts are those of `count_images`.

        Parameters
        ----------
        parameters, settings : as in `simulate_sets`.
        seed, stream, indices, form, level, scale, background, sigma, lowest, highest : as in `count_images`.
        out : (n_sets, n_bins, n_h, n_k) float32, C-contiguous, or None for a new array.

        Returns
        -------
        counts : (n_sets, n_bins, n_h, n_k) float32, counts; zero where the set is unstable.
        stable : (n_sets,) bool.
        """
        sets = checked_sets(self.model, parameters)
        rows = self._rows(settings, len(sets))
        shape = (len(sets), *self.frame.shape)
        counting = compiled_counting(
            shape, seed=seed, stream=stream, indices=indices, form=form, level=level, scale=scale,
            background=background, sigma=sigma, lowest=lowest, highest=highest,
        )  # fmt: skip
        counts = checked_counts(out, shape)
        return counts, np.isnan(self._image.simulate(sets, rows, counts, counting, thread_count(threads)))

    def _rows(self, settings: ImageSettings | Sequence[ImageSettings], n: int) -> _Reals:
        """(n, numbers of ImageSettings) float64: one row a set, within the reach of the sampled points."""
        if isinstance(settings, ImageSettings):
            rows = np.tile(_row(settings), (n, 1))
        elif len(settings) == n:
            numbers = chain.from_iterable(map(_row, settings))  # an array of tuples would take most of the call's time
            rows = np.fromiter(numbers, dtype=np.float64).reshape(n, -1)
        else:
            raise ValueError(f"one ImageSettings is needed for each of the {n} sets, got {len(settings)}")
        self._check_reach(rows)
        if rows[:, 8].any() and any(block.energy_slope for block in self.frame.blocks):
            raise ValueError("a mosaic cannot be had with a resolution that leans: energy_slope must be 0")
        return rows

    def simulate(self, settings: ImageSettings | None = None, *, threads: int | None = None, **values: float) -> _Reals:
        """The image of one set of parameters, (n_bins, n_h, n_k) float64, 1/meV per magnetic cell.

        Raises
        ------
        UnstableModelError
            If the structure is unstable at these parameters.
        """
        sets = self.model.values(values)[None]
        images, stable = self.simulate_sets(sets, settings or ImageSettings(), threads=threads)
        if not stable[0]:
            keywords: dict[str, Any] = dict(values)
            self.model.modes(self._solve_q_rlu, threads=threads, **keywords)  # raises UnstableModelError, with the q
            raise AssertionError("the image is unstable at a q where the model is not")
        image: _Reals = images[0]
        return image

    def _check_reach(self, rows: _Reals) -> None:
        """Fails where widths and shifts, (n_sets, 9) in the order of ImageSettings, reach beyond the sampled margin."""
        if not len(rows):
            return
        along = rows[:, 8] * np.abs(self.frame.pixel_edges).max()  # where the mosaic is widest
        sigma = np.hypot(max(block.sigma_q for block in self.frame.blocks), np.hypot(rows[:, 2], along).max())
        if 3.0 * sigma + np.abs(rows[:, 4:6]).max() <= self.margin:
            return
        for row, width in zip(rows, np.hypot(rows[:, 2], along), strict=True):
            sigma = max(np.hypot(block.sigma_q, width) for block in self.frame.blocks)
            reach = 3.0 * sigma + np.abs(row[4:6]).max()
            if reach > self.margin + 1e-9 and reach > 0:
                raise ValueError(
                    f"three momentum widths and the shift reach {reach:.3g} r.l.u. beyond the pixels, but S(Q, E) is "
                    f"sampled only {self.margin:.3g} beyond: give the simulator a larger margin"
                )


def _built(model: SpinModel, frame: ImageFrame, margin: float, form_factor: Literal["ion", "none"]) -> ImageSimulator:
    return ImageSimulator(model, frame, margin=margin, form_factor=form_factor)


_row: Callable[[ImageSettings], tuple[float, ...]] = attrgetter(*(field.name for field in fields(ImageSettings)))
"""The numbers of settings in the order of the compiled kernel."""
