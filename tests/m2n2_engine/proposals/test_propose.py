"""Objects by examples of other pictures, through the engine, on the tiny backbone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from m2n2_engine.cache.transitions import AggregatorSource
from m2n2_engine.config import EngineConfig
from m2n2_engine.engine import Engine, load_engine
from m2n2_engine.errors import ConfigurationError, DeadlineExceeded, InvalidImage, InvalidInput, InvalidMask
from m2n2_engine.presets import PRESETS
from m2n2_engine.types import Click, Deadline, Example, Picture, Tier

RED, BLUE, GREEN = (220, 40, 30), (40, 60, 220), (60, 120, 60)


@pytest.fixture(scope="module")
def engine():
    return load_engine(EngineConfig(backbone="tiny", preset="consensus", device="cpu", threads=1))


def draw(*balls, ground=GREEN):
    """A picture of balls ``(x, y, colour)`` on a ground, and the mask of each."""
    y, x = np.mgrid[:120, :160]
    image = np.full((120, 160, 3), ground, np.uint8)
    masks = [(x - across) ** 2 + (y - down) ** 2 < 20**2 for across, down, _ in balls]
    for mask, (_, _, colour) in zip(masks, balls, strict=True):
        image[mask] = colour
    return Picture.of(image), masks


def give(*balls, label="ball"):
    """The first ball of a picture as an example."""
    picture, masks = draw(*balls)
    return Example(picture, masks[0], label)


def test_an_object_is_found_where_it_is_now(engine, iou):
    picture, (truth,) = draw((100, 70, RED))
    (found,) = engine.propose(picture, [give((50, 50, RED))])
    assert iou(found.mask, truth) > 0.9
    assert found.label == "ball"
    assert 0 <= found.score <= 1


def test_every_object_of_the_kind_is_found(engine, iou):
    picture, truths = draw((40, 40, RED), (120, 80, RED))
    found = engine.propose(picture, [give((50, 50, RED))])
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    assert len(found) == 2
    for truth in truths:
        assert max(iou(each.mask, truth) for each in found) > 0.9


def test_nothing_is_found_where_nothing_is_like_it(engine):
    assert engine.propose(draw((100, 70, GREEN))[0], [give((50, 50, RED))]) == ()


def test_labels_keep_to_their_own_objects(engine, iou):
    picture, (red, blue) = draw((40, 40, RED), (120, 80, BLUE))
    examples = [give((50, 50, RED), (110, 90, BLUE), label="red"), give((60, 50, BLUE), (100, 95, RED), label="blue")]
    found = {each.label: each for each in engine.propose(picture, examples)}
    assert iou(found["red"].mask, red) > 0.9
    assert iou(found["blue"].mask, blue) > 0.9


def test_two_labels_do_not_take_one_object(engine):
    picture, _ = draw((100, 70, RED))
    one, other = give((50, 50, RED), label="one"), give((60, 60, RED), label="other")
    assert len(engine.propose(picture, [one, other])) == 1


def test_the_next_click_corrects_a_proposal(engine):
    """Its own clicks change nothing in it, and a further one changes what it is on."""
    picture, _ = draw((100, 70, RED))
    (found,) = engine.propose(picture, [give((50, 50, RED))])
    assert found.clicks
    for click in found.clicks:
        assert found.mask[int(click.y), int(click.x)] == click.positive
    again = engine.segment(picture, found.clicks, found.box, found.mask).mask
    assert np.array_equal(again, found.mask)
    corrected = engine.segment(picture, [*found.clicks, Click(20, 20)], mask=found.mask).mask
    assert corrected[20, 20]


def test_a_picture_passes_the_network_once():
    engine = load_engine(EngineConfig(backbone="tiny", preset="consensus", device="cpu", threads=1))
    picture, _ = draw((100, 70, RED))
    example = give((50, 50, RED))
    assert engine.find_tier(picture) is Tier.NETWORK
    engine.propose(picture, [example])
    assert engine.find_tier(picture) is Tier.DEVICE
    prepared = engine.status().tiers[Tier.HOST].misses
    assert prepared >= 2, "picture and example, and what was looked at again"
    engine.propose(picture, [example])
    assert engine.status().tiers[Tier.HOST].misses == prepared


def test_without_examples_there_is_nothing_to_propose(engine):
    assert engine.propose(draw()[0], []) == ()


def test_an_example_without_background_says_nothing(engine):
    picture, (truth,) = draw((100, 70, RED))
    assert engine.propose(picture, [Example(picture, np.ones_like(truth), "all")]) == ()


def test_a_picture_of_one_pixel_and_one_of_one_colour(engine):
    for shape in (1, 1, 3), (40, 50, 3):
        assert engine.propose(np.zeros(shape, np.uint8), [give((50, 50, RED))]) == ()


def test_an_array_is_a_picture(engine):
    picture, _ = draw((100, 70, RED))
    assert len(engine.propose(picture.pixels, [give((50, 50, RED))])) == 1


def test_a_preset_that_decides_at_once_proposes_too(iou):
    engine = load_engine(EngineConfig(backbone="tiny", preset="paper", device="cpu", threads=1))
    picture, (truth,) = draw((100, 70, RED))
    (found,) = engine.propose(picture, [give((50, 50, RED))])
    assert iou(found.mask, truth) > 0.8


def test_no_time_is_left(engine):
    with pytest.raises(DeadlineExceeded, match="no time is left"):
        engine.propose(draw((90, 60, RED))[0], [give((50, 50, RED))], Deadline(0.0))


def test_what_is_no_example_is_refused(engine):
    with pytest.raises(InvalidInput, match=r"an example must be an Example, not tuple: write Example"):
        engine.propose(draw()[0], [("picture", "mask")])


def test_attention_without_keys_cannot_be_compared():
    class Uniform:
        def extract_attention(self, image):
            return torch.full((4, 4, 4, 4), 1 / 16)

    method = PRESETS["consensus"]
    engine = Engine(AggregatorSource(Uniform(), method.chain), fingerprint="uniform", method=method)
    with pytest.raises(ConfigurationError, match="no keys that pictures could be compared by"):
        engine.propose(draw()[0], [give((50, 50, RED))])


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"picture": np.zeros((120, 160, 3), np.uint8)}, InvalidImage, "must be a Picture, not ndarray"),
        ({"mask": np.ones((120, 160), np.uint8)}, InvalidMask, r"must be bool \(120, 160\).*not uint8"),
        ({"mask": np.ones((12, 16), bool)}, InvalidMask, r"not bool \(12, 16\)"),
        ({"mask": None}, InvalidMask, "not NoneType"),
        ({"mask": np.zeros((120, 160), bool)}, InvalidMask, "has no pixel: leave the example out"),
        ({"label": 3}, InvalidInput, "must be a text, not 3"),
    ],
)
def test_an_example_is_checked(change, error, words):
    picture, (mask,) = draw((50, 50, RED))
    with pytest.raises(error, match=words):
        Example(**({"picture": picture, "mask": mask, "label": "ball"} | change))


@pytest.mark.parametrize("score", [-0.1, 1.5, float("nan")])
def test_a_score_that_no_proposal_can_have(engine, score):
    with pytest.raises(InvalidInput, match=f"least_score must be 0 to 1, not {score}"):
        engine.propose(draw((100, 70, RED))[0], [give((50, 50, RED))], least_score=score)
