"""Image -> transition matrix: from what is kept of it, else from the network."""

from __future__ import annotations

import threading
from typing import Protocol

import torch

from m2n2_engine.aggregator import AttentionAggregator
from m2n2_engine.config import MethodConfig
from m2n2_engine.factor_cache import FactorCache
from m2n2_engine.ops.transition import balance_factors, build_transition, restore_transition
from m2n2_engine.types import AttentionKey, Backbone, BalancedFactors, Image, Level


class TransitionSource(Protocol):
    """Where an engine gets transition matrices from. Implementations are safe under threads."""

    def find_transition(self, image: Image, key: AttentionKey) -> tuple[torch.Tensor, Level]:
        """The image's transition matrix ``(h, w, h, w)``, the caller's to keep, and where it was found."""


class AggregatorSource:
    """Transition matrices of an object that only knows whole attentions: nothing is kept of them."""

    def __init__(self, aggregator: AttentionAggregator, method: MethodConfig) -> None:
        """aggregator: what it returns is overwritten."""
        self._aggregator = aggregator
        self._method = method
        self._lock = threading.Lock()

    def find_transition(self, image: Image, key: AttentionKey) -> tuple[torch.Tensor, Level]:
        """Always prepared anew."""
        with self._lock, torch.inference_mode():
            attention = self._aggregator.extract_attention(image)
            cells = attention.shape[0] * attention.shape[1]
            transition = build_transition(attention.reshape(cells, cells), self._method)
        return transition.reshape(attention.shape), Level.NETWORK


class BackboneSource:
    """Transition matrices of a backbone, whose factors are kept in host memory and on disk."""

    def __init__(self, backbone: Backbone, method: MethodConfig, cache: FactorCache) -> None:
        self._backbone = backbone
        self._method = method
        self._cache = cache
        # One image passes network and balancing at a time: a second one would only make both later, at twice the
        # memory. Restoring is short, and does not wait for it.
        self._lock = threading.Lock()

    def find_transition(self, image: Image, key: AttentionKey) -> tuple[torch.Tensor, Level]:
        """From the host's memory, the disk or the network."""
        built: list[torch.Tensor] = []

        def build() -> BalancedFactors:
            with self._lock:
                balanced, transition = balance_factors(self._backbone.extract(image), self._method)
            built.append(transition)
            return balanced

        with torch.inference_mode():
            balanced, level = self._cache.find(key, build)
            matrix = built[0] if built else restore_transition(balanced.to(self._backbone.device), self._method)
        grid = balanced.factors.grid
        return matrix.reshape(*grid, *grid), level
