"""A box around an object -> clicks: positive seeds inside it, negative clicks around it.

What lies around a tight box is background. A random walk that sets out there reaches the background inside the box
soon and the object late, so the seeds are taken among the cells that are reached last.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from m2n2_engine.config import MethodConfig
from m2n2_engine.types import Box, Click, Map, Mask

Walk = Callable[[Map], Map]
"""Start states ``(k, h, w)`` -> the step at which each cell is reached, ``(k, h, w)``."""

_Places = npt.NDArray[np.floating]


def find_seeds(
    box: Box, image_size: tuple[int, int], grid: tuple[int, int], walk: Walk, method: MethodConfig
) -> list[Click]:
    """Positive clicks in a box, at most ``method.box_seeds``; its centre alone where no cell lies within or around it.

    The walk starts from all cells within ``method.box_ring_cells`` around the box at once. Of the cells inside, the
    share ``method.box_seed_share`` that it reaches last are candidates: the very last is the first seed, and each next
    one is the candidate farthest from the seeds so far, in units of the box's sides.

    Args:
        box: in pixels of the image.
        image_size: ``(H, W)`` in pixels.
        grid: ``(h, w)`` cells.
        walk: of the image's Markov chain.
        method: the constants of boxes.
    """
    inside, ring = _split_cells(box, image_size, grid, method.box_ring_cells)
    if not inside.any() or not ring.any():
        return [Click((box.left + box.right) / 2, (box.top + box.bottom) / 2)]
    arrival = walk(ring[None].astype(np.float32))[0]
    x, y = (places[inside] for places in _cell_places(image_size, grid))
    last_first = np.argsort(-arrival[inside], kind="stable")
    candidates = last_first[: max(1, int(len(last_first) * method.box_seed_share))]
    places = np.stack([x, y], axis=1)[candidates]
    chosen = _spread(places / (box.right - box.left, box.bottom - box.top), method.box_seeds)
    return [Click(float(x), float(y)) for x, y in places[chosen]]


def surround(box: Box, image_size: tuple[int, int], method: MethodConfig) -> list[Click]:
    """Negative clicks at the corners and the middles of the sides of the box, moved outwards by ``method.box_margin``
    of its width and height; those outside the image (``(H, W)``) are left out."""
    across, down = (box.right - box.left) * method.box_margin, (box.bottom - box.top) * method.box_margin
    columns = box.left - across, (box.left + box.right) / 2, box.right + across
    rows = box.top - down, (box.top + box.bottom) / 2, box.bottom + down
    return [
        Click(x, y, positive=False)
        for x in columns
        for y in rows
        if (x, y) != (columns[1], rows[1]) and 0 <= x <= image_size[1] and 0 <= y <= image_size[0]
    ]


def exclude_outside(mask: Mask, box: Box) -> Mask:
    """The mask ``(H, W)`` without the pixels that lie outside of the box altogether."""
    rows, columns = (slice(math.floor(a), math.ceil(b)) for a, b in ((box.top, box.bottom), (box.left, box.right)))
    clipped = np.zeros_like(mask)
    clipped[rows, columns] = mask[rows, columns]
    return clipped


def _split_cells(box: Box, image_size: tuple[int, int], grid: tuple[int, int], reach: int) -> tuple[Mask, Mask]:
    """The cells ``(h, w)`` inside the box, and those outside of it within ``reach`` cells."""
    x, y = _cell_places(image_size, grid)
    inside = (x > box.left) & (x < box.right) & (y > box.top) & (y < box.bottom)
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    around = np.zeros_like(inside)
    if len(rows):
        around[max(rows[0] - reach, 0) : rows[-1] + reach + 1, max(columns[0] - reach, 0) : columns[-1] + reach + 1] = (
            True
        )
    return inside, around & ~inside


def _cell_places(image_size: tuple[int, int], grid: tuple[int, int]) -> tuple[_Places, _Places]:
    """x and y, ``(h, w)`` each, of the pixel that a cell stands for, as ``method.chain.build_start_state`` has it."""
    y, x = (np.linspace(0, size, cells) for size, cells in zip(image_size, grid, strict=True))
    columns, rows = np.meshgrid(x, y)
    return columns, rows


def _spread(places: _Places, count: int) -> list[int]:
    """Indices of at most ``count`` places ``(k, 2)``: the first, then always the one farthest from those taken."""
    chosen = [0]
    nearest = np.full(len(places), np.inf)
    while len(chosen) < min(count, len(places)):
        nearest = np.minimum(nearest, ((places - places[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(nearest.argmax()))
    return chosen
