"""Masks as Label Studio's BitmaskLabels saves them: a PNG in a ``data:`` URL, black where the mask is and transparent
where it is not.

The page (1.23.2) shows the fourth channel, alpha, in the colour of the label, and saves the first three as black. All
four are written, 8 bits each, as by the page: what an annotator accepts is saved as it was answered, and whoever reads
an export finds one format.
"""

from __future__ import annotations

import base64

import cv2
import numpy as np

from m2n2_engine.types import Mask

_HEAD = "data:image/png;base64,"
_CHANNELS = 4


def encode(mask: Mask) -> str:
    """The ``data:`` URL of a bool ``(H, W)`` mask of at least one pixel."""
    pixels = np.zeros((*mask.shape, _CHANNELS), np.uint8)
    pixels[..., -1] = mask * np.uint8(255)
    _, file = cv2.imencode(".png", pixels)
    return _HEAD + base64.b64encode(file.tobytes()).decode("ascii")
