"""Stable Diffusion 2's networks at full size with random weights, for timings where the real ones are not at hand.

    python examples/random_stable_diffusion.py FOLDER
    M2N2_WEIGHTS_FOLDER=FOLDER m2n2 benchmark --backbone stable-diffusion-2 ...

The networks take as long as the real ones. Their attention is nearly even, so that walks arrive at once: the benchmark
times 64 steps of a walk by themselves.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

TOKENIZER = Path(__file__).parents[1] / "tests/data/parity/tiny-sd2/tokenizer"
"""Any will do: the empty prompt is looked up once and kept."""

# The published configuration of Stable Diffusion 2 (unet/config.json, vae/config.json of its repositories).
UNET = {
    "sample_size": 96,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "sample_size": 768,
}


def write(folder: Path) -> None:
    """Write the folder that ``m2n2_engine.weights.store`` expects, in half precision; 1.9 GB."""
    torch.manual_seed(0)
    for name, network in (("unet", UNet2DConditionModel(**UNET)), ("vae", AutoencoderKL(**VAE))):
        network.half().save_pretrained(folder / name, variant="fp16")
    # Of the text encoder only the width of its answer matters.
    text = CLIPTextConfig(vocab_size=600, hidden_size=UNET["cross_attention_dim"], num_hidden_layers=1)
    CLIPTextModel(text).half().save_pretrained(folder / "text_encoder", variant="fp16")
    shutil.copytree(TOKENIZER, folder / "tokenizer", dirs_exist_ok=True)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
