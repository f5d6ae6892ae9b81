"""Image -> attention tensor: the object that the method's README calls an aggregator."""

from __future__ import annotations

from typing import Protocol

import torch

from m2n2_engine.ops.attention import build_attention
from m2n2_engine.types import Backbone, Image


class AttentionAggregator(Protocol):
    """Anything that turns an image into attention."""

    def extract_attention(self, image: Image) -> torch.Tensor:
        """Attention ``(h, w, h, w)`` float32 of an RGB uint8 ``(H, W, 3)`` image; the last two axes sum to 1."""


class BackboneAggregator:
    """The attention of a backbone's named layers. Safe under threads."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone

    def extract_attention(self, image: Image) -> torch.Tensor:
        """Attention ``(h, w, h, w)`` float32 on the backbone's device; the last two axes sum to 1."""
        factors = self.backbone.extract(image)
        # Not inference_mode: what it makes cannot be changed in place by its owner.
        with torch.no_grad():
            return build_attention(factors).reshape(*factors.grid, *factors.grid)
