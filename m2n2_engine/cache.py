"""The attention cache: which images are resident, by least recent use and a byte budget.

This is level 1, sessions on the device. Levels 2 and 3 (factors in host memory and on disk) belong between a miss here
and the call of ``build``: ``open`` is the only place that decides where a session comes from.
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

from m2n2_engine.types import AttentionKey

logger = logging.getLogger(__name__)


class Resident(Protocol):
    """Something that takes room."""

    @property
    def nbytes(self) -> int:
        """Memory held now, in bytes; may grow while in use."""


SessionT = TypeVar("SessionT", bound=Resident)


@dataclasses.dataclass(frozen=True, slots=True)
class CacheStatistics:
    """Counts since the start, and what is held now. A hit includes waiting for another caller's build."""

    hits: int
    misses: int
    evictions: int
    sessions: int
    used_bytes: int
    budget_bytes: int


class _Entry(Generic[SessionT]):
    def __init__(self) -> None:
        self.future: Future[SessionT] = Future()
        self.users = 0

    @property
    def nbytes(self) -> int:
        return self.future.result().nbytes if self.future.done() else 0


class SessionCache(Generic[SessionT]):
    """Least-recently-used sessions within a byte budget; safe under threads.

    A session in use is never evicted, and the newest always stays: a budget smaller than one session would otherwise
    prepare the same image again at every click.
    """

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._lock = threading.Lock()
        self._entries: collections.OrderedDict[AttentionKey, _Entry[SessionT]] = collections.OrderedDict()
        self._hits = self._misses = self._evictions = 0

    @contextlib.contextmanager
    def open(self, key: AttentionKey, expected_bytes: int, build: Callable[[], SessionT]) -> Iterator[SessionT]:
        """The session of ``key``, built at most once however many callers ask; pinned until the block ends.

        expected_bytes: room made before ``build`` is called. A build that raises leaves nothing behind, and everyone
        who waited for it gets its exception.
        """
        entry, is_builder = self._enter(key, expected_bytes)
        try:
            if is_builder:
                self._build(key, entry, build)
            yield entry.future.result()
        finally:
            self._leave(entry)

    def __contains__(self, key: AttentionKey) -> bool:
        """Whether the session of ``key`` is built; one that is being built is not."""
        with self._lock:
            entry = self._entries.get(key)
            return entry is not None and entry.future.done()

    def drop_idle(self) -> None:
        """Evict every session that is not in use."""
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

    def _enter(self, key: AttentionKey, expected_bytes: int) -> tuple[_Entry[SessionT], bool]:
        with self._lock:
            entry = self._entries.get(key)
            is_builder = entry is None
            if entry is None:
                self._misses += 1
                self._evict_until(self._budget_bytes - expected_bytes)
                entry = self._entries[key] = _Entry()
            else:
                self._hits += 1
                self._entries.move_to_end(key)
            entry.users += 1
            return entry, is_builder

    def _build(self, key: AttentionKey, entry: _Entry[SessionT], build: Callable[[], SessionT]) -> None:
        try:
            session = build()
        except BaseException as error:
            with self._lock:
                self._entries.pop(key, None)
            entry.future.set_exception(error)
        else:
            entry.future.set_result(session)

    def _leave(self, entry: _Entry[SessionT]) -> None:
        with self._lock:
            entry.users -= 1
            # Sessions grow while clicks are added, so the budget is looked at again when one is given back.
            self._evict_until(self._budget_bytes, keep_newest=True)

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
                logger.debug("evicted the session of image %s", key.image[:12])

    def _used_bytes(self) -> int:
        return sum(entry.nbytes for entry in self._entries.values())
