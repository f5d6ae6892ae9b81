"""What the cells say -> places in a picture that may be objects, and what to click there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np

from m2n2_engine.method.shapes import measure_depths
from m2n2_engine.types import Click, Map, Mask

_LEAST_CELLS = 3
"""A place has as many cells at least: fewer match by chance. Here."""

_ELSEWHERE = -3.0
"""Level of other places, while one is decided: they are no part of its object. Here: as low as background is."""

_CLICKS = 3
"""Positive clicks on a place, and negative ones around it, at most. Here: what one more shows is in the first ones."""

_LEAST_STRENGTH = 0.25
"""A further positive click is placed where the level and the depth are at least this share of the first one's. Here."""

_APART, _AROUND = 0.45, 0.6
"""Positive and negative clicks keep this distance from each other, in square roots of the place's area. Here."""

_NEAREST, _FARTHEST = 0.12, 0.8
"""Distance of negative clicks from the place, in the same unit. Here."""

_SURELY_OUTSIDE = -0.75
"""Level below which a negative click may be. Here."""

_DEEPEST = 0.6
"""Depth counts up to this share of the deepest place's: a click needs no more room than that. Here."""


@dataclasses.dataclass(frozen=True)
class Place:
    """A part of a picture that is like the examples' objects, at working size.

    mask: bool ``(H, W)``, connected. level: float32 ``(H, W)``, as of ``Match``; above 0 in this place alone.
    """

    mask: Mask
    level: Map

    @property
    def chance(self) -> Map:
        """How likely each pixel is this object's, ``(H, W)``, 0 to 1: the logistic function of the level. Here: on
        DAVIS67 a slope of 1 chose better masks than 0.3 to 1.3."""
        return np.asarray(1 / (1 + np.exp(-self.level)), np.float32)


def find_places(level: Map, size: tuple[int, int], most: int) -> list[Place]:
    """Connected places above 0, those with the largest sum of levels first.

    Args:
        level: of each cell ``(h, w)``.
        size: ``(H, W)`` that they are wanted at, in pixels.
        most: how many.
    """
    smooth = np.asarray(cv2.resize(level, size[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
    above = smooth > 0
    count, labels = cv2.connectedComponents(above.astype(np.uint8), connectivity=8)
    pixels = np.bincount(labels.ravel(), minlength=count)
    sums = np.bincount(labels.ravel(), np.maximum(smooth, 0).ravel(), minlength=count)
    sums[0] = 0
    sums[pixels < _LEAST_CELLS * smooth.size / level.size] = 0
    order = np.argsort(-sums, kind="stable")[:most]
    parts = (labels == number for number in order if sums[number] > 0)
    return [Place(part, np.where(above & ~part, np.float32(_ELSEWHERE), smooth)) for part in parts]


def click_on(place: Place) -> list[tuple[int, int]]:
    """Pixels ``(x, y)`` where the object is: deep in the place and at high levels, the best first."""
    depths = measure_depths(place.mask)
    strength = np.maximum(place.level, 0) * np.minimum(depths, _DEEPEST * depths.max()) * place.mask
    return _pick(strength, _APART * _side(place), lambda value, first: value > _LEAST_STRENGTH * first)


def click_around(place: Place) -> list[tuple[int, int]]:
    """Pixels ``(x, y)`` near the place that surely are none of it; none where there is no room."""
    side = _side(place)
    distance = cv2.distanceTransform((~place.mask).astype(np.uint8), cv2.DIST_L2, 3)
    ring = (place.level < _SURELY_OUTSIDE) & (distance > _NEAREST * side) & (distance < _FARTHEST * side)
    strength = np.minimum(measure_depths(ring), side) * np.maximum(-place.level, 0) * ring
    return _pick(strength, _AROUND * side, lambda value, first: value > 0)


def place_clicks(
    pixels: list[tuple[int, int]], positive: bool, working: tuple[int, int], size: tuple[int, int]
) -> list[Click]:
    """Clicks on the middles of pixels ``(x, y)`` of a picture at working size ``(h, w)``, in pixels of its full size
    ``(H, W)``."""
    down, across = size[0] / working[0], size[1] / working[1]
    return [Click((x + 0.5) * across, (y + 0.5) * down, positive) for x, y in pixels]


def _pick(strength: Map, apart: float, is_enough: Callable[[float, float], bool]) -> list[tuple[int, int]]:
    """The strongest pixels ``(x, y)``, each at least so far from those before it."""
    y, x = np.indices(strength.shape)
    first, found, strength = float(strength.max()), [], strength.copy()
    for _ in range(_CLICKS):
        row, column = (int(at) for at in np.unravel_index(int(strength.argmax()), strength.shape))
        if not is_enough(float(strength[row, column]), first):
            break
        found.append((column, row))
        strength[(x - column) ** 2 + (y - row) ** 2 <= apart**2] = 0
    return found


def _side(place: Place) -> float:
    return float(np.sqrt(place.mask.sum()))
