"""The figure of a run: modes per second against sites and against momentum transfers, and the distance to the peak."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from series import Point

INSDL, LIGHT, LIGHTER = "#08519c", "#3182bd", "#6baed6"
GREEN, ORANGE, GREY = "#238b45", "#d95f02", "0.45"
FORMS = (
    ("real", "insdl, real N × N", INSDL),
    ("complex", "insdl, complex N × N", LIGHT),
    ("full", "insdl, full 2N × 2N", LIGHTER),
)
PEERS = (("LAPACK", "NumPy, LAPACK", GREY), ("pySpinW", "pySpinW", ORANGE))


def _line(
    axis: Axes, points: Iterable[Point], colour: str, *, rates: bool = True, style: str = "-"
) -> tuple[float, float]:
    """Draws one series and returns where it ends."""
    chosen = sorted(points, key=lambda point: point.x)
    values = [point.rate if rates else point.gflops or 0.0 for point in chosen]
    axis.plot([point.x for point in chosen], values, style, color=colour, marker="o", markersize=3.5, linewidth=1.6)
    return chosen[-1].x, values[-1]


def _label(axis: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Names beside the ends of the lines, pushed up where the one below would touch them."""
    axis.figure.draw_without_rendering()  # the limits are final and the layout is made
    to_pixels, placed = axis.transData.transform, -1e9
    for x, y, name, colour in sorted(ends, key=lambda end: end[1]):
        height = float(to_pixels((x, y))[1])
        placed = max(height, placed + 0.14 * axis.figure.dpi)
        axis.annotate(
            name, (x, y), xytext=(6, (placed - height) * 72 / axis.figure.dpi), textcoords="offset points", va="center",
            fontsize=8, color=colour, annotation_clip=False,
        )  # fmt: skip


def _style(axis: Axes, title: str, x: str, y: str) -> None:
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_title(title, fontsize=9.5, loc="left")
    axis.set_xlabel(x, fontsize=9)
    axis.set_ylabel(y, fontsize=9)
    axis.tick_params(labelsize=8)
    axis.grid(which="major", color="0.9", linewidth=0.7)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def _sites(axis: Axes, points: Sequence[Point]) -> None:
    sizes = sorted({point.x for point in points})
    axis.set_xticks(sizes)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.0f}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.minorticks_off()
    axis.set_xlim(sizes[0] / 1.3, sizes[-1] * 1.3)


def _of(points: Iterable[Point], series: str, threads: int | None = None) -> list[Point]:
    return [p for p in points if p.series == series and (threads is None or p.threads == threads)]


def speed(results: dict[str, Any]) -> Figure:
    """Three panels: what a run of compare.py found."""
    size, count, limits = results["size"], results["count"], results["roofline"]
    figure = Figure(figsize=(13.0, 3.9), layout="constrained")
    left, middle, right = figure.subplots(1, 3)

    ends = [
        (*_line(left, _of(size, series), colour), name, colour)
        for series, name, colour in (*FORMS, *PEERS)
        if _of(size, series)
    ]
    _style(left, "Energies and intensities, one thread", "sites in the magnetic cell, N", "modes per second")
    _sites(left, size)
    _label(left, ends)

    most = max(point.threads for point in count)
    ends = []
    for magnet, colour in (("PCSMO, N = 16", INSDL), ("Rb₂MnF₄, N = 2", GREEN)):
        for series, name, shade in (
            (magnet, magnet, colour),
            (f"{magnet}, pySpinW", f"pySpinW, {magnet.partition(', ')[2]}", ORANGE),
        ):
            if not _of(count, series, most):
                continue
            end = _line(middle, _of(count, series, most), shade)
            if most > 1 and shade != ORANGE:
                _line(middle, _of(count, series, 1), shade, style=":")
            if series.endswith("pySpinW") and end[0] < max(point.x for point in _of(count, "Rb₂MnF₄, N = 2, pySpinW")):
                middle.annotate(name, end, xytext=(-2, -12), textcoords="offset points", fontsize=8, color=shade)
            else:
                ends.append((*end, name, shade))
    title = f"{most} threads" + (" (dotted: one)" if most > 1 else "")
    _style(middle, f"Energies and intensities, {title}", "momentum transfers in one call", "modes per second")
    _label(middle, ends)

    solved = [point for point in size if point.gflops is not None]
    ends = [
        (*_line(right, _of(solved, series), colour, rates=False), name.removeprefix("insdl, "), colour)
        for series, name, colour in FORMS
        if _of(solved, series)
    ]
    _style(right, "Useful arithmetic, one thread", "sites in the magnetic cell, N", "GFLOP/s")
    right.set_yscale("linear")
    top = max(end[1] for end in ends)
    if limits is not None:
        top = limits["peak"]
        right.axhline(top, color="0.2", linewidth=1.0)
        right.annotate(
            f"peak of one core, {top:.0f} GFLOP/s", (solved[0].x, top), xytext=(0, 3), textcoords="offset points",
            fontsize=8, color="0.2",
        )  # fmt: skip
    right.set_ylim(0.0, 1.1 * top)
    _sites(right, solved)
    _label(right, ends)
    return figure
