"""Step 4, the part that depends on the image alone: the weights of joint bilateral upsampling.

The step is linear in the coarse map. So the weights with which the cells around a pixel make its value are built once
for an image, at the price of one direct pass over all window pixels, and every click after that costs one small dot
product a pixel (``click_maps``). The plain form is ``method.reference.upsample``.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from m2n2_engine.config import MethodConfig
from m2n2_engine.kernels.cpu.click_maps import (
    ProcessorClickMaps,
    WeightUpsampler,
    click_maps_bytes,
    count_blocks,
    count_nodes,
)
from m2n2_engine.kernels.cpu.simd import LANES
from m2n2_engine.kernels.cpu.threads import compiled_fast, run_in_bands
from m2n2_engine.kernels.cpu.window_taps import COLUMNS, EXPONENT_SCALE, accumulate_taps
from m2n2_engine.types import Image, Map

_FAR = 100.0
"""Colour of the padding around the image, in scaled units in which 1 is already too far to weigh anything."""

_STREAM_BYTES = 64 * 1024 * 1024
"""Weights held at a time by ``upsample``."""

_EDGE = 1e-9
"""A window pixel at exactly ``window_sigmas`` counts; this absorbs the rounding of the division."""


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis of the image against the same axis of the grid.

    reach: pixels from the window's centre to its end. lower: (pixels,) the grid line at or before a pixel's centre.
    fraction: (pixels,) how far the pixel is towards the next line, 0..1. base: (pixels,) the first grid line that the
    pixel's window touches.
    """

    pixels: int
    cells: int
    reach: int
    lower: npt.NDArray[np.int64]
    fraction: npt.NDArray[np.float32]
    base: npt.NDArray[np.int64]

    @property
    def pixels_per_cell(self) -> float:
        """Not rounded."""
        return self.pixels / self.cells


def build_click_maps(image: Image, grid: tuple[int, int], method: MethodConfig) -> ProcessorClickMaps:
    """Clicks on an image: RGB uint8 ``(H, W, 3)``. grid: ``(h, w)`` cells."""
    return ProcessorClickMaps(build_upsampler(image, grid, method), method)


def build_upsampler(image: Image, grid: tuple[int, int], method: MethodConfig) -> WeightUpsampler:
    """The weights of a whole image: RGB uint8 ``(H, W, 3)``. grid: ``(h, w)`` cells."""
    return _Builder(image, grid, method).build(0, image.shape[1])


