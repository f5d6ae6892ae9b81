"""What the engine's tests share: drawn images, the tiny backbone, one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from m2n2_engine.config import EngineConfig
from m2n2_engine.ops.compiled import set_thread_count, thread_count
from m2n2_engine.types import AttentionFactors, BalancedFactors, Image, LayerFactors, Mask

DrawDisc = Callable[..., tuple[Image, Mask]]
MakeBalanced = Callable[..., BalancedFactors]


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


@pytest.fixture
def make_balanced() -> MakeBalanced:
    """Factors of one image with two layers, one of them with a special token, on a 3 x 4 grid."""

    def make(seed: int = 0, dtype: torch.dtype = torch.float32) -> BalancedFactors:
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> torch.Tensor:
            return torch.randn(shape, generator=generator).to(dtype)

        layers = (
            LayerFactors(draw(2, 12, 2), draw(2, 12, 2), weight=0.1, scale=0.7),
            LayerFactors(draw(1, 13, 4), draw(1, 13, 4), weight=0.9, special_tokens=1),
        )
        vectors = torch.rand(2, 12, generator=generator)
        return BalancedFactors(AttentionFactors(layers, (3, 4)), vectors[0], vectors[1])

    return make


@pytest.fixture
def equal() -> Callable[[BalancedFactors, BalancedFactors], bool]:
    """Whether two hold the same, to the last bit."""

    def tensors(balanced: BalancedFactors) -> list[torch.Tensor]:
        pairs = [tensor for layer in balanced.factors.layers for tensor in (layer.query, layer.key)]
        return [*pairs, balanced.rows, balanced.columns]

    def compare(one: BalancedFactors, other: BalancedFactors) -> bool:
        shares = [
            [(layer.weight, layer.special_tokens, layer.scale) for layer in found.factors.layers]
            for found in (one, other)
        ]
        return (
            shares[0] == shares[1]
            and one.factors.grid == other.factors.grid
            and all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(tensors(one), tensors(other), strict=True))
        )

    return compare
