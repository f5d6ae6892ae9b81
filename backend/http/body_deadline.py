"""An end to the time that the body of a request may take.

The timeout of a socket begins anew with every byte, so a client that drips them would hold a thread for hours, and as
many of them as there are threads the whole server.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def limit_reading(
    connection: socket.socket | None, seconds: float, timer_class: type[threading.Timer] = threading.Timer
) -> Iterator[threading.Event]:
    """Let whatever the block reads from the connection end after so many seconds, as if the client had hung up.

    Writing goes on, so that the client can be told.

    Args:
        connection: What is read from. None: a server that does not show its connections, such as a test client; nothing
            is limited there.
        seconds: How long the block may read.
        timer_class: Calls back when they are over.

    Yields:
        An event that is set when that happens.
    """
    passed = threading.Event()
    if connection is None:
        yield passed
        return
    lock, is_over = threading.Lock(), False

    def cut() -> None:
        with lock, contextlib.suppress(OSError):
            # Not once the block is left: the connection may be with its next request.
            if not is_over:
                passed.set()
                connection.shutdown(socket.SHUT_RD)

    timer = timer_class(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield passed
    finally:
        timer.cancel()
        with lock:
            is_over = True
