"""What the engine's tests share: drawn images, the tiny backbone, one thread."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from m2n2_engine.config import EngineConfig, MethodConfig
from m2n2_engine.kernels.cpu.chain import build_transition
from m2n2_engine.kernels.cpu.threads import set_thread_count, thread_count
from m2n2_engine.method.chain import AttentionFactors, BalancedFactors, LayerFactors
from m2n2_engine.types import Image, Mask

DrawDisc = Callable[..., tuple[Image, Mask]]
MakeBalanced = Callable[..., BalancedFactors]


@pytest.fixture
def tiny_config() -> EngineConfig:
    return EngineConfig(backbone="tiny", device="cpu", threads=1)


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


PARITY_NAMES = ("flowers_dinov2_16", "blobs_local_10x14", "ratio_11x13")


@pytest.fixture(scope="session", params=PARITY_NAMES)
def reference(request, parity_folder):
    """A dictionary of arrays; see tests/data/parity/README.md for their meaning."""
    with np.load(parity_folder / f"{request.param}.npz") as arrays:
        return dict(arrays)


@pytest.fixture
def threads():
    """Sets how many threads the kernels use, until the test ends."""
    before = thread_count()
    yield set_thread_count
    set_thread_count(before)


@pytest.fixture
def method():
    return MethodConfig()


@pytest.fixture
def attention(reference):
    """(n, n), a copy that the test may overwrite."""
    cells = reference["attention"].shape[0] * reference["attention"].shape[1]
    return torch.from_numpy(reference["attention"].reshape(cells, cells).copy())


@pytest.fixture
def transition(attention, method):
    return build_transition(attention, method.chain)


@pytest.fixture
def pixel(reference):
    """(x, y) of the reference click."""
    return int(reference["click"][0]), int(reference["click"][1])


@pytest.fixture(scope="session")
def relative_error():
    """max |a - b| / max |b|."""
    return lambda found, expected: np.abs(np.asarray(found) - expected).max() / np.abs(expected).max()
