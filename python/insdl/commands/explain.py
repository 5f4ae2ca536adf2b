"""The commands of explanations: insdl explain activations, weights, maximal, maximise, embed, atlas, and so on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from insdl.commands.guard import guarded

if TYPE_CHECKING:
    from insdl.commands.explain_given import Given
    from insdl.commands.explain_jobs import Explained

_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)
_LAYER = click.option("--layer", help="Name of a layer, mix2 for instance; by default the last that still has pixels.")
_FILTER = click.option(
    "--filter", "channel", type=click.IntRange(0), default=0, show_default=True, help="Of the layer."
)
_METHODS = ["cam", "grad-cam", "grad-cam-average", "grad-cam++", "hires-cam", "integrated", "guided", "shapley"]


@click.group()
def explain() -> None:
    """Why a trained network answers as it does: arrays (.npz) and pictures (.png) on physical axes."""


def _common(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--threads", type=click.IntRange(1), help="Threads of the simulation; all processors by default."),
        click.option("--output", type=_FOLDER, default=Path("insdl-explain"), show_default=True, help="Folder."),
        click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of everything random."),
        click.option("--target", help="An output of the network, or two with a comma for their difference. Default: the "
                     "first two classes, or the first parameter."),
        click.option("--orientation", type=click.Choice(["measured", "published"]), default="measured", show_default=True,
                     help="Which way Qk runs in the measured file."),
        click.option("--mask", type=_FILE, help="Detector mask of the measured image."),
        click.option("--measured", type=_FILE, help="Measured image, 240 x 400 (.npy). Without it the first simulated "
                     "image is explained."),
        click.option("--samples", type=click.IntRange(10), default=200, show_default=True, help="Simulated images."),
        click.option("--preset", default="pcsmo", show_default=True, help="Configuration of the simulated images, by name "
                     "or as a file."),
        click.argument("checkpoints", nargs=-1, required=True, type=_FILE),
    ):  # fmt: skip
        command = option(command)
    return command


@explain.command()
@_LAYER
@_common
def activations(layer: str | None, **common: Any) -> None:
    """Activations of a layer; dead and duplicate filters."""
    _run("activations", common, lambda jobs, given: jobs.activations(given, layer=_layer(jobs, given, layer)))


@explain.command()
@click.option("--layer", help="A convolution; by default the first.")
@_common
def weights(layer: str | None, **common: Any) -> None:
    """Weights of a layer, and whether they are smoother than noise."""
    _run(
        "weights",
        common,
        lambda jobs, given: jobs.weights(given, layer=layer or jobs.first_convolution(given.network)),
    )


@explain.command()
@_LAYER
@_FILTER
@click.option("--count", type=click.IntRange(1), default=10, show_default=True, help="How many images.")
@_common
def maximal(layer: str | None, channel: int, count: int, **common: Any) -> None:
    """The images that excite a filter most, and the region that does it."""
    _run(
        "maximal",
        common,
        lambda jobs, given: jobs.maximal(given, layer=_layer(jobs, given, layer), filter=channel, count=count),
    )


@explain.command()
@click.option("--layer", help="Name of a layer, for one of its filters; without it, the target is maximised.")
@_FILTER
@click.option("--steps", type=click.IntRange(1), default=128, show_default=True, help="Of gradient ascent.")
@_common
def maximise(layer: str | None, channel: int, steps: int, **common: Any) -> None:
    """The image that a filter, or the target, likes best: gradient ascent from noise."""
    _run(
        "maximised",
        common,
        lambda jobs, given: jobs.maximised(given, layer=layer, filter=channel, steps=steps, seed=common["seed"]),
    )


@explain.command()
@_LAYER
@click.option(
    "--method", type=click.Choice(["pca", "tsne"]), default="pca", show_default=True, help="tsne needs openTSNE."
)
@_common
def embed(layer: str | None, method: str, **common: Any) -> None:
    """Simulated images as points, the measured one among them, and its nearest neighbours."""
    _run(
        "embedding",
        common,
        lambda jobs, given: jobs.embedding(given, layer=_layer(jobs, given, layer), method=method, seed=common["seed"]),
    )


@explain.command()
@_LAYER
@click.option("--grid", type=click.IntRange(1), default=5, show_default=True, help="Cells along each axis.")
@_common
def atlas(layer: str | None, grid: int, **common: Any) -> None:
    """What a layer tells apart: its vectors, gridded, each cell with what maximises it and its nearest patch."""
    _run(
        "atlas",
        common,
        lambda jobs, given: jobs.atlas(given, layer=_layer(jobs, given, layer), grid=grid, seed=common["seed"]),
    )


@explain.command()
@click.option("--by", type=click.Choice(["cells", "bands", "zones"]), default="cells", show_default=True,
              help="Cells, bands of energy transfer, patches of the Brillouin zone.")  # fmt: skip
@_common
def occlude(by: str, **common: Any) -> None:
    """What the answer loses when a region becomes the average of the simulated classes."""
    _run(f"occlusion-{by}", common, lambda jobs, given: jobs.occlusion(given, by=by))


@explain.command()
@click.option(
    "--orders", type=click.IntRange(4), default=32, show_default=True, help="Random orders of the cells; even."
)
@_common
def cells(orders: int, **common: Any) -> None:
    """What each cell contributes to a jury's answer (Shapley values), with its spread over the networks."""
    _run("cells", common, lambda jobs, given: jobs.cells(given, orders=orders, seed=common["seed"]))


