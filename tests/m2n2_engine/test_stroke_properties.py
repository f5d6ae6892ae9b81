"""What holds for every stroke, whatever the image; and that a click is a stroke of one point."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2n2_engine.backbones import load_backbone
from m2n2_engine.cache.transitions import AggregatorSource
from m2n2_engine.config import EngineConfig, MethodConfig
from m2n2_engine.engine import Engine
from m2n2_engine.errors import InvalidClicks
from m2n2_engine.paper_api import BackboneAggregator
from m2n2_engine.types import Box, Click, Image, Stroke
from tests.helpers.prompts import (
    LARGE_SIZES,
    SIZES,
    Segment,
    Story,
    boxes,
    check,
    check_one_way,
    check_undo,
    make_segment,
    stories,
)

pytestmark = pytest.mark.usefixtures("one_thread")

Shares = Sequence[tuple[float, float]]


@pytest.fixture(scope="module")
def segment() -> Segment:
    return make_segment()


@pytest.fixture
def image() -> Image:
    """Two discs on one ground."""
    drawn = np.full((60, 100, 3), (30, 40, 160), np.uint8)
    for centre in ((25, 30), (75, 30)):
        cv2.circle(drawn, centre, 14, (220, 60, 40), cv2.FILLED)
    return drawn


share = st.integers(0, 100).map(lambda number: number / 100)
paths = st.lists(st.tuples(share, share), min_size=1, max_size=4)
"""Points, as shares of the image."""


def draw_stroke(story: Story, points: Shares, positive: bool) -> Stroke:
    height, width = story.size
    return Stroke(tuple((x * width, y * height) for x, y in points), positive)


def pixels_under(stroke: Stroke, size: tuple[int, int]) -> list[tuple[int, int]]:
    """Of every point of the path, and of others at whole shares of its straight lines."""
    points = [np.array(point) for point in stroke.points]
    for start, end in itertools.pairwise(points[:]):
        count = max(int(np.ceil(np.abs(end - start).max())), 1)
        points += [start + (end - start) * number / count for number in range(count)]
    return [(min(int(x), size[1] - 1), min(int(y), size[0] - 1)) for x, y in points]


@given(story=stories(SIZES))
@check(30)
def test_a_click_is_a_stroke_of_one_point(segment: Segment, story: Story) -> None:
    image, clicks = story.draw(), story.clicks
    strokes = [Stroke(((click.x, click.y),), click.positive) for click in clicks]
    for count in range(1, len(clicks) + 1):
        mixed = [*strokes[: count // 2], *clicks[count // 2 : count]]
        expected = segment(image, clicks[:count])
        np.testing.assert_array_equal(segment(image, strokes[:count], afresh=True), expected)
        np.testing.assert_array_equal(segment(image, mixed), expected)


@given(story=stories(SIZES, most_clicks=3), points=paths, positive=st.booleans())
@check(60)
def test_a_stroke(segment: Segment, story: Story, points: Shares, positive: bool) -> None:
    check_stroke(segment, story, points, positive)


@given(story=stories(LARGE_SIZES, most_clicks=2), points=paths, positive=st.booleans())
@check(6)
def test_a_stroke_on_an_image_above_the_working_size(
    segment: Segment, story: Story, points: Shares, positive: bool
) -> None:
    check_stroke(segment, story, points, positive)


@given(story=stories(SIZES, most_clicks=2), points=paths, shares=boxes())
@check(20)
def test_a_stroke_stays_in_the_box(
    segment: Segment, story: Story, points: Shares, shares: tuple[float, float, float, float]
) -> None:
    height, width = story.size
    box = Box(shares[0] * width, shares[1] * height, shares[2] * width, shares[3] * height)
    image, stroke = story.draw(), draw_stroke(story, points, positive=True)
    before, after = segment(image, story.clicks, box), segment(image, [*story.clicks, stroke], box)
    y, x = np.ogrid[:height, :width]
    touched = (x + 1 > box.left) & (x < box.right) & (y + 1 > box.top) & (y < box.bottom)
    assert not (after & ~touched).any()
    check_one_way(before, after, Click(0, 0))
    assert all(after[row, column] for column, row in pixels_under(stroke, story.size) if touched[row, column])


def check_stroke(segment: Segment, story: Story, points: Shares, positive: bool) -> None:
    image, stroke = story.draw(), draw_stroke(story, points, positive)
    prompt = [*story.clicks, stroke, Click(0.5, 0.5, not positive)]
    masks = [segment(image, prompt[:count]) for count in range(1, len(prompt) + 1)]
    assert all(masks[-2][row, column] == positive for column, row in pixels_under(stroke, story.size))
    kept = [pixel for pixel in pixels_under(stroke, story.size) if pixel != (0, 0)]
    assert all(masks[-1][row, column] == positive for column, row in kept)
    check_one_way(masks[-3], masks[-2], Click(0, 0, positive))
    check_one_way(masks[-2], masks[-1], Click(0, 0, not positive))
    check_undo(segment, image, prompt, masks)


def test_one_stroke_takes_all_that_it_touches(segment: Segment, image: Image) -> None:
    across = Stroke(((25, 30), (75, 30)), positive=False)
    everything = np.ones((60, 100), bool)
    discs = image[:, :, 0] > 100
    found = segment(image, [across], None, discs)
    assert found.sum() < discs.sum() / 4
    assert not found[30].any()
    both = segment(image, [Stroke(((25, 30), (25, 25), (75, 25), (75, 30)))])
    assert (both & discs).sum() > 0.8 * discs.sum()
    np.testing.assert_array_equal(segment(image, [Stroke(((25, 30), (75, 30)))], None, everything), everything)


def test_a_stroke_that_is_crossed_gives_way_where_it_is_crossed(segment: Segment, image: Image) -> None:
    down, across = Stroke(((25, 18), (25, 42))), Stroke(((10, 30), (40, 30)), positive=False)
    found = segment(image, [down, across])
    assert not found[30, 10:41].any()
    assert found[20, 25]


def test_the_points_may_be_held_in_any_sequence(segment: Segment, image: Image) -> None:
    as_array = Stroke(np.array([[20, 30], [30, 30]]))  # type: ignore[arg-type]
    np.testing.assert_array_equal(segment(image, [as_array]), segment(image, [Stroke(((20, 30), (30, 30)))]))


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ((), r"a stroke has no points: give at least one, as \(x, y\)"),
        (((20, 30), (101, 30)), r"the point of a stroke \(101, 30\) is outside the image: use 0 <= x <= 100"),
        (((20, 30), (float("nan"), 30)), r"the point of a stroke \(nan, 30\) is no point"),
    ],
)
def test_strokes_that_cannot_be_used(segment: Segment, image: Image, points: Shares, message: str) -> None:
    with pytest.raises(InvalidClicks, match=message):
        segment(image, [Click(20, 30), Stroke(tuple(points))])


def test_decided_jointly_a_stroke_counts_as_clicks_along_it(image: Image) -> None:
    aggregator = BackboneAggregator(load_backbone(EngineConfig(backbone="tiny", device="cpu", grid=10)).backbone)
    method = MethodConfig(max_steps=100)
    engine = Engine(AggregatorSource(aggregator, method.chain), fingerprint="tiny", cells=100, method=method)
    stroke = Stroke(((20, 30), (40, 30)))
    clicks = [Click(20, 30), Click(30, 30), Click(40, 30)]
    found, expected = (engine.segment(image, prompt).mask for prompt in ([stroke], clicks))
    expected[30, 20:41] = True
    np.testing.assert_array_equal(found, expected)
