"""What holds for every prompt on an image with a small object, wherever clicks, strokes, boxes and masks lie."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from m2n2_engine.engine import Engine
from m2n2_engine.prompt import find_path
from m2n2_engine.types import Box, Click, Image, Mask, Stroke
from tests.helpers.prompts import Segment, check, check_one_way, check_undo, make_engine, make_segment

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = (240, 330)
"""(H, W), a little above the working size: windows have sides of 64 to 165 pixels."""

LARGE_SIZE = (700, 1000)
"""Windows are above the working size too."""

NEAR, FAR = 0.06, 1.0
"""How far a click is from the object at most, as a share of the image."""

Place = tuple[float, float, float]
"""Reach, and how far to the right and down, -1 to 1 of it."""


@dataclasses.dataclass(frozen=True)
class Wandering:
    """A small disc beside larger ones, and clicks and strokes on it and elsewhere; the first one is on the disc.

    center, radius: of the small disc, as shares of the image. moves: places, one for a click and more for a stroke,
    and the sign.
    """

    seed: int
    center: tuple[float, float]
    radius: float
    moves: Sequence[tuple[Sequence[Place], bool]]
    size: tuple[int, int] = SIZE

    @property
    def disc(self) -> tuple[float, float, float]:
        """x, y and radius in pixels."""
        height, width = self.size
        return self.center[0] * width, self.center[1] * height, self.radius * width

    @property
    def clicks(self) -> list[Click | Stroke]:
        return [self._draw_move(places, positive) for places, positive in self.moves]

    @property
    def box(self) -> Box:
        x, y, radius = self.disc
        height, width = self.size
        return Box(max(x - radius, 0), max(y - radius, 0), min(x + radius, width), min(y + radius, height))

    def draw_mask(self) -> Mask:
        """The small disc, not quite in its place, and a speck far away in half of all cases."""
        mask = np.zeros((*self.size, 1), np.uint8)
        x, y, radius = self.disc
        cv2.circle(mask, (int(x + radius / 3), int(y)), int(radius), 1, cv2.FILLED)
        if self.seed % 2:
            mask[:3, :3] = 1
        return mask[:, :, 0] > 0

    def draw(self) -> Image:
        rng = np.random.default_rng(self.seed)
        height, width = self.size
        image = np.full((height, width, 3), rng.integers(0, 256, 3), np.uint8)
        for colour in rng.integers(0, 256, (3, 3)).tolist():
            center = int(rng.integers(width)), int(rng.integers(height))
            cv2.circle(image, center, int(rng.integers(height // 10, height // 2)), colour, cv2.FILLED)
        x, y, radius = self.disc
        cv2.circle(image, (int(x), int(y)), int(radius), rng.integers(0, 256, 3).tolist(), cv2.FILLED)
        return image + rng.integers(0, 12, image.shape, np.uint8)

    def _draw_move(self, places: Sequence[Place], positive: bool) -> Click | Stroke:
        height, width = self.size
        points = tuple(
            (
                float(np.clip(self.center[0] + reach * across, 0, 1) * width),
                float(np.clip(self.center[1] + reach * down, 0, 1) * height),
            )
            for reach, across, down in places
        )
        return Click(*points[0], positive) if len(points) == 1 else Stroke(points, positive)


def wanderings(size: tuple[int, int] = SIZE, most_moves: int = 4) -> st.SearchStrategy[Wandering]:
    share = st.integers(-20, 20).map(lambda number: number / 20)
    place = st.tuples(st.sampled_from([NEAR, NEAR, FAR]), share, share)
    places = st.one_of(place.map(lambda one: [one]), st.lists(place, min_size=2, max_size=3))
    first = st.tuples(st.just([(NEAR, 0.0, 0.0)]), st.just(True))
    return st.builds(
        lambda seed, center, radius, first, rest: Wandering(seed, center, radius, [first, *rest], size),
        st.integers(0, 2**16),
        st.tuples(st.integers(1, 9), st.integers(1, 9)).map(lambda tenths: (tenths[0] / 10, tenths[1] / 10)),
        st.integers(2, 9).map(lambda number: number / 100),
        first,
        st.lists(st.tuples(places, st.booleans()), max_size=most_moves - 1),
    )


OUT_AND_BACK = Wandering(
    1, (0.3, 0.3), 0.04, [([(NEAR, 0, 0)], True), ([(FAR, 0.5, 0.5)], True), ([(FAR, 0.5, 0.5)], False)]
)
ACROSS_THE_EDGE = Wandering(
    2, (0.5, 0.5), 0.05, [([(NEAR, 0, 0)], True), ([(NEAR, 0.5, 0), (FAR, 0.4, 0)], False), ([(NEAR, 0, 0.5)], True)]
)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return make_engine(session_cache_bytes=2**28)


@pytest.fixture(scope="module")
def segment(engine: Engine) -> Segment:
    return make_segment(engine)


@given(story=wanderings())
@example(story=OUT_AND_BACK)
@example(story=ACROSS_THE_EDGE)
@check(18)
def test_clicks_that_wander(engine: Engine, segment: Segment, story: Wandering) -> None:
    image, clicks = story.draw(), story.clicks
    masks = [np.zeros(story.size, bool), *(segment(image, clicks[:count]) for count in range(1, len(clicks) + 1))]
    check_masks(masks, clicks)
    check_undo(segment, image, clicks, masks[1:])
    check_offers(engine, image, masks, clicks)


@given(story=wanderings(LARGE_SIZE, most_moves=3))
@check(4)
def test_clicks_on_a_large_image(segment: Segment, story: Wandering) -> None:
    image, clicks = story.draw(), story.clicks
    masks = [np.zeros(story.size, bool), *(segment(image, clicks[:count]) for count in range(1, len(clicks) + 1))]
    check_masks(masks, clicks)
    check_undo(segment, image, clicks, masks[1:])


@given(story=wanderings(), has_mask=st.booleans())
@example(story=ACROSS_THE_EDGE, has_mask=False)
@example(story=dataclasses.replace(OUT_AND_BACK, seed=3), has_mask=True)
@check(15)
def test_clicks_in_a_small_box(engine: Engine, segment: Segment, story: Wandering, has_mask: bool) -> None:
    image, clicks, box = story.draw(), story.clicks, story.box
    given_mask = story.draw_mask() if has_mask else None
    masks = [segment(image, clicks[:count], box, given_mask) for count in range(len(clicks) + 1)]
    y, x = np.ogrid[: story.size[0], : story.size[1]]
    touched = (x + 1 > box.left) & (x < box.right) & (y + 1 > box.top) & (y < box.bottom)
    assert not any((mask & ~touched).any() for mask in masks)
    # Of pixels that the box only touches, clicks change nothing.
    inside = (x > box.left) & (x + 1 < box.right) & (y > box.top) & (y + 1 < box.bottom)
    check_masks(masks, clicks, inside)
    check_undo(segment, image, clicks, masks[1:], box, given_mask)
    check_offers(engine, image, masks, clicks, box, given_mask)


@given(story=wanderings())
@example(story=dataclasses.replace(OUT_AND_BACK, seed=3))
@check(15)
def test_clicks_correct_a_small_mask(engine: Engine, segment: Segment, story: Wandering) -> None:
    image, clicks, given_mask = story.draw(), story.clicks[1:], story.draw_mask()
    masks = [segment(image, clicks[:count], None, given_mask) for count in range(len(clicks) + 1)]
    np.testing.assert_array_equal(masks[0], given_mask)
    check_masks(masks, clicks)
    if clicks:
        check_undo(segment, image, clicks, masks[1:], None, given_mask)
    check_offers(engine, image, masks, clicks, None, given_mask)


def check_masks(masks: Sequence[Mask], clicks: Sequence[Click | Stroke], where: Mask | None = None) -> None:
    """masks: before all clicks and after each. where: signs are looked at; None for everywhere."""
    size = masks[0].shape
    signs: dict[tuple[int, int], bool] = {}
    for click, (before, after) in zip(clicks, itertools.pairwise(masks), strict=True):
        check_one_way(before, after, click)
        signs |= dict.fromkeys(find_path(click, size, size), click.positive)
        wrong = [(x, y) for (x, y), positive in signs.items() if after[y, x] != positive]
        assert not [(x, y) for x, y in wrong if where is None or where[y, x]]


def check_offers(
    engine: Engine,
    image: Image,
    masks: Sequence[Mask],
    clicks: Sequence[Click | Stroke],
    box: Box | None = None,
    given_mask: Mask | None = None,
) -> None:
    """What is offered for the last click has its sign too, and one of it is the mask."""
    offered = engine.candidates(image, clicks, box, given_mask)
    assert 1 <= len(offered) <= 3
    assert any(np.array_equal(each.mask, masks[-1]) for each in offered)
    for each in offered if clicks else ():
        check_one_way(masks[-2], each.mask, clicks[-1])
