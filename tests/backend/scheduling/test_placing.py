"""Clicks and boxes over the edge of an image: near ones are meant at the edge, far ones are told or left out."""

from __future__ import annotations

import logging

import pytest

from backend.scheduling.placing import extend_box, place_box, place_clicks, snap_box
from m2n2_engine.errors import InvalidClicks
from m2n2_engine.types import Box, Click

SIZE = (480, 640)


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (0, 0, (0, 0)),
        (640, 480, (640, 480)),
        (320.25, 240.5, (320.25, 240.5)),
        (641.28, 240, (640, 240)),
        (-8, 488, (0, 480)),
    ],
)
def test_a_click_inside_stays_and_one_near_the_edge_is_moved_to_it(x, y, expected, positive):
    assert place_clicks([Click(x, y, positive)], SIZE) == [Click(*expected, positive)]


@pytest.mark.parametrize(("width", "slip"), [(10_000, 100), (100, 8)])
def test_near_is_a_share_of_a_large_image_and_some_pixels_of_a_small_one(width, slip):
    assert place_clicks([Click(width + slip, 5)], (10, width)) == [Click(width, 5)]
    with pytest.raises(InvalidClicks):
        place_clicks([Click(width + slip + 1, 5)], (10, width))


def test_a_negative_click_far_outside_is_left_out_with_a_line_in_the_log(caplog):
    first, last = Click(10, 20), Click(30, 40, positive=False)
    with caplog.at_level(logging.INFO):
        assert place_clicks([first, Click(9000, 20, positive=False), last], SIZE) == [first, last]
    assert "(9000, 20) lies outside of the image of 640 x 480 pixels" in caplog.text


def test_a_positive_click_far_outside_is_named():
    with pytest.raises(InvalidClicks, match=r"\(-64, 240\) .* \(-10.0 % of its width, 50.0 % of its height\)"):
        place_clicks([Click(10, 20), Click(-64, 240)], SIZE)


def test_a_box_is_cut_off_at_the_edge_and_its_corners_come_in_any_order():
    assert place_box((700, 30.5), (-10, 20), SIZE) == Box(30.5, 0, 640, 20)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (Box(120.414, 66.72, 512.4, 384.48), Box(120, 67, 512, 384)),
        (Box(10, 20, 30, 40), Box(10, 20, 30, 40)),
        (Box(10.1, 20.6, 10.3, 20.8), Box(10, 20, 11, 21)),
        (Box(639.7, 0, 640, 0.2), Box(639, 0, 640, 1)),
        (Box(5, 5, 5, 9), Box(5, 5, 5, 9)),
    ],
)
def test_a_box_in_percent_has_the_pixels_that_are_mostly_in_it_and_at_least_one(box, expected):
    assert snap_box(box, SIZE) == expected


def test_a_box_is_extended_to_the_pixels_of_positive_clicks_alone():
    box = Box(10, 20, 30, 40)
    assert extend_box(box, [Click(12, 22), Click(500, 400, positive=False)], SIZE) == box
    assert extend_box(box, [Click(50.5, 30), Click(20, 5)], SIZE) == Box(10, 5, 51, 40)
    assert extend_box(box, [Click(640, 480), Click(0, 0)], SIZE) == Box(0, 0, 640, 480)
