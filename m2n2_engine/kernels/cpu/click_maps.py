"""Steps 4 and 5 of a click, and what is measured in its map: weights applied, flood fill, edges.

The plain form of each step is in ``method.reference``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from m2n2_engine.config import MethodConfig
from m2n2_engine.kernels.cpu.ranks import rank_map
from m2n2_engine.kernels.cpu.simd import LANES
from m2n2_engine.kernels.cpu.threads import compiled, compiled_fast, run_in_bands
from m2n2_engine.method.edge_map import EdgeMap, find_edges
from m2n2_engine.method.thresholds import RankedMap, decide_jointly
from m2n2_engine.types import Map, Mask

_SWEEPS = 3
"""Times that values are carried down and up the whole map before the rest is finished pixel by pixel. Of maps of
photographs two leave 3 % of the pixels open and three 1 %, and took the same time."""

_MeasuredT = TypeVar("_MeasuredT")


class ProcessorClickMaps:
    """Clicks on one image, with maps as numpy arrays; implements ``kernels.ClickMaps``."""

    def __init__(self, upsampler: WeightUpsampler, method: MethodConfig) -> None:
        self._upsampler = upsampler
        self._method = method

    @property
    def nbytes(self) -> int:
        """As ``ClickMaps.nbytes``."""
        return self._upsampler.nbytes

    def find_edges(self, coarse_maps: npt.NDArray[np.float32], pixels: Sequence[tuple[int, int]]) -> list[EdgeMap]:
        """As ``ClickMaps.find_edges``."""
        return self._measure(
            coarse_maps, pixels, lambda values, pixel: find_edges(values, pixel, self._method.edge_levels)
        )

    def rank(self, coarse_maps: npt.NDArray[np.float32], pixels: Sequence[tuple[int, int]]) -> list[RankedMap]:
        """As ``ClickMaps.rank``."""

        def measure(values: Map, pixel: tuple[int, int]) -> RankedMap:
            return rank_map(find_edges(values, pixel, self._method.edge_levels), self._method)

        return self._measure(coarse_maps, pixels, measure)

    def decide(self, ranked: Sequence[RankedMap], signs: Sequence[bool]) -> tuple[Mask, float]:
        """As ``ClickMaps.decide``."""
        return decide_jointly(ranked, signs, self._method)

    def _measure(
        self,
        coarse_maps: npt.NDArray[np.float32],
        pixels: Sequence[tuple[int, int]],
        measure: Callable[[Map, tuple[int, int]], _MeasuredT],
    ) -> list[_MeasuredT]:
        upsampled = [normalise(self._upsampler.apply(coarse)) for coarse in coarse_maps]
        measured: dict[int, _MeasuredT] = {}

        def fill(start: int, stop: int) -> None:
            for index in range(start, stop):
                values = normalise(flood_fill(upsampled[index], pixels[index]))
                measured[index] = measure(values, pixels[index])

        # What is left of a click runs on one thread, so several clicks run side by side.
        run_in_bands(fill, len(pixels))
        return [measured[index] for index in range(len(pixels))]


def normalise(values: Map) -> Map:
    """``values`` divided by their maximum, 0 to 1; a map that is 0 everywhere, as of a flat image, stays 0."""
    largest = values.max()
    if largest <= 0:
        return values
    normalised: Map = values / largest
    return normalised


# --- step 4


@dataclasses.dataclass(frozen=True)
class WeightUpsampler:
    """What makes the value of each pixel from the cells around it, for all columns of an image or some of them.

    weights: (blocks, columns, K, K, LANES) float32: the pixel's block of LANES rows, its column, grid row and column
    counted from the pixel's base lines, and the pixel in its block; each pixel's weights sum to 1. base_rows: (H,),
    base_columns: (columns,) int64, the first grid line that a pixel's window touches.
    """

    weights: npt.NDArray[np.float32]
    base_rows: npt.NDArray[np.int64]
    base_columns: npt.NDArray[np.int64]

    @property
    def nbytes(self) -> int:
        """Memory of the weights, in bytes."""
        return self.weights.nbytes

    def apply(self, coarse: Map) -> Map:
        """``(h, w)`` coarse map -> ``(H, columns)`` float32."""
        blocks, width, nodes = self.weights.shape[:3]
        padded = np.pad(coarse, ((0, nodes), (0, nodes)))
        result = np.empty((len(self.base_rows), width), np.float32)

        def run(start: int, stop: int) -> None:
            _apply_kernel(self.weights, self.base_rows, self.base_columns, padded, result, start, stop)

        run_in_bands(run, blocks)
        return result


def click_maps_bytes(image_size: tuple[int, int], method: MethodConfig) -> int:
    """Memory of the weights of an image of ``(H, W)`` pixels, in bytes."""
    return count_blocks(image_size[0]) * LANES * image_size[1] * count_nodes(method) ** 2 * 4


def count_blocks(rows: int) -> int:
    """Blocks of LANES rows that cover an image."""
    return -(-rows // LANES)


def count_nodes(method: MethodConfig) -> int:
    """K: grid lines that a window can touch, along one axis."""
    # A window spans 2 * radius cells: it touches one interval more than that, and so two lines more.
    return math.ceil(2 * method.window_sigmas * method.spatial_sigma_cells) + 2


@compiled_fast
def _apply_kernel(weights, base_rows, base_columns, coarse, result, start, stop):  # type: ignore[no-untyped-def]
    nodes = weights.shape[2]
    height = result.shape[0]
    values = np.empty((nodes, coarse.shape[1], LANES), np.float32)
    total = np.empty(LANES, np.float32)
    for block in range(start, stop):
        top = block * LANES
        for lane in range(LANES):
            row = base_rows[min(top + lane, height - 1)]
            values[:, :, lane] = coarse[row : row + nodes]
        for x in range(weights.shape[1]):
            total[:] = np.float32(0)
            for i in range(nodes):
                for j in range(nodes):
                    for lane in range(LANES):
                        total[lane] += weights[block, x, i, j, lane] * values[i, base_columns[x] + j, lane]
            for lane in range(min(LANES, height - top)):
                result[top + lane, x] = total[lane]


# --- step 5


def flood_fill(values: Map, pixel: tuple[int, int]) -> Map:
    """Smallest possible largest ``|v(p) - v(click)|`` along any 4-connected path from the click.

    Args:
        values: ``(H, W)`` float32, finite.
        pixel: ``(x, y)`` of the click.

    Returns:
        ``(H, W)`` float32, 0 at the click; equal to grey-scale reconstruction by erosion.
    """
    x, y = pixel
    barrier = np.abs(values - values[y, x])
    filled: Map = np.full_like(barrier, np.inf)
    filled[y, x] = 0
    for _ in range(_SWEEPS):
        _sweep_kernel(barrier, filled)
    finish_fill(barrier, filled)
    return filled


def finish_fill(barrier: Map, filled: Map) -> None:
    """Lower ``filled`` in place, each value that of some path already, to the values of the best paths.

    barrier: ``(H, W)`` float32, what each pixel costs at least. filled: likewise.
    """
    _finish_kernel(barrier, filled)


@compiled
def _sweep_kernel(barrier, filled):  # type: ignore[no-untyped-def]
    """Carry the values over the map once from its first pixel to its last, and once back."""
    height, width = barrier.shape
    for row in range(height):
        for column in range(width):
            lowest = filled[row, column]
            if row > 0:
                lowest = min(lowest, filled[row - 1, column])
            if column > 0:
                lowest = min(lowest, filled[row, column - 1])
            filled[row, column] = max(lowest, barrier[row, column])
    for row in range(height - 1, -1, -1):
        for column in range(width - 1, -1, -1):
            lowest = filled[row, column]
            if row < height - 1:
                lowest = min(lowest, filled[row + 1, column])
            if column < width - 1:
                lowest = min(lowest, filled[row, column + 1])
            filled[row, column] = max(lowest, barrier[row, column])


@compiled
def _finish_kernel(barrier, filled):  # type: ignore[no-untyped-def]
    """Lower the values, each that of some path already, to those of the best paths.

    Pixels that could lower a neighbour are taken in the order of their value. What is taken with its present value is
    final, so each pixel lowers its neighbours once and the heap never sees more than five pixels for each of the map.
    """
    height, width = barrier.shape
    heap_value = np.empty(5 * height * width, np.float32)
    heap_pixel = np.empty(5 * height * width, np.int32)
    heaped = 0
    for row in range(height):
        for column in range(width):
            for side in range(4):
                next_row, next_column = _step_kernel(row, column, side)
                if _can_lower_kernel(barrier, filled, filled[row, column], next_row, next_column):
                    _rise_kernel(heap_value, heap_pixel, heaped, filled[row, column], row * width + column)
                    heaped += 1
                    break
    while heaped:
        value, pixel = heap_value[0], heap_pixel[0]
        heaped -= 1
        _sink_kernel(heap_value, heap_pixel, heaped)
        row, column = pixel // width, pixel % width
        if filled[row, column] < value:
            continue  # lowered since, and in the heap again
        for side in range(4):
            next_row, next_column = _step_kernel(row, column, side)
            if _can_lower_kernel(barrier, filled, value, next_row, next_column):
                lowered = max(value, barrier[next_row, next_column])
                filled[next_row, next_column] = lowered
                _rise_kernel(heap_value, heap_pixel, heaped, lowered, next_row * width + next_column)
                heaped += 1


@compiled
def _step_kernel(row, column, side):  # type: ignore[no-untyped-def]
    """The neighbour at one of the four sides, perhaps outside the map."""
    return row + (side == 0) - (side == 1), column + (side == 2) - (side == 3)


@compiled
def _can_lower_kernel(barrier, filled, value, row, column):  # type: ignore[no-untyped-def]
    """Whether a neighbour of ``value`` lowers the pixel, if there is one."""
    if row < 0 or row >= barrier.shape[0] or column < 0 or column >= barrier.shape[1]:
        return False
    return filled[row, column] > max(value, barrier[row, column])


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
