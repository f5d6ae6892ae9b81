"""What a network says of each cell of a picture, as vectors that can be compared between pictures."""

from __future__ import annotations

import torch

from m2n2_engine.method.chain import AttentionFactors


def describe_cells(factors: AttentionFactors) -> torch.Tensor:
    """One vector of length 1 for each cell, ``(n, d)`` float32: the keys of all heads and layers, each of length 1.

    factors: of the picture, ``n = h * w`` cells.
    """
    keys = [layer.key[:, layer.special_tokens :].float() for layer in factors.layers]
    units = [torch.nn.functional.normalize(key, dim=-1).transpose(0, 1).flatten(1) for key in keys]
    return torch.nn.functional.normalize(torch.cat(units, dim=-1), dim=-1)
