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

EXPONENT_SCALE = 20
"""``exp(-EXPONENT_SCALE * u)`` is what ``accumulate_taps`` weighs colours by; 0 <= u, and u above 1 counts as 1, where
the weight is 2e-9."""

_SQUARINGS = 5
_EXPONENTIAL = fit_polynomial(lambda u: np.exp(-EXPONENT_SCALE / 2**_SQUARINGS * u), 5, 0, 1)
"""Squared ``_SQUARINGS`` times it is the weight, within 2e-6 of its value."""


@intrinsic
def accumulate_taps(  # type: ignore[no-untyped-def]
    typing_context, planes, row, centre, spatial, first, start, stop, nodes, node_start, node_stop, sums, cell
):
    """Add the window columns ``start <= x < stop``, all between the same two grid columns, to ``sums``.

    Plain form, in which ``u`` and ``weight`` have LANES values::

        for x in range(start, stop):
            u = ((planes[x, :, row : row + LANES] - centre) ** 2).sum(axis=0)
            weight = exp(-EXPONENT_SCALE * minimum(u, 1))
            whole, right = spatial[:, x - first]
            for k in range(node_start, node_stop):
                sums[k, cell] += nodes[k] * weight * (whole - right)
                sums[k, cell + 1] += nodes[k] * weight * right

    planes: (W, 3, rows) float32, the image's colours column by column. row: the first of LANES window rows. centre:
    (3, LANES), colours of the output pixels. spatial: (2, window columns), from window column ``first`` on: the spatial
    weight, and that times the window column's position between its two grid columns, 0..1. nodes: (K, LANES), share of
    the window row in each grid row, of which ``node_start <= k < node_stop`` are not all zero. sums: (K, K, LANES),
    grid row, grid column counted from the output column's base, pixel. cell: the left one of the two grid columns, so
    counted. All arrays C-contiguous, indices int64.
    """
    signature = types.void(planes, row, centre, spatial, first, start, stop, nodes, node_start, node_stop, sums, cell)
    return signature, _emit_accumulate_taps


def _emit_accumulate_taps(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    emit = Emitter(context, builder)
    planes, row, centre, spatial, first, start, stop, nodes, node_start, node_stop, sums, cell = emit.arrays(
        signature, arguments
    )
    channels = [INDEX(channel) for channel in range(3)]
    centre_colour = [emit.load(emit.at(centre, channel, INDEX(0))) for channel in channels]
    # All weights, and those that go to the right one of the two grid columns.
    totals = [emit.accumulator() for _ in range(2)]
    with cgutils.for_range_slice(builder, start, stop, INDEX(1), intp=INDEX) as (x, _):
        colour = [emit.load(emit.at(planes, x, channel, row)) for channel in channels]
        weight = _colour_weight(emit, colour, centre_colour)
        place = builder.sub(x, first)
        for table, total in enumerate(totals):
            distance_weight = emit.broadcast(builder.load(emit.at(spatial, INDEX(table), place)))
            emit.accumulate(total, emit.multiply(weight, distance_weight))
    right = builder.load(totals[1])
    left = emit.subtract(builder.load(totals[0]), right)
    with cgutils.for_range_slice(builder, node_start, node_stop, INDEX(1), intp=INDEX) as (node, _):
        share = emit.load(emit.at(nodes, node, INDEX(0)))
        for grid_column, columns_sum in ((cell, left), (builder.add(cell, INDEX(1)), right)):
            target = emit.at(sums, node, grid_column, INDEX(0))
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
