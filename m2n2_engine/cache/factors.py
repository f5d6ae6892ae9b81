"""Levels 2 and 3 of the attention cache: what an image's transition matrix is rebuilt from, in host memory, on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from m2n2_engine.cache.disk import DiskStore
from m2n2_engine.cache.memory import AttentionKey, ResidentCache
from m2n2_engine.method.factors import BalancedFactors
from m2n2_engine.types import Level


class FactorCache:
    """Balanced factors by key: from host memory, else from the disk, else built; safe under threads."""

    def __init__(self, host_budget_bytes: int, disk: DiskStore | None = None) -> None:
        """host_budget_bytes: 0 keeps none in host memory. disk: None keeps none there."""
        self._host: ResidentCache[BalancedFactors] = ResidentCache(host_budget_bytes, keep_newest=False)
        self._disk = disk
        self._expected_bytes = 0

    def find(self, key: AttentionKey, build: Callable[[], BalancedFactors]) -> tuple[BalancedFactors, Level]:
        """The factors of ``key`` in host memory, and where they were; Level.NETWORK where they had to be built.

        ``build`` is called at most once however many threads ask, and, with a disk, however many processes do. What it
        raises is raised here, and nothing is left of it.
        """
        level = Level.HOST

        def load_or_build() -> BalancedFactors:
            nonlocal level
            balanced, level = self._load_or_build(key, build)
            return balanced

        with self._host.open(key, self._expected_bytes, load_or_build) as balanced:
            # Images of one backbone take the same room: its grid is fixed.
            self._expected_bytes = balanced.nbytes
            return balanced, level

    def find_level(self, key: AttentionKey) -> Level:
        """Where ``find`` would look first and not in vain; NETWORK: nowhere."""
        if key in self._host:
            return Level.HOST
        return Level.DISK if self._disk is not None and key in self._disk else Level.NETWORK

    def describe(self) -> Mapping[str, int]:
        """Counts and sizes, ``host_*`` and where there is a disk ``disk_*``."""
        facts = self._host.statistics.describe("host")
        if self._disk is None:
            return facts
        return {
            **facts,
            **self._disk.statistics.describe("disk"),
            "disk_write_failures": self._disk.write_failures,
        }

    def _load_or_build(self, key: AttentionKey, build: Callable[[], BalancedFactors]) -> tuple[BalancedFactors, Level]:
        if self._disk is None:
            return build().to("cpu"), Level.NETWORK
        with self._disk.building(key):
            kept = self._disk.load(key)
            if kept is not None:
                return kept, Level.DISK
            balanced = build().to("cpu")
            # The click waits for the write: it goes to the kernel's memory, in at most a hundredth of the time that
            # building took, and there is no queue that could grow or be lost.
            self._disk.save(key, balanced)
            return balanced, Level.NETWORK
