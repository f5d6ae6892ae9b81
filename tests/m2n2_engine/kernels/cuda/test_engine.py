"""The whole engine on the fused kernels, on a GPU or in Triton's interpreter, against the one on the processor."""

import dataclasses

import pytest
import torch

from m2n2_engine.backbones import load_backbone
from m2n2_engine.cache.factors import FactorCache
from m2n2_engine.cache.memory import AttentionKey
from m2n2_engine.cache.transitions import BackboneSource
from m2n2_engine.config import ChainConfig, EngineConfig, MethodConfig
from m2n2_engine.engine import load_engine
from m2n2_engine.session.session import Session, session_bytes
from m2n2_engine.types import Click, Level

# Few rounds and steps, because the interpreter is slow; both forms do as many.
METHOD = MethodConfig(ChainConfig(balancing_rounds=3), max_steps=8)
CONFIG = EngineConfig(backbone="tiny", device="cpu", grid=8, threads=1, method=METHOD)
CLICKS = [Click(10, 8), Click(3, 3, positive=False)]
KEY = AttentionKey("image", "fingerprint")


@pytest.mark.usefixtures("one_thread", "narrow")
def test_masks_memory_and_restoring(draw_disc, iou, device, fused_everywhere):
    image, _ = draw_disc(24, 16, (10, 8), 4)
    config = dataclasses.replace(CONFIG, device=device.type)
    source = BackboneSource(load_backbone(config).backbone, METHOD, FactorCache(2**30))
    transition, _ = source.find_transition(image, KEY)
    assert transition.dtype == torch.float16
    session = Session(image, transition, METHOD, 2**20)
    tables_bytes = image.nbytes + 4 * (2 * 6 + 1) * (2 * 9 + 2)
    expected_bytes = session_bytes(image.shape[:2], 64, METHOD, device)
    assert expected_bytes <= session.nbytes <= expected_bytes + tables_bytes
    mask, _ = session.segment(image, CLICKS)

    restored, level = source.find_transition(image, KEY)
    assert level is Level.HOST
    torch.testing.assert_close(restored, transition, rtol=0, atol=0)

    fused_everywhere.undo()
    assert iou(mask, load_engine(CONFIG).segment(image, CLICKS).mask) >= 0.99
