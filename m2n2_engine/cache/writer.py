"""Writes to the disk behind the clicks: nobody waits for serialising, signing and writing what is kept of an image."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from m2n2_engine.cache.disk import DiskStore
from m2n2_engine.cache.memory import AttentionKey
from m2n2_engine.config import MEBIBYTE
from m2n2_engine.method.chain import BalancedFactors

_MOST_IMAGES = 8
_MOST_BYTES = 256 * MEBIBYTE
"""Of what waits to be written. Here: six images of Stable Diffusion 2 at its own grid (42 MB each), which two
processors write in about a second. One image alone may be larger."""

_LONGEST_FULL_SECONDS = 10.0
"""What a click waits for room, as long as the store waits for another process that writes. Here."""

logger = logging.getLogger(__name__)


class DiskWriter:
    """Saves images to a store one after the other, in the order in which they came, on a thread of its own.

    Bounded in images and bytes. Where it is full, whoever comes waits: the disk is slower than the network then, and an
    image that was left out would pass the network again. After ten seconds the image is left out, so that
    a disk that hangs stops nobody. A process that ends on its own writes all of them first, for the interpreter waits
    for the thread. One that is killed loses at most those that wait. Safe under threads.
    """

    def __init__(
        self,
        store: DiskStore,
        most_images: int = _MOST_IMAGES,
        most_bytes: int = _MOST_BYTES,
        longest_full_seconds: float = _LONGEST_FULL_SECONDS,
    ) -> None:
        """store: what is written to. The others: see the constants."""
        self._store = store
        self._most_images = most_images
        self._most_bytes = most_bytes
        self._longest_full_seconds = longest_full_seconds
        self._changed = threading.Condition()
        self._images = self._bytes = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="m2n2-disk")

    def put(self, key: AttentionKey, balanced: BalancedFactors, finish: Callable[[], object] = lambda: None) -> None:
        """Have this written soon.

        Args:
            key: Its name.
            balanced: In host memory, and never changed.
            finish: Called once it is written, or left out.
        """
        nbytes = balanced.nbytes
        with self._changed:
            if not self._changed.wait_for(lambda: self._has_room(nbytes), self._longest_full_seconds):
                logger.warning("an image is not kept on disk: writing those before it takes too long")
                finish()
                return
            self._images += 1
            self._bytes += nbytes
        try:
            self._thread.submit(self._write, key, balanced, finish)
        except RuntimeError:  # the interpreter is ending, and has waited for its threads already
            self._write(key, balanced, finish)

    def flush(self) -> None:
        """Return once all is written that was put here before."""
        with self._changed:
            self._changed.wait_for(lambda: not self._images)

    def _has_room(self, nbytes: int) -> bool:
        return not self._images or (self._images < self._most_images and self._bytes + nbytes <= self._most_bytes)

    def _write(self, key: AttentionKey, balanced: BalancedFactors, finish: Callable[[], object]) -> None:
        try:
            try:
                self._store.save(key, balanced)
            finally:
                finish()
        except Exception:  # nobody else would hear of it
            logger.exception("an image could not be kept on disk")
        finally:
            with self._changed:
                self._images -= 1
                self._bytes -= balanced.nbytes
                self._changed.notify_all()
