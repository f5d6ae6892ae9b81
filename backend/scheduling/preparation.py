"""Prepares pictures before their first click, in the background: of tasks that were opened, and of what comes next.

Nobody waits for it. So clicks go first, what goes wrong is only told to the log, and of more images than the queue
holds the newest are taken. On a server where somebody clicks at every moment it has a share of the time.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from backend.http.request import RequestRecord
from backend.images.cache import TaskImage
from backend.scheduling.clicks import ClickService, Ticket
from backend.scheduling.share import Share
from m2n2_engine.errors import M2N2Error
from m2n2_engine.types import Picture, Tier

_LONGEST_STOP_SECONDS = 60.0

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class PreparationStatistics:
    """Images in the queue now, and counts since the start: prepared ones by where they were found, failures (of an
    image, or of finding out what comes next), and images that newer ones drove out of the queue."""

    waiting: int
    found: Mapping[Tier, int]
    failures: int
    dropped: int


class Follower(Protocol):
    """Has work of its own for images that were prepared."""

    def follow(self, image: TaskImage, picture: Picture, ticket: Ticket, is_in_the_way: Callable[[], bool]) -> None:
        """Called in the background right after an image was prepared. It raises nothing. is_in_the_way: whether nobody
        looks at this image, and one that was opened waits."""

    def leave(self, image: TaskImage) -> None:
        """Called where an image leaves the queue without being prepared. It raises nothing and waits for nothing."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Place:
    """A place in the queue: images of opened tasks go before others, newer ones before older ones. look_ahead: gives
    the images that come after this one. follower: of this image and of those."""

    is_opened: bool
    number: int
    look_ahead: Callable[[], Sequence[TaskImage]] | None
    follower: Follower | None

    @property
    def rank(self) -> tuple[bool, int]:
        return self.is_opened, self.number


class BackgroundPreparation:
    """A bounded queue of images and one thread that prepares them; safe under threads.

    An image is prepared at a moment when no click is under way or, where there is none, when its share comes.

    places: images that may wait; 0 prepares nothing. clock: in seconds, for the share.
    """

    def __init__(self, places: int, clicks: ClickService, clock: Callable[[], float] = time.monotonic) -> None:
        self._share = Share(clock)
        self._places = places
        self._clicks = clicks
        self._changed = threading.Condition()
        self._waiting: dict[TaskImage, _Place] = {}
        self._numbers = itertools.count()
        self._worker: threading.Thread | None = None
        self._is_closed = False
        self._found: collections.Counter[Tier] = collections.Counter()
        self._failures = self._dropped = 0

    def add(
        self,
        images: Sequence[TaskImage],
        *,
        is_opened: bool,
        look_ahead: Callable[[], Sequence[TaskImage]] | None = None,
        follower: Follower | None = None,
    ) -> None:
        """Put the images of a task in the queue; does not wait.

        is_opened: somebody has opened the task, so that its images go before those of tasks nobody looks at yet.
        look_ahead: called in the background after the last of them; gives the images of the tasks that come next.
        follower: told of each of these and of those.
        """
        taken = images[: self._places]
        left: dict[TaskImage, Follower | None] = dict.fromkeys(images[self._places :], follower)
        if taken:
            with self._changed:
                # The first image of a task is the first one that is looked at, so it becomes the newest.
                for image in reversed(taken):
                    last = look_ahead if image is taken[-1] else None
                    self._put(image, _Place(is_opened, next(self._numbers), last, follower))
                while len(self._waiting) > self._places:
                    dropped = min(self._waiting, key=self._rank)
                    left[dropped] = self._waiting.pop(dropped).follower
                    self._dropped += 1
                if self._is_closed:
                    left |= self._empty()
                self._changed.notify()
                if self._worker is None:
                    self._worker = threading.Thread(target=self._work, name="prepare-images", daemon=True)
                    self._worker.start()
        _tell_left(left.items())

    def discard(self, image: TaskImage) -> None:
        """Take an image out of the queue, if it is there. One that passes the network already is prepared."""
        with self._changed:
            place = self._waiting.pop(image, None)
        _tell_left([] if place is None else [(image, place.follower)])

    def close(self) -> None:
        """Begin nothing any more, and wait for the image under way: a process that ends in the middle of torch's work
        is aborted."""
        with self._changed:
            self._is_closed = True
            left = self._empty()
            self._changed.notify()
            worker = self._worker
        _tell_left(left.items())
        if worker is not None:
            worker.join(_LONGEST_STOP_SECONDS)

    @property
    def statistics(self) -> PreparationStatistics:
        """A consistent snapshot."""
        with self._changed:
            return PreparationStatistics(len(self._waiting), dict(self._found), self._failures, self._dropped)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closed)
                if self._is_closed:
                    return
                image = max(self._waiting, key=self._rank)
            try:
                self._prepare(image)
            except Exception as error:
                self._give_up(image, error)

    def _prepare(self, image: TaskImage) -> None:
        """Prepare an image of the queue and take it out, or leave it where a newer one came while it was fetched."""
        ticket = Ticket(None, RequestRecord())
        # Not held while clicks go first: they may need the room to decode their own.
        fetched = weakref.ref(self._clicks.fetch(image, ticket))
        self._share.begin_waiting()
        self._clicks.queue.wait_until_idle(lambda: self._share.remaining_seconds)
        place = self._take_newest(image)
        if place is None:
            return
        try:
            picture = fetched() or self._clicks.fetch(image, ticket)
            tier = self._clicks.prepare(picture, ticket)
            # Without what it waited for: behind first clicks, which go before it.
            self._share.use(ticket.record.seconds.get("attention", 0.0))
        except Exception:
            # It is in the queue no more.
            _tell_left([(image, place.follower)])
            raise
        with self._changed:
            self._found[tier] += 1
        if place.follower is not None:
            place.follower.follow(image, picture, ticket, functools.partial(self._is_in_the_way, place))
        if place.look_ahead is not None:
            self.add(place.look_ahead(), is_opened=False, follower=place.follower)

    def _is_in_the_way(self, place: _Place) -> bool:
        with self._changed:
            return not place.is_opened and any(other.is_opened for other in self._waiting.values())

    def _put(self, image: TaskImage, place: _Place) -> None:
        """The higher one of two places of an image stays, and whoever follows it."""
        before = self._waiting.get(image, place)
        follower = place.follower or before.follower
        self._waiting[image] = dataclasses.replace(max(place, before, key=lambda one: one.rank), follower=follower)

    def _empty(self) -> dict[TaskImage, Follower | None]:
        left = {image: place.follower for image, place in self._waiting.items()}
        self._waiting.clear()
        return left

    def _take_newest(self, image: TaskImage) -> _Place | None:
        with self._changed:
            if not self._is_closed and image in self._waiting and image == max(self._waiting, key=self._rank):
                return self._waiting.pop(image)
            return None

    def _give_up(self, image: TaskImage, error: Exception) -> None:
        with self._changed:
            place = self._waiting.pop(image, None)
            self._failures += 1
        _tell_left([(image, None if place is None else place.follower)])
        if isinstance(error, M2N2Error):
            logger.warning("preparing in the background failed: %s: %s", type(error).__name__, error)
        else:
            logger.error("preparing in the background failed", exc_info=error)

    def _rank(self, image: TaskImage) -> tuple[bool, int]:
        return self._waiting[image].rank


def _tell_left(left: Iterable[tuple[TaskImage, Follower | None]]) -> None:
    for image, follower in left:
        if follower is not None:
            follower.leave(image)
