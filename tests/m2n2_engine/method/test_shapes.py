"""Parts of drawn masks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from m2n2_engine.method.shapes import draw_discs, drop_small_parts, find_parts, grow, measure_depths

SIZE = (6, 8)


def parse(*rows):
    return np.array([[letter == "#" for letter in row] for row in rows])


PARTS = parse(
    "##....#",
    "##...#.",
    ".....##",
    "#......",
)


def test_parts_touch_by_sides_and_not_by_corners():
    np.testing.assert_array_equal(np.argwhere(find_parts(PARTS, [(6, 0)])), [[0, 6]])
    np.testing.assert_array_equal(np.argwhere(find_parts(PARTS, [(5, 2)])), [[1, 5], [2, 5], [2, 6]])


def test_the_image_s_border_is_outside():
    depths = measure_depths(np.ones((5, 7), bool))
    assert depths[0].max() == depths[:, 0].max() == pytest.approx(1, abs=0.05)
    assert depths[2, 3] == depths.max() == pytest.approx(3, rel=0.05)
    assert not measure_depths(np.zeros((5, 7), bool)).any()


def test_a_disc_holds_its_centre_whatever_the_radius():
    assert draw_discs(SIZE, [(7, 0)], [0]).sum() == draw_discs(SIZE, [(7, 0)], [0.9]).sum() == 1
    assert draw_discs(SIZE, [(3, 3)], [1]).sum() == 5
    assert draw_discs(SIZE, [(3, 3)], [1])[3, 4]


def test_growing():
    point = draw_discs(SIZE, [(3, 3)], [0])
    np.testing.assert_array_equal(grow(point, 1), draw_discs(SIZE, [(3, 3)], [1]))
    assert not grow(point & False, 3).any()


def test_small_parts_go_but_for_clicked_ones():
    assert drop_small_parts(PARTS, 1, []).sum() == PARTS.sum()
    np.testing.assert_array_equal(drop_small_parts(PARTS, 4, []), PARTS & find_parts(PARTS, [(0, 0)]))
    kept = drop_small_parts(PARTS, 4, [(0, 3), (3, 0)])
    np.testing.assert_array_equal(kept, find_parts(PARTS, [(0, 0)]) | find_parts(PARTS, [(0, 3)]))
    assert not drop_small_parts(PARTS & False, 4, [(0, 0)]).any()


masks = arrays(np.bool_, SIZE)
places = st.lists(st.tuples(st.integers(0, SIZE[1] - 1), st.integers(0, SIZE[0] - 1)), max_size=3)


@given(one=masks, other=masks, least=st.integers(0, 12), kept=places, more=places)
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_of_a_larger_mask_no_less_is_kept(one, other, least, kept, more):
    cleaned = drop_small_parts(one, least, kept)
    assert not (cleaned & ~one).any()
    assert not (cleaned & ~drop_small_parts(one | other, least, [*kept, *more])).any()
    for x, y in kept:
        assert cleaned[y, x] == one[y, x]
