"""The explanations of `insdl explain`, each from a network and images to arrays, pictures and sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from torch import nn

from insdl import plot, plot_explain
from insdl.commands.explain_given import Explainable, Given
from insdl.explain.activations import filter_use, layer_activations, layer_vectors, seen_channels
from insdl.explain.atlas import activation_atlas
from insdl.explain.attribution import guided_gradients, integrated_gradients
from insdl.explain.cam import (
    cell_importance,
    class_activation_map,
    grad_cam,
    grad_cam_plus_plus,
    hires_cam,
    layer_grid,
    to_pixels,
)
from insdl.explain.embedding import nearest, pca, tsne
from insdl.explain.faithfulness import Faithfulness, Mode, faithfulness
from insdl.explain.layers import answers, forward_steps
from insdl.explain.maximal_activation import maximal_activation, region
from insdl.explain.maximisation import Answer, Filter, MaximisationSettings, maximise
from insdl.explain.occlusion import Region, band_regions, cell_regions, class_average, occlude, zone_regions
from insdl.explain.seen_cells import SeenCells
from insdl.explain.shapley import CellValues, cell_values
from insdl.explain.stability import randomisation_check, seed_spread
from insdl.explain.weights import kernel_smoothness, layer_weights
from insdl.instrument.frame import ImageFrame
from insdl.learn.networks import CellClassifier

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_Array = npt.NDArray[Any]
Method = Literal["cam", "grad-cam", "grad-cam-average", "grad-cam++", "hires-cam", "integrated", "guided", "shapley"]
"""grad-cam-average, hires-cam and integrated count from the average of the simulated classes, the others from zero."""
By = Literal["cells", "bands", "zones"]


@dataclass(frozen=True, eq=False)
class Explained:
    """An explanation: its title, sentences, arrays for a file, and pictures with their captions."""

    title: str
    sentences: Sequence[str]
    arrays: Mapping[str, _Array]
    pictures: Mapping[str, tuple[Figure, str]] = field(default_factory=dict)


def activations(given: Given, *, layer: str) -> Explained:
    """What a layer's filters do on the simulated images, and on the image that is explained."""
    use = filter_use(given.network, given.images, layer=layer)
    own = layer_activations(given.network, given.image[None], layer=layer)[0]
    alike = ", ".join(" = ".join(map(str, group)) for group in use.duplicates) or "none"
    sentences = [
        f"Layer {layer}: {len(use.mean)} filters; dead: {len(use.dead)}"
        + (f" ({', '.join(map(str, use.dead))})" if len(use.dead) else "")
        + f"; duplicates (r > 0.99): {alike}; {use.superfluous} could go.",
    ]
    arrays = {
        "activations": own, "mean": use.mean, "spread": use.spread, "largest": use.largest, "active": use.active,
        "correlation": use.correlation, "dead": use.dead,
    }  # fmt: skip
    pictures = {}
    if own.ndim == 3:
        chosen = [int(i) for i in np.argsort(-use.spread, kind="stable")[: min(8, len(use.spread))]]
        cells = [int(seen_channels(given.network, given.images, layer=layer, filter=i)[0]) for i in chosen]
        figure = plot_explain.filters(
            given.frame, given.image, own, channels=chosen, cells=cells, title=f"Layer {layer} on {given.what}"
        )
        pictures["activations"] = (
            figure,
            "Below: the filters that vary most; above: the data of the first cell each sees.",
        )
    return Explained(f"Activations of {layer}", sentences, arrays, pictures)


