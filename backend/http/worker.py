"""gunicorn's threaded worker, but one that loses no click at its end, and knows when each request arrived."""

from __future__ import annotations

import contextlib
import ctypes
import select
import socket
import struct
import sys
import time
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from backend.http.request import note_arrival

_SO_ATTACH_FILTER = 26
"""Of Linux (asm-generic/socket.h); Python's socket does not name it."""

_DROP_SYN = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # load the flags of the TCP header
        (0x45, 0, 1, 0x02),  # SYN among them? else skip one
        (0x06, 0, 0, 0),  # drop the packet
        (0x06, 0, 0, 0xFFFFFFFF),  # take it whole
    )
)
"""A classic BPF program (linux/filter.h): of the packets of a listening socket, those that begin a connection go."""


class DrainingWorker(ThreadWorker):  # type: ignore[misc]
    """On SIGTERM it takes every connection that the system has already accepted for it, and then refuses new ones.

    gunicorn's own worker leaves its socket open until its last answer is written, and takes nothing from it any more:
    the system goes on accepting connections, their clicks wait for as long as the others take, and are cut off
    unread. A connection that is refused goes to another process at once, or is tried again.

    On Linux nothing new gets into the queue between the last look into it and its end: a connection that begins then is
    left unanswered, and refused when the system tries it again, a second later. Elsewhere, and for a connection whose
    last packet is under way, those microseconds remain. A proxy sends such a click once more.
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
        """Accept connections or leave them in the system's queue; at the end empty that queue and close it."""
        super().set_accept_enabled(enabled)
        # Told to end before it began, it is asked to accept once more.
        if enabled or self.alive:
            return
        for listener in self.sockets:
            _keep_newcomers_out(listener)
            while select.select([listener], [], [], 0)[0]:
                self.accept(listener)
            listener.close()
        self.sockets.clear()


def _keep_newcomers_out(listener: Any) -> None:
    """Have the system begin no further connection for a socket; those that it has begun go on."""
    if sys.platform == "linux":
        program = ctypes.create_string_buffer(_DROP_SYN, len(_DROP_SYN))
        length = len(_DROP_SYN) // struct.calcsize("HBBI")
        # A sandbox may know no filters.
        with contextlib.suppress(OSError):
            listener.setsockopt(
                socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", length, ctypes.addressof(program))
            )
