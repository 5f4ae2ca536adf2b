"""Pictures on physical axes. Figures are made without pyplot, so nothing global is touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from insdl.instrument.frame import ImageFrame

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from insdl.learn.reliability import CalibrationError, ReliabilityDiagram

_Image = npt.NDArray[np.floating]


def cell_sheet(
    frame: ImageFrame,
    image: _Image,
    *,
    title: str,
    label: str,
    measured: npt.NDArray[np.bool_] | None = None,
    colours: str = "viridis",
    limits: tuple[float, float] | None = None,
    highlight: Sequence[int] = (),
) -> Figure:
    """Every (Ei, energy) cell of an image as a small map over (Qh, Qk): a row an incident energy, a column a slice.

    Parameters
    ----------
    image : (n_bins, n_h, n_k), in the frame's axes; what is not ``measured`` is left grey.
    label : of the colour bar, with its unit.
    highlight : bins to frame in red.
    """
    from matplotlib.figure import Figure

    rows = len(frame.blocks)
    columns = max(len(np.asarray(block.bins)) for block in frame.blocks)
    width, height = 1.12 * columns + 1.9, 1.22 * rows + 0.9
    figure = Figure(figsize=(width, height))  # placed by hand: an automatic layout takes seconds for sixty cells
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    figure.subplots_adjust(0.65 / width, 0.45 / height, 1 - 1.05 / width, 1 - 0.6 / height, wspace=0.08, hspace=0.2)
    shown = np.ma.masked_array(image, mask=np.ma.nomask if measured is None else ~measured)
    low, high = limits if limits is not None else (float(shown.min()), float(np.percentile(shown.compressed(), 99.7)))
    extent = (frame.pixel_edges[0], frame.pixel_edges[-1], frame.pixel_edges[0], frame.pixel_edges[-1])
    number, picture = 0, None
    for row, block in enumerate(frame.blocks):
        bins = np.asarray(block.bins)
        for column, axis in enumerate(axes[row]):
            if column >= len(bins):
                axis.set_visible(False)
                continue
            axis.set_facecolor("0.82")
            picture = axis.imshow(
                shown[number], origin="lower", extent=extent, cmap=colours, vmin=low, vmax=high, interpolation="nearest"
            )
            axis.set_title(f"{bins[column, 0]:.3g}–{bins[column, 1]:.3g} meV", fontsize=7, pad=2)
            axis.set_xticks([-1, 0, 1])
            axis.set_yticks([-1, 0, 1])
            axis.tick_params(labelsize=6, length=2)
            if number in highlight:
                for spine in axis.spines.values():
                    spine.set(edgecolor="red", linewidth=1.8)
            number += 1
        axes[row][0].set_ylabel(f"Ei {block.incident_energy:g}\nQh (r.l.u.)", fontsize=7)
    for axis in axes[-1]:
        axis.set_xlabel("Qk (r.l.u.)", fontsize=7)
    figure.suptitle(title, fontsize=10, y=1 - 0.12 / height)
    if picture is not None:
        bar = figure.add_axes((1 - 0.9 / width, 0.2, 0.16 / width, 0.6))
        figure.colorbar(picture, cax=bar).set_label(label, fontsize=8)
        bar.tick_params(labelsize=7)
    return figure


def cell_bars(frame: ImageFrame, importance: _Image, spread: _Image | None, *, title: str, label: str) -> Figure:
    """One number a cell, (n_bins,), as a coloured table with its spread: incident energies against slices."""
    from matplotlib.figure import Figure

    rows = len(frame.blocks)
    table = importance.reshape(rows, -1)
    errors = None if spread is None else spread.reshape(rows, -1)
    figure = Figure(figsize=(9.5, 3.6), layout="constrained")
    axis = figure.subplots()
    bound = float(np.abs(table).max()) or 1.0
    picture = axis.imshow(table, cmap="RdBu_r", vmin=-bound, vmax=bound, aspect="auto")
    for i, block in enumerate(frame.blocks):
        bins = np.asarray(block.bins)
        for j in range(table.shape[1]):
            text = f"{bins[j].mean():.3g} meV\n{table[i, j]:+.1f}" + (
                "" if errors is None else f" ± {errors[i, j]:.1f}"
            )
            dark = abs(table[i, j]) > 0.6 * bound
            axis.text(j, i, text, ha="center", va="center", fontsize=6.5, color="white" if dark else "black")
    axis.set_yticks(range(rows), [f"{block.incident_energy:g}" for block in frame.blocks])
    axis.set_xticks(range(table.shape[1]), [str(j + 1) for j in range(table.shape[1])])
    axis.set_ylabel("incident energy (meV)")
    axis.set_xlabel("energy slice")
    axis.set_title(title, fontsize=10)
    figure.colorbar(picture, ax=axis, pad=0.01).set_label(label)
    return figure


def histories(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, title: str) -> Figure:
    """Training and validation loss against the epoch, a colour a network: {name: (training, validation)}."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 3.2), layout="constrained")
    axis = figure.subplots()
    for number, (name, (training, validation)) in enumerate(curves.items()):
        epochs = np.arange(1, len(training) + 1)
        axis.plot(epochs, training, "--", color=f"C{number}", lw=1)
        axis.plot(epochs, validation, color=f"C{number}", label=name)
    axis.set_xlabel("epoch")
    axis.set_ylabel("loss (dashed: training, full: validation)")
    axis.set_title(title, fontsize=10)
    axis.legend(fontsize=7)
    return figure


