from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch import nn

from m2n2_engine.backbones.capture import AttentionLayer, HookedBackbone, capture_factors
from m2n2_engine.kernels.cpu.chain import build_attention

HEADS, SIZE, TOKENS = 2, 6, 5


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_q, self.to_k, self.to_v = (nn.Linear(SIZE, SIZE) for _ in range(3))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.to_q(tokens) + self.to_k(tokens) + self.to_v(tokens)
        return result


class _Fail(nn.Module):
    def forward(self, _tokens: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the network went on after the last layer that is read")


def _layer(attention: _Attention, name: str = "attention") -> AttentionLayer:
    return AttentionLayer(name, attention.to_q, attention.to_k, HEADS, weight=0.5, special_tokens=1)


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randn(1, TOKENS, SIZE)


def test_heads_are_split_and_the_network_stops(tokens: torch.Tensor) -> None:
    first, second = _Attention(), _Attention()
    network = nn.Sequential(first, second, _Fail())
    factors = capture_factors([_layer(second), _layer(first)], lambda: network(tokens))
    assert [(layer.query.shape, layer.key.shape) for layer in factors] == [((HEADS, TOKENS, SIZE // HEADS),) * 2] * 2
    assert [(layer.weight, layer.special_tokens) for layer in factors] == [(0.5, 1)] * 2
    torch.testing.assert_close(factors[1].query[1], first.to_q(tokens)[0, :, SIZE // HEADS :])
    torch.testing.assert_close(factors[0].key[0], second.to_k(first(tokens))[0, :, : SIZE // HEADS])
    # A hook that stayed would end this, too.
    second(first(tokens))


def test_hooks_go_where_the_network_fails(tokens: torch.Tensor) -> None:
    attention = _Attention()
    network = nn.Sequential(attention, _Fail())
    other = _Attention()
    with pytest.raises(AssertionError, match="went on"):
        capture_factors([_layer(attention), _layer(other)], lambda: network(tokens))
    # Hooks that stayed would end this once all layers were seen.
    other(attention(tokens))


def test_a_layer_that_never_runs_is_an_error(tokens: torch.Tensor) -> None:
    attention = _Attention()
    with pytest.raises(RuntimeError, match="without passing all of first, second"):
        capture_factors([_layer(attention, "first"), _layer(_Attention(), "second")], lambda: attention(tokens))


def test_one_image_at_a_time_on_one_thread() -> None:
    attention, seen = _Attention(), []

    def run(_image: object) -> None:
        seen.append(threading.get_ident())
        attention(torch.zeros(1, TOKENS, SIZE))

    backbone = HookedBackbone(
        name="test",
        grid=(2, 2),
        device="cpu",
        dtype=torch.float32,
        weights="none",
        layers=[_layer(attention)],
        run=run,
    )
    image = np.zeros((4, 4, 3), np.uint8)
    threads = [threading.Thread(target=lambda: [backbone.extract(image) for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 80
    assert len(set(seen)) == 1
    assert seen[0] not in {threading.get_ident(), *(thread.ident for thread in threads)}


@pytest.mark.parametrize("spread", [0.0, 1e-3, 30.0])
def test_compact_factors_are_integers_with_a_scale(tokens: torch.Tensor, spread: float) -> None:
    attention = _Attention()

    def build(is_compact: bool) -> HookedBackbone:
        return HookedBackbone(
            name="test",
            grid=(2, 2),
            device="cpu",
            dtype=torch.float32,
            weights="none",
            layers=[_layer(attention)],
            run=lambda _image: attention(spread * tokens),
            is_compact=is_compact,
        )

    for projection in (attention.to_q, attention.to_k):
        nn.init.zeros_(projection.bias)
    exact, compact = build(False), build(True)
    image = np.zeros((4, 4, 3), np.uint8)
    (full,), (rounded,) = exact.extract(image).layers, compact.extract(image).layers
    assert rounded.query.dtype == rounded.key.dtype == torch.int16
    products = full.query @ full.key.mT
    found = rounded.query.float() @ rounded.key.float().mT * rounded.scale
    torch.testing.assert_close(found, products, rtol=0, atol=1e-3 * float(products.abs().max()))
    assert exact.fingerprint != compact.fingerprint


@pytest.mark.parametrize("is_compact", [False, True])
def test_keys_that_attend_to_keys(tokens: torch.Tensor, is_compact: bool) -> None:
    """Against the plain form: softmax of the sharpened cosine over all tokens, mean over heads, cells only."""
    attention = _Attention()
    backbone = HookedBackbone(
        name="keys",
        grid=(2, 2),
        device="cpu",
        dtype=torch.float32,
        weights="none",
        layers=[_layer(attention)],
        run=lambda _image: attention(tokens),
        is_compact=is_compact,
        key_sharpness=8.0,
    )
    factors = backbone.extract(np.zeros((2, 2, 3), np.uint8))
    with torch.no_grad():
        keys = attention.to_k(tokens)[0].numpy().reshape(TOKENS, HEADS, SIZE // HEADS)
    keys = keys / np.linalg.norm(keys, axis=2, keepdims=True)
    numerators = np.exp(8.0 * np.einsum("ihd,jhd->hij", keys, keys))
    mean = (numerators / numerators.sum(axis=2, keepdims=True)).mean(axis=0)[1:, 1:]
    expected = mean / mean.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(build_attention(factors), expected, rtol=0, atol=1e-3 if is_compact else 1e-6)
    (layer,) = factors.layers
    assert layer.nbytes == layer.key.nbytes
    assert layer.to("cpu").query is layer.to("cpu").key
