"""From maps to masks, prompt by prompt."""

import dataclasses

import numpy as np
import pytest

from m2n2_engine.method.decider import PromptDecider
from m2n2_engine.prompt import Prompt
from m2n2_engine.types import Box, Click

LEFT, RIGHT = Click(20, 30), Click(70, 30)
SIZE = (60, 100)
KEPT_STEPS = 64


def ask(decider, clicks, box=None):
    """Mask and score."""
    found = decider.decide(Prompt(tuple(clicks), box))
    return found.mask, found.score


@pytest.fixture
def decider(make_scene, draw_map):
    return PromptDecider(make_scene(), SIZE, lambda points: [draw_map(point) for point in points])


@pytest.fixture
def answer(decider):
    """Clicks -> mask and score."""
    return lambda *clicks: ask(decider, clicks)


@pytest.fixture
def square(draw_map):
    return lambda click: draw_map((click.x, click.y)).values == 0


def test_a_further_click_leaves_the_first_one_s_region_as_it_was(answer, square):
    one, _ = answer(LEFT)
    both, _ = answer(LEFT, RIGHT)
    np.testing.assert_array_equal(one, square(LEFT))
    np.testing.assert_array_equal(both, square(LEFT) | square(RIGHT))


def test_a_negative_click_takes_away_what_is_connected_to_it(answer, square):
    mask, score = answer(LEFT, RIGHT, dataclasses.replace(LEFT, x=21, positive=False))
    assert not mask[30, 21]
    assert mask[square(RIGHT)].all()
    assert mask[30, 20]  # the clicked pixel keeps its sign
    assert 0 < score <= 1


def test_a_click_that_agrees_changes_nothing(answer):
    before, score = answer(LEFT)
    for agreeing in (dataclasses.replace(LEFT, x=25), dataclasses.replace(RIGHT, positive=False)):
        after, same = answer(LEFT, agreeing)
        np.testing.assert_array_equal(after, before)
        assert same == score


def test_without_a_click_that_adds_there_is_nothing(answer):
    mask, score = answer(dataclasses.replace(LEFT, positive=False))
    assert not mask.any()
    assert score == 0


def test_a_box_comes_before_the_clicks(decider, square):
    box = Box(8, 18, 33, 43)
    mask, score = ask(decider, [], box)
    np.testing.assert_array_equal(mask, square(LEFT))
    assert 0 < score <= 1
    outside, _ = ask(decider, [RIGHT], box)
    np.testing.assert_array_equal(outside, mask)
    beside, _ = ask(decider, [Click(32, 30)], box)
    assert beside[30, 32]
    assert not beside[:, 33:].any()


def test_earlier_steps_are_kept_and_not_handed_out(make_scene, draw_map, square):
    place = LEFT
    decider = PromptDecider(make_scene(), SIZE, lambda points: [draw_map((place.x, place.y)) for _ in points])
    first, _ = ask(decider, [LEFT])
    first[:] = False
    place = RIGHT  # a step made anew would follow the changed map
    again, _ = ask(decider, [LEFT])
    np.testing.assert_array_equal(again, square(LEFT))
    assert decider.nbytes >= make_scene().nbytes + again.nbytes


def test_the_bytes_of_steps_are_bounded(decider, answer, make_scene):
    for x in range(KEPT_STEPS + 36):
        answer(Click(float(x), 5.0, positive=False))
    assert decider.nbytes == make_scene().nbytes + KEPT_STEPS * SIZE[0] * SIZE[1]


