"""Names an image by its shape and pixels, and keeps what is made of an image as long as the image itself."""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

from m2n2_engine.types import Image

MadeT = TypeVar("MadeT")


class OncePerImage(Generic[MadeT]):
    """What is made of images. Of one that cannot change it is made once, however often it is asked for, and dropped
    with the image; safe under threads."""

    def __init__(self, make: Callable[[Image], MadeT]) -> None:
        self._make = make
        # Reentrant: the garbage collector may forget an array in the middle of anything, also of this class's work.
        self._lock = threading.RLock()
        self._known: dict[int, tuple[weakref.ref[Image], MadeT]] = {}

    def find(self, image: Image) -> MadeT:
        """What was made of this very array, or is made now."""
        if not _is_frozen(image):
            return self._make(image)
        name = id(image)
        with self._lock:
            known = self._known.get(name)
        # The address of an array that is gone may be another's now.
        if known is not None and known[0]() is image:
            return known[1]
        made = self._make(image)
        with self._lock:
            self._known[name] = weakref.ref(image, lambda reference: self._forget(name, reference)), made
        return made

    def _forget(self, name: int, reference: weakref.ref[Image]) -> None:
        with self._lock:
            if self._known.get(name, (None,))[0] is reference:
                del self._known[name]


class ImageDigests(OncePerImage[str]):
    """Digests of images."""

    def __init__(self) -> None:
        super().__init__(_compute)

    def digest(self, image: Image) -> str:
        """32 hex digits that two images share only where shape and pixels are equal. image: C-contiguous."""
        return self.find(image)


def _is_frozen(image: Image) -> bool:
    """Whether nobody can write to these pixels, be it through the array that they are a view of."""
    array: object = image
    while isinstance(array, np.ndarray):
        if array.flags.writeable:
            return False
        array = array.base
    return array is None or isinstance(array, bytes)


def _compute(image: Image) -> str:
    digest = hashlib.blake2b(str(image.shape).encode(), digest_size=16)
    digest.update(image.data)
    return digest.hexdigest()