def reliability(
    panels: Mapping[str, tuple[ReliabilityDiagram, CalibrationError]], *, title: str, statement: str
) -> Figure:
    """Frequency against probability with one standard deviation, a panel a classifier, and how many images below.

    Parameters
    ----------
    panels : {name: (diagram, its expected calibration error)}.
    statement : what the probability is of, for the axes.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(0.6 + 3.3 * len(panels), 4.4), layout="constrained")
    axes = figure.subplots(2, len(panels), squeeze=False, sharex=True, sharey="row", height_ratios=(3, 1))
    low = min(float(diagram.probability.min()) for diagram, _ in panels.values())
    for column, (name, (diagram, error)) in enumerate(panels.items()):
        above, below = axes[:, column]
        above.plot([0, 1], [0, 1], color="0.6", lw=0.8)
        bars = np.maximum([diagram.frequency - diagram.low, diagram.high - diagram.frequency], 0.0)
        above.errorbar(diagram.probability, diagram.frequency, yerr=bars, fmt="o", ms=4, lw=1)
        above.set_title(
            f"{name}\ncalibration error {error.value:.3f} ± {error.error:.3f}\n"
            f"by chance {error.floor:.3f}, below {error.floor_95:.3f} in 95 %",
            fontsize=8,
        )
        below.vlines(diagram.probability, 0.5, diagram.count, lw=4)
        below.set_yscale("log")
        below.set_xlabel(f"probability of {statement}", fontsize=8)
        for axis in (above, below):
            axis.tick_params(labelsize=7)
    margin = 0.05 * (1 - low)
    axes[0][0].set_xlim(low - margin, 1 + margin)
    axes[0][0].set_ylim(-0.02, 1.02)
    axes[0][0].set_ylabel(f"how often {statement} is true", fontsize=8)
    axes[1][0].set_ylabel("images", fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure


def estimates(
    truth: _Image, estimate: _Image, sigma: _Image, names: Sequence[str], *, title: str, unit: str = "meV"
) -> Figure:
    """Estimated against true parameters with error bars, one panel a parameter: arrays (n, n_parameters)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(names), 3.8), layout="constrained")
    for number, axis in enumerate(figure.subplots(1, len(names), squeeze=False)[0]):
        x, y, error = truth[:, number], estimate[:, number], sigma[:, number]
        axis.errorbar(x, y, yerr=error, fmt=".", ms=3, lw=0.6, alpha=0.6)
        axis.plot([x.min(), x.max()], [x.min(), x.max()], "k-", lw=0.8)
        axis.set_xlabel(f"true {names[number]} ({unit})")
        axis.set_ylabel(f"estimated {names[number]} ({unit})")
    figure.suptitle(title, fontsize=10)
    return figure


def single_map(
    frame: ImageFrame,
    values: _Image,
    *,
    title: str,
    label: str,
    limits: tuple[float, float],
    measured: npt.NDArray[np.bool_] | None = None,
) -> Figure:
    """One map (n_h, n_k) over (Qh, Qk), signed colours."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 4.3), layout="constrained")
    axis = figure.subplots()
    axis.set_facecolor("0.82")
    extent = (frame.pixel_edges[0], frame.pixel_edges[-1], frame.pixel_edges[0], frame.pixel_edges[-1])
    shown = np.ma.masked_array(values, mask=np.ma.nomask if measured is None else ~measured)
    picture = axis.imshow(shown, origin="lower", extent=extent, cmap="RdBu_r", vmin=limits[0], vmax=limits[1])
    axis.set_xlabel("Qk (r.l.u.)")
    axis.set_ylabel("Qh (r.l.u.)")
    axis.set_title(title, fontsize=10)
    figure.colorbar(picture, ax=axis).set_label(label)
    return figure
