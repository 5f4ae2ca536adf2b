"""Other grids: integrals conserved, errors in quadrature, mirror images, the frame of an image."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from insdl.dataset.randomness import generator
from insdl.instrument import EnergyBlock, ImageFrame
from insdl.measured import Axis, Histogram, cut, rebinned, section, symmetrised, to_frame

Reals = npt.NDArray[np.float64]


def sample(shape: tuple[int, int] = (7, 5), *, gaps: float = 0.0, seed: int = 0) -> Histogram:
    """Uneven bins, errors, and a share of bins not measured."""
    rng = generator(seed, "tests/rebinning", 0)
    edges = [np.cumsum(rng.uniform(0.2, 1.0, n + 1)) for n in shape]
    signal = rng.uniform(-1.0, 5.0, shape)
    signal[rng.random(shape) < gaps] = np.nan
    axes = (Axis("E", "meV", edges[0]), Axis("Qh", "r.l.u.", edges[1], (1, 0, 0)))
    return Histogram(signal, rng.uniform(0.1, 1.0, shape), axes, "test", "")


def integral(histogram: Histogram) -> float:
    widths = np.multiply.outer(histogram.axes[0].widths, histogram.axes[1].widths)
    return float(np.nansum(histogram.signal * widths))


def slow(histogram: Histogram, edges: Reals, quantity: str) -> tuple[Reals, Reals]:
    """Bin by bin along the first axis, in plain loops."""
    old = np.asarray(histogram.axes[0].edges)
    assert histogram.error is not None
    signal = np.full((len(edges) - 1, histogram.shape[1]), np.nan)
    error = signal.copy()
    for j in range(len(edges) - 1):
        for c in range(histogram.shape[1]):
            total = square = weight = 0.0
            for i in range(len(old) - 1):
                overlap = min(edges[j + 1], old[i + 1]) - max(edges[j], old[i])
                if overlap > 0 and not np.isnan(histogram.signal[i, c]):
                    share = overlap if quantity == "density" else overlap / (old[i + 1] - old[i])
                    total += share * histogram.signal[i, c]
                    square += (share * histogram.error[i, c]) ** 2
                    weight += overlap
            if weight > 0:
                scale = weight if quantity == "density" else 1.0
                signal[j, c], error[j, c] = total / scale, np.sqrt(square) / scale
    return signal, error


@pytest.mark.parametrize("quantity", ["density", "counts"])
@pytest.mark.parametrize("gaps", [0.0, 0.3])
def test_against_plain_loops(quantity: Any, gaps: float) -> None:
    histogram = sample(gaps=gaps)
    old = np.asarray(histogram.axes[0].edges)
    edges = np.linspace(old[0] - 0.7, old[-1] + 0.3, 6)
    result = rebinned(histogram, "E", edges, quantity=quantity)
    signal, error = slow(histogram, edges, quantity)
    np.testing.assert_allclose(result.signal, signal, rtol=1e-12)
    np.testing.assert_allclose(result.error, error, rtol=1e-12)


def test_density_is_the_slope_of_its_cumulative_integral() -> None:
    """Exact: piecewise constant densities integrate to a piecewise linear function."""
    histogram = sample()
    old = np.asarray(histogram.axes[0].edges)
    edges = np.linspace(old[0], old[-1], 12)
    below = np.concatenate([np.zeros((1, 5)), np.cumsum(histogram.signal * np.diff(old)[:, None], axis=0)])
    at = np.stack([np.interp(edges, old, column) for column in below.T], axis=1)
    expected = np.diff(at, axis=0) / np.diff(edges)[:, None]
    np.testing.assert_allclose(
        rebinned(histogram, "E", edges, quantity="density").signal, expected, rtol=1e-10, atol=1e-12
    )


def test_integrals_are_conserved_to_rounding() -> None:
    histogram = sample()
    old = np.asarray(histogram.axes[0].edges)
    for n in (1, 3, 40):
        edges = np.linspace(old[0] - 1, old[-1] + 1, n + 1)
        counts = rebinned(histogram, "E", edges, quantity="counts")
        assert np.nansum(counts.signal) == pytest.approx(histogram.signal.sum(), rel=1e-13)
        inside = rebinned(histogram, "E", np.linspace(old[0], old[-1], n + 1), quantity="density")
        assert integral(inside) == pytest.approx(integral(histogram), rel=1e-13)
    # Counts keep their sum with gaps too.
    holes = sample(gaps=0.3)
    result = rebinned(holes, "E", [old[0], 0.5 * (old[0] + old[-1]), old[-1]], quantity="counts")
    assert np.nansum(result.signal) == pytest.approx(np.nansum(holes.signal), rel=1e-13)


def test_the_same_edges_give_the_same_bits() -> None:
    histogram = sample(gaps=0.2)
    old = np.asarray(histogram.axes[0].edges)
    again = rebinned(histogram, "E", old * (1 + 1e-12), quantity="density")
    np.testing.assert_array_equal(again.signal, histogram.signal)
    part = rebinned(histogram, "E", old[2:5], quantity="counts")
    np.testing.assert_array_equal(part.signal, histogram.signal[2:4])
    np.testing.assert_allclose(part.error, np.asarray(histogram.error)[2:4], rtol=1e-15)


def test_coverage_decides_what_counts_as_measured() -> None:
    """A new bin with 1/4 of its width measured."""
    axes = (Axis("E", "meV", [0.0, 1.0, 4.0]),)
    histogram = Histogram(np.array([2.0, np.nan]), np.array([0.1, 0.0]), axes, "test", "")
    for coverage, kept in ((0.0, True), (0.25, True), (0.26, False), (1.0, False)):
        result = rebinned(histogram, "E", [0.0, 4.0], quantity="density", coverage=coverage)
        assert result.measured.tolist() == [kept]
    assert rebinned(histogram, 0, [0.0, 4.0], quantity="density").signal[0] == 2.0


def test_cuts_and_sections() -> None:
    histogram = sample()
    edges = np.asarray(histogram.axes[0].edges)
    mean = cut(histogram, "E", edges[1], edges[4], quantity="density")
    expected = np.average(histogram.signal[1:4], axis=0, weights=histogram.axes[0].widths[1:4])
    np.testing.assert_allclose(mean.signal, expected, rtol=1e-12)
    assert [axis.name for axis in mean.axes] == ["Qh"]
    assert "mean over E from" in mean.notes[-1]
    total = cut(histogram, "E", edges[0], edges[-1], quantity="counts")
    np.testing.assert_allclose(total.signal, histogram.signal.sum(axis=0), rtol=1e-12)
    assert histogram.error is not None
    np.testing.assert_allclose(total.error, np.sqrt((histogram.error**2).sum(axis=0)), rtol=1e-12)
    piece = section(histogram, "E", edges[1] - 0.01, edges[4] + 0.01)
    np.testing.assert_array_equal(piece.signal, histogram.signal[1:4])
    np.testing.assert_array_equal(np.asarray(piece.axes[0].edges), edges[1:5])
    with pytest.raises(ValueError, match="no bin of axis E"):
        section(histogram, "E", edges[1] + 0.01, edges[2] - 0.01)


@pytest.mark.parametrize(
    ("edges", "options", "words"),
    [
        ([0.0, 1.0], {"quantity": "sum"}, "quantity must be"),
        ([1.0, 0.0], {"quantity": "counts"}, "ascend"),
        ([0.0], {"quantity": "counts"}, "two edges"),
        ([0.0, 1.0], {"quantity": "counts", "coverage": 1.5}, "coverage must lie"),
    ],
)
def test_wrong_calls(edges: Any, options: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        rebinned(sample(), "E", edges, **options)


def square(n: int = 5, *, seed: int = 1, error: float | None = 0.5) -> Histogram:
    rng = generator(seed, "tests/rebinning", 1)
    edges = np.linspace(-1.0, 1.0, n + 1)
    axes = (Axis("Qh", "r.l.u.", edges, (1, 0, 0)), Axis("Qk", "r.l.u.", edges, (0, 1, 0)))
    return Histogram(rng.random((n, n)), None if error is None else np.full((n, n), error), axes, "test", "")


def test_mirror_images_are_averaged() -> None:
    """Against explicit flips; a pixel on the mirror (the middle of five) is its own image and counts once."""
    histogram = square()
    result = symmetrised(histogram, mirrors=["Qh"])
    np.testing.assert_allclose(result.signal, 0.5 * (histogram.signal + histogram.signal[::-1]), rtol=1e-14)
    error = np.full((5, 5), 0.5 / np.sqrt(2))
    error[2] = 0.5
    np.testing.assert_allclose(result.error, error, rtol=1e-14)
    assert "symmetrised in Qh" in result.notes[-1]


def test_all_eight_images() -> None:
    """Both mirrors and the exchange: the orbit of a pixel in general position has eight members, in the middle one."""
    histogram = square()
    result = symmetrised(histogram, mirrors=["Qh", "Qk", ("Qh", "Qk")], weights="equal")
    s = histogram.signal
    images = [a for b in (s, s.T) for a in (b, b[::-1], b[:, ::-1], b[::-1, ::-1])]
    np.testing.assert_allclose(result.signal, np.mean(images, axis=0), rtol=1e-13)
    assert result.error is not None
    assert result.error[0, 1] == pytest.approx(0.5 / np.sqrt(8))
    assert result.error[0, 0] == pytest.approx(0.5 / np.sqrt(4))
    assert result.error[2, 2] == pytest.approx(0.5)
    again = symmetrised(result, mirrors=["Qk"], weights="equal")
    np.testing.assert_allclose(again.signal, result.signal, rtol=1e-13)


def test_weights_and_gaps() -> None:
    """Inverse variances; where one image is missing the other stands alone; where both are, nothing does."""
    axes = (Axis("Qh", "r.l.u.", [-2.0, -1.0, 0.0, 1.0, 2.0], (1, 0, 0)),)
    signal, sigma = np.array([np.nan, 1.0, 4.0, np.nan]), np.array([1.0, 1.0, 2.0, 1.0])
    result = symmetrised(Histogram(signal, sigma, axes, "test", ""), mirrors=["Qh"])
    mean, error = (1.0 / 1 + 4.0 / 4) / (1 + 1 / 4), 1 / np.sqrt(1 + 1 / 4)
    np.testing.assert_allclose(result.signal, [np.nan, mean, mean, np.nan], rtol=1e-14)
    np.testing.assert_allclose(result.error, [np.nan, error, error, np.nan], rtol=1e-14)
    one = symmetrised(Histogram(np.array([5.0, np.nan, 4.0, 1.0]), sigma, axes, "test", ""), mirrors=["Qh"])
    assert one.signal[1] == one.signal[2] == 4.0
    assert np.asarray(one.error)[1] == 2.0


@pytest.mark.parametrize(
    ("histogram", "options", "words"),
    [
        (sample(), {"mirrors": ["Qh"]}, "symmetric about zero"),
        (sample(), {"mirrors": [("E", "Qh")]}, "same edges"),
        (square(error=None), {"mirrors": ["Qh"]}, "needs errors and the histogram has none"),
        (square(error=0.0), {"mirrors": ["Qh"]}, "errors above zero"),
        (square(), {"mirrors": []}, "at least one axis"),
        (square(), {"mirrors": ["Ql"]}, "has the axes"),
        (square(), {"mirrors": ["Qh"], "weights": "none"}, "weights must be"),
    ],
)
def test_mirrors_that_are_none(histogram: Histogram, options: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        symmetrised(histogram, **options)


FRAME = ImageFrame(
    blocks=[
        EnergyBlock(bins=[(1.0, 2.0), (2.0, 4.0)], incident_energy=10.0, sigma_energy=(0.1, 0.0, 0.0), sigma_q=0.01)
    ],
    pixels=np.linspace(-1.0, 1.0, 4),
)


def in_frame(signal: Reals) -> Histogram:
    """E, Qh, Qk on the grid of `FRAME`."""
    edges = FRAME.pixel_edges
    axes = (
        Axis("E", "meV", [1.0, 2.0, 4.0]),
        Axis("Qh", "r.l.u.", edges, (1, 0, 0)),
        Axis("Qk", "r.l.u.", edges, (0, 1, 0)),
    )
    return Histogram(signal, None, axes, "test", "abc")


def test_the_frame_of_an_image() -> None:
    """The same grid gives the same bits; other orders, directions and units of the axes give the same image."""
    signal = generator(0, "tests/frame", 0).random((2, 4, 4))
    signal[0, 1, 2] = np.nan
    histogram = in_frame(signal)
    measurement = to_frame(histogram, FRAME, quantity="density")
    np.testing.assert_array_equal(measurement.image, np.nan_to_num(signal))
    np.testing.assert_array_equal(measurement.measured, ~np.isnan(signal))
    assert measurement.sha256 == "abc"
    e, h, k = histogram.axes
    halves = Axis("[-0.5H,0,0]", "r.l.u.", np.asarray(h.edges) * 2, (-0.5, 0, 0))  # coordinate -2h
    single = Axis("[0,0,L]", "r.l.u.", [0.0, 1.0], (0, 0, 1))
    turned = Histogram(signal[:, ::-1].transpose(2, 0, 1)[:, :, None, :], None, (k, e, single, halves), "test", "")
    again = to_frame(turned, FRAME, quantity="density")
    np.testing.assert_allclose(again.image, measurement.image, rtol=1e-12)
    np.testing.assert_array_equal(again.measured, measurement.measured)


def test_a_finer_grid_averages_into_the_frame() -> None:
    """Halved bins on all three axes: the mean of eight, and half of them measured is enough."""
    signal = generator(0, "tests/frame", 1).random((4, 8, 8))
    signal[:2, 0:2, 0:1] = np.nan  # half of the first pixel
    signal[:2, 2:4, 0:2] = np.nan  # all of the next
    signal[0, 2, 0] = 1.0  # but an eighth
    edges = np.linspace(FRAME.pixel_edges[0], FRAME.pixel_edges[-1], 9)
    axes = (
        Axis("E", "meV", [1.0, 1.5, 2.0, 3.0, 4.0]),
        Axis("Qh", "r.l.u.", edges, (1, 0, 0)),
        Axis("Qk", "r.l.u.", edges, (0, 1, 0)),
    )
    measurement = to_frame(Histogram(signal, None, axes, "test", ""), FRAME, quantity="density")
    eighths = signal.reshape(2, 2, 4, 2, 4, 2).transpose(0, 2, 4, 1, 3, 5).reshape(2, 4, 4, 8)
    expected = np.nanmean(eighths, axis=-1)
    assert not measurement.measured[0, 1, 0]
    assert measurement.measured.sum() == 31
    np.testing.assert_allclose(measurement.image[measurement.measured], expected[measurement.measured], rtol=1e-12)


def test_what_has_no_place_in_the_frame() -> None:
    histogram = in_frame(np.ones((2, 4, 4)))
    e, h, k = histogram.axes
    diagonal = Axis("[H,H,0]", "r.l.u.", np.asarray(h.edges), (1, 1, 0))
    with pytest.raises(ValueError, match=r"axis \[H,H,0\] of 4 bins has no place"):
        to_frame(Histogram(np.ones((2, 4, 4)), None, (e, diagonal, k), "test", ""), FRAME, quantity="density")
    with pytest.raises(ValueError, match="a frame needs axes in meV"):
        to_frame(Histogram(np.ones((2, 4)), None, (e, h), "test", ""), FRAME, quantity="density")
    with pytest.raises(ValueError, match="1 incident energies, got 2 histograms"):
        to_frame([histogram, histogram], FRAME, quantity="density")
    far = Axis("E", "meV", [20.0, 21.0, 22.0])
    with pytest.raises(ValueError, match="nothing of the frame was measured"):
        to_frame(Histogram(np.ones((2, 4, 4)), None, (far, h, k), "test", ""), FRAME, quantity="density")
