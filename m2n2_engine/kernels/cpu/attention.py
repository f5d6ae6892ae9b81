"""Step 1: query and key projections -> the attention matrix of the grid."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from m2n2_engine.kernels.cpu.attention_rows import LOWEST, TILE_ROWS, exponentiate_row, multiply_tile
from m2n2_engine.kernels.cpu.compiled import compiled_fast, run_in_bands
from m2n2_engine.kernels.cpu.simd import LANES
from m2n2_engine.method.factors import AttentionFactors, LayerFactors

_ACCELERATOR_CHUNK_BYTES = 256 * 1024 * 1024
"""Scores that an accelerator holds at a time: enough to fill it with work, and little beside the (n, n) result."""

_CHUNK_TILES = 8
"""Tiles of rows that a processor core finishes at a time: their scores stay in its cache between the passes over them,
and there are enough of them to make up for reading all keys again. Measured."""

_Packed = npt.NDArray[np.float32]


def build_attention(factors: AttentionFactors) -> torch.Tensor:
    """Attention over the cells of the grid.

    For each layer ``softmax(scale Q K^T / sqrt(d))`` over all tokens, mean over heads, special tokens dropped; layers
    summed with their weights; rows normalised. Returns ``(n, n)`` float32 on the factors' device, ``n = h * w``
    row-major, rows (last axis) summing to 1.
    """
    cells = factors.grid[0] * factors.grid[1]
    device = factors.layers[0].query.device
    if device.type == "cpu":
        return _build_compiled(factors.layers, cells)
    attention = torch.zeros(cells, cells, dtype=torch.float32, device=device)
    for layer in factors.layers:
        _add_layer_on_device(attention, layer)
    return attention.div_(attention.sum(dim=1, keepdim=True))


def _build_compiled(layers: Sequence[LayerFactors], cells: int) -> torch.Tensor:
    # numpy asks for huge pages, torch does not: without them the first touch of so much memory takes a tenth of the
    # whole time.
    attention = np.empty((cells, cells), np.float32)
    packed = [_pack_layer(layer) for layer in layers]
    most_columns = max(keys.shape[1] for _, keys, _, _ in packed) * LANES
    chunk_rows = _CHUNK_TILES * TILE_ROWS

    def run(start: int, stop: int) -> None:
        scores = np.empty(chunk_rows * most_columns, np.float32)
        for first in range(start * chunk_rows, min(stop * chunk_rows, cells), chunk_rows):
            rows = attention[first : first + chunk_rows]
            rows[:] = 0
            for layer in packed:
                _add_rows_kernel(*layer, scores, rows, first // TILE_ROWS)
            rows /= rows.sum(axis=1, keepdims=True)

    run_in_bands(run, -(-cells // chunk_rows))
    return torch.from_numpy(attention)


def _pack_layer(layer: LayerFactors) -> tuple[_Packed, _Packed, int, float]:
    """Queries of the cells, scaled; keys, those of special tokens last; tokens; weight of a head."""
    heads, tokens, depth = layer.query.shape
    # Base 2: the exponential is one of two in the end.
    queries = layer.query[:, layer.special_tokens :].float() * (layer.scale * math.log2(math.e) * depth**-0.5)
    # A cell's column of the scores is then its column of the attention.
    keys = layer.key.float().roll(-layer.special_tokens, dims=1)
    return _pack(queries, TILE_ROWS), _pack(keys, LANES), tokens, layer.weight / heads


def _pack(vectors: torch.Tensor, group: int) -> _Packed:
    """``(heads, tokens, d)`` -> ``(heads, groups, d, group)``, filled up with zeros."""
    heads, tokens, depth = vectors.shape
    filled = functional.pad(vectors, (0, 0, 0, -tokens % group))
    return np.asarray(filled.reshape(heads, -1, group, depth).transpose(2, 3).contiguous())


@compiled_fast
def _add_rows_kernel(queries, keys, tokens, weight, scores, rows, first_tile):  # type: ignore[no-untyped-def]
    """Add a layer's attention from the cells of some tiles to ``rows``, (cells of the tiles, cells)."""
    heads, panels = keys.shape[:2]
    tiles = -(-len(rows) // TILE_ROWS)
    columns = panels * LANES
    scores = scores[: tiles * TILE_ROWS * columns].reshape(tiles * TILE_ROWS, columns)
    for head in range(heads):
        for panel in range(panels):
            for tile in range(tiles):
                multiply_tile(queries, head, first_tile + tile, keys, panel, scores, tile * TILE_ROWS)
        for row in range(len(rows)):
            scores[row, tokens:] = np.float32(LOWEST)
            share = np.float32(weight / exponentiate_row(scores, row))
            for cell in range(rows.shape[1]):
                rows[row, cell] += share * scores[row, cell]


def _add_layer_on_device(attention: torch.Tensor, layer: LayerFactors) -> None:
    heads, tokens, depth = layer.query.shape
    key = layer.key.float().transpose(1, 2)
    query = layer.query[:, layer.special_tokens :].float() * (layer.scale * depth**-0.5)
    rows = min(max(1, _ACCELERATOR_CHUNK_BYTES // (tokens * attention.element_size())), len(attention))
    # One buffer for all scores, changed in place: fresh memory for each chunk costs more than the arithmetic.
    buffer = attention.new_empty(rows, tokens)
    for head in range(heads):
        for start in range(0, len(attention), rows):
            chunk = query[head, start : start + rows]
            scores = torch.mm(chunk, key[head], out=buffer[: len(chunk)])
            scores.sub_(scores.amax(dim=1, keepdim=True)).exp_()
            share = layer.weight / heads / scores.sum(dim=1, keepdim=True)
            attention[start : start + rows].addcmul_(scores[:, layer.special_tokens :], share)
