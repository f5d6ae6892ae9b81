"""The connections whose clients are waited for: for what, until when, and who goes first where there is no room."""

from __future__ import annotations

import dataclasses
import logging
import math
import selectors
import time
from collections.abc import Callable, Iterator

from backend.http.connection import Connection

PATIENCE_SECONDS = 0.03
"""For every client, even where others want its place. Here: whoever has just connected asks at once, and a thousand
silent connections are gone through in 0.1 s."""

Step = Callable[[Connection], None]

logger = logging.getLogger(__name__)


@dataclasses.dataclass(slots=True)
class _Wait:
    """For one client. since, until: by ``time.monotonic``. go_on: what is done when it can be. give_up: what is done
    when it cannot be in time."""

    since: float
    until: float
    go_on: Step
    give_up: Step


class WaitingClients:
    """In the order in which the waiting began, whoever is waited for longest first. Used by the loop's thread alone.

    poller: the loop's. on_close: called for each connection that is closed.
    """

    def __init__(self, poller: selectors.BaseSelector, on_close: Callable[[], None]) -> None:
        self._poller = poller
        self._on_close = on_close
        self._waits: dict[Connection, _Wait] = {}

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._waits))

    @property
    def seconds_left(self) -> float:
        """Until somebody is to be given up."""
        return max(0.0, min((wait.until for wait in self._waits.values()), default=math.inf) - time.monotonic())

    def wait(self, connection: Connection, event: int, seconds: float, go_on: Step, give_up: Step) -> None:
        """Go on when there is something to read, or room to write; give up where there is not in time."""
        self.forget(connection)
        self._poller.register(connection.raw, event, lambda _: self._hear_of(connection))
        now = time.monotonic()
        self._waits[connection] = _Wait(now, now + seconds, go_on, give_up)

    def forget(self, connection: Connection) -> None:
        """Wait no longer for this client."""
        if self._waits.pop(connection, None) is not None:
            self._poller.unregister(connection.raw)

    def close(self, connection: Connection) -> None:
        """End the connection; it may be closed already."""
        self.forget(connection)
        if connection.raw.fileno() >= 0:
            connection.raw.close()
            self._on_close()

    def guard(self, connection: Connection, step: Step) -> None:
        """One step with one client, which must not end the loop for all others."""
        try:
            step(connection)
        except OSError:
            self.close(connection)
        except Exception:
            logger.exception("an unexpected error with a connection")
            self.close(connection)

    def find_oldest(self) -> Connection | None:
        """Who is waited for longest of those that are worth least; None where not even that one had its time."""
        oldest = min(self._waits, key=lambda connection: connection.worth, default=None)
        had_time = oldest is not None and time.monotonic() - self._waits[oldest].since >= PATIENCE_SECONDS
        return oldest if had_time else None

    def give_up_late(self) -> None:
        """Give up whoever's time is over."""
        now = time.monotonic()
        for connection, wait in list(self._waits.items()):
            if wait.until <= now:
                self.guard(connection, wait.give_up)

    def hurry(self, seconds: float) -> None:
        """Wait so long at most for clients that have sent nothing yet."""
        latest = time.monotonic() + seconds
        for connection, wait in self._waits.items():
            if connection.request is None and not connection.arrived_bytes:
                wait.until = min(wait.until, latest)

    def _hear_of(self, connection: Connection) -> None:
        # It may have been given up in the same turn of the loop.
        wait = self._waits.get(connection)
        if wait is not None:
            self.guard(connection, wait.go_on)