def weights(given: Given, *, layer: str) -> Explained:
    """The kernels of a convolution and their smoothness."""
    values = layer_weights(given.network, layer=layer)
    found = kernel_smoothness(given.network, layer=layer)
    verdict = "smoother than noise" if found.p_value < 0.05 else "not to be told from noise"
    sentences = [
        f"Layer {layer}: {len(found.index)} kernels, mean Moran's I {found.mean:+.3f} (noise: {found.expected:+.3f}), "
        f"p = {found.p_value:.3g}: {verdict}."
    ]
    kernels = values.reshape(-1, *values.shape[2:])
    order = np.argsort(-found.z, kind="stable")
    shown = order[: min(24, len(order))]
    per_filter = values.shape[1]
    names = [f"filter {i // per_filter}" + (f", input {i % per_filter}" if per_filter > 1 else "") for i in shown]
    figure = plot_explain.kernels(
        kernels[shown], names=names, notes=[f"I = {found.index[i]:+.2f}" for i in shown], title=sentences[0]
    )
    arrays = {"weights": values, "moran": found.index, "z": found.z, "p_value": np.array(found.p_value)}
    caption = "The smoothest kernels. I: Moran's I, 1 smooth, -1 a chequerboard."
    return Explained(f"Weights of {layer}", sentences, arrays, {"weights": (figure, caption)})


def maximal(given: Given, *, layer: str, filter: int, count: int = 10) -> Explained:
    """The simulated images that excite a filter most."""
    found = maximal_activation(given.network, given.images, layer=layer, filter=filter, count=count)
    where = region(given.frame, found, 0)
    sentences = [
        f"Filter {filter} of {layer} is excited most by image {found.images[0]} ({found.activation[0]:.3g}), from Qh "
        f"{where.qh[0]:.3g} to {where.qh[1]:.3g}, Qk {where.qk[0]:.3g} to {where.qk[1]:.3g} r.l.u., "
        + (where.bins[0] if len(where.bins) == 1 else f"in {len(where.bins)} cells")
        + "."
    ]
    arrays = {
        "images": found.images, "activation": found.activation, "rows": found.rows, "columns": found.columns,
        "channels": found.channels, "labels": given.labels[found.images],
    }  # fmt: skip
    title = f"What excites filter {filter} of {layer} most"
    figure = plot_explain.excitations(given.frame, given.images, found, title=title)
    caption = "Simulated images, the most exciting first; framed: the receptive field that does it."
    return Explained(title, sentences, arrays, {"maximal": (figure, caption)})


def maximised(given: Given, *, layer: str | None = None, filter: int = 0, steps: int = 128, seed: int = 0) -> Explained:
    """The image that a filter, or without a layer the target, likes best, beside the average simulated image."""
    objective = Answer(given.target) if layer is None else Filter(layer, filter)
    name = f"the answer {given.asked}" if layer is None else f"filter {filter} of {layer}"
    average = class_average(given.images, given.labels)
    settings = MaximisationSettings(steps=steps, seed=seed, level=float(average[given.measured].mean()))
    found = maximise(given.network, [objective], free=given.measured, settings=settings)
    before, after = found.history[0, [0, -1]]
    sentences = [
        f"From {before:.3g} to {after:.3g} in {steps} steps, for {name}. The average simulated image gives "
        f"{_value(given, objective, average):.3g}."
    ]
    change = found.images[0] - found.start[0]
    figure = plot_explain.beside_data(
        given.frame, average, found.images[0], title=f"What {name} likes best (below) beside the average image (above)",
        label="log(1 + counts), maximised", measured=given.measured, scale="data",
        cells=[int(i) for i in np.argsort(-np.abs(change).sum(axis=(1, 2)), kind="stable")[:8]],
    )  # fmt: skip
    arrays = {"image": found.images[0], "start": found.start[0], "history": found.history[0]}
    caption = "Only pixels where a detector looks may change. The cells that changed most."
    return Explained(f"What maximises {name}", sentences, arrays, {"maximised": (figure, caption)})


