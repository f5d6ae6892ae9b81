"""An image that is let go leaves memory at once. Python's collector of cycles, which counts objects and not their
bytes, may not come by for a long time."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from m2n2_engine.config import EngineConfig
from m2n2_engine.engine import load_engine
from m2n2_engine.presets import PRESETS
from m2n2_engine.session.session import Session
from m2n2_engine.types import Box, Click, Picture

pytestmark = pytest.mark.usefixtures("one_thread")

PICTURES = 4


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("options", [{}, {"box": Box(20, 15, 60, 50)}], ids=["clicks", "box"])
def test_images_that_are_let_go_are_not_in_memory(preset: str, options: dict[str, Any], no_collector: None) -> None:
    def count() -> int:
        return sum(type(found) is Session for found in gc.get_objects())

    before = count()
    config = EngineConfig(backbone="tiny", device="cpu", threads=1, preset=preset, session_cache_bytes=1)
    engine = load_engine(config)
    generator = np.random.default_rng(0)
    for _ in range(PICTURES):
        pixels = generator.integers(0, 255, (64, 80, 3), np.uint8)
        pixels[20:50, 25:60] = 250, 60, 20
        for clicks in ([Click(40, 32)], [Click(40, 32), Click(70, 10, False)]):
            engine.segment(Picture.of(pixels), clicks, **options)
    # The last one may stay, and the part of it that was looked at again.
    assert count() - before <= 2
