"""Masks as PNGs in ``data:`` URLs: white and opaque where the mask is, black and transparent elsewhere.

So a file says the same whether its reader looks at the colour or at alpha. Label Studio's BitmaskLabels (1.23.2) shows
alpha in the colour of the label, and writes black with alpha after a stroke of an annotator's. All four channels are
written, as by the page.
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


def encode(mask: Mask) -> str:
    """The ``data:`` URL of a bool ``(H, W)`` mask of at least one pixel."""
    pixels = np.repeat((mask * np.uint8(255))[..., None], _CHANNELS, axis=2)
    _, file = cv2.imencode(".png", pixels, _FAST_RUNS)
    return _HEAD + base64.b64encode(file.tobytes()).decode("ascii")
