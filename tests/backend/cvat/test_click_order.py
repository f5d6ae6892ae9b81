"""The order of clicks is told from what was asked before."""

from __future__ import annotations

import itertools

from backend.cvat.click_order import Prompts, restore_order
from m2n2_engine.types import Click

FIRST, SECOND, THIRD = Click(1, 1), Click(2, 2), Click(3, 3)
NO_FIRST, NO_SECOND = Click(1, 9, False), Click(2, 9, False)
MADE = (FIRST, NO_FIRST, SECOND, NO_SECOND, THIRD)


class Order:
    """One image's prompts, asked for one after the other."""

    def __init__(self) -> None:
        self.known: Prompts = ()

    def restore(self, *clicks: Click) -> tuple[Click, ...]:
        ordered, self.known = restore_order(self.known, sort_by_sign(*clicks))
        return ordered


def sort_by_sign(*clicks: Click) -> list[Click]:
    """As CVAT sends them."""
    return sorted(clicks, key=lambda click: not click.positive)


def test_clicks_asked_for_one_after_the_other_keep_their_order() -> None:
    for made in itertools.permutations(MADE):
        order = Order()
        for count in range(1, len(made) + 1):
            assert order.restore(*made[:count]) == made[:count]


def test_of_clicks_that_come_together_the_positive_ones_are_first() -> None:
    order = Order()
    assert order.restore(NO_FIRST, FIRST) == (FIRST, NO_FIRST)
    assert order.restore(*MADE) == (FIRST, NO_FIRST, SECOND, THIRD, NO_SECOND)


def test_a_click_that_was_taken_back_is_gone_and_the_others_stay() -> None:
    order = Order()
    for count in (1, 2, 3):
        order.restore(*MADE[:count])
    assert order.restore(FIRST, NO_FIRST) == (FIRST, NO_FIRST)
    assert order.restore(FIRST, NO_FIRST, THIRD) == (FIRST, NO_FIRST, THIRD)
    assert order.restore(FIRST, NO_FIRST, THIRD, NO_SECOND) == (FIRST, NO_FIRST, THIRD, NO_SECOND)


def test_two_objects_do_not_mix() -> None:
    order = Order()
    other = (Click(50, 50), Click(51, 51, False), Click(52, 52))
    for count in (1, 2, 3):
        assert order.restore(*MADE[:count]) == MADE[:count]
        assert order.restore(*other[:count]) == other[:count]


def test_a_click_made_twice_stays_twice() -> None:
    order = Order()
    order.restore(FIRST)
    assert order.restore(FIRST, FIRST, NO_FIRST) == (FIRST, FIRST, NO_FIRST)


def test_an_object_is_remembered_while_few_others_are_worked_on() -> None:
    """And the memory is bounded."""
    order = Order()
    made = (FIRST, NO_FIRST, SECOND)
    for count in (1, 2, 3):
        order.restore(*made[:count])
    for x in range(63):
        order.restore(Click(x, 100))
    assert order.restore(*made) == made
    for x in range(64):
        order.restore(Click(x, 100))
    assert order.restore(*made) == tuple(sort_by_sign(*made))
    assert len(order.known) == 64
