"""Image -> network input: the one way of resizing that all backbones share."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from m2n2_engine.types import Image, Map


def resize(image: Image, height: int, width: int) -> Map:
    """uint8 ``(H, W, 3)`` -> float32 ``(height, width, 3)`` in 0..255, rounded to integers.

    Area averaging on uint8, also when enlarging, as in the paper's code: other ways give visibly other attention.
    """
    resized: Image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return resized.astype(np.float32)


def to_batch(pixels: Map) -> torch.Tensor:
    """``(h, w, 3)`` -> ``(1, 3, h, w)``."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]
