"""DINOv2 in 16 bits, on a processor that multiplies them faster."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from m2n2_engine.backbones import load_backbone
from m2n2_engine.backbones.blockwise import attend_in_blocks
from m2n2_engine.backbones.precision import Precision, choose_precision
from m2n2_engine.config import EngineConfig, WeightsConfig
from m2n2_engine.engine import load_engine
from m2n2_engine.errors import ConfigurationError
from m2n2_engine.types import Click

pytestmark = pytest.mark.usefixtures("one_thread")

ABLE, UNABLE = {"avx512_bf16": True, "avx2": True}, {"avx512_bf16": False, "avx2": True}


@pytest.mark.parametrize(
    ("asked", "device", "as_published", "instructions", "expected"),
    [
        ("auto", "cpu", False, ABLE, Precision.BFLOAT16),
        ("auto", "cpu", False, {"amx_bf16": True}, Precision.BFLOAT16),
        ("auto", "cpu", False, UNABLE, Precision.FLOAT32),
        ("auto", "cpu", False, {}, Precision.FLOAT32),
        ("auto", "cpu", True, ABLE, Precision.FLOAT32),
        ("auto", "cuda:0", False, ABLE, Precision.FLOAT32),
        ("auto", "mps", False, ABLE, Precision.FLOAT32),
        ("float32", "cpu", False, ABLE, Precision.FLOAT32),
        ("bfloat16", "cpu", True, UNABLE, Precision.BFLOAT16),
    ],
)
def test_the_processor_decides_unless_one_is_asked_for(asked, device, as_published, instructions, expected) -> None:
    found = choose_precision(asked, device, as_published=as_published, instructions=lambda: instructions)
    assert found is expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "float16"}, "unknown precision 'float16': use one of auto, float32, bfloat16"),
        (
            {"precision": "bfloat16", "backbone": "tiny"},
            "the precision bfloat16 is for DINOv2, and the backbone is tiny",
        ),
    ],
)
def test_what_cannot_be_had_is_refused(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_backbone(dataclasses.replace(EngineConfig(backbone="dinov2-small", device="cpu"), **changes))


def test_a_gpu_keeps_to_32_bits() -> None:
    with pytest.raises(ConfigurationError, match="the device is cuda:0: use auto"):
        choose_precision("bfloat16", "cuda:0", as_published=False)


def test_attention_in_blocks_is_attention() -> None:
    query, key, value = torch.randn(3, 1, 2, 600, 8, generator=torch.Generator().manual_seed(0))
    found, _ = attend_in_blocks(torch.nn.Identity(), query, key, value, None, 0.3)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=0.3).transpose(1, 2)
    torch.testing.assert_close(found, expected)


def test_keys_and_masks_stay_the_same_in_16_bits(embedded_weights: WeightsConfig) -> None:
    generator = np.random.default_rng(5)
    image = np.clip(generator.normal(80, 12, (120, 160, 3)), 0, 255).astype(np.uint8)
    image[30:90, 50:110] = np.clip(generator.normal((180, 60, 40), 12, (60, 60, 3)), 0, 255)
    engines, keys = [], []
    for precision in ("float32", "bfloat16"):
        config = EngineConfig(
            embedded_weights, backbone="dinov2-small", device="cpu", grid=16, preset="consensus", precision=precision
        )
        (layer,) = load_backbone(config).backbone.extract(image).layers
        keys.append(layer.key)
        engines.append(load_engine(config))
        assert engines[-1].status().precision == precision
    assert keys[1].dtype is torch.float32
    assert torch.cosine_similarity(*keys, dim=-1).mean() > 0.999
    assert engines[0].fingerprint != engines[1].fingerprint
    exact, quick = (engine.segment(image, [Click(80, 60)]).mask for engine in engines)
    assert (exact & quick).sum() / (exact | quick).sum() > 0.98
