"""The inner loop of upsampling: the pixels of one window row, weighed by distance and by likeness of colour."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic

from m2n2_engine.ops.simd import INDEX, Emitter, fit_polynomial

EXPONENT_SCALE = 32
"""``exp(-EXPONENT_SCALE * u)`` is what ``accumulate_taps`` weighs colours by; 0 <= u, and u above 1 counts as 1, where
the weight is 1e-14. A power of two: the exponential of ``u`` is squared five times."""

_SQUARINGS = EXPONENT_SCALE.bit_length() - 1
_EXPONENTIAL = fit_polynomial(lambda u: np.exp(-u), 6, 0, 1)
"""Equal to exp(-u) for 0 <= u <= 1 within 2e-8."""


@intrinsic
def accumulate_taps(  # type: ignore[no-untyped-def]
    typing_context, planes, row, centre, spatial, first, fraction, start, stop, nodes, node_start, node_stop, sums, cell
):
    """Add the window columns ``start <= x < stop``, which lie between the same two grid columns, to ``sums``.

    planes: (W, 3, rows) float32, the image's colours column by column. row: the first of LANES window rows.
    centre: (3, LANES), colours of the LANES output pixels. spatial: spatial weights from window column ``first`` on.
    fraction: (W,), position of a column between its two grid columns, 0..1. nodes: (K, LANES), share of the window row
    in each grid row, of which ``node_start <= k < node_stop`` are not all zero. sums: (K, K, LANES), grid row, grid
    column, pixel; grid columns ``cell`` and ``cell + 1`` are added to. All arrays C-contiguous, indices int64.
    """
    signature = types.void(
        planes, row, centre, spatial, first, fraction, start, stop, nodes, node_start, node_stop, sums, cell
    )
    return signature, _emit_accumulate_taps


def _emit_accumulate_taps(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    emit = Emitter(context, builder)
    planes, row, centre, spatial, first, fraction, start, stop, nodes, node_start, node_stop, sums, cell = emit.arrays(
        signature, arguments
    )
    colours = [emit.load(emit.at(centre, INDEX(channel), INDEX(0))) for channel in range(3)]
    total, right = emit.accumulator(), emit.accumulator()
    with cgutils.for_range_slice(builder, start, stop, INDEX(1), intp=INDEX) as (x, _):
        differences = [
            emit.subtract(emit.load(emit.at(planes, x, INDEX(channel), row)), colours[channel]) for channel in range(3)
        ]
        distance_weight = emit.broadcast(builder.load(emit.at(spatial, builder.sub(x, first))))
        weight = emit.multiply(_colour_weight(emit, differences), distance_weight)
        emit.accumulate(total, weight)
        emit.accumulate(right, emit.multiply(weight, emit.broadcast(builder.load(emit.at(fraction, x)))))
    right_sum = builder.load(right)
    left_sum = emit.subtract(builder.load(total), right_sum)
    with cgutils.for_range_slice(builder, node_start, node_stop, INDEX(1), intp=INDEX) as (node, _):
        node_weight = emit.load(emit.at(nodes, node, INDEX(0)))
        for column, columns_sum in ((cell, left_sum), (builder.add(cell, INDEX(1)), right_sum)):
            target = emit.at(sums, node, column, INDEX(0))
            emit.store(emit.add(emit.load(target), emit.multiply(node_weight, columns_sum)), target)
    return context.get_dummy_value()


def _colour_weight(emit: Emitter, differences: list[Any]) -> Any:
    """``exp(-EXPONENT_SCALE * min(sum of squared differences, 1))``."""
    squares = [emit.multiply(difference, difference) for difference in differences]
    distance = emit.at_most(emit.add(emit.add(squares[0], squares[1]), squares[2]), 1.0)
    weight = emit.polynomial(_EXPONENTIAL, distance)
    for _ in range(_SQUARINGS):
        weight = emit.multiply(weight, weight)
    return weight
