"""DINOv2 (patch 14): the last layer's queries and keys."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import Dinov2Model
from transformers.utils import logging as transformers_logging

from m2n2_engine.backbones.capture import AttentionLayer, HookedBackbone
from m2n2_engine.backbones.pixels import resize, to_batch
from m2n2_engine.backbones.pretrained import loading
from m2n2_engine.config import WeightsConfig
from m2n2_engine.types import Image
from m2n2_engine.weights import store

PATCH_PIXELS = 14
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
"""Of RGB in 0..1 over ImageNet: what DINOv2 was trained with (its published preprocessing)."""


def load(
    name: str, grid: tuple[int, int], device: str, config: WeightsConfig, key_sharpness: float | None = None
) -> HookedBackbone:
    """Load a DINOv2 of the catalogue, float32 on every device: it is small, and its masks then agree everywhere.

    Raises WeightsUnavailable or WeightsCorrupt.
    """
    folder = store.resolve(name, config)
    with loading(name, folder, transformers_logging):
        model: Any = Dinov2Model.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
    model.to(device).eval().requires_grad_(False)
    index = len(model.encoder.layer) - 1
    attention = model.encoder.layer[index].attention
    layer = AttentionLayer(
        name=f"encoder.layer.{index}.attention",
        query=attention.q_proj,
        key=attention.k_proj,
        heads=attention.num_attention_heads,
        special_tokens=1,
    )
    return HookedBackbone(
        name=name,
        grid=grid,
        device=device,
        dtype=torch.float32,
        weights=store.identity(folder),
        layers=[layer],
        key_sharpness=key_sharpness,
        run=lambda image: model(_pixel_values(image, grid).to(device)),
    )


def _pixel_values(image: Image, grid: tuple[int, int]) -> torch.Tensor:
    """``(1, 3, 14 h, 14 w)`` float32, each channel with the mean and deviation of the training images."""
    height, width = grid
    pixels = resize(image, PATCH_PIXELS * height, PATCH_PIXELS * width)
    return to_batch((pixels / np.float32(255) - IMAGENET_MEAN) / IMAGENET_DEVIATION)
