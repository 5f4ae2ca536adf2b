"""Pictures of explanations, on physical axes and beside the data that they explain. Figures are made without pyplot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from insdl.explain.atlas import Atlas
from insdl.explain.faithfulness import Faithfulness
from insdl.explain.maximal_activation import Excitation, field_edges, region
from insdl.instrument.frame import ImageFrame

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_Array = npt.NDArray[Any]
_DATA = "log(1 + counts)"


def beside_data(
    frame: ImageFrame,
    image: _Array,
    maps: _Array,
    *,
    title: str,
    label: str,
    measured: npt.NDArray[np.bool_] | None = None,
    cells: Sequence[int] | None = None,
    data_label: str = _DATA,
    scale: str = "signed",
) -> Figure:
    """Cells of an image in the upper row and their maps in the lower one.

    Parameters
    ----------
    image, maps : (n_bins, n_h, n_k), further channels are not shown.
    cells : which cells; None: the eight whose maps sum up to most, in size.
    label : of the maps' colour bar, with their unit.
    scale : "signed" for maps around zero, "data" for maps on the colours of the data.
    """
    from matplotlib.figure import Figure

    n = len(frame.bins)
    data, shown = np.asarray(image, float)[:n], np.asarray(maps, float)[:n]
    if cells is None:
        cells = [int(i) for i in np.argsort(-np.abs(shown.sum(axis=(1, 2))), kind="stable")[: min(8, n)]]
    count = len(cells)
    looked = np.ones(data.shape, dtype=bool) if measured is None else measured
    top = float(np.percentile(data[looked], 99.7)) or 1.0
    bound = float(np.abs(shown[list(cells)]).max()) or 1.0
    figure = Figure(figsize=(1.45 * count + 1.9, 3.9))
    axes = figure.subplots(2, count, squeeze=False, sharex=True, sharey=True)
    width = 1.45 * count + 1.9
    figure.subplots_adjust(0.75 / width, 0.12, 1 - 1.15 / width, 0.8, wspace=0.08, hspace=0.08)
    pictures: list[Any] = [None, None]
    for column, cell in enumerate(cells):
        incident_energy, low, high = frame.bin_at(cell)
        axes[0][column].set_title(f"Ei {incident_energy:g} meV\n{low:.3g}–{high:.3g} meV", fontsize=7.5)
        pictures[0] = _map(axes[0][column], frame, data[cell], "viridis", (0.0, top), looked[cell])
        colours, limits = ("RdBu_r", (-bound, bound)) if scale == "signed" else ("viridis", (0.0, bound))
        pictures[1] = _map(axes[1][column], frame, shown[cell], colours, limits, looked[cell])
        axes[1][column].set_xlabel("Qk (r.l.u.)", fontsize=7)
    for row, name in enumerate(("data", "explanation")):
        axes[row][0].set_ylabel(f"{name}\nQh (r.l.u.)", fontsize=7)
        place = axes[row][-1].get_position()
        bar = figure.add_axes((1 - 1.0 / width, place.y0, 0.14 / width, place.height))
        figure.colorbar(pictures[row], cax=bar).set_label((data_label, label)[row], fontsize=7)
        bar.tick_params(labelsize=6)
    figure.suptitle(title, fontsize=9.5)
    return figure


def kernels(weights: _Array, *, names: Sequence[str], notes: Sequence[str], title: str) -> Figure:
    """Kernels (n, height, width) of a layer with a name and a note each, on one signed colour scale."""
    from matplotlib.figure import Figure

    count = len(weights)
    columns = min(8, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(1.35 * columns + 1.2, 1.65 * rows + 0.7), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    bound = float(np.abs(weights).max()) or 1.0
    picture = None
    for number, axis in enumerate(axes.flat):
        axis.set_xticks([])
        axis.set_yticks([])
        if number >= count:
            axis.set_visible(False)
            continue
        picture = axis.imshow(weights[number], origin="lower", cmap="RdBu_r", vmin=-bound, vmax=bound)
        axis.set_title(names[number], fontsize=6.5)
        axis.set_xlabel(notes[number], fontsize=6.5)
    if picture is not None:
        figure.colorbar(picture, ax=axes, shrink=0.8).set_label(
            "weight; Qk to the right, Qh upwards, in pixels", fontsize=7
        )
    figure.suptitle(title, fontsize=9.5)
    return figure


def filters(
    frame: ImageFrame, image: _Array, activations: _Array, *, channels: Sequence[int], title: str, cells: Sequence[int]
) -> Figure:
    """Data of one cell for each filter above what the filter makes of it: activations (filters, height, width)."""
    from matplotlib.figure import Figure

    count = len(channels)
    figure = Figure(figsize=(1.45 * count + 1.0, 3.7), layout="constrained")
    axes = figure.subplots(2, count, squeeze=False)
    top, bound = float(np.percentile(image, 99.7)) or 1.0, float(np.abs(activations[list(channels)]).max()) or 1.0
    first = second = None
    for column, (channel, cell) in enumerate(zip(channels, cells, strict=True)):
        incident_energy, low, high = frame.bin_at(cell)
        axes[0][column].set_title(f"Ei {incident_energy:g}\n{low:.3g}–{high:.3g} meV", fontsize=7)
        first = _map(axes[0][column], frame, image[cell], "viridis", (0.0, top), None)
        second = _map(axes[1][column], frame, activations[channel], "magma", (0.0, bound), None)
        axes[1][column].set_title(f"filter {channel}", fontsize=7)
        axes[1][column].set_xlabel("Qk (r.l.u.)", fontsize=7)
    for row, (picture, label) in enumerate(((first, _DATA), (second, "activation"))):
        axes[row][0].set_ylabel("Qh (r.l.u.)", fontsize=7)
        if picture is not None:
            figure.colorbar(picture, ax=list(axes[row]), shrink=0.9).set_label(label, fontsize=7)
    figure.suptitle(title, fontsize=9.5)
    return figure


def excitations(frame: ImageFrame, images: _Array, found: Excitation, *, title: str) -> Figure:
    """The images that excite a filter most, in its first cell, with the receptive field that does it framed in red."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    count = len(found.images)
    columns = min(5, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(1.9 * columns + 1.0, 2.25 * rows + 0.7), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    many = len(found.channels) > 1
    shown = [np.mean(images[i][found.channels], axis=0) if many else images[i][found.channels[0]] for i in found.images]
    top = float(np.percentile(np.stack(shown), 99.7)) or 1.0
    edges, picture = frame.pixel_edges, None
    for number, axis in enumerate(axes.flat):
        if number >= count:
            axis.set_visible(False)
            continue
        picture = _map(axis, frame, shown[number], "viridis", (0.0, top), None)
        (bottom, above), (left, right) = edges[found.rows[number]], edges[found.columns[number]]
        axis.add_patch(Rectangle((left, bottom), right - left, above - bottom, fill=False, ec="red", lw=1.4))
        axis.set_title(f"image {found.images[number]}: {found.activation[number]:.3g}", fontsize=7)
        axis.set_xlabel("Qk (r.l.u.)", fontsize=7)
        axis.set_ylabel("Qh (r.l.u.)", fontsize=7)
    if picture is not None:
        data = f"mean of {len(found.channels)} cells, {_DATA}" if many else _DATA
        figure.colorbar(picture, ax=axes, shrink=0.8).set_label(data, fontsize=7)
    where = region(frame, found, 0).bins
    bins = where[0] if len(where) == 1 else f"sees {len(where)} cells"
    figure.suptitle(f"{title}\n{bins}", fontsize=9.5)
    return figure


def points(
    places: _Array,
    labels: _Array,
    names: Sequence[str],
    *,
    title: str,
    axes_labels: tuple[str, str],
    measured: _Array | None = None,
    neighbours: _Array | None = None,
) -> Figure:
    """Simulated images as points of a plane, a colour a class; the measured one as a star, its neighbours ringed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 4.6), layout="constrained")
    axis = figure.subplots()
    for number, name in enumerate(names):
        mine = labels == number
        axis.scatter(
            places[mine, 0], places[mine, 1], s=9, color=f"C{number}", alpha=0.6, lw=0, label=f"simulated, {name}"
        )
    if neighbours is not None:
        near = places[neighbours]
        axis.scatter(near[:, 0], near[:, 1], s=60, fc="none", ec="black", lw=0.9, label="nearest simulated")
    if measured is not None:
        star = np.atleast_2d(measured)
        axis.scatter(star[:, 0], star[:, 1], s=170, marker="*", color="gold", ec="black", label="measured", zorder=5)
    axis.set_xlabel(axes_labels[0])
    axis.set_ylabel(axes_labels[1])
    axis.set_title(title, fontsize=10)
    axis.legend(fontsize=7)
    return figure


def atlas_sheet(frame: ImageFrame, images: _Array, atlas: Atlas, *, title: str, unit: str = "logit") -> Figure:
    """The atlas: for each cell of the grid, the visualisation, and beside it the nearest patch in its image.

    Both are shown as their mean over energy cells, each relative to its largest value. The frame's colour is the
    evidence: red for the target, blue against it.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    size = 1.55
    figure = Figure(figsize=(2 * size * atlas.grid * 0.72 + 1.4, size * atlas.grid * 0.8 + 0.8))
    axes = figure.subplots(atlas.grid, 2 * atlas.grid, squeeze=False)
    figure.subplots_adjust(0.05, 0.06, 0.88, 0.9, wspace=0.06, hspace=0.12)
    for axis in axes.flat:
        axis.set_visible(False)
    bound = max((abs(cell.evidence) for cell in atlas.cells), default=1.0) or 1.0
    n, edges = len(frame.bins), frame.pixel_edges
    for cell in atlas.cells:
        row = atlas.grid - 1 - cell.row
        image, place_h, place_k = cell.nearest[0]
        picture = cell.visualisation if cell.visualisation.size else images[image]
        colour = colormaps["RdBu_r"](0.5 + 0.5 * cell.evidence / bound)
        for side, values in enumerate((picture, images[image])):
            axis = axes[row][2 * cell.column + side]
            axis.set_visible(True)
            mean = np.mean(values[:n], axis=0)
            _map(axis, frame, mean, "viridis", (0.0, float(mean.max()) or 1.0), None)
            axis.set_xticks([])
            axis.set_yticks([])
            for spine in axis.spines.values():
                spine.set(edgecolor=colour, linewidth=2.5)
        h = field_edges(atlas.layer_grid, [place_h], axis=0)[0]
        k = field_edges(atlas.layer_grid, [place_k], axis=1)[0]
        box = Rectangle((edges[k[0]], edges[h[0]]), np.diff(edges[k])[0], np.diff(edges[h])[0], fill=False, ec="red")
        axes[row][2 * cell.column + 1].add_patch(box)
        axes[row][2 * cell.column].set_title(f"{cell.count} vectors", fontsize=6, pad=2)
    bar = figure.add_axes((0.905, 0.2, 0.015, 0.6))
    mappable = ScalarMappable(Normalize(-bound, bound), colormaps["RdBu_r"])
    figure.colorbar(mappable, cax=bar).set_label(f"evidence of a vector ({unit})", fontsize=8)
    figure.text(0.465, 0.015, f"each map: Qk and Qh from {edges[0]:.3g} to {edges[-1]:.3g} r.l.u.; mean over energy cells; "
                "left: what maximises, right: nearest patch in its image", ha="center", fontsize=7)  # fmt: skip
    figure.suptitle(title, fontsize=9.5)
    return figure


def bars(values: _Array, names: Sequence[str], *, title: str, label: str, spread: _Array | None = None) -> Figure:
    """One signed number for each region, with its spread: bands of energy, patches of the Brillouin zone."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.6, 0.26 * len(values) + 1.1), layout="constrained")
    axis = figure.subplots()
    rows = np.arange(len(values))[::-1]
    axis.barh(rows, values, xerr=spread, color=np.where(np.asarray(values) >= 0, "#b2182b", "#2166ac"), capsize=2)
    axis.axvline(0, color="black", lw=0.8)
    axis.set_yticks(rows, list(names), fontsize=7)
    axis.set_xlabel(label)
    axis.set_title(title, fontsize=10)
    return figure


def deletion_curves(found: Mapping[str, Faithfulness], *, label: str, title: str) -> Figure:
    """The answer against the share of the image that was deleted, or inserted: explanation, others, random orders grey."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4 * len(found), 3.4), layout="constrained")
    for axis, (mode, one) in zip(figure.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True):
        for number, curve in enumerate(one.random):
            axis.plot(curve.share, curve.answer, color="0.8", lw=0.7, label="random orders" if number == 0 else None)
        for number, (name, curve) in enumerate(one.others.items()):
            axis.plot(curve.share, curve.answer, color=f"C{number + 1}", label=f"{name} (area {curve.area:.3g})")
        axis.plot(one.curve.share, one.curve.answer, color="C0", lw=2, label=f"explanation (area {one.curve.area:.3g})")
        axis.set_xlabel(f"share of the measured pixels, {mode}")
        axis.set_ylabel(label)
        axis.legend(fontsize=6.5)
    figure.suptitle(title, fontsize=10)
    return figure


def _map(
    axis: Axes,
    frame: ImageFrame,
    values: _Array,
    colours: str,
    limits: tuple[float, float],
    measured: npt.NDArray[np.bool_] | None,
) -> Any:
    """One map over (Qk, Qh); a coarser grid is stretched over the same range, which its pixels share out."""
    edges = frame.pixel_edges
    axis.set_facecolor("0.82")
    axis.tick_params(labelsize=6, length=2)
    axis.set_xticks([-1, 0, 1])
    axis.set_yticks([-1, 0, 1])
    shown = np.ma.masked_array(values, mask=np.ma.nomask if measured is None else ~measured)
    picture = axis.imshow(
        shown, origin="lower", extent=(edges[0], edges[-1], edges[0], edges[-1]), cmap=colours, vmin=limits[0],
        vmax=limits[1], interpolation="nearest",
    )  # fmt: skip
    axis.set_xlim(edges[0], edges[-1])
    axis.set_ylim(edges[0], edges[-1])
    return picture
