"""Masks -> polygons, for tools and formats that know no masks.

A polygon has neither holes nor pieces. Each piece of the mask becomes a polygon of its own, and each hole is joined to
the outline around it by a bridge of no width, walked in both directions, so that rasterising the polygon leaves the
hole open. Pieces and holes smaller than SMALLEST_SHARE of the mask are left out; the largest piece always stays.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from m2n2_engine.types import Mask

Polygon = npt.NDArray[np.float64]
"""Vertices (n, 2), n >= 3, in (x, y) pixels from the image's upper left corner, the last joined to the first."""

SMALLEST_SHARE = 0.002
"""Pieces and holes of less than this share of the mask's area are left out. No unit."""

_LATTICE_SCALE = 2
_FEWEST_VERTICES = 3

_PARENT = 3
"""Place of a contour's parent among its links; -1 there says that it has none."""


def trace_polygons(mask: Mask, tolerance_pixels: float) -> list[Polygon]:
    """The outlines of the pieces of a bool (H, W) mask, largest first; none where it is empty.

    tolerance_pixels: no outline is further than this from the mask's own, which follows the sides of its pixels.
    """
    if not mask.any():
        return []
    corner, lattice = _draw_on_lattice(mask)
    # Two levels: outlines, and the holes in them.
    contours, hierarchy = cv2.findContours(lattice, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parents = hierarchy[0][:, _PARENT]
    areas = np.array([cv2.contourArea(contour) for contour in contours]) / _LATTICE_SCALE**2
    large = areas >= SMALLEST_SHARE * np.count_nonzero(mask)
    largest = max(np.flatnonzero(parents < 0).tolist(), key=lambda piece: float(areas[piece]))
    large[largest] = True
    pieces = sorted(np.flatnonzero(large & (parents < 0)).tolist(), key=lambda piece: -float(areas[piece]))
    polygons = []
    for piece in pieces:
        polygon = _simplify(contours[piece], tolerance_pixels)
        for hole in np.flatnonzero(large & (parents == piece)).tolist():
            polygon = _join_hole(polygon, _simplify(contours[hole], tolerance_pixels))
        polygons.append(polygon + corner)
    return polygons


def _draw_on_lattice(mask: Mask) -> tuple[Polygon, npt.NDArray[np.uint8]]:
    """The mask's box at twice its size and one more, so that every corner of a pixel is an element of its own and a
    contour through elements follows the sides of pixels. Returns the box's corner (x, y) in pixels and the lattice."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = rows[0], columns[0]
    box = mask[top : rows[-1] + 1, left : columns[-1] + 1]
    lattice = np.zeros((_LATTICE_SCALE * box.shape[0] + 1, _LATTICE_SCALE * box.shape[1] + 1), np.uint8)
    lattice[1::_LATTICE_SCALE, 1::_LATTICE_SCALE] = box
    return np.array([left, top], np.float64), np.asarray(cv2.dilate(lattice, np.ones((3, 3), np.uint8)), np.uint8)


def _simplify(contour: npt.NDArray[np.int32], tolerance_pixels: float) -> Polygon:
    """Fewer vertices, from the lattice back to pixels; as exact as the contour where fewer would leave no area."""
    simple = cv2.approxPolyDP(contour, _LATTICE_SCALE * tolerance_pixels, closed=True)
    if len(simple) < _FEWEST_VERTICES:
        simple = cv2.approxPolyDP(contour, 0.0, closed=True)
    return np.asarray(simple[:, 0, :] / _LATTICE_SCALE, np.float64)


def _join_hole(outline: Polygon, hole: Polygon) -> Polygon:
    """One polygon around both, by a bridge between their nearest vertices."""
    squared = ((outline[:, None] - hole[None]) ** 2).sum(axis=2)
    start, end = np.unravel_index(int(squared.argmin()), squared.shape)
    return np.concatenate([outline[: start + 1], hole[end:], hole[: end + 1], outline[start:]])
