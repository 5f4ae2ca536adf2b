"""Pictures of a verdict: situations, parameters, and the cells that tell two models apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from insdl.instrument.frame import ImageFrame

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_Reals = npt.NDArray[np.float64]
_COLOURS = ("#2b6cb0", "#dd6b20", "#2f855a", "#805ad5", "#b7791f")
_NONE = "#a0aec0"


def situations(probabilities: Mapping[str, Mapping[str, float]], *, required: float, title: str) -> Figure:
    """Probabilities of the classes, a bar for each situation, with the probability that an answer needs.

    Parameters
    ----------
    probabilities : by situation and class; "none" is grey.
    required : drawn as a line.
    """
    from matplotlib.figure import Figure

    names = list(next(iter(probabilities.values())))
    rows = list(probabilities)
    figure = Figure(figsize=(8.2, 0.9 + 0.27 * len(rows)), layout="constrained")
    axis = figure.subplots()
    left = np.zeros(len(rows))
    for number, name in enumerate(names):
        width = np.array([probabilities[row][name] for row in rows])
        colour = _NONE if name == "none" else _COLOURS[number % len(_COLOURS)]
        axis.barh(range(len(rows)), width, left=left, color=colour, label=name.replace("_", " "), height=0.75)
        left += width
    axis.axvline(required, color="black", lw=0.9, ls="--")
    axis.set_yticks(range(len(rows)), rows, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlim(0, 1)
    axis.set_xlabel(f"calibrated probability (dashed: {required:g}, which an answer needs)", fontsize=8)
    axis.tick_params(axis="x", labelsize=8)
    axis.set_title(title, fontsize=10)
    figure.legend(loc="outside lower center", ncols=len(names), fontsize=8)
    return figure


def parameter_ranges(
    priors: Mapping[str, tuple[float, float]],
    estimates: Mapping[str, Mapping[str, tuple[float, float]]],
    *,
    title: str,
    unit: str = "meV",
) -> Figure:
    """Values with errors, a panel a parameter, each as wide as what was possible beforehand.

    Parameters
    ----------
    priors : lowest and highest value by parameter.
    estimates : by method and parameter: value and standard deviation.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.2, 0.8 + 0.9 * len(priors)), layout="constrained")
    axes = figure.subplots(len(priors), 1, squeeze=False)[:, 0]
    for axis, (name, (low, high)) in zip(axes, priors.items(), strict=True):
        axis.axvspan(low, high, color="0.93")
        for number, (method, values) in enumerate(estimates.items()):
            if name not in values:
                continue
            value, error = values[name]
            colour = _COLOURS[number % len(_COLOURS)]
            axis.errorbar(value, -number, xerr=error, fmt="o", ms=4, lw=1.6, capsize=2.5, color=colour, label=method)
        margin = 0.02 * (high - low)
        axis.set_xlim(low - margin, high + margin)
        axis.set_ylim(-len(estimates) + 0.4, 0.6)
        axis.set_yticks([])
        axis.tick_params(labelsize=7)
        axis.set_ylabel(f"{name}\n({unit})", rotation=0, ha="right", va="center", fontsize=8)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=max(1, len(labels)), fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure


def telling_cells(
    frame: ImageFrame,
    cells: Sequence[int],
    rows: Mapping[str, _Reals],
    difference: tuple[str, _Reals],
    *,
    measured: npt.NDArray[np.bool_],
    notes: Sequence[str],
    title: str,
    label: str,
    difference_label: str,
) -> Figure:
    """A few cells, a column each: data and models in one colour scale a column, and below it a signed difference.

    Parameters
    ----------
    cells : bins of the frame. rows : images (n_bins, n_h, n_k) by name. difference : name and image of the last row.
    measured : bool; what is not is grey. notes : a line above each column.
    label, difference_label : of the colour bars, with their units.
    """
    from matplotlib.figure import Figure

    last, apart = difference
    width, height = 2.05 * len(cells) + 1.3, 1.75 * (len(rows) + 1) + 1.1
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(len(rows) + 1, len(cells), squeeze=False, sharex=True, sharey=True)
    extent = (frame.pixel_edges[0], frame.pixel_edges[-1], frame.pixel_edges[0], frame.pixel_edges[-1])
    bound = max(float(np.abs(apart[cell][measured[cell]]).max()) for cell in cells) or 1.0
    for column, cell in enumerate(cells):
        dark = ~measured[cell]
        models = np.concatenate([image[cell][measured[cell]] for image in list(rows.values())[1:]])
        top = float(np.percentile(models, 99.5)) * 1.25 or 1.0
        for axis, (name, image) in zip(axes[:-1, column], rows.items(), strict=True):
            axis.set_facecolor("0.82")
            shown = np.ma.masked_array(image[cell], mask=dark)
            picture = axis.imshow(
                shown, origin="lower", extent=extent, cmap="viridis", vmin=0.0, vmax=top, interpolation="nearest"
            )
            if column == 0:
                axis.set_ylabel(f"{name}\nQh (r.l.u.)", fontsize=7)
        bar = figure.colorbar(picture, ax=list(axes[:-1, column]), location="bottom", shrink=0.9, aspect=25)
        bar.set_label(label, fontsize=7)
        bar.ax.tick_params(labelsize=6)
        axis = axes[-1, column]
        axis.set_facecolor("0.82")
        signed = axis.imshow(
            np.ma.masked_array(apart[cell], mask=dark), origin="lower", extent=extent, cmap="RdBu_r", vmin=-bound,
            vmax=bound, interpolation="nearest",
        )  # fmt: skip
        if column == 0:
            axis.set_ylabel(f"{last}\nQh (r.l.u.)", fontsize=7)
        axis.set_xlabel("Qk (r.l.u.)", fontsize=7)
        incident, low, high = frame.bin_at(cell)
        axes[0][column].set_title(
            f"Ei {incident:g} meV\nE {low:.3g} to {high:.3g} meV\n{notes[column]}", fontsize=7.5, pad=3
        )
    for axis in axes.ravel():
        axis.set_xticks([-1, 0, 1])
        axis.set_yticks([-1, 0, 1])
        axis.tick_params(labelsize=6, length=2)
    bar = figure.colorbar(signed, ax=list(axes[-1]), location="bottom", shrink=0.5, aspect=35)
    bar.set_label(difference_label, fontsize=7)
    bar.ax.tick_params(labelsize=6)
    figure.suptitle(title, fontsize=10)
    return figure
