"""The one inner loop that is written for vector registers by hand.

Numba's vectoriser keeps running sums in memory and guards every short loop with overlap tests; measured on the loop
below that costs a factor of two to five. So it is emitted as LLVM vector code, which LLVM fits to any processor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.polynomial import Chebyshev, Polynomial

LANES = 16
"""Pixels handled together: one 512-bit or two 256-bit registers of float32."""

EXPONENT_SCALE = 32
"""``exp(-EXPONENT_SCALE * u)`` is what ``accumulate_taps`` weighs colours by; 0 <= u, and u above 1 counts as 1, where
the weight is 1e-14. A power of two: the exponential of ``u`` is squared five times."""

_SQUARINGS = EXPONENT_SCALE.bit_length() - 1
_EXPONENTIAL = [
    float(np.float32(coefficient))
    for coefficient in Chebyshev.interpolate(lambda u: np.exp(-u), 6, domain=[0, 1]).convert(kind=Polynomial).coef
]
"""Powers 0 to 6 of a polynomial equal to exp(-u) for 0 <= u <= 1 within 2e-8."""

_FLOAT = ir.FloatType()
_INDEX = ir.IntType(64)
_VECTOR = ir.VectorType(_FLOAT, LANES)
_FAST = ("fast",)


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
    planes, row, centre, spatial, first, fraction, start, stop, nodes, node_start, node_stop, sums, cell = (
        context.make_array(kind)(context, builder, value) if isinstance(kind, types.Array) else value
        for kind, value in zip(signature.args, arguments, strict=True)
    )
    emit = _Emitter(builder)
    colours = [emit.load(emit.at(centre, _INDEX(channel), _INDEX(0))) for channel in range(3)]
    # Registers in the end: LLVM promotes stack slots that are only loaded and stored.
    total = cgutils.alloca_once_value(builder, emit.constant(0.0))
    right = cgutils.alloca_once_value(builder, emit.constant(0.0))
    builder.store(emit.constant(0.0), total)
    builder.store(emit.constant(0.0), right)
    with cgutils.for_range_slice(builder, start, stop, _INDEX(1), intp=_INDEX) as (x, _):
        differences = [
            emit.subtract(emit.load(emit.at(planes, x, _INDEX(channel), row)), colours[channel]) for channel in range(3)
        ]
        weight = emit.multiply(emit.colour_weight(differences), emit.broadcast(emit.at(spatial, builder.sub(x, first))))
        builder.store(emit.add(builder.load(total), weight), total)
        share = emit.multiply(weight, emit.broadcast(emit.at(fraction, x)))
        builder.store(emit.add(builder.load(right), share), right)
    right_sum = builder.load(right)
    left_sum = emit.subtract(builder.load(total), right_sum)
    with cgutils.for_range_slice(builder, node_start, node_stop, _INDEX(1), intp=_INDEX) as (node, _):
        node_weight = emit.load(emit.at(nodes, node, _INDEX(0)))
        for column, columns_sum in ((cell, left_sum), (builder.add(cell, _INDEX(1)), right_sum)):
            target = emit.at(sums, node, column, _INDEX(0))
            emit.store(emit.add(emit.load(target), emit.multiply(node_weight, columns_sum)), target)
    return context.get_dummy_value()


class _Emitter:
    """Writes vector instructions at a builder's place; vectors are LANES float32."""

    def __init__(self, builder: Any) -> None:
        self._builder = builder

    def constant(self, value: float) -> Any:
        return ir.Constant(_VECTOR, [value] * LANES)

    def at(self, array: Any, *indices: Any) -> Any:
        """Pointer to an element of a C-contiguous array."""
        sizes = cgutils.unpack_tuple(self._builder, array.shape)
        offset = indices[0]
        for size, index in zip(sizes[1:], indices[1:], strict=True):
            offset = self._builder.add(self._builder.mul(offset, size), index)
        return self._builder.gep(array.data, [offset])

    def load(self, pointer: Any) -> Any:
        loaded = self._builder.load(self._builder.bitcast(pointer, _VECTOR.as_pointer()))
        loaded.align = 4  # window rows start anywhere
        return loaded

    def store(self, vector: Any, pointer: Any) -> None:
        self._builder.store(vector, self._builder.bitcast(pointer, _VECTOR.as_pointer())).align = 4

    def broadcast(self, pointer: Any) -> Any:
        undefined = ir.Constant(_VECTOR, ir.Undefined)
        lowest = self._builder.insert_element(undefined, self._builder.load(pointer), ir.IntType(32)(0))
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return self._builder.shuffle_vector(lowest, undefined, everywhere)

    def add(self, a: Any, b: Any) -> Any:
        return self._builder.fadd(a, b, flags=_FAST)

    def subtract(self, a: Any, b: Any) -> Any:
        return self._builder.fsub(a, b, flags=_FAST)

    def multiply(self, a: Any, b: Any) -> Any:
        return self._builder.fmul(a, b, flags=_FAST)

    def colour_weight(self, differences: list[Any]) -> Any:
        """``exp(-EXPONENT_SCALE * min(sum of squared differences, 1))``."""
        squares = [self.multiply(difference, difference) for difference in differences]
        distance = self.add(self.add(squares[0], squares[1]), squares[2])
        one = self.constant(1.0)
        below = self._builder.fcmp_ordered("<", distance, one, flags=_FAST)
        distance = self._builder.select(below, distance, one)
        weight = self.constant(_EXPONENTIAL[-1])
        for coefficient in reversed(_EXPONENTIAL[:-1]):
            weight = self.add(self.multiply(weight, distance), self.constant(coefficient))
        for _ in range(_SQUARINGS):
            weight = self.multiply(weight, weight)
        return weight
