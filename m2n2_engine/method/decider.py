"""The mask of a prompt: the object in the box, if there is one, then one correction for each click."""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence

import numpy as np

from m2n2_engine.method.box_fit import find_places, fit_box, frame_box
from m2n2_engine.method.correction import Step, correct
from m2n2_engine.method.edge_map import EdgeMap
from m2n2_engine.method.scene import Scene
from m2n2_engine.types import Box, Click, Mask

FindMaps = Callable[[Sequence[tuple[float, float]]], Sequence[EdgeMap]]
"""The Markov-maps of points (x, y) of the full-size image, at working size."""

_KEPT_STEPS = 64
"""Masks of earlier steps that are kept: those of a few objects that are worked on in turn."""

_Prompt = tuple[Box | None, tuple[Click, ...]]


class PromptDecider:
    """The masks of prompts on one image. A prompt is worked on from its beginning, so it has the same mask whatever was
    asked before, and taking the last click back gives the mask before it. Not safe under threads, but for
    ``nbytes``."""

    def __init__(self, scene: Scene, image_size: tuple[int, int], find_maps: FindMaps) -> None:
        """image_size: ``(H, W)`` of the full-size image, in whose pixels prompts are."""
        self._scene = scene
        self._image_size = image_size
        self._find_maps = find_maps
        self._steps: collections.OrderedDict[_Prompt, Step] = collections.OrderedDict()

    @property
    def nbytes(self) -> int:
        """Memory of the scene and of earlier masks, in bytes."""
        # Counted, not added up: it is asked for while another thread decides. A mask takes a byte a pixel.
        return self._scene.nbytes + len(self._steps) * self._scene.size[0] * self._scene.size[1]

    def decide(self, clicks: Sequence[Click], box: Box | None) -> tuple[Mask, float]:
        """The mask of a prompt.

        Args:
            clicks: in the order they were made.
            box: that the object lies in.

        Returns:
            The mask bool ``(H, W)`` at working size, and the mean edge along the borders that the box and the positive
            clicks chose, 0 to 1.
        """
        clicks = tuple(clicks)
        scene = self._scene
        count, step = self._recall(clicks, box)
        if box is not None:
            frame = frame_box(box, self._image_size, scene)
            scene = scene.with_outside(~frame.inside)
            if step is None:
                places = find_places(box, scene.method.box_side_seeds)
                step = self._keep((box, ()), fit_box(frame, list(self._find_maps(places)), scene))
        if step is None:
            step = Step(np.zeros(scene.size, bool))
        maps = self._find_maps([(click.x, click.y) for click in clicks[count:]])
        for click, click_map in zip(clicks[count:], maps, strict=True):
            count += 1
            step = self._keep((box, clicks[:count]), correct(step, click_map, click.positive, scene))
        mask = step.mask.copy() if scene.outside is None else step.mask & ~scene.outside
        return mask, sum(step.scores) / len(step.scores) if step.scores else 0.0

    def _recall(self, clicks: tuple[Click, ...], box: Box | None) -> tuple[int, Step | None]:
        """The longest beginning of a prompt that is kept: its number of clicks and its step; 0 and None without one."""
        for count in range(len(clicks), -1, -1):
            prompt = (box, clicks[:count])
            step = self._steps.get(prompt)
            if step is not None:
                self._steps.move_to_end(prompt)
                return count, step
        return 0, None

    def _keep(self, prompt: _Prompt, step: Step) -> Step:
        """The step of a prompt, kept instead of that of the prompt that was asked for the longest time ago."""
        self._steps[prompt] = step
        while len(self._steps) > _KEPT_STEPS:
            self._steps.popitem(last=False)
        return step