def embedding(given: Given, *, layer: str, method: Literal["pca", "tsne"], seed: int = 0) -> Explained:
    """The simulated images as points, and the image that is explained among them."""
    vectors = layer_vectors(given.network, given.images, layer=layer)
    own = layer_vectors(given.network, given.image[None], layer=layer)
    near = nearest(vectors, own, count=min(5, len(vectors) - 1))
    if method == "tsne":
        made = tsne(vectors, perplexity=min(30.0, (len(vectors) - 1) / 3), seed=seed)
        places, star, axis = made.points, made.place(own), ("t-SNE 1 (no unit)", "t-SNE 2 (no unit)")
    else:
        components = pca(vectors, components=2)
        places, star = components.points, components.place(own)
        first, second = (100 * share for share in components.share)
        axis = (f"component 1 ({first:.0f} % of the variance)", f"component 2 ({second:.0f} %)")
    classes = ", ".join(given.names[given.labels[i]] for i in near.indices[0])
    sentences = [
        f"Nearest simulated images in layer {layer}: {', '.join(map(str, near.indices[0]))} ({classes}); "
        f"{100 * near.typicality[0]:.0f} % of the simulated images are at least as far from their own nearest neighbour."
    ]
    if near.typicality[0] < 0.01:
        sentences.append("The image is unlike every simulated one: what the network says about it is extrapolation.")
    figure = plot_explain.points(
        places, given.labels, given.names, title=f"Layer {layer}: simulated images and {given.what}", axes_labels=axis,
        measured=star, neighbours=near.indices[0],
    )  # fmt: skip
    arrays = {
        "points": places, "labels": given.labels, "placed": star, "neighbours": near.indices[0],
        "distance": near.distance[0], "typicality": near.typicality,
    }  # fmt: skip
    caption = "Each point a simulated image; the star: the image that is explained, placed among them."
    return Explained(f"Where the image lies in {layer}", sentences, arrays, {"embedding": (figure, caption)})


def atlas(given: Given, *, layer: str, grid: int = 5, steps: int = 64, seed: int = 0) -> Explained:
    """What a layer tells apart."""
    level = float(class_average(given.images, given.labels)[given.measured].mean())
    found = activation_atlas(
        given.network, given.images, layer=layer, target=given.target, free=given.measured, grid=grid, seed=seed,
        maximisation=MaximisationSettings(steps=steps, seed=seed, level=level),
    )  # fmt: skip
    sentences = [f"{len(found.points)} vectors of {layer} in {len(found.cells)} cells of a {grid} x {grid} grid."]
    figure = plot_explain.atlas_sheet(
        given.frame, given.images, found, title=f"Atlas of {layer}; evidence for {given.asked}"
    )
    arrays = {
        "points": found.points, "images": found.images, "places": found.places, "evidence": found.evidence,
        "cell_row": np.array([c.row for c in found.cells]), "cell_column": np.array([c.column for c in found.cells]),
        "cell_evidence": np.array([c.evidence for c in found.cells]),
        "cell_vectors": np.array([c.vector for c in found.cells]),
        "visualisations": np.array([c.visualisation for c in found.cells]),
    }  # fmt: skip
    caption = "Each pair: what maximises the layer along the mean vector, and the nearest patch (framed) in its image."
    return Explained(f"Atlas of {layer}", sentences, arrays, {"atlas": (figure, caption)})


def occlusion(given: Given, *, by: By) -> Explained:
    """What the answer loses when a physical region becomes the average of the simulated classes."""
    found = occlude(
        given.network, given.image[None], regions=regions(given.frame, by=by), target=given.target,
        replacement=class_average(given.images, given.labels), replacement_name="the average of the simulated classes",
        measured=given.measured,
    )  # fmt: skip
    drop = found.drop[0]
    best = np.argsort(-drop, kind="stable")[:3]
    top = "; ".join(f"{found.names[i]} ({drop[i]:+.3g})" for i in best)
    sentences = [
        f"Answer {given.asked}: {found.answer[0]:+.3g}; without a region, replaced by {found.replacement}, it drops most "
        f"for: {top}."
    ]
    title, label = f"What the answer {given.asked} loses without a region", "drop of the answer (logit)"
    figure = (
        plot.cell_bars(given.frame, drop, None, title=title, label=label)
        if by == "cells" and _is_table(given.frame)
        else plot_explain.bars(drop, found.names, title=title, label=label)
    )
    arrays = {"drop": drop, "answer": found.answer, "names": np.array(found.names)}
    return Explained(
        f"Occlusion by {by}", sentences, arrays, {f"occlusion-{by}": (figure, f"Replaced by {found.replacement}.")}
    )


