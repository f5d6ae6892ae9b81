"""From maps to masks, click by click."""

import dataclasses

import numpy as np
import pytest

from m2n2_engine.kernels.cpu.click_maps import find_edges
from m2n2_engine.method.correction import StepwiseDecider
from m2n2_engine.presets import KEYS_AND_COLOURS, PRESETS
from m2n2_engine.types import Click

METHOD = PRESETS[KEYS_AND_COLOURS]
CELL_PIXELS = 5.0
LEFT, RIGHT = Click(20, 30), Click(70, 30)


@pytest.fixture
def image():
    """Two red squares on blue."""
    image = np.full((60, 100, 3), (30, 40, 160), np.uint8)
    image[20:41, 10:31] = image[20:41, 60:81] = (220, 60, 40)
    return image


@pytest.fixture
def decider(image):
    return StepwiseDecider(image, CELL_PIXELS, METHOD)


@pytest.fixture
def answer(decider):
    """Clicks -> mask and score, each click's map 0 on its own square and 1 elsewhere."""

    def decide(*clicks):
        return decider.decide(clicks, [find_edges(*draw_map(click), METHOD) for click in clicks])

    return decide


def draw_map(click):
    y, x = np.mgrid[:60, :100]
    near = (abs(x - click.x) <= 10) & (abs(y - click.y) <= 10)
    return np.where(near, 0, 1).astype(np.float32), (int(click.x), int(click.y))


def square(click):
    return draw_map(click)[0] == 0


def test_a_further_click_leaves_the_first_one_s_region_as_it_was(answer):
    one, _ = answer(LEFT)
    both, _ = answer(LEFT, RIGHT)
    np.testing.assert_array_equal(one, square(LEFT))
    np.testing.assert_array_equal(both, square(LEFT) | square(RIGHT))


def test_a_negative_click_takes_away_what_is_connected_to_it(answer):
    mask, score = answer(LEFT, RIGHT, dataclasses.replace(LEFT, x=21, positive=False))
    assert not mask[30, 21]
    assert mask[square(RIGHT)].all()
    assert mask[30, 20]  # the clicked pixel keeps its sign
    assert score > 0


def test_a_click_that_agrees_changes_nothing(answer):
    before, score = answer(LEFT)
    for agreeing in (dataclasses.replace(LEFT, x=25), dataclasses.replace(RIGHT, positive=False)):
        after, same = answer(LEFT, agreeing)
        np.testing.assert_array_equal(after, before)
        assert same == score


def test_earlier_steps_are_kept_and_not_handed_out(decider, answer):
    first, _ = answer(LEFT)
    first[:] = False
    # A step made anew would follow the changed map.
    again, _ = decider.decide([LEFT], [find_edges(*draw_map(RIGHT), METHOD)])
    np.testing.assert_array_equal(again, square(LEFT))
    assert decider.nbytes >= 60 * 100 * 3 + again.nbytes


def test_the_bytes_of_steps_are_bounded(decider, answer):
    for x in range(100):
        answer(Click(float(x), 5.0, positive=False))
    assert decider.nbytes <= 60 * 100 * 3 + 64 * 60 * 100


def test_without_a_band_colours_move_nothing(image):
    method = dataclasses.replace(METHOD, colour_band_cells=0)
    decider = StepwiseDecider(image, CELL_PIXELS, method)
    values = draw_map(Click(24, 30))
    mask, _ = decider.decide([Click(24, 30)], [find_edges(*values, method)])
    np.testing.assert_array_equal(mask, values[0] == 0)


class MeddlingClick(Click):
    """Another thread's decision falls between any two looks at it."""

    meddle = staticmethod(lambda: None)

    def __hash__(self):
        type(self).meddle()
        return hash((self.x, self.y))


def test_memory_is_told_while_another_thread_decides(decider, answer, image):
    answer(MeddlingClick(20, 30), MeddlingClick(70, 30))
    places = iter(range(12, 30))
    MeddlingClick.meddle = staticmethod(lambda: answer(Click(next(places), 30)))
    try:
        assert decider.nbytes == image.nbytes + 2 * image[:, :, 0].size
    finally:
        MeddlingClick.meddle = staticmethod(lambda: None)
