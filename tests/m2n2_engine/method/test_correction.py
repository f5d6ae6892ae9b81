"""Stepwise corrections by hand-made maps."""

import dataclasses

import numpy as np
import pytest

from m2n2_engine.config import MethodConfig
from m2n2_engine.kernels.cpu.click_maps import find_edges
from m2n2_engine.method.correction import find_correction

METHOD = MethodConfig(click_area_limit=1.0)
EMPTY = np.zeros((40, 40), bool)


def draw(*squares: tuple[int, int, int, float]):
    """A map of 1 with squares: (top, left, side, value), later ones on top."""
    values = np.ones((40, 40), np.float32)
    for top, left, side, value in squares:
        values[top : top + side, left : left + side] = value
    return values


@pytest.fixture
def nested():
    """A square of 0.1 with the click in its middle, inside one of 0.4 with a steeper border, off its middle."""
    values = draw((5, 5, 30, 0.4), (8, 8, 9, 0.1))
    values[12, 12] = 0
    return values


def test_it_ends_at_the_strongest_edge(nested):
    free = dataclasses.replace(METHOD, centring=0)
    correction = find_correction(find_edges(nested, (12, 12), METHOD), EMPTY, True, np.inf, free)
    np.testing.assert_array_equal(correction.region, nested < 0.5)
    assert 0 < correction.score <= 1


def test_a_region_with_the_click_in_its_middle_counts_more(nested):
    correction = find_correction(find_edges(nested, (12, 12), METHOD), EMPTY, True, np.inf, METHOD)
    np.testing.assert_array_equal(correction.region, nested < 0.2)
    assert correction.depth == pytest.approx(5, abs=0.5)


def test_it_stops_before_a_click_of_the_other_sign(nested):
    free = dataclasses.replace(METHOD, centring=0)
    correction = find_correction(find_edges(nested, (12, 12), METHOD), EMPTY, True, 0.4, free)
    np.testing.assert_array_equal(correction.region, nested < 0.2)


def test_it_claims_no_more_than_the_area_limit():
    values = np.linspace(0, 1, 1600, dtype=np.float32).reshape(40, 40)
    for limit in (0.1, 0.5):
        method = dataclasses.replace(METHOD, click_area_limit=limit, centring=0)
        region = find_correction(find_edges(values, (0, 0), METHOD), EMPTY, True, np.inf, method).region
        assert 0 < region.mean() <= limit


def test_only_what_is_connected_and_has_the_wrong_sign_changes():
    values = draw((4, 4, 8, 0.0), (24, 24, 8, 0.0))
    both = values < 0.5
    region = find_correction(find_edges(values, (6, 6), METHOD), both, False, np.inf, METHOD).region
    assert region[6, 6]
    assert not (region & ~both).any()
    assert not region[24:32, 24:32].any()


def test_the_border_of_the_mask_is_no_edge_of_the_correction():
    """The map's strongest edge is where the mask ends already; the correction ends at the weaker one inside."""
    values = draw((4, 4, 30, 0.3), (10, 10, 10, 0.1))
    values[15, 15] = 0
    mask = values < 0.5
    method = dataclasses.replace(METHOD, centring=0)
    region = find_correction(find_edges(values, (15, 15), METHOD), mask, False, np.inf, method).region
    np.testing.assert_array_equal(region, values < 0.2)


def test_a_flat_map_changes_the_clicked_pixels_alone():
    correction = find_correction(find_edges(EMPTY.astype(np.float32), (3, 4), METHOD), EMPTY, True, np.inf, METHOD)
    assert correction.region[4, 3]
    assert correction.score == 0


def test_an_image_of_one_pixel():
    one = np.zeros((1, 1), np.float32)
    assert find_correction(find_edges(one, (0, 0), METHOD), one > 0, True, np.inf, METHOD).region.all()
