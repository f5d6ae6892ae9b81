"""Small objects are answered from a crop of the image: when one is prepared, what is kept of it, and what waits."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from m2n2_engine.backbones import LoadedBackbone, load_backbone
from m2n2_engine.config import EngineConfig
from m2n2_engine.engine import Engine, build_engine
from m2n2_engine.errors import DeadlineExceeded
from m2n2_engine.method.chain import AttentionFactors
from m2n2_engine.presets import CONSENSUS, PAPER
from m2n2_engine.types import Box, Click, Deadline, Image, Mask, Picture, Stroke, Tier

pytestmark = pytest.mark.usefixtures("one_thread")

IoU = Callable[[Mask, Mask], float]

SIZE = (480, 640)
DISCS = {6: (200, 150), 12: (420, 60), 25: (120, 350), 90: (470, 330)}
"""Radius -> center (x, y)."""

SMALL, LARGE = Click(120.5, 350.5), Click(470.5, 330.5)
ON_SMALL, ABOVE_SMALL = Click(130.5, 350.5), Click(120.5, 320.5)
QUICK_PAPER = {"preset": PAPER, "changes": {"max_steps": 100, "working_size_pixels": 160}}
WHOLE, CROP = SIZE, (113, 113)
"""Shapes that are prepared: the image, and the window of the disc of radius 25."""


class WatchedBackbone:
    """The tiny backbone; it notes the shapes of the images that it is given, and calls ``before`` ahead of each."""

    def __init__(self, loaded: LoadedBackbone) -> None:
        self._backbone = loaded.backbone
        self.name, self.grid, self.device = self._backbone.name, self._backbone.grid, self._backbone.device
        self.fingerprint = self._backbone.fingerprint
        self.shapes: list[tuple[int, int]] = []
        self.before: Callable[[], object] = lambda: None

    def extract(self, image: Image) -> AttentionFactors:
        self.before()
        self.shapes.append((image.shape[0], image.shape[1]))
        return self._backbone.extract(image)


class Watched:
    """An engine and the shapes that it has had prepared."""

    def __init__(self, **options: Any) -> None:
        config = EngineConfig(
            **{"backbone": "tiny", "device": "cpu", "grid": 12, "threads": 1, "preset": CONSENSUS} | options,
        )
        loaded = load_backbone(config)
        self.backbone = WatchedBackbone(loaded)
        self.engine: Engine = build_engine(dataclasses.replace(loaded, backbone=self.backbone), config)

    def prepare(self, *prompt: Any) -> list[tuple[int, int]]:
        """Shapes that a prompt has prepared."""
        self.backbone.shapes.clear()
        self.engine.segment(*prompt)
        return list(self.backbone.shapes)


class WatchedSlots:
    """Slots that say which of them are held."""

    def __init__(self) -> None:
        self.held: list[str] = []
        self.entered: list[str] = []

    def network(self) -> AbstractContextManager[None]:
        return self._hold("network")

    def computing(self) -> AbstractContextManager[None]:
        return self._hold("computing")

    @contextlib.contextmanager
    def _hold(self, name: str) -> Iterator[None]:
        assert not self.held, "one at a time"
        self.entered.append(name)
        self.held.append(name)
        try:
            yield
        finally:
            self.held.remove(name)


@pytest.fixture(scope="module")
def image() -> Image:
    """Discs of one colour on one ground, with noise."""
    drawn = np.full((*SIZE, 3), (40, 60, 90), np.uint8)
    for radius, center in DISCS.items():
        cv2.circle(drawn, center, radius, (220, 60, 40), cv2.FILLED)
    return drawn + np.random.default_rng(0).integers(0, 12, drawn.shape, np.uint8)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Watched().engine


@pytest.fixture
def watched() -> Watched:
    return Watched()


def draw_truth(radius: int) -> Mask:
    return cv2.circle(np.zeros(SIZE, np.uint8), DISCS[radius], radius, 1, cv2.FILLED) > 0


@pytest.mark.parametrize("radius", DISCS)
def test_one_click_finds_a_disc_of_any_size(engine: Engine, image: Image, iou: IoU, radius: int) -> None:
    x, y = DISCS[radius]
    assert iou(engine.segment(image, [Click(x + 0.5, y + 0.5)]).mask, draw_truth(radius)) >= 0.9


@pytest.mark.parametrize("radius", [6, 12, 25])
def test_one_click_finds_a_spot_in_a_large_image(iou: IoU, radius: int) -> None:
    """The grid is finer here: a click's disc of half a cell of the window must fit into the smallest spot."""
    engine = Watched(grid=24).engine
    spot = cv2.circle(np.zeros((1200, 1600), np.uint8), (1130, 470), radius, 1, cv2.FILLED) > 0
    drawn = np.where(spot[:, :, None], (220, 60, 40), (40, 60, 90)).astype(np.uint8)
    drawn += np.random.default_rng(0).integers(0, 12, drawn.shape, np.uint8)
    assert iou(engine.segment(drawn, [Click(1130.5, 470.5)]).mask, spot) >= 0.9


