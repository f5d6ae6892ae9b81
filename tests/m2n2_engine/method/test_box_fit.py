"""The object in a box, by hand-made maps."""

import dataclasses

import numpy as np
import pytest

from m2n2_engine.config import BoxEvidence
from m2n2_engine.method.box_fit import find_places, fit_box, frame_box
from m2n2_engine.types import Box


@pytest.fixture
def scene(make_scene):
    return make_scene()


def test_places_are_spread_evenly():
    assert find_places(Box(10, 20, 16, 26), 3) == [(x, y) for y in (21, 23, 25) for x in (11, 13, 15)]
    assert find_places(Box(10, 20, 16, 30), 1) == [(13, 25)]


def test_a_box_of_a_larger_image_at_the_working_size(scene):
    frame = frame_box(Box(20, 40, 61, 83), (120, 200), scene)
    assert (frame.left, frame.top, frame.right, frame.bottom) == (10, 20, 30.5, 41.5)
    expected = np.zeros((60, 100), bool)
    expected[20:41, 10:30] = True
    np.testing.assert_array_equal(frame.inside, expected)
    expected[21:40, 11:29] = False
    np.testing.assert_array_equal(frame.rim, expected)


def test_a_box_between_the_middles_of_pixels_is_one_pixel(scene):
    frame = frame_box(Box(10.6, 20.6, 11.4, 21.4), (60, 100), scene)
    assert np.argwhere(frame.inside).tolist() == np.argwhere(frame.rim).tolist() == [[21, 11]]


def test_the_places_that_agree_with_the_box_have_the_majority(scene, image, draw_map):
    """Of nine places all but one have the square's map; the odd one's region lies half outside of the box."""
    box = Box(8, 18, 33, 43)
    frame = frame_box(box, (60, 100), scene)
    step = fit_box(frame, [*[draw_map((20, 30))] * 8, draw_map((31, 42))], scene)
    np.testing.assert_array_equal(step.mask, (image[:, :, 0] > 100) & (np.arange(100) < 50))
    assert step.marks == ()
    assert 0 < step.scores[0] <= 1


@pytest.mark.parametrize("box", [Box(0, 0, 100, 60), Box(97, 55, 100, 60), Box(5.2, 5.2, 5.3, 5.3)])
def test_there_is_something_in_any_box_and_nothing_outside(scene, draw_map, box):
    frame = frame_box(box, (60, 100), scene)
    mask = fit_box(frame, [draw_map(place) for place in find_places(box, 3)], scene).mask
    assert mask.any()
    assert not (mask & ~frame.inside).any()


@pytest.fixture
def weigh(make_scene):
    """A scene in which nothing but some evidence of a box counts, and colours move nothing."""
    nothing = {field.name: 0.0 for field in dataclasses.fields(BoxEvidence)}
    return lambda **weights: make_scene(box=BoxEvidence(**nothing | weights), colour_band_cells=0)


def test_colours_of_the_inside_count_and_those_around_do_not(weigh, draw_map):
    """One place has the map of the red square, and two that of the blue corner beside it."""
    scene = weigh(colours=20.0)
    frame = frame_box(Box(10, 20, 50, 45), (60, 100), scene)
    step = fit_box(frame, [draw_map((20, 30)), *[draw_map((48, 30))] * 2], scene)
    assert step.mask[30, 20]
    assert not step.mask[30, 45]


def test_where_no_pixel_has_the_majority_those_with_the_most_votes_are_in(weigh, draw_map):
    scene = weigh(fill=-60.0)
    frame = frame_box(Box(0, 0, 100, 60), (60, 100), scene)
    places = [draw_map((x, 30)) for x in (15, 45, 75)]
    mask = fit_box(frame, places, scene).mask
    np.testing.assert_array_equal(mask, np.any([place.values == 0 for place in places], axis=0))
