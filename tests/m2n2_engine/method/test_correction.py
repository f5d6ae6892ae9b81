"""One click on a hand-made mask."""

import numpy as np
import pytest
import torch

from m2n2_engine.method.correction import Step, correct
from m2n2_engine.method.edge_map import find_edges
from m2n2_engine.method.scene import look_at
from m2n2_engine.presets import CONSENSUS, PRESETS

EMPTY = Step(np.zeros((60, 100), bool))


@pytest.fixture
def scene(make_scene):
    """Colours move nothing here: the vote alone decides."""
    return make_scene(colour_band_cells=0)


@pytest.fixture
def both(image):
    """Both squares."""
    return Step(image[:, :, 0] > 100)


def test_a_first_click_takes_its_square(scene, draw_map, both):
    step = correct(EMPTY, draw_map((20, 30)), True, scene)
    np.testing.assert_array_equal(step.mask, both.mask & (np.arange(100) < 50))
    assert [(mark.pixel, mark.positive) for mark in step.marks] == [((20, 30), True)]
    assert len(step.scores) == 1


def test_only_what_is_connected_and_has_the_wrong_sign_changes(scene, both):
    """The click's map takes both squares for one, and the ground between them too."""
    values = np.ones((60, 100), np.float32)
    values[20:41, 10:81] = 0
    step = correct(both, find_edges(values, (20, 30), 1024), False, scene)
    assert not step.mask[30, 20]
    np.testing.assert_array_equal(step.mask[:, 50:], both.mask[:, 50:])
    assert not (step.mask & ~both.mask).any()


def test_a_first_click_takes_what_is_connected_alone(scene, image, both):
    values = np.where(both.mask, 0, 1).astype(np.float32)
    step = correct(EMPTY, find_edges(values, (20, 30), 1024), True, scene)
    np.testing.assert_array_equal(step.mask, both.mask & (np.arange(100) < 50))


def test_regions_keep_clear_of_clicks_of_the_other_sign(scene):
    """The click's map has the square for one region, and a smaller one around the click in it."""
    values = np.ones((60, 100), np.float32)
    values[20:41, 10:31] = 0.3
    values[26:35, 16:25] = 0.1
    values[30, 20] = 0
    click = find_edges(values, (20, 30), 1024)
    assert correct(EMPTY, click, True, scene).mask[22, 28]
    negative = correct(EMPTY, find_edges(1 - values, (12, 38), 1024), False, scene)
    mask = correct(negative, click, True, scene).mask
    assert mask[30, 20]
    assert not mask[22, 28]
    assert not mask[38, 12]


def test_where_the_map_says_nothing_the_walk_over_regions_does(scene, both):
    """The click's map is flat: by it alone, all or nothing of the square goes."""
    flat = find_edges(np.zeros((60, 100), np.float32), (70, 30), 1024)
    left = Step(both.mask & (np.arange(100) < 50))
    step = correct(left, flat, True, scene)
    assert step.mask[both.mask].mean() > 0.95
    assert step.mask[~both.mask].mean() < 0.05


@pytest.mark.parametrize(("positive", "free_clicks"), [(True, 2), (False, 3)])
def test_after_some_clicks_one_more_changes_less_than_there_is(scene, both, positive, free_clicks):
    """The click's map grows within a square: all of the mask, or four times as much as there is."""
    x, y = (70, 30) if positive else (20, 30)
    left = both.mask & (np.arange(100) < 50)
    mask = left & (np.arange(100) < 15) if positive else left
    rows, columns = np.mgrid[:60, :100]
    square = both.mask & (abs(columns - x) <= 10)
    values = np.where(square, 0.01 * np.hypot(columns - x, rows - y), 1).astype(np.float32)
    most = scene.method.largest_change * mask.sum()
    free, bounded = (
        (correct(Step(mask, clicks=clicks), find_edges(values, (x, y), 1024), positive, scene).mask ^ mask).sum()
        for clicks in (free_clicks - 1, free_clicks)
    )
    assert bounded < free
    # The walk takes a region or leaves it.
    assert bounded <= most + scene.method.region_pixels**2
    assert most < free


@pytest.mark.parametrize("positive", [True, False])
def test_a_click_that_agrees_leaves_a_mark_alone(scene, draw_map, both, positive):
    pixel = (20, 30) if positive else (50, 30)
    step = correct(both, draw_map(pixel), positive, scene)
    np.testing.assert_array_equal(step.mask, both.mask)
    assert step.scores == ()
    assert [(mark.pixel, mark.positive) for mark in step.marks] == [(pixel, positive)]


@pytest.mark.parametrize("limit", [0.1, 0.5])
def test_a_click_claims_no_more_than_the_area_limit(make_scene, limit):
    scene = make_scene(colour_band_cells=0, click_area_limit=limit)
    values = np.linspace(0, 1, 6000, dtype=np.float32).reshape(60, 100)
    step = correct(EMPTY, find_edges(values, (0, 0), 1024), True, scene)
    assert 0 < step.mask.sum() <= limit * 6000


def test_a_flat_map_changes_the_click_s_own_place_at_least(scene):
    step = correct(EMPTY, find_edges(np.zeros((60, 100), np.float32), (3, 4), 1024), True, scene)
    assert step.mask[4, 3]


def test_nothing_changes_outside_of_a_box(scene, draw_map, both):
    boxed = scene.with_outside(np.broadcast_to(np.arange(100) >= 50, (60, 100)))
    assert correct(EMPTY, draw_map((70, 30)), True, boxed) is EMPTY
    step = correct(EMPTY, find_edges(np.zeros((60, 100), np.float32), (20, 30), 1024), True, boxed)
    assert not (step.mask & boxed.outside).any()


def test_clicks_of_both_signs_side_by_side_keep_theirs(scene, draw_map, both):
    step = both
    for x, positive in ((20, False), (21, True), (22, False)):
        step = correct(step, draw_map((x, 30)), positive, scene)
    np.testing.assert_array_equal(step.mask[30, 20:23], [False, True, False])


def test_colours_move_the_border_back_to_the_square(make_scene, both, draw_map):
    """The click's map is two pixels off; without a band the mask is what the map says."""
    shifted = np.where(np.roll(draw_map((20, 30)).values == 0, (1, 2), (0, 1)), 0, 1).astype(np.float32)
    click = find_edges(shifted, (20, 30), 1024)
    assert (correct(EMPTY, click, True, make_scene(colour_band_cells=0)).mask == (shifted == 0)).all()
    np.testing.assert_array_equal(correct(EMPTY, click, True, make_scene()).mask, both.mask & (np.arange(100) < 50))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2)])
def test_a_small_image(size):
    grid = (min(size[0], 2), min(size[1], 2))
    cells = grid[0] * grid[1]
    pixels = np.full((*size, 3), 90, np.uint8)
    scene = look_at(pixels, torch.full((cells, cells), 1 / cells), grid, PRESETS[CONSENSUS])
    click = find_edges(np.zeros(size, np.float32), (0, 0), 1024)
    step = correct(Step(np.zeros(size, bool)), click, True, scene)
    assert step.mask[0, 0]
    assert not correct(step, click, False, scene).mask[0, 0]
