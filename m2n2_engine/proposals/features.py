"""What a network says of each cell of a picture, as vectors that can be compared between pictures."""

from __future__ import annotations

import dataclasses
import math

import torch

from m2n2_engine.method.chain import AttentionFactors

_FINEST_GRID = 64
"""Cells along a side that are compared; finer grids are averaged down. Here: Stable Diffusion's grid of 128 would take
a gigabyte for each pair of pictures."""


@dataclasses.dataclass(frozen=True)
class CellFeatures:
    """vectors: ``(n, d)`` float32, each of length 1, on the processor. grid: ``(h, w)``, ``n = h * w``, row-major."""

    vectors: torch.Tensor
    grid: tuple[int, int]


def describe_cells(factors: AttentionFactors) -> CellFeatures:
    """The keys of all heads and layers of each cell, each key of length 1 as the default preset's attention has it.

    factors: of the picture, on any device.
    """
    keys = [layer.key[:, layer.special_tokens :].float() for layer in factors.layers]
    units = [torch.nn.functional.normalize(key, dim=-1).transpose(0, 1).flatten(1) for key in keys]
    vectors = torch.cat(units, dim=-1)
    step = math.ceil(max(factors.grid) / _FINEST_GRID)
    grid = factors.grid
    if step > 1:
        image = vectors.T.reshape(1, -1, *grid)
        pooled = torch.nn.functional.avg_pool2d(image, step, ceil_mode=True)
        grid = pooled.shape[2], pooled.shape[3]
        vectors = pooled[0].flatten(1).T
    return CellFeatures(torch.nn.functional.normalize(vectors, dim=-1).cpu(), grid)