def test_a_box_around_a_small_disc_finds_it(engine: Engine, image: Image, iou: IoU) -> None:
    assert iou(engine.segment(image, [], Box(95, 325, 146, 376)).mask, draw_truth(25)) >= 0.9


def test_without_it_the_smallest_disc_is_not_found(image: Image, iou: IoU) -> None:
    found = Watched(changes={"zoom_largest": 0.0}).engine.segment(image, [Click(200.5, 150.5)])
    assert iou(found.mask, draw_truth(6)) < 0.5


def test_a_small_object_is_prepared_once_more_and_a_large_one_is_not(watched: Watched, image: Image) -> None:
    assert watched.prepare(image, [LARGE]) == [WHOLE]
    assert watched.prepare(image, [SMALL]) == [CROP]
    assert watched.prepare(image, [SMALL]) == []


def test_it_takes_time_of_its_own(watched: Watched, image: Image) -> None:
    with watched.engine.open(Picture.of(image)) as opened:
        assert opened.segment([LARGE]).timings.again_seconds == 0
        assert opened.segment([SMALL]).timings.again_seconds > 0


@pytest.mark.parametrize("prompt", [([], Box(95, 325, 146, 376)), ([ON_SMALL], None, draw_truth(25))])
def test_small_boxes_and_masks_are_seen_in_a_crop(watched: Watched, image: Image, prompt: tuple[Any, ...]) -> None:
    assert watched.prepare(image, *prompt) == [WHOLE, CROP]


@pytest.mark.parametrize("prompt", [([], Box(300, 200, 600, 450)), ([LARGE], None, draw_truth(90))])
def test_large_boxes_and_masks_are_not(watched: Watched, image: Image, prompt: tuple[Any, ...]) -> None:
    assert watched.prepare(image, *prompt) == [WHOLE]


def test_a_mask_without_clicks_needs_no_crop(watched: Watched, image: Image) -> None:
    assert watched.prepare(image, [], None, draw_truth(25)) == [WHOLE]


@pytest.mark.parametrize("options", [{"changes": {"zoom_largest": 0.0}}, QUICK_PAPER])
def test_without_a_second_look_no_crop_is_prepared(image: Image, options: dict[str, Any]) -> None:
    watched = Watched(**options)
    for prompt in (([SMALL],), ([Click(200.5, 150.5)],), ([], Box(95, 325, 146, 376))):
        assert set(watched.prepare(image, *prompt)) <= {WHOLE}


def test_a_second_object_in_the_same_window_prepares_nothing(watched: Watched, image: Image) -> None:
    assert watched.prepare(image, [], Box(95, 325, 146, 376)) == [WHOLE, CROP]
    assert watched.prepare(image, [], Box(97, 326, 147, 376)) == []


def test_what_is_kept_of_a_crop_serves_other_processes(image: Image, tmp_path: Path) -> None:
    first, second = (Watched(disk_cache_bytes=2**24, disk_cache_folder=tmp_path) for _ in range(2))
    assert first.prepare(image, [SMALL]) == [WHOLE, CROP]
    assert second.prepare(image, [SMALL]) == []
    np.testing.assert_array_equal(*(each.engine.segment(image, [SMALL]).mask for each in (first, second)))


def test_a_crop_is_a_picture_of_its_own(watched: Watched, image: Image) -> None:
    """The same pixels elsewhere are another crop: it is named by its place."""
    picture = Picture.of(image)
    part = picture.cut(10, 20, 110, 220)
    assert part.size == (200, 100)
    np.testing.assert_array_equal(part.pixels, image[20:220, 10:110])
    others = [picture, Picture.of(part.pixels), picture.cut(11, 20, 111, 220), picture.cut(10, 20, 110, 221)]
    assert len({part, *others}) == 5
    assert part == Picture.of(image.copy()).cut(10, 20, 110, 220)
    watched.engine.segment(picture, [SMALL])
    assert watched.engine.find_tier(picture) is Tier.DEVICE


