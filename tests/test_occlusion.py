"""Occlusion: exact for linear networks; regions cover the image once; what was not measured stays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from insdl.explain.occlusion import Region, band_regions, cell_regions, class_average, occlude, zone_regions
from insdl.instrument.frame import EnergyBlock, ImageFrame
from insdl.instrument.pcsmo import pcsmo_frame

PIXELS = 8
FRAME = ImageFrame(
    [EnergyBlock([[1, 2], [2, 4]], 10.0, (0.1, 0, 0), 0.01), EnergyBlock([[3, 5], [5, 8]], 20.0, (0.1, 0, 0), 0.01)],
    np.linspace(-0.875, 0.875, PIXELS),
)


def _linear(channels: int = 4) -> tuple[nn.Sequential, npt.NDArray[np.float64]]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(channels * PIXELS**2, 2))
    return network, network[1].weight.detach().double().numpy().reshape(2, channels, PIXELS, PIXELS)


def _images(channels: int = 4) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).random((3, channels, PIXELS, PIXELS), dtype=np.float32)


@pytest.mark.parametrize(
    "regions", [cell_regions(FRAME), band_regions(FRAME, edges=[0, 2.5, 6, 9]), zone_regions(FRAME, size=0.5)]
)
def test_regions_cover_the_image_once(regions: tuple[Region, ...]) -> None:
    assert (np.sum([region.mask for region in regions], axis=0) == 1).all()
    assert len({region.name for region in regions}) == len(regions)


def test_regions_of_the_pcsmo_frame() -> None:
    frame = pcsmo_frame()
    assert cell_regions(frame)[13].name == frame.label(13)
    bands = band_regions(frame, edges=[0, 10, 28, 41, 100])
    centres = frame.bins.mean(axis=1)
    assert [int(band.mask[:, 0, 0].sum()) for band in bands] == [
        int(((centres >= low) & (centres < high)).sum()) for low, high in ((0, 10), (10, 28), (28, 41), (41, 100))
    ]
    zones = zone_regions(frame, size=0.5)
    pixels = np.asarray(frame.pixels)
    (middle,) = [zone for zone in zones if zone.name.startswith("Qh = 0, Qk = 0 ")]
    rows = np.flatnonzero(middle.mask[0].any(axis=1))
    assert np.abs(pixels[rows]).max() < 0.25
    assert np.abs(pixels[[rows[0] - 1, rows[-1] + 1]]).min() > 0.25


@pytest.mark.parametrize(
    "regions", [cell_regions(FRAME), band_regions(FRAME, edges=[0, 2.5, 9]), zone_regions(FRAME, size=1.0)]
)
def test_linear_network_is_exact(regions: tuple[Region, ...]) -> None:
    """The drop is the region's sum of weight times (image - replacement); over all regions, that of the whole image."""
    network, weight = _linear()
    filling = np.random.default_rng(1).random((4, PIXELS, PIXELS))
    found = occlude(network, _images(), regions=regions, target=(1, 0), replacement=filling, replacement_name="noise")
    terms = (weight[1] - weight[0]) * (_images() - filling)
    expected = np.array([[term[region.mask].sum() for region in regions] for term in terms])
    np.testing.assert_allclose(found.drop, expected, atol=1e-5)
    np.testing.assert_allclose(found.drop.sum(axis=1), terms.sum(axis=(1, 2, 3)), atol=1e-4)
    assert found.replacement == "noise"
    assert found.names == tuple(region.name for region in regions)


def test_what_was_not_measured_and_further_channels_stay() -> None:
    network, weight = _linear(5)
    measured = np.ones(FRAME.shape, dtype=bool)
    measured[:, :, :3] = False
    found = occlude(
        network,
        _images(5),
        regions=cell_regions(FRAME),
        target=0,
        replacement=7.0,
        replacement_name="7",
        measured=measured,
    )
    terms = weight[0] * (_images(5) - 7.0)
    np.testing.assert_allclose(found.drop, terms[:, :4, :, 3:].sum(axis=(2, 3)), atol=1e-4)


def test_class_average_counts_classes_alike() -> None:
    images = _images()
    expected = 0.5 * (images[0] + 0.5 * (images[1] + images[2]))
    np.testing.assert_allclose(class_average(images, [4, 9, 9]), expected, atol=1e-6)


def test_wrong_calls_are_refused() -> None:
    network, _ = _linear()
    call = {"regions": cell_regions(FRAME), "target": 0, "replacement": 0.0, "replacement_name": "zero"}
    for change, message in (
        ({"replacement": np.zeros((4, 8))}, r"replacement must be a number or have shape \(4, 8, 8\), got \(4, 8\)"),
        ({"replacement": np.nan}, "replacement must be finite"),
        ({"regions": ()}, "at least one region"),
        ({"regions": cell_regions(pcsmo_frame())}, "does not fit images of shape"),
        ({"measured": np.ones((4, 8))}, r"measured must have shape \(4, 8, 8\)"),
    ):
        with pytest.raises(ValueError, match=message):
            occlude(network, _images(), **(call | change))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="edges must ascend"):
        band_regions(FRAME, edges=[3, 1])
    with pytest.raises(ValueError, match="size must be positive"):
        zone_regions(FRAME, size=0)
    with pytest.raises(ValueError, match=r"labels must have shape \(3,\)"):
        class_average(_images(), [0, 1])
