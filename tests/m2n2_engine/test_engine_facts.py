"""What the engine says of itself to /health and /metrics."""

from __future__ import annotations

import numpy as np
import torch

from m2n2_engine import engine
from m2n2_engine.config import EngineConfig
from m2n2_engine.types import Click


def test_the_cache_is_counted():
    tiny = engine.load_engine(EngineConfig(backbone="tiny", grid=8, device="cpu"))
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    for x in (3, 9):
        tiny.segment(image, [Click(x, 5)])
    facts = tiny.describe()
    assert (facts["session_hits"], facts["session_misses"], facts["session_evictions"], facts["session_images"]) == (
        1,
        1,
        0,
        1,
    )
    assert facts["device_usable"] is True
    assert "device_memory_bytes" not in facts


def test_memory_of_a_device_of_its_own_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (30, 80))
    assert engine._describe_device("cuda:0") == {
        "device_usable": True,
        "device_memory_used_bytes": 50,
        "device_memory_bytes": 80,
    }


def test_a_device_that_answers_no_more_is_told(monkeypatch):
    def fail(device):
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(torch.cuda, "mem_get_info", fail)
    assert engine._describe_device("cuda:1") == {"device_usable": False}
