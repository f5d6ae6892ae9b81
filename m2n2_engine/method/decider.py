"""The mask of a prompt: the mask to start from or the object in the box, if there is one, then one correction for each
click."""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

from m2n2_engine.method.box_fit import find_places, fit_box, frame_box
from m2n2_engine.method.correction import Step, correct, offer_sizes, settle
from m2n2_engine.method.edge_map import EdgeMap, join_maps
from m2n2_engine.method.evidence import Frame
from m2n2_engine.method.scene import Scene
from m2n2_engine.method.shapes import drop_small_parts, find_extent, measure_depths, reduce_mask
from m2n2_engine.prompt import Prompt, find_around, find_path, sample_stroke
from m2n2_engine.types import Box, Click, Mask, Stroke

FindMaps = Callable[[Sequence[tuple[float, float]]], Sequence[EdgeMap]]
"""The Markov-maps of points (x, y) of the full-size image, at working size."""

_KEPT_STEPS = 64
"""Masks of earlier steps that are kept: those of a few objects that are worked on in turn."""

_KEPT_IMPRESSIONS = 4096
"""A few numbers each, so that every click of many objects may ask for those of all clicks before it. Here."""

_Clicks = tuple[Click | Stroke, ...]

_Key = tuple[Box | None, str, _Clicks, _Clicks]
"""Of a step: the box, the digest of the mask to start from, what that obeys, and the clicks and strokes so far."""


@dataclasses.dataclass(frozen=True)
class Decided:
    """What came of a prompt. mask: bool ``(H, W)`` at working size. before: what it was before the clicks, at working
    size too. score: the mean edge along the borders that the box and the positive clicks chose, 0 to 1."""

    mask: Mask
    before: Mask
    score: float


@dataclasses.dataclass(frozen=True)
class Impression:
    """Of a prompt with clicks. extent: the box around its mask without specks, in pixels of the image; None without a
    mask. centring: depth of the last click in it, as a share of the deepest place. support: score of the best candidate
    of the last click's own maps."""

    extent: Box | None
    centring: float
    support: float


