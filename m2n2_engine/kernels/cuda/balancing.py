"""Step 2, balancing: each round reads the matrix once, in half precision, and sums in float32."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from m2n2_engine.config import ChainConfig
from m2n2_engine.kernels.cuda.attention import HALF_SCALE
from m2n2_engine.method.chain import LARGEST_FACTOR

_PROGRAMS = 132
"""Bands of rows, each with column sums of its own: an H100's multiprocessors. Fixed: the order of sums hangs on it."""

_WARPS = 16

_CHECK_EVERY_ROUNDS = 8
"""Rounds between convergence tests, each of which waits for the device."""

_FLOAT32_TOLERANCE = 1e-6
"""Column sums of a float32 product of a few thousand terms come no closer to 1 than about this."""


def balance(matrix: torch.Tensor, chain: ChainConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Two vectors that make ``diag(rows) @ matrix @ diag(columns)`` doubly stochastic, as the processor's ``balance``.

    matrix: ``(n, n)`` float16, HALF_SCALE times its values, whose rows sum to 1. Returns two of ``(n,)`` float32.
    """
    tolerance = max(chain.balancing_tolerance, _FLOAT32_TOLERANCE)
    columns = torch.ones(len(matrix), device=matrix.device)
    rows, sums = divide_rows(matrix, columns)  # the rows of the matrix sum to 1: these are all ones
    for done in range(1, chain.balancing_rounds + 1):
        columns = torch.where(sums > 0, 1.0 / sums, columns).clamp(1.0 / LARGEST_FACTOR, LARGEST_FACTOR)
        rows, sums = divide_rows(matrix, columns)
        if done % _CHECK_EVERY_ROUNDS == 0:
            error = torch.where(sums > 0, (columns * sums - 1.0).abs(), 0.0).max()
            if error.item() < tolerance:
                break
    return rows, columns


def divide_rows(matrix: torch.Tensor, columns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The inverse row sums of ``K * columns``, and with them the column sums of ``K * rows[:, None]``.

    matrix: ``(n, n)`` float16, HALF_SCALE times ``K``. columns: ``(n,)`` float32. Returns two of ``(n,)`` float32.
    """
    cells = len(matrix)
    band = triton.cdiv(cells, _PROGRAMS)
    rows = torch.empty_like(columns)
    sums = torch.empty(triton.cdiv(cells, band), cells, device=columns.device)
    with torch.cuda.device_of(matrix):
        _divide_rows_kernel[(len(sums),)](
            *(matrix, columns, rows, sums, cells, band, HALF_SCALE),
            WIDTH=triton.next_power_of_2(cells), num_warps=_WARPS,
        )  # fmt: skip
    return rows, sums.sum(dim=0)


def scale(matrix: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """``diag(rows) @ matrix @ diag(columns)``, in place. matrix: ``(n, n)`` float16. rows, columns: ``(n,)``."""
    cells = len(matrix)
    with torch.cuda.device_of(matrix):
        _scale_kernel[(cells,)](*(matrix, rows, columns, cells), WIDTH=triton.next_power_of_2(cells), num_warps=_WARPS)
    return matrix


@triton.jit
def _divide_rows_kernel(matrix, columns, rows, sums, cells, band, half_scale, WIDTH: tl.constexpr):
    # A row is read once: it stays in registers between its own sum and its share of the column sums.
    column = tl.arange(0, WIDTH)
    weights = tl.load(columns + column, mask=column < cells, other=0.0) / half_scale
    column_sums = tl.zeros((WIDTH,), tl.float32)
    first = tl.program_id(0) * band
    for row in range(first, min(first + band, cells)):
        place = matrix + tl.cast(row, tl.int64) * cells
        values = tl.load(place + column, mask=column < cells, other=0.0).to(tl.float32)
        inverse = 1.0 / tl.sum(values * weights)
        tl.store(rows + row, inverse)
        column_sums += values * inverse
    tl.store(sums + tl.program_id(0) * cells + column, column_sums / half_scale, mask=column < cells)


@triton.jit
def _scale_kernel(matrix, rows, columns, cells, WIDTH: tl.constexpr):
    row = tl.program_id(0)
    column = tl.arange(0, WIDTH)
    place = matrix + row.to(tl.int64) * cells + column
    values = tl.load(place, mask=column < cells, other=0.0).to(tl.float32) * tl.load(rows + row)
    values *= tl.load(columns + column, mask=column < cells, other=0.0)
    tl.store(place, values.to(tl.float16), mask=column < cells)
