"""Vector instructions for the inner loops that are written for vector registers by hand.

Numba's vectoriser keeps running sums in memory, guards every short loop with overlap tests and calls the scalar
exponential; measured on the loops here that costs a factor of two to ten. So they are emitted as LLVM vector code,
which LLVM fits to any processor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numpy.polynomial import Chebyshev, Polynomial

LANES = 16
"""Values handled together: one 512-bit or two 256-bit registers of float32."""

FLOAT = ir.FloatType()
INDEX = ir.IntType(64)
_BITS = ir.IntType(32)
_VECTOR = ir.VectorType(FLOAT, LANES)
_BIT_VECTOR = ir.VectorType(_BITS, LANES)
_FAST = ("fast",)

_MANTISSA_BITS = 23
_LEAST_EXPONENT = -126.0
"""Of a normal float32; a smaller power of two counts as 0."""


def fit_polynomial(function: Callable[[Any], Any], degree: int, low: float, high: float) -> list[float]:
    """Coefficients, constant first, of the polynomial that meets ``function`` in the Chebyshev nodes of a range."""
    fitted = Chebyshev.interpolate(function, degree, domain=[low, high]).convert(kind=Polynomial)
    return [float(np.float32(coefficient)) for coefficient in fitted.coef]


_POWER_OF_TWO = fit_polynomial(np.exp2, 6, -0.5, 0.5)
"""Within 2e-8 of ``2 ** f``."""

_SQRT_HALF_BITS = int(np.float32(0.5**0.5).view(np.int32))
_LOGARITHM = fit_polynomial(lambda f: np.log2(1 + f) / f, 9, 0.5**0.5 - 1, 2**0.5 - 1)
"""Within 5e-8 of ``log2(1 + f) / f`` over one octave around ``f = 0``."""


class Emitter:
    """Writes vector instructions at a builder's place; vectors are LANES float32."""

    def __init__(self, context: Any, builder: Any) -> None:
        self._context = context
        self._builder = builder

    def arrays(self, signature: Any, arguments: Any) -> list[Any]:
        """An intrinsic's arguments, with arrays as ``at`` takes them and other values as they are."""
        return [
            self._context.make_array(kind)(self._context, self._builder, value)
            if isinstance(kind, types.Array)
            else value
            for kind, value in zip(signature.args, arguments, strict=True)
        ]

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

    def broadcast(self, value: Any) -> Any:
        """A float32 in all lanes."""
        undefined = ir.Constant(_VECTOR, ir.Undefined)
        lowest = self._builder.insert_element(undefined, value, _BITS(0))
        return self._builder.shuffle_vector(lowest, undefined, ir.Constant(_BIT_VECTOR, [0] * LANES))

    def accumulator(self, start: float = 0.0) -> Any:
        """A running vector: LLVM promotes stack slots that are only loaded and stored to registers."""
        slot = cgutils.alloca_once(self._builder, _VECTOR)
        self._builder.store(self.constant(start), slot)
        return slot

    def accumulate(self, slot: Any, vector: Any) -> None:
        self._builder.store(self.add(self._builder.load(slot), vector), slot)

    def keep_larger(self, slot: Any, vector: Any) -> None:
        kept = self._builder.load(slot)
        larger = self._builder.fcmp_ordered(">", vector, kept, flags=_FAST)
        self._builder.store(self._builder.select(larger, vector, kept), slot)

    def largest_lane(self, vector: Any) -> Any:
        """A float32."""
        reduce = self._intrinsic("llvm.vector.reduce.fmax", FLOAT, [_VECTOR])
        return self._builder.call(reduce, [vector], fastmath=_FAST)

    def sum_lanes(self, vector: Any) -> Any:
        """All lanes added up, a float32."""
        reduce = self._intrinsic("llvm.vector.reduce.fadd", FLOAT, [FLOAT, _VECTOR])
        return self._builder.call(reduce, [FLOAT(0.0), vector], fastmath=_FAST)

    def add(self, a: Any, b: Any) -> Any:
        return self._builder.fadd(a, b, flags=_FAST)

    def subtract(self, a: Any, b: Any) -> Any:
        return self._builder.fsub(a, b, flags=_FAST)

    def multiply(self, a: Any, b: Any) -> Any:
        return self._builder.fmul(a, b, flags=_FAST)

    def at_most(self, vector: Any, limit: float) -> Any:
        """The smaller of a vector and a number."""
        below = self._builder.fcmp_ordered("<", vector, self.constant(limit), flags=_FAST)
        return self._builder.select(below, vector, self.constant(limit))

    def polynomial(self, coefficients: list[float], vector: Any) -> Any:
        """coefficients: constant first."""
        value = self.constant(coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            value = self.add(self.multiply(value, vector), self.constant(coefficient))
        return value

    def power_of_two(self, exponent: Any) -> Any:
        """``2 ** exponent`` for exponents of at most 0, to 2e-7 of its value."""
        round_even = self._intrinsic("llvm.rint", _VECTOR, [_VECTOR])
        normal = self._builder.fcmp_ordered(">", exponent, self.constant(_LEAST_EXPONENT))
        # Integers of a lane that is no normal number would be undefined.
        exponent = self._builder.select(normal, exponent, self.constant(0.0))
        whole = self._builder.call(round_even, [exponent])
        fraction = self.polynomial(_POWER_OF_TWO, self._builder.fsub(exponent, whole))
        shift = self._builder.shl(self._builder.fptosi(whole, _BIT_VECTOR), self._bits(_MANTISSA_BITS))
        power = self._as_floats(self._builder.add(self._as_bits(fraction), shift))
        return self._builder.select(normal, power, self.constant(0.0))

    def logarithm(self, vector: Any) -> Any:
        """``log2`` of positive normal numbers, to 1e-7 of its value."""
        bits = self._as_bits(vector)
        # The mantissa is taken from sqrt(1/2) to sqrt(2), so that the logarithm of numbers near 1 keeps its digits.
        octave = self._builder.ashr(self._builder.sub(bits, self._bits(_SQRT_HALF_BITS)), self._bits(_MANTISSA_BITS))
        mantissa = self._as_floats(self._builder.sub(bits, self._builder.shl(octave, self._bits(_MANTISSA_BITS))))
        excess = self._builder.fsub(mantissa, self.constant(1.0))
        fraction = self.multiply(self.polynomial(_LOGARITHM, excess), excess)
        return self.add(self._builder.sitofp(octave, _VECTOR), fraction)

    def where_positive(self, condition: Any, vector: Any) -> Any:
        """``vector`` where ``condition`` is above 0, else 0."""
        positive = self._builder.fcmp_ordered(">", condition, self.constant(0.0))
        return self._builder.select(positive, vector, self.constant(0.0))

    def _intrinsic(self, name: str, result: Any, arguments: list[Any]) -> Any:
        kind = ir.FunctionType(result, arguments)
        return cgutils.get_or_insert_function(self._builder.module, kind, f"{name}.v{LANES}f32")

    def _bits(self, value: int) -> Any:
        return ir.Constant(_BIT_VECTOR, [value] * LANES)

    def _as_bits(self, vector: Any) -> Any:
        return self._builder.bitcast(vector, _BIT_VECTOR)

    def _as_floats(self, bits: Any) -> Any:
        return self._builder.bitcast(bits, _VECTOR)
