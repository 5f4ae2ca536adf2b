"""How fast insdl is beside other codes, beside itself and beside the machine: python bench/compare.py [--quick].

Writes speed.json, speed.md and speed.png. Sides are timed in turn in one process, a process for each number of threads;
results are checked against each other before they are timed. The machine should have nothing else to do: the whole run
takes about seven minutes, --quick about one.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import image_rows
import roofline
import rows
import series
from figure import speed
from report import machine, markdown, put_between
from timing import in_child

from insdl.instruction_set import instruction_set
from insdl.provenance import complete_folder, write_json
from insdl.spinwave import thread_count

DOCS = Path(__file__).parents[1] / "docs"


def _limits(threads: int) -> dict[str, Any] | None:
    """The machine's limits; None where there is no compiler to measure them with."""
    try:
        found = roofline.measure(threads)
    except RuntimeError as error:
        click.echo(f"  no roofline: {error}", err=True)
        return None
    peak = found.double[instruction_set()]
    return {**vars(found), "double": dict(found.double), "single": dict(found.single), "peak": peak}


def measure(threads: int, *, quick: bool) -> dict[str, Any]:
    """Everything that a run finds."""
    counts = tuple(sorted({1, threads}))
    results: dict[str, Any] = {"machine": machine(), "quick": quick, "threads": threads}
    click.echo("targets", err=True)
    results["rows"] = [row for n in counts for row in in_child(rows.mode_rows, n, quick, threads=n)]
    results["rows"] += image_rows.rate_rows(threads, quick=quick)
    results["rows"].append(image_rows.memory_row(threads, quick=quick))
    click.echo("what speed depends on", err=True)
    results["roofline"] = _limits(threads)
    results["size"] = in_child(series.by_size, quick, threads=1)
    results["count"] = [point for n in counts for point in in_child(series.by_count, n, quick, threads=n)]
    results["variants"] = in_child(series.by_variant, quick, threads=1)
    results["images"] = in_child(series.images, counts, quick, threads=threads)
    return results


def plain(results: dict[str, Any]) -> dict[str, Any]:
    """The same for JSON."""
    listed = {name: [asdict(entry) for entry in results[name]] for name in ("rows", "size", "count", "images")}
    for entry, row in zip(listed["rows"], results["rows"], strict=True):
        entry["met"] = row.met
    return {**results, **listed}


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help="Few q, few repeats: to see that everything runs.")
@click.option("--threads", type=click.IntRange(1), default=min(2, thread_count(None)), show_default=True)
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), default=Path("insdl-speed"), show_default=True
)
@click.option("--docs", is_flag=True, help="Also put the tables into docs/speed.md and the figure into docs/pictures.")
def main(quick: bool, threads: int, output: Path, docs: bool) -> None:
    results = measure(threads, quick=quick)
    tables, picture = markdown(results), speed(results)
    with complete_folder(output) as folder:
        write_json(folder / "speed.json", plain(results))
        (folder / "speed.md").write_text(tables, encoding="utf-8")
        picture.savefig(folder / "speed.png", dpi=120)
    if docs:
        page = DOCS / "speed.md"
        page.write_text(put_between(page.read_text(encoding="utf-8"), tables), encoding="utf-8")
        picture.savefig(DOCS / "pictures" / "speed.png", dpi=120)
    click.echo(tables)


if __name__ == "__main__":
    main()
