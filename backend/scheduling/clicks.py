"""The way of a click, the same for every platform, and the queue on it.

Label Studio sends each click at once and shows only the answer to the newest, but never takes an older one back. So a
click that a newer one of its object has overtaken leaves the queue without being computed.

A click waits at up to three places, each first come, first served. It claims its picture, so that of all clicks on it
one has it prepared. It takes a slot of the network, where nothing is kept of the picture. And it takes a turn among
those that are computed at the same time. So a click on a picture that is ready never waits for pictures that are not.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence

from backend.engines.background import EngineSource
from backend.errors import Busy
from backend.http.request import RequestRecord
from backend.images.cache import PictureCache, TaskImage
from m2n2_engine.types import (
    NEVER,
    Box,
    Click,
    Deadline,
    Example,
    Mask,
    OpenPicture,
    Picture,
    Proposal,
    Segmentation,
    Segmenter,
    Stroke,
    Tier,
)

_LONGEST_PAUSE_SECONDS = 2.0
"""Of background work between two of its steps, for clicks. Here: a click takes less; and one that waits for what this
work has begun would wait for ever if this work waited for it."""


class Obsolete(Exception):
    """A newer click of the same object has arrived: nobody waits for this answer."""


@dataclasses.dataclass(frozen=True, slots=True)
class ObjectKey:
    """Names one object in the making; its key points keep their ids from click to click."""

    project: str
    task: str
    label: str
    first_point: str


@dataclasses.dataclass(frozen=True, slots=True)
class PixelPrompt:
    """What is asked of one picture, in its pixels."""

    clicks: Sequence[Click | Stroke]
    box: Box | None = None
    mask: Mask | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class QueueStatistics:
    """What the queue holds now (admitted includes waiting and computing), and counts since the start. unprepared:
    clicks that wait for the preparation of their picture. preparing: pictures that pass the network, those in the
    background too."""

    places: int
    admitted: int
    unprepared: int
    preparing: int
    waiting: int
    computing: int
    refused: int
    obsolete: int


class Ticket:
    """One click in the queue, or one preparation in the background; equal to itself alone.

    object_key: what it has in common with the next click on the same object. record: its request. picture: the digest
    of the picture that it claims.
    """

    def __init__(self, object_key: ObjectKey | None, record: RequestRecord) -> None:
        self.object_key = object_key
        self.record = record
        self.picture: str | None = None

    @property
    def deadline(self) -> Deadline:
        """Of its answer."""
        return self.record.deadline


class _Lane:
    """First come, first served, so many at a time, one of a kind at a time; its queue's lock guards it.

    find_places: how many at a time; asked under the lock, whenever somebody may go in. find_kind: None is a kind of its
    own.
    """

    def __init__(self, find_places: Callable[[], int | None], find_kind: Callable[[Ticket], Hashable]) -> None:
        self._find_places = find_places
        self._find_kind = find_kind
        self.waiting: list[Ticket] = []
        self.inside: list[Ticket] = []

    def lets_in(self, ticket: Ticket) -> bool:
        places = self._find_places()
        if places is not None and len(self.inside) >= places:
            return False
        busy = {self._find_kind(other) for other in self.inside} - {None}
        return ticket is next((other for other in self.waiting if self._find_kind(other) not in busy), None)


class ClickQueue:
    """The lanes and the way in; safe under threads.

    places: predictions held at once, from the last byte of their body until their answer is there. computing: how
    many of them the engine works on at once. count_networks: how many pictures it prepares at once, at least one; it
    may change, and must not wait. ``ClickService`` puts the engine's there as soon as there is one.
    """

    def __init__(self, places: int, computing: int, count_networks: Callable[[], int] = lambda: 1) -> None:
        self._places = places
        self._changed = threading.Condition()
        self._claims = _Lane(lambda: None, lambda ticket: ticket.picture)
        self.count_networks = count_networks
        self._network = _Lane(lambda: self.count_networks(), lambda ticket: None)
        # The session of a picture takes one click at a time: a second one of the object would only block a turn, and
        # could not be dropped any more.
        self._computing = _Lane(lambda: computing, lambda ticket: ticket.object_key)
        self._newest: dict[ObjectKey, Ticket] = {}
        self._joined = self._admitted = self._refused = self._obsolete = 0

    @contextlib.contextmanager
    def admit(self) -> Iterator[None]:
        """Hold one of the places. Raises Busy at once where none is free: a thread is left for health checks."""
        with self._changed:
            if self._admitted >= self._places:
                self._refused += 1
                raise Busy(f"{self._places} predictions are under way: try again, or raise M2N2_SERVER_THREADS")
            self._admitted += 1
        try:
            yield
        finally:
            with self._changed:
                self._admitted -= 1

    @contextlib.contextmanager
    def join(self, object_key: ObjectKey | None, record: RequestRecord) -> Iterator[Ticket]:
        """A ticket for one click, from now on the newest of its object. None: a click that belongs to no object."""
        ticket = Ticket(object_key, record)
        with self._changed:
            self._joined += 1
            if object_key is not None:
                self._newest[object_key] = ticket
                self._changed.notify_all()
        try:
            yield ticket
        finally:
            with self._changed:
                self._joined -= 1
                if object_key is not None and self._newest.get(object_key) is ticket:
                    del self._newest[object_key]
                self._changed.notify_all()

    @contextlib.contextmanager
    def claim(self, ticket: Ticket, picture: Picture) -> Iterator[None]:
        """Be the only one that has this picture prepared while the block works. Raises as ``computing`` does."""
        ticket.picture = picture.digest
        with self._pass(self._claims, ticket):
            yield

    @contextlib.contextmanager
    def network(self, ticket: Ticket) -> Iterator[None]:
        """Hold a slot of the network. Raises as ``computing`` does."""
        with self._pass(self._network, ticket):
            yield

    @contextlib.contextmanager
    def computing(self, ticket: Ticket) -> Iterator[None]:
        """Wait for the ticket's turn and hold it while the block computes.

        Raises Obsolete as soon as the object has a newer click, and Busy where the turn does not come in time.
        """
        with self._pass(self._computing, ticket):
            yield

    def wait_until_idle(self, find_remaining_seconds: Callable[[], float] = lambda: threading.TIMEOUT_MAX) -> None:
        """Return at a moment when no click is under way and no picture passes the network, or once no time remains.

        find_remaining_seconds: asked again whenever something changes here.
        """
        with self._changed:
            while (self._joined or self._network.inside) and (remaining := find_remaining_seconds()) > 0:
                self._changed.wait(min(remaining, threading.TIMEOUT_MAX))

    @property
    def statistics(self) -> QueueStatistics:
        """A consistent snapshot."""
        with self._changed:
            return QueueStatistics(
                places=self._places,
                admitted=self._admitted,
                unprepared=len(self._claims.waiting) + len(self._network.waiting),
                preparing=len(self._network.inside),
                waiting=len(self._computing.waiting),
                computing=len(self._computing.inside),
                refused=self._refused,
                obsolete=self._obsolete,
            )

    @contextlib.contextmanager
    def _pass(self, lane: _Lane, ticket: Ticket) -> Iterator[None]:
        with ticket.record.measure("wait"):
            self._wait(lane, ticket)
        try:
            yield
        finally:
            with self._changed:
                lane.inside.remove(ticket)
                self._changed.notify_all()

    def _wait(self, lane: _Lane, ticket: Ticket) -> None:
        timeout = None if ticket.deadline == NEVER else ticket.deadline.remaining_seconds
        with self._changed:
            lane.waiting.append(ticket)
            try:
                in_time = self._changed.wait_for(lambda: self._is_obsolete(ticket) or lane.lets_in(ticket), timeout)
                if self._is_obsolete(ticket):
                    self._obsolete += 1
                    raise Obsolete
                if not in_time:
                    self._refused += 1
                    raise Busy("no turn came in time: this server has too much to do, try again")
                lane.inside.append(ticket)
            finally:
                lane.waiting.remove(ticket)
                # Whoever stood behind this ticket may be next now.
                self._changed.notify_all()

    def _is_obsolete(self, ticket: Ticket) -> bool:
        return ticket.object_key is not None and self._newest.get(ticket.object_key) is not ticket


class TicketSlots:
    """The queue as an engine sees it; implements ``m2n2_engine.types.Slots``."""

    def __init__(self, queue: ClickQueue, ticket: Ticket) -> None:
        self._queue = queue
        self._ticket = ticket

    def network(self) -> contextlib.AbstractContextManager[None]:
        """See ``ClickQueue.network``."""
        return self._queue.network(self._ticket)

    def computing(self) -> contextlib.AbstractContextManager[None]:
        """See ``ClickQueue.computing``."""
        return self._queue.computing(self._ticket)


class _BackgroundSlots(TicketSlots):
    """The same for work that nobody waits for: clicks go before each of its steps.

    is_in_the_way: whether other work of this kind is to go first.
    """

    def __init__(self, queue: ClickQueue, ticket: Ticket, is_in_the_way: Callable[[], bool]) -> None:
        super().__init__(queue, ticket)
        self._is_in_the_way = is_in_the_way

    def computing(self) -> contextlib.AbstractContextManager[None]:
        """As of a click, once no click is under way. Raises Obsolete where other work is to go first."""
        longest = Deadline.after(_LONGEST_PAUSE_SECONDS)
        self._queue.wait_until_idle(lambda: longest.remaining_seconds)
        if self._is_in_the_way():
            raise Obsolete
        return super().computing()


class ClickService:
    """Where every platform takes its clicks; safe under threads. queue: admits them and gives them their tickets."""

    def __init__(self, source: EngineSource, pictures: PictureCache, queue: ClickQueue) -> None:
        self.queue = queue
        self._source = source
        self._pictures = pictures
        self._loaded: Segmenter | None = None

    @property
    def model_version(self) -> str:
        """What platforms keep with the masks; a stand-in until the engine is loaded."""
        return self._source.model_version if self._loaded is None else self._loaded.model_version

    def fetch(self, image: TaskImage, ticket: Ticket, expected: tuple[int, int] | None = None) -> Picture:
        """The picture of a task. expected: its ``(H, W)`` where it is known. Raises as ``PictureCache.get``."""
        with ticket.record.measure("fetch"):
            return self._pictures.get(image, ticket.deadline, expected)

    def release(self, image: TaskImage) -> None:
        """Give up the decoded picture of a task; see ``PictureCache.release``."""
        self._pictures.release(image)

    def segment(self, picture: Picture, prompts: Sequence[PixelPrompt], ticket: Ticket) -> list[Segmentation]:
        """The masks of several prompts on one picture, each in the ticket's turn.

        Raises what the queue and the engine raise, and NotReady where there is no engine in time.
        """
        with self._open(picture, ticket) as opened:
            slots = TicketSlots(self.queue, ticket)
            found = [
                opened.segment(prompt.clicks, prompt.box, prompt.mask, ticket.deadline, slots) for prompt in prompts
            ]
        ticket.record.add("clicks", sum(each.timings.clicks_seconds for each in found))
        ticket.record.add("attention", sum(each.timings.again_seconds for each in found))
        return found

    def candidates(self, picture: Picture, prompt: PixelPrompt, ticket: Ticket) -> Sequence[Segmentation]:
        """The masks that the prompt's last click may mean, as of ``Engine.candidates``. Raises as ``segment``."""
        with self._open(picture, ticket) as opened:
            slots = TicketSlots(self.queue, ticket)
            found = opened.candidates(prompt.clicks, prompt.box, prompt.mask, ticket.deadline, slots)
        # They were found together, and each tells the time of all.
        ticket.record.add("clicks", found[0].timings.clicks_seconds)
        ticket.record.add("attention", found[0].timings.again_seconds)
        return found

    def propose(
        self,
        picture: Picture,
        examples: Sequence[Example],
        ticket: Ticket,
        is_in_the_way: Callable[[], bool] = lambda: False,
    ) -> tuple[Proposal, ...]:
        """Objects of the picture that are like those of the examples, for the background. is_in_the_way: asked before
        each step. Raises as ``segment``, and Obsolete where it says so."""
        engine = self._wait_for_engine(ticket)
        slots = _BackgroundSlots(self.queue, ticket, is_in_the_way)
        return engine.propose(picture, examples, ticket.deadline, slots)

    def prepare(self, picture: Picture, ticket: Ticket) -> Tier:
        """Make the picture ready; says where it was found. Raises as ``segment``."""
        with self._open(picture, ticket) as opened:
            return opened.tier

    @contextlib.contextmanager
    def _open(self, picture: Picture, ticket: Ticket) -> Iterator[OpenPicture]:
        record = ticket.record
        with contextlib.ExitStack() as opened:
            with self.queue.claim(ticket, picture):
                engine = self._wait_for_engine(ticket)
                started, waited = time.perf_counter(), record.seconds.get("wait", 0.0)
                slots = TicketSlots(self.queue, ticket)
                one = opened.enter_context(engine.open(picture, ticket.deadline, slots))
                waited = record.seconds.get("wait", 0.0) - waited
                record.add("attention", time.perf_counter() - started - waited)
            yield one

    def _wait_for_engine(self, ticket: Ticket) -> Segmenter:
        if self._loaded is None:
            with ticket.record.measure("wait"):
                self._loaded = self._source.wait(ticket.deadline)
            self.queue.count_networks = self._loaded.count_networks
        return self._loaded
