"""The same first click or box, moved by two pixels: the mask should stay what it is."""

from __future__ import annotations

import dataclasses

from m2n2_engine.tools.evaluate.simulation.boxes import clip_box
from m2n2_engine.types import Box, Click, Mask

_STEP_PIXELS = 2.0
"""Nobody aims better than that. Here."""

_MOVES = ((_STEP_PIXELS, 0.0), (-_STEP_PIXELS, 0.0), (0.0, _STEP_PIXELS), (0.0, -_STEP_PIXELS))


def move_click(click: Click, pixels: Mask) -> list[Click]:
    """A click moved right, left, down and up, as far as the image goes; those that leave the object or do not move are
    left out. pixels: bool (H, W), the object."""
    height, width = pixels.shape
    moved = []
    for across, down in _MOVES:
        x, y = min(max(click.x + across, 0.0), width - 1.0), min(max(click.y + down, 0.0), height - 1.0)
        if (x, y) != (click.x, click.y) and pixels[int(y), int(x)]:
            moved.append(dataclasses.replace(click, x=x, y=y))
    return moved


def move_box(box: Box, width: int, height: int) -> list[Box]:
    """A box with all its sides moved right, left, down and up, cut at the border of the image; those that do not change
    or have no area left are left out."""
    moved = [
        clip_box(Box(box.left + across, box.top + down, box.right + across, box.bottom + down), width, height)
        for across, down in _MOVES
    ]
    return [each for each in moved if each != box and each.left < each.right and each.top < each.bottom]
