"""What explanations of the PCSMO verdict are worth: the table of docs/explanations.md, from networks and the measurement.

    python bench/explanation_numbers.py JURY_OR_CHECKPOINT ... --measured measured.npy [--denoised denoised.npy]

For each method: do networks agree, do random weights, does the order of cells delete and insert better than random orders and
than the plain physics score, does it follow that score, and how many of the strongest cells lie between 28 and 41 meV.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import click
import numpy as np
import torch

from insdl.commands.explain_given import Given, gather
from insdl.commands.explain_jobs import Method, maps_of, taken_away
from insdl.dataset.configuration import load_source
from insdl.dataset.configured import ConfiguredSource
from insdl.explain.faithfulness import faithfulness
from insdl.explain.seen_cells import SeenCells
from insdl.explain.separation import class_separation
from insdl.explain.shapley import cell_values
from insdl.explain.stability import randomised, spearman
from insdl.instrument.measurement import read_pcsmo
from insdl.instrument.pcsmo import NOISE_SIGMA, SCALE

RIVALS = ("goodenough", "dimer")


def physics(given: Given, *, images: int, threads: int | None) -> np.ndarray:
    """Where expected images of the two rivals differ, mirrors folded: their counting noise is half as large."""
    source = load_source("pcsmo", n_samples=3 * images, seed=1)
    assert isinstance(source, ConfiguredSource)
    folded: dict[str, list[np.ndarray]] = {name: [] for name in RIVALS}
    for begin in range(0, 3 * images, 60):
        made = source.make(range(begin, begin + 60), threads=threads)
        for image, label, status in zip(made.images, made.labels, made.status, strict=True):
            if source.classes[label] in folded and status == 0:
                folded[source.classes[label]].append(
                    (image + image[:, ::-1] + image[:, :, ::-1] + image[:, ::-1, ::-1]) / 4
                )
    return class_separation(
        *(np.stack(folded[name]) for name in RIVALS), noise_sigma=NOISE_SIGMA.ravel() / 2, scale=SCALE,
        measured=given.measured,
    )  # fmt: skip


def on_average(given: Given, *, images: int) -> np.ndarray:
    """(networks, cells). Mean contribution to the right one of the two rivals, over simulated images of both."""
    rows = []
    for network in given.networks:
        assert isinstance(network, SeenCells)
        total, count = np.zeros(len(given.frame.bins)), 0
        for image, label in zip(given.images, given.labels, strict=True):
            if given.names[label] in RIVALS and count < images:
                right = given.names[label]
                wrong = RIVALS[1 - RIVALS.index(right)]
                measurement = np.concatenate([image, given.measured.astype(np.float32)])
                total += cell_values(network.network, measurement, target=(right, wrong), orders=4).value
                count += 1
        rows.append(total / count)
    return np.array(rows)


def worth(given: Given, method: Method, separation: np.ndarray, *, orders: int, draws: int) -> dict[str, str]:
    """One column of the table; ``draws`` of random weights for each network."""
    layer = "cells" if "cam" in method else None

    def importance(network: object) -> np.ndarray:
        cells = maps_of(network, given, method=method, layer=layer)[1]  # type: ignore[arg-type]
        assert cells is not None
        return cells

    rows = [importance(network) for network in given.networks]
    random = [
        [importance(randomised(network, seed=7 + i + 100 * draw)) for draw in range(draws)]
        for i, network in enumerate(given.networks)
    ]
    inside = [_inside(given, row) for row in rows]
    chance = [spearman(row, one) for row, drawn in zip(rows, random, strict=True) for one in drawn]
    mean = np.mean(rows, axis=0)
    blind = [spearman(one, separation) for drawn in random for one in drawn]
    column = {
        "networks agree (mean Spearman of pairs; lowest)": _mean([spearman(a, b) for a, b in combinations(rows, 2)]),
        "with random weights (mean Spearman and its error; largest size)": _around(chance),
        "of the 12 strongest cells, between 28 and 41 meV (each network; their mean)": f"{min(inside)} to {max(inside)}; "
        f"{_inside(given, mean)}",
        "Spearman with where the classes differ (networks; their mean)": _mean([spearman(r, separation) for r in rows])
        + f"; {spearman(mean, separation):.2f}",
        "the same with random weights (mean and its error; largest size)": _around(blind),
    }
    for mode in ("deletion", "insertion"):
        beaten, gains, plain = [], [], []
        for network, row in zip(given.networks, rows, strict=True):
            net, image, regions, filling, measured = taken_away(replace(given, networks=(network,)))
            found = faithfulness(
                net, image, scores=row, regions=regions, target=given.target, replacement=filling, measured=measured,
                mode=mode, random_orders=orders, other_scores={"physics": separation},
            )  # fmt: skip
            sign = 1.0 if mode == "deletion" else -1.0
            beaten.append(found.better_than_random)
            gains.append(found.gain)
            plain.append(found.gain + sign * (found.curve.area - found.others["physics"].area))
        column[f"{mode}: random orders beaten; gain (that of the physics score), logit"] = (
            f"{np.mean(beaten):.2f}; {np.mean(gains):.1f} ({np.mean(plain):.1f})"
        )
    return column


def _inside(given: Given, scores: np.ndarray) -> int:
    """How many of the 12 strongest cells have their middle between 28 and 41 meV."""
    middle = given.frame.bins.mean(axis=1)[np.argsort(-scores)[:12]]
    return int(((middle > 28) & (middle < 41)).sum())


def _around(values: list[float]) -> str:
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    return f"{np.mean(values):+.3f} +- {error:.3f}; {np.max(np.abs(values)):.2f}"


def _mean(values: list[float]) -> str:
    return f"{np.mean(values):.2f}; {np.min(values):.2f}" if values else "one network"


@click.command()
@click.argument("networks", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--measured", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--denoised", type=click.Path(exists=True, path_type=Path), help="The same image from a denoiser.")
@click.option("--samples", default=240, show_default=True, help="Simulated images, of three classes.")
@click.option("--images", default=200, show_default=True, help="Of each class, for the physics score.")
@click.option("--average", default=20, show_default=True, help="Images for contributions on average.")
@click.option("--orders", default=20, show_default=True, help="Random orders of deletion.")
@click.option("--draws", default=10, show_default=True, help="Of random weights, for each network.")
@click.option("--method", "methods", multiple=True, default=("shapley", "hires-cam", "integrated"), show_default=True)
@click.option("--threads", type=int)
def main(
    networks: tuple[Path, ...], measured: Path, denoised: Path | None, samples: int, images: int, average: int,
    orders: int, draws: int, methods: tuple[Method, ...], threads: int | None,
) -> None:  # fmt: skip
    """Prints the table."""
    torch.set_num_threads(threads or 1)
    names = {"measured": measured} | ({} if denoised is None else {"denoised": denoised})
    columns: dict[str, dict[str, str]] = {}
    for what, path in names.items():
        given = gather(
            networks, preset="pcsmo", samples=samples, seed=0, target="goodenough,dimer",
            measurement=read_pcsmo(path), threads=threads,
        )  # fmt: skip
        separation = physics(given, images=images, threads=threads)
        for method in methods:
            columns[f"{method}, {what}"] = worth(given, method, separation, orders=orders, draws=draws)
            click.echo(f"{method} done", err=True)
        if what == "measured" and average:
            rows = on_average(given, images=average)
            each = [spearman(row, separation) for row in rows]
            pairs = [spearman(a, b) for a, b in combinations(rows, 2)]
            order = [given.frame.label(int(i)) for i in np.argsort(-rows.mean(axis=0))[:12]]
    click.echo(
        f"Of the 12 cells where the classes differ most, {_inside(given, separation)} lie between 28 and 41 meV, as do "
        f"{int(((given.frame.bins.mean(axis=1) > 28) & (given.frame.bins.mean(axis=1) < 41)).sum())} of all cells."
    )
    click.echo(f"| {len(given.networks)} networks | {' | '.join(columns)} |\n| --- {'| --- ' * len(columns)}|")
    for row in next(iter(columns.values())):
        click.echo(f"| {row} | {' | '.join(column[row] for column in columns.values())} |")
    if average:
        follow = f"{_mean(each)}, of their mean {spearman(rows.mean(axis=0), separation):.2f}"
        click.echo(
            f"\nContributions to the right class over {average} simulated images: networks agree {_mean(pairs)}; "
        )
        click.echo(f"with where the classes differ: {follow}. Strongest: {'; '.join(order)}")


if __name__ == "__main__":
    main()
