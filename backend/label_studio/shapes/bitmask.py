"""Masks as PNGs in ``data:`` URLs: white and opaque where the mask is, black and transparent elsewhere.

So a file says the same whether its reader looks at the colour or at alpha. Label Studio's BitmaskLabels (1.23.2) shows
alpha in the colour of the label, and writes black with alpha after a stroke of an annotator's. All four channels are
written, as by the page.
"""

from __future__ import annotations

import base64
import binascii

import cv2
import numpy as np

from backend.errors import InvalidRequest
from m2n2_engine.types import Mask

_HEAD = "data:image/png;base64,"
_CHANNELS = 4
_SIZE_BYTES = slice(16, 24)
"""Where a PNG has its width and height, 32 bits each."""

_FAST_RUNS = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
"""Runs of one byte are all that there is to find."""


def encode(mask: Mask) -> str:
    """The ``data:`` URL of a bool ``(H, W)`` mask of at least one pixel."""
    pixels = np.repeat((mask * np.uint8(255))[..., None], _CHANNELS, axis=2)
    _, file = cv2.imencode(".png", pixels, _FAST_RUNS)
    return _HEAD + base64.b64encode(file.tobytes()).decode("ascii")


def decode(url: str, shape: tuple[int, int]) -> Mask:
    """The bool ``(H, W)`` mask of such a URL, also of one that the page wrote: True where alpha is not 0.

    Raises InvalidRequest where it is no PNG of this shape with alpha. A PNG of another size is not decoded.
    """
    try:
        file = base64.b64decode(url.removeprefix(_HEAD), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("a bitmask is a PNG in a data: URL in base64") from None
    height, width = shape
    if file[_SIZE_BYTES] != width.to_bytes(4) + height.to_bytes(4):
        raise InvalidRequest(f"the bitmask has not the {width} x {height} pixels of its image")
    pixels = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.shape != (*shape, _CHANNELS):
        raise InvalidRequest("the bitmask is damaged, or has no alpha")
    return np.asarray(pixels[..., -1] > 0)
