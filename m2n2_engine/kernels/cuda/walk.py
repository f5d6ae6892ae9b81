"""Step 3: the walks of several clicks share each pass over the matrix, in half precision, and sum in float32.

One step is two kernels: the product reads the matrix, the other divides by the largest state and notes arrivals. The
host waits for the device only every few steps, to see whether all have arrived.

No powers of the matrix are kept. For 128 x 128 cells P^8 takes three products of 9 TFLOP, by arithmetic about 35 ms,
and doubles the memory of an image, to save 7 of 8 passes of 0.14 ms each (measured on an H200): it pays after 300 steps
on one image.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from m2n2_engine.config import MethodConfig
from m2n2_engine.method.chain import SLOPE_FLOOR

_CHECK_EVERY_STEPS = 8

_CLICKS = 16
"""Clicks of one program: tensor cores multiply no fewer rows, so up to this many cost no more than one."""

_ROWS = 128
_COLUMNS = 128
_PRODUCT_WARPS = 4
_ARRIVAL_WARPS = 16

_LOW_SCALE = tl.constexpr(2.0**11)
"""A state is two float16 numbers, the second of what the first rounds off, times this: 22 bits together."""


def find_arrivals(
    transition: torch.Tensor, state: torch.Tensor, method: MethodConfig, interpolate: bool
) -> torch.Tensor:
    """Steps until each state first exceeds ``method.arrival_level``, as ``method.chain.build_coarse_maps`` has it.

    transition: ``(n, n)`` float16, any multiple of the transition matrix. state: ``(k, n)`` float32, largest value 1.
    Returns ``(k, n)`` float32. A click's walk is the same to the last bit whether it goes alone or with others.
    """
    clicks, cells = state.shape
    product = torch.empty_like(state)
    state = state.clone()
    steps = torch.where(state > method.arrival_level, 0.0, float(method.max_steps))
    missing = torch.empty(clicks, dtype=torch.int32, device=state.device)
    with torch.cuda.device_of(transition):
        for step in range(method.max_steps):
            _advance_kernel[(triton.cdiv(cells, _COLUMNS), triton.cdiv(clicks, _CLICKS))](
                *(transition, state, product, clicks, cells),
                CLICKS=_CLICKS, ROWS=_ROWS, COLUMNS=_COLUMNS, num_warps=_PRODUCT_WARPS, num_stages=4,
            )  # fmt: skip
            _arrive_kernel[(clicks,)](
                *(product, state, steps, missing, cells, float(step)),
                *(method.arrival_level, float(method.max_steps), SLOPE_FLOOR),
                INTERPOLATE=interpolate, WIDTH=triton.next_power_of_2(cells), num_warps=_ARRIVAL_WARPS,
            )  # fmt: skip
            if (step + 1) % _CHECK_EVERY_STEPS == 0 and not bool(missing.any()):
                break
    return steps


# Numbers of clicks are not compiled in: no annotator shall wait for a compiler.
@triton.jit(do_not_specialize=["clicks"])
def _advance_kernel(
    transition, state, product, clicks, cells, CLICKS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    click = tl.program_id(1) * CLICKS + tl.arange(0, CLICKS)
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    high_sum = tl.zeros((CLICKS, COLUMNS), tl.float32)
    low_sum = tl.zeros((CLICKS, COLUMNS), tl.float32)
    for start in range(0, cells, ROWS):
        row = start + tl.arange(0, ROWS)
        tile = transition + row.to(tl.int64)[:, None] * cells + column[None, :]
        values = tl.load(tile, mask=(row < cells)[:, None] & (column < cells)[None, :], other=0.0)
        share = state + click[:, None] * cells + row[None, :]
        states = tl.load(share, mask=(click < clicks)[:, None] & (row < cells)[None, :], other=0.0)
        high = states.to(tl.float16)
        low = ((states - high.to(tl.float32)) * _LOW_SCALE).to(tl.float16)
        high_sum = tl.dot(high, values, high_sum)
        low_sum = tl.dot(low, values, low_sum)
    place = click[:, None] * cells + column[None, :]
    inside = (click < clicks)[:, None] & (column < cells)[None, :]
    tl.store(product + place, high_sum + low_sum / _LOW_SCALE, mask=inside)


@triton.jit
def _arrive_kernel(
    product, state, steps, missing, cells, step, level, max_steps, slope_floor,
    INTERPOLATE: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    click = tl.program_id(0)
    column = tl.arange(0, WIDTH)
    inside = column < cells
    place = click * cells + column
    following = tl.load(product + place, mask=inside, other=0.0)
    following /= tl.max(following, axis=0)
    known = tl.load(steps + place, mask=inside, other=0.0)
    value = tl.zeros((WIDTH,), tl.float32) + step + 1.0
    if INTERPOLATE:
        rise = following - tl.load(state + place, mask=inside, other=0.0)
        rise = tl.where(step == 0, 1.0 - level, rise) + slope_floor
        # Only a cell that arrives has risen for certain; elsewhere the quotient means nothing.
        value -= (following - level) / tl.where(following > level, rise, 1.0)
    known = tl.where((following > level) & (known == max_steps), value, known)
    tl.store(steps + place, known, mask=inside)
    tl.store(state + place, following, mask=inside)
    tl.store(missing + click, tl.sum((known == max_steps).to(tl.int32), axis=0))
