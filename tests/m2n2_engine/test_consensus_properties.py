"""What holds for every prompt that is decided by consensus, whatever the image: drawn images, random clicks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given

from m2n2_engine.types import Box
from tests.helpers.prompts import (
    LARGE_SIZES,
    SIZES,
    Segment,
    Story,
    boxes,
    check,
    check_effect,
    check_one_way,
    check_pieces,
    check_signs,
    check_undo,
    is_in,
    make_segment,
    stories,
)

pytestmark = pytest.mark.usefixtures("one_thread")

TWICE = [(0.5, 0.5, True), (0.5, 0.5, False), (0.5, 0.5, True)]
"""Clicks on one pixel, whose last one counts."""


@pytest.fixture(scope="module")
def segment() -> Segment:
    return make_segment()


@given(story=stories(SIZES))
@example(story=Story("discs", 0, SIZES[0], TWICE))
@check(60)
def test_clicks(segment: Segment, story: Story) -> None:
    check_clicks(segment, story)


@given(story=stories(LARGE_SIZES, most_clicks=3))
@example(story=Story("discs", 0, LARGE_SIZES[0], TWICE))
@check(10)
def test_clicks_on_an_image_above_the_working_size(segment: Segment, story: Story) -> None:
    check_clicks(segment, story)


@given(story=stories(SIZES, most_clicks=4), shares=boxes())
@check(60)
def test_clicks_after_a_box(segment: Segment, story: Story, shares: tuple[float, float, float, float]) -> None:
    height, width = story.size
    box = Box(shares[0] * width, shares[1] * height, shares[2] * width, shares[3] * height)
    image, clicks = story.draw(), story.clicks
    masks = [segment(image, clicks[:count], box) for count in range(len(clicks) + 1)]
    y, x = np.ogrid[:height, :width]
    touched = (x + 1 > box.left) & (x < box.right) & (y + 1 > box.top) & (y < box.bottom)
    for count, mask in enumerate(masks):
        assert not (mask & ~touched).any(), "a mask stays within its box"
        inside = [click for click in clicks[:count] if is_in(click, box)]
        check_signs(mask, inside)
    in_box = (x + 0.5 > box.left) & (x + 0.5 < box.right) & (y + 0.5 > box.top) & (y + 0.5 < box.bottom)
    for count, (before, after) in enumerate(itertools.pairwise(masks)):
        check_one_way(before, after, clicks[count])
        # In a small box little may be left to change.
        check_effect(before, after, clicks[count], clicks[:count], in_box & (before != clicks[count].positive))
    check_undo(segment, image, clicks, masks[1:], box)


def check_clicks(segment: Segment, story: Story) -> None:
    image, clicks = story.draw(), story.clicks
    masks = [segment(image, clicks[:count]) for count in range(1, len(clicks) + 1)]
    for count, mask in enumerate(masks, start=1):
        check_signs(mask, clicks[:count])
        check_pieces(mask, clicks[:count])
    for count, (before, after) in enumerate(itertools.pairwise(masks), start=1):
        check_one_way(before, after, clicks[count])
        check_effect(before, after, clicks[count], clicks[:count], np.ones_like(before))
    check_undo(segment, image, clicks, masks)
