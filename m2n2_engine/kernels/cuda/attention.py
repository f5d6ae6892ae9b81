"""Steps 1 and 2 up to balancing: queries and keys -> tempered attention, written once and in half precision.

Neither scores nor heads are ever stored: they are computed three times instead. The first pass finds the softmax's
denominators of each head, the second those of the tempered rows, the third writes.
"""

from __future__ import annotations

import dataclasses
import math

import torch
import triton
import triton.language as tl
from torch.nn.functional import pad

from m2n2_engine.method.chain import AttentionFactors, LayerFactors

HALF_SCALE = 2.0**15
"""A float16 matrix holds this times its values, which are 0 to 1: float16 keeps 11 bits of all that are above 2e-9, and
the rest is lost only below 2e-12. An entry of an even row is 6e-5 at the 128 grid."""

_TILES = {2: {"ROWS": 64, "COLUMNS": 128}, 4: {"ROWS": 64, "COLUMNS": 64}}
"""By the bytes of a query's element: float32 is multiplied exactly, by no tensor core, and wants more registers."""

_WARPS = 4

_LEAST_DEPTH = 16
"""Tensor cores multiply no fewer channels."""

_SMALLEST = tl.constexpr(2.0**-126)
"""Attention below the smallest normal float32 counts as this, so that its logarithm is a number."""


def build_tempered(factors: AttentionFactors, temperature: float) -> torch.Tensor:
    """``rowsoftmax(log A / temperature)`` with ``A`` the attention of ``method.reference.attention``.

    Returns ``(n, n)`` float16 on the factors' device, HALF_SCALE times the values. Scores are computed in the factors'
    own precision and summed in float32.
    """
    layers = [_to_floats(layer) for layer in factors.layers]
    cells = factors.grid[0] * factors.grid[1]
    depth = max(_LEAST_DEPTH, *(triton.next_power_of_2(layer.query.shape[2]) for layer in layers))
    query, key = (
        torch.cat([_keep_cells(getattr(layer, name), layer, depth) for layer in layers]) for name in ("query", "key")
    )
    scales = torch.tensor([_to_log2(layer) for layer in layers for _ in layer.query], device=query.device)
    matrix = torch.empty(cells, cells, dtype=torch.float16, device=query.device)
    with torch.cuda.device_of(query):
        denominators = torch.cat([_find_denominators(layer, cells, depth) for layer in layers])
        tile = _TILES[query.itemsize]
        _temper_kernel[(triton.cdiv(cells, tile["ROWS"]),)](
            *(query, key, denominators, scales, matrix, cells, len(query), 1.0 / temperature, math.log2(HALF_SCALE)),
            **tile, DEPTH=depth, num_warps=_WARPS,
        )  # fmt: skip
    return matrix


def _to_floats(layer: LayerFactors) -> LayerFactors:
    """Integers, as a processor keeps them, become floats: tiles are multiplied as floats only."""
    if layer.query.is_floating_point():
        return layer
    return dataclasses.replace(layer, query=layer.query.float(), key=layer.key.float())


def _keep_cells(projection: torch.Tensor, layer: LayerFactors, depth: int) -> torch.Tensor:
    """(heads, tokens, d) -> (heads, n, depth), channels filled up with zeros."""
    return pad(projection[:, layer.special_tokens :], (0, depth - projection.shape[2]))


def _to_log2(layer: LayerFactors) -> float:
    """Takes a product of query and key to the base-2 logarithm of its softmax's numerator."""
    return layer.scale / (math.sqrt(layer.query.shape[2]) * math.log(2))


def _find_denominators(layer: LayerFactors, cells: int, depth: int) -> torch.Tensor:
    """(heads, n) float32: log2 of the softmax's denominators over all tokens, divided by each head's share."""
    heads, tokens, channels = layer.query.shape
    denominators = torch.empty(heads, cells, device=layer.query.device)
    tile = _TILES[layer.query.itemsize]
    _denominators_kernel[(triton.cdiv(cells, tile["ROWS"]), heads)](
        *(layer.query.contiguous(), layer.key.contiguous(), denominators, cells, tokens, channels),
        *(_to_log2(layer), math.log2(layer.weight / heads)),
        **tile, DEPTH=depth, num_warps=_WARPS,
    )  # fmt: skip
    return denominators


@triton.jit
def _denominators_kernel(
    query, key, denominators, cells, tokens, channels, to_log2, share_log2,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, DEPTH)
    first = head * tokens
    queries = query + (first + tokens - cells + row)[:, None] * channels + channel[None, :]
    q = tl.load(queries, mask=(row < cells)[:, None] & (channel < channels)[None, :], other=0.0)
    peak = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    for start in range(0, tokens, COLUMNS):
        token = start + tl.arange(0, COLUMNS)
        keys = key + (first + token)[None, :] * channels + channel[:, None]
        k = tl.load(keys, mask=(token < tokens)[None, :] & (channel < channels)[:, None], other=0.0)
        scores = tl.dot(q, k, input_precision="ieee") * to_log2
        peak, total = _accumulate(tl.where((token < tokens)[None, :], scores, float("-inf")), peak, total)
    tl.store(denominators + head * cells + row, peak + tl.log2(total) - share_log2, mask=row < cells)


@triton.jit
def _temper_kernel(
    query, key, denominators, scales, matrix, cells, heads, exponent, scale_log2,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    peak = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    for start in range(0, cells, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        logits = exponent * _log_attention(
            query, key, denominators, scales, row, column, cells, heads, ROWS, COLUMNS, DEPTH
        )
        peak, total = _accumulate(tl.where((column < cells)[None, :], logits, float("-inf")), peak, total)
    denominator = peak + tl.log2(total) - scale_log2
    for start in range(0, cells, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        logits = exponent * _log_attention(
            query, key, denominators, scales, row, column, cells, heads, ROWS, COLUMNS, DEPTH
        )
        place = row.to(tl.int64)[:, None] * cells + column[None, :]
        values = tl.exp2(logits - denominator[:, None]).to(tl.float16)
        tl.store(matrix + place, values, mask=(row < cells)[:, None] & (column < cells)[None, :])


@triton.jit
def _log_attention(
    query, key, denominators, scales, row, column, cells, heads,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """(ROWS, COLUMNS) log2 of the attention, summed over the heads of all layers with their shares."""
    channel = tl.arange(0, DEPTH)
    attention = tl.zeros((ROWS, COLUMNS), tl.float32)
    for head in range(heads):
        first = head * cells
        q = tl.load(query + (first + row)[:, None] * DEPTH + channel[None, :], mask=(row < cells)[:, None], other=0.0)
        k = tl.load(
            key + (first + column)[None, :] * DEPTH + channel[:, None], mask=(column < cells)[None, :], other=0.0
        )
        scores = tl.dot(q, k, input_precision="ieee") * tl.load(scales + head)
        attention += tl.exp2(scores - tl.load(denominators + first + row, mask=row < cells, other=0.0)[:, None])
    return tl.log2(tl.maximum(attention, _SMALLEST))


@triton.jit
def _accumulate(logits, peak, total):
    """Take a block (ROWS, COLUMNS) of base-2 logits into each row's peak and its sum of powers relative to that."""
    following = tl.maximum(peak, tl.max(logits, axis=1))
    return following, total * tl.exp2(peak - following) + tl.sum(tl.exp2(logits - following[:, None]), axis=1)