class PromptDecider:
    """The masks of prompts on one image. A prompt is worked on from its beginning, so it has the same mask whatever was
    asked before, and taking the last click back gives the mask before it. Not safe under threads, but for
    ``nbytes``."""

    def __init__(self, scene: Scene, image_size: tuple[int, int], find_maps: FindMaps) -> None:
        """image_size: ``(H, W)`` of the full-size image, in whose pixels prompts are."""
        self._scene = scene
        self._image_size = image_size
        self._find_maps = find_maps
        self._steps: collections.OrderedDict[_Key, Step] = collections.OrderedDict()
        self._impressions: collections.OrderedDict[_Key, Impression] = collections.OrderedDict()

    @property
    def nbytes(self) -> int:
        """Memory of the scene and of earlier masks, in bytes."""
        # Counted, not added up: it is asked for while another thread decides. A mask takes a byte a pixel.
        return self._scene.nbytes + len(self._steps) * self._scene.size[0] * self._scene.size[1]

    def decide(self, prompt: Prompt) -> Decided:
        """The mask of a prompt in pixels of the full-size image."""
        frame, scene = self._frame(prompt)
        first = self._begin(prompt, frame, scene)
        return _finish(self._go_on(prompt, first, scene), first, frame)

    def inspect(self, prompt: Prompt) -> Impression:
        """What the first look at a prompt says, to whoever may look again. What it said once is kept, longer than the
        mask that it was said of."""
        key = _name(prompt, len(prompt.clicks))
        if key not in self._impressions:
            self._impressions[key] = self._look_at(prompt)
        self._impressions.move_to_end(key)
        if len(self._impressions) > _KEPT_IMPRESSIONS:
            self._impressions.popitem(last=False)
        return self._impressions[key]

    def _look_at(self, prompt: Prompt) -> Impression:
        frame, scene = self._frame(prompt)
        step = self._go_on(prompt, self._begin(prompt, frame, scene), scene)
        depths = measure_depths(step.mask)
        x, y = find_path(prompt.clicks[-1], self._image_size, scene.size)[0]
        centring = float(depths[y, x] / max(depths.max(), 1.0))
        # Specks that corrections leave go from the answer too: the object ends without them.
        clicked = [mark.pixel for mark in step.marks if mark.positive]
        least_pixels = scene.method.smallest_piece_cells * step.mask.size / (scene.grid[0] * scene.grid[1])
        kept = drop_small_parts(step.mask, least_pixels, clicked)
        return Impression(find_extent(kept, self._image_size), centring, step.support)

    def offer(self, prompt: Prompt) -> list[Decided]:
        """What ``decide`` gives of a prompt, and after it what else its last click may mean."""
        frame, scene = self._frame(prompt)
        first = self._begin(prompt, frame, scene)
        if not prompt.clicks:
            return [_finish(first, first, frame)]
        last = prompt.clicks[-1]
        before = self._go_on(dataclasses.replace(prompt, clicks=prompt.clicks[:-1]), first, scene)
        (last_map,) = self._map_clicks([last], _find_first(prompt) - len(prompt.clicks) + 1)
        return [_finish(step, first, frame) for step in offer_sizes(before, last_map, last.positive, scene)]

    def _frame(self, prompt: Prompt) -> tuple[Frame | None, Scene]:
        """The box at working size, and the image as it is with that box."""
        if prompt.box is None:
            return None, self._scene
        frame = frame_box(prompt.box, self._image_size, self._scene)
        return frame, self._scene.with_outside(~frame.inside)

    def _go_on(self, prompt: Prompt, first: Step, scene: Scene) -> Step:
        """The step after all clicks. first: the one before them."""
        step, done = self._find_last(prompt, first)
        rest = prompt.clicks[done:]
        maps = self._map_clicks(rest, _find_first(prompt) - done)
        for count, (click, click_map) in enumerate(zip(rest, maps, strict=True), start=done + 1):
            work = functools.partial(correct, step, click_map, click.positive, scene)
            step = self._keep(_name(prompt, count), work)
        return step

    def _begin(self, prompt: Prompt, frame: Frame | None, scene: Scene) -> Step:
        """What there is before the first click."""
        if prompt.start is not None:
            start = prompt.start.pixels
            return self._keep(_name(prompt, 0), lambda: self._settle(start, prompt.settled, frame, scene))
        if prompt.box is None or frame is None:
            return Step(np.zeros(scene.size, bool))
        places = find_places(prompt.box, scene.method.box_side_seeds)
        return self._keep(_name(prompt, 0), lambda: fit_box(frame, list(self._find_maps(places)), scene))

    def _settle(self, start: Mask, settled: _Clicks, frame: Frame | None, scene: Scene) -> Step:
        """The step of a mask ``(H, W)`` of the full-size image, which obeys some clicks."""
        mask = reduce_mask(start, scene.size)
        signs = {pixel: click.positive for click in settled for pixel in find_path(click, self._image_size, scene.size)}
        return settle(mask if frame is None else mask & frame.inside, signs, len(settled), scene)

    def _map_clicks(self, clicks: Sequence[Click | Stroke], first: int) -> list[EdgeMap]:
        """The map of each click and each stroke; all walks are made together. first: index of the one that finds the
        object, if it is among them."""
        size, image_size, grid, method = self._scene.size, self._image_size, self._scene.grid, self._scene.method
        samples = [sample_stroke(click, image_size, grid) for click in clicks]
        around: list[tuple[float, float]] = []
        if 0 <= first < len(clicks):
            around = find_around(clicks[first], image_size, grid, method.vote_places, method.vote_distance_cells)
        maps = iter(self._find_maps([*(point for points in samples for point in points), *around]))
        found = [
            join_maps([next(maps) for _ in points], find_path(click, image_size, size), method.edge_levels)
            for click, points in zip(clicks, samples, strict=True)
        ]
        if around:
            found[first] = dataclasses.replace(found[first], around=tuple(maps))
        return found

    def _find_last(self, prompt: Prompt, first: Step) -> tuple[Step, int]:
        """The step after as many clicks as one is kept for, and how many they are."""
        for count in range(len(prompt.clicks), 0, -1):
            step = self._steps.get(_name(prompt, count))
            if step is not None:
                self._steps.move_to_end(_name(prompt, count))
                return step, count
        return first, 0

    def _keep(self, key: _Key, work: Callable[[], Step]) -> Step:
        """The step of this name, worked out where it is not kept."""
        if key not in self._steps:
            self._steps[key] = work()
        self._steps.move_to_end(key)
        step = self._steps[key]
        while len(self._steps) > _KEPT_STEPS:
            self._steps.popitem(last=False)
        return step


def _find_first(prompt: Prompt) -> int:
    """Index of the click that finds the object; -1 where a box or a mask does, or nothing."""
    if prompt.box is not None or prompt.start is not None:
        return -1
    return next((number for number, click in enumerate(prompt.clicks) if click.positive), -1)


def _name(prompt: Prompt, count: int) -> _Key:
    """The key of the step after so many clicks."""
    return prompt.box, "" if prompt.start is None else prompt.start.digest, prompt.settled, prompt.clicks[:count]


def _finish(step: Step, first: Step, frame: Frame | None) -> Decided:
    """What comes of a step, without what lies outside of the box."""
    inside = np.ones_like(step.mask) if frame is None else frame.inside
    score = sum(step.scores) / len(step.scores) if step.scores else 0.0
    return Decided(step.mask & inside, first.mask & inside, score)
