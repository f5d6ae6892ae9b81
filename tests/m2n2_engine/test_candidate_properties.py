"""What holds for the sizes that are offered for a last click, whatever the image."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given

from m2n2_engine.backbones import load_backbone
from m2n2_engine.cache.transitions import AggregatorSource
from m2n2_engine.config import EngineConfig, MethodConfig
from m2n2_engine.engine import Engine
from m2n2_engine.errors import InvalidClicks
from m2n2_engine.paper_api import BackboneAggregator
from m2n2_engine.types import Box, Click, Image, Mask, Segmentation
from tests.helpers.prompts import (
    LARGE_SIZES,
    SIZES,
    Story,
    boxes,
    check,
    check_effect,
    check_one_way,
    check_pieces,
    check_signs,
    make_engine,
    stories,
)

pytestmark = pytest.mark.usefixtures("one_thread")

IoU = Callable[[Mask, Mask], float]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return make_engine()


@pytest.fixture(scope="module")
def rings() -> Image:
    """Nested discs of radius 8, 16, 24 ..., each darker than the one in it: a part in an object in a group."""
    y, x = np.mgrid[:60, :80]
    steps = np.hypot(x - 40, y - 30) // 8
    return np.repeat(np.clip(255 - 40 * steps, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


@given(story=stories(SIZES, most_clicks=4))
@check(50)
def test_sizes_of_the_last_click(engine: Engine, story: Story) -> None:
    check_sizes(engine, story)


@given(story=stories(LARGE_SIZES, most_clicks=2))
@check(6)
def test_sizes_on_an_image_above_the_working_size(engine: Engine, story: Story) -> None:
    check_sizes(engine, story)


@given(story=stories(SIZES, most_clicks=2), shares=boxes())
@check(25)
def test_sizes_stay_in_the_box(engine: Engine, story: Story, shares: tuple[float, float, float, float]) -> None:
    height, width = story.size
    box = Box(shares[0] * width, shares[1] * height, shares[2] * width, shares[3] * height)
    found = engine.candidates(story.draw(), story.clicks, box)
    expected = engine.segment(story.draw(), story.clicks, box).mask
    assert any(np.array_equal(each.mask, expected) for each in found)
    y, x = np.ogrid[:height, :width]
    touched = (x + 1 > box.left) & (x < box.right) & (y + 1 > box.top) & (y < box.bottom)
    assert not any((each.mask & ~touched).any() for each in found)


def check_sizes(engine: Engine, story: Story) -> None:
    image, clicks = story.draw(), story.clicks
    before = engine.segment(image, clicks[:-1]).mask if len(clicks) > 1 else np.zeros(story.size, bool)
    voted = engine.segment(image, clicks)
    found = engine.candidates(image, clicks)
    assert 1 <= len(found) <= 3
    assert any(np.array_equal(each.mask, voted.mask) and each.score == voted.score for each in found)
    for each in found:
        check_signs(each.mask, clicks)
        check_pieces(each.mask, clicks)
        check_one_way(before, each.mask, clicks[-1])
        check_effect(before, each.mask, clicks[-1], clicks[:-1], np.ones_like(before))
        assert 0 <= each.score <= 1
    changes = [each.mask ^ before for each in found]
    for smaller, larger in itertools.pairwise(changes):
        assert smaller.sum() <= larger.sum()
    for one, other in itertools.combinations(changes, 2):
        assert (one & other).sum() < 0.8 * (one | other).sum()


def sizes_of(found: Sequence[Segmentation]) -> list[int]:
    return [int(each.mask.sum()) for each in found]


def test_a_first_click_offers_a_part_an_object_and_a_group(engine: Engine, rings: Image) -> None:
    found = engine.candidates(rings, [Click(40, 30)])
    assert sizes_of(found) == pytest.approx([np.pi * radius**2 for radius in (8, 16, 24)], rel=0.05)


def test_a_click_that_agrees_and_no_click_offer_one_mask(engine: Engine, rings: Image) -> None:
    start = rings[:, :, 0] > 200
    for prompt in (([Click(40, 30)], None, start), ([], Box(10, 4, 70, 56)), ([Click(40, 30, positive=False)],)):
        (found,) = engine.candidates(rings, *prompt)
        np.testing.assert_array_equal(found.mask, engine.segment(rings, *prompt).mask)


def test_one_of_them_can_be_corrected_further(engine: Engine, rings: Image) -> None:
    first = Click(40, 30)
    for each in engine.candidates(rings, [first]):
        np.testing.assert_array_equal(engine.segment(rings, [first], mask=each.mask).mask, each.mask)


def test_decided_jointly_there_is_one(rings: Image) -> None:
    aggregator = BackboneAggregator(load_backbone(EngineConfig(backbone="tiny", device="cpu", grid=10)).backbone)
    method = MethodConfig(max_steps=100)
    joint = Engine(AggregatorSource(aggregator, method.chain), fingerprint="tiny", cells=100, method=method)
    (found,) = joint.candidates(rings, [Click(40, 30)])
    np.testing.assert_array_equal(found.mask, joint.segment(rings, [Click(40, 30)]).mask)


def test_what_cannot_be_asked_for_is_named(engine: Engine, rings: Image) -> None:
    with pytest.raises(InvalidClicks, match="there are no clicks"):
        engine.candidates(rings, [])
