"""Pictures of masks and Markov-maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from m2n2_engine.errors import ConfigurationError
from m2n2_engine.types import Box, Click, Image, Map, Mask, Stroke

_MASK_COLOUR = (30, 144, 255)
_OUTLINE_COLOUR = (255, 255, 255)
_POSITIVE_COLOUR = (0, 200, 0)
_NEGATIVE_COLOUR = (220, 0, 0)
"""RGB."""

_MASK_OPACITY = 0.45
_DOT_SHARE = 1 / 90
"""Radius of a click's dot, as a share of the image's longer side."""

_SMALLEST_SIGN = 6
"""Smallest radius of a dot, in pixels, that a plus or minus can be read in."""


def draw_overlay(image: Image, mask: Mask, clicks: Sequence[Click | Stroke], box: Box | None = None) -> Image:
    """The image with the mask tinted and outlined, the box in green, and a dot on every click: positive a green plus,
    negative a red minus. Strokes are lines of these colours, with the dot at their beginning."""
    drawn = image.copy()
    tint = np.array(_MASK_COLOUR) * _MASK_OPACITY
    drawn[mask] = (drawn[mask] * (1 - _MASK_OPACITY) + tint).astype(np.uint8)
    radius = max(3, round(max(image.shape[:2]) * _DOT_SHARE))
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, contours, -1, _OUTLINE_COLOUR, max(1, radius // 4), cv2.LINE_AA)
    if box is not None:
        corners = (round(box.left), round(box.top)), (round(box.right) - 1, round(box.bottom) - 1)
        cv2.rectangle(drawn, *corners, _POSITIVE_COLOUR, max(1, radius // 4))
    for click in clicks:
        if isinstance(click, Stroke):
            _draw_path(drawn, click, radius)
        first = click if isinstance(click, Click) else Click(*click.points[0], click.positive)
        _draw_click(drawn, first, radius)
    return drawn


def _draw_path(picture: Image, stroke: Stroke, radius: int) -> None:
    points = np.array(stroke.points).astype(np.int32).reshape(-1, 1, 2)
    for colour, share in ((_OUTLINE_COLOUR, 1.0), (_sign_colour(stroke.positive), 0.5)):
        cv2.polylines(picture, [points], isClosed=False, color=colour, thickness=max(1, round(radius * share)))


def _sign_colour(positive: bool) -> tuple[int, int, int]:
    return _POSITIVE_COLOUR if positive else _NEGATIVE_COLOUR


def _draw_click(picture: Image, click: Click, radius: int) -> None:
    x, y = round(click.x), round(click.y)
    colour = _sign_colour(click.positive)
    cv2.circle(picture, (x, y), radius, _OUTLINE_COLOUR, -1, cv2.LINE_AA)
    cv2.circle(picture, (x, y), round(radius * 0.75), colour, -1, cv2.LINE_AA)
    if radius >= _SMALLEST_SIGN:
        # Green and red are one colour to many.
        arm, width = round(radius * 0.45), max(1, round(radius * 0.25))
        cv2.line(picture, (x - arm, y), (x + arm, y), _OUTLINE_COLOUR, width)
        if click.positive:
            cv2.line(picture, (x, y - arm), (x, y + arm), _OUTLINE_COLOUR, width)


def draw_map(values: Map) -> Image:
    """A map ``(H, W)`` as colours ``(H, W, 3)``: dark near the click, bright far from it."""
    largest = values.max()
    grey = (values * (255 / largest if largest > 0 else 0)).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO)[:, :, ::-1], np.uint8)


def write_picture(path: Path, picture: npt.NDArray[np.uint8]) -> None:
    """Write RGB ``(H, W, 3)``, RGBA ``(H, W, 4)`` or grey ``(H, W)`` by the file name's ending. Raises
    ConfigurationError where it cannot be."""
    if picture.ndim == 3:
        channels = [2, 1, 0, 3][: picture.shape[2]]
        picture = np.ascontiguousarray(picture[:, :, channels])
    try:
        encoded, data = cv2.imencode(path.suffix or ".png", picture)
    except cv2.error:
        encoded = False
    if not encoded:
        raise ConfigurationError(f"{path}: no picture can be written as {path.suffix!r}: use .png")
    try:
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None
