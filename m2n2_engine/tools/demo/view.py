"""What the window shows: the image with mask and clicks at the size of the screen, the status and the keys under it."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from m2n2_engine.tools.demo.state import HELP, State
from m2n2_engine.tools.drawing import draw_overlay
from m2n2_engine.tools.lettering import Colour, fill_lines, write_text
from m2n2_engine.types import Click, Image, Mask, Stroke

_LARGEST = (1280, 640)
"""Width and height that the image is fitted into: with the text it stays within a laptop's 1366 x 768."""

_SMALLEST_WIDTH = 480
_TEXT = 16
_LINE = 24
_MARGIN = 12
"""Pixels."""

_GAP = "     "
_STRIP: Colour = (24, 26, 30)
_STATUS: Colour = (255, 255, 255)
_KEYS: Colour = (178, 186, 196)


@dataclasses.dataclass(frozen=True, slots=True)
class Viewport:
    """An image of ``size`` is shown as ``shown``, both width and height in pixels."""

    size: tuple[int, int]
    shown: tuple[int, int]

    def find_point(self, column: int, row: int) -> tuple[float, float] | None:
        """The point of the full-size image that is the centre of a shown pixel; None beside the image."""
        if not (0 <= column < self.shown[0] and 0 <= row < self.shown[1]):
            return None
        return (column + 0.5) * self.size[0] / self.shown[0], (row + 0.5) * self.size[1] / self.shown[1]

    def place(self, click: Click | Stroke) -> Click | Stroke:
        """Where a click or a stroke on the full-size image is shown, in whole pixels."""
        if isinstance(click, Stroke):
            return Stroke(tuple(self._place(*point) for point in click.points), click.positive)
        return Click(*self._place(click.x, click.y), click.positive)

    def _place(self, x: float, y: float) -> tuple[int, int]:
        column = min(int(x * self.shown[0] / self.size[0]), self.shown[0] - 1)
        return column, min(int(y * self.shown[1] / self.size[1]), self.shown[1] - 1)


def fit(width: int, height: int) -> Viewport:
    """Reduce what is larger than the screen; show the pixels of small images as squares of several."""
    scale = min(_LARGEST[0] / width, _LARGEST[1] / height)
    if scale > 1:
        scale = int(scale)
    return Viewport((width, height), (max(1, round(width * scale)), max(1, round(height * scale))))


class View:
    """Draws the states of one image."""

    def __init__(self, image: Image) -> None:
        """image: RGB uint8 ``(H, W, 3)``."""
        self.viewport = fit(image.shape[1], image.shape[0])
        self._reduced = self._resize(image)
        self._width = max(self.viewport.shown[0], _SMALLEST_WIDTH)
        self._help = fill_lines(list(HELP), _GAP, _TEXT, self._width - 2 * _MARGIN)

    def draw(self, state: State) -> Image:
        """RGB uint8: the image at the top left, the text under it."""
        width, height = self.viewport.shown
        strip = _MARGIN + _LINE * (1 + len(self._help)) + _MARGIN
        picture = np.full((height + strip, self._width, 3), _STRIP, np.uint8)
        mask = np.zeros((height, width), bool) if state.segmentation is None else self._reduce(state.segmentation.mask)
        clicks = [*state.clicks, *([] if state.drawn is None else [state.drawn])]
        picture[:height, :width] = draw_overlay(self._reduced, mask, [self.viewport.place(click) for click in clicks])
        lines = [(state.status, _STATUS)] + [(line, _KEYS) for line in self._help]
        for number, (text, colour) in enumerate(lines, start=1):
            write_text(picture, text, _MARGIN, height + _MARGIN + number * _LINE - (_LINE - _TEXT), _TEXT, colour)
        return picture

    def _reduce(self, mask: Mask) -> Mask:
        return np.asarray(self._resize(mask.astype(np.uint8) * 255) >= 128)

    def _resize(self, picture: Image) -> Image:
        reduced = self.viewport.shown[0] < self.viewport.size[0]
        method = cv2.INTER_AREA if reduced else cv2.INTER_NEAREST
        return np.asarray(cv2.resize(picture, self.viewport.shown, interpolation=method), np.uint8)