def attribution(given: Given, *, method: Method, layer: str | None = None) -> Explained:
    """Where in the image the answer comes from: maps at its pixels, in the answer's units."""
    where = _first_split_layer(given) if layer is None and "cam" in method and method != "cam" else layer
    if method == "cam" and where is None:
        where = "mix3"
    maps, importance = maps_of(given.network, given, method=method, layer=where)
    arrays: dict[str, _Array] = {"maps": maps} | ({} if importance is None else {"importance": importance})
    title = f"{method} of the answer {given.asked}" + (f" at layer {where}" if where else "")
    if importance is not None:
        best = np.argsort(-np.abs(importance), kind="stable")[:3]
        sentence = "Cells that count most: " + "; ".join(
            f"{given.frame.label(int(i))} ({importance[i]:+.3g})" for i in best
        )
        figure = plot_explain.beside_data(
            given.frame, given.image, maps, title=f"{title}, on {given.what}", label="evidence (logit a pixel)",
            measured=given.measured,
        )  # fmt: skip
    else:
        sentence = "One map for all cells, which this layer has mixed"
        bound = float(np.abs(maps).max()) or 1.0
        figure = plot.single_map(
            given.frame, maps, title=title, label="evidence (logit a pixel)", limits=(-bound, bound)
        )
    caption = "Red speaks for, blue against; grey: no detector. The cells with the largest sums."
    return Explained(title, [f"{sentence}."], arrays, {f"attribution-{method}": (figure, caption)})


def cells(given: Given, *, orders: int = 32, seed: int = 0) -> Explained:
    """What each cell contributes to the answer, as Shapley values: mean over the networks, and how far they agree."""
    rows = [_shapley(network, given, orders=orders, seed=seed) for network in given.networks]
    values = np.stack([row.value for row in rows])
    mean, sampling = values.mean(axis=0), np.stack([row.error for row in rows])
    deviation = values.std(axis=0, ddof=1) if len(rows) > 1 else sampling[0]
    order = np.argsort(-mean, kind="stable")
    bins = given.frame.bins.mean(axis=1)
    sentences = [
        f"Answer {given.asked}: {np.mean([row.whole for row in rows]):+.3g} with all cells, "
        f"{np.mean([row.empty for row in rows]):+.3g} with none.",
        "Cells that speak most for it: "
        + "; ".join(f"{given.frame.label(int(i))} ({mean[i]:+.2f} ± {deviation[i]:.2f})" for i in order[:5])
        + ".",
        "Cells that speak most against it: "
        + "; ".join(f"{given.frame.label(int(i))} ({mean[i]:+.2f} ± {deviation[i]:.2f})" for i in order[:-4:-1])
        + ".",
    ]
    arrays: dict[str, _Array] = {
        "value": values, "mean": mean, "deviation": deviation, "sampling_error": sampling, "energy_transfer": bins,
        "whole": np.array([row.whole for row in rows]), "empty": np.array([row.empty for row in rows]),
    }  # fmt: skip
    if len(rows) > 1:
        spread = seed_spread(values)
        arrays["rank_correlation"] = spread.rank_correlation
        sentences.append(f"{len(rows)} networks rank the cells alike by {spread.agreement:.2f} (Spearman).")
    title = f"What each cell contributes to the answer {given.asked}"
    figure = (
        plot.cell_bars(given.frame, mean, deviation, title=title, label="contribution (logit)")
        if _is_table(given.frame)
        else plot_explain.bars(mean, [given.frame.label(i) for i in range(len(mean))], title=title, label="logit")
    )
    caption = (
        "Shapley values: the mean change of the answer when the cell is measured too. Bars: spread over the networks."
    )
    return Explained(title, sentences, arrays, {"cells": (figure, caption)})


