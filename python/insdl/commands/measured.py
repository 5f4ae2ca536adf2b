"""insdl measured: what a file of measured data holds, and whether it is the right way round."""

from __future__ import annotations

from pathlib import Path

import click

from insdl.commands.guard import guarded

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("file", type=_FILE)
@click.option("--mask", type=_FILE, help="Mask of the detectors (an array, for an array): checks the orientation.")
@click.option("--layout", help="Of an array: pcsmo-measured, pcsmo-published, or a YAML file. Default: NAME.layout.yaml "
              "beside the array.")  # fmt: skip
@click.option("--mask-layout", type=_FILE, help="YAML file with the layout of the mask, where it is another.")
def measured(file: Path, mask: Path | None, layout: str | None, mask_layout: Path | None) -> None:
    """Print what a file of measured data holds: axes, units, coverage, orientation."""
    click.echo("\n".join(guarded(lambda: _described(file, mask, layout, mask_layout))))


def _described(file: Path, mask: Path | None, layout: str | None, mask_layout: Path | None) -> list[str]:
    """The lines that are printed."""
    from insdl.measured.array_file import pcsmo_layout, read_layout
    from insdl.measured.measured_file import check_orientation, description, read_measured

    if mask_layout is not None and mask is None:
        raise ValueError("--mask-layout needs --mask")
    other = None if mask_layout is None else read_layout(mask_layout)
    own = None
    if layout in ("pcsmo-measured", "pcsmo-published"):
        own = pcsmo_layout("measured" if layout == "pcsmo-measured" else "published")
        other = pcsmo_layout("mask") if other is None else other
    elif layout is not None:
        own = read_layout(layout)
    lines = description(read_measured(file, layout=own))
    if mask is not None:
        lines.append(check_orientation(file, mask, layout=own, mask_layout=other).sentence)
    return lines
