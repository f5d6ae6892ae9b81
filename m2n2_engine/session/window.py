"""The part of an image that is looked at again, so that a small object gets the whole grid of the attention.

A window is placed by the object alone: by its box, or by what a first look at the whole image found. So the same prompt
is always answered from the same window, whatever device answers and however long it takes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from m2n2_engine.config import MethodConfig
from m2n2_engine.prompt import Prompt, StartMask, list_points
from m2n2_engine.types import Box, Click, Mask, Stroke

_LEAST_SIDE_PIXELS = 64
"""A window's side is no shorter: fewer pixels than a grid has cells show nothing new. Here."""

_PLACES_A_SIDE = 8
"""Windows start at multiples of this part of their side, so that objects near each other share one. Here."""

_OBJECT_SHARE = 0.75
"""An object takes at most this share of a window's side: placed at such multiples, the window then holds it. Here."""

_ROUNDING = 1 + 1e-9
"""Sides that differ by less than this factor are equal."""


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """A part of an image, in its pixels; right and bottom exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    def paste(self, mask: Mask, onto: Mask) -> Mask:
        """``onto`` ``(H, W)`` with a mask of the window in its place."""
        pasted = onto.copy()
        pasted[self.top : self.bottom, self.left : self.right] = mask
        return pasted

    def holds(self, click: Click | Stroke, image_size: tuple[int, int]) -> bool:
        """Whether all of a click or a stroke lies on its pixels. image_size: ``(H, W)``; a click on the image's right
        or bottom edge is on the last pixel."""
        return all(
            self.left <= min(x, image_size[1] - 1) < self.right and self.top <= min(y, image_size[0] - 1) < self.bottom
            for x, y in list_points(click)
        )

    def cuts(self, click: Click | Stroke, image_size: tuple[int, int]) -> bool:
        """Whether a stroke may lie partly in it and partly beyond: the box around it does."""
        if isinstance(click, Click) or self.holds(click, image_size):
            return False
        x, y = ([point[axis] for point in click.points] for axis in (0, 1))
        return min(x) < self.right and max(x) >= self.left and min(y) < self.bottom and max(y) >= self.top

    def move(self, prompt: Prompt) -> Prompt:
        """The prompt in pixels of the window. Its clicks lie in it; of its box and its mask the parts that do count."""
        box, start = prompt.box, prompt.start
        if box is not None:
            columns = np.clip((box.left, box.right), self.left, self.right) - self.left
            rows = np.clip((box.top, box.bottom), self.top, self.bottom) - self.top
            box = Box(*map(float, (columns[0], rows[0], columns[1], rows[1])))
        if start is not None:
            start = StartMask.of(start.pixels[self.top : self.bottom, self.left : self.right].copy())
        clicks, settled = (tuple(map(self._move, these)) for these in (prompt.clicks, prompt.settled))
        return Prompt(clicks, box, start, settled)

    def encloses(self, extent: Box, image_size: tuple[int, int]) -> bool:
        """Whether a box in pixels of the window ends inside of it, or where the image of ``(H, W)`` ends too."""
        return (
            (extent.left > 0 or self.left == 0)
            and (extent.top > 0 or self.top == 0)
            and (extent.right < self.right - self.left or self.right == image_size[1])
            and (extent.bottom < self.bottom - self.top or self.bottom == image_size[0])
        )

    def _move(self, click: Click | Stroke) -> Click | Stroke:
        moved = tuple((x - self.left, y - self.top) for x, y in list_points(click))
        return Click(*moved[0], click.positive) if isinstance(click, Click) else Stroke(moved, click.positive)


def join_extents(extent: Box, clicks: Sequence[Click | Stroke]) -> Box:
    """The box around a box and all points of some clicks."""
    points = [point for click in clicks for point in list_points(click)]
    x, y = ([point[axis] for point in points] for axis in (0, 1))
    return Box(min([extent.left, *x]), min([extent.top, *y]), max([extent.right, *x]), max([extent.bottom, *y]))


def frame_object(extent: Box, image_size: tuple[int, int], method: MethodConfig) -> Window | None:
    """The window to look at an object in.

    Args:
        extent: the box around it, in pixels of the image.
        image_size: ``(H, W)``.
        method: ``zoom_factor``, ``zoom_largest`` and ``zoom_smallest``.

    Returns:
        None where the object is so large that the whole image shows it as well, or that the window would not hold it.
    """
    longer = max(image_size)
    object_side = max(extent.right - extent.left, extent.bottom - extent.top)
    side = max(method.zoom_factor * object_side, method.zoom_smallest * longer, _LEAST_SIDE_PIXELS)
    if side > method.zoom_largest * longer * _ROUNDING:
        return None
    # Sides are the image's over powers of the root of two.
    side = longer * 2 ** (math.ceil(2 * math.log2(side / longer / _ROUNDING)) / 2)
    if object_side > _OBJECT_SHARE * side:
        return None
    left, right = _place((extent.left + extent.right) / 2, side, image_size[1])
    top, bottom = _place((extent.top + extent.bottom) / 2, side, image_size[0])
    return Window(left, top, right, bottom)


def frame_point(point: tuple[float, float], image_size: tuple[int, int], method: MethodConfig) -> Window | None:
    """The largest window that is looked at again, around a point (x, y); None where there is none."""
    reach = method.zoom_largest * max(image_size) / method.zoom_factor / 2
    x, y = point
    return frame_object(Box(x - reach, y - reach, x + reach, y + reach), image_size, method)


def _place(middle: float, side: float, length: int) -> tuple[int, int]:
    """Where a window of ``side`` pixels around ``middle`` starts and ends on an axis of ``length`` pixels."""
    side = min(side, length)
    step = side / _PLACES_A_SIDE
    start = min(max(round((middle - side / 2) / step) * step, 0.0), length - side)
    return round(start), round(start + side)
