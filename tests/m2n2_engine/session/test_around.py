"""The places around a click that vote with it."""

import pytest

from m2n2_engine.prompt import find_around
from m2n2_engine.types import Click, Stroke

IMAGE, GRID = (480, 640), (48, 32)


def test_they_lie_on_a_circle_in_cells_of_the_grid():
    found = find_around(Click(320, 240), IMAGE, GRID, 4, 1.5)
    expected = [(350, 240), (320, 255), (290, 240), (320, 225)]
    assert [pytest.approx(place) for place in expected] == found


def test_those_outside_of_the_image_are_left_out():
    assert find_around(Click(1, 240), IMAGE, GRID, 4, 1.0) == [
        pytest.approx((21, 240)),
        pytest.approx((1, 250)),
        pytest.approx((1, 230)),
    ]


@pytest.mark.parametrize(("click", "count"), [(Click(320, 240), 0), (Stroke(((10, 10), (20, 20))), 8)])
def test_there_may_be_none(click, count):
    assert find_around(click, IMAGE, GRID, count, 1.0) == []
