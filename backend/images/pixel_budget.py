"""How many pixels may be in memory at a time: of images in decoding, in hand of a request, and kept."""

from __future__ import annotations

import math
import threading
import weakref

from m2n2_engine.errors import DeadlineExceeded
from m2n2_engine.types import NEVER, Deadline, Image


class PixelBudget:
    """Counts pixels from before they are decoded until nobody holds them any more; safe under threads."""

    def __init__(self, pixels: int) -> None:
        self._pixels = pixels
        self._used = 0
        self._changed = threading.Condition()

    @property
    def used(self) -> int:
        """Pixels that are counted now."""
        with self._changed:
            return self._used

    def reserve(self, pixels: int, deadline: Deadline = NEVER) -> None:
        """Count so many pixels once there is room; an image larger than the whole budget waits until it is alone.

        Raises DeadlineExceeded where there is no room in time.
        """
        seconds = None if math.isinf(deadline.at) else deadline.remaining_seconds
        with self._changed:
            if not self._changed.wait_for(lambda: not self._used or self._used + pixels <= self._pixels, seconds):
                raise DeadlineExceeded("no room is left to decode the image: too many images are in hand, try again")
            self._used += pixels

    def release(self, pixels: int) -> None:
        """Count so many pixels no longer."""
        with self._changed:
            self._used -= pixels
            self._changed.notify_all()

    def release_with(self, image: Image) -> None:
        """Count an image's pixels no longer once its array is gone, with every view of it. image: owns its memory."""
        weakref.finalize(image, self.release, image.shape[0] * image.shape[1]).atexit = False
