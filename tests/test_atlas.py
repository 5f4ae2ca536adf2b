"""The atlas: every vector is the layer's own, grid cells hold what falls into them, evidence adds up."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from insdl.explain.activations import layer_activations
from insdl.explain.atlas import Atlas, activation_atlas
from insdl.explain.layers import answers
from insdl.explain.maximisation import MaximisationSettings
from insdl.learn.networks import CellClassifier

CELLS, PIXELS = 3, 16
FREE = np.ones((CELLS, PIXELS, PIXELS), dtype=bool)


def _network() -> CellClassifier:
    return CellClassifier(cells=CELLS, pixels=PIXELS, widths=(8, 8, 8))


def _images() -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).random((30, CELLS, PIXELS, PIXELS), dtype=np.float32)


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return activation_atlas(
        _network(), _images(), layer="mix2", target=1, free=FREE, grid=3, places=5, least=3,
        maximisation=MaximisationSettings(steps=10), batch_size=7,
    )  # fmt: skip


def test_cells_hold_what_falls_into_them(atlas: Atlas) -> None:
    maps = layer_activations(_network(), _images(), layer="mix2")
    vectors = maps[atlas.images, :, atlas.places[:, 0], atlas.places[:, 1]].astype(np.float64)
    assert len(vectors) == 150
    covered = 0
    for cell in atlas.cells:
        low = atlas.edges[:, 0] + np.array([cell.column, cell.row]) * np.ptp(atlas.edges, axis=1) / 3
        high = low + np.ptp(atlas.edges, axis=1) / 3
        inside = ((atlas.points >= low - 1e-9) & (atlas.points <= high + 1e-9)).all(axis=1)
        assert cell.count == inside.sum() >= 3
        np.testing.assert_allclose(cell.vector, vectors[inside].mean(axis=0), atol=1e-5)
        assert cell.evidence == pytest.approx(atlas.evidence[inside].mean(), abs=1e-9)
        distance = np.linalg.norm(vectors - cell.vector, axis=1)
        image, row, column = cell.nearest[0]
        mine = np.flatnonzero((atlas.images == image) & (atlas.places == [row, column]).all(axis=1))[0]
        assert distance[mine] == pytest.approx(distance[inside].min(), abs=1e-5)
        covered += cell.count
    assert covered > 100


def test_evidence_adds_up_at_the_last_layer() -> None:
    """Behind "mix3" the answer is linear: over all pixels, evidence sums to the answer less its bias."""
    network, images = _network(), _images()[:1]
    atlas = activation_atlas(
        network, images, layer="mix3", target=0, free=FREE, grid=1, places=400, least=2, visualise="none"
    )
    every = {tuple(place): value for place, value in zip(atlas.places.tolist(), atlas.evidence, strict=True)}
    assert len(every) == 16  # all pixels were drawn
    bias = network.head[2].bias[0].item()
    assert sum(every.values()) == pytest.approx(answers(network, images, target=0)[0] - bias, abs=1e-5)
    assert atlas.cells[0].visualisation.size == 0


def test_visualisations_excite_their_direction(atlas: Atlas) -> None:
    """Each image scores higher along its own cell's vector, at the centre of the layer, than a flat image."""
    flat = np.full((1, CELLS, PIXELS, PIXELS), 0.5, np.float32)
    assert len(atlas.cells) >= 2
    for cell in atlas.cells:
        own, start = (
            layer_activations(_network(), image, layer="mix2")[0, :, 2, 2] @ cell.vector
            for image in (cell.visualisation[None], flat)
        )
        assert own > start


def test_same_seed_same_atlas(atlas: Atlas) -> None:
    again = activation_atlas(
        _network(), _images(), layer="mix2", target=1, free=FREE, grid=3, places=5, least=3, visualise="none",
        batch_size=7,
    )  # fmt: skip
    np.testing.assert_array_equal(again.points, atlas.points)


def test_atlas_by_tsne() -> None:
    pytest.importorskip("openTSNE", reason="t-SNE needs openTSNE: pip install 'insdl[explain]'")
    found = activation_atlas(
        _network(), _images(), layer="mix2", target=1, free=FREE, places=4, reduction="tsne", visualise="none"
    )
    assert found.points.shape == (120, 2)
    assert np.isfinite(found.points).all()


def test_wrong_calls_are_refused() -> None:
    for change, message in (
        ({"grid": 0}, "grid must be at least 1"),
        ({"reduction": "umap"}, "reduction must be 'pca' or 'tsne', got 'umap'"),
        ({"layer": "head.2"}, "must run once"),
    ):
        options = {"layer": "mix2", "target": 1, "free": FREE} | change
        with pytest.raises(ValueError, match=message):
            activation_atlas(_network(), _images(), **options)  # type: ignore[arg-type]
