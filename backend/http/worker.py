"""gunicorn's threaded worker, but one whose clients cost no thread before their request is there whole.

One loop receives, sends and closes for all clients and waits for none of them; a thread is taken by a request whose
body has arrived, and given back when its answer is computed. Whoever is too slow is given up, and where there is no
more room, whoever has been waited for longest.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import resource
import select
import selectors
import socket
import time
from collections.abc import Callable
from concurrent import futures
from typing import Any

from gunicorn.errors import ConfigError
from gunicorn.http.errors import ParseException
from gunicorn.util import write_error
from gunicorn.workers.gthread import ThreadWorker
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout

from backend.errors import Busy
from backend.http.closing import keep_newcomers_out
from backend.http.connection import Connection
from backend.http.limits import HttpLimits
from backend.http.request import note_request
from backend.http.waiting import Wait, WaitingClients

LINGER_SECONDS = 2.0
"""For a client to close after its answer; gunicorn's own."""

LAST_WORD_SECONDS = 2.0
"""For the first byte of a connection, once the server was told to end; gunicorn's own."""

_OTHER_FILES = 128
"""Open files that are no clients: images under way, the disk cache, libraries. Two a thread come on top."""

_FEWEST_CONNECTIONS = 8

_NO_ROOM = "this server holds too many bodies: try again, or raise M2N2_HELD_BODIES_MIB"


