"""Decoded images kept between clicks: one copy for equal bytes, one download for parallel first clicks."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future

from m2n2_engine.types import Image


@dataclasses.dataclass(frozen=True, slots=True)
class ImageCacheStatistics:
    """What the cache holds now, and counts since the start. hits: references answered without asking their source."""

    kept: int
    bytes: int
    budget_bytes: int
    hits: int
    misses: int
    evictions: int


class ImageCache:
    """Images by the content of their files, the least recently used ones dropped; safe under threads.

    max_bytes: room for decoded images; a larger one is not kept. fresh_seconds: how long a reference stands for the
    content it had, before it is fetched and compared again.
    """

    def __init__(self, max_bytes: int, fresh_seconds: float) -> None:
        self._max_bytes = max_bytes
        self._fresh_seconds = fresh_seconds
        self._lock = threading.Lock()
        self._images: OrderedDict[bytes, Image] = OrderedDict()
        self._used_bytes = 0
        self._contents: dict[bytes, tuple[bytes, float]] = {}
        """Reference -> content and the time it was seen."""
        self._loading: dict[bytes, Future[Image]] = {}
        self._hits = self._misses = self._evictions = 0

    @property
    def statistics(self) -> ImageCacheStatistics:
        """A consistent snapshot."""
        with self._lock:
            return ImageCacheStatistics(
                kept=len(self._images),
                bytes=self._used_bytes,
                budget_bytes=self._max_bytes,
                hits=self._hits,
                misses=self._misses,
                evictions=self._evictions,
            )

    def get(self, reference: str, fetch: Callable[[], bytes], decode: Callable[[bytes], Image]) -> Image:
        """The image behind a reference, read-only; fetched and decoded once, however many ask at the same time.

        Raises what ``fetch`` and ``decode`` raise, to all who wait; the next one tries again.
        """
        key = _digest(reference.encode("utf-8", "surrogatepass"))
        with self._lock:
            image = self._find_fresh(key)
            others = self._loading.get(key)
            if image is not None or others is not None:
                self._hits += 1
            else:
                self._misses += 1
            if image is not None:
                return image
            own: Future[Image] = Future()
            if others is None:
                self._loading[key] = own
        return self._lead(key, own, fetch, decode) if others is None else _follow(others)

    def _lead(
        self, key: bytes, loaded: Future[Image], fetch: Callable[[], bytes], decode: Callable[[bytes], Image]
    ) -> Image:
        try:
            image = self._load(key, fetch(), decode)
        except BaseException as error:
            self._land(key)
            loaded.set_exception(error)
            raise
        self._land(key)
        loaded.set_result(image)
        return image

    def _land(self, key: bytes) -> None:
        with self._lock:
            del self._loading[key]

    def _load(self, key: bytes, data: bytes, decode: Callable[[bytes], Image]) -> Image:
        content = _digest(data)
        with self._lock:
            image = self._images.get(content)
        if image is None:
            image = decode(data)
            image.setflags(write=False)
        with self._lock:
            self._keep(content, image)
            if content in self._images:
                self._contents[key] = (content, time.monotonic())
        return image

    def _find_fresh(self, key: bytes) -> Image | None:
        content, seen = self._contents.get(key, (b"", 0.0))
        image = self._images.get(content)
        if image is None or time.monotonic() - seen >= self._fresh_seconds:
            return None
        self._images.move_to_end(content)
        return image

    def _keep(self, content: bytes, image: Image) -> None:
        if content in self._images:
            self._images.move_to_end(content)
            return
        if image.nbytes > self._max_bytes:
            return
        while self._used_bytes + image.nbytes > self._max_bytes:
            _, dropped = self._images.popitem(last=False)
            self._used_bytes -= dropped.nbytes
            self._evictions += 1
        self._images[content] = image
        self._used_bytes += image.nbytes
        self._contents = {key: seen for key, seen in self._contents.items() if seen[0] in self._images}


def _follow(loaded: Future[Image]) -> Image:
    error = loaded.exception()
    if error is not None:
        # A copy: the one kept would gather the traceback of each request that it is raised in.
        raise copy.copy(error)
    return loaded.result()


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()
