"""What holds for every mask that clicks start from, whatever the image."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2n2_engine.types import Box, Click, Mask
from tests.helpers.prompts import (
    LARGE_SIZES,
    SIZES,
    Segment,
    Story,
    boxes,
    check,
    check_effect,
    check_one_way,
    check_signs,
    check_undo,
    make_segment,
    stories,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def segment() -> Segment:
    return make_segment()


def draw_mask(story: Story, seed: int) -> Mask:
    """Rough blobs, single pixels and holes."""
    rng = np.random.default_rng(seed)
    height, width = story.size
    noise = cv2.GaussianBlur(rng.random((height, width)), (0, 0), max(min(height, width) / 12, 1))
    mask = np.asarray(noise > np.quantile(noise, rng.uniform(0.3, 0.9)))
    flipped = rng.integers(0, height, 20), rng.integers(0, width, 20)
    mask[flipped] = ~mask[flipped]
    return mask


masks = st.integers(0, 2**16)
"""Seeds of masks."""


@given(story=stories(SIZES, most_clicks=4), seed=masks)
@check(60)
def test_clicks_correct_a_mask(segment: Segment, story: Story, seed: int) -> None:
    check_corrections(segment, story, draw_mask(story, seed))


@given(story=stories(LARGE_SIZES, most_clicks=3), seed=masks)
@check(12)
def test_clicks_correct_a_mask_above_the_working_size(segment: Segment, story: Story, seed: int) -> None:
    check_corrections(segment, story, draw_mask(story, seed))


@given(story=stories(SIZES, most_clicks=3), seed=masks, shares=boxes())
@check(40)
def test_a_box_cuts_the_mask(
    segment: Segment, story: Story, seed: int, shares: tuple[float, float, float, float]
) -> None:
    height, width = story.size
    left, top, right, bottom = shares
    box = Box(left * width, top * height, right * width, bottom * height)
    image, clicks, given_mask = story.draw(), story.clicks, draw_mask(story, seed)
    y, x = np.ogrid[:height, :width]
    touched = (x + 1 > box.left) & (x < box.right) & (y + 1 > box.top) & (y < box.bottom)
    found = [segment(image, clicks[:count], box, given_mask) for count in range(len(clicks) + 1)]
    np.testing.assert_array_equal(found[0], given_mask & touched)
    for count, (before, after) in enumerate(itertools.pairwise(found)):
        assert not (after & ~touched).any()
        check_one_way(before, after, clicks[count])


def test_what_no_click_changed_keeps_every_pixel(segment: Segment) -> None:
    """Two discs, and a mask of both with a border so rough that the working size cannot hold it."""
    image = np.full((600, 1400, 3), (40, 60, 90), np.uint8)
    for centre in ((300, 300), (1100, 300)):
        cv2.circle(image, centre, 150, (220, 60, 40), cv2.FILLED)
    softened = cv2.GaussianBlur(image[:, :, 0].astype(float), (0, 0), 9)
    rough = softened > np.random.default_rng(0).uniform(60, 200, softened.shape)
    agreeing = segment(image, [Click(300, 300), Click(700, 20, positive=False)], None, rough)
    np.testing.assert_array_equal(agreeing, rough)
    found = segment(image, [Click(1100, 300, positive=False)], None, rough)
    assert not found[200:400, 1000:1200].any()
    np.testing.assert_array_equal(found[:, :700], rough[:, :700])


def test_only_negative_clicks_take_away(segment: Segment) -> None:
    story = Story("discs", 3, SIZES[0], [(0.5, 0.5, False)])
    everything = np.ones(story.size, bool)
    found = segment(story.draw(), story.clicks, None, everything)
    assert not found[30, 40]
    assert found.any()


def check_corrections(segment: Segment, story: Story, given_mask: Mask) -> None:
    image, clicks = story.draw(), story.clicks
    found = [segment(image, clicks[:count], None, given_mask) for count in range(len(clicks) + 1)]
    np.testing.assert_array_equal(found[0], given_mask)
    for count, (before, after) in enumerate(itertools.pairwise(found)):
        check_signs(after, clicks[: count + 1])
        check_one_way(before, after, clicks[count])
        check_effect(before, after, clicks[count], clicks[:count], np.ones_like(before))
    check_undo(segment, image, clicks, found[1:], None, given_mask)
