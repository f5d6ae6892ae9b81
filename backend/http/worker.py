"""gunicorn's threaded worker, but one that loses no click when it is told to end."""

from __future__ import annotations

import select

from gunicorn.workers.gthread import ThreadWorker


class DrainingWorker(ThreadWorker):  # type: ignore[misc]
    """On SIGTERM it takes every connection that the system has already accepted for it, and then refuses new ones.

    gunicorn's own worker leaves its socket open until its last answer is written, and takes nothing from it any more:
    the system goes on accepting connections, their clicks wait for as long as the others take, and are cut off
    unread. A connection that is refused goes to another process at once, or is tried again. What is left are the
    microseconds between the last look into the line and its end; a proxy sends such a click once more.
    """

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
