"""How well the border of a mask follows that of the object."""

from __future__ import annotations

import cv2
import numpy as np

from m2n2_engine.tools.evaluate.truth import Truth
from m2n2_engine.types import Mask

TOLERANCE_PIXELS = 2.0
"""Borders this near to each other agree. Here: the width of a line that people draw."""

_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


def measure_boundary_f(mask: Mask, truth: Truth) -> float:
    """F-measure of the borders, 0 to 1: the harmonic mean of precision and recall.

    Precision is the share of the mask's border pixels that have one of the object's within ``TOLERANCE_PIXELS``, recall
    the same the other way round. 1 where neither has a border, 0 where only one has. Pixels that do not count are
    outside of both. mask: bool (H, W).
    """
    found, wanted = find_border(mask & truth.known), find_border(truth.pixels)
    if not found.any() or not wanted.any():
        return float(found.any() == wanted.any())
    precision, recall = _share_near(found, wanted), _share_near(wanted, found)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def find_border(mask: Mask) -> Mask:
    """The pixels of a bool (H, W) mask with one outside of it among their four neighbours. The border of the image is
    none."""
    eroded = cv2.erode(mask.astype(np.uint8), _CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    return np.asarray(mask & (eroded == 0), bool)


def _share_near(border: Mask, other: Mask) -> float:
    distance = cv2.distanceTransform((~other).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # The distances are float32: 2 may come out a little larger.
    return float((distance[border] <= TOLERANCE_PIXELS + 1e-3).mean())
