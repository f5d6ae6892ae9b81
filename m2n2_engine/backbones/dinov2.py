"""DINOv2 (patch 14): the last layer's queries and keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from m2n2_engine.backbones import blockwise
from m2n2_engine.backbones.capture import AttentionLayer, HookedBackbone, name_factors
from m2n2_engine.backbones.deferred import DeferredBackbone
from m2n2_engine.backbones.pixels import resize, to_batch
from m2n2_engine.backbones.precision import Precision
from m2n2_engine.backbones.pretrained import loading
from m2n2_engine.config import WeightsConfig
from m2n2_engine.errors import WeightsCorrupt
from m2n2_engine.types import Image
from m2n2_engine.weights import store

PATCH_PIXELS = 14
_LAYER = "encoder.layer.{}.attention"
_DTYPES = {Precision.FLOAT32: torch.float32, Precision.BFLOAT16: torch.bfloat16}
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
"""Of RGB in 0..1 over ImageNet: what DINOv2 was trained with (its published preprocessing)."""


def load(
    name: str,
    grid: tuple[int, int],
    device: str,
    config: WeightsConfig,
    key_sharpness: float | None = None,
    precision: Precision = Precision.FLOAT32,
) -> HookedBackbone:
    """Load a DINOv2 of the catalogue.

    Raises WeightsUnavailable or WeightsCorrupt.
    """
    # Imported here: it takes some seconds, which an image found on disk need not wait for.
    from transformers import AttentionInterface, Dinov2Model
    from transformers.utils import logging as transformers_logging

    folder = store.resolve(name, config)
    dtype = _DTYPES[precision]
    options: dict[str, Any] = {"dtype": dtype}
    if precision is Precision.BFLOAT16:
        AttentionInterface.register(blockwise.NAME, blockwise.attend_in_blocks)
        options["attn_implementation"] = blockwise.NAME
    with loading(name, folder, transformers_logging):
        model: Any = Dinov2Model.from_pretrained(folder, local_files_only=True, use_safetensors=True, **options)
    model.to(device).eval().requires_grad_(False)
    index = len(model.encoder.layer) - 1
    attention = model.encoder.layer[index].attention
    layer = AttentionLayer(
        name=_LAYER.format(index),
        query=attention.q_proj,
        key=attention.k_proj,
        heads=attention.num_attention_heads,
        special_tokens=1,
    )
    return HookedBackbone(
        name=name,
        grid=grid,
        device=device,
        dtype=dtype,
        weights=store.identity(folder),
        layers=[layer],
        key_sharpness=key_sharpness,
        run=lambda image: model(_pixel_values(image, grid).to(device, dtype)),
    )


def defer(
    name: str,
    grid: tuple[int, int],
    device: str,
    config: WeightsConfig,
    key_sharpness: float | None = None,
    precision: Precision = Precision.FLOAT32,
) -> DeferredBackbone:
    """The same, loaded by the first image that needs it. Weights that are not at hand are fetched now.

    Raises WeightsUnavailable or WeightsCorrupt now; what only loading shows, the files' hashes too, the first image
    raises.
    """
    folder = store.resolve(name, config, is_hashed=False)
    layer = _LAYER.format(_count_layers(name, folder) - 1)
    named = name_factors(name, store.identity(folder), grid, _DTYPES[precision], [(layer, 1.0)], False, key_sharpness)
    return DeferredBackbone(
        name, grid, device, named, lambda: load(name, grid, device, config, key_sharpness, precision)
    )


def _count_layers(name: str, folder: Path) -> int:
    try:
        return int(json.loads((folder / "config.json").read_text(encoding="utf-8"))["num_hidden_layers"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsCorrupt(
            f"the weights of {name} in {folder} have no config.json that can be read: "
            f"run `m2n2 weights get {name} --force`, or put a sound copy there"
        ) from error


def _pixel_values(image: Image, grid: tuple[int, int]) -> torch.Tensor:
    """``(1, 3, 14 h, 14 w)`` float32, each channel with the mean and deviation of the training images."""
    height, width = grid
    pixels = resize(image, PATCH_PIXELS * height, PATCH_PIXELS * width)
    return to_batch((pixels / np.float32(255) - IMAGENET_MEAN) / IMAGENET_DEVIATION)
