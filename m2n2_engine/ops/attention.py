"""Step 1: query and key projections -> the attention matrix of the grid."""

from __future__ import annotations

import torch

from m2n2_engine.types import AttentionFactors, LayerFactors

_CHUNK_ELEMENTS = 32 * 1024 * 1024
"""Scores held at a time, in elements: 128 MiB as float32, small beside the (n, n) result of the large grids."""


def build_attention(factors: AttentionFactors) -> torch.Tensor:
    """Attention over the cells of the grid.

    For each layer ``softmax(Q K^T / sqrt(d))`` over all tokens, mean over heads, special tokens dropped; layers summed
    with their weights; rows normalised. Returns ``(n, n)`` float32 on the factors' device, ``n = h * w`` row-major,
    rows (last axis) summing to 1.
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
    query = layer.query[:, layer.special_tokens :].float() * depth**-0.5
    rows = max(1, _CHUNK_ELEMENTS // tokens)
    for start in range(0, query.shape[1], rows):
        target = attention[start : start + rows]
        for head in range(heads):
            scores = torch.softmax(query[head, start : start + rows] @ key[head], dim=1)
            target.add_(scores[:, layer.special_tokens :], alpha=layer.weight / heads)
