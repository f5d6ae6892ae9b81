"""Where an object is looked at again: windows by hand, and what holds for all of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2n2_engine.presets import CONSENSUS, PRESETS
from m2n2_engine.prompt import Prompt, StartMask
from m2n2_engine.session.window import Window, frame_object, frame_point, join_extents
from m2n2_engine.types import Box, Click, Stroke
from tests.helpers.prompts import check

METHOD = PRESETS[CONSENSUS]
SIZE = (600, 800)
WINDOW = Window(100, 50, 200, 150)
IN, OUT = Click(150, 100), Click(250, 100)
ACROSS = Stroke(((150, 100), (250, 100)))


def test_a_window_is_twice_the_object_rounded_up_and_around_it():
    assert frame_object(Box(380, 260, 420, 300), SIZE, METHOD) == Window(350, 225, 450, 325)
    assert frame_object(Box(345, 260, 425, 300), SIZE, METHOD) == Window(275, 175, 475, 375)
    # 120 pixels want 240, which is more than 200 and less than 800 / 2 ** 1.5.
    window = frame_object(Box(300, 200, 420, 240), SIZE, METHOD)
    assert (window.right - window.left, window.bottom - window.top) == (283, 283)


def test_a_large_object_is_seen_in_the_whole_image():
    assert frame_object(Box(100, 100, 300, 200), SIZE, METHOD) is not None
    assert frame_object(Box(100, 100, 301, 200), SIZE, METHOD) is None


def test_a_window_stays_in_the_image():
    assert frame_object(Box(0, 560, 40, 600), SIZE, METHOD) == Window(0, 500, 100, 600)
    assert frame_object(Box(300, 0, 340, 30), (30, 800), METHOD) == Window(275, 0, 375, 30)


def test_an_image_of_few_pixels_has_no_windows():
    assert frame_object(Box(10, 10, 12, 12), (100, 127), METHOD) is None
    assert frame_object(Box(10, 10, 12, 12), (100, 128), METHOD) == Window(0, 0, 64, 64)


def test_no_window_is_too_small_for_its_object():
    assert frame_object(Box(300, 200, 390, 260), SIZE, METHOD.replace(zoom_factor=1.0)) is None


def test_objects_near_each_other_share_a_window():
    windows = {frame_object(Box(x, 260, x + 40, 300), SIZE, METHOD) for x in range(377, 386)}
    assert len(windows) == 1


@given(x=st.floats(0, 800), y=st.floats(0, 600))
@check(200)
def test_around_a_point_the_window_is_the_largest(x, y):
    window = frame_point((x, y), SIZE, METHOD)
    assert (window.right - window.left, window.bottom - window.top) == (400, 400)
    assert window.holds(Click(x, y), SIZE)


@given(
    sides=st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    middle=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    extent=st.tuples(st.floats(0.001, 0.3), st.floats(0.001, 0.3)),
)
@check(300)
def test_every_window_holds_its_object(sides, middle, extent):
    height, width = sides
    across, down = (share * max(sides) for share in extent)
    left, right = (min(max(middle[0] * width + half, 0), width) for half in (-across / 2, across / 2))
    top, bottom = (min(max(middle[1] * height + half, 0), height) for half in (-down / 2, down / 2))
    window = frame_object(Box(left, top, right, bottom), sides, METHOD)
    if window is None:
        assert max(sides) < 128 or 2 * max(right - left, bottom - top) > METHOD.zoom_largest * max(sides)
        return
    assert 0 <= window.left <= math.floor(left)
    assert math.ceil(right) <= window.right <= width
    assert 0 <= window.top <= math.floor(top)
    assert math.ceil(bottom) <= window.bottom <= height
    assert max(window.right - window.left, window.bottom - window.top) <= max(64, METHOD.zoom_largest * max(sides) + 1)


def test_a_window_holds_whole_clicks_and_strokes():
    assert WINDOW.holds(IN, SIZE)
    assert WINDOW.holds(Stroke(((100, 50), (199.9, 149.9))), SIZE)
    assert not any(WINDOW.holds(click, SIZE) for click in (OUT, ACROSS, Click(200, 100), Click(99.9, 100)))


def test_a_click_on_the_edge_of_the_image_is_on_its_last_pixel():
    corner = Window(700, 500, 800, 600)
    assert corner.holds(Click(800, 600), SIZE)
    assert not WINDOW.holds(Click(800, 600), SIZE)


def test_a_window_cuts_strokes_alone():
    assert WINDOW.cuts(ACROSS, SIZE)
    assert WINDOW.cuts(Stroke(((0, 100), (800, 100))), SIZE)
    inside, beyond = Stroke(((110, 60), (190, 140))), Stroke(((250, 0), (250, 300)))
    assert not any(WINDOW.cuts(click, SIZE) for click in (IN, OUT, inside, beyond))


def test_a_prompt_moves_into_the_window():
    mask = np.zeros(SIZE, bool)
    mask[100, 150] = mask[300, 300] = True
    stroke = Stroke(((110, 60), (120, 70)), positive=False)
    moved = WINDOW.move(Prompt((IN, stroke), Box(90, 60, 150, 100), StartMask.of(mask), (Click(100, 50),)))
    assert moved.clicks == (Click(50, 50), Stroke(((10, 10), (20, 20)), positive=False))
    assert moved.settled == (Click(0, 0),)
    assert moved.box == Box(0, 10, 50, 50)
    assert np.argwhere(moved.start.pixels).tolist() == [[50, 50]]


def test_a_mask_comes_back_to_its_place():
    base = np.zeros(SIZE, bool)
    base[0, 0] = base[60, 110] = True
    part = np.zeros((100, 100), bool)
    part[2, 3] = True
    pasted = WINDOW.paste(part, base)
    assert np.argwhere(pasted).tolist() == [[0, 0], [52, 103]]
    assert base[60, 110]


@pytest.mark.parametrize(
    ("extent", "window", "is_enclosed"),
    [
        (Box(1, 1, 99, 99), WINDOW, True),
        (Box(0, 1, 99, 99), WINDOW, False),
        (Box(1, 0, 99, 99), WINDOW, False),
        (Box(1, 1, 100, 99), WINDOW, False),
        (Box(1, 1, 99, 100), WINDOW, False),
        (Box(0, 0, 99, 99), Window(0, 0, 100, 100), True),
        (Box(1, 1, 100, 100), Window(700, 500, 800, 600), True),
    ],
)
def test_an_object_ends_in_the_window_or_at_the_end_of_the_image(extent, window, is_enclosed):
    assert window.encloses(extent, SIZE) is is_enclosed


def test_the_box_around_a_box_and_clicks():
    assert join_extents(Box(10, 20, 30, 40), []) == Box(10, 20, 30, 40)
    assert join_extents(Box(10, 20, 30, 40), [Click(5, 30), Stroke(((20, 50), (35, 10)))]) == Box(5, 10, 35, 50)
