"""What the engine's tests share: drawn images, the tiny backbone, one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from m2n2_engine.config import EngineConfig
from m2n2_engine.ops.compiled import set_thread_count, thread_count
from m2n2_engine.types import Image, Mask

DrawDisc = Callable[..., tuple[Image, Mask]]


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """One thread for torch and the kernels: a thousand steps over a tiny matrix are all waiting with more."""
    before = thread_count(), torch.get_num_threads()
    set_thread_count(1)
    torch.set_num_threads(1)
    yield
    set_thread_count(before[0])
    torch.set_num_threads(before[1])


@pytest.fixture
def tiny_config() -> EngineConfig:
    return EngineConfig(backbone="tiny", device="cpu", threads=1)


@pytest.fixture
def draw_disc() -> DrawDisc:
    """A red disc on grey-blue, and which pixels it covers. All in pixels."""

    def draw(
        width: int = 96, height: int = 72, center: tuple[float, float] = (40, 36), radius: float = 18
    ) -> tuple[Image, Mask]:
        y, x = np.mgrid[:height, :width] + 0.5
        disc = (x - center[0]) ** 2 + (y - center[1]) ** 2 < radius**2
        image = np.full((height, width, 3), (40, 60, 90), np.uint8)
        image[disc] = (220, 60, 40)
        return image, disc

    return draw


@pytest.fixture
def iou() -> Callable[[Mask, Mask], float]:
    """Intersection over union."""
    return lambda mask, truth: float((mask & truth).sum() / (mask | truth).sum())