def trust(given: Given, *, method: Method, random_orders: int = 20, seed: int = 0) -> Explained:
    """Spread over networks, random weights, deletion and insertion of cells: what an explanation is worth."""
    layer = _first_split_layer(given) if "cam" in method and method != "cam" else None

    def importance(network: Explainable) -> npt.NDArray[np.float64]:
        _, cells = maps_of(network, given, method=method, layer=layer)
        if cells is None:
            raise ValueError(f"{method} gives no map for each cell of this network; trust needs one")
        return cells

    own = importance(given.network)
    check = randomisation_check(given.network, importance, seed=seed)
    network, image, taken, filling, measured = taken_away(given)
    modes: tuple[Mode, ...] = ("deletion", "insertion")
    curves: dict[str, Faithfulness] = {
        mode: faithfulness(
            network, image, scores=own, regions=taken, target=given.target, replacement=filling, mode=mode,
            random_orders=random_orders, seed=seed, measured=measured,
            other_scores={"difference of the classes": _difference(given)},
        )
        for mode in modes
    }  # fmt: skip
    sentences = [
        f"With all weights made random, the cells' ranking correlates with the network's by {check.rank_correlation[-1]:+.2f}.",
        *(
            f"{mode.capitalize()}: better than {100 * one.better_than_random:.0f} % of {random_orders} random orders "
            f"(gain {one.gain:+.3g} logit)."
            for mode, one in curves.items()
        ),
    ]
    arrays: dict[str, _Array] = {
        "importance": own, "randomised": check.rank_correlation, "modules": np.array(check.modules),
        **{f"{mode}_answer": one.curve.answer for mode, one in curves.items()},
        **{f"{mode}_share": one.curve.share for mode, one in curves.items()},
    }  # fmt: skip
    if len(given.networks) > 1:
        spread = seed_spread([importance(network) for network in given.networks])
        arrays |= {"mean": spread.mean, "deviation": spread.deviation, "rank_correlation": spread.rank_correlation}
        worth = "" if spread.agreement >= 0.6 else " Do not read physics into one of them"
        sentences.insert(
            0, f"{len(given.networks)} networks rank the cells alike by {spread.agreement:.2f} (Spearman).{worth}"
        )
    else:
        sentences.insert(0, "One network only: no statement on how stable its explanation is.")
    pictures = {
        "trust": (
            plot_explain.deletion_curves(
                curves, label=f"answer {given.asked} (logit)", title=f"Is {method} what the network uses?"
            ),
            "Cells go (deletion) or come (insertion), most important first; without a cell, its values are the average of the "
            "simulated classes, or a jury is told that it was not measured.",
        )
    }
    return Explained(f"What {method} is worth", sentences, arrays, pictures)


def maps_of(
    network: Explainable, given: Given, *, method: Method, layer: str | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64] | None]:
    """Signed maps of the image at its pixels, and the evidence of each cell (n_bins,).

    The maps are (n_bins, n_h, n_k), even over a cell for "shapley"; or (n_h, n_k), and no evidence of cells, for a layer that
    has mixed the cells.
    """
    image = given.image[None]
    if method == "shapley":
        values = _shapley(network, given).value
        area = np.maximum(given.measured.sum(axis=(1, 2)), 1)
        return np.where(given.measured, (values / area)[:, None, None], 0.0), values
    if method in ("integrated", "guided"):
        average = class_average(given.images, given.labels)
        maps = (
            integrated_gradients(network, image, target=given.target, baseline=average).maps[0]
            if method == "integrated"
            else guided_gradients(network, image, target=given.target)[0]
        )
        return maps, maps.sum(axis=(1, 2))
    if layer is None:
        raise ValueError(f"{method} needs the name of a layer for a {type(network).__name__}")
    grid = layer_grid(network, layer=layer, image_shape=given.image.shape)
    share = 1.0 / grid.pixels_each  # a layer's pixel is shared out among those of the image
    if method == "cam":
        coarse = class_activation_map(network, image, target=given.target, layer=layer, sign="signed")
        return share * to_pixels(coarse, grid)[0], None
    cells = len(given.frame.bins) if layer == _first_split_layer(given) else None
    options: dict[str, Any] = {"target": given.target, "layer": layer, "cells": cells, "sign": "signed"}
    average = class_average(given.images, given.labels)
    if method == "grad-cam++":
        coarse = grad_cam_plus_plus(network, image, **options)
    elif method == "hires-cam":
        coarse = hires_cam(network, image, baseline=average, **options)
    else:
        coarse = grad_cam(network, image, baseline=average if method == "grad-cam-average" else None, **options)
    return share * to_pixels(coarse, grid)[0], None if cells is None else cell_importance(coarse)[0]