def test_a_click_beyond_the_crop_adds_to_its_mask(watched: Watched, image: Image, iou: IoU) -> None:
    both = watched.engine.segment(image, [SMALL, LARGE]).mask
    assert iou(both, draw_truth(25) | draw_truth(90)) >= 0.9
    np.testing.assert_array_equal(both[320:380, 90:150], watched.engine.segment(image, [SMALL]).mask[320:380, 90:150])


def test_a_mask_that_has_become_small_goes_to_a_crop(watched: Watched, image: Image) -> None:
    """Clicks on both discs, and a stroke that takes the large one away."""
    away = Stroke(((385.5, 330.5), (555.5, 330.5)), positive=False)
    clicks = [LARGE, SMALL, away]
    mask = watched.engine.segment(image, clicks).mask
    assert 0 < mask.sum() < 1.2 * draw_truth(25).sum()
    assert watched.prepare(image, [*clicks, ABOVE_SMALL]) == [(160, 160)], "the window holds the click too"
    added = watched.engine.segment(image, [*clicks, ABOVE_SMALL]).mask
    assert added[320, 120]
    assert not (mask & ~added).any()


def test_a_stroke_that_leaves_the_crop_counts_as_a_whole(engine: Engine, image: Image) -> None:
    stroke = Stroke(((120.5, 350.5), (330.5, 350.5)), positive=False)
    for prompt in (([SMALL, stroke],), ([stroke], Box(95, 325, 146, 376)), ([stroke, SMALL],)):
        mask = engine.segment(image, *prompt).mask
        assert not mask[350, 121:330].any()
    assert engine.segment(image, [SMALL]).mask[350, 130]


def test_nothing_of_a_mask_is_left_outside_of_a_small_box(engine: Engine, image: Image) -> None:
    mask = engine.segment(image, [], Box(95, 325, 146, 376), draw_truth(25) | draw_truth(90)).mask
    np.testing.assert_array_equal(mask, draw_truth(25))


def test_a_click_repeated_after_another_one_offers_its_mask_too(engine: Engine, image: Image) -> None:
    """The first click has several sizes, and is made again once a click beyond the crop has followed."""
    nested = image.copy()
    for radius, colour in ((50, (220, 60, 40)), (26, (240, 110, 90))):
        cv2.circle(nested, DISCS[25], radius, colour, cv2.FILLED)
    smallest = engine.candidates(nested, [SMALL])[0].mask
    assert smallest.sum() < engine.segment(nested, [SMALL]).mask.sum()
    clicks = [SMALL, LARGE, SMALL]
    expected = engine.segment(nested, clicks).mask
    assert any(np.array_equal(each.mask, expected) for each in engine.candidates(nested, clicks))


def test_the_network_takes_its_own_slot_and_no_turn_is_held_meanwhile(watched: Watched, image: Image) -> None:
    slots, seen = WatchedSlots(), []
    watched.backbone.before = lambda: seen.append(list(slots.held))
    with watched.engine.open(Picture.of(image), slots=slots) as opened:
        opened.segment([SMALL], slots=slots)
    assert seen == [["network"], ["network"]]
    # The image and its session, the first look, the crop and its session, the second look.
    assert slots.entered == ["network", "computing", "computing", "network", "computing", "computing"]


class LateSlots(WatchedSlots):
    """The network's slot is free when it is too late."""

    def __init__(self, expire: Callable[[], None]) -> None:
        super().__init__()
        self._expire = expire

    def network(self) -> AbstractContextManager[None]:
        self._expire()
        return super().network()


def test_no_crop_is_prepared_after_the_deadline(
    watched: Watched, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadline = Deadline.after(3600)
    with watched.engine.open(Picture.of(image)) as opened:
        watched.backbone.shapes.clear()
        slots = LateSlots(lambda: monkeypatch.setattr("time.monotonic", lambda: deadline.at))
        with pytest.raises(DeadlineExceeded, match="prepare the image"):
            opened.segment([SMALL], deadline=deadline, slots=slots)
        assert (watched.backbone.shapes, slots.held) == ([], [])
        assert opened.segment([SMALL]).mask.any(), "nothing half-made stays"
