"""Nested regions against the same measured one by one."""

import itertools

import cv2
import numpy as np
import pytest

from m2n2_engine.method.candidates import cut_map, measure_overlaps
from m2n2_engine.method.edge_map import find_edges

CLICK = (11, 6)


@pytest.fixture(params=range(4))
def rng(request):
    return np.random.default_rng(request.param)


@pytest.fixture
def edge_map(rng):
    """A bumpy map with plateaus."""
    y, x = np.mgrid[:17, :23]
    values = np.hypot(x - CLICK[0], y - CLICK[1]) / 30 + rng.random((17, 23)) / 3
    values[CLICK[::-1]] = 0
    return find_edges((values / values.max()).round(2).astype(np.float32), CLICK, 1024)


@pytest.fixture
def open_pixels(rng):
    found = rng.random((17, 23)) < 0.9
    found[CLICK[::-1]] = True
    return found


@pytest.fixture
def candidates(edge_map, open_pixels):
    return cut_map(edge_map, open_pixels, (3, 200), np.inf, 12)


@pytest.fixture
def regions(candidates):
    return [candidates.select(number) for number in range(candidates.count)]


def test_each_holds_the_one_before_it_and_the_click(regions, open_pixels):
    assert 1 < len(regions) <= 12
    for smaller, larger in itertools.pairwise(regions):
        assert not (smaller & ~larger).any()
        assert larger.sum() > smaller.sum()
    assert regions[0][CLICK[::-1]]
    assert not (regions[-1] & ~open_pixels).any()


def test_each_is_all_open_pixels_below_a_value(regions, edge_map, open_pixels):
    for region in regions:
        np.testing.assert_array_equal(region, open_pixels & (edge_map.values <= edge_map.values[region].max()))


def test_sizes_are_those_asked_for(regions):
    """But for plateaus, whose pixels come together."""
    assert 3 <= regions[0].sum() <= 30
    assert 200 <= regions[-1].sum() <= 230


def test_sums_and_means(candidates, regions, rng):
    values = rng.random((17, 23))
    np.testing.assert_array_equal(candidates.areas, [region.sum() for region in regions])
    np.testing.assert_allclose(candidates.sum_over(values), [values[region].sum() for region in regions])
    np.testing.assert_allclose(candidates.mean_over(values), [values[region].mean() for region in regions])


def test_borders(candidates, regions, open_pixels, rng):
    values = rng.random((17, 23))
    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
    borders = [(cv2.dilate(region.astype(np.uint8), cross) > 0) & ~region & open_pixels for region in regions]
    np.testing.assert_array_equal(candidates.borders, [border.sum() for border in borders])
    np.testing.assert_allclose(candidates.mean_at_border(values), [values[border].mean() for border in borders])


def test_extents(candidates, regions):
    places = [np.nonzero(region) for region in regions]
    expected = [(x.min(), y.min(), x.max() + 1, y.max() + 1) for y, x in places]
    np.testing.assert_array_equal(np.transpose(candidates.find_extents()), expected)


def test_depths(candidates, regions):
    depths, deepest = candidates.measure_depths([CLICK])
    assert (depths > 0).all()
    assert (depths <= deepest).all()
    whole = regions[0] | True
    found = cut_map(find_edges(whole * np.float32(0), CLICK, 1024), whole, (1, 400), np.inf, 4)
    assert found.measure_depths([CLICK])[0][-1] == pytest.approx(CLICK[1] + 1, rel=0.05)


def test_all_keep_below_the_limit(edge_map, open_pixels):
    limit = float(np.median(edge_map.values))
    found = cut_map(edge_map, open_pixels, (3, 200), limit, 12)
    assert edge_map.values[found.select(found.count - 1)].max() < limit


def test_under_any_limit_the_click_s_own_value_is_left(edge_map, open_pixels):
    found = cut_map(edge_map, open_pixels, (3, 200), 0, 12)
    assert found.count == 1
    np.testing.assert_array_equal(found.select(0), open_pixels & (edge_map.values == 0))


def test_sizes_count_within_other_pixels(edge_map, open_pixels):
    left = np.broadcast_to(np.arange(23) < 12, (17, 23))
    found = cut_map(edge_map, open_pixels | True, (5, float(left.sum())), np.inf, 12, within=left)
    assert found.select(found.count - 1)[left].all()


def test_an_image_of_one_pixel():
    one = np.zeros((1, 1), np.float32)
    found = cut_map(find_edges(one, (0, 0), 1024), one == 0, (1e-3, 0.6), np.inf, 24)
    assert (found.count, found.select(0).tolist()) == (1, [[True]])
    assert [extent.tolist() for extent in found.find_extents()] == [[0], [0], [1], [1]]
    assert found.mean_at_border(one).tolist() == [0]


def test_overlaps_of_several_maps(edge_map, open_pixels, candidates, regions, rng):
    other = cut_map(find_edges(rng.random((17, 23)).astype(np.float32), CLICK, 1024), open_pixels, (3, 300), np.inf, 5)
    every = [*regions, *(other.select(number) for number in range(other.count))]
    expected = [[(one & two).sum() / (one | two).sum() for two in every] for one in every]
    np.testing.assert_allclose(measure_overlaps([candidates, other]), expected)
