"""Step 5: flood fill: how much the map must change on the way from the click to each pixel."""

from __future__ import annotations

import numpy as np

from m2n2_engine.ops.compiled import compiled
from m2n2_engine.types import Map


def flood_fill(values: Map, pixel: tuple[int, int]) -> Map:
    """Smallest possible largest ``|v(p) - v(click)|`` along any 4-connected path from the click.

    values: ``(H, W)`` float32, finite. pixel: ``(x, y)`` of the click. Returns ``(H, W)`` float32, 0 at the click;
    equal to grey-scale reconstruction by erosion.
    """
    x, y = pixel
    barrier = np.abs(values - values[y, x])
    filled: Map = np.empty_like(barrier)
    _flood_fill_kernel(barrier, filled, y, x)
    return filled


def normalise(values: Map) -> Map:
    """``values`` divided by their maximum, 0 to 1; a map that is 0 everywhere, as of a flat image, stays 0."""
    largest = values.max()
    if largest <= 0:
        return values
    normalised: Map = values / largest
    return normalised


@compiled
def _flood_fill_kernel(barrier, filled, start_row, start_column):  # type: ignore[no-untyped-def]
    # Priority flood: pixels are settled in the order of their result. Those that lie no higher than the pixel they are
    # reached from have its result and need no queue; the others wait in a binary heap.
    height, width = barrier.shape
    filled[:] = np.inf
    filled[start_row, start_column] = 0
    level_stack = np.empty(height * width, np.int32)
    heap_value = np.empty(height * width, np.float32)
    heap_pixel = np.empty(height * width, np.int32)
    level_stack[0] = start_row * width + start_column
    stacked, heaped = 1, 0
    while stacked or heaped:
        if stacked:
            stacked -= 1
            pixel = level_stack[stacked]
        else:
            pixel = heap_pixel[0]
            heaped -= 1
            _sink_kernel(heap_value, heap_pixel, heaped)
        row, column = pixel // width, pixel % width
        level = filled[row, column]
        for side in range(4):
            next_row = row + (side == 0) - (side == 1)
            next_column = column + (side == 2) - (side == 3)
            if next_row < 0 or next_row >= height or next_column < 0 or next_column >= width:
                continue
            if filled[next_row, next_column] != np.inf:
                continue
            height_there = barrier[next_row, next_column]
            if height_there <= level:
                filled[next_row, next_column] = level
                level_stack[stacked] = next_row * width + next_column
                stacked += 1
            else:
                filled[next_row, next_column] = height_there
                _rise_kernel(heap_value, heap_pixel, heaped, height_there, next_row * width + next_column)
                heaped += 1


@compiled
def _rise_kernel(heap_value, heap_pixel, place, value, pixel):  # type: ignore[no-untyped-def]
    """Put a pixel into the heap's free ``place`` and move it up to where it belongs."""
    while place > 0:
        parent = (place - 1) // 2
        if heap_value[parent] <= value:
            break
        heap_value[place], heap_pixel[place] = heap_value[parent], heap_pixel[parent]
        place = parent
    heap_value[place], heap_pixel[place] = value, pixel


@compiled
def _sink_kernel(heap_value, heap_pixel, size):  # type: ignore[no-untyped-def]
    """Replace the heap's top by its last element, at ``size``, and move that down to where it belongs."""
    value, pixel = heap_value[size], heap_pixel[size]
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and heap_value[child + 1] < heap_value[child]:
            child += 1
        if heap_value[child] >= value:
            break
        heap_value[place], heap_pixel[place] = heap_value[child], heap_pixel[child]
        place = child
    heap_value[place], heap_pixel[place] = value, pixel
