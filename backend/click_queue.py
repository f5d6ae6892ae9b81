"""The line that clicks wait in: how many are let in, how many are computed at once, which need no answer any more.

Label Studio sends each click at once and shows only the answer to the newest, but never takes an older one back. So a
click that a newer one of its chain has overtaken leaves the line without being computed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator

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
    """What the line holds now (admitted includes waiting and computing), and counts since the start."""

    places: int
    admitted: int
    waiting: int
    computing: int
    refused: int
    obsolete: int


class Ticket:
    """One click in the line; equal to itself alone."""

    def __init__(self, chain: Chain | None) -> None:
        self.chain = chain


class ClickQueue:
    """First come, first served, one click of a chain at a time; safe under threads.

    places: predictions held at once, from the first byte of their body to the last of their answer. computing: how
    many of them the engine works on at once.
    """

    def __init__(self, places: int, computing: int, longest_wait_seconds: float = _LONGEST_WAIT_SECONDS) -> None:
        self._places = places
        self._most_computing = computing
        self._longest_wait_seconds = longest_wait_seconds
        self._changed = threading.Condition()
        self._waiting: list[Ticket] = []
        self._computing: list[Ticket] = []
        self._newest: dict[Chain, Ticket] = {}
        self._admitted = self._refused = self._obsolete = 0

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
    def join(self, chain: Chain | None) -> Iterator[Ticket]:
        """A ticket for one click, from now on the newest of its chain. None: a click that belongs to no chain."""
        ticket = Ticket(chain)
        if chain is not None:
            with self._changed:
                self._newest[chain] = ticket
                self._changed.notify_all()
        try:
            yield ticket
        finally:
            if chain is not None:
                with self._changed:
                    if self._newest.get(chain) is ticket:
                        del self._newest[chain]

    @contextlib.contextmanager
    def turn(self, ticket: Ticket) -> Iterator[None]:
        """Wait for the ticket's turn and hold it while the block computes.

        Raises Obsolete as soon as the chain has a newer click, and Busy where the turn does not come in time.
        """
        self._wait(ticket)
        try:
            yield
        finally:
            with self._changed:
                self._computing.remove(ticket)
                self._changed.notify_all()

    @property
    def statistics(self) -> QueueStatistics:
        """A consistent snapshot."""
        with self._changed:
            return QueueStatistics(
                places=self._places,
                admitted=self._admitted,
                waiting=len(self._waiting),
                computing=len(self._computing),
                refused=self._refused,
                obsolete=self._obsolete,
            )

    def _wait(self, ticket: Ticket) -> None:
        with self._changed:
            self._waiting.append(ticket)
            try:
                in_time = self._changed.wait_for(
                    lambda: self._is_obsolete(ticket) or self._is_next(ticket), self._longest_wait_seconds
                )
                if self._is_obsolete(ticket):
                    self._obsolete += 1
                    raise Obsolete
                if not in_time:
                    self._refused += 1
                    raise Busy(f"no turn within {self._longest_wait_seconds:g} s: this server has too much to do")
                self._computing.append(ticket)
            finally:
                self._waiting.remove(ticket)
                # Whoever stood behind this ticket may be next now.
                self._changed.notify_all()

    def _is_obsolete(self, ticket: Ticket) -> bool:
        return ticket.chain is not None and self._newest.get(ticket.chain) is not ticket

    def _is_next(self, ticket: Ticket) -> bool:
        if len(self._computing) >= self._most_computing:
            return False
        # The session of an image takes one click at a time: a second one of the chain would only block a turn, and
        # could not be dropped any more.
        busy = {other.chain for other in self._computing if other.chain is not None}
        return ticket is next((other for other in self._waiting if other.chain not in busy), None)
