"""Masks as PNGs in ``data:`` URLs, with the mask as alpha: opaque where it is, transparent elsewhere.

What Label Studio's BitmaskLabels saves (1.23.2) is black there: the page shows alpha in the colour of the label. All
four channels are written, as by the page, so that whoever reads an export finds one format. The newer interactive
protocol takes white, which says the same whether its reader looks at the colour or at alpha.
"""

from __future__ import annotations

import base64

import cv2
import numpy as np

from m2n2_engine.types import Mask

_HEAD = "data:image/png;base64,"
_CHANNELS = 4
_FAST_RUNS = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
"""Runs of one byte are all that there is to find."""


def encode(mask: Mask, *, is_white: bool = False) -> str:
    """The ``data:`` URL of a bool ``(H, W)`` mask of at least one pixel; black, or white where it is asked for."""
    alpha = mask * np.uint8(255)
    pixels = np.zeros((*mask.shape, _CHANNELS), np.uint8)
    pixels[..., slice(None) if is_white else slice(-1, None)] = alpha[..., None]
    _, file = cv2.imencode(".png", pixels, _FAST_RUNS)
    return _HEAD + base64.b64encode(file.tobytes()).decode("ascii")
