"""The commands of data sets: insdl dataset make, verify, status, slurm."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from insdl.commands.guard import guarded

if TYPE_CHECKING:
    from insdl.dataset.store import StoreStatus

_FOLDER = click.Path(file_okay=False, path_type=Path)
_INTERRUPTED = "interrupted; finished shards stay, and the same command goes on with the rest"


class _Part(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click alone
    """K/N: shards K, K + N, ..."""

    name = "K/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        words = str(value).split("/")
        if len(words) != 2 or not all(word.isdecimal() for word in words) or not int(words[0]) < int(words[1]):
            self.fail(f"{value!r} is not K/N with 0 <= K < N", param, ctx)
        return int(words[0]), int(words[1])


@click.group()
def dataset() -> None:
    """Data sets of simulated images, of any size: sharded, hashed, resumable."""


def _contents(command: Any) -> Any:
    """What a data set holds: the options of make, and of the script that calls it."""
    for option in (
        click.option("--compression", type=click.IntRange(0, 9), help="Level of gzip. Default: 1."),
        click.option("--content", type=click.Choice(["images", "parameters"]), help="Store images, or only what "
                     "regenerates them. Default: images."),
        click.option("--shard-size", type=click.IntRange(1), help="Images of a shard; by default 64 MiB of them."),
        click.option("--seed", type=click.IntRange(0), help="Of everything random; default: that of CONFIG."),
        click.option("--samples", type=click.IntRange(1), help="Number of images; default: that of CONFIG."),
    ):  # fmt: skip
        command = option(command)
    return command


@dataset.command()
@click.argument("config")
@click.argument("out", type=_FOLDER)
@_contents
@click.option("--engine", type=click.Choice(["processes", "dask", "serial"]), default="processes", show_default=True,
              help="Processes of this machine, a dask cluster, or this process alone.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1), help="Processes; one a processor by default.")
@click.option("--scheduler", help="Address of a running dask scheduler; by default dask starts on this machine.")
@click.option("--part", type=_Part(), default="0/1", help="Only shards K, K + N, ...: one task of an array of N.")
@click.option("--quiet", is_flag=True, help="No progress on the error stream.")
def make(
    config: str,
    out: Path,
    samples: int | None,
    seed: int | None,
    engine: str,
    workers: int | None,
    scheduler: str | None,
    shard_size: int | None,
    content: str | None,
    compression: int | None,
    part: tuple[int, int],
    quiet: bool,
) -> None:
    """Make what is missing of the data set CONFIG (a YAML file, or a preset: pcsmo, rb2mnf4) in the folder OUT.

    Run it again after any interruption; run it several times at once, on machines that share OUT.
    """

    def job() -> StoreStatus:
        from insdl.dataset.configuration import load_source
        from insdl.dataset.engine import make_data_set

        if scheduler is not None and engine != "dask":
            raise ValueError("--scheduler needs --engine dask")
        options: Any = {"engine": engine, "workers": workers, "part": part, "shard_size": shard_size}
        options |= {"content": content, "compression": compression, "progress": "silent" if quiet else "bar"}
        changed = {name: value for name, value in (("n_samples", samples), ("seed", seed)) if value is not None}
        source = load_source(config, **changed)
        if scheduler is None:
            return make_data_set(source, out, **options)
        import distributed

        client: Any = distributed.Client  # not typed
        with client(scheduler) as connected:
            return make_data_set(source, out, client=connected, **options)

    _say(guarded(job, interrupted=_INTERRUPTED), out)


@dataset.command()
@click.argument("out", type=_FOLDER)
@click.option("--workers", type=click.IntRange(1), help="Processes; one a processor by default.")
@click.option("--quiet", is_flag=True, help="No progress on the error stream.")
def verify(out: Path, workers: int | None, quiet: bool) -> None:
    """Read every shard of OUT, check hashes, shapes and samples, and set bad shards aside.

    Ends with exit code 1 if something is bad or missing; `insdl dataset make` then makes it again.
    """

    def job() -> Any:
        from insdl.dataset.store import open_store
        from insdl.dataset.verify import verify_store

        return verify_store(open_store(out), workers=workers, progress="silent" if quiet else "bar")

    found = guarded(job, interrupted="interrupted; bad shards found so far are in quarantine")
    for shard, problem in found.problems.items():
        click.echo(f"Shard {shard} is set aside: {problem}.")
    _say(found.status, out)
    sys.exit(0 if found.status.complete else 1)


@dataset.command()
@click.argument("out", type=_FOLDER)
def status(out: Path) -> None:
    """What is there of the data set OUT, from its records; writes its manifest anew."""

    def job() -> Any:
        from insdl.dataset.store import open_store

        return open_store(out).write_manifest()

    _say(guarded(job), out)


@dataset.command()
@click.argument("config")
@click.argument("out", type=_FOLDER)
@click.option("--array", "tasks", type=click.IntRange(1), default=100, show_default=True, help="Tasks of the array.")
@click.option("--cpus", type=click.IntRange(1), default=16, show_default=True, help="Processors of a task.")
@click.option("--memory", default="1G", show_default=True, help="Memory of a processor.")
@click.option("--time", "limit", default="04:00:00", show_default=True, help="Time limit of a task.")
@_contents
def slurm(
    config: str,
    out: Path,
    tasks: int,
    cpus: int,
    memory: str,
    limit: str,
    samples: int | None,
    seed: int | None,
    shard_size: int | None,
    content: str | None,
    compression: int | None,
) -> None:
    """Print an sbatch script that makes the data set CONFIG in OUT with an array of tasks.

    Task k makes shards k, k + N, ...; submit it again and again until nothing is missing.
    """
    from insdl.commands.slurm import array_script

    options = {"--samples": samples, "--seed": seed, "--shard-size": shard_size, "--content": content}
    options |= {"--compression": compression}
    extra = [word for name, value in options.items() if value is not None for word in (name, str(value))]
    job = guarded(lambda: array_script(config, out, tasks=tasks, cpus=cpus, memory=memory, limit=limit, options=extra))
    click.echo(job, nl=False)


def _say(found: StoreStatus, out: Path) -> None:
    """The state of a data set in a few lines."""
    click.echo(
        f"{out}: {found.done_samples} of {found.n_samples} images in {found.done_shards} of {found.n_shards} shards, "
        f"{found.bytes / 1e9:.3f} GB."
    )
    if found.missing:
        ranges = ", ".join(f"{begin} to {end - 1}" for begin, end in found.missing[:5])
        click.echo(f"Missing: {ranges}{', ...' if len(found.missing) > 5 else ''}.")
    click.echo(
        f"Unstable draws replaced: {found.replaced}; images given up: {found.gave_up}; in quarantine: {found.quarantined}."
    )
