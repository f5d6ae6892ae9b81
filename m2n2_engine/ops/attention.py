"""Step 1: query and key projections -> the attention matrix of the grid."""

from __future__ import annotations

import torch

from m2n2_engine.types import AttentionFactors, LayerFactors

_PROCESSOR_CHUNK_BYTES = 2 * 1024 * 1024
_ACCELERATOR_CHUNK_BYTES = 256 * 1024 * 1024
"""Scores held at a time: on a processor what stays in its cache while it is worked on; on an accelerator enough to
fill it with work, and little beside the (n, n) result."""


def build_attention(factors: AttentionFactors) -> torch.Tensor:
    """Attention over the cells of the grid.

    For each layer ``softmax(scale Q K^T / sqrt(d))`` over all tokens, mean over heads, special tokens dropped; layers
    summed with their weights; rows normalised. Returns ``(n, n)`` float32 on the factors' device, ``n = h * w``
    row-major, rows (last axis) summing to 1.
    """
    cells = factors.grid[0] * factors.grid[1]
    device = factors.layers[0].query.device
    attention = torch.zeros(cells, cells, dtype=torch.float32, device=device)
    for layer in factors.layers:
        _add_layer(attention, layer)
    return attention.div_(attention.sum(dim=1, keepdim=True))


def _add_layer(attention: torch.Tensor, layer: LayerFactors) -> None:
    heads, tokens, depth = layer.query.shape
    key = layer.key.float().transpose(1, 2)
    query = layer.query[:, layer.special_tokens :].float() * (layer.scale * depth**-0.5)
    on_processor = attention.device.type == "cpu"
    chunk_bytes = _PROCESSOR_CHUNK_BYTES if on_processor else _ACCELERATOR_CHUNK_BYTES
    rows = min(max(1, chunk_bytes // (tokens * attention.element_size())), len(attention))
    # One buffer for all scores, changed in place: fresh memory for each chunk costs more than the arithmetic.
    buffer = attention.new_empty(rows, tokens)
    for head in range(heads):
        for start in range(0, len(attention), rows):
            chunk = query[head, start : start + rows]
            scores = torch.mm(chunk, key[head], out=buffer[: len(chunk)])
            scores.sub_(scores.amax(dim=1, keepdim=True)).exp_()
            share = layer.weight / heads / scores.sum(dim=1, keepdim=True)
            attention[start : start + rows].addcmul_(scores[:, layer.special_tokens :], share)
