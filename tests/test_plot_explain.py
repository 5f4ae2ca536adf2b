"""Pictures of explanations: axes and units are there, the data stand beside, what was not measured is grey."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from insdl import plot_explain
from insdl.explain.atlas import activation_atlas
from insdl.explain.faithfulness import faithfulness
from insdl.explain.maximal_activation import maximal_activation
from insdl.explain.maximisation import MaximisationSettings
from insdl.explain.occlusion import cell_regions
from insdl.instrument.frame import EnergyBlock, ImageFrame
from insdl.learn.networks import CellClassifier

PIXELS = 16
FRAME = ImageFrame(
    [EnergyBlock([[1, 2], [2, 4]], 10.0, (0.1, 0, 0), 0.01), EnergyBlock([[3, 5], [5, 8]], 20.0, (0.1, 0, 0), 0.01)],
    np.linspace(-1.0, 1.0, PIXELS),
)
IMAGES = np.random.default_rng(0).random((12, 4, PIXELS, PIXELS), dtype=np.float32)
NETWORK = CellClassifier(cells=4, pixels=PIXELS, widths=(8, 8, 8))


def words(figure: Figure) -> str:
    """Every text of a drawn figure."""
    figure.canvas.draw()
    texts = [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]
    return "\n".join(texts)


def test_maps_stand_below_their_data() -> None:
    maps = np.zeros((4, PIXELS, PIXELS))
    maps[2, 3, 5], maps[0, 8, 8] = -4.0, 1.0
    measured = np.ones(FRAME.shape, dtype=bool)
    measured[:, 0] = False
    figure = plot_explain.beside_data(FRAME, IMAGES[0], maps, title="why", label="evidence (logit)", measured=measured)
    said = words(figure)
    for text in ("Qh (r.l.u.)", "Qk (r.l.u.)", "Ei 20 meV\n3–5 meV", "evidence (logit)", "log(1 + counts)", "why"):
        assert text in said
    data, shown = figure.axes[0].images[0], figure.axes[4].images[0]
    assert figure.axes[0].get_title() == "Ei 20 meV\n3–5 meV"  # the cell that counts most comes first
    np.testing.assert_array_equal(np.ma.getdata(data.get_array()), IMAGES[0, 2])
    assert np.ma.getmaskarray(data.get_array())[0].all()
    assert shown.get_array()[3, 5] == -4.0
    assert shown.get_clim() == (-4.0, 4.0)
    assert shown.get_extent() == [FRAME.pixel_edges[0], FRAME.pixel_edges[-1]] * 2


def test_receptive_field_is_framed_where_it_is() -> None:
    found = maximal_activation(NETWORK, IMAGES, layer="cells", filter=3, count=3)
    figure = plot_explain.excitations(FRAME, IMAGES, found, title="filter 3")
    said = words(figure)
    assert FRAME.label(1) in said
    assert f"image {found.images[0]}" in said
    box = figure.axes[0].patches[0]
    assert box.get_y() == pytest.approx(FRAME.pixel_edges[found.rows[0, 0]])
    assert box.get_x() == pytest.approx(FRAME.pixel_edges[found.columns[0, 0]])
    assert box.get_width() == pytest.approx(np.diff(FRAME.pixel_edges[found.columns[0]])[0])


def test_atlas_curves_points_bars_and_kernels() -> None:
    atlas = activation_atlas(
        NETWORK, IMAGES, layer="mix2", target=0, free=np.ones(FRAME.shape, bool), grid=2, least=2,
        maximisation=MaximisationSettings(steps=2),
    )  # fmt: skip
    said = words(plot_explain.atlas_sheet(FRAME, IMAGES, atlas, title="atlas"))
    assert "evidence of a vector (logit)" in said
    assert f"{atlas.cells[0].count} vectors" in said

    scores = np.arange(4.0)
    found = faithfulness(
        NETWORK, IMAGES[0], scores=scores, regions=cell_regions(FRAME), target=0, replacement=0.0, random_orders=2,
        other_scores={"physics": -scores},
    )  # fmt: skip
    figure = plot_explain.deletion_curves({"deletion": found}, label="answer (logit)", title="faithful?")
    said = words(figure)
    for text in (
        "random orders",
        "physics (area",
        "explanation (area",
        "answer (logit)",
        "share of the measured pixels",
    ):
        assert text in said
    np.testing.assert_allclose(figure.axes[0].lines[-1].get_ydata(), found.curve.answer)

    said = words(
        plot_explain.points(
            np.zeros((3, 2)), np.array([0, 1, 1]), ("a", "b"), title="t", axes_labels=("x", "y"), measured=np.zeros(2),
            neighbours=np.array([1]),
        )
    )  # fmt: skip
    for text in ("simulated, a", "simulated, b", "measured", "nearest simulated"):
        assert text in said
    said = words(plot_explain.bars(np.array([1.0, -2.0]), ["p", "q"], title="t", label="drop (logit)"))
    assert "drop (logit)" in said
    said = words(plot_explain.kernels(np.ones((3, 4, 4)), names=list("abc"), notes=["1", "2", "3"], title="t"))
    assert "weight; Qk to the right" in said
    figure = plot_explain.filters(FRAME, IMAGES[0], np.ones((8, 8, 8)), channels=[2, 5], cells=[1, 2], title="t")
    assert "filter 5" in words(figure)
    assert figure.axes[2].images[0].get_extent() == figure.axes[0].images[0].get_extent()