def upsample(coarse: Map, image: Image, method: MethodConfig) -> Map:
    """Upsample one coarse map ``(h, w)`` to the image's ``(H, W)``, keeping no weights.

    Each pixel is the mean of the bilinearly enlarged map over the pixels within ``window_sigmas`` spatial sigmas,
    weighted by Gaussians of distance and of colour difference; windows are clipped at the image's border.
    """
    builder = _Builder(image, (coarse.shape[0], coarse.shape[1]), method)
    height, width = image.shape[:2]
    step = max(1, _STREAM_BYTES // click_maps_bytes((height, 1), method))
    result = np.empty((height, width), np.float32)
    for start in range(0, width, step):
        stop = min(start + step, width)
        result[:, start:stop] = builder.build(start, stop).apply(coarse)
    return result


class _Builder:
    """Tables shared by all columns of an image."""

    def __init__(self, image: Image, grid: tuple[int, int], method: MethodConfig) -> None:
        self._node_count = count_nodes(method)
        self._rows, self._columns = build_axes(image, grid, method)
        self._spatial, self._half_widths = build_spatial_weights(self._rows, self._columns, method)
        self._planes = self._build_planes(image, method)
        self._row_nodes, self._row_node_ranges = self._build_row_nodes()
        lines = np.arange(self._columns.cells + 1)
        self._line_starts = np.searchsorted(self._columns.lower, lines)

    def build(self, start: int, stop: int) -> WeightUpsampler:
        columns, nodes = self._columns, self._node_count
        weights = np.empty((count_blocks(self._rows.pixels), stop - start, nodes, nodes, LANES), np.float32)

        def run(first: int, last: int) -> None:
            _build_kernel(
                *(self._planes, self._spatial, self._half_widths, self._row_nodes, self._row_node_ranges),
                *(columns.lower, columns.fraction, columns.base, self._line_starts, columns.reach),
                *(weights, start, start + first, start + last),
            )

        run_in_bands(run, stop - start)
        return WeightUpsampler(weights, self._rows.base, columns.base[start:stop])

    def _build_planes(self, image: Image, method: MethodConfig) -> npt.NDArray[np.float32]:
        """(W, 3, rows) colours, scaled so that ``EXPONENT_SCALE`` times a squared distance is the range exponent."""
        scale = 1.0 / (255.0 * method.range_sigma * math.sqrt(2 * EXPONENT_SCALE))
        reach, height = self._rows.reach, self._rows.pixels
        padded_height = count_blocks(height) * LANES + 2 * reach
        planes = np.full((image.shape[1], 3, padded_height), _FAR, np.float32)
        np.multiply(image.transpose(1, 2, 0), np.float32(scale), out=planes[:, :, reach : reach + height])
        return planes

    def _build_row_nodes(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """(blocks, window rows, K, LANES): the share of a window row in each grid row, for each pixel of a block of
        LANES rows; and (blocks, window rows, 2): the grid rows with a share in any of them, as start and stop."""
        axis = self._rows
        blocks = count_blocks(axis.pixels)
        shares = np.zeros((blocks, 2 * axis.reach + 1, self._node_count, LANES), np.float32)
        for offset in range(-axis.reach, axis.reach + 1):
            pixel = np.arange(max(0, -offset), min(axis.pixels, axis.pixels - offset))
            row = pixel + offset
            node = axis.lower[row] - axis.base[pixel]
            place = (pixel // LANES, offset + axis.reach)
            shares[(*place, node, pixel % LANES)] += 1 - axis.fraction[row]
            shares[(*place, node + 1, pixel % LANES)] += axis.fraction[row]
        used = np.any(shares, axis=3)
        stop = np.where(np.any(used, axis=2), self._node_count - used[:, :, ::-1].argmax(axis=2), 0)
        return shares, np.stack([used.argmax(axis=2), stop], axis=2)


def build_spatial_weights(rows: Axis, columns: Axis, method: MethodConfig) -> tuple[Map, npt.NDArray[np.int64]]:
    """(2 reach + 1, 2 reach + 1) weights of the window, zero outside its ellipse; and half the ellipse's width in each
    row."""
    down, across = (
        np.arange(-axis.reach, axis.reach + 1) / (axis.pixels_per_cell * method.spatial_sigma_cells)
        for axis in (rows, columns)
    )
    squared = down[:, None] ** 2 + across[None, :] ** 2
    inside = squared <= method.window_sigmas**2 + _EDGE
    return np.where(inside, np.exp(-squared / 2), 0).astype(np.float32), inside.sum(axis=1) // 2


def build_axes(image: Image, grid: tuple[int, int], method: MethodConfig) -> tuple[Axis, Axis]:
    radius_cells = method.window_sigmas * method.spatial_sigma_cells
    rows, columns = (
        _build_axis(pixels, cells, radius_cells) for pixels, cells in zip(image.shape[:2], grid, strict=True)
    )
    return rows, columns


def _build_axis(pixels: int, cells: int, radius_cells: float) -> Axis:
    reach = int(radius_cells * pixels / cells + _EDGE)
    index = np.arange(pixels)
    # Half-pixel centres, (i + 0.5) cells / pixels - 0.5, in whole units of 1 / (2 pixels): a window that spans a whole
    # number of cells must not seem to span one more by rounding.
    unit = 2 * pixels
    position = np.clip((2 * index + 1) * cells - pixels, 0, (cells - 1) * unit)
    lower = position // unit
    fraction = ((position - lower * unit) / unit).astype(np.float32)
    return Axis(pixels, cells, reach, lower, fraction, lower[np.maximum(index - reach, 0)])


@compiled_fast
def _build_kernel(  # type: ignore[no-untyped-def]
    planes,
    spatial,
    half_widths,
    row_nodes,
    row_node_ranges,
    lower,
    fraction,
    base,
    line_starts,
    reach,
    weights,
    first_column,
    start,
    stop,
):
    nodes = weights.shape[2]
    width = planes.shape[0]
    row_reach = half_widths.shape[0] // 2
    sums = np.zeros((COLUMNS, nodes, nodes, LANES), np.float32)
    totals = np.zeros(LANES, np.float32)
    centres = np.zeros((COLUMNS, 3, LANES), np.float32)
    window_spatial = np.zeros((half_widths.shape[0], COLUMNS, 2, spatial.shape[1] + COLUMNS - 1), np.float32)
    for x in range(start, stop, COLUMNS):
        # Past the end the last column is computed again.
        outputs = np.minimum(np.arange(x, x + COLUMNS), stop - 1)
        bases = base[outputs]
        _place_spatial(spatial, fraction, outputs - reach, window_spatial)
        for block in range(row_nodes.shape[0]):
            top = block * LANES
            sums[:] = np.float32(0)
            for i in range(COLUMNS):
                centres[i] = planes[outputs[i], :, top + row_reach : top + row_reach + LANES]
            for row in range(half_widths.shape[0]):
                node_start, node_stop = row_node_ranges[block, row]
                column = max(x - half_widths[row], 0)
                column_stop = min(outputs[-1] + half_widths[row] + 1, width)
                while node_start < node_stop and column < column_stop:
                    # All columns up to the next grid line share their two grid columns.
                    line = lower[column]
                    line_stop = min(line_starts[line + 1], column_stop)
                    accumulate_taps(
                        planes, top + row, centres, window_spatial[row], x - reach, column, line_stop,
                        row_nodes[block, row], node_start, node_stop, sums, line, bases,
                    )  # fmt: skip
                    column = line_stop
            for i in range(COLUMNS):
                _store_weights(sums[i], totals, weights[block, outputs[i] - first_column])


@compiled_fast
def _place_spatial(spatial, fraction, starts, window_spatial):  # type: ignore[no-untyped-def]
    """Fill ``window_spatial`` (see ``accumulate_taps``) for windows that begin at the columns ``starts``."""
    window_spatial[:] = np.float32(0)
    columns = spatial.shape[1]
    for i in range(starts.shape[0]):
        shift = starts[i] - starts[0]
        for j in range(max(-starts[i], 0), min(columns, fraction.shape[0] - starts[i])):
            window_spatial[:, i, 0, shift + j] = spatial[:, j]
            window_spatial[:, i, 1, shift + j] = spatial[:, j] * fraction[starts[i] + j]


@compiled_fast
def _store_weights(sums, totals, weights):  # type: ignore[no-untyped-def]
    """sums, weights: (K, K, LANES); each pixel's weights sum to 1. totals: (LANES,), overwritten."""
    totals[:] = np.float32(0)
    for i in range(sums.shape[0]):
        for j in range(sums.shape[1]):
            for lane in range(LANES):
                totals[lane] += sums[i, j, lane]
    # Pixels below the image have no window.
    for lane in range(LANES):
        totals[lane] = np.float32(1) / totals[lane] if totals[lane] > 0 else np.float32(0)
    for i in range(sums.shape[0]):
        for j in range(sums.shape[1]):
            for lane in range(LANES):
                weights[i, j, lane] = sums[i, j, lane] * totals[lane]
