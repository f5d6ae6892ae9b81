"""Pictures of tasks, kept between clicks: one copy for equal bytes, one download for first clicks at the same time."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future

from backend.errors import ImageUnavailable
from m2n2_engine.errors import DeadlineExceeded, InvalidImage
from m2n2_engine.image_file.orientation import Orientation
from m2n2_engine.types import NEVER, Deadline, Image, Picture

_LONGEST_SHOWN = 160
_LOCAL_FILES_PATH = "/data/local-files/"
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_PAYLOAD = re.compile(r"\bdata:.*", re.IGNORECASE | re.DOTALL)
"""Whatever stands before it: a slip there must not bring the picture into the log."""
_BLANKS = "".join(map(chr, range(0x21)))
"""Control characters and blanks, which browsers drop at both ends of an address."""


@dataclasses.dataclass(frozen=True, slots=True)
class TaskImage:
    """An image as a task names it. reference: as it stands in the task's data, without blanks and ends of lines around
    it. task_id: in Label Studio, by which it gives access to cloud storage. Other references need none. file: the image
    itself, where it is at hand; the reference is then any name that no other file has. orientation: the rule of the
    platform that shows it."""

    reference: str
    task_id: int | None = None
    file: bytes | None = dataclasses.field(default=None, repr=False)
    orientation: Orientation = Orientation.PAGE

    def __post_init__(self) -> None:
        object.__setattr__(self, "reference", self.reference.strip(_BLANKS))

    def __str__(self) -> str:
        """The reference for messages and logs; see `render_reference`."""
        return render_reference(self.reference) if self.file is None else f"file of {len(self.file)} bytes"


def render_reference(reference: str) -> str:
    """What a task holds for an image, for messages and logs: no payload, no password, no signature, one short line."""
    if reference[:5].lower() == "data:":
        return f"data: URI of {len(reference)} characters"
    shown = reference if reference.startswith(_LOCAL_FILES_PATH) else reference.partition("?")[0]
    shown = _UNPRINTABLE.sub("?", _PAYLOAD.sub("data:...", re.sub(r"//[^/]*@", "//", shown)))
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}..."


@dataclasses.dataclass(frozen=True, slots=True)
class _Seen:
    """What a reference stood for. content: digest of its file and its rule of turning. at: time of the clock.
    doubted: ``(H, W)`` that it was fetched again for, in vain."""

    content: bytes
    at: float
    doubted: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class PictureCacheStatistics:
    """What the cache holds now, and counts since the start. hits: references answered without asking their source."""

    kept: int
    bytes: int
    budget_bytes: int
    hits: int
    misses: int
    evictions: int


class PictureCache:
    """Pictures by the content of their files, the least recently used ones dropped; safe under threads."""

    def __init__(
        self,
        max_bytes: int,
        fresh_seconds: float,
        fetch: Callable[[TaskImage, Deadline], bytes],
        decode: Callable[[bytes, TaskImage, Deadline], Image],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Build a cache on a source of image files.

        Args:
            max_bytes: room for decoded images; a larger one is not kept.
            fresh_seconds: how long a reference stands for the content it had, before it is fetched and compared again.
            fetch: gives the file behind a reference.
            decode: gives the pixels of a file by the image's rule of turning, RGB uint8 ``(H, W, 3)``.
            clock: seconds that never go back.
        """
        self._max_bytes = max_bytes
        self._fresh_seconds = fresh_seconds
        self._fetch = fetch
        self._decode = decode
        self._clock = clock
        self._lock = threading.Lock()
        self._pictures: OrderedDict[bytes, Picture] = OrderedDict()
        self._used_bytes = 0
        self._seen: dict[bytes, _Seen] = {}
        """By reference."""
        self._loading: dict[bytes, Future[Picture]] = {}
        self._hits = self._misses = self._evictions = 0

    @property
    def statistics(self) -> PictureCacheStatistics:
        """A consistent snapshot."""
        with self._lock:
            return PictureCacheStatistics(
                kept=len(self._pictures),
                bytes=self._used_bytes,
                budget_bytes=self._max_bytes,
                hits=self._hits,
                misses=self._misses,
                evictions=self._evictions,
            )

    def get(self, image: TaskImage, deadline: Deadline = NEVER, expected: tuple[int, int] | None = None) -> Picture:
        """The picture that a task shows; fetched, decoded and hashed once, however many ask at the same time.

        expected: ``(H, W)`` as whoever shows the image has it. A kept picture of another size is out of date, so it is
        fetched again at once; the new one is given whatever its size, and not doubted by that size again while it is
        fresh.

        Raises ImageRefused where a rule forbids it, ImageUnavailable where its bytes cannot be had, InvalidImage where
        they are no image, to all who wait; the next one tries again. Their messages name the reference. Raises
        DeadlineExceeded where no time is left.
        """
        key = _find_key(image)
        while True:
            try:
                return self._get_once(key, image, deadline, expected)
            except DeadlineExceeded:
                if not deadline.remaining_seconds:
                    raise
                # The time of whoever was waited for was over, not that of this click.

    def release(self, image: TaskImage) -> None:
        """Forget what an image shows, and its pixels where no other reference shows the same."""
        with self._lock:
            seen = self._seen.pop(_find_key(image), None)
            if seen is None or any(other.content == seen.content for other in self._seen.values()):
                return
            picture = self._pictures.pop(seen.content, None)
            if picture is not None:
                self._used_bytes -= picture.pixels.nbytes

    def _get_once(self, key: bytes, image: TaskImage, deadline: Deadline, expected: tuple[int, int] | None) -> Picture:
        with self._lock:
            picture = self._find_fresh(key, expected)
            others = self._loading.get(key)
            if picture is not None or others is not None:
                self._hits += 1
            else:
                self._misses += 1
            if picture is not None:
                return picture
            own: Future[Picture] = Future()
            if others is None:
                self._loading[key] = own
        if others is not None:
            return _follow(others, deadline)
        return self._lead(key, own, image, deadline, expected)

    def _lead(
        self,
        key: bytes,
        loaded: Future[Picture],
        image: TaskImage,
        deadline: Deadline,
        expected: tuple[int, int] | None,
    ) -> Picture:
        try:
            picture = self._load(key, image, deadline, expected)
        except BaseException as error:
            self._land(key)
            loaded.set_exception(error)
            raise
        self._land(key)
        loaded.set_result(picture)
        return picture

    def _land(self, key: bytes) -> None:
        with self._lock:
            del self._loading[key]

    def _load(self, key: bytes, image: TaskImage, deadline: Deadline, expected: tuple[int, int] | None) -> Picture:
        try:
            data = self._fetch(image, deadline)
            # The same bytes are two pictures where two rules turn them.
            content = _digest(data) + bytes([image.orientation.value])
            with self._lock:
                picture = self._pictures.get(content)
            if picture is None:
                deadline.check("decode the image")
                picture = Picture.of(self._decode(data, image, deadline))
        except (InvalidImage, ImageUnavailable) as error:
            raise type(error)(f"image {image}: {error}") from None
        with self._lock:
            self._keep(content, picture)
            if content in self._pictures:
                doubted = None if expected == picture.size else expected
                self._seen[key] = _Seen(content, self._clock(), doubted)
        return picture

    def _find_fresh(self, key: bytes, expected: tuple[int, int] | None) -> Picture | None:
        seen = self._seen.get(key)
        picture = None if seen is None else self._pictures.get(seen.content)
        if seen is None or picture is None or self._clock() - seen.at >= self._fresh_seconds:
            return None
        if expected not in (None, picture.size, seen.doubted):
            return None
        self._pictures.move_to_end(seen.content)
        return picture

    def _keep(self, content: bytes, picture: Picture) -> None:
        nbytes = picture.pixels.nbytes
        if content in self._pictures:
            self._pictures.move_to_end(content)
            return
        if nbytes > self._max_bytes:
            return
        while self._used_bytes + nbytes > self._max_bytes:
            _, dropped = self._pictures.popitem(last=False)
            self._used_bytes -= dropped.pixels.nbytes
            self._evictions += 1
        self._pictures[content] = picture
        self._used_bytes += nbytes
        self._seen = {key: seen for key, seen in self._seen.items() if seen.content in self._pictures}


def _follow(loaded: Future[Picture], deadline: Deadline) -> Picture:
    try:
        error = loaded.exception(None if deadline == NEVER else deadline.remaining_seconds)
    except TimeoutError:
        raise DeadlineExceeded("the image is still being fetched for another click: try again") from None
    if error is not None:
        # A copy: the one kept would gather the traceback of each request that it is raised in.
        raise copy.copy(error)
    return loaded.result()


def _find_key(image: TaskImage) -> bytes:
    # With the task: two projects may mean different storages by one cloud address.
    name = f"{image.task_id} {image.orientation.name} {image.reference}"
    return _digest(name.encode("utf-8", "surrogatepass"))


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()
