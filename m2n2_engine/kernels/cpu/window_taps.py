"""The inner loop of upsampling: the pixels of one window row, weighed by distance and by likeness of colour.

It is emitted as vector code, and its docstring has the plain form, by which its test checks it. The weights of an image
take a sixth to an eighth of the time of the same loop left to numba.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic

from m2n2_engine.kernels.cpu.simd import INDEX, Emitter, fit_polynomial

COLUMNS = 2
"""Output columns handled together: they share the pixels of their windows. One by one they took 1.08 to 1.15 times as
long for an image of 640 x 480 on two processors with registers of 512 bit."""

EXPONENT_SCALE = 20
"""``exp(-EXPONENT_SCALE * u)`` is what ``accumulate_taps`` weighs colours by; 0 <= u, and u above 1 counts as 1, where
the weight is 2e-9."""

_SQUARINGS = 5
_EXPONENTIAL = fit_polynomial(lambda u: np.exp(-EXPONENT_SCALE / 2**_SQUARINGS * u), 5, 0, 1)
"""Squared ``_SQUARINGS`` times it is the weight, within 2e-6 of its value."""


@intrinsic
def accumulate_taps(  # type: ignore[no-untyped-def]
    typing_context, planes, row, centres, spatial, first, start, stop, nodes, node_start, node_stop, sums, line, bases
):
    """Add the window columns ``start <= x < stop``, all between grid columns ``line`` and ``line + 1``, to ``sums``.

    Plain form, in which ``u`` and ``weight`` have LANES values::

        for x in range(start, stop):
            for i in range(COLUMNS):
                u = ((planes[x, :, row : row + LANES] - centres[i]) ** 2).sum(axis=0)
                weight = exp(-EXPONENT_SCALE * minimum(u, 1))
                whole, right = spatial[i, :, x - first]
                for k in range(node_start, node_stop):
                    sums[i, k, line - bases[i]] += nodes[k] * weight * (whole - right)
                    sums[i, k, line - bases[i] + 1] += nodes[k] * weight * right

    planes: (W, 3, rows) float32, the image's colours column by column. row: the first of LANES window rows.
    centres: (COLUMNS, 3, LANES), colours of the output pixels. spatial: (COLUMNS, 2, window columns), for each output
    column, from window column ``first`` on: the spatial weight, and that times the window column's position between its
    two grid columns, 0..1. nodes: (K, LANES), share of the window row in each grid row, of which
    ``node_start <= k < node_stop`` are not all zero. sums: (COLUMNS, K, K, LANES), output column, grid row, grid column
    counted from the output column's of ``bases``, pixel. All arrays C-contiguous, indices int64.
    """
    signature = types.void(
        planes, row, centres, spatial, first, start, stop, nodes, node_start, node_stop, sums, line, bases
    )
    return signature, _emit_accumulate_taps


def _emit_accumulate_taps(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    emit = Emitter(context, builder)
    planes, row, centres, spatial, first, start, stop, nodes, node_start, node_stop, sums, line, bases = emit.arrays(
        signature, arguments
    )
    columns = [INDEX(i) for i in range(COLUMNS)]
    channels = [INDEX(channel) for channel in range(3)]
    colours = [[emit.load(emit.at(centres, i, channel, INDEX(0))) for channel in channels] for i in columns]
    # Of each output column: all weights, and those that go to the right one of the two grid columns.
    totals = [[emit.accumulator() for _ in range(2)] for _ in columns]
    with cgutils.for_range_slice(builder, start, stop, INDEX(1), intp=INDEX) as (x, _):
        colour = [emit.load(emit.at(planes, x, channel, row)) for channel in channels]
        place = builder.sub(x, first)
        for i in columns:
            weight = _colour_weight(emit, colour, colours[i.constant])
            for table, total in enumerate(totals[i.constant]):
                distance_weight = emit.broadcast(builder.load(emit.at(spatial, i, INDEX(table), place)))
                emit.accumulate(total, emit.multiply(weight, distance_weight))
    right_sums = [builder.load(right) for _, right in totals]
    left_sums = [emit.subtract(builder.load(total[0]), right) for total, right in zip(totals, right_sums, strict=True)]
    cells = [builder.sub(line, builder.load(emit.at(bases, i))) for i in columns]
    with cgutils.for_range_slice(builder, node_start, node_stop, INDEX(1), intp=INDEX) as (node, _):
        share = emit.load(emit.at(nodes, node, INDEX(0)))
        for i, cell, left, right in zip(columns, cells, left_sums, right_sums, strict=True):
            for grid_column, columns_sum in ((cell, left), (builder.add(cell, INDEX(1)), right)):
                target = emit.at(sums, i, node, grid_column, INDEX(0))
                emit.store(emit.add(emit.load(target), emit.multiply(share, columns_sum)), target)
    return context.get_dummy_value()


def _colour_weight(emit: Emitter, colour: list[Any], other: list[Any]) -> Any:
    """``exp(-EXPONENT_SCALE * min(squared distance of two colours, 1))``."""
    differences = [emit.subtract(a, b) for a, b in zip(colour, other, strict=True)]
    squares = [emit.multiply(difference, difference) for difference in differences]
    distance = emit.at_most(emit.add(emit.add(squares[0], squares[1]), squares[2]), 1.0)
    weight = emit.polynomial(_EXPONENTIAL, distance)
    for _ in range(_SQUARINGS):
        weight = emit.multiply(weight, weight)
    return weight
