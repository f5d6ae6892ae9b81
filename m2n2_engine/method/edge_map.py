"""A map of an image and its edges."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from m2n2_engine.types import Map


@dataclasses.dataclass(frozen=True)
class EdgeMap:
    """A click's map and its edges.

    values: (H, W) float32, 0 at the click to 1. pixel: (x, y) of the click. levels: (H, W) int32, Sobel magnitude of
    the map, 0 to ``edge_levels``. path: (x, y) of all pixels under a stroke; none for a click. around: maps of places
    around a click, which vote with it.
    """

    values: Map
    pixel: tuple[int, int]
    levels: npt.NDArray[np.int32]
    path: tuple[tuple[int, int], ...] = ()
    around: tuple[EdgeMap, ...] = ()

    @property
    def pixels(self) -> tuple[tuple[int, int], ...]:
        """(x, y) of all that was clicked."""
        return self.path or (self.pixel,)

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return self.values.nbytes + self.levels.nbytes


def find_edges(values: Map, pixel: tuple[int, int], edge_levels: int) -> EdgeMap:
    """A map ``(H, W)`` float32, 0..1, with its edges.

    Args:
        pixel: ``(x, y)`` of the click.
        edge_levels: level of the map's strongest edge.
    """
    magnitude = measure_sobel(values)
    largest = magnitude.max()
    scaled = magnitude * (edge_levels / largest) if largest > 0 else magnitude
    return EdgeMap(values, pixel, np.asarray(scaled, np.int32))


def join_maps(maps: Sequence[EdgeMap], path: Sequence[tuple[int, int]], edge_levels: int) -> EdgeMap:
    """The map of a stroke: the lowest of those of its samples at each pixel. path: the pixels (x, y) under it."""
    if len(maps) == 1:
        return dataclasses.replace(maps[0], path=tuple(path))
    values = np.minimum.reduce([each.values for each in maps])
    return dataclasses.replace(find_edges(values, maps[0].pixel, edge_levels), path=tuple(path))


def measure_sobel(values: Map) -> Map:
    """Sobel magnitude ``(H, W)`` of float32 ``(H, W)`` or, summed over the channels' squares, ``(H, W, C)``."""
    across, down = (
        cv2.Sobel(values, cv2.CV_32F, dx, 1 - dx, ksize=3, borderType=cv2.BORDER_REFLECT_101) for dx in (1, 0)
    )
    squared = across * across + down * down
    return np.asarray(np.sqrt(squared if values.ndim == 2 else squared.sum(axis=2)))
