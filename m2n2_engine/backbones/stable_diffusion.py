"""Stable Diffusion 1 and 2: the queries and keys of the last two self-attentions of the denoising network."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from m2n2_engine.backbones.capture import AttentionLayer, HookedBackbone
from m2n2_engine.backbones.pixels import resize, to_batch
from m2n2_engine.backbones.pretrained import loading
from m2n2_engine.config import WeightsConfig
from m2n2_engine.kernels import choose_kernels
from m2n2_engine.types import Image
from m2n2_engine.weights import store

LATENT_PIXELS = 8
"""Image pixels along the side of one latent cell: the VAE halves the image three times."""

TIMESTEP = 100
"""Of 0..999 training steps: how noisy the network takes its noise-free input to be. Paper."""

LAYERS = ("up_blocks.3.attentions.0.transformer_blocks.0.attn1", "up_blocks.3.attentions.1.transformer_blocks.0.attn1")
"""Self-attention at latent resolution, read with equal weights. Paper."""

_log = logging.getLogger(__name__)


def load(
    name: str, grid: tuple[int, int], device: str, config: WeightsConfig, key_sharpness: float | None = None
) -> HookedBackbone:
    """Load VAE and UNet, float16 on CUDA and float32 elsewhere; queries and keys take 16 bits on every device.

    Raises WeightsUnavailable or WeightsCorrupt.
    """
    on_cuda = device.startswith("cuda")
    dtype = torch.float16 if on_cuda else torch.float32
    folder = store.resolve(name, config, half=on_cuda)
    identity = store.identity(folder)
    variant = "fp16" if store.has_half_precision(folder) else None
    stored_prompt = config.cache_folder / "weights" / f"empty-prompt-{identity}.npy"
    with loading(name, folder, transformers_logging):
        prompt = torch.from_numpy(load_empty_prompt(folder, stored_prompt, variant))
    with loading(name, folder, diffusers_logging):
        vae, unet = _load_networks(folder, variant, dtype)
    prompt, vae, unet = prompt.to(device, dtype), vae.to(device), unet.to(device)
    # The UNet, whose groups are small, was not tried.
    choose_kernels(device).replace_modules(vae)

    def run(image: Image) -> None:
        pixels = _pixel_values(image, grid).to(device, dtype)
        latent = vae.encode(pixels).latent_dist.mode() * vae.config.scaling_factor
        unet(latent, TIMESTEP, encoder_hidden_states=prompt)

    return HookedBackbone(
        name=name,
        grid=grid,
        device=device,
        dtype=dtype,
        weights=identity,
        layers=[_layer(path, unet.get_submodule(path)) for path in LAYERS],
        key_sharpness=key_sharpness,
        run=run,
        is_compact=not on_cuda,
    )


def load_empty_prompt(folder: Path, stored: Path, variant: str | None) -> npt.NDArray[np.float32]:
    """The text encoder's embedding of the empty prompt, ``(1, 77, d)`` float32: a constant of the weights.

    Read from ``stored`` where it was left before, so that the text encoder loads once and not at every start. Where
    that place cannot be written, nothing is kept.
    """
    with contextlib.suppress(OSError, ValueError):
        embedding: npt.NDArray[np.float32] = np.load(stored, allow_pickle=False)
        return embedding
    embedding = _embed_empty_prompt(folder, variant)
    _store(embedding, stored)
    return embedding


def _embed_empty_prompt(folder: Path, variant: str | None) -> npt.NDArray[np.float32]:
    tokenizer: Any = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    encoder: Any = CLIPTextModel.from_pretrained(
        folder / "text_encoder", local_files_only=True, use_safetensors=True, variant=variant, dtype=torch.float32
    )
    length = encoder.config.max_position_embeddings
    tokens = tokenizer("", padding="max_length", max_length=length, return_tensors="pt")
    with torch.inference_mode():
        embedding: npt.NDArray[np.float32] = encoder.eval()(tokens.input_ids).last_hidden_state.numpy()
        return embedding


def _store(embedding: npt.NDArray[np.float32], path: Path) -> None:
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            np.save(file, embedding)
        os.replace(partial, path)
    except OSError as error:
        _log.info("the empty prompt's embedding stays in memory only: %s", error)
        with contextlib.suppress(OSError):
            partial.unlink()


def _load_networks(folder: Path, variant: str | None, dtype: torch.dtype) -> tuple[Any, Any]:
    """(VAE, UNet), frozen; the VAE without its decoder, which only makes images."""
    options = {"local_files_only": True, "use_safetensors": True, "variant": variant, "torch_dtype": dtype}
    vae: Any = AutoencoderKL.from_pretrained(folder / "vae", **options).eval().requires_grad_(False)
    unet: Any = UNet2DConditionModel.from_pretrained(folder / "unet", **options).eval().requires_grad_(False)
    del vae.decoder
    return vae, unet


def _layer(name: str, attention: Any) -> AttentionLayer:
    return AttentionLayer(
        name=name, query=attention.to_q, key=attention.to_k, heads=attention.heads, weight=1 / len(LAYERS)
    )


def _pixel_values(image: Image, grid: tuple[int, int]) -> torch.Tensor:
    """``(1, 3, 8 h, 8 w)`` float32 in -1..1."""
    height, width = grid
    return to_batch(resize(image, LATENT_PIXELS * height, LATENT_PIXELS * width) / 127.5 - 1)
