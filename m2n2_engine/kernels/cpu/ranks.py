"""Step 6, the part of a single click: its map sorted, and the border of the segment of every rank.

The plain form is ``method.reference.border_means``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from m2n2_engine.config import MethodConfig
from m2n2_engine.kernels.cpu.threads import compiled
from m2n2_engine.method.edge_map import EdgeMap
from m2n2_engine.method.thresholds import RankedMap, count_ranks
from m2n2_engine.types import Map

_RADIX_BITS = 11
"""A float32 has 32 = 11 + 11 + 10 bits: three passes sort it."""


def rank_map(click: EdgeMap, method: MethodConfig) -> RankedMap:
    """Sort a click's Markov-map, and measure the border of the segment of every rank."""
    values = click.values
    order = _argsort(values)
    ranks = count_ranks(values.size, method.click_area_limit)
    edges = np.empty(ranks, np.float32)
    _border_means_kernel(order, click.levels, edges)
    return RankedMap(values, click.pixel, values.ravel()[order[: max(ranks, 1)]], edges)


def _argsort(values: Map) -> npt.NDArray[np.int32]:
    """Stable order of the flattened values, which are not negative."""
    # The bits of floats that are not negative ascend with them. Adding 0 turns a negative zero into a positive one.
    order: npt.NDArray[np.int32] = _radix_argsort_kernel((values + np.float32(0)).ravel().view(np.uint32))
    return order


@compiled
def _radix_argsort_kernel(keys):  # type: ignore[no-untyped-def]
    buckets = 1 << _RADIX_BITS
    order = np.arange(keys.size).astype(np.int32)
    other = np.empty_like(order)
    for shift in range(0, 32, _RADIX_BITS):
        place = np.zeros(buckets + 1, np.int64)
        for key in keys:
            place[((key >> np.uint32(shift)) & np.uint32(buckets - 1)) + 1] += 1
        for bucket in range(buckets):
            place[bucket + 1] += place[bucket]
        for i in order:
            bucket = (keys[i] >> np.uint32(shift)) & np.uint32(buckets - 1)
            other[place[bucket]] = i
            place[bucket] += 1
        order, other = other, order
    return order


@compiled
def _border_means_kernel(order, levels, means):  # type: ignore[no-untyped-def]
    # A pixel lies on the border from the rank at which its first neighbour joins until it joins itself.
    height, width = levels.shape
    rank = np.empty((height, width), np.int32)
    for k in range(order.size):
        rank[order[k] // width, order[k] % width] = k
    sums = np.zeros(means.size + 1, np.int64)
    counts = np.zeros(means.size + 1, np.int64)
    for row in range(height):
        for column in range(width):
            own = rank[row, column]
            first = own
            if row > 0:
                first = min(first, rank[row - 1, column])
            if row + 1 < height:
                first = min(first, rank[row + 1, column])
            if column > 0:
                first = min(first, rank[row, column - 1])
            if column + 1 < width:
                first = min(first, rank[row, column + 1])
            if first < own and first < means.size:
                last = min(own, means.size)
                sums[first] += levels[row, column]
                sums[last] -= levels[row, column]
                counts[first] += 1
                counts[last] -= 1
    total = 0
    count = 0
    for k in range(means.size):
        total += sums[k]
        count += counts[k]
        means[k] = total / count if count else 0.0
