"""Masks -> polygons, for tools and formats that know no masks.

A polygon has neither holes nor pieces. Each piece of the mask becomes a polygon of its own, and each hole is joined to
the outline around it by a bridge of no width, walked in both directions, so that rasterising the polygon leaves the
hole open. Pieces and holes smaller than SMALLEST_SHARE of the mask are left out; the largest piece always stays.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from backend.errors import InvalidRequest
from m2n2_engine.types import Mask

Polygon = npt.NDArray[np.float64]
"""Vertices (n, 2), n >= 3, in (x, y) pixels from the image's upper left corner, the last joined to the first."""

SMALLEST_SHARE = 0.002
"""Pieces and holes of less than this share of the mask's area are left out. No unit."""

_LATTICE_SCALE = 2
_FEWEST_VERTICES = 3
_BRIDGE_VERTICES = 2

_FINEST_PIXELS = 0.25
"""Where the search for a tolerance starts, at the least. Here: half the side of a pixel of the lattice."""

_TOLERANCE_STEP = 1.05
"""How near the search comes. Here: a twentieth more changes few vertices, and eight steps reach it."""

_FARTHEST_PERCENT = 1000.0
"""Of a point from the image's corner. Here: ten images away nobody draws, and numbers stay in 32 bits."""

_FIXED_BITS = 4
_FIXED_SCALE = 1 << _FIXED_BITS
"""OpenCV's points have so many bits behind the point."""

_PARENT = 3
"""Place of a contour's parent among its links; -1 there says that it has none."""


def trace_polygons(mask: Mask, tolerance_pixels: float, most_vertices: int = 0) -> list[Polygon]:
    """The outlines of the pieces of a bool (H, W) mask, largest first; none where it is empty.

    Args:
        mask: bool (H, W).
        tolerance_pixels: no outline is further than this from the mask's own, which follows the sides of its pixels.
        most_vertices: of all polygons together; 0: no limit. Where there are more, the tolerance grows to the least one
            that gives no more. Where none does, the smallest pieces and holes are left out, down to the largest piece.
    """
    if not mask.any():
        return []
    corner, lattice = _draw_on_lattice(mask)
    outlines = _find_outlines(lattice, SMALLEST_SHARE * np.count_nonzero(mask))
    if most_vertices:
        widest = float(np.hypot(*mask.shape))
        outlines = _leave_out(outlines, widest, most_vertices)
        tolerance_pixels = _find_tolerance(outlines, tolerance_pixels, widest, most_vertices)
    polygons = []
    for outline in outlines:
        if outline.piece is None:
            polygon = _simplify(outline.contour, tolerance_pixels)
            for hole in outlines:
                if hole.piece == outline.number:
                    polygon = _join_hole(polygon, _simplify(hole.contour, tolerance_pixels))
            polygons.append(polygon + corner)
    return polygons


@dataclasses.dataclass(frozen=True)
class _Outline:
    """Of a piece, or of a hole in the piece of that number. contour: (n, 1, 2) on the lattice."""

    number: int
    piece: int | None
    contour: npt.NDArray[np.int32]


def fill_polygon(points: Sequence[Sequence[float]], shape: tuple[int, int]) -> Mask:
    """The bool ``(H, W)`` mask of one polygon: the pixels that are in it or on its outline.

    points: ``(x, y)`` in percent of width and height, as Label Studio has them. Raises InvalidRequest where they are no
    three places.
    """
    try:
        percent = np.array(points, np.float64).reshape(len(points), 2)
    except (TypeError, ValueError):
        raise InvalidRequest("the points of a polygon are pairs of numbers, in percent") from None
    if len(percent) < _FEWEST_VERTICES or not (np.abs(percent) <= _FARTHEST_PERCENT).all():
        raise InvalidRequest("a polygon has at least three points, on its image or near it")
    height, width = shape
    # Sides lie between pixels, and their centres at halves.
    pixels = np.round((percent * (width / 100, height / 100) - 0.5) * _FIXED_SCALE).astype(np.int32)
    filled = np.zeros(shape, np.uint8)
    cv2.fillPoly(filled, [pixels], 1, shift=_FIXED_BITS)
    return filled.astype(np.bool_)


def _find_outlines(lattice: npt.NDArray[np.uint8], smallest_area: float) -> list[_Outline]:
    """The outlines of at least that area in pixels, by their areas, largest first; that of the largest piece is always
    there, and a hole comes after its piece."""
    # Two levels: outlines, and the holes in them.
    contours, hierarchy = cv2.findContours(lattice, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parents = hierarchy[0][:, _PARENT].tolist()
    areas = [cv2.contourArea(contour) / _LATTICE_SCALE**2 for contour in contours]
    largest = max((number for number, parent in enumerate(parents) if parent < 0), key=areas.__getitem__)
    large = {number for number, area in enumerate(areas) if area >= smallest_area} | {largest}
    chosen = [number for number in large if parents[number] < 0 or parents[number] in large]
    return [
        _Outline(number, None if parents[number] < 0 else parents[number], np.asarray(contours[number], np.int32))
        for number in sorted(chosen, key=lambda number: -areas[number])
    ]


def _leave_out(outlines: Sequence[_Outline], widest_pixels: float, most_vertices: int) -> list[_Outline]:
    """The largest ones of which no more vertices are needed than that, even at the widest tolerance."""
    kept, vertices = list(outlines[:1]), _count([outlines[0]], widest_pixels)
    numbers = {outlines[0].number}
    for outline in outlines[1:]:
        vertices += _count([outline], widest_pixels)
        if vertices > most_vertices:
            break
        if outline.piece is None or outline.piece in numbers:
            kept.append(outline)
            numbers.add(outline.number)
    return kept


def _find_tolerance(outlines: Sequence[_Outline], least: float, widest: float, most_vertices: int) -> float:
    """The least tolerance in pixels, to within a twentieth, at which they have no more vertices than that."""
    if _count(outlines, least) <= most_vertices:
        return least
    low, high = max(least, _FINEST_PIXELS), widest
    while high > low * _TOLERANCE_STEP:
        middle = math.sqrt(low * high)
        if _count(outlines, middle) > most_vertices:
            low = middle
        else:
            high = middle
    return high


def _count(outlines: Sequence[_Outline], tolerance_pixels: float) -> int:
    """Vertices of their polygons, with those of the bridges to holes."""
    return sum(
        len(_simplify(outline.contour, tolerance_pixels)) + (_BRIDGE_VERTICES if outline.piece is not None else 0)
        for outline in outlines
    )


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
    """Fewer vertices, from the lattice back to pixels. Where that would leave no area, the tolerance is halved until
    there is one."""
    tolerance = _LATTICE_SCALE * tolerance_pixels
    simple = cv2.approxPolyDP(contour, tolerance, closed=True)
    while len(simple) < _FEWEST_VERTICES:
        tolerance /= 2
        simple = cv2.approxPolyDP(contour, tolerance, closed=True)
    return np.asarray(simple[:, 0, :] / _LATTICE_SCALE, np.float64)


def _join_hole(outline: Polygon, hole: Polygon) -> Polygon:
    """One polygon around both, by a bridge between their nearest vertices."""
    squared = ((outline[:, None] - hole[None]) ** 2).sum(axis=2)
    start, end = np.unravel_index(int(squared.argmin()), squared.shape)
    return np.concatenate([outline[: start + 1], hole[end:], hole[: end + 1], outline[start:]])
