"""A tiny network for tests and continuous integration: milliseconds, no weights, read through the same hook.

Its attention follows colour and position, so masks of simple images mean something: no more than that is promised.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from m2n2_engine.backbones.capture import AttentionLayer, HookedBackbone
from m2n2_engine.backbones.pixels import resize
from m2n2_engine.config import WeightsConfig
from m2n2_engine.types import Image

SEED = 2411
HEADS = 2
COLOUR_SHARPNESS = 12.0
POSITION_SHARPNESS = 4.0
"""How fast the attention of a cell falls with the difference in each colour channel, and along x and y. No unit."""


class TinyNetwork(nn.Module):
    """Attention ``exp(sum_i s_i cos(pi (u_i - v_i)))`` between cells u and v of (red, green, blue, x, y) in 0..1.

    A product of von Mises kernels. Each head sees the same features through a random rotation of its own, which
    leaves the products of queries and keys unchanged.
    """

    def __init__(self) -> None:
        super().__init__()
        sharpness = torch.tensor([COLOUR_SHARPNESS] * 3 + [POSITION_SHARPNESS] * 2)
        size = 2 * len(sharpness)
        # Attention divides by the square root of the size of a head.
        self.amplitude = nn.Buffer((sharpness * math.sqrt(size)).sqrt())
        generator = torch.Generator().manual_seed(SEED)
        rotations = [torch.linalg.qr(torch.randn(size, size, generator=generator)).Q for _ in range(HEADS)]
        self.to_q = nn.Linear(size, HEADS * size, bias=False)
        self.to_k = nn.Linear(size, HEADS * size, bias=False)
        for projection in (self.to_q, self.to_k):
            projection.weight = nn.Parameter(torch.cat(rotations), requires_grad=False)

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        """``(1, n, 5)`` cells -> ``(1, n, n)`` scores of both heads together."""
        angles = math.pi * cells
        features = torch.cat([self.amplitude * angles.cos(), self.amplitude * angles.sin()], dim=-1)
        query: torch.Tensor = self.to_q(features)
        key: torch.Tensor = self.to_k(features)
        return query @ key.mT


def load(
    name: str, grid: tuple[int, int], device: str, _config: WeightsConfig, key_sharpness: float | None = None
) -> HookedBackbone:
    """Build the network; the same on every machine."""
    network = TinyNetwork().to(device).eval()
    return HookedBackbone(
        name=name,
        grid=grid,
        device=device,
        dtype=torch.float32,
        weights=f"seed-{SEED}",
        layers=[AttentionLayer(name="attention", query=network.to_q, key=network.to_k, heads=HEADS)],
        key_sharpness=key_sharpness,
        run=lambda image: network(_cells(image, grid).to(device)),
    )


def _cells(image: Image, grid: tuple[int, int]) -> torch.Tensor:
    """``(1, h w, 5)`` float32: red, green, blue, x, y of each cell, in 0..1."""
    height, width = grid
    colour = resize(image, height, width) / 255
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / np.array([height, width], np.float32)[:, None, None]
    return torch.from_numpy(np.dstack([colour, x, y]).reshape(1, -1, 5))
