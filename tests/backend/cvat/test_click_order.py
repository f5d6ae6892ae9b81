"""The order of clicks is told from what was asked before."""

from __future__ import annotations

import itertools

import pytest

from backend.cvat.click_order import ClickOrder
from m2n2_engine.types import Click

FIRST, SECOND, THIRD = Click(1, 1), Click(2, 2), Click(3, 3)
NO_FIRST, NO_SECOND = Click(1, 9, False), Click(2, 9, False)
MADE = (FIRST, NO_FIRST, SECOND, NO_SECOND, THIRD)


def sort_by_sign(*clicks):
    """As CVAT sends them."""
    return sorted(clicks, key=lambda click: not click.positive)


@pytest.fixture
def order():
    return ClickOrder()


def test_clicks_asked_for_one_after_the_other_keep_their_order():
    for made in itertools.permutations(MADE):
        order = ClickOrder()
        for count in range(1, len(made) + 1):
            assert order.restore(sort_by_sign(*made[:count])) == list(made[:count])


def test_of_clicks_that_come_together_the_positive_ones_are_first(order):
    assert order.restore(sort_by_sign(NO_FIRST, FIRST)) == [FIRST, NO_FIRST]
    assert order.restore(sort_by_sign(*MADE)) == [FIRST, NO_FIRST, SECOND, THIRD, NO_SECOND]


def test_a_click_that_was_taken_back_is_gone_and_the_others_stay(order):
    for count in (1, 2, 3):
        order.restore(sort_by_sign(*MADE[:count]))
    assert order.restore(sort_by_sign(FIRST, NO_FIRST)) == [FIRST, NO_FIRST]
    assert order.restore(sort_by_sign(FIRST, NO_FIRST, THIRD)) == [FIRST, NO_FIRST, THIRD]
    assert order.restore(sort_by_sign(FIRST, NO_FIRST, THIRD, NO_SECOND)) == [FIRST, NO_FIRST, THIRD, NO_SECOND]


def test_two_objects_do_not_mix(order):
    other = (Click(50, 50), Click(51, 51, False), Click(52, 52))
    for count in (1, 2, 3):
        assert order.restore(sort_by_sign(*MADE[:count])) == list(MADE[:count])
        assert order.restore(sort_by_sign(*other[:count])) == list(other[:count])


def test_a_click_made_twice_stays_twice(order):
    order.restore([FIRST])
    assert order.restore([FIRST, FIRST, NO_FIRST]) == [FIRST, FIRST, NO_FIRST]


def test_an_object_is_remembered_while_few_others_are_worked_on(order):
    """And the memory is bounded."""
    made = [FIRST, NO_FIRST, SECOND]
    for count in (1, 2, 3):
        order.restore(sort_by_sign(*made[:count]))
    for x in range(15):
        order.restore([Click(x, 100)])
    assert order.restore(sort_by_sign(*made)) == made
    for x in range(16):
        order.restore([Click(x, 100)])
    assert order.restore(sort_by_sign(*made)) == sort_by_sign(*made)
