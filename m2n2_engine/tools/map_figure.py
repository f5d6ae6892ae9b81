"""A Markov-map beside its image, with a colour bar of steps."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from m2n2_engine.tools.drawing import draw_map
from m2n2_engine.tools.lettering import Colour, measure_width, write_text
from m2n2_engine.types import Image, Map

_PAPER: Colour = (255, 255, 255)
_INK: Colour = (30, 30, 30)
_MARK: Colour = (0, 230, 255)
"""No colour of the map."""

_SMALLEST_HEIGHT = 320
"""Pixels; the pixels of smaller images become squares of several, so that there is room for text."""

_TEXT_SHARE = 1 / 28
"""Height of the text, as a share of the image's."""

_TICKS = 5


@dataclasses.dataclass(frozen=True, slots=True)
class _Layout:
    """Sizes in pixels, from the height of the panels."""

    height: int

    @property
    def text(self) -> int:
        return max(16, round(self.height * _TEXT_SHARE))

    @property
    def margin(self) -> int:
        return self.text

    @property
    def caption(self) -> int:
        return 2 * self.text


def draw_map_figure(image: Image, values: Map, point: tuple[float, float]) -> Image:
    """The image with the point marked, the map with the same mark, and what its colours mean.

    image: RGB uint8 ``(H, W, 3)``. values: ``(H, W)`` in steps of the Markov chain. point: ``(x, y)`` pixels.
    """
    factor = -(-_SMALLEST_HEIGHT // image.shape[0]) if image.shape[0] < _SMALLEST_HEIGHT else 1
    layout = _Layout(image.shape[0] * factor)
    x, y = point
    panels = [
        (_enlarge(image, factor), "start of the walk"),
        (_enlarge(draw_map(values), factor), "steps of the Markov chain from there"),
    ]
    columns = []
    for panel, caption in panels:
        _mark(panel, (x * factor, y * factor), layout.text)
        columns.append(_caption(panel, caption, layout))
    bar = _draw_bar(float(values.max()), layout)
    return _join([*columns, bar], layout)


def _enlarge(picture: Image, factor: int) -> Image:
    return np.ascontiguousarray(picture.repeat(factor, axis=0).repeat(factor, axis=1))


def _mark(panel: Image, point: tuple[float, float], size: int) -> None:
    """A ring with a dark edge, which leaves the point itself visible."""
    centre = (int(point[0]), int(point[1]))
    for colour, width in ((_INK, max(4, size // 4)), (_MARK, max(2, size // 8))):
        cv2.circle(panel, centre, size // 2, colour, width, cv2.LINE_AA)


def _caption(panel: Image, text: str, layout: _Layout) -> Image:
    width = max(panel.shape[1], measure_width(text, layout.text))
    column = np.full((layout.height + layout.caption, width, 3), _PAPER, np.uint8)
    column[layout.caption :, : panel.shape[1]] = panel
    write_text(column, text, 0, layout.caption - layout.text * 2 // 3, layout.text, _INK)
    return column


def _draw_bar(largest: float, layout: _Layout) -> Image:
    """From 0 at the bottom to the largest number of steps at the top."""
    labels = [f"{largest * tick / (_TICKS - 1):.3g}" for tick in range(_TICKS)]
    width, gap = layout.text, layout.text // 2
    room = max(measure_width(label, layout.text) for label in labels)
    bar = np.full((layout.height + layout.caption, width + gap + room, 3), _PAPER, np.uint8)
    ramp = np.linspace(1, 0, layout.height, dtype=np.float32)[:, None].repeat(width, axis=1)
    bar[layout.caption :, :width] = draw_map(ramp)
    for tick, label in enumerate(labels):
        row = layout.caption + round((layout.height - 1) * (1 - tick / (_TICKS - 1)))
        cv2.line(bar, (width, row), (width + gap // 2, row), _INK, max(1, layout.text // 12))
        baseline = min(row + layout.text // 3, bar.shape[0] - 1)
        write_text(bar, label, width + gap, baseline, layout.text, _INK)
    return bar


def _join(columns: list[Image], layout: _Layout) -> Image:
    """Side by side, with margins around each."""
    between = np.full((columns[0].shape[0], layout.margin, 3), _PAPER, np.uint8)
    row = [between]
    for column in columns:
        row += [column, between]
    joined = np.concatenate(row, axis=1)
    return np.pad(joined, ((0, layout.margin), (0, 0), (0, 0)), constant_values=_PAPER[0])
