"""What a run found, as Markdown: the table of targets, and what speed depends on."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from flops import bytes_moved
from rows import Row, shown, spaced
from series import Point
from threadpoolctl import threadpool_info

from insdl.instruction_set import instruction_set
from insdl.spinwave import thread_count

Results = dict[str, Any]
BUSY = 0.1
"""Processors; if other processes used more than that, the tables say so."""


def machine() -> dict[str, Any]:
    """The processor, how busy it is, and the versions that take part."""
    found = {"processor": platform.processor() or platform.machine()}
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        found["processor"] = names[0] if names else found["processor"]
    for name in ("insdl", "numpy", "pyspinw"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    libraries = [library for library in threadpool_info() if library["user_api"] == "blas"]
    blas = [f"{library['internal_api']} {'.'.join(str(library['version']).split('.')[:3])}" for library in libraries]
    return {
        **found,
        "python": platform.python_version(),
        "blas": blas[0] if blas else "unknown",
        "processors": thread_count(None),
        "instruction_set": instruction_set(),
    }


def _table(head: tuple[str, ...], lines: Sequence[tuple[str, ...]]) -> str:
    ruled = [head, ("---",) * len(head), *lines]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in ruled)


def _value(value: float, unit: str) -> str:
    number = spaced(value) if value >= 100 else f"{value:.3g}"
    return f"{number} {'×' if unit == 'x' else unit}"


def targets(rows: list[Row]) -> str:
    """The table of targets."""
    lines = []
    for row in rows:
        side = "at most" if row.at_most else "at least"
        limit = "" if row.wanted is None else f"{side} {_value(row.wanted, row.unit)}"
        measured = "not available" if row.value is None else f"**{_value(row.value, row.unit)}**"
        reached = {None: "", True: "yes", False: "no"}[row.met]
        lines.append((row.work, row.against, str(row.threads), measured, limit, reached, row.detail))
    return _table(("work", "against", "threads", "measured", "target", "reached", "medians"), lines)


def roof(points: list[Point], peak: float, bandwidth: float) -> str:
    """How near the useful arithmetic comes to the machine's peak."""
    lines = []
    for point in points:
        if point.gflops is None or point.x not in (4, 16, 32, 64, 128):
            continue
        n = int(point.x)
        moved = 1e-9 * point.rate / n * bytes_moved(n)
        lines.append(
            (
                {"real": "split, real", "complex": "split, complex", "full": "full"}[point.series],
                str(n),
                f"{1e-6 * point.rate:.3g}",
                f"{point.gflops:.3g}",
                f"{point.gflops / peak:.0%}",
                f"{moved / bandwidth:.1%}",
            )
        )
    head = ("form", "N", "10⁶ modes/s", "GFLOP/s", "of the peak", "of the bandwidth")
    return _table(head, sorted(lines, key=lambda line: (line[0] == "full", line[0] != "split, real", int(line[1]))))


def variants(found: list[dict[str, Any]]) -> str:
    """Time a q by magnet, instruction set and precision."""
    sets = list(dict.fromkeys(row["instruction_set"] for row in found))
    cells = {(row["magnet"], row["instruction_set"], row["precision"]): row for row in found}
    lines = []
    for magnet in dict.fromkeys(row["magnet"] for row in found):
        for precision in ("double", "single"):
            times = [shown(1e-9 * cells[magnet, name, precision]["ns_per_q"]) for name in sets]
            last = cells[magnet, sets[-1], precision]
            errors = (
                (f"{last['energy_error']:.0e}", f"{last['intensity_error']:.0e}")
                if "energy_error" in last
                else ("", "")
            )
            lines.append((magnet, precision, *times, *errors))
    return _table(("magnet", "precision", *sets, "energies off by", "intensities off by"), lines)


def image_rates(points: list[Point]) -> str:
    """Images per second by subpixels and threads."""
    counts = sorted({point.threads for point in points})
    cells = {(point.series, point.x, point.threads): point.rate for point in points}
    lines = [
        (name, f"{x:.0f} × {x:.0f}", *(spaced(cells[name, x, threads]) for threads in counts))
        for name, x in dict.fromkeys((point.series, point.x) for point in points)
    ]
    return _table(("images", "subpixels", *(f"a second, threads = {threads}" for threads in counts)), lines)


def _warnings(results: Results) -> str:
    """What a reader must know before believing a number."""
    others = max((row.others for row in results["rows"] if row.others is not None), default=0.0)
    words = ""
    if results["quick"]:
        words += " **A quick run: few q, few repeats; its numbers only show that the tool works.**"
    if others > BUSY:
        words += f" **Other processes kept up to {others:.1f} processors busy meanwhile: measure again.**"
    return words


def markdown(results: Results) -> str:
    """All tables of a run, with what it ran on."""
    about, limits = results["machine"], results["roofline"]
    parts = [
        f"{about['processor']}, {about['processors']} processors; insdl "
        f"{about['insdl']} ({about['instruction_set']}), pySpinW {about['pyspinw']}, NumPy {about['numpy']} with "
        f"{about['blas']}, Python {about['python']}." + _warnings(results),
        targets(results["rows"]),
    ]
    if limits is not None:
        parts += [
            f"One core does {limits['peak']:.3g} GFLOP/s in double precision with {about['instruction_set']} and "
            f"reads and writes {limits['bandwidth_one']:.3g} GB/s. What the split and the full form reach of that "
            "(one thread, useful operations only):",
            roof(results["size"], limits["peak"], limits["bandwidth_one"]),
        ]
    parts += [
        "Time a q on one thread; errors of single precision relative to the largest energy and to the strongest mode:",
        variants(results["variants"]),
        "Expected images from parameters drawn as for training; a map of Rb₂MnF₄ holds eight windows:",
        image_rates(results["images"]),
    ]
    return "\n\n".join(parts) + "\n"


def put_between(page: str, tables: str, *, begin: str = "<!-- table -->", end: str = "<!-- end -->") -> str:
    """``page`` with ``tables`` between its two marks.

    Raises
    ------
    ValueError
        If a mark is missing.
    """
    head, found, rest = page.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not found or not found_end:
        raise ValueError(f"the page needs a line {begin!r} and after it a line {end!r}")
    return f"{head}{begin}\n\n{tables}\n{end}{tail}"
