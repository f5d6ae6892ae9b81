"""The connections whose clients are waited for: until when, and who goes first where there is no more room."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator

from backend.http.connection import Connection


@dataclasses.dataclass(slots=True)
class Wait:
    """For one client. until: by ``time.monotonic``. go_on: what is done when it is heard of. give_up: what is done when
    it is not."""

    until: float
    go_on: Callable[[Connection], None]
    give_up: Callable[[Connection], None]


class WaitingClients:
    """In the order in which the waiting began, whoever is waited for longest first. Used by one thread."""

    def __init__(self) -> None:
        self._waits: dict[Connection, Wait] = {}

    def __contains__(self, connection: Connection) -> bool:
        return connection in self._waits

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._waits))

    def add(self, connection: Connection, wait: Wait) -> None:
        """Wait for this client too."""
        self._waits[connection] = wait

    def remove(self, connection: Connection) -> None:
        """Wait no longer."""
        self._waits.pop(connection, None)

    def go_on(self, connection: Connection) -> None:
        """It was heard of. It may have been given up in the same turn."""
        wait = self._waits.get(connection)
        if wait is not None:
            wait.go_on(connection)

    @property
    def seconds_left(self) -> float:
        """Until the next time is over."""
        return max(0.0, min((wait.until for wait in self._waits.values()), default=math.inf) - time.monotonic())

    def give_up_late(self) -> None:
        """End the waiting whose time is over."""
        now = time.monotonic()
        for connection, wait in list(self._waits.items()):
            if wait.until <= now:
                wait.give_up(connection)

    def hurry(self, seconds: float) -> None:
        """Wait so long at most for clients that have sent nothing yet."""
        latest = time.monotonic() + seconds
        for connection, wait in self._waits.items():
            if connection.request is None and not connection.arrived_bytes:
                wait.until = min(wait.until, latest)
