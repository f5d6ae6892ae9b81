"""Masks as the newer interactive protocol has them: a PNG in a ``data:`` URL."""

from __future__ import annotations

import base64

import cv2
import numpy as np

from m2n2_engine.types import Mask

_HEAD = "data:image/png;base64,"
_CHANNELS = 4


def encode(mask: Mask) -> str:
    """The ``data:`` URL of a bool ``(H, W)`` mask of at least one pixel: white and opaque where the mask is, black and
    transparent elsewhere. So it says the same whether its reader looks at the colour or at the transparency."""
    pixels = np.repeat((mask * np.uint8(255))[..., None], _CHANNELS, axis=2)
    _, file = cv2.imencode(".png", pixels)
    return _HEAD + base64.b64encode(file.tobytes()).decode("ascii")
