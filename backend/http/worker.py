"""gunicorn's threaded worker, but one whose clients cost no thread before their request is there whole.

One loop receives, sends and closes for all clients and waits for none of them; a thread is taken by a request whose
body has arrived, and given back when its answer is computed. Whoever is too slow is given up, and where there is no
more room, whoever has been waited for longest.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import select
import selectors
import socket
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
from backend.http.limits import HttpLimits, count_connections
from backend.http.request import note_request
from backend.http.waiting import PATIENCE_SECONDS, WaitingClients

LINGER_SECONDS = 2.0
"""For a client to close after its answer; gunicorn's own."""

LAST_WORD_SECONDS = 2.0
"""For the first byte of a connection, once the server was told to end; gunicorn's own."""

_ACCEPTED_AT_ONCE = 64
"""Connections. Here: a flood of them is taken ten times as fast as one by one, and the others wait 3 ms."""

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
        self._most_connections = count_connections(self.cfg.worker_connections, self.cfg.threads)
        self._clients: WaitingClients
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

    def run(self) -> None:
        """The loop, until the end of the process."""
        self._clients = WaitingClients(self.poller, self._note_end)
        super().run()
        self._unread_pool.shutdown(wait=False)

    def accept(self, listener: socket.socket) -> None:
        """Take connections from the system's queue, some at a time, as long as there are places."""
        for _ in range(_ACCEPTED_AT_ONCE):
            if not self._has_place() or not self._take_one(listener):
                return

    def _has_place(self) -> bool:
        return self.nr_conns < self._most_connections or self._clients.find_oldest() is not None

    def _take_one(self, listener: socket.socket) -> bool:
        """Take one connection, in place of another one where there are too many; whether there was one."""
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK, errno.EMFILE, errno.ENFILE):
                raise
            return False
        self.nr_conns += 1
        oldest = self._clients.find_oldest() if self.nr_conns > self._most_connections else None
        if oldest is not None:
            self._clients.close(oldest)
        self._await_request(Connection(self.cfg, client, address, listener.getsockname()), self._limits.head_seconds)
        return True

    def _note_end(self) -> None:
        self.nr_conns -= 1

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """One turn of the loop, so many seconds at most."""
        is_full = self.nr_conns >= self.worker_connections
        timeout = min(timeout, self._clients.seconds_left, PATIENCE_SECONDS if is_full else timeout)
        super().wait_for_and_dispatch_events(timeout)

    def murder_pending(self) -> None:
        """Called by gunicorn's loop at every turn: give up those whose time is over."""
        self._clients.give_up_late()
        # Where there is no place, newcomers stay in the system's queue.
        self.worker_connections = self.nr_conns + self._has_place()

    def set_accept_enabled(self, enabled: bool) -> None:
        """Accept connections or leave them in the system's queue; at the end empty that queue and close it."""
        super().set_accept_enabled(enabled)
        # Told to end before it began, it is asked to accept once more.
        if enabled or self.alive:
            return
        for listener in self.sockets:
            keep_newcomers_out(listener)
            while select.select([listener], [], [], 0)[0]:
                self._take_one(listener)
            listener.close()
        self.sockets.clear()
        self._clients.hurry(LAST_WORD_SECONDS)

    # --- the way of a request, on the loop but for ``handle``

    def _await_request(self, connection: Connection, seconds: float) -> None:
        connection.begin()
        self._clients.wait(connection, selectors.EVENT_READ, seconds, self._receive, self._end_silent)
        # It may be there already, and must not count as silent then.
        self._clients.guard(connection, self._receive)

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
            self._clients.close(connection)
        return is_there

    def _admit(self, connection: Connection) -> None:
        """Decide about the body before any of it is awaited."""
        self._clients.forget(connection)
        limit = self._limits.find(connection.path, connection.server[1])
        length = connection.body_bytes
        if length == 0:
            self._serve(connection)
        elif limit is None or (length or 0) > limit.most_bytes or not self._limits.admits(connection.authorization):
            # The application says what it thinks of it without looking at the body.
            connection.request.force_close()
            self._serve(connection)
        elif not self._make_room(length or limit.most_bytes):
            self._refuse(connection, Busy(_NO_ROOM))
        else:
            connection.reserved_bytes = length or limit.most_bytes
            if connection.expects_word and not connection.has_body():
                connection.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
                connection.sock.flush()
            self._clients.wait(
                connection, selectors.EVENT_READ, self._limits.body_seconds, self._receive, self._end_slow
            )
            self._go_on(connection)

    def _serve(self, connection: Connection) -> None:
        """Hand the request to a thread."""
        self._clients.forget(connection)
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
            conn.sock.flush()
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
        self._clients.guard(conn, functools.partial(self._finish, is_kept=is_kept))

    def _finish(self, connection: Connection, is_kept: bool = False) -> None:
        """Send the rest; then await the next request, or the client's end."""
        if not connection.sock.flush():
            rest = functools.partial(self._send_rest, is_kept=is_kept)
            self._clients.wait(connection, selectors.EVENT_WRITE, self._limits.send_seconds, rest, self._clients.close)
            self._make_room(0)
        elif is_kept:
            self._await_request(connection, self.cfg.keepalive if self.alive else LAST_WORD_SECONDS)
        else:
            # Closed at once, with something of it unread, the client might not see the answer (RFC 9112, 9.6).
            connection.raw.shutdown(socket.SHUT_WR)
            self._clients.wait(connection, selectors.EVENT_READ, LINGER_SECONDS, self._linger, self._clients.close)
            self._linger(connection)

    def _send_rest(self, connection: Connection, is_kept: bool) -> None:
        if connection.sock.flush():
            self._finish(connection, is_kept)

    def _linger(self, connection: Connection) -> None:
        if not connection.discard():
            self._clients.close(connection)

    # --- who is given up

    def _end_silent(self, connection: Connection) -> None:
        """A client that did not send its head in time, or that has nothing more to ask."""
        if connection.arrived_bytes:
            with contextlib.suppress(OSError):
                write_error(connection.sock, 408, "Request Timeout", "the head of the request takes too long to arrive")
                connection.sock.flush()
        self._clients.close(connection)

    def _refuse(self, connection: Connection, refusal: Exception) -> None:
        """Have a request answered with this error, and its body forgotten."""
        connection.turn_away(refusal)
        self._serve(connection)

    def _end_slow(self, connection: Connection) -> None:
        late = RequestTimeout("the body takes too long to arrive: raise M2N2_BODY_TIMEOUT_SECONDS")
        self._refuse(connection, late)

    def _make_room(self, size_bytes: int) -> bool:
        """Give clients up, whoever is waited for longest first, until so much more can be held; whether it can."""
        held = {connection: connection.held_bytes for connection in (*self._clients, *self._served)}
        excess: int = sum(held.values()) + size_bytes - self._limits.held_bytes
        for connection in self._clients:
            if excess <= 0:
                break
            if held[connection]:
                excess -= held[connection]
                if connection.reserved_bytes:
                    self._refuse(connection, Busy(_NO_ROOM))
                else:
                    self._clients.close(connection)
        return excess <= 0
