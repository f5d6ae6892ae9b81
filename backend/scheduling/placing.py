"""Clicks and boxes as a platform gives them -> where they lie in a picture, by one rule for all platforms.

A hand slips over the edge of an image. What is a little outside is meant at the edge. A negative click far outside says
nothing about the image. Only a positive click far outside is a mistake that must be told.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from m2n2_engine.errors import InvalidClicks
from m2n2_engine.types import Box, Click

_NEAR_SHARE = 0.01
"""Of the image's side, outside of it. Here: five times the slip that was seen, 0.2 %."""

_NEAR_PIXELS = 8.0
"""The same in small images. Here: less than the dot of a click on most screens."""

logger = logging.getLogger(__name__)


def place_clicks(clicks: Sequence[Click], size: tuple[int, int]) -> list[Click]:
    """The clicks in an image of ``(H, W)`` pixels, in their order: those a little outside moved to its edge, negative
    ones far outside left out. Raises InvalidClicks for a positive click far outside."""
    placed = []
    for click in clicks:
        if _is_near(click, size):
            height, width = size
            placed.append(Click(_clamp(click.x, width), _clamp(click.y, height), click.positive))
        elif click.positive:
            raise InvalidClicks(f"the click {_describe(click, size)}: click on the image itself")
        else:
            logger.info("the negative click %s: it is left out", _describe(click, size))
    return placed


def place_box(xs: tuple[float, float], ys: tuple[float, float], size: tuple[int, int]) -> Box:
    """The box between two corners, in any order, in an image of ``(H, W)`` pixels; what sticks out is cut off."""
    height, width = size
    left, right = (_clamp(x, width) for x in sorted(xs))
    top, bottom = (_clamp(y, height) for y in sorted(ys))
    return Box(left, top, right, bottom)


def snap_box(box: Box, size: tuple[int, int]) -> Box:
    """The box with its sides between pixels of an image of ``(H, W)``, so that a pixel is in it where most of it is; a
    box with an area keeps at least one pixel. For platforms whose places are no pixels."""
    height, width = size
    left, right = _snap(box.left, box.right, width)
    top, bottom = _snap(box.top, box.bottom, height)
    return Box(left, top, right, bottom)


def extend_box(box: Box, clicks: Sequence[Click], size: tuple[int, int]) -> Box:
    """The box, and the pixels of the positive clicks beside it: whoever sets one there says that the object goes on.
    clicks: in an image of ``(H, W)`` pixels."""
    height, width = size
    for click in clicks:
        if click.positive:
            left, top = math.floor(click.x), math.floor(click.y)
            right, bottom = min(left + 1, width), min(top + 1, height)
            box = Box(min(box.left, left), min(box.top, top), max(box.right, right), max(box.bottom, bottom))
    return box


def _is_near(click: Click, size: tuple[int, int]) -> bool:
    margins = [max(_NEAR_PIXELS, _NEAR_SHARE * side) for side in size]
    return -margins[1] <= click.x <= size[1] + margins[1] and -margins[0] <= click.y <= size[0] + margins[0]


def _snap(start: float, end: float, side: int) -> tuple[float, float]:
    low, high = round(start), round(end)
    if low == high and start < end:
        low = min(math.floor((start + end) / 2), side - 1)
        high = low + 1
    return float(low), float(high)


def _clamp(value: float, side: int) -> float:
    return min(max(value, 0.0), float(side))


def _describe(click: Click, size: tuple[int, int]) -> str:
    height, width = size
    percent = f"{100 * click.x / width:.1f} % of its width, {100 * click.y / height:.1f} % of its height"
    return f"({click.x:.6g}, {click.y:.6g}) lies outside of the image of {width} x {height} pixels ({percent})"
