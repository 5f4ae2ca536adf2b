"""insdl train: networks for a question, calibrated, in one file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from insdl.commands.guard import guarded


@click.group()
def train() -> None:
    """Train the networks that answer a question."""


@train.command()
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--configuration", default="pcsmo", show_default=True, help="Preset or YAML file: rivals and nuisances.")
@click.option("--members", type=click.IntRange(1), default=5, show_default=True, help="Number of networks.")
@click.option("--images", type=click.IntRange(100), default=12_000, show_default=True, help="Simulated images.")
@click.option("--epochs", type=click.IntRange(1), default=14, show_default=True, help="Passes over them.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of everything random.")
@click.option("--threads", type=click.IntRange(1), help="Of the simulation; all processors by default.")
@click.option("--quiet", is_flag=True, help="No progress on the error stream.")
def rivals(
    output: Path,
    configuration: str,
    members: int,
    images: int,
    epochs: int,
    seed: int,
    threads: int | None,
    quiet: bool,
) -> None:
    """Networks that judge which of rival models made a measurement, for insdl predict --model OUTPUT.

    A run that was killed goes on where it was when started again with the same options.
    """

    def job() -> Any:
        from insdl.dataset.configuration import load_configuration
        from insdl.learn.rivals import RivalSettings, train_jury

        plain = RivalSettings()
        settings = replace(
            plain, members=members, images=images, seed=seed, threads=threads,
            training=replace(plain.training, epochs=epochs),
        )  # fmt: skip
        loaded = load_configuration(configuration)
        return train_jury(loaded, output, settings, progress="silent" if quiet else "bar")

    jury = guarded(job, interrupted=f"interrupted; the same command goes on with {output}")
    click.echo(f"{len(jury.members)} networks for {', '.join(jury.classes)}: {output}")
    found = dict(jury.description["held_out"])
    simple = dict(found["simple methods"])
    learned = simple.pop("measurements")
    click.echo(f"right about {found['measurements']} simulated measurements that nothing has learned from:")
    one = found["each network"]
    click.echo(f"  networks together  {found['all networks']:.4f}   (each {min(one):.4f} to {max(one):.4f})")
    for name, accuracy in simple.items():
        click.echo(f"  {name}  {accuracy:.4f}   (learned from {learned} measurements)")


@train.command()
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--configuration", default="pcsmo", show_default=True, help="Preset or YAML file: priors and nuisances.")
@click.option(
    "--class", "name", default="goodenough", show_default=True, help="The model whose parameters are learned."
)
@click.option("--images", type=click.IntRange(100), default=9000, show_default=True, help="Simulated images.")
@click.option("--epochs", type=click.IntRange(1), default=24, show_default=True, help="Passes over them.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of everything random.")
@click.option("--threads", type=click.IntRange(1), help="Of the simulation; all processors by default.")
@click.option("--quiet", is_flag=True, help="No progress on the error stream.")
def exchange(
    output: Path,
    configuration: str,
    name: str,
    images: int,
    epochs: int,
    seed: int,
    threads: int | None,
    quiet: bool,
) -> None:
    """A network that gives the exchange constants of one model, for insdl predict --exchange OUTPUT.

    Prints how far it is from the truth of new simulations, beside principal components with a polynomial. A run that was
    killed goes on where it was when started again with the same options.
    """

    def job() -> Any:
        from insdl.dataset.configuration import load_configuration
        from insdl.learn.exchange_training import ExchangeSettings, train_exchange

        plain = ExchangeSettings()
        settings = replace(
            plain, images=images, seed=seed, threads=threads, training=replace(plain.training, epochs=epochs)
        )
        loaded = load_configuration(configuration)
        return train_exchange(loaded, output, settings, name=name, progress="silent" if quiet else "bar")

    learned = guarded(job, interrupted=f"interrupted; the same command goes on with {output}")
    from insdl.learn.exchange_training import summary

    click.echo("\n".join([*summary(learned.tests), f"{', '.join(learned.parameters)} of {learned.name}: {output}"]))
