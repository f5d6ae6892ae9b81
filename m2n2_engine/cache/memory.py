"""What stays in memory, by least recent use and a byte budget: the tiers on the device and in host memory."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Generic, Protocol, TypeVar

from m2n2_engine.errors import DeadlineExceeded
from m2n2_engine.types import NEVER, Deadline, TierStatus

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class AttentionKey:
    """Names what is kept of one image: what was seen, and what looked at it.

    image: hex digest of shape and pixels. fingerprint: release, backbone, weights, grid and constants of the chain.
    """

    image: str
    fingerprint: str


class Resident(Protocol):
    """Something that takes room."""

    @property
    def nbytes(self) -> int:
        """Memory held now, in bytes; may grow while in use."""


ResidentT = TypeVar("ResidentT", bound=Resident)


class _Entry(Generic[ResidentT]):
    def __init__(self, expected_bytes: int) -> None:
        self.built: Future[ResidentT] = Future()
        self.users = 0
        self._expected_bytes = expected_bytes

    @property
    def nbytes(self) -> int:
        return self.built.result().nbytes if self.built.done() else self._expected_bytes


class Lease(Generic[ResidentT]):
    """An entry of the cache, pinned for its holder. is_new: nothing is kept there yet, and the holder is to fill it."""

    def __init__(self, entry: _Entry[ResidentT], *, is_new: bool) -> None:
        self._entry = entry
        self.is_new = is_new

    @property
    def value(self) -> ResidentT:
        """What is kept, once it was filled."""
        return self._entry.built.result(timeout=0)

    def fill(self, value: ResidentT) -> None:
        """Keep this, and let everybody have it who waits."""
        self._entry.built.set_result(value)


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
    def open(self, key: AttentionKey, expected_bytes: int, deadline: Deadline = NEVER) -> Iterator[Lease[ResidentT]]:
        """What is kept of ``key``, pinned until the block ends. Of all callers one gets a new lease, and fills it in
        its block; the others wait for that.

        A block that ends without filling a new lease leaves nothing behind. Of those who waited for it one gets a new
        lease, and the others wait for that. So whoever waits has a try of its own, unless another one's succeeds.

        Args:
            key: the thing's name.
            expected_bytes: room that is made for it, and reserved until it is filled.
            deadline: of waiting for another caller.

        Raises:
            DeadlineExceeded: another caller is still at it.
        """
        entry, is_new = self._find(key, expected_bytes, deadline)
        failure: BaseException = RuntimeError(f"nothing was made of image {key.image}")
        try:
            yield Lease(entry, is_new=is_new)
        except BaseException as error:
            failure = error
            raise
        finally:
            if is_new and not entry.built.done():
                self._abandon(key, entry, failure)
            self._leave(entry)

    def __contains__(self, key: AttentionKey) -> bool:
        """Whether ``key`` is kept and built; what is being built is not."""
        with self._lock:
            entry = self._entries.get(key)
            return entry is not None and entry.built.done()

    def drop_idle(self) -> None:
        """Evict everything that is not in use."""
        with self._lock:
            self._evict_until(0)

    @property
    def status(self) -> TierStatus:
        """A consistent snapshot."""
        with self._lock:
            return TierStatus(
                images=len(self._entries),
                bytes=self._used_bytes(),
                budget_bytes=self._budget_bytes,
                hits=self._hits,
                misses=self._misses,
                evictions=self._evictions,
            )

    def _find(self, key: AttentionKey, expected_bytes: int, deadline: Deadline) -> tuple[_Entry[ResidentT], bool]:
        """An entry that is built, or a new one; in use from now on."""
        while True:
            entry, is_new = self._enter(key, expected_bytes)
            if is_new:
                return entry, True
            try:
                failure = entry.built.exception(None if deadline == NEVER else deadline.remaining_seconds)
            except TimeoutError:
                self._leave(entry)
                raise DeadlineExceeded("the image is still being prepared for another click: try again") from None
            if failure is None:
                return entry, False
            # It may be the other caller's alone, as where no time was left for it.
            self._leave(entry)

    def _enter(self, key: AttentionKey, expected_bytes: int) -> tuple[_Entry[ResidentT], bool]:
        with self._lock:
            entry = self._entries.get(key)
            is_new = entry is None
            if entry is None:
                self._misses += 1
                self._evict_until(self._budget_bytes - expected_bytes)
                entry = self._entries[key] = _Entry(expected_bytes)
            else:
                self._hits += 1
                self._entries.move_to_end(key)
            entry.users += 1
            return entry, is_new

    def _abandon(self, key: AttentionKey, entry: _Entry[ResidentT], error: BaseException) -> None:
        with self._lock:
            self._entries.pop(key, None)
        entry.built.set_exception(error)

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
