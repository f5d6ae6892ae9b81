"""Image files that visitors have sent, kept for their next clicks: few, not for long, and never shown to others."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from m2n2_engine.config import MEBIBYTE

KEPT_VISITOR_IMAGES = 4
"""Here: somebody goes back and forth between a few images."""

KEPT_VISITOR_BYTES = 128 * MEBIBYTE
"""Here: two of the largest files that M2N2_MAX_IMAGE_MIB allows by default."""

KEPT_IMAGES = 256
"""Of all visitors. Here: a class of sixty."""

KEPT_BYTES = 256 * MEBIBYTE
"""Of all visitors. Here: small beside the model; photographs take 3 MiB."""

KEPT_SECONDS = 3600.0
"""After the last click. Here: a lunch break."""


@dataclasses.dataclass(frozen=True, slots=True)
class HeldLimits:
    """What is kept at most. The newest image is kept whatever its size: the limit of its body bounds it."""

    visitor_images: int = KEPT_VISITOR_IMAGES
    visitor_bytes: int = KEPT_VISITOR_BYTES
    images: int = KEPT_IMAGES
    bytes: int = KEPT_BYTES
    seconds: float = KEPT_SECONDS


@dataclasses.dataclass(slots=True)
class _Held:
    file: bytes
    used: float


_Key = tuple[str, str]
"""Visitor and digest: who knows the digest of another visitor's image is not told whether it is here."""


class HeldImages:
    """Files by visitor and digest, the least recently used ones dropped; safe under threads."""

    def __init__(self, limits: HeldLimits | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits or HeldLimits()
        self._clock = clock
        self._lock = threading.Lock()
        self._held: OrderedDict[_Key, _Held] = OrderedDict()
        """The most recently used one is the last."""

    def keep(self, visitor: str, digest: str, file: bytes) -> None:
        """Keep a file, and drop others where there are too many."""
        key = visitor, digest
        with self._lock:
            self._drop_old()
            self._held[key] = _Held(file, self._clock())
            self._held.move_to_end(key)
            own = [other for other in self._held if other[0] == visitor]
            self._make_room(own, self._limits.visitor_images, self._limits.visitor_bytes)
            self._make_room(list(self._held), self._limits.images, self._limits.bytes)

    def find(self, visitor: str, digest: str) -> bytes | None:
        """The file that this visitor sent; None where it is not kept any more."""
        key = visitor, digest
        with self._lock:
            self._drop_old()
            held = self._held.get(key)
            if held is None:
                return None
            held.used = self._clock()
            self._held.move_to_end(key)
            return held.file

    def _drop_old(self) -> None:
        oldest = self._clock() - self._limits.seconds
        while self._held and next(iter(self._held.values())).used < oldest:
            self._held.popitem(last=False)

    def _make_room(self, keys: list[_Key], most_images: int, most_bytes: int) -> None:
        """Drop the first of these until the rest is few and small enough; the last one stays."""
        sizes = [len(self._held[key].file) for key in keys]
        total, count = sum(sizes), len(keys)
        for key, size in zip(keys[:-1], sizes, strict=False):
            if count <= most_images and total <= most_bytes:
                return
            del self._held[key]
            total, count = total - size, count - 1


def name_file(file: bytes) -> str:
    """The digest that a file is named by, 32 hex digits."""
    return hashlib.blake2b(file, digest_size=16).hexdigest()
