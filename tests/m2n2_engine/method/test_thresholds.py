"""Thresholds and merging by hand-made maps."""

import dataclasses

import numpy as np
import pytest

from m2n2_engine.config import MethodConfig
from m2n2_engine.kernels.cpu.ranks import rank_map
from m2n2_engine.method.edge_map import find_edges
from m2n2_engine.method.thresholds import ClickSegment, choose_thresholds, decide_jointly, merge_clicks

METHOD = MethodConfig()


def rank(values, pixel, method=METHOD):
    return rank_map(find_edges(values, pixel, method.edge_levels), method)


@pytest.fixture
def plateau_map():
    """A 6 x 6 square of 0.1 around the click, on 1: its border is the only edge."""
    values = np.ones((20, 20), np.float32)
    values[2:8, 3:9] = 0.1
    values[4, 5] = 0
    return values


def test_the_segment_ends_where_the_map_rises(plateau_map):
    ranked = rank(plateau_map, (5, 4))
    (segment,) = choose_thresholds([ranked], [True], METHOD)
    mask = merge_clicks([ranked], [segment], [True])
    np.testing.assert_array_equal(mask, plateau_map < 0.5)
    assert 0 < segment.score <= 1


def test_no_click_claims_more_than_the_area_limit():
    values = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    for limit in (0.2, 0.4, 0.9):
        method = dataclasses.replace(METHOD, click_area_limit=limit)
        ranked = rank(values, (0, 0), method)
        mask = merge_clicks([ranked], choose_thresholds([ranked], [True], method), [True])
        assert mask.mean() <= limit + 1 / 400


def test_a_positive_click_stops_before_a_negative_one(plateau_map):
    positive = rank(plateau_map, (5, 4))
    away = np.ones_like(plateau_map)
    away[6, 7] = 0
    negative = rank(away, (7, 6))
    segments = choose_thresholds([positive, negative], [True, False], METHOD)
    assert segments[0].threshold < plateau_map[6, 7]
    assert not merge_clicks([positive, negative], segments, [True, False])[6, 7]


def test_every_clicked_pixel_has_its_own_sign(plateau_map):
    maps = [rank(plateau_map, pixel) for pixel in ((5, 4), (6, 4))]
    mask = merge_clicks(maps, [ClickSegment(0.5, 1.0)] * 2, [True, False])
    assert mask[4, 5]
    assert not mask[4, 6]


def test_the_earlier_click_keeps_a_tie(plateau_map):
    maps = [rank(plateau_map, (5, 4))] * 2
    segments = [ClickSegment(0.5, 1.0)] * 2
    assert merge_clicks(maps, segments, [True, False])[2:8, 3:9].sum() == 35  # all but the clicked pixel, set last
    assert merge_clicks(maps, segments, [False, True])[2:8, 3:9].sum() == 1


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (1, 3), (2, 2)])
def test_images_of_a_few_pixels(size):
    values = np.linspace(0, 1, size[0] * size[1], dtype=np.float32).reshape(size)
    ranked = rank(values, (0, 0))
    (segment,) = choose_thresholds([ranked], [True], METHOD)
    assert merge_clicks([ranked], [segment], [True])[0, 0]
    assert 0 <= segment.score <= 1


def test_a_decision_is_the_merge_and_the_mean_score_of_positive_clicks(plateau_map):
    maps = [rank(plateau_map, pixel) for pixel in ((5, 4), (6, 4), (15, 15))]
    signs = [True, True, False]
    segments = choose_thresholds(maps, signs, METHOD)
    mask, score = decide_jointly(maps, signs, METHOD)
    np.testing.assert_array_equal(mask, merge_clicks(maps, segments, signs))
    assert score == pytest.approx((segments[0].score + segments[1].score) / 2)
    assert decide_jointly(maps[2:], [False], METHOD)[1] == 0
