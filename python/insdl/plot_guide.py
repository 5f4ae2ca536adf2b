"""Pictures of advice: what each energy cell is expected to tell, beside what was measured there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from insdl.instrument.frame import ImageFrame

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from insdl.guide.advice import Advice

_Reals = npt.NDArray[np.float64]


def advice_figure(
    advice: Advice, frame: ImageFrame, counts: npt.NDArray[Any], measured: npt.NDArray[np.bool_], *, strongest: int = 3
) -> Figure:
    """Expected evidence by incident energy and energy transfer, the data beside it, and maps of the strongest cells.

    Parameters
    ----------
    frame : of ``counts``, (n_bins, n_h, n_k), counts in unit time. measured : bool, the same shape.
    strongest : cells that are shown as maps.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.1 * (strongest + 1), 8.4), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1.0, 1.25))
    top, bottom = parts
    left, right = top.subplots(1, 2)
    seen = np.maximum(measured.sum(axis=(1, 2)), 1)
    means = np.sum(counts, axis=(1, 2), where=measured) / seen
    _cells(left, frame, advice.cells, "viridis", f"expected evidence in {advice.time:g} time units (nats)")
    _cells(right, frame, means, "magma", "mean measured intensity (counts in unit time)")
    left.set_title(f"where evidence comes from: {advice.pair[0]} or {advice.pair[1]}", fontsize=9)
    right.set_title("the data", fontsize=9)
    order = np.argsort(advice.cells)[::-1][:strongest]
    axes = bottom.subplots(2, strongest, squeeze=False)
    energies = np.concatenate([np.full(len(np.asarray(b.bins)), b.incident_energy) for b in frame.blocks])
    bound = float(np.abs(advice.pixels[order]).max()) or 1.0
    for column, cell in enumerate(order):
        low, high = frame.bins[cell]
        shown = np.ma.masked_array(counts[cell], mask=~measured[cell])
        limit = float(np.percentile(counts[cell][measured[cell]], 99)) if measured[cell].any() else 1.0
        first = _map(axes[0][column], frame, shown, "magma", (0.0, max(limit, 1e-9)))
        second = _map(axes[1][column], frame, advice.pixels[cell], "RdBu_r", (-bound, bound))
        axes[0][column].set_title(f"Ei {energies[cell]:g} meV, E {low:.3g} to {high:.3g} meV", fontsize=8)
        figure.colorbar(first, ax=axes[0][column], shrink=0.8).set_label("counts in unit time", fontsize=7)
        figure.colorbar(second, ax=axes[1][column], shrink=0.8).set_label("evidence of a pixel (nats)", fontsize=7)
    return figure


def _cells(axis: Axes, frame: ImageFrame, values: _Reals, colours: str, label: str) -> None:
    """A rectangle for each energy bin: energy transfer across, one row for each incident energy."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    norm = Normalize(min(0.0, float(values.min())), max(float(values.max()), 1e-12))
    number = 0
    for row, block in enumerate(frame.blocks):
        for low, high in np.asarray(block.bins):
            axis.broken_barh(
                [(low, high - low)],
                (row - 0.42, 0.84),
                facecolors=colormaps[colours](norm(values[number])),
                ec="0.6",
                lw=0.4,
            )
            number += 1
    axis.set_yticks(range(len(frame.blocks)), [f"{block.incident_energy:g}" for block in frame.blocks])
    axis.set_xlabel("energy transfer (meV)")
    axis.set_ylabel("incident energy (meV)")
    axis.figure.colorbar(ScalarMappable(norm, colours), ax=axis).set_label(label, fontsize=8)


def _map(axis: Axes, frame: ImageFrame, values: Any, colours: str, limits: tuple[float, float]) -> Any:
    edges = frame.pixel_edges
    axis.set_facecolor("0.82")
    axis.tick_params(labelsize=6)
    axis.set_xlabel("Qk (r.l.u.)", fontsize=7)
    axis.set_ylabel("Qh (r.l.u.)", fontsize=7)
    return axis.imshow(
        values, origin="lower", extent=(edges[0], edges[-1], edges[0], edges[-1]), cmap=colours, vmin=limits[0],
        vmax=limits[1], interpolation="nearest",
    )  # fmt: skip
