"""One page of explanations: every method on one image, with what each is worth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from insdl.commands.explain_given import Given
from insdl.commands.explain_jobs import (
    Explained,
    activations,
    atlas,
    attribution,
    best_method,
    cells,
    default_layer,
    embedding,
    first_convolution,
    maximal,
    maximised,
    occlusion,
    trust,
    weights,
)
from insdl.explain.activations import filter_use
from insdl.explain.layers import answers
from insdl.explain.seen_cells import SeenCells
from insdl.learn.networks import CellClassifier
from insdl.provenance import complete_folder, versions
from insdl.report import Part, Picture, Section, Table, png, render


def write(folder: Path, found: Explained, *, stem: str) -> list[Path]:
    """An explanation's arrays, STEM.npz, and pictures, PNG; all of them are written, or none."""
    with complete_folder(folder) as work:
        names = [f"{stem}.npz", *(f"{name}.png" for name in found.pictures)]
        np.savez_compressed(work / names[0], **dict(found.arrays))  # type: ignore[arg-type]
        for name, (figure, _) in found.pictures.items():
            (work / f"{name}.png").write_bytes(png(figure))
    return [folder / name for name in names]


def explain_all(given: Given, *, seed: int = 0, said: Callable[[str], None] | None = None) -> dict[str, Explained]:
    """Every explanation that fits the network, by name, the most telling first; ``said`` hears what comes next."""
    network = given.network
    last = default_layer(network)
    first = "cells" if isinstance(network, CellClassifier | SeenCells) else "block1"
    busiest = int(filter_use(network, given.images, layer=last).spread.argmax())
    jobs: dict[str, Callable[[], Explained]] = {}
    if isinstance(network, SeenCells):
        jobs["cells"] = lambda: cells(given, seed=seed)
    if isinstance(network, CellClassifier | SeenCells):
        jobs["attribution"] = lambda: attribution(given, method="hires-cam")
        jobs["trust"] = lambda: trust(given, method=best_method(given), seed=seed)
    jobs["integrated-gradients"] = lambda: attribution(given, method="integrated")
    jobs["occlusion"] = lambda: occlusion(given, by="cells")
    jobs["occlusion-zones"] = lambda: occlusion(given, by="zones")
    jobs["embedding"] = lambda: embedding(given, layer=last, method="pca", seed=seed)
    jobs["atlas"] = lambda: atlas(given, layer=last, seed=seed)
    jobs["maximal"] = lambda: maximal(given, layer=last, filter=busiest)
    jobs["maximised"] = lambda: maximised(given, seed=seed)
    jobs["activations"] = lambda: activations(given, layer=first)
    jobs["weights"] = lambda: weights(given, layer=first_convolution(network))
    found = {}
    for name, job in jobs.items():
        if said is not None:
            said(name)
        found[name] = job()
    return found


def write_report(folder: Path, given: Given, found: dict[str, Explained]) -> Path:
    """report.html with every explanation: its sentences first, then its pictures, each beside the data; and the arrays."""
    value = float(answers(given.network, given.image[None], target=given.target)[0])
    verdict = f"On {given.what}, the network's answer {given.asked} is {value:+.3g} (logit, or standardised unit)."
    sections = []
    with complete_folder(folder) as work:
        for name, one in found.items():
            parts: list[Part] = list(one.sentences)
            for stem, (figure, caption) in one.pictures.items():
                image = png(figure)
                (work / f"{stem}.png").write_bytes(image)
                parts.append(Picture(image, caption))
            np.savez_compressed(work / f"{name}.npz", **dict(one.arrays))  # type: ignore[arg-type]
            sections.append(Section(one.title, parts))
        what = Table(
            ["", ""],
            [
                ["image", given.what],
                ["networks", str(len(given.networks))],
                ["simulated images", f"{len(given.images)} ({', '.join(given.names)})"],
                *[[f"version of {name}", version] for name, version in versions().items()],
            ],
        )
        sections.append(Section("What made this", [what]))
        (work / "report.html").write_text(render("Why the network answers so", verdict, sections), "utf-8")
    return folder / "report.html"
