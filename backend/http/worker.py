"""gunicorn's threaded worker, but one that loses no click at its end, and knows when each request arrived."""

from __future__ import annotations

import select
import time
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from backend.http.request import note_arrival


class DrainingWorker(ThreadWorker):  # type: ignore[misc]
    """On SIGTERM it takes every connection that the system has already accepted for it, and then refuses new ones.

    gunicorn's own worker leaves its socket open until its last answer is written, and takes nothing from it any more:
    the system goes on accepting connections, their clicks wait for as long as the others take, and are cut off
    unread. A connection that is refused goes to another process at once, or is tried again. What is left are the
    microseconds between the last look into the line and its end; a proxy sends such a click once more.
    """

    def enqueue_req(self, conn: Any) -> None:
        """Hand a connection on that has something to be read. It may wait long for a thread, and its client with it."""
        conn.arrival = time.monotonic()
        super().enqueue_req(conn)

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Serve a request, on a thread of its own."""
        note_arrival(conn.arrival)
        return super().handle_request(req, conn)

    def set_accept_enabled(self, enabled: bool) -> None:
        """Accept connections or leave them in the system's line; at the end empty that line and close it."""
        super().set_accept_enabled(enabled)
        # Told to end before it began, it is asked to accept once more.
        if enabled or self.alive:
            return
        for listener in self.sockets:
            while select.select([listener], [], [], 0)[0]:
                self.accept(listener)
            listener.close()
        self.sockets.clear()
