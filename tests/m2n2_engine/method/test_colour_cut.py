"""Borders of masks refined by colours, on drawn images."""

import numpy as np
import pytest

from m2n2_engine.method.colour_cut import Mark, measure_difference, refine_border, shrink_marks


@pytest.fixture
def scene():
    """A noisy orange square on noisy blue, (H, W, 3), and its mask."""
    rng = np.random.default_rng(0)
    truth = np.zeros((60, 80), bool)
    truth[15:45, 20:60] = True
    image = np.where(truth[:, :, None], (220, 140, 30), (40, 60, 160)) + rng.integers(-20, 20, (60, 80, 3))
    return image.astype(np.uint8), truth


def refine(mask, image, marks=(), band=6.0, scale=1.0, **rest):
    return refine_border(mask, image, marks, band, difference=scale * measure_difference(image), **rest)


@pytest.mark.parametrize("shift", [(3, 0), (0, -3), (2, 2)])
def test_the_border_moves_to_where_the_colours_change(scene, shift):
    image, truth = scene
    np.testing.assert_array_equal(refine(np.roll(truth, shift, (0, 1)), image), truth)


def test_nothing_changes_beyond_the_band(scene):
    image, truth = scene
    half = truth.copy()
    half[:, 40:] = False
    refined = refine(half, image, band=4.0)
    assert not refined[:, 45:].any()


def test_a_mark_keeps_its_sign_among_the_other_s_colours(scene):
    image, truth = scene
    refined = refine(truth, image, [Mark((21, 30), 2, False), Mark((18, 20), 2, True)])
    assert not refined[29:32, 20:23].any()
    assert refined[19:22, 17:20].all()


def test_nothing_changes_away_from_what_is_near(scene):
    image, truth = scene
    mask = np.roll(truth, 3, 1)
    near = np.broadcast_to(np.arange(80) < 40, truth.shape)
    for marks in ([], [Mark((62, 30), 6, True)]):
        refined = refine(mask, image, marks, near=near)
        np.testing.assert_array_equal(refined, np.where(near, truth, mask))


def test_what_lies_far_away_in_the_picture_decides_nothing(scene):
    """A border is weighed against the whole picture, of which only the part around the border is cut."""
    image, truth = scene
    mask = np.roll(truth, (2, 2), (0, 1))
    difference = measure_difference(image)
    larger = [np.pad(each, ((0, 90), (70, 0), (0, 0))[: each.ndim], mode="edge") for each in (image, mask)]
    found = refine_border(larger[1], larger[0], [], 6.0, difference=difference)
    np.testing.assert_array_equal(found[:60, 70:], refine_border(mask, image, [], 6.0, difference=difference))


def test_the_smaller_the_difference_the_weaker_an_edge_may_be():
    """A figure and its ground have one colour, with a thin wavy line between them. A coarse pattern far away makes
    differences usual. The border of the mask is straight, which is the shortest one."""
    y, x = np.indices((60, 120))
    wave = (40 + 4 * np.sin(y / 4)).astype(int)
    image = np.where(x > 80, 255 * ((x // 2 + y // 2) % 2), np.where(x == wave, 80, 110))
    image = np.repeat(image[:, :, None], 3, axis=2).astype(np.uint8)
    mask = (x >= 40) & (x < 80)
    usual, weaker = (refine(mask, image, band=9.0, scale=scale)[:, :60] for scale in (1.0, 0.01))
    errors = [int((found != (x >= wave)[:, :60])[(x != wave)[:, :60]].sum()) for found in (usual, weaker)]
    assert errors[1] < errors[0] / 3, errors


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (3, 3)])
def test_the_difference_of_neighbours_is_that_of_all_eight(size):
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    pairs = [
        float(((image[one].astype(float) - image[other]) ** 2).sum())
        for one in np.ndindex(size)
        for other in np.ndindex(size)
        if one < other and max(abs(one[0] - other[0]), abs(one[1] - other[1])) == 1
    ]
    assert measure_difference(image) == pytest.approx(np.mean(pairs) if pairs else 0.0)


def test_the_same_every_time(scene):
    image, truth = scene
    mask = np.roll(truth, 4, 1)
    np.testing.assert_array_equal(refine(mask, image), refine(mask, image))


@pytest.mark.parametrize("pixels", [0, 4, 60 * 80 - 4, 60 * 80])
def test_too_few_pixels_to_learn_from(scene, pixels):
    mask = (np.arange(60 * 80) < pixels).reshape(60, 80)
    np.testing.assert_array_equal(refine(mask, scene[0]), mask)


def test_an_image_of_one_colour(scene):
    truth = scene[1]
    assert refine(truth, np.full((60, 80, 3), 90, np.uint8)).shape == truth.shape


def test_what_is_certainly_no_object_stays_so(scene):
    image, truth = scene
    outside = np.broadcast_to(np.arange(80) >= 50, truth.shape)
    refined = refine(truth & ~outside, image, outside=outside)
    assert not (refined & outside).any()
    assert refined[30, 40:50].all()


def test_marks_shrink_to_a_share_of_their_depth(scene):
    """The square's sides are 30 and 40 pixels long: its middle is 15 deep, and (22, 30) is 3 deep."""
    marks = [Mark((40, 30), 20, True), Mark((40, 30), 5, True), Mark((22, 30), 9, True), Mark((17, 30), 9, False)]
    found = shrink_marks(marks, scene[1], 0.5)
    assert [mark.radius for mark in found] == [7, 5, 1, 1]
    assert [(mark.pixel, mark.positive) for mark in found] == [(mark.pixel, mark.positive) for mark in marks]


def test_a_mark_on_the_other_side_has_its_centre_left(scene):
    assert shrink_marks([Mark((2, 2), 9, True)], scene[1], 0.5) == [Mark((2, 2), 0, True)]
