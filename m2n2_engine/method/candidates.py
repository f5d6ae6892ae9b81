"""The candidates of a vote: the nested regions of one map, and what is measured of each.

A map is cut at several thresholds, so each region holds the one before it. A pixel's rank is the first candidate that
holds it. Sums over all regions and all borders then take one pass over the image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from m2n2_engine.method.edge_map import EdgeMap
from m2n2_engine.method.shapes import CROSS, measure_depths
from m2n2_engine.types import Mask

Values = npt.NDArray[np.float64]
"""One number for each candidate, from the smallest region on."""


@dataclasses.dataclass(frozen=True)
class Candidates:
    """Nested regions of one map. ranks: (H, W) int16, the first candidate that holds each pixel; count where none does.
    count: of them. open: (H, W), the pixels that could be in any. areas: pixels of each, at least one. borders: pixels
    outside of each that touch it and could be in it too."""

    ranks: npt.NDArray[np.int16]
    count: int
    open: Mask
    areas: Values
    borders: Values

    def select(self, candidate: int) -> Mask:
        """The region ``(H, W)`` of one."""
        chosen: Mask = self.ranks <= candidate
        return chosen

    def sum_over(self, values: npt.NDArray[Any]) -> Values:
        """Sum of values ``(H, W)`` over each region."""
        return _accumulate(self.ranks[self.open], values[self.open], self.count)

    def mean_over(self, values: npt.NDArray[Any]) -> Values:
        """Mean of values ``(H, W)`` over each region."""
        return self.sum_over(values) / self.areas

    def mean_at_border(self, values: npt.NDArray[Any]) -> Values:
        """Mean of values ``(H, W)`` over each border; 0 where there is none."""
        first, is_border = _find_border(self.ranks, self.open)
        total = _accumulate(first[is_border], values[is_border], self.count)
        total -= _accumulate(self.ranks[is_border], values[is_border], self.count)
        return total / np.maximum(self.borders, 1)

    def find_extents(self) -> tuple[Values, Values, Values, Values]:
        """Left, top, right and bottom of each region's bounding box, right and bottom exclusive, in pixels."""
        columns, rows = ((self._first_in(axis), self._first_in(axis, backwards=True)) for axis in (0, 1))
        return columns[0], rows[0], columns[1], rows[1]

    def _first_in(self, axis: int, *, backwards: bool = False) -> Values:
        """The first column (axis 0: over rows) or row that holds a pixel of each region, or past the last one."""
        lowest = self.ranks.min(axis=axis)
        if backwards:
            lowest = lowest[::-1]
        # Candidates that a line holds are those from its lowest rank on.
        reached = np.minimum.accumulate(lowest)
        first = np.searchsorted(-reached, -np.arange(self.count), side="left").astype(float)
        return len(lowest) - first if backwards else first

    def measure_depths(self, pixels: Sequence[tuple[int, int]]) -> tuple[Values, Values]:
        """Of each region, how deep the deepest of ``pixels`` (x, y) lies in it, and the deepest place there, in
        pixels."""
        x, y = np.transpose(pixels)
        found = [measure_depths(self.select(candidate)) for candidate in range(self.count)]
        return np.array([depths[y, x].max() for depths in found], float), np.array([d.max() for d in found])


def cut_map(
    edge_map: EdgeMap,
    open_pixels: Mask,
    sizes: tuple[float, float],
    limit: float,
    count: int,
    within: Mask | None = None,
) -> Candidates:
    """The candidates of a map: their sizes grow by equal factors.

    Args:
        edge_map: of a click or a stroke.
        open_pixels: ``(H, W)``, all that may be in a region; a pixel that was clicked is.
        sizes: pixels of the smallest and of the largest region.
        limit: regions keep below this value of the map.
        count: at most so many.
        within: pixels that sizes are counted in; ``open_pixels`` unless given.
    """
    values = edge_map.values
    ordered = np.sort(values[open_pixels if within is None else within])
    most = min(max(int(sizes[1]), 1), len(ordered))
    least = min(max(int(sizes[0]), 1), most)
    thresholds = np.unique(ordered[np.geomspace(least, most, count).astype(int).clip(1, most) - 1])
    thresholds = thresholds[thresholds < limit]
    if not len(thresholds):
        x, y = np.transpose(edge_map.pixels)
        thresholds = values[y, x][open_pixels[y, x]].min()[None]
    ranks = np.searchsorted(thresholds, values, side="left").astype(np.int16)
    ranks[~open_pixels] = len(thresholds)
    first, is_border = _find_border(ranks, open_pixels)
    ones = np.ones(int(is_border.sum()))
    borders = _accumulate(first[is_border], ones, len(thresholds)) - _accumulate(
        ranks[is_border], ones, len(thresholds)
    )
    areas = _accumulate(ranks[open_pixels], np.ones(int(open_pixels.sum())), len(thresholds))
    return Candidates(ranks, len(thresholds), open_pixels, np.maximum(areas, 1), borders)


def measure_overlaps(some: Sequence[Candidates]) -> npt.NDArray[np.float64]:
    """IoU ``(n, n)`` of all candidates of several maps with each other, in the order of the maps. They have the same
    pixels open."""
    rows = []
    for one in some:
        row = []
        for other in some:
            pairs = one.ranks[one.open].astype(np.int64) * (other.count + 1) + other.ranks[one.open]
            counts = np.bincount(pairs, minlength=(one.count + 1) * (other.count + 1))
            shared = counts.reshape(one.count + 1, -1)[:-1, :-1].cumsum(axis=0).cumsum(axis=1)
            row.append(shared / (one.areas[:, None] + other.areas - shared))
        rows.append(np.concatenate(row, axis=1))
    return np.concatenate(rows)


def _find_border(ranks: npt.NDArray[np.int16], open_pixels: Mask) -> tuple[npt.NDArray[np.int16], Mask]:
    """From which candidate on each pixel touches a region, and the pixels that do so before they are in it."""
    first = cv2.erode(ranks, CROSS)
    return first, (first < ranks) & open_pixels


def _accumulate(ranks: npt.NDArray[np.int16], values: npt.NDArray[Any], count: int) -> Values:
    """Sum of the values of all ranks up to each candidate."""
    return np.asarray(np.bincount(ranks, values, count + 1)[:count].cumsum(), float)
