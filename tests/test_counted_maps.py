"""Counted maps: repeatable, counted as said, and blind to what was not measured."""

from __future__ import annotations

import numpy as np
import pytest

from insdl.dataset.configuration import configuration, load_configuration
from insdl.dataset.configured import ConfiguredSource
from insdl.dataset.counted_maps import CountedMaps, MapNuisances, map_view, with_counts, with_windows
from insdl.dataset.distribution import bounds

NAMES = ("J1", "J2", "D", "energy_zero")


def small(**changes):
    content = load_configuration("rb2mnf4").model_dump()
    content["frame"]["pixels"] = {"first": -0.9375, "last": 0.9375, "count": 16}
    content["frame"]["subpixels"] = 1
    return configuration({**content, **changes})


def test_a_map_depends_on_its_number_and_stream_alone():
    maps = CountedMaps(small(), NAMES, stream="a", nuisances=MapNuisances(energy_zero_sigma=0.02))
    together = maps.batch(range(7))
    alone = CountedMaps(small(), NAMES, stream="a", nuisances=MapNuisances(energy_zero_sigma=0.02)).batch([5, 2])
    for row, index in enumerate((5, 2)):
        assert np.array_equal(together.counts[index], alone.counts[row])
        assert np.array_equal(together.measured[index], alone.measured[row])
        assert np.array_equal(together.values[index], alone.values[row])
    other = CountedMaps(small(), NAMES, stream="b").batch([5])
    assert not np.array_equal(other.values[0, :3], together.values[5, :3])
    assert other.values[0, 3] == 0.0


def test_counts_are_poisson_around_the_expected_map_of_what_they_were_made_with():
    """Without background: the forward model at the given values, at the stated number of counts."""
    given = with_counts(small(), 5e5)
    content = given.model_dump()
    content["detection"]["nuisances"]["window"]["probability"] = 0.0
    maps = CountedMaps(
        configuration(content), ("J1",), stream="a", nuisances=MapNuisances(energy_zero_sigma=0.05, gap_probability=1.0)
    )
    found = maps.batch(range(30))
    rows, images = maps._images(range(30))
    assert np.ptp(rows[:, maps.forward.names.index("energy_zero")]) > 0.05
    whole = np.where(maps.measured, images, 0.0)
    mean = images * (5e5 / whole.sum(axis=(1, 2, 3)))[:, None, None, None]
    z = ((found.counts - mean) / np.sqrt(np.maximum(mean, 1e-9)))[found.measured & (mean > 20)]
    assert np.mean(z**2) == pytest.approx(1.0, abs=5 * np.sqrt(2 / z.size))
    assert (found.counts[~found.measured] == 0).all()
    gaps = maps.measured.sum() - found.measured.sum(axis=(1, 2, 3))
    assert (gaps > 0).all()


def test_gaps_and_masks_are_where_they_are_said_to_be():
    mask = np.ones((4, 16, 16), dtype=bool)
    mask[:, :3] = False
    maps = CountedMaps(small(), ("J1",), stream="a", measured=mask, nuisances=MapNuisances(gap_probability=0.0))
    found = maps.batch([0, 1])
    assert not found.measured[:, :, :3].any()
    assert np.array_equal(found.measured[0], found.measured[1])


def test_the_view_does_not_change_with_gaps_where_equivalent_pixels_are_left():
    """Expected counts of a symmetric map, without noise: what was not measured is told by its equivalents."""
    maps = CountedMaps(small(), ("J1",), stream="a")
    image = maps._images([0])[1] + 0.1
    full = np.broadcast_to(maps.measured, image.shape)
    gap = full.copy()
    gap[:, :, 2:4] = False
    gap[:, :, :, 9] = False
    one, two = map_view(1e4 * image, full), map_view(1e4 * image, gap)
    # Only the mean that pixels are compared with is taken over other pixels: one factor for the whole map.
    ratio = two[:, :-1][one[:, :-1] > 0] / one[:, :-1][one[:, :-1] > 0]
    assert np.ptp(ratio) < 1e-3 * ratio.mean()
    assert np.array_equal(one[0], np.swapaxes(one[0], -1, -2))
    assert one[0, -1, 0, 0] == pytest.approx(np.log10(1e4 * image[full].sum()) - 6.0, abs=1e-5)


def test_what_has_no_equivalent_is_filled_with_what_is_typical():
    counts = np.ones((1, 1, 4, 4))
    measured = np.ones(counts.shape, dtype=bool)
    measured[0, 0, [0, 0, 3, 3], [0, 3, 0, 3]] = False
    typical = np.full((2, 2, 2), 0.7)
    view = map_view(counts, measured, typical=typical)
    assert view[0, 0] == pytest.approx(np.array([[1.0, 1.0], [1.0, 0.7]]), rel=1e-6)
    with pytest.raises(ValueError, match="map 0 holds no counts"):
        map_view(np.zeros((1, 1, 4, 4)), measured)


def test_other_windows_share_the_same_counts():
    """One window of the same time of measuring: as many counts in a map, so that networks of it see the same range."""
    given = load_configuration("rb2mnf4")
    one = with_windows(given, [(1.0, 8.0)])
    totals = []
    for chosen in (given, one):
        source = ConfiguredSource(chosen)
        low, high = bounds(chosen.detection.scale.value)
        totals.append((low * source.detector.measured.sum(), high * source.detector.measured.sum()))
    assert totals[1] == pytest.approx(totals[0], rel=1e-12)
    factor = given.detection.scale.model_copy(update={"kind": "factor", "value": 2.0})
    kept = given.model_copy(update={"detection": given.detection.model_copy(update={"scale": factor})})
    assert with_windows(kept, [(1.0, 8.0)]).detection.scale == factor


def test_windows_can_be_changed_and_wrong_arguments_are_refused():
    assert CountedMaps(with_windows(small(), [(1.0, 6.0)]), ("J1",), stream="a").forward.image_shape == (1, 16, 16)
    with pytest.raises(ValueError, match="names must be some of"):
        CountedMaps(small(), ("J3",), stream="a")
    with pytest.raises(ValueError, match="measured must have the shape"):
        CountedMaps(small(), ("J1",), stream="a", measured=np.ones((1, 1, 1), dtype=bool))
    with pytest.raises(ValueError, match="one class and Poisson counting"):
        CountedMaps(load_configuration("pcsmo"), ("J1",), stream="a")
    with pytest.raises(ValueError, match="one incident energy"):
        with_windows(load_configuration("pcsmo"), [(1.0, 2.0)])
    with pytest.raises(ValueError, match="energy_zero_sigma must not be negative"):
        MapNuisances(energy_zero_sigma=-1.0)
    with pytest.raises(ValueError, match="gap_width and gap_count"):
        MapNuisances(gap_width=0)
