"""How likely each cell is an object's -> the objects: each a mask to start from and clicks."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from m2n2_engine.method.shapes import measure_depths
from m2n2_engine.types import Click, Map, Mask

_LEAST_CELLS = 4
"""An object has as many cells at least. Here."""


@dataclasses.dataclass(frozen=True)
class FoundObject:
    """A place like the examples' objects. start: bool ``(H, W)`` of the picture. clicks: that it obeys. chance: mean
    over it of how likely its cells are the object's, 0 to 1."""

    start: Mask
    clicks: tuple[Click, ...]
    chance: float


def find_objects(chance: Map, size: tuple[int, int]) -> list[FoundObject]:
    """Connected places of which each cell is rather the object's than not.

    Args:
        chance: of each cell ``(h, w)``, 0 to 1.
        size: ``(H, W)`` of the picture, in pixels.
    """
    smooth = cv2.resize(chance, size[::-1], interpolation=cv2.INTER_LINEAR)
    count, labels = cv2.connectedComponents((smooth > 0.5).astype(np.uint8), connectivity=4)
    least_pixels = _LEAST_CELLS * size[0] * size[1] / chance.size
    parts = (labels == number for number in range(1, count))
    return [_describe(part, smooth) for part in parts if part.sum() >= least_pixels]


def _describe(part: Mask, smooth: Map) -> FoundObject:
    depths = measure_depths(part)
    row, column = np.unravel_index(int(depths.argmax()), depths.shape)
    return FoundObject(part, (Click(int(column) + 0.5, int(row) + 0.5),), float(smooth[part].mean()))