class DrainingWorker(ThreadWorker):  # type: ignore[misc]
    """On SIGTERM it takes every connection that the system has already accepted for it, and then refuses new ones.

    gunicorn's own worker leaves its socket open until its last answer is written, and takes nothing from it any more:
    the system goes on accepting connections, their clicks wait for as long as the others take, and are cut off
    unread. A connection that is refused goes to another process at once, or is tried again; a proxy sends such a click
    once more.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._most_connections = _count_connections(self.cfg.worker_connections, self.cfg.threads)
        # gunicorn never stops accepting: room is made for newcomers.
        self.worker_connections = self._most_connections + 1
        self._waiting = WaitingClients()
        self._served: set[Connection] = set()
        # So that hundreds of them stand in nobody's way.
        self._unread_pool = futures.ThreadPoolExecutor(1)

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Refuse what this worker does not speak."""
        if cfg.is_ssl:
            raise ConfigError("this server speaks plain HTTP/1.1: let a proxy in front of it end TLS")

    @property
    def _limits(self) -> HttpLimits:
        limits: HttpLimits = self.wsgi.extensions["http_limits"]
        return limits

    # --- the loop's own events

    def accept(self, listener: socket.socket) -> None:
        """Take one connection from the system's queue."""
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._make_place()
            elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return
        self.nr_conns += 1
        connection = Connection(self.cfg, client, address, listener.getsockname())
        if self.nr_conns > self._most_connections and not self._make_place():
            self._close(connection)
            return
        self._await_request(connection, self._limits.head_seconds)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """One turn of the loop, so many seconds at most."""
        super().wait_for_and_dispatch_events(min(timeout, self._waiting.seconds_left))

    def murder_pending(self) -> None:
        """Called by gunicorn's loop at every turn: give up those whose time is over."""
        self._waiting.give_up_late()

    def set_accept_enabled(self, enabled: bool) -> None:
        """Accept connections or leave them in the system's queue; at the end empty that queue and close it."""
        super().set_accept_enabled(enabled)
        # Told to end before it began, it is asked to accept once more.
        if enabled or self.alive:
            return
        for listener in self.sockets:
            keep_newcomers_out(listener)
            while select.select([listener], [], [], 0)[0]:
                self.accept(listener)
            listener.close()
        self.sockets.clear()
        self._waiting.hurry(LAST_WORD_SECONDS)

    # --- the way of a request, on the loop but for ``handle``

    def _await_request(self, connection: Connection, seconds: float) -> None:
        connection.begin()
        self._wait(connection, selectors.EVENT_READ, seconds, self._receive, self._end_silent)
        self._guard(connection, self._go_on)

    def _receive(self, connection: Connection) -> None:
        connection.receive()
        self._go_on(connection)

    def _go_on(self, connection: Connection) -> None:
        """As far as what has arrived allows."""
        if connection.request is None:
            if not self._parse_head(connection):
                return
            self._admit(connection)
        elif connection.arrived_bytes > connection.reserved_bytes and connection.body_bytes is None:
            # Its length was not told.
            limit = self._limits.find(connection.path, connection.server[1])
            self._refuse(connection, RequestEntityTooLarge(limit.refusal if limit else None))
        elif connection.is_ended or connection.has_body():
            self._serve(connection)

    def _parse_head(self, connection: Connection) -> bool:
        try:
            is_there = connection.parse_head()
        except (ParseException, StopIteration) as error:
            self.handle_error(None, connection.sock, connection.client, error)
            self._finish(connection)
            return False
        if not is_there and connection.is_ended:
            self._close(connection)
        return is_there

    def _admit(self, connection: Connection) -> None:
        """Decide about the body before any of it is awaited."""
        self._forget(connection)
        limit = self._limits.find(connection.path, connection.server[1])
        length = connection.body_bytes
        if length == 0:
            self._serve(connection)
        elif limit is None or (length or 0) > limit.most_bytes:
            # The application says what it thinks of it without looking at the body.
            connection.request.force_close()
            self._serve(connection)
        elif not self._make_room(length or limit.most_bytes):
            self._refuse(connection, Busy(_NO_ROOM))
        else:
            connection.reserved_bytes = length or limit.most_bytes
            if connection.expects_word and not connection.has_body():
                connection.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._wait(connection, selectors.EVENT_READ, self._limits.body_seconds, self._receive, self._end_slow)
            self._go_on(connection)

    def _serve(self, connection: Connection) -> None:
        """Hand the request to a thread."""
        self._forget(connection)
        self._served.add(connection)
        self.enqueue_req(connection)

    def enqueue_req(self, conn: Connection) -> None:
        """Hand the request to a thread; one that is turned away without its body to the one thread for those."""
        pool = self.tpool if conn.has_body() and conn.refusal is None else self._unread_pool
        future = pool.submit(self.handle, conn)
        future.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))

    def handle(self, conn: Connection) -> bool:
        """Serve a request, on a thread of its own; whether the connection is good for another one."""
        note_request(conn.arrival, conn.refusal)
        try:
            is_kept = bool(self.handle_request(conn.request, conn))
            return is_kept and conn.parser.finish_body() is True
        except (ParseException, StopIteration, OSError) as error:
            self.log.debug("closing a connection: %s", error)
        except Exception as error:
            self.handle_error(conn.request, conn.sock, conn.client, error)
        return False

    def finish_request(self, conn: Connection, fs: Any) -> None:
        """The answer is computed, and as much of it sent as the system took."""
        self._served.discard(conn)
        conn.reserved_bytes = 0
        is_kept = not fs.cancelled() and fs.exception() is None and fs.result() is True
        self._guard(conn, functools.partial(self._finish, is_kept=is_kept))

    def _finish(self, connection: Connection, is_kept: bool = False) -> None:
        """Send the rest; then await the next request, or the client's end."""
        self._forget(connection)
        if not connection.sock.flush():
            rest = functools.partial(self._finish, is_kept=is_kept)
            self._wait(connection, selectors.EVENT_WRITE, self._limits.send_seconds, rest, self._close)
            self._make_room(0)
        elif is_kept:
            self._await_request(connection, self.cfg.keepalive if self.alive else LAST_WORD_SECONDS)
        else:
            # Closed at once, with something of it unread, the client might not see the answer (RFC 9112, 9.6).
            connection.raw.shutdown(socket.SHUT_WR)
            self._wait(connection, selectors.EVENT_READ, LINGER_SECONDS, self._linger, self._close)
            self._linger(connection)

    def _linger(self, connection: Connection) -> None:
        if not connection.discard():
            self._close(connection)

    # --- who is given up

    def _end_silent(self, connection: Connection) -> None:
        """A client that did not send its head in time, or that has nothing more to ask."""
        if connection.arrived_bytes:
            with contextlib.suppress(OSError):
                write_error(connection.sock, 408, "Request Timeout", "the head of the request takes too long to arrive")
        self._close(connection)

    def _refuse(self, connection: Connection, refusal: Exception) -> None:
        """Have a request answered with this error, and its body forgotten."""
        connection.turn_away(refusal)
        self._serve(connection)

    def _end_slow(self, connection: Connection) -> None:
        late = RequestTimeout("the body takes too long to arrive: raise M2N2_BODY_TIMEOUT_SECONDS")
        self._refuse(connection, late)

    def _make_place(self) -> bool:
        """Give up the client that has been waited for longest, those without a request first; whether there is one."""
        oldest = min(self._waiting, key=lambda client: client.is_busy, default=None)
        if oldest is not None:
            self._close(oldest)
        return oldest is not None

    def _make_room(self, size_bytes: int) -> bool:
        """Give clients up, whoever is waited for longest first, until so much more can be held; whether it can."""
        held = {connection: connection.held_bytes for connection in (*self._waiting, *self._served)}
        excess: int = sum(held.values()) + size_bytes - self._limits.held_bytes
        for connection in self._waiting:
            if excess <= 0:
                break
            if held[connection]:
                excess -= held[connection]
                if connection.reserved_bytes:
                    self._refuse(connection, Busy(_NO_ROOM))
                else:
                    self._close(connection)
        return excess <= 0

    # --- waiting

    def _wait(
        self,
        connection: Connection,
        events: int,
        seconds: float,
        step: Callable[[Connection], None],
        give_up: Callable[[Connection], None],
    ) -> None:
        self._forget(connection)
        self.poller.register(connection.raw, events, lambda _: self._guard(connection, self._waiting.go_on))
        late = functools.partial(self._guard, step=give_up)
        self._waiting.add(connection, Wait(time.monotonic() + seconds, step, late))

    def _guard(self, connection: Connection, step: Callable[[Connection], None]) -> None:
        """One step with one client, which must not end the loop for all others."""
        try:
            step(connection)
        except OSError:
            self._close(connection)
        except Exception:
            self.log.exception("an unexpected error with a connection")
            self._close(connection)

    def _forget(self, connection: Connection) -> None:
        if connection in self._waiting:
            self._waiting.remove(connection)
            self.poller.unregister(connection.raw)

    def _close(self, connection: Connection) -> None:
        self._forget(connection)
        if connection.raw.fileno() >= 0:
            connection.raw.close()
            self.nr_conns -= 1


def _count_connections(wanted: int, threads: int) -> int:
    """How many clients may be connected: as many as wanted, or as the open files of this process allow."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return wanted
    return max(_FEWEST_CONNECTIONS, min(wanted, files - _OTHER_FILES - 2 * threads))
