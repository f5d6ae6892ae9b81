"""Levels 2 and 3 of the attention cache: what an image's transition matrix is rebuilt from, in host memory."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable

from m2n2_engine.types import AttentionKey, BalancedFactors, Level


class FactorCache:
    """Least-recently-used factors within a byte budget; safe under threads. Tensors are kept in host memory."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._lock = threading.Lock()
        self._kept: collections.OrderedDict[AttentionKey, BalancedFactors] = collections.OrderedDict()

    def find(self, key: AttentionKey, build: Callable[[], BalancedFactors]) -> tuple[BalancedFactors, Level]:
        """The factors of ``key`` and where they were; Level.NETWORK where ``build`` had to be called."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
                return kept, Level.HOST
        balanced = build()
        with self._lock:
            self._kept[key] = balanced.to("cpu")
            while sum(other.nbytes for other in self._kept.values()) > self._budget_bytes:
                self._kept.popitem(last=False)
        return balanced, Level.NETWORK
