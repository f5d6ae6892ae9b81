"""Inner loops over the rows of an attention matrix: scores, their exponentials, and powers of what they sum up to.

Each is emitted as vector code, and its docstring has the plain form, by which its test checks it. Attention as a whole
takes a third of the time of the same loops left to numba.
"""

from __future__ import annotations

from typing import Any

from numba.core import cgutils, types
from numba.extending import intrinsic

from m2n2_engine.kernels.cpu.simd import INDEX, LANES, Emitter

TILE_ROWS = 6
"""Queries multiplied together: with LANES keys their sums fill 12 of 16 registers of 256 bit, and 6 of 512 bit are
enough to keep two multipliers busy."""

LOWEST = -1e30
"""A score below all others, whose exponential is 0; float32 holds its distance to any of them."""


@intrinsic
def multiply_tile(typing_context, queries, head, tile, keys, panel, scores, row):  # type: ignore[no-untyped-def]
    """Products of TILE_ROWS queries with LANES keys.

    Plain form::

        block = queries[head, tile].T @ keys[head, panel]
        scores[row : row + TILE_ROWS, LANES * panel : LANES * (panel + 1)] = block

    queries: (heads, tiles, d, TILE_ROWS). keys: (heads, panels, d, LANES). scores: (rows, LANES * panels). All float32
    and C-contiguous, indices int64.
    """
    return types.void(queries, head, tile, keys, panel, scores, row), _emit_multiply_tile


def _emit_multiply_tile(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    emit = Emitter(context, builder)
    queries, head, tile, keys, panel, scores, row = emit.arrays(signature, arguments)
    sums = [emit.accumulator() for _ in range(TILE_ROWS)]
    depth = cgutils.unpack_tuple(builder, keys.shape)[2]
    query = emit.at(queries, head, tile, INDEX(0), INDEX(0))
    key = emit.at(keys, head, panel, INDEX(0), INDEX(0))
    with cgutils.for_range(builder, depth, intp=INDEX) as loop:
        key_lanes = emit.load(builder.gep(key, [builder.mul(loop.index, INDEX(LANES))]))
        query_rows = builder.gep(query, [builder.mul(loop.index, INDEX(TILE_ROWS))])
        for i, total in enumerate(sums):
            one = emit.broadcast(builder.load(builder.gep(query_rows, [INDEX(i)])))
            emit.accumulate(total, emit.multiply(one, key_lanes))
    for i, total in enumerate(sums):
        target = emit.at(scores, builder.add(row, INDEX(i)), builder.mul(panel, INDEX(LANES)))
        emit.store(builder.load(total), target)
    return context.get_dummy_value()


@intrinsic
def exponentiate_row(typing_context, scores, row):  # type: ignore[no-untyped-def]
    """Replace a row of scores by powers of two, relative to the highest; returns their sum, a float32.

    Plain form::

        scores[row] = 2 ** (scores[row] - scores[row].max())
        return scores[row].sum()

    scores: (rows, a multiple of LANES) float32, C-contiguous.
    """
    return types.float32(scores, row), _emit_exponentiate_row


def _emit_exponentiate_row(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    emit = Emitter(context, builder)
    scores, row = emit.arrays(signature, arguments)
    length = cgutils.unpack_tuple(builder, scores.shape)[1]
    highest, total = emit.accumulator(LOWEST), emit.accumulator()
    with cgutils.for_range_slice(builder, INDEX(0), length, INDEX(LANES), intp=INDEX) as (column, _):
        emit.keep_larger(highest, emit.load(emit.at(scores, row, column)))
    subtracted = emit.broadcast(emit.largest_lane(builder.load(highest)))
    with cgutils.for_range_slice(builder, INDEX(0), length, INDEX(LANES), intp=INDEX) as (column, _):
        place = emit.at(scores, row, column)
        powers = emit.power_of_two(emit.subtract(emit.load(place), subtracted))
        emit.store(powers, place)
        emit.accumulate(total, powers)
    return emit.sum_lanes(builder.load(total))


@intrinsic
def raise_row(typing_context, values, exponent):  # type: ignore[no-untyped-def]
    """Replace values by their powers, relative to the largest; returns their sum, a float32. Zeros stay zeros.

    Plain form::

        values[:] = (values / values.max()) ** exponent
        return values.sum()

    values: (a multiple of LANES,) float32, C-contiguous, at least 0 and not all 0. exponent: float32, positive.
    """
    return types.float32(values, exponent), _emit_raise_row


def _emit_raise_row(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    emit = Emitter(context, builder)
    values, exponent = emit.arrays(signature, arguments)
    (length,) = cgutils.unpack_tuple(builder, values.shape)
    highest, total = emit.accumulator(), emit.accumulator()
    with cgutils.for_range_slice(builder, INDEX(0), length, INDEX(LANES), intp=INDEX) as (column, _):
        emit.keep_larger(highest, emit.load(emit.at(values, column)))
    largest, exponents = emit.broadcast(emit.largest_lane(builder.load(highest))), emit.broadcast(exponent)
    with cgutils.for_range_slice(builder, INDEX(0), length, INDEX(LANES), intp=INDEX) as (column, _):
        place = emit.at(values, column)
        shares = builder.fdiv(emit.load(place), largest)
        powers = emit.power_of_two(emit.multiply(emit.logarithm(shares), exponents))
        powers = emit.where_positive(shares, powers)
        emit.store(powers, place)
        emit.accumulate(total, powers)
    return emit.sum_lanes(builder.load(total))