@explain.command()
@click.option("--method", type=click.Choice(_METHODS), default="hires-cam", show_default=True)
@click.option("--layer", help="Of the class activation maps; by default the one where cells are still apart.")
@_common
def attribute(method: str, layer: str | None, **common: Any) -> None:
    """Where in the image the answer comes from."""
    _run(f"attribution-{method}", common, lambda jobs, given: jobs.attribution(given, method=method, layer=layer))


@explain.command()
@click.option("--method", type=click.Choice(_METHODS[1:]), help="By default shapley for a jury, else hires-cam.")
@_common
def trust(method: str | None, **common: Any) -> None:
    """What an explanation is worth: several networks, random weights, deletion and insertion."""
    _run(
        "trust",
        common,
        lambda jobs, given: jobs.trust(given, method=method or jobs.best_method(given), seed=common["seed"]),
    )


@explain.command()
@_common
def report(**common: Any) -> None:
    """Every explanation of one image on one page."""

    def job() -> Path:
        from insdl.commands.explain_report import explain_all, write_report

        given = _given(common)
        found = explain_all(given, seed=common["seed"], said=lambda name: click.echo(f"{name} ...", err=True))
        return write_report(common["output"], given, found)

    click.echo(f"Report: {guarded(job)}")


def _run(stem: str, common: dict[str, Any], make: Callable[[Any, Given], Explained]) -> None:
    """Gathers, explains, writes, and says what came out."""

    def job() -> tuple[Explained, list[Path]]:
        from insdl.commands import explain_jobs
        from insdl.commands.explain_report import write

        found = make(explain_jobs, _given(common))
        return found, write(common["output"], found, stem=stem)

    found, files = guarded(job)
    for sentence in found.sentences:
        click.echo(sentence)
    click.echo(f"Written: {', '.join(map(str, files))}")


def _given(common: dict[str, Any]) -> Given:
    from insdl.commands.explain_given import gather
    from insdl.instrument.measurement import read_pcsmo

    if common["mask"] is not None and common["measured"] is None:
        raise ValueError("--mask needs --measured")
    measurement = (
        None
        if common["measured"] is None
        else read_pcsmo(common["measured"], mask=common["mask"], orientation=common["orientation"])
    )
    names = ("preset", "samples", "seed", "target", "threads")
    return gather(common["checkpoints"], measurement=measurement, **{name: common[name] for name in names})


def _layer(jobs: Any, given: Given, layer: str | None) -> str:
    return layer if layer is not None else str(jobs.default_layer(given.network))
