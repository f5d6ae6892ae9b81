"""The box that a simulated annotator draws around an object."""

from __future__ import annotations

import math

import numpy as np

from m2n2_engine.tools.evaluate.options import BoxKind
from m2n2_engine.types import Box, Mask

LOOSE_MARGIN = 0.1
"""How far a loose box lies outside a tight one on each side, as a share of its width or height. Here."""


def draw_box(kind: BoxKind, pixels: Mask) -> Box:
    """The box around an object. pixels: bool (H, W), at least one True. A box ends behind the last pixel, and at the
    border of the image."""
    height, width = pixels.shape
    columns, rows = np.flatnonzero(pixels.any(axis=0)), np.flatnonzero(pixels.any(axis=1))
    box = Box(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
    if kind is BoxKind.TIGHT:
        return box
    across, down = (box.right - box.left) * LOOSE_MARGIN, (box.bottom - box.top) * LOOSE_MARGIN
    return clip_box(Box(box.left - across, box.top - down, box.right + across, box.bottom + down), width, height)


def clip_box(box: Box, width: int, height: int) -> Box:
    """The part of a box that lies in an image of this size, in pixels."""
    left, right = (min(max(x, 0.0), float(width)) for x in (box.left, box.right))
    top, bottom = (min(max(y, 0.0), float(height)) for y in (box.top, box.bottom))
    return Box(left, top, right, bottom)


def fill_box(box: Box, shape: tuple[int, int]) -> Mask:
    """bool (H, W) of this shape: the pixels that a box in the image touches, as the engine has it."""
    filled = np.zeros(shape, bool)
    filled[math.floor(box.top) : math.ceil(box.bottom), math.floor(box.left) : math.ceil(box.right)] = True
    return filled
