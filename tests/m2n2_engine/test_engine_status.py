"""What the engine says of itself to /health and /metrics."""

from __future__ import annotations

import numpy as np
import pytest

from m2n2_engine.config import EngineConfig
from m2n2_engine.engine import add_device_memory, load_engine
from m2n2_engine.types import Click, EngineStatus, State, Tier

CUDA = EngineStatus("m2n2-1", device="cuda:1")


def test_the_cache_is_counted():
    tiny = load_engine(EngineConfig(backbone="tiny", grid=8, device="cpu"))
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    for x in (3, 9):
        tiny.segment(image, [Click(x, 5)])
    status = tiny.status()
    device = status.tiers[Tier.DEVICE]
    assert (device.hits, device.misses, device.evictions, device.images) == (1, 1, 0, 1)
    assert status.is_ready
    assert status.device_memory_bytes is None


def test_memory_of_a_device_of_its_own_is_told():
    asked = []
    status = add_device_memory(CUDA, lambda device: asked.append(device) or (30, 80))
    assert (status.device_memory_used_bytes, status.device_memory_bytes) == (50, 80)
    assert status.is_ready
    assert asked == ["cuda:1"]


def test_a_device_that_answers_no_more_is_told():
    def fail(device):
        raise RuntimeError("CUDA error: unspecified launch failure")

    status = add_device_memory(CUDA, fail)
    assert status.state is State.FAILED
    assert status.reason == "the device cuda:1 does not answer any more: restart this server"


@pytest.mark.parametrize("device", ["cpu", None])
def test_another_device_is_not_asked(device):
    status = EngineStatus("m2n2-1", device=device)
    assert add_device_memory(status, pytest.fail) == status
