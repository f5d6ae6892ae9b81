"""A box as a prompt, through the engine, on the tiny backbone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from m2n2_engine.config import EngineConfig, MethodConfig
from m2n2_engine.engine import load_engine
from m2n2_engine.errors import InvalidClicks
from m2n2_engine.types import Box, Click

BOX = Box(20, 16, 60, 56)


@pytest.fixture(scope="module")
def engine():
    return load_engine(EngineConfig(backbone="tiny", device="cpu", threads=1, method=MethodConfig(max_steps=100)))


@pytest.fixture(scope="module")
def disc():
    """A red disc that touches the sides of BOX, on grey-blue; the image and the disc's mask."""
    y, x = np.mgrid[:72, :96] + 0.5
    mask = (x - 40) ** 2 + (y - 36) ** 2 < 20**2
    return np.where(mask[..., None], (220, 60, 40), (40, 60, 90)).astype(np.uint8), mask


def iou(mask, truth):
    return (mask & truth).sum() / (mask | truth).sum()


def outside(box):
    mask = np.ones((72, 96), bool)
    mask[math.floor(box.top) : math.ceil(box.bottom), math.floor(box.left) : math.ceil(box.right)] = False
    return mask


def test_a_box_finds_its_object(engine, disc):
    image, truth = disc
    answer = engine.segment(image, [], BOX)
    assert iou(answer.mask, truth) > 0.9
    assert 0 < answer.score <= 1


def test_nothing_outside_the_box_is_in_the_mask(engine, disc):
    box = Box(20.5, 16, 41.5, 56)
    answer = engine.segment(disc[0], [], box)
    assert answer.mask.any()
    assert not (answer.mask & outside(box)).any()


def test_clicks_come_beside_the_seeds_of_a_box(engine, disc):
    image, truth = disc
    ground, red = Click(22, 18), Click(40, 36)
    with_ground = engine.segment(image, [ground], BOX).mask
    assert with_ground[18, 22]
    assert with_ground[truth].mean() > 0.9, "the seeds are still there"
    with_negative = engine.segment(image, [Click(22, 18, positive=False)], BOX).mask
    assert with_negative[36, 40]
    assert not with_negative[18, 22]
    assert engine.segment(image, [red], BOX).mask[36, 40]


def test_a_positive_click_outside_the_box_is_not_in_the_mask(engine, disc):
    mask = engine.segment(disc[0], [Click(40, 36), Click(80, 60)], BOX).mask
    assert not (mask & outside(BOX)).any()


def test_an_answer_does_not_depend_on_what_was_asked_before(engine, disc):
    image, _ = disc
    fresh = load_engine(EngineConfig(backbone="tiny", device="cpu", threads=1, method=MethodConfig(max_steps=100)))
    engine.segment(image, [Click(5, 5)])
    engine.segment(image, [], Box(10, 10, 90, 70))
    assert np.array_equal(engine.segment(image, [], BOX).mask, fresh.segment(image, [], BOX).mask)


def test_without_a_box_clicks_are_needed(engine, disc):
    with pytest.raises(InvalidClicks, match="there are no clicks"):
        engine.segment(disc[0], [])


@pytest.mark.parametrize(
    "box",
    [
        Box(20, 16, 20, 56),
        Box(20, 56, 60, 16),
        Box(-1, 16, 60, 56),
        Box(20, 16, 96.5, 56),
        Box(20, 16, 60, math.inf),
        Box(math.nan, 16, 60, 56),
    ],
)
def test_a_box_that_cannot_be_used_is_named(engine, disc, box):
    with pytest.raises(InvalidClicks, match=r"the box from .* cannot be used: it needs 0 <= left < right <= 96"):
        engine.segment(disc[0], [], box)
