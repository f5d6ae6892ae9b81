"""Text in pictures, in the sans-serif font that OpenCV brings."""

from __future__ import annotations

import functools
from typing import Any

import cv2
import numpy as np

from m2n2_engine.types import Image

Colour = tuple[int, int, int]
"""RGB, each 0 to 255."""

_REGULAR = 400
"""Weight of the strokes."""


def measure_width(text: str, size: int) -> int:
    """Pixels from a text's start to where the next letter would go. size: height of the font in pixels."""
    nowhere = np.empty((1, 1, 3), np.uint8)
    (end, _), _ = cv2.putText(nowhere, text, (0, 0), (0, 0, 0), _font(), size, _REGULAR, wrap=(0, 1 << 20))
    return int(end)


def write_text(picture: Image, text: str, left: int, baseline: int, size: int, colour: Colour) -> None:
    """Write one line into a picture; what does not fit is cut off. Positions and size in pixels."""
    cv2.putText(picture, text, (left, baseline), colour, _font(), size, _REGULAR, wrap=(left, 1 << 20))


def fill_lines(items: list[str], gap: str, size: int, width: int) -> list[str]:
    """Join items to lines of at most ``width`` pixels; an item that is longer has a line of its own."""
    lines = items[:1]
    for item in items[1:]:
        joined = f"{lines[-1]}{gap}{item}"
        if measure_width(joined, size) <= width:
            lines[-1] = joined
        else:
            lines.append(item)
    return lines


@functools.cache
def _font() -> Any:
    return cv2.FontFace("sans")
