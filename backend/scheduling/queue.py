"""The line that clicks wait in: how many are let in, how many are computed at once, which need no answer any more.

Label Studio sends each click at once and shows only the answer to the newest, but never takes an older one back. So a
click that a newer one of its chain has overtaken leaves the line without being computed.

There are two lanes, so that clicks on images that are ready never wait behind images that are not. In the first, images
are prepared, as many at a time as the engine has networks; in the second, clicks are computed. An image that nobody
waits for is prepared only while no click is under way.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Hashable, Iterator

from m2n2_engine.errors import Busy

# Label Studio gives a click up after 100 s: nobody would see the answer of one that waited longer.
_LONGEST_WAIT_SECONDS = 90.0


class Obsolete(Exception):
    """A newer click of the same chain has arrived: nobody waits for this answer."""


@dataclasses.dataclass(frozen=True, slots=True)
class Chain:
    """Names one object in the making; its key points keep their ids from click to click."""

    project: str
    task: str
    label: str
    first_point: str


@dataclasses.dataclass(frozen=True, slots=True)
class QueueStatistics:
    """What the line holds now (admitted includes waiting and computing), and counts since the start. unprepared: clicks
    that wait for the preparation of their image. preparing: images in preparation, those in the background too."""

    places: int
    admitted: int
    unprepared: int
    preparing: int
    waiting: int
    computing: int
    refused: int
    obsolete: int


class Ticket:
    """One click in the line, or one preparation in the background; equal to itself alone.

    image: names the image that is to be prepared; None: an image of its own. deadline: when it has waited too long, by
    ``time.monotonic``. is_prepared: somebody else prepared the image while this ticket waited to.
    """

    def __init__(self, chain: Chain | None, image: Hashable, deadline: float) -> None:
        self.chain = chain
        self.image = image
        self.deadline = deadline
        self.is_prepared = False


class _Lane:
    """First come, first served, so many at a time, one of a kind at a time; its queue's lock guards it.

    find_places: how many at a time; asked under the lock, whenever somebody may go in. find_kind: None is a kind of its
    own.
    """

    def __init__(self, find_places: Callable[[], int], find_kind: Callable[[Ticket], Hashable]) -> None:
        self._find_places = find_places
        self._find_kind = find_kind
        self.waiting: list[Ticket] = []
        self.inside: list[Ticket] = []

    def lets_in(self, ticket: Ticket) -> bool:
        if len(self.inside) >= self._find_places():
            return False
        busy = {self._find_kind(other) for other in self.inside} - {None}
        return ticket is next((other for other in self.waiting if self._find_kind(other) not in busy), None)


class ClickQueue:
    """The two lanes and the way in; safe under threads.

    places: predictions held at once, from the first byte of their body to the last of their answer. computing: how
    many of them the engine works on at once. count_networks: how many images it prepares at once, at least one; may
    change, and must not wait.
    """

    def __init__(
        self,
        places: int,
        computing: int,
        longest_wait_seconds: float = _LONGEST_WAIT_SECONDS,
        count_networks: Callable[[], int] = lambda: 1,
    ) -> None:
        self._places = places
        self._longest_wait_seconds = longest_wait_seconds
        self._changed = threading.Condition()
        # A second ticket for an image would prepare it a second time; it waits to hear that it is prepared.
        self._preparing = _Lane(count_networks, lambda ticket: ticket.image)
        # The session of an image takes one click at a time: a second one of the chain would only block a turn, and
        # could not be dropped any more.
        self._computing = _Lane(lambda: computing, lambda ticket: ticket.chain)
        self._newest: dict[Chain, Ticket] = {}
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
    def join(self, chain: Chain | None, image: Hashable = None) -> Iterator[Ticket]:
        """A ticket for one click, from now on the newest of its chain. None: a click that belongs to no chain, an image
        that no other click is on."""
        ticket = Ticket(chain, image, time.monotonic() + self._longest_wait_seconds)
        with self._changed:
            self._joined += 1
            if chain is not None:
                self._newest[chain] = ticket
                self._changed.notify_all()
        try:
            yield ticket
        finally:
            with self._changed:
                self._joined -= 1
                if chain is not None and self._newest.get(chain) is ticket:
                    del self._newest[chain]
                self._changed.notify_all()

    @contextlib.contextmanager
    def preparation(self, ticket: Ticket) -> Iterator[bool]:
        """Wait until the ticket's image may be prepared, and hold a place while the block does so. False: the image
        was prepared meanwhile, for another ticket, and the block need not.

        Raises as `turn` does.
        """
        with self._pass(self._preparing, ticket, lambda: ticket.is_prepared or self._preparing.lets_in(ticket)):
            yield not ticket.is_prepared
            self._spread(ticket)

    @contextlib.contextmanager
    def idle_preparation(self) -> Iterator[Ticket]:
        """Wait until no click is under way, however long it takes, and hold a place of the preparation's lane while the
        block works. The block gives the ticket the name of the image that it prepares."""
        ticket = Ticket(None, None, deadline=0.0)
        with self._changed:
            self._changed.wait_for(lambda: not self._joined and not self._preparing.inside)
            self._preparing.inside.append(ticket)
        try:
            yield ticket
            self._spread(ticket)
        finally:
            self._leave(self._preparing, ticket)

    @contextlib.contextmanager
    def turn(self, ticket: Ticket) -> Iterator[None]:
        """Wait for the ticket's turn and hold it while the block computes.

        Raises Obsolete as soon as the chain has a newer click, and Busy where the turn does not come in time.
        """
        with self._pass(self._computing, ticket, lambda: self._computing.lets_in(ticket)):
            yield

    @property
    def statistics(self) -> QueueStatistics:
        """A consistent snapshot."""
        with self._changed:
            return QueueStatistics(
                places=self._places,
                admitted=self._admitted,
                unprepared=len(self._preparing.waiting),
                preparing=len(self._preparing.inside),
                waiting=len(self._computing.waiting),
                computing=len(self._computing.inside),
                refused=self._refused,
                obsolete=self._obsolete,
            )

    @contextlib.contextmanager
    def _pass(self, lane: _Lane, ticket: Ticket, may_enter: Callable[[], bool]) -> Iterator[None]:
        self._wait(lane, ticket, may_enter)
        try:
            yield
        finally:
            self._leave(lane, ticket)

    def _wait(self, lane: _Lane, ticket: Ticket, may_enter: Callable[[], bool]) -> None:
        with self._changed:
            lane.waiting.append(ticket)
            try:
                in_time = self._changed.wait_for(
                    lambda: self._is_obsolete(ticket) or may_enter(), ticket.deadline - time.monotonic()
                )
                if self._is_obsolete(ticket):
                    self._obsolete += 1
                    raise Obsolete
                if not in_time:
                    self._refused += 1
                    raise Busy(f"no turn within {self._longest_wait_seconds:g} s: this server has too much to do")
                lane.inside.append(ticket)
            finally:
                lane.waiting.remove(ticket)
                # Whoever stood behind this ticket may be next now.
                self._changed.notify_all()

    def _leave(self, lane: _Lane, ticket: Ticket) -> None:
        with self._changed:
            lane.inside.remove(ticket)
            self._changed.notify_all()

    def _spread(self, ticket: Ticket) -> None:
        """Let go whoever waits to prepare the image that this ticket has prepared."""
        with self._changed:
            for other in self._preparing.waiting:
                other.is_prepared = other.is_prepared or (ticket.image is not None and other.image == ticket.image)

    def _is_obsolete(self, ticket: Ticket) -> bool:
        return ticket.chain is not None and self._newest.get(ticket.chain) is not ticket
