"""Strokes: the points that a path is sampled at, the pixels under it, and its one map.

A click is a stroke of one point: everything here gives for it what the click itself is.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from m2n2_engine.method.edge_map import EdgeMap, find_edges
from m2n2_engine.prompt import list_points
from m2n2_engine.types import Click, Stroke

_MOST_SAMPLES = 32
"""Points that a stroke is sampled at, at most: each takes a walk, and a path over 32 cells is a long one. Here."""


def sample_stroke(
    click: Click | Stroke, image_size: tuple[int, int], grid: tuple[int, int]
) -> list[tuple[float, float]]:
    """Points (x, y) along a path, evenly, at most one cell apart as far as ``_MOST_SAMPLES`` allow; both ends are among
    them.

    Args:
        click: in pixels of the image.
        image_size: ``(H, W)`` in pixels.
        grid: ``(h, w)`` cells.
    """
    points = np.array(list_points(click), float)
    cell = image_size[1] / grid[1], image_size[0] / grid[0]
    lengths = np.hypot(*(np.diff(points, axis=0) / cell).T)
    reached = np.append(0.0, lengths.cumsum())
    if reached[-1] == 0:
        return [(float(points[0, 0]), float(points[0, 1]))]
    count = min(math.ceil(reached[-1]) + 1, _MOST_SAMPLES)
    at = np.linspace(0, reached[-1], count)
    x, y = (np.interp(at, reached, axis) for axis in points.T)
    return list(zip(x.tolist(), y.tolist(), strict=True))


def find_path(click: Click | Stroke, image_size: tuple[int, int], size: tuple[int, int]) -> list[tuple[int, int]]:
    """The pixels (x, y) of an image of ``size`` (H, W) under a path, in its order and each once: a line one pixel wide
    of the full-size image, of ``image_size``, in whose pixels the path is."""
    points = np.array(list_points(click), float)
    steps = [_walk(start, end) for start, end in itertools.pairwise(points)]
    passed = np.concatenate([points[:1], *steps])
    scale = size[1] / image_size[1], size[0] / image_size[0]
    pixels = np.minimum((passed * scale).astype(int), (size[1] - 1, size[0] - 1))
    return list(dict.fromkeys(map(tuple, pixels.tolist())))


def join_maps(maps: Sequence[EdgeMap], path: Sequence[tuple[int, int]], edge_levels: int) -> EdgeMap:
    """The map of a stroke: the lowest of those of its samples at each pixel. path: the pixels (x, y) under it."""
    if len(maps) == 1:
        return dataclasses.replace(maps[0], path=tuple(path))
    values = np.minimum.reduce([each.values for each in maps])
    return dataclasses.replace(find_edges(values, maps[0].pixel, edge_levels), path=tuple(path))


def _walk(start: npt.NDArray[np.float64], end: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Points after ``start`` up to ``end``, at most one pixel apart along each axis."""
    count = max(math.ceil(float(np.abs(end - start).max())), 1)
    shares = np.arange(1, count + 1)[:, None] / count
    return np.asarray(start + (end - start) * shares)