def test_one_more_click_costs_one_click_however_many_there_are(make_scene, draw_map):
    asked = []

    def find_maps(points):
        asked.append(list(points))
        return [draw_map(point) for point in points]

    decider = PromptDecider(make_scene(), SIZE, find_maps)
    clicks = [Click(12.0 + i * 0.9, 8.0 + i % 45, positive=i % 3 != 2) for i in range(KEPT_STEPS + 12)]
    for box in (None, Box(8, 4, 95, 58)):
        ask(decider, clicks[:1], box)
        for count in range(2, len(clicks) + 1):
            asked.clear()
            ask(decider, clicks[:count], box)
            assert asked == [[(clicks[count - 1].x, clicks[count - 1].y)]]
        asked.clear()
        again, score = ask(decider, clicks, box)
        ask(decider, clicks[:-1], box)
        assert asked == [[], []]
        fresh = ask(PromptDecider(make_scene(), SIZE, find_maps), clicks, box)
        np.testing.assert_array_equal(again, fresh[0])
        assert score == fresh[1]


def test_whoever_looks_at_all_clicks_before_the_newest_one_costs_one_click(make_scene, draw_map):
    asked = []

    def find_maps(points):
        asked.extend(points)
        return [draw_map(point) for point in points]

    decider = PromptDecider(make_scene(), SIZE, find_maps)
    clicks = [Click(12.0 + i * 0.9, 8.0 + i % 45, positive=i % 3 != 2) for i in range(KEPT_STEPS + 12)]
    for count in range(1, len(clicks) + 1):
        asked.clear()
        for before in range(1, count):
            decider.inspect(Prompt(tuple(clicks[:before])))
        ask(decider, clicks[:count])
        # The places around the first one are asked for once.
        assert asked[0] == (clicks[count - 1].x, clicks[count - 1].y)
        assert len(asked) == 1 or count == 1


def test_places_around_the_first_click_vote_with_it(make_scene, draw_map, square):
    # The click's own map misses the object by some pixels; those of the places around it do not.
    def find_maps(points):
        return [draw_map((LEFT.x + 8 * (point == (LEFT.x, LEFT.y)), LEFT.y)) for point in points]

    def find_mask(places):
        return ask(PromptDecider(make_scene(vote_places=places, colour_band_cells=0), SIZE, find_maps), [LEFT])[0]

    assert find_mask(0)[30, 31:38].all()
    np.testing.assert_array_equal(find_mask(8), square(LEFT))


def test_only_the_click_that_finds_the_object_asks_around(make_scene, draw_map):
    asked = []

    def find_maps(points):
        asked.append(len(points))
        return [draw_map(point) for point in points]

    decider = PromptDecider(make_scene(vote_places=4), SIZE, find_maps)
    stop = Click(90, 50, positive=False)
    for clicks in ([stop], [stop, LEFT], [stop, LEFT, RIGHT], [stop, LEFT, RIGHT, LEFT]):
        ask(decider, clicks)
    ask(decider, [LEFT], Box(8, 18, 33, 43))
    assert asked == [1, 5, 1, 1, 9, 1]


def test_the_order_of_questions_does_not_matter(decider, make_scene, draw_map):
    clicks = [LEFT, RIGHT, Click(72, 33, positive=False), Click(50, 30)]
    one_by_one = [ask(decider, clicks[:count]) for count in range(1, 5)]
    for count in (4, 2, 3, 1):
        fresh = PromptDecider(make_scene(), SIZE, lambda points: [draw_map(point) for point in points])
        for found in (ask(decider, clicks[:count]), ask(fresh, clicks[:count])):
            np.testing.assert_array_equal(found[0], one_by_one[count - 1][0])
            assert found[1] == one_by_one[count - 1][1]


class MeddlingClick(Click):
    """Another thread's decision falls between any two looks at it."""

    meddle = staticmethod(lambda: None)

    def __hash__(self):
        type(self).meddle()
        return hash((self.x, self.y))


def test_memory_is_told_while_another_thread_decides(decider, answer, make_scene):
    answer(MeddlingClick(20, 30), MeddlingClick(70, 30))
    places = iter(range(12, 30))
    MeddlingClick.meddle = staticmethod(lambda: answer(Click(next(places), 30)))
    try:
        assert decider.nbytes == make_scene().nbytes + 2 * SIZE[0] * SIZE[1]
    finally:
        MeddlingClick.meddle = staticmethod(lambda: None)
