"""Image -> transition matrix: from what is kept of it, else from the network."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Protocol

import torch

from m2n2_engine.backbones import Backbone
from m2n2_engine.cache.factors import FactorCache
from m2n2_engine.cache.memory import AttentionKey
from m2n2_engine.config import MethodConfig
from m2n2_engine.kernels import choose_kernels
from m2n2_engine.method.factors import BalancedFactors
from m2n2_engine.types import Image, Level


class TransitionSource(Protocol):
    """Where an engine gets transition matrices from. Implementations are safe under threads."""

    def find_transition(self, image: Image, key: AttentionKey) -> tuple[torch.Tensor, Level]:
        """The image's transition matrix ``(h, w, h, w)``, the caller's to keep, and where it was found."""

    def find_level(self, key: AttentionKey) -> Level:
        """Where ``find_transition`` would find it, by what is known without looking into it."""

    def build_transition(self, image: Image) -> torch.Tensor:
        """The same prepared anew, of which nothing is kept here."""

    def describe(self) -> Mapping[str, int]:
        """Facts of what is kept; see ``types.Segmenter.describe``."""


class AttentionAggregator(Protocol):
    """Anything that turns an image into attention."""

    def extract_attention(self, image: Image) -> torch.Tensor:
        """Attention ``(h, w, h, w)`` float32 of an RGB uint8 ``(H, W, 3)`` image; the last two axes sum to 1."""


class AggregatorSource:
    """Transition matrices of an object that only knows whole attentions: nothing is kept of them."""

    def __init__(self, aggregator: AttentionAggregator, method: MethodConfig) -> None:
        """aggregator: what it returns is overwritten."""
        self._aggregator = aggregator
        self._method = method
        self._lock = threading.Lock()

    def find_transition(self, image: Image, key: AttentionKey) -> tuple[torch.Tensor, Level]:
        """Always prepared anew."""
        return self.build_transition(image), Level.NETWORK

    def find_level(self, key: AttentionKey) -> Level:
        """Nowhere."""
        return Level.NETWORK

    def build_transition(self, image: Image) -> torch.Tensor:
        """The transition matrix ``(h, w, h, w)``."""
        with self._lock, torch.inference_mode():
            attention = self._aggregator.extract_attention(image)
            cells = attention.shape[0] * attention.shape[1]
            kernels = choose_kernels(str(attention.device))
            transition = kernels.build_transition(attention.reshape(cells, cells), self._method.chain)
        return transition.reshape(attention.shape)

    def describe(self) -> Mapping[str, int]:
        """Nothing."""
        return {}


class BackboneSource:
    """Transition matrices of a backbone, whose factors are kept in host memory and on disk."""

    def __init__(self, backbone: Backbone, method: MethodConfig, cache: FactorCache) -> None:
        self._backbone = backbone
        self._kernels = choose_kernels(backbone.device)
        self._method = method
        self._cache = cache
        # One image passes network and balancing at a time: a second one would only make both later, at twice the
        # memory. Restoring is short, and does not wait for it.
        self._lock = threading.Lock()

    def find_transition(self, image: Image, key: AttentionKey) -> tuple[torch.Tensor, Level]:
        """From the host's memory, the disk or the network."""
        built: list[torch.Tensor] = []

        def build() -> BalancedFactors:
            balanced, transition = self._build(image)
            built.append(transition)
            return balanced

        with torch.inference_mode():
            balanced, level = self._cache.find(key, build)
            matrix = built[0] if built else self._kernels.restore_transition(balanced, self._method.chain)
        return self._to_grid(matrix), level

    def find_level(self, key: AttentionKey) -> Level:
        """The host's memory, the disk or the network."""
        return self._cache.find_level(key)

    def build_transition(self, image: Image) -> torch.Tensor:
        """The transition matrix ``(h, w, h, w)``; the cache is not asked and does not learn of it."""
        with torch.inference_mode():
            return self._to_grid(self._build(image)[1])

    def describe(self) -> Mapping[str, int]:
        """``host_*`` and ``disk_*``."""
        return self._cache.describe()

    def _build(self, image: Image) -> tuple[BalancedFactors, torch.Tensor]:
        with self._lock:
            return self._kernels.balance_factors(self._backbone.extract(image), self._method.chain)

    def _to_grid(self, matrix: torch.Tensor) -> torch.Tensor:
        return matrix.reshape(*self._backbone.grid, *self._backbone.grid)
