"""What stays in memory, by least recent use and a byte budget: levels 1 and 2 of the attention cache.

Level 1 holds sessions on the device; a miss there asks level 2, factors in host memory (``factor_cache``), and a miss
there the disk (``disk_store``).
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Generic, Protocol, TypeVar

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class AttentionKey:
    """Names one resident image: what was seen, and what looked at it.

    image: hex digest of shape and pixels. fingerprint: backbone, weights, grid and method constants.
    """

    image: str
    fingerprint: str


class Resident(Protocol):
    """Something that takes room."""

    @property
    def nbytes(self) -> int:
        """Memory held now, in bytes; may grow while in use."""


ResidentT = TypeVar("ResidentT", bound=Resident)


@dataclasses.dataclass(frozen=True, slots=True)
class CacheStatistics:
    """Counts since the start, and what is held now. A hit includes waiting for another caller's build.

    used_bytes: with what is reserved for builds under way.
    """

    hits: int
    misses: int
    evictions: int
    images: int
    used_bytes: int
    budget_bytes: int

    def describe(self, level: str) -> dict[str, int]:
        """As facts of an engine: ``<level>_images``, ``<level>_bytes`` and so on."""
        return {
            f"{level}_images": self.images,
            f"{level}_bytes": self.used_bytes,
            f"{level}_budget_bytes": self.budget_bytes,
            f"{level}_hits": self.hits,
            f"{level}_misses": self.misses,
            f"{level}_evictions": self.evictions,
        }


class _Entry(Generic[ResidentT]):
    def __init__(self, expected_bytes: int) -> None:
        self.future: Future[ResidentT] = Future()
        self.users = 0
        self._expected_bytes = expected_bytes

    @property
    def nbytes(self) -> int:
        return self.future.result().nbytes if self.future.done() else self._expected_bytes


class ResidentCache(Generic[ResidentT]):
    """Least-recently-used things within a byte budget; safe under threads. What is in use is never evicted."""

    def __init__(self, budget_bytes: int, *, keep_newest: bool = True) -> None:
        """keep_newest: also where it alone exceeds the budget; else the same image would be prepared again at every
        click."""
        self._budget_bytes = budget_bytes
        self._keep_newest = keep_newest
        self._lock = threading.Lock()
        self._entries: collections.OrderedDict[AttentionKey, _Entry[ResidentT]] = collections.OrderedDict()
        self._hits = self._misses = self._evictions = 0

    @contextlib.contextmanager
    def open(self, key: AttentionKey, expected_bytes: int, build: Callable[[], ResidentT]) -> Iterator[ResidentT]:
        """What is kept of ``key``, built at most once however many callers ask; pinned until the block ends.

        expected_bytes: room made before ``build`` is called, and reserved until it has ended. A build that raises
        leaves nothing behind, and everyone who waited for it gets its exception.
        """
        entry, is_builder = self._enter(key, expected_bytes)
        try:
            if is_builder:
                self._build(key, entry, build)
            yield entry.future.result()
        finally:
            self._leave(entry)

    def __contains__(self, key: AttentionKey) -> bool:
        """Whether ``key`` is kept and built; what is being built is not."""
        with self._lock:
            entry = self._entries.get(key)
            return entry is not None and entry.future.done()

    def drop_idle(self) -> None:
        """Evict everything that is not in use."""
        with self._lock:
            self._evict_until(0)

    @property
    def statistics(self) -> CacheStatistics:
        """A consistent snapshot."""
        with self._lock:
            used = self._used_bytes()
            return CacheStatistics(
                self._hits, self._misses, self._evictions, len(self._entries), used, self._budget_bytes
            )

    def _enter(self, key: AttentionKey, expected_bytes: int) -> tuple[_Entry[ResidentT], bool]:
        with self._lock:
            entry = self._entries.get(key)
            is_builder = entry is None
            if entry is None:
                self._misses += 1
                self._evict_until(self._budget_bytes - expected_bytes)
                entry = self._entries[key] = _Entry(expected_bytes)
            else:
                self._hits += 1
                self._entries.move_to_end(key)
            entry.users += 1
            return entry, is_builder

    def _build(self, key: AttentionKey, entry: _Entry[ResidentT], build: Callable[[], ResidentT]) -> None:
        try:
            built = build()
        except BaseException as error:
            with self._lock:
                self._entries.pop(key, None)
            entry.future.set_exception(error)
        else:
            entry.future.set_result(built)

    def _leave(self, entry: _Entry[ResidentT]) -> None:
        with self._lock:
            entry.users -= 1
            # Sessions grow while clicks are added, so the budget is looked at again when one is given back.
            self._evict_until(self._budget_bytes, keep_newest=self._keep_newest)

    def _evict_until(self, target_bytes: int, *, keep_newest: bool = False) -> None:
        used = self._used_bytes()
        candidates = list(self._entries)[:-1] if keep_newest else list(self._entries)
        for key in candidates:
            if used <= target_bytes:
                return
            entry = self._entries[key]
            if entry.users == 0:
                used -= entry.nbytes
                del self._entries[key]
                self._evictions += 1
                logger.debug("evicted image %s", key.image[:12])

    def _used_bytes(self) -> int:
        return sum(entry.nbytes for entry in self._entries.values())