def taken_away(
    given: Given,
) -> tuple[nn.Module, _Array, Sequence[Region], _Array | float, npt.NDArray[np.bool_] | None]:
    """Network, image, regions, replacement and mask of cells that are taken away: not measured, or made average."""
    network, plain = given.network, cell_regions(given.frame)
    if not isinstance(network, SeenCells):
        return network, given.image, plain, class_average(given.images, given.labels), given.measured
    both = [Region(one.name, np.concatenate([one.mask, one.mask])) for one in plain]
    return network.network, _measurement(given), both, 0.0, None


def _measurement(given: Given) -> npt.NDArray[np.float32]:
    measurement: npt.NDArray[np.float32] = np.concatenate([given.image, given.measured.astype(np.float32)])
    return measurement


def _shapley(network: Explainable, given: Given, *, orders: int = 16, seed: int = 0) -> CellValues:
    if not isinstance(network, SeenCells):
        raise ValueError(f"shapley needs a network that can do without a cell, not a {type(network).__name__}")
    return cell_values(network.network, _measurement(given), target=given.target, orders=orders, seed=seed)


def best_method(given: Given) -> Method:
    """The method whose ranking of cells has proved steadiest for this kind of network (docs/explanations.md)."""
    return "shapley" if isinstance(given.network, SeenCells) else "hires-cam"


def first_convolution(network: Explainable) -> str:
    """Name of the network's first convolution."""
    modules: dict[str, nn.Module] = dict(network.named_modules())
    return next(name for name, module in modules.items() if isinstance(module, nn.Conv2d))


def regions(frame: ImageFrame, *, by: By) -> tuple[Region, ...]:
    """Regions of a frame: its cells, bands of energy transfer (twelve of equal width), patches of half a r.l.u."""
    if by == "cells":
        return cell_regions(frame)
    if by == "bands":
        centres = frame.bins.mean(axis=1)
        return band_regions(frame, edges=np.linspace(frame.bins.min(), centres.max() + 1e-6, 13).round(3) + 1e-3)
    return zone_regions(frame)


def _first_split_layer(given: Given) -> str | None:
    """The layer whose channels still belong to one cell each, where the network has one."""
    return "cells" if isinstance(given.network, CellClassifier | SeenCells) else None


def _difference(given: Given) -> npt.NDArray[np.float64]:
    """(n_bins,). Where the first two classes differ: squared effect size, (difference of means)^2 / variance, over pixels.

    What the finite number of images adds to the square on average is taken off.
    """
    both = [given.images[given.labels == label].astype(np.float64) for label in (0, 1)]
    variance = [one.var(axis=0, ddof=1) for one in both]
    square = (both[0].mean(axis=0) - both[1].mean(axis=0)) ** 2 - sum(
        v / len(one) for v, one in zip(variance, both, strict=True)
    )
    pooled = 0.5 * (variance[0] + variance[1])
    effect = np.divide(square, pooled, out=np.zeros_like(square), where=given.measured & (pooled > 1e-12))
    size: npt.NDArray[np.float64] = effect.sum(axis=(1, 2))
    return size


def _value(given: Given, objective: Answer | Filter, image: npt.NDArray[np.float32]) -> float:
    if isinstance(objective, Answer):
        return float(answers(given.network, image[None], target=objective.target)[0])
    return float(layer_activations(given.network, image[None], layer=objective.layer)[0, objective.channel].mean())


def _is_table(frame: ImageFrame) -> bool:
    return len({len(np.asarray(block.bins)) for block in frame.blocks}) == 1


def default_layer(network: Explainable) -> str:
    """The last layer before the network's answer that still has pixels."""
    image = np.zeros((1, *network.config.image_shape), np.float32)
    steps, _ = forward_steps(network, image)
    mapped = [name for name, _, __, shape in steps if len(shape) == 4 and shape[2] > 1]
    return mapped[-1].split(".")[0]
